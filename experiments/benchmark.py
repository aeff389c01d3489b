"""Where jaxnet stands: against loops written by hand, scikit-learn, PyTorch and the machine."""

import functools
import importlib
import importlib.util
import itertools
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int32, PyTree

import experiments
from experiments import classifier, command, describe, precision
from jaxnet import (
    batches,
    devices,
    losses,
    network,
    optimizers,
    report,
    sweep,
    tables,
    training,
)

EPOCHS, LEARNING_RATE = 100, 0.03
TABLES = ("digits", "wine", "breast_cancer", "iris", "diabetes")
BATCH_SIZE, ADAM_RATE = 32, 1e-3
SCORED_HIDDEN, SCORED_EPOCHS = (64, 64), 50
DIGITS_HIDDEN, DIGITS_EPOCHS = (64,), 10
SWEPT, SWEPT_ROWS, SWEPT_SEEDS = (64, *DIGITS_HIDDEN, 10), 1437, 16
# Higher ones amplify the rounding of float32, and runs could not be told to be the same.
SWEPT_RATES = {
    "sgd": np.geomspace(0.3, 1e-2, 16).tolist(),
    "adam": np.geomspace(1e-3, 1e-4, 16).tolist(),
}
SWEEP, RATES_TOGETHER = "jaxnet, sweep", 16
TINY_SEEDS, TINY_RATES, MANY_SEEDS = 1024, np.geomspace(LEARNING_RATE, 1, 16).tolist(), 6250
WIDE, WIDE_ROWS, WIDE_BATCH, SGD_RATE = (784, 512, 512, 10), 60_000, 512, 0.01
GEMM, GEMMS = 2048, 5
_COLUMNS = ("median", "quartiles", "times faster")
_NO_TORCH = "PyTorch is not installed: left out."

# One of each, so that every run of a section finds its program compiled.
_RULES = {
    "classification": jax.value_and_grad(
        losses.BatchLoss(network.forward, optax.losses.softmax_cross_entropy_with_integer_labels)
    ),
    "regression": jax.value_and_grad(losses.BatchLoss(network.forward, optax.losses.l2_loss)),
}

# How many times as long as ours each is to take, and our share of the machine's peak.
_SWEPT_TARGETS = {
    "sgd": {"PyTorch eager": 50, "scikit-learn": 25, "plain vmap": 4.5, "torch.func": 5},
    "adam": {"PyTorch eager": 55, "scikit-learn": 25, "plain vmap": 4.5, "torch.func": 5},
}
_SHARE_TARGETS = {"sgd": 0.6, "adam": 0.5}
_COMPILE_TARGETS = {"cold": 1.0, "cached": 0.4}

Single = Literal["classifier", "imports", "scores", "digits", "wide", "start"]
# Each in a process of its own, where every CPU core is a device.
Many = Literal["sweep", "tiny", "compile", "memory", "everything"]
Name = Single | Many
NAMES: tuple[Name, ...] = (*get_args(Single), *get_args(Many))

Way = Callable[[], Float[np.ndarray, "R E"]]
"""Makes R runs and gives the mean loss of each of E epochs."""


class Timing(NamedTuple):
    """Seconds of one way to do a thing, over interleaved rounds.

    Attributes:
        median: of the rounds. low, high: their quartiles.
        ratio: the median over rounds of the first way's seconds over this way's.
        seconds: of each round.
    """

    median: float
    low: float
    high: float
    ratio: float
    seconds: tuple[float, ...]


class Section(NamedTuple):
    """What one part of the benchmark found.

    Attributes:
        columns: of the table, the first being its title. rows: of the table, as text.
        figures: the same as numbers.
        notes: what else is to be said, a line each.
        dtype: what was computed with.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: dict[str, Any]
    notes: Sequence[str] = ()
    dtype: str = "float32"


class Target(NamedTuple):
    """What a figure is to be: at least or at most a bound."""

    figure: str
    value: float
    kind: Literal["at least", "at most"]
    bound: float

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.value >= self.bound if self.kind == "at least" else self.value <= self.bound


def held(section: Section, targets: Sequence[Target]) -> Section:
    """Add to a section what its figures are to be, and whether they are."""
    rows = [
        (
            f"target: {target.figure}",
            f"{target.value:.4g}",
            f"{target.kind} {target.bound:g}",
            "met" if target.met else "not met",
        )
        for target in targets
    ]
    figures = {target.figure: target._asdict() | {"met": target.met} for target in targets}
    return section._replace(
        rows=[*section.rows, *rows], figures=section.figures | {"targets": figures}
    )


def interleaved(
    ways: Mapping[str, Callable[[], object]], rounds: int, runs: Mapping[str, int] | None = None
) -> dict[str, Timing]:
    """Time every way once a round, after a round that does not count.

    Args:
        ways: by name.
        rounds: at least 2.
        runs: how many runs a way makes, one unless told otherwise; its seconds are of one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for counted in range(-1, rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if counted >= 0:
                took = time.perf_counter() - start
                seconds[name].append(took / (runs or {}).get(name, 1))
    return summary(seconds)


def summary(seconds: Mapping[str, Sequence[float]]) -> dict[str, Timing]:
    """Sum up the seconds of every way in every round."""
    first = next(iter(seconds.values()))
    timings = {}
    for name, each in seconds.items():
        low, median, high = statistics.quantiles(each, n=4)
        timings[name] = Timing(median, low, high, ratio(first, each), tuple(each))
    return timings


def ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """Give the median over rounds of these seconds over those of the same round."""
    return statistics.median(a / b for a, b in zip(these, those, strict=True))


def refuse_to_time(what: str, ours: Any, theirs: Any, tolerance: float) -> None:
    """Refuse to time what does not compute the same.

    Raises:
        RuntimeError: loss curves further apart than a relative tolerance at any point, of other
            lengths, or not finite.
    """
    ours, theirs = (np.asarray(curve, np.float64) for curve in (ours, theirs))
    same = ours.shape == theirs.shape
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.max(np.abs(ours / theirs - 1)) if same else np.inf
    if not apart <= tolerance:
        raise RuntimeError(f"{what}: loss curves differ by a relative {apart:.1e}; not timed")


def timed(
    title: str, timings: Mapping[str, Timing], unit: float, name: str, dtype: str = "float32"
) -> Section:
    """Make a table of timings."""
    rows = [
        (
            way,
            f"{timing.median * unit:.4g} {name}",
            f"{timing.low * unit:.4g} - {timing.high * unit:.4g}",
            f"{timing.ratio:.3g}",
        )
        for way, timing in timings.items()
    ]
    figures = {way: timing._asdict() for way, timing in timings.items()}
    return Section((title, *_COLUMNS), rows, figures, dtype=dtype)


def numpy_loop() -> Float[np.ndarray, " T"]:
    """Train the notebook's classifier as it does, by its own rule, in a NumPy loop."""
    (hidden, output), (x, y) = jax.device_get(classifier.set_up())
    weight1, bias1, weight2, bias2 = (leaf.copy() for leaf in (*hidden, *output))
    losses = np.empty(EPOCHS)
    for epoch in range(EPOCHS):
        h = np.tanh(np.dot(x, weight1.T) + bias1)
        z = np.dot(h, weight2.T) + bias2
        e = np.exp(z - np.max(z, axis=1, keepdims=True))
        p = e / np.sum(e, axis=1, keepdims=True)
        losses[epoch] = -np.sum(y * np.log(p + 1e-10)) / len(x)
        delta = p - y
        signal = 1 - np.tanh(np.dot(delta, weight2)) ** 2
        weight1 -= LEARNING_RATE * np.dot(signal.T, x)
        weight2 -= LEARNING_RATE * np.dot(h.T, delta)
        bias1 -= LEARNING_RATE * np.mean(signal, axis=0)
        bias2 -= LEARNING_RATE * np.mean(delta, axis=0)
    return losses


def classifier_run(rounds: int = 100) -> dict[str, Timing]:
    """Time the classifier's 100 epochs in a NumPy loop, compiled, and through `train`'s checks.

    Raises:
        RuntimeError: curves that do not agree to 1e-9; what differs is not timed.
    """
    params, data = classifier.set_up()
    order = jax.device_put(batches.full_batch(2, EPOCHS))
    with precision("float64"):

        def run(rule: training.ValueAndGrad) -> jax.Array:
            given = (rule, optax.sgd, params, data, order)
            return training.train(*given, learning_rate=LEARNING_RATE)[1].block_until_ready()

        @jax.jit
        def scan(params: PyTree, learning_rate: float) -> jax.Array:
            optimizer = optax.sgd(learning_rate)
            state = training.start(optimizer, params)
            return training.run(classifier.notebook_rule, optimizer, state, data, order)[1]

        ways = {
            "NumPy loop": numpy_loop,
            "jaxnet, jitted run": lambda: scan(params, LEARNING_RATE).block_until_ready(),
            "jaxnet, train (checked)": lambda: run(classifier.notebook_rule),
            "jaxnet, train by autodiff (checked)": lambda: run(classifier.AUTODIFF),
        }
        refuse_to_time("NumPy and jaxnet", run(classifier.notebook_rule), numpy_loop(), 1e-9)
        return interleaved(ways, rounds)


def import_seconds(rounds: int = 5) -> dict[str, Timing]:
    """Time the imports in fresh processes."""

    def importing(modules: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)

    return interleaved(
        {name: importing(name) for name in ("jax, optax", "jax, optax, jaxnet")}, rounds
    )


def scikit_learn(task: str, hidden: Sequence[int], epochs: int, seed: int) -> Any:
    """Make scikit-learn's network with the settings of ours, and none of its own stopping."""
    from sklearn import neural_network  # noqa: PLC0415 (takes a second)

    make = {
        "classification": neural_network.MLPClassifier,
        "regression": neural_network.MLPRegressor,
    }[task]
    return make(
        hidden_layer_sizes=tuple(hidden),
        alpha=0,
        batch_size=BATCH_SIZE,
        learning_rate_init=ADAM_RATE,
        max_iter=epochs,
        n_iter_no_change=epochs,
        random_state=seed,
    )


def fit(
    task: str, params: network.Params, data: tables.Split, epochs: int, seed: int
) -> training.Fit:
    """Train jaxnet's network with the same settings."""
    return training.fit(
        _RULES[task],
        optax.adam,
        params,
        data.train,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        seed=seed,
        learning_rate=ADAM_RATE,
    )


def trained(theirs: Any, data: tuple[np.ndarray, np.ndarray]) -> Any:
    """Train scikit-learn's network, without its warning that so few epochs do not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return theirs.fit(data[0], data[1].ravel())


def scikit_learn_start(
    theirs: Any, data: tuple[np.ndarray, np.ndarray], outputs: int
) -> network.Params:
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
        network.Layer(jnp.asarray(weight.T, jnp.float32), jnp.asarray(bias, jnp.float32))
        for weight, bias in (*hidden, output)
    )


@jax.jit
def _outputs(params: network.Params, x: Array) -> Array:
    return jax.vmap(network.forward, in_axes=(None, 0))(params, x)


def score_both(name: str, seed: int) -> tuple[float, float]:
    """Train both on one split of a table; give scikit-learn's and jaxnet's test score."""
    data = tables.split(tables.read(name), "target", validation=0, seed=seed)
    task, (x, y) = data.encoder.target.kind, data.test
    theirs = trained(scikit_learn(task, SCORED_HIDDEN, SCORED_EPOCHS, seed), data.train)
    start = scikit_learn_start(theirs, data.train, data.encoder.outputs)
    outputs = np.asarray(_outputs(fit(task, start, data, SCORED_EPOCHS, seed).params, x))
    if task == "classification":
        ours = float(np.mean(outputs.argmax(axis=1) == y))
    else:
        ours = 1 - float(np.sum((outputs - y) ** 2) / np.sum((y - y.mean()) ** 2))
    return float(theirs.score(x, y.ravel())), ours


def paired(theirs: Sequence[float], ours: Sequence[float]) -> tuple[float, float]:
    """Give the mean difference, ours less theirs, and its standard error over the pairs."""
    apart = [b - a for a, b in zip(theirs, ours, strict=True)]
    return statistics.mean(apart), statistics.stdev(apart) / len(apart) ** 0.5


def scores(seeds: int = 20) -> Section:
    """Score scikit-learn's networks and jaxnet's on the same splits of the bundled tables."""
    rows, figures = [], {}
    for name in TABLES:
        theirs, ours = zip(*(score_both(name, seed) for seed in range(seeds)), strict=True)
        difference, error = paired(theirs, ours)
        holds = difference >= -error or math.isclose(difference, -error)
        rows.append(
            (
                name,
                f"{statistics.mean(theirs):.4f}",
                f"{statistics.mean(ours):.4f}",
                f"{difference:+.4f} ± {error:.4f}",
                "yes" if holds else "no",
            )
        )
        figures[name] = {
            "scikit-learn": theirs,
            "jaxnet": ours,
            "difference": difference,
            "standard_error": error,
            "holds": holds,
        }
    columns = ("Test score", "scikit-learn", "jaxnet", "difference", "not below by 1 s.e.")
    notes = (
        f"Accuracy, or R² (diabetes); mean of {seeds} seeds, each with its own split and start; "
        f"{SCORED_EPOCHS} epochs.",
        "Both start from the values that scikit-learn draws; the order of the rows is their own.",
        "For two classes scikit-learn has one logistic output, jaxnet two under a softmax.",
    )
    return Section(columns, rows, figures, notes)


def torch_module() -> Any:
    """Give PyTorch, None where it is not installed."""
    return importlib.import_module("torch") if importlib.util.find_spec("torch") else None


def torch_network(torch: Any, params: network.Params) -> Any:
    """Make PyTorch's network of those shapes, [O, I] and [O] or with other axes before them."""
    layers = []
    for weight, _ in params:
        outputs, inputs = weight.shape[-2:]
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def torch_tensors(torch: Any, params: network.Params) -> dict[str, Any]:
    """Copy parameters into tensors, by the names that PyTorch's network has for them."""
    return {
        f"{2 * index}.{name}": torch.tensor(np.asarray(leaf))
        for index, layer in enumerate(params)
        for name, leaf in layer._asdict().items()
    }


def torch_loop(
    torch: Any,
    params: network.Params,
    data: tuple[np.ndarray, np.ndarray],
    steps: Sequence[np.ndarray],
    make: Callable[[Any], Any],
    threads: int,
) -> Callable[[], Float[np.ndarray, " T"]]:
    """Make PyTorch's eager training loop over the given rows of each step; it gives the losses."""
    x, y = torch.from_numpy(data[0]), torch.from_numpy(data[1]).long()
    order = [torch.from_numpy(rows).long() for rows in steps]
    start = torch_tensors(torch, params)

    def run() -> Float[np.ndarray, " T"]:
        torch.set_num_threads(threads)
        net, criterion, found = torch_network(torch, params), torch.nn.CrossEntropyLoss(), []
        net.load_state_dict(start)
        optimizer = make(net.parameters())
        for rows in order:
            optimizer.zero_grad()
            loss = criterion(net(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            found.append(loss.detach())
        return torch.stack(found).numpy()

    return run


def epoch_steps(rows: int, batch_size: int, epochs: int, seed: int) -> list[np.ndarray]:
    """Cut the shuffles of `fit` into its steps, the short last one of each epoch included."""
    return [
        order[first : first + batch_size]
        for epoch in range(epochs)
        for order in [batches.shuffle(rows, seed, epoch)]
        for first in range(0, rows, batch_size)
    ]


def epoch_means(
    values: Float[np.ndarray, " T"], steps: Sequence[np.ndarray], epochs: int
) -> Float[np.ndarray, " E"]:
    """Average the losses of steps over the examples of each epoch."""
    sizes = np.array([len(rows) for rows in steps]).reshape(epochs, -1)
    return (values.reshape(epochs, -1) * sizes).sum(axis=1) / sizes.sum(axis=1)


def _threads() -> list[int]:
    return sorted({1, os.cpu_count() or 1})


def digits(rounds: int = 15) -> Section:
    """Time 10 epochs of 64-64-10 on digits in every library, compiled already.

    Raises:
        RuntimeError: PyTorch and jaxnet that do not compute the same to 1e-3.
    """
    data = tables.split(tables.read("digits"), "target", validation=0)
    rows = len(data.train[0])
    params = network.init(
        jax.random.key(0), [data.encoder.inputs, *DIGITS_HIDDEN, data.encoder.outputs]
    )
    order = batches.shuffled(rows, BATCH_SIZE, DIGITS_EPOCHS, 0)
    steps = epoch_steps(rows, BATCH_SIZE, DIGITS_EPOCHS, 0)
    sklearn = scikit_learn("classification", DIGITS_HIDDEN, DIGITS_EPOCHS, 0)

    def train() -> np.ndarray:
        given = (_RULES["classification"], optax.adam, params, data.train, order)
        return np.asarray(training.train(*given, learning_rate=ADAM_RATE)[1])

    def run() -> np.ndarray:
        return fit("classification", params, data, DIGITS_EPOCHS, 0).history["loss"]

    ways: dict[str, Callable[[], object]] = {
        "scikit-learn": lambda: trained(sklearn, data.train),
        "jaxnet, fit": run,
        "jaxnet, train": train,
    }
    torch = torch_module()
    for threads in _threads() if torch else ():
        make = functools.partial(torch.optim.Adam, lr=ADAM_RATE)
        loop = functools.partial(torch_loop, torch, params, data.train, make=make, threads=threads)
        ways[f"PyTorch eager, threads: {threads}"] = through = loop(steps=steps)
        theirs = epoch_means(through(), steps, DIGITS_EPOCHS)
        refuse_to_time("PyTorch and fit", run(), theirs, 1e-3)
        refuse_to_time("PyTorch and train", train(), loop(steps=list(order))(), 1e-3)
    timings = interleaved(ways, rounds)
    section = timed("Digits, 64-64-10, 10 epochs", timings, 1e3, "ms")
    notes = () if torch else (_NO_TORCH,)
    return section._replace(notes=(*slower(timings, "jaxnet, fit"), *notes))


def slower(timings: Mapping[str, Timing], than: str) -> list[str]:
    """Say how many times as long as one way other libraries take."""
    return [
        f"{library} takes {times:.3g} times as long as {than}."
        for library, times in times_slower(timings, than, ("scikit-learn", "PyTorch")).items()
    ]


def times_slower(
    timings: Mapping[str, Timing], than: str, peers: Sequence[str]
) -> dict[str, float]:
    """Give how many times as long as one way peers take, round by round; of each its best way."""
    ours = timings[than].seconds
    return {
        peer: min(ratio(timing.seconds, ours) for way, timing in timings.items() if way in ways)
        for peer in peers
        if (ways := [way for way in timings if way.startswith(peer)])
    }


def weight_flops(sizes: Sequence[int]) -> int:
    """Count the operations of one example's products, forward and backward.

    Two for each weight to the outputs, two to its gradient and two back to the inputs, the last
    not in the first layer.
    """
    weights = [a * b for a, b in itertools.pairwise(sizes)]
    return 6 * sum(weights) - 2 * weights[0]


def wide(rounds: int = 9) -> Section:
    """Hold an epoch of a wide network against the machine's own matrix products and PyTorch.

    Raises:
        RuntimeError: PyTorch and jaxnet that do not compute the same to 1e-3.
    """
    rng = np.random.default_rng(0)
    x = rng.standard_normal((WIDE_ROWS, WIDE[0]), np.float32)
    data = x, rng.integers(0, WIDE[-1], WIDE_ROWS).astype(np.int32)
    # On the device beforehand, as PyTorch's tensors are.
    placed = jax.device_put(data)
    square = rng.standard_normal((GEMM, GEMM), np.float32)
    params = network.init(jax.random.key(0), WIDE)
    steps = epoch_steps(WIDE_ROWS, WIDE_BATCH, 1, 0)

    def run() -> np.ndarray:
        return training.fit(
            _RULES["classification"],
            optax.sgd,
            params,
            placed,
            epochs=1,
            batch_size=WIDE_BATCH,
            learning_rate=SGD_RATE,
        ).history["loss"]

    ways: dict[str, Callable[[], object]] = {"jaxnet, fit": run}
    ways[f"jnp.matmul {GEMM}"] = jax_gemm(square)
    torch, threads = torch_module(), os.cpu_count() or 1
    if torch:
        make = functools.partial(torch.optim.SGD, lr=SGD_RATE)
        ways["PyTorch eager"] = loop = torch_loop(torch, params, data, steps, make, threads)
        refuse_to_time("PyTorch and fit", run(), epoch_means(loop(), steps, 1), 1e-3)
        ways[f"torch.matmul {GEMM}"] = torch_gemm(torch, square, threads)
    section = wide_section(interleaved(ways, rounds))
    return section if torch else section._replace(notes=(*section.notes, _NO_TORCH))


def wide_section(timings: Mapping[str, Timing]) -> Section:
    """Turn seconds into operations a second, as shares of the round's best matrix product."""
    rates, peaks = gflops(timings, WIDE_ROWS * weight_flops(WIDE))
    shares = {way: ratio(rate, peaks) for way, rate in rates.items()}
    rows = [
        (
            way,
            f"{statistics.median(rate):.4g} GFLOP/s",
            f"{min(rate):.4g} - {max(rate):.4g}",
            f"{shares[way]:.3f}",
            f"{max(rate) / max(peaks):.3f}",
        )
        for way, rate in rates.items()
    ]
    title = f"{'-'.join(map(str, WIDE))}, batch {WIDE_BATCH}"
    columns = (title, "median", "range", "share of the round's peak", "best / best peak")
    figures = {
        way: {"gflops": rates[way], "share": shares[way], **timing._asdict()}
        for way, timing in timings.items()
    }
    return Section(columns, rows, figures, slower(timings, "jaxnet, fit"))


def gflops(timings: Mapping[str, Timing], flops: int) -> tuple[dict[str, list[float]], list[float]]:
    """Give the rate of every way in every round, and the best matrix product's of each round."""
    gemm = GEMMS * 2 * GEMM**3
    rates = {
        way: [(gemm if "matmul" in way else flops) / s / 1e9 for s in timing.seconds]
        for way, timing in timings.items()
    }
    products = (rate for way, rate in rates.items() if "matmul" in way)
    return rates, [max(each) for each in zip(*products, strict=True)]


def jax_gemm(square: np.ndarray) -> Callable[[], object]:
    """Make the matrix products that show what the machine can do through XLA."""
    a, multiply = jnp.asarray(square), jax.jit(jnp.matmul)
    return lambda: [multiply(a, a).block_until_ready() for _ in range(GEMMS)]


def torch_gemm(torch: Any, square: np.ndarray, threads: int) -> Callable[[], object]:
    """Make the same in PyTorch."""
    a = torch.from_numpy(square)

    def run() -> None:
        torch.set_num_threads(threads)
        for _ in range(GEMMS):
            torch.matmul(a, a)

    return run


def start(rounds: int = 5) -> Section:
    """Time the command from a cold start to a finished model, each in a process and folder new."""
    columns = ("Cold start to model", *_COLUMNS)
    if importlib.util.find_spec("experiments.train") is None:
        return Section(columns, [], {}, ["experiments.train is missing: cold start left out."])
    arguments = ["digits", "--hidden", "64", "--epochs", "10", "--output", "run"]

    def run() -> None:
        run_command("experiments.train", arguments)

    return timed(columns[0], interleaved({f"train {' '.join(arguments[:5])}": run}, rounds), 1, "s")


def run_command(module: str, arguments: Sequence[str], **environment: str) -> None:
    """Run a command of ours in a process and folder new."""
    root = str(Path(experiments.__file__).parents[1])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": paths} | environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )


def fresh(function: Callable[..., Any], *arguments: Any, cache: str | None = None) -> Any:
    """Call a function in a process new, where every CPU core is a device.

    Args:
        function: of a module. arguments: of it.
        cache: the folder of compiled programs; none where None.
    """
    context = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(1, context, _prepare, (cache,)) as pool:
        return pool.submit(function, *arguments).result()


def _prepare(cache: str | None) -> None:
    devices.use_all_cores()
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def crossed(seeds: int, rates: Sequence[float]) -> list[sweep.Run]:
    """Pair every seed with every learning rate."""
    return [(seed, rate) for seed in range(seeds) for rate in rates]


class Ensemble(NamedTuple):
    """R runs to make together, for ways that take them as arrays.

    Attributes:
        params: every leaf with axis R first. order: shape [R, T, B]. rates: shape [R].
        data: x [N, I] and labels y [N].
    """

    params: network.Params
    order: Int32[np.ndarray, "R T B"]
    rates: Float[np.ndarray, " R"]
    data: tuple[np.ndarray, np.ndarray]


def ensemble(task: sweep.Task, pairs: Sequence[sweep.Run]) -> Ensemble:
    """Give runs as `sweep.run` makes them: a start and an order for each seed."""
    seeds, rates = zip(*pairs, strict=True)
    cut, start = (task.rows, task.batch_size, task.epochs), devices.program(sweep.start, "init")
    order = {seed: batches.shuffled(*cut, seed) for seed in set(seeds)}
    return Ensemble(
        jax.device_get(start(task.init, np.array(seeds, np.int32))),
        np.stack([order[seed] for seed in seeds]),
        np.array(rates, np.float32),
        task.data,
    )


def sweeping(task: sweep.Task, optimizer: str, pairs: Sequence[sweep.Run]) -> Way:
    """Make the runs by `sweep`, on all devices."""
    entry, shape = optimizers.entry(optimizer), sweep.tile(task, len(pairs), RATES_TOGETHER)
    return lambda: sweep.run(task, entry, pairs, shape)[0].loss


def plain_vmap(
    rule: training.ValueAndGrad, optimizer: str, runs: Ensemble
) -> Callable[[], Float[np.ndarray, "R T"]]:
    """Make the runs by one `jax.vmap` of `training.run`, jitted, on one device."""
    make = optimizers.by_name(optimizer)

    def one(params: PyTree, order: Array, learning_rate: Array, data: PyTree) -> Array:
        made = make(learning_rate)
        return training.run(rule, made, training.start(made, params), data, order)[1]

    program = jax.jit(jax.vmap(one, in_axes=(0, 0, 0, None)))
    given = jax.device_put((runs.params, runs.order, runs.rates, runs.data))
    return lambda: np.asarray(program(*given))


def torch_ensemble(
    torch: Any, optimizer: str, runs: Ensemble, threads: int
) -> Callable[[], Float[np.ndarray, "R T"]]:
    """Make the runs by `torch.func.vmap` over as many models."""
    x, y = torch.from_numpy(runs.data[0]), torch.from_numpy(runs.data[1]).long()
    order, rates = torch.from_numpy(runs.order).long(), torch.from_numpy(runs.rates)
    start, net = torch_tensors(torch, runs.params), torch_network(torch, runs.params)

    def loss(params: Any, x: Any, y: Any) -> Any:
        outputs = torch.func.functional_call(net, params, (x,))
        return torch.nn.functional.cross_entropy(outputs, y)

    gradients = torch.func.vmap(torch.func.grad_and_value(loss))

    def run() -> Float[np.ndarray, "R T"]:
        torch.set_num_threads(threads)
        params, found = {name: leaf.clone() for name, leaf in start.items()}, []
        update = torch_update(torch, optimizer, params, rates)
        for step, rows in enumerate(order.unbind(1), 1):
            grads, values = gradients(params, x[rows], y[rows])
            update(step, grads)
            found.append(values)
        return torch.stack(found, 1).numpy()

    return run


def torch_update(
    torch: Any, optimizer: str, params: Mapping[str, Any], rates: Any
) -> Callable[[int, Mapping[str, Any]], None]:
    """Make the update of SGD or Adam, in place, for parameters with axis R first."""
    rate = {name: rates.view(-1, *[1] * (leaf.ndim - 1)) for name, leaf in params.items()}
    first, second = ({k: torch.zeros_like(leaf) for k, leaf in params.items()} for _ in range(2))

    def sgd(_: int, grads: Mapping[str, Any]) -> None:
        for name, leaf in params.items():
            leaf.sub_(rate[name] * grads[name])

    def adam(step: int, grads: Mapping[str, Any]) -> None:
        for name, leaf in params.items():
            grad, mean, square = grads[name], first[name], second[name]
            mean.lerp_(grad, 0.1)
            square.mul_(0.999).addcmul_(grad, grad, value=0.001)
            scale = (square / (1 - 0.999**step)).sqrt_().add_(1e-8)
            leaf.sub_(mean.div(scale).mul_(rate[name] / (1 - 0.9**step)))

    return {"sgd": sgd, "adam": adam}[optimizer]


def digits_task() -> sweep.Task:
    """Give what each run of `sweep` trains: 64-64-10 on digits."""
    from sklearn import datasets  # noqa: PLC0415 (takes a second)

    x, y = datasets.load_digits(return_X_y=True)
    data = (x[:SWEPT_ROWS] / 16).astype(np.float32), y[:SWEPT_ROWS].astype(np.int32)
    init = functools.partial(network.init, sizes=SWEPT)
    return sweep.Task(_RULES["classification"], init, data, BATCH_SIZE, DIGITS_EPOCHS)


def sweep_ways(task: sweep.Task, optimizer: str, pairs: Sequence[sweep.Run]) -> dict[str, Way]:
    """Give the ways to make the runs, or the first of them alone, slowest first and ours last."""
    runs, torch = ensemble(task, pairs), torch_module()
    steps, ways = {}, {}
    for threads in _threads() if torch else ():
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
        make = functools.partial(kind, lr=float(runs.rates[0]))
        params = jax.tree.map(lambda leaf: leaf[0], runs.params)
        steps[f"PyTorch eager, threads: {threads}"] = torch_loop(
            torch, params, runs.data, list(runs.order[0]), make, threads
        )
    if torch:
        steps["torch.func vmap"] = torch_ensemble(torch, optimizer, runs, _threads()[-1])
    steps["plain vmap"] = plain_vmap(task.value_and_grad, optimizer, runs)

    def of_epochs(way: Callable[[], np.ndarray]) -> Way:
        return lambda: way().reshape(-1, task.epochs, task.steps // task.epochs).mean(axis=2)

    ways = {name: of_epochs(way) for name, way in steps.items()}
    return ways | {SWEEP: sweeping(task, optimizer, pairs)}


def count_runs(ways: Mapping[str, Way]) -> dict[str, int]:
    """Give how many runs each way makes, the same ones and in the same order.

    Raises:
        RuntimeError: a way whose losses differ from ours by more than a relative 1e-3.
    """
    curves = {name: way() for name, way in ways.items()}
    for name, curve in curves.items():
        refuse_to_time(f"{name} and {SWEEP}", curves[SWEEP][: len(curve)], curve, 1e-3)
    return {name: len(curve) for name, curve in curves.items()}


def scikit_learn_way(task: sweep.Task, optimizer: str, learning_rate: float) -> Way:
    """Make one run by scikit-learn, of the rows that fill the batches of an epoch.

    Raises:
        RuntimeError: losses that differ from ours by more than a relative 1e-3 where both take
            the rows as they come; the shuffles that are timed are its own.
    """
    whole = task.steps // task.epochs * task.batch_size
    x, y = data = jax.tree.map(lambda leaf: leaf[:whole], task.data)
    theirs = scikit_learn("classification", DIGITS_HIDDEN, task.epochs, 0)
    theirs.set_params(solver=optimizer, momentum=0, learning_rate_init=learning_rate)
    start = scikit_learn_start(theirs, data, SWEPT[-1])

    def run() -> Float[np.ndarray, "1 E"]:
        return np.array([trained(theirs, (x, y)).loss_curve_])

    order = np.arange(whole, dtype=np.int32).reshape(-1, task.batch_size)
    given = (start, data, np.tile(order, (task.epochs, 1)))
    make = optimizers.by_name(optimizer)
    _, ours = training.train(task.value_and_grad, make, *given, learning_rate=learning_rate)
    theirs.set_params(shuffle=False)
    means = np.asarray(ours).reshape(1, task.epochs, -1).mean(axis=2)
    refuse_to_time("scikit-learn and jaxnet", means, run(), 1e-3)
    theirs.set_params(shuffle=True)
    return run


def swept(rounds: int = 7) -> Section:
    """Time 256 runs on digits by `sweep` and by its peers.

    Raises:
        RuntimeError: a peer that does not compute the same.
    """
    task, torch, timings, compiled = digits_task(), torch_module(), {}, {}
    square = np.random.default_rng(0).standard_normal((GEMM, GEMM), np.float32)
    products = {f"jnp.matmul {GEMM}": jax_gemm(square)}
    if torch:
        products[f"torch.matmul {GEMM}"] = torch_gemm(torch, square, _threads()[-1])
    for optimizer, rates in SWEPT_RATES.items():
        pairs = crossed(SWEPT_SEEDS, rates)
        peers = sweep_ways(task, optimizer, pairs)
        runs = count_runs(peers)
        ways = {"scikit-learn": scikit_learn_way(task, optimizer, rates[0])} | peers | products
        timings[optimizer] = interleaved(ways, rounds, runs)
        compiled[optimizer] = compile_seconds(optimizer)
    section = swept_section(timings, compiled, task.steps * BATCH_SIZE * weight_flops(SWEPT))
    return section if torch else section._replace(notes=(*section.notes, _NO_TORCH))


def swept_section(
    timings: Mapping[str, Mapping[str, Timing]], compiled: Mapping[str, float], flops: int
) -> Section:
    """Hold the timings of runs of so many operations, by optimizer, against what they are to be."""
    rows, figures, targets, notes = [], {}, [], []
    for optimizer, each in timings.items():
        rates, peaks = gflops(each, flops)
        found = timed("", {way: each[way] for way in each if "matmul" not in way}, 1e3, "ms")
        rows += [(f"{optimizer}, {row[0]}", *row[1:]) for row in found.rows]
        wanted, share = _SWEPT_TARGETS[optimizer], ratio(rates[SWEEP], peaks)
        targets += [
            Target(f"{optimizer}, {peer} / jaxnet", times, "at least", wanted[peer])
            for peer, times in times_slower(each, SWEEP, list(wanted)).items()
        ]
        targets.append(
            Target(f"{optimizer}, share of peak", share, "at least", _SHARE_TARGETS[optimizer])
        )
        notes.append(
            f"{optimizer}: {statistics.median(rates[SWEEP]):.4g} GFLOP/s of a peak of "
            f"{statistics.median(peaks):.4g}; compiled in {compiled[optimizer]:.3g} s."
        )
        figures[optimizer] = found.figures | {
            "gflops": rates[SWEEP],
            "peak_gflops": peaks,
            "compile_seconds": compiled[optimizer],
        }
    notes.append(
        "scikit-learn and PyTorch eager make one run, the others 256: 16 learning rates of each "
        "of 16 seeds; what is compared are runs of the same losses, to a relative 1e-3."
    )
    columns = ("A run of digits, 64-64-10, 10 epochs", *_COLUMNS)
    return held(Section(columns, rows, figures, notes), targets)


def tiny_task(rule: training.ValueAndGrad) -> sweep.Task:
    """Give the notebook's classifier as a task, from starts drawn by seed."""
    init = functools.partial(network.init, sizes=(3, 4, 4))
    return sweep.Task(rule, init, classifier.set_up("float32")[1], 2, EPOCHS)


def check_tiny(pairs: Sequence[sweep.Run]) -> None:
    """Check that the first of the runs, from the notebook's start, is the NumPy loop's.

    Raises:
        RuntimeError: losses that differ by more than a relative 1e-5.
    """
    start, _ = classifier.set_up("float32")
    task = tiny_task(classifier.notebook_rule)._replace(init=lambda _: start)
    refuse_to_time("NumPy and sweep", sweeping(task, "sgd", pairs)()[0], numpy_loop(), 1e-5)


def tiny(rounds: int = 9) -> Section:
    """Time 16,384 runs of the notebook's classifier by `sweep`.

    Raises:
        RuntimeError: a sweep that does not compute what the NumPy loop does.
    """
    pairs = crossed(TINY_SEEDS, TINY_RATES)
    check_tiny(pairs)
    rules = {"notebook's rule": classifier.notebook_rule, "autodiff": classifier.AUTODIFF}
    sweeps = {f"{SWEEP}, {n}": sweeping(tiny_task(r), "sgd", pairs) for n, r in rules.items()}
    runs = dict.fromkeys(sweeps, len(pairs))
    timings = interleaved({"NumPy loop": numpy_loop, **sweeps}, rounds, runs)
    title = f"A run of the notebook classifier, {EPOCHS} epochs, of {len(pairs)}"
    targets = [Target(f"{way}, us", timings[way].median * 1e6, "at most", 6) for way in sweeps]
    notes = ("The NumPy loop computes in float64 and by the notebook's rule.",)
    return held(timed(title, timings, 1e6, "us"), targets)._replace(notes=notes)


def compile_seconds(optimizer: str) -> float:
    """Give the seconds to trace and compile a tile of digits, where it is not compiled yet."""
    task = digits_task()
    runs = SWEPT_SEEDS * len(SWEPT_RATES[optimizer])
    shape = sweep.tile(task, runs, RATES_TOGETHER)
    return sweep.compiled(task, optimizers.entry(optimizer), shape).seconds


def compiling(rounds: int = 5) -> Section:
    """Time compiling a tile of digits in a process new, without and with a cache of programs."""
    seconds = {f"{o}, {state}": [] for o in SWEPT_RATES for state in _COMPILE_TARGETS}
    for _, optimizer in itertools.product(range(rounds), SWEPT_RATES):
        with tempfile.TemporaryDirectory() as cache:
            for state in _COMPILE_TARGETS:
                took = fresh(compile_seconds, optimizer, cache=cache)
                seconds[f"{optimizer}, {state}"].append(took)
    timings = summary(seconds)
    targets = [
        Target(f"{way}, s", timing.median, "at most", _COMPILE_TARGETS[way.split(", ")[1]])
        for way, timing in timings.items()
    ]
    return held(timed("Compiling a tile of digits", timings, 1, "s"), targets)


def memory() -> Section:
    """Measure the memory of a process new that makes 100,000 runs, this one."""
    pairs = crossed(MANY_SEEDS, TINY_RATES)
    sweeping(tiny_task(classifier.AUTODIFF), "sgd", pairs)()
    columns = (f"{len(pairs)} runs of the notebook classifier", "found", "wanted", "")
    targets = [Target("peak resident memory, GB", peak_memory() / 1e9, "at most", 2)]
    return held(Section(columns, [], {}), targets)


def peak_memory() -> int:
    """Give the most bytes that this process has held.

    `getrusage` would count what the process held that started it, before it became this one.
    """
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(dict(line.split(":", 1) for line in status)["VmHWM"].split()[0])


def everything() -> Section:
    """Time the command that compares all optimizers, from an empty cache of programs."""
    arguments = ["--optimizers", "all", "--budget", "12", "--seeds", "10", "--output", "run"]
    began = time.perf_counter()
    run_command("experiments.optimizers", arguments, JAX_COMPILATION_CACHE_DIR="cache")
    took = time.perf_counter() - began
    columns = (f"optimizers {' '.join(arguments[:-2])}", "found", "wanted", "")
    return held(Section(columns, [], {}), [Target("wall time, s", took, "at most", 180)])


def show(section: Section) -> None:
    """Print a section."""
    report.table("", section.columns, section.rows)
    for note in section.notes:
        print(note)


def provenance(dtype: str) -> dict[str, str]:
    """Record versions, device and cores, scikit-learn's and PyTorch's versions among them."""
    found = {"scikit-learn": metadata.version("scikit-learn"), "cores": str(os.cpu_count())}
    if torch_module():
        found["torch"] = metadata.version("torch")
    return devices.provenance(dtype) | found


def made(part: Callable[[], Section]) -> tuple[Section, dict[str, str]]:
    """Make a section, and say where it was made."""
    section = part()
    return section, provenance(section.dtype)


def main(
    only: tuple[Name, ...] = NAMES,
    seeds: int = 20,
    output: Path | None = None,
) -> None:
    """Hold jaxnet against what it replaces, interleaved, medians with quartiles.

    Args:
        only: The parts to run.
        seeds: Of the scores; at least 2.
        output: A .json file for all figures.
    """
    if seeds < 2:
        raise ValueError(f"seeds: wanted at least 2, for a standard error; got {seeds}")
    if output is not None and (output.suffix != ".json" or not output.parent.is_dir()):
        raise ValueError(f"output: wanted a .json file in a folder there is; got {output}")
    title = f"The notebook classifier, {EPOCHS} epochs"
    parts: dict[Name, Callable[[], Section]] = {
        "classifier": lambda: timed(title, classifier_run(), 1e6, "us", "float64"),
        "imports": lambda: timed("Importing", import_seconds(), 1.0, "s"),
        "scores": lambda: scores(seeds),
        "digits": digits,
        "wide": wide,
        "start": start,
        "sweep": swept,
        "tiny": tiny,
        "compile": compiling,
        "memory": memory,
        "everything": everything,
    }
    found = {}
    for name in only:
        make = functools.partial(made, parts[name])
        section, where = fresh(make) if name in get_args(Many) else make()
        print(f"{name}: {describe(where)}")
        show(section)
        found[name] = {"provenance": where, "figures": section.figures, "notes": section.notes}
        if output is not None:
            output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    command(main, "experiments.benchmark")
