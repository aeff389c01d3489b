"""The question that is asked of an audit."""

from collections.abc import Callable

from jaxtyping import Array, Key, PyTree

from jaxnet import losses
from jaxnet._guards import versions
from jaxnet.audit.display import Audit


def audit(
    loss: Callable[..., object],
    params: PyTree,
    batch: PyTree,
    claimed: PyTree | Callable[..., PyTree] | losses.Rule,
    *,
    key: Key[Array, ""] | None = None,
) -> Audit:
    """Compare a claimed gradient with the true one; name the mistake that explains a wrong leaf.

    Where the loss is a chain of fully connected layers, however it is written, the layer at which
    the error signal first goes wrong is named too. Where numbers coincide, as a sum over 2 examples
    and a doubling do, all is said that they may mean; a claim given as a function is asked about a
    batch of another size, to choose.

    Where a function claims what is wrong, its lines are changed, in memory and only meanwhile, and
    it runs again on copies, within bounds, until the gradient is right: `corrections` says which
    lines those are. That is not done to a function that could do more than to compute.

    Functions of NumPy arrays are taken as they are. Finite differences of the loss itself referee;
    where JAX can trace it by NumPy's protocols the true gradient is autodiff's, else it is by
    finite differences too. What a function does besides, such as changing its arguments (it is
    given copies), drawing random numbers or printing, is named. A network that keeps its weights
    as attributes is audited by `params = {"W1": network.W1, ...}` and a loss that puts them into a
    copy of it: `vars(network).update(params)`.

    Args:
        loss: `(params, batch) -> []`, or of the parts of a batch that is a tuple, one by one:
            `(params, x, y)`.
        params: where the gradient is claimed; real floating-point arrays in a pytree, such as a
            dict. A list of numbers is an array. Of `jaxnet.Variables` it is that of `params`, with
            the state as it stands.
        batch: N examples, a pytree of arrays; the axis that the loss takes the examples along,
            such as the last of `x [I, N]`, is found. One example may come without an axis.
        claimed: a pytree of the structure of `params`, leaves of any shape, or a function that
            takes what the loss does and gives one, or a `Rule` of value and gradient. Names may
            begin with a d (`dW1` for `W1`), and dicts be lists in the same order; `[n]` for
            `[n, 1]` is read by value, and noted.
        key: what a loss or claim draws by that takes a `key`; `jax.random.key(0)` where None. They
            draw with a dtype that is given, since an audit computes in float64.

    Raises:
        InputError: params or batch that are not finite, empty or not numbers; a loss
            that is not a real scalar, has no finite gradient here, or draws other numbers in
            float64; a claim that is complex or
            can be matched with `params` in no way or in several; a function whose two calls give
            different values.
    """
    versions.check()
    # All that audits: whoever imports this waits for it where something is audited.
    from jaxnet.audit import auditing

    return auditing.audited(*auditing.plain(loss, params, batch, claimed, key))
