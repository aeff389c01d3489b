"""The ways to make runs, one function a library; all make the same ones, in the same order.

Shapes: R runs, E epochs.
"""

import multiprocessing.util
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

import jaxnet
from experiments.benchmark.machine import PACKAGES, installed, threads
from experiments.benchmark.timing import Way, refuse_to_time
from experiments.benchmark.work import ACTIVATIONS, EXAMPLE_LOSSES, RATES_TOGETHER, Optimizer, Work
from jaxnet import batches, losses, network, optimizers
from jaxnet.compare import sweep, tiles

SWEEP, FIT, TRAIN = "jaxnet, sweep", "jaxnet, fit", "jaxnet, train"


def single_runs(work: Work, packages: Sequence[str]) -> tuple[dict[str, Way], list[str]]:
    """Give the ways to make the first run by the packages there are, and a note of each other."""
    return _gathered(_SINGLE, work, packages)


def many_runs(work: Work, packages: Sequence[str]) -> tuple[dict[str, Way], list[str]]:
    """Give the ways to make all runs at once by the packages there are, and notes."""
    return _gathered(_MANY, work, packages)


def _gathered(
    ways: dict[str, Callable[[Work], dict[str, Way]]], work: Work, packages: Sequence[str]
) -> tuple[dict[str, Way], list[str]]:
    missing = [each for each in packages if each in PACKAGES and not installed(each)]
    by_package = (ways[package](work) for package in packages if package not in missing)
    return {name: way for each in by_package for name, way in each.items()}, left_out(missing)


def left_out(packages: Sequence[str]) -> list[str]:
    """Say of each package that it is not there."""
    return [f"{PACKAGES[package]} is not installed: left out." for package in packages]


def pytorch(work: Work) -> dict[str, Way]:
    """Give PyTorch's eager loop, on one thread and on all of them."""
    from experiments.benchmark.pytorch import eager

    return {f"PyTorch eager, threads: {count}": eager(work, count) for count in threads()}


def plain_step(work: Work) -> dict[str, Way]:
    """Give a jitted step of optax, called in a Python loop."""
    params, order, rate = work.first
    data, optimizer = jax.device_put(work.data), _optax(work.optimizer, rate)

    @jax.jit
    def step(params: PyTree, opt_state: Any, data: Any, rows: Array) -> Any:
        loss, grads = losses.value_and_grad(work.loss)(params, _batch(work, data, rows))
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    def run() -> Float[np.ndarray, "1 E"]:
        now, opt_state, values = params, optimizer.init(params), []
        for rows in order:
            now, opt_state, loss = step(now, opt_state, data, rows)
            values.append(loss)
        return work.curves(np.array(jax.device_get(values), np.float64))

    return {"optax step, jitted": run}


def equinox(work: Work) -> dict[str, Way]:
    """Give Equinox's `filter_jit` of a step of its MLP, called in a Python loop."""
    import equinox as eqx

    params, order, rate = work.first
    data, optimizer = jax.device_put(work.data), _optax(work.optimizer, rate)
    inputs, *hidden, outputs = work.sizes
    activation, example_loss = ACTIVATIONS[work.model.activation], EXAMPLE_LOSSES[work.model.loss]
    shape = (inputs, outputs, hidden[0], len(hidden), activation)
    empty = eqx.filter_eval_shape(eqx.nn.MLP, *shape, key=jax.random.key(0))
    start = eqx.tree_at(
        lambda mlp: [leaf for layer in mlp.layers for leaf in (layer.weight, layer.bias)],
        empty,
        [jnp.asarray(leaf) for layer in params for leaf in layer],
    )

    @eqx.filter_value_and_grad
    def loss_and_grads(mlp: Any, x: Array, y: Array) -> Array:
        return jnp.mean(example_loss(jax.vmap(mlp)(x), y))

    @eqx.filter_jit
    def step(mlp: Any, opt_state: Any, data: Any, rows: Array) -> Any:
        loss, grads = loss_and_grads(mlp, *_batch(work, data, rows))
        updates, opt_state = optimizer.update(grads, opt_state, eqx.filter(mlp, eqx.is_array))
        return eqx.apply_updates(mlp, updates), opt_state, loss

    def run() -> Float[np.ndarray, "1 E"]:
        mlp, opt_state, values = start, optimizer.init(eqx.filter(start, eqx.is_array)), []
        for rows in order:
            mlp, opt_state, loss = step(mlp, opt_state, data, rows)
            values.append(loss)
        return work.curves(np.array(jax.device_get(values), np.float64))

    return {"Equinox, filter_jit": run}


def flax(work: Work) -> dict[str, Way]:
    """Give Flax NNX's jitted step, its modules traversed at each call or cached."""
    from flax import nnx

    params, order, rate = work.first
    # One for all runs: what is compiled is compiled for it.
    data, transformation = jax.device_put(work.data), _optax(work.optimizer, rate)
    activation, example_loss = ACTIVATIONS[work.model.activation], EXAMPLE_LOSSES[work.model.loss]
    layers, rngs = [], nnx.Rngs(0)
    for weight, bias in params:
        values: dict[str, Any] = {
            "kernel_init": _giving(np.asarray(weight.T)),
            "bias_init": _giving(np.asarray(bias)),
        }
        layers += [nnx.Linear(weight.shape[1], weight.shape[0], rngs=rngs, **values), activation]
    start = nnx.Sequential(*layers[:-1])

    def of_batch(mlp: Any, x: Array, y: Array) -> Array:
        return jnp.mean(example_loss(mlp(x), y))

    def step(mlp: Any, optimizer: Any, data: Any, rows: Array) -> Array:
        loss, grads = nnx.value_and_grad(of_batch)(mlp, *_batch(work, data, rows))
        optimizer.update(mlp, grads)
        return loss

    # The cache is for modules as graphs, their updates in place.
    jitted = nnx.jit(step)
    jitted_graph = nnx.jit(step, graph=True, graph_updates=True)

    def loop(make: Callable[[Any, Any], Any]) -> Float[np.ndarray, "1 E"]:
        mlp = nnx.clone(start)
        optimizer = nnx.Optimizer(mlp, transformation, wrt=nnx.Param)
        call = make(mlp, optimizer)
        values = [call(data, rows) for rows in order]
        return work.curves(np.array(jax.device_get(values), np.float64))

    def passed(mlp: Any, optimizer: Any) -> Any:
        return lambda data, rows: jitted(mlp, optimizer, data, rows)

    def cached(mlp: Any, optimizer: Any) -> Any:
        with nnx.set_graph_mode(True), nnx.set_graph_updates(True):
            return nnx.cached_partial(jitted_graph, mlp, optimizer)

    return {
        "Flax, nnx.jit": lambda: loop(passed),
        "Flax, cached_partial": lambda: loop(cached),
    }


def jaxnet_single(work: Work) -> dict[str, Way]:
    """Give jaxnet's `train` of the order, its checks included."""
    params, order, rate = work.first
    data, make = jax.device_put(work.data), optimizers.by_name(work.optimizer)

    def run() -> Float[np.ndarray, "1 E"]:
        _, values = jaxnet.train(
            work.loss, make, params, data, order, hyperparameters={"learning_rate": rate}
        )
        return work.curves(np.asarray(values, np.float64))

    return {TRAIN: run}


def jaxnet_fit(work: Work) -> dict[str, Way]:
    """Give jaxnet's `fit`, which shuffles by itself, as the order of seed 0."""
    params, order, rate = work.first
    data, make = jax.device_put(work.data), optimizers.by_name(work.optimizer)

    def run() -> Float[np.ndarray, "1 E"]:
        fit = jaxnet.fit(
            work.loss,
            make,
            params,
            data,
            epochs=work.epochs,
            batch_size=order.shape[1],
            hyperparameters={"learning_rate": rate},
        )
        return fit.history["loss"][None].astype(np.float64)

    return {FIT: run}


def torch_func(work: Work) -> dict[str, Way]:
    """Give `torch.func.vmap` over as many models."""
    from experiments.benchmark.pytorch import ensemble

    return {"torch.func vmap": ensemble(work)}


def plain_vmap(work: Work) -> dict[str, Way]:
    """Give one `jax.vmap` of `jaxnet.run`, jitted, on one device."""
    make = optimizers.by_name(work.optimizer)

    def one(params: PyTree, order: Array, learning_rate: Array, data: PyTree) -> Array:
        optimizer = make(learning_rate)
        return jaxnet.run(work.loss, optimizer, jaxnet.start(optimizer, params), data, order)[1]

    shared = len(work.order) == 1
    program = jax.jit(jax.vmap(one, in_axes=(0, None if shared else 0, 0, None)))
    order = work.order[0] if shared else work.order
    inputs = jax.device_put((work.params, order, work.rates, work.data))
    return {"plain vmap": lambda: work.curves(np.asarray(program(*inputs)))}


# In the order in which they are told, ours last.
_SINGLE: dict[str, Callable[[Work], dict[str, Way]]] = {
    "torch": pytorch,
    "equinox": equinox,
    "flax": flax,
    "step": plain_step,
    "train": jaxnet_single,
    "fit": jaxnet_fit,
}
_MANY: dict[str, Callable[[Work], dict[str, Way]]] = {"torch": torch_func, "vmap": plain_vmap}


def sweeping(workload: tiles.Workload, optimizer: str, trials: tiles.Trials) -> Way:
    """Make the runs by `sweep`, on all devices, of data that is on one as the peers' is."""
    workload = workload._replace(data=jax.device_put(workload.data))
    entry = optimizers.entry(optimizer)
    shape = tiles.tile(workload, len(trials.seeds), RATES_TOGETHER)
    return lambda: sweep.run(workload, entry, trials, shape)[0].loss


def scikit_learn(
    task: str, hidden: Sequence[int], batch_size: int, epochs: int, **more: Any
) -> Any:
    """Make scikit-learn's network with the settings of ours, and none of its own stopping."""
    from sklearn import neural_network

    make = {
        "classification": neural_network.MLPClassifier,
        "regression": neural_network.MLPRegressor,
    }[task]
    return make(
        hidden_layer_sizes=tuple(hidden),
        alpha=0,
        batch_size=batch_size,
        max_iter=epochs,
        n_iter_no_change=epochs,
        momentum=0,
        **more,
    )


def trained(theirs: Any, data: tuple[np.ndarray, ...]) -> Any:
    """Train scikit-learn's network, without its warning that so few epochs do not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return theirs.fit(data[0], data[1].ravel())


def scikit_learn_start(theirs: Any, data: tuple[np.ndarray, ...], outputs: int) -> network.Params:
    """Give the values that a network of scikit-learn starts from, as ours.

    For two classes its one logistic output becomes the second of our two, the first zero: the
    same probabilities.
    """
    still = type(theirs)(
        **(
            theirs.get_params()
            | {"max_iter": 1, "n_iter_no_change": 1, "learning_rate_init": 1e-30}
        )
    )
    trained(still, data)
    *hidden, (weight, bias) = zip(still.coefs_, still.intercepts_, strict=True)
    missing = outputs - len(bias)
    output = np.pad(weight, ((0, 0), (missing, 0))), np.pad(bias, (missing, 0))
    return tuple(
        jaxnet.Layer(jnp.asarray(weight.T, jnp.float32), jnp.asarray(bias, jnp.float32))
        for weight, bias in (*hidden, output)
    )


def scikit_learn_runs(work: Work, together: bool = False) -> dict[str, Way]:
    """Give scikit-learn's classifier from a start and in an order of its own, as it is used.

    Args:
        work: whose first run is made.
        together: whether also to make several at once, one process a core, by joblib.

    Raises:
        RuntimeError: losses that differ from ours where both start alike and take the rows as
            they come; the shuffles that are timed are its own.
    """
    _, order, rate = work.first
    theirs = scikit_learn(
        "classification",
        work.sizes[1:-1],
        order.shape[1],
        work.epochs,
        solver=work.optimizer,
        learning_rate_init=rate,
        random_state=0,
    )
    _refuse_others(theirs, work)
    ways: dict[str, Way] = {
        "scikit-learn": lambda: np.array([trained(theirs, work.data).loss_curve_])
    }
    if together and installed("joblib"):
        ways |= _joblib(theirs, work)
    return ways


def _refuse_others(theirs: Any, work: Work) -> None:
    """Refuse a network of scikit-learn that trains otherwise than ours from its start, in order."""
    _, order, _ = work.first
    start = scikit_learn_start(theirs, work.data, work.sizes[-1])
    as_it_comes = np.arange(order.size // work.epochs, dtype=np.int32).reshape(-1, order.shape[1])
    same = work._replace(
        params=jax.tree.map(lambda leaf: leaf[None], start),
        order=np.tile(as_it_comes, (work.epochs, 1))[None],
    )
    unshuffled = type(theirs)(**(theirs.get_params() | {"shuffle": False}))
    curve = np.array([trained(unshuffled, work.data).loss_curve_])
    refuse_to_time("scikit-learn and jaxnet", jaxnet_single(same)[TRAIN](), curve)


def _joblib(theirs: Any, work: Work) -> dict[str, Way]:
    """Give the training of several at once, one process a core."""
    import joblib
    from joblib.externals import loky

    count = threads()[-1]
    pool = joblib.Parallel(n_jobs=count)

    # Else this process, when done, would wait for them as long as they wait for more.
    def shutdown() -> None:
        loky.get_reusable_executor().shutdown()

    multiprocessing.util.Finalize(None, shutdown, exitpriority=100)
    calls = [joblib.delayed(_loss_curve)(theirs, work.data)] * (4 * count)
    return {f"joblib, scikit-learn in {count} processes": lambda: np.array(pool(calls))}


def _loss_curve(theirs: Any, data: tuple[np.ndarray, np.ndarray]) -> list[float]:
    return trained(theirs, data).loss_curve_


def _giving(values: np.ndarray) -> Callable[..., Array]:
    """Make an initializer of Flax that draws nothing."""
    return lambda *_: jnp.asarray(values)


def _batch(work: Work, data: Any, rows: Array) -> Any:
    return data if work.in_full else batches.take(data, rows)


def _optax(optimizer: Optimizer, rate: float) -> optax.GradientTransformation:
    return {"sgd": optax.sgd, "adam": optax.adam}[optimizer](rate)
