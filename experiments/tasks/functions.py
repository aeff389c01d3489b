"""Functions to be minimised that have no data, and one whose data is its noise."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

import jaxnet
from jaxnet import network
from jaxnet.compare import Problem
from jaxnet.storage import models

_DIMENSIONS = 20
_DEPTH, _WIDTH = 4, 8
_NOISES = 512


@dataclass(frozen=True)
class Quadratic:
    """Half of z'Hz with z = params - noise, averaged over the rows of noise in a batch.

    The eigenvalues of H reach from 1 / condition to 1, evenly on a log scale, along directions
    that are no axes.

    Attributes:
        condition: of H.
    """

    condition: float

    def __call__(
        self, params: Float[Array, " D"], batch: Float[Array | np.ndarray, "B D"] | None
    ) -> Float[Array, ""]:
        """Give the loss; without a batch there is no noise."""
        away = params[None]
        if batch is not None:
            away -= jnp.asarray(batch, params.dtype)
        curvatures = np.geomspace(1 / self.condition, 1, _DIMENSIONS)
        root = jnp.asarray(_directions() * np.sqrt(curvatures), params.dtype)
        return jnp.mean(jnp.sum((away @ root) ** 2, axis=1)) / 2


@functools.cache
def _directions() -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(0).normal(size=(_DIMENSIONS, _DIMENSIONS)))[0]


def _point(key: Key[Array, ""]) -> Float[Array, " D"]:
    return jax.random.normal(key, (_DIMENSIONS,))


def quadratic(exponent: int) -> Problem:
    """Give a quadratic whose condition is that power of ten."""
    about = f"a convex quadratic of condition 1e{exponent}, {_DIMENSIONS} dimensions off the axes"
    loss = Quadratic(10.0**exponent)
    return Problem(name=f"quadratic-1e{exponent}", loss=loss, init=_point, steps=200, about=about)


def noisy() -> Problem:
    """Give a quadratic whose minimum is elsewhere in every batch; at zero on the average."""
    noises = np.random.default_rng(1).normal(size=(_NOISES, _DIMENSIONS)).astype(np.float32)
    still = np.zeros((1, _DIMENSIONS), np.float32)
    return Problem(
        name="noisy-quadratic",
        loss=Quadratic(100.0),
        init=_point,
        data=noises - noises.mean(axis=0),
        epochs=4,
        batch_size=8,
        validation=still,
        test=still,
        about="a quadratic of condition 100, its gradients noisy (Zhang et al. 2019)",
    )


def rosenbrock(params: Float[Array, "2"], batch: None) -> Float[Array, ""]:
    """Give Rosenbrock's function, 0 at (1, 1)."""
    del batch
    x, y = params
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def _valley(key: Key[Array, ""]) -> Float[Array, "2"]:
    return jnp.array([-1.2, 1.0]) + jax.random.normal(key, (2,)) / 10


def valley() -> Problem:
    """Give Rosenbrock's function as a task."""
    about = "Rosenbrock's curved valley in 2 dimensions, from near (-1.2, 1) (Rosenbrock 1960)"
    return Problem(name="rosenbrock", loss=rosenbrock, init=_valley, steps=500, about=about)


def solution(params: network.Params, points: Float[Array | np.ndarray, " P"]) -> Float[Array, " P"]:
    """Give a network's values at points of the interval 0 to pi."""
    return jax.vmap(functools.partial(_value, params))(jnp.asarray(points, params[0].bias.dtype))


def _value(params: network.Params, point: Float[Array, ""]) -> Float[Array, ""]:
    return jaxnet.forward(params, point[None], jnp.tanh)[0]


def equation(params: network.Params, batch: None) -> Float[Array, ""]:
    """Give how far u'' = -sin, with u = 0 at 0 and pi, is from holding: mean squares of both."""
    del batch
    points = jnp.linspace(0, jnp.pi, 16, dtype=params[0].bias.dtype)
    bend = jax.grad(jax.grad(_value, 1), 1)
    residuals = jax.vmap(functools.partial(bend, params))(points) + jnp.sin(points)
    return jnp.mean(residuals**2) + jnp.mean(solution(params, points[jnp.array([0, -1])]) ** 2)


def pinn() -> Problem:
    """Give a differential equation as a task."""
    about = "a network trained to obey u'' = -sin on 0 to pi (Raissi et al. 2019)"
    return Problem(
        name="pinn", loss=equation, init=models.starting(1, 16, 1), steps=300, about=about
    )


def product(params: Float[Array, "L W W"], batch: None) -> Float[Array, ""]:
    """Give half the squared distance of a product of matrices from a fixed diagonal one."""
    del batch
    target = jnp.diag(jnp.linspace(0.5, 2, _WIDTH, dtype=params.dtype))
    return jnp.sum((functools.reduce(jnp.matmul, params) - target) ** 2) / 2


def _matrices(key: Key[Array, ""]) -> Float[Array, "L W W"]:
    return jax.random.normal(key, (_DEPTH, _WIDTH, _WIDTH)) / np.sqrt(_WIDTH)


def deep() -> Problem:
    """Give a deep linear network as a task."""
    about = f"a linear network of {_DEPTH} layers, its loss full of saddles (Saxe et al. 2014)"
    return Problem(name="deep-linear", loss=product, init=_matrices, steps=200, about=about)
