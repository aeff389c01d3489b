"""The gradient taken at other parameters than those it is claimed at."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from jaxnet import losses
from jaxnet.audit.case import Case, Mistake, Tier
from jaxnet.audit.uncompiled import uncompiled


@uncompiled(0)
def _along(
    loss: losses.Loss, params: PyTree, batch: PyTree, direction: PyTree, claimed: PyTree
) -> tuple[Array, PyTree]:
    """Find how far along a direction the gradient is the claimed one, by Gauss-Newton."""
    target, _ = ravel_pytree(claimed)

    def gradient(rate: Array) -> Array:
        moved = jax.tree.map(lambda p, d: p + rate * d, params, direction)
        return ravel_pytree(jax.grad(loss)(moved, batch))[0]

    def newton(rate: Array, _: None) -> tuple[Array, None]:
        there, slope = jax.jvp(gradient, (rate,), (jnp.ones_like(rate),))
        step = jnp.vdot(slope, target - there) / jnp.maximum(jnp.vdot(slope, slope), 1e-300)
        return jnp.clip(rate + step, 0, 10), None

    def search(rate: Array) -> tuple[Array, Array]:
        rate, _ = jax.lax.scan(newton, rate, None, length=30)
        return rate, jnp.linalg.norm(target - gradient(rate))

    rates, errors = jax.vmap(search)(jnp.logspace(-4, 0, 9))
    best = rates[jnp.argmin(errors)]
    moved = jax.tree.map(lambda p, d: p + best * d, params, direction)
    return best, jax.grad(loss)(moved, batch)


def elsewhere(case: Case) -> Tier:
    """The gradient at the parameters before or after a step of gradient descent."""
    if not case.shapes_agree or sum(true.size for true in case.true) < 4:
        return {}
    tree = jax.tree.structure(case.params)
    claimed = jax.tree.unflatten(tree, case.claimed)
    directions = {
        "taken at stale parameters, one step of gradient descent earlier": claimed,
        "taken at parameters already updated by one step of gradient descent": jax.tree.unflatten(
            tree, [-true for true in case.true]
        ),
    }
    tier: Tier = {index: [] for index in range(len(case.leaves))}
    for text, direction in directions.items():
        rate, there = _along(case.loss, case.params, case.batch, direction, claimed)
        if rate > 0:
            named = f"{text} (learning rate {float(rate):.4g})"
            for index, leaf in enumerate(map(np.asarray, jax.tree.leaves(there))):
                tier[index].append(Mistake(named, leaf, fitted=True))
    return tier
