"""Where jaxnet stands: against loops written by hand, scikit-learn, PyTorch and the machine."""

import functools
import importlib
import importlib.util
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

import experiments
from experiments import classifier, command, describe, precision
from jaxnet import batches, devices, losses, network, report, tables, training

EPOCHS, LEARNING_RATE = 100, 0.03
TABLES = ("digits", "wine", "breast_cancer", "iris", "diabetes")
BATCH_SIZE, ADAM_RATE = 32, 1e-3
SCORED_HIDDEN, SCORED_EPOCHS = (64, 64), 50
DIGITS_HIDDEN, DIGITS_EPOCHS = (64,), 10
WIDE, WIDE_ROWS, WIDE_BATCH, SGD_RATE = (784, 512, 512, 10), 60_000, 512, 0.01
GEMM, GEMMS = 2048, 5
_NO_TORCH = "PyTorch is not installed: left out."

# One of each, so that every run of a section finds its program compiled.
_RULES = {
    "classification": jax.value_and_grad(
        losses.BatchLoss(network.forward, optax.losses.softmax_cross_entropy_with_integer_labels)
    ),
    "regression": jax.value_and_grad(losses.BatchLoss(network.forward, optax.losses.l2_loss)),
}

Name = Literal["classifier", "imports", "scores", "digits", "wide", "start"]


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


def interleaved(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Timing]:
    """Time every way once a round, after a round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for counted in range(-1, rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if counted >= 0:
                seconds[name].append(time.perf_counter() - start)
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
    columns = (title, "median", "quartiles", "times faster")
    return Section(columns, rows, figures, dtype=dtype)


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


def scikit_learn_start(theirs: Any, data: tables.Split) -> network.Params:
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that one epoch is not enough to converge
        still.fit(data.train[0], data.train[1].ravel())
    *hidden, (weight, bias) = zip(still.coefs_, still.intercepts_, strict=True)
    missing = data.encoder.outputs - len(bias)
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
    theirs = scikit_learn(task, SCORED_HIDDEN, SCORED_EPOCHS, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that so many epochs are not enough to converge
        theirs.fit(data.train[0], data.train[1].ravel())
    start = scikit_learn_start(theirs, data)
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
    start = [
        (torch.tensor(np.asarray(weight)), torch.tensor(np.asarray(bias)))
        for weight, bias in params
    ]

    def model() -> Any:
        layers = []
        for weight, bias in start:
            layers += [torch.nn.Linear(*reversed(weight.shape)), torch.nn.ReLU()]
            layers[-2].weight.data.copy_(weight)
            layers[-2].bias.data.copy_(bias)
        return torch.nn.Sequential(*layers[:-1])

    def run() -> Float[np.ndarray, " T"]:
        torch.set_num_threads(threads)
        net, criterion, found = model(), torch.nn.CrossEntropyLoss(), []
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
        "scikit-learn": lambda: sklearn.fit(*data.train),
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that so many epochs are not enough to converge
        timings = interleaved(ways, rounds)
    section = timed("Digits, 64-64-10, 10 epochs", timings, 1e3, "ms")
    notes = () if torch else (_NO_TORCH,)
    return section._replace(notes=(*slower(timings, "jaxnet, fit"), *notes))


def slower(timings: Mapping[str, Timing], than: str) -> list[str]:
    """Say how many times as long as one way others take, round by round; of PyTorch's the best."""
    ours = timings[than].seconds
    others = {
        library: min(ratio(timing.seconds, ours) for way, timing in timings.items() if way in ways)
        for library in ("scikit-learn", "PyTorch")
        if (ways := [way for way in timings if way.startswith(library)])
    }
    return [
        f"{library} takes {times:.3g} times as long as {than}." for library, times in others.items()
    ]


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
    # On the device beforehand, as PyTorch's tensors are.
    data = jax.device_put((x, rng.integers(0, WIDE[-1], WIDE_ROWS).astype(np.int32)))
    square = rng.standard_normal((GEMM, GEMM), np.float32)
    params = network.init(jax.random.key(0), WIDE)
    steps = epoch_steps(WIDE_ROWS, WIDE_BATCH, 1, 0)

    def run() -> np.ndarray:
        return training.fit(
            _RULES["classification"],
            optax.sgd,
            params,
            data,
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
    training_flops, gemm_flops = WIDE_ROWS * weight_flops(WIDE), GEMMS * 2 * GEMM**3
    rates = {
        way: [(gemm_flops if "matmul" in way else training_flops) / s / 1e9 for s in timing.seconds]
        for way, timing in timings.items()
    }
    peaks = [
        max(each) for each in zip(*(r for w, r in rates.items() if "matmul" in w), strict=True)
    ]
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
    columns = ("Cold start to model", "median", "quartiles", "times faster")
    if importlib.util.find_spec("experiments.train") is None:
        return Section(columns, [], {}, ["experiments.train is missing: cold start left out."])
    root = str(Path(experiments.__file__).parents[1])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    arguments = ["digits", "--hidden", "64", "--epochs", "10", "--output", "run"]

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [sys.executable, "-m", "experiments.train", *arguments],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": paths},
                stdout=subprocess.DEVNULL,
                check=True,
            )

    return timed(columns[0], interleaved({f"train {' '.join(arguments[:5])}": run}, rounds), 1, "s")


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


def main(
    only: tuple[Name, ...] = ("classifier", "imports", "scores", "digits", "wide", "start"),
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
    }
    found = {}
    for name in only:
        section = parts[name]()
        made = provenance(section.dtype)
        print(f"{name}: {describe(made)}")
        show(section)
        found[name] = {"provenance": made, "figures": section.figures, "notes": section.notes}
        if output is not None:
            output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    command(main, "experiments.benchmark")
