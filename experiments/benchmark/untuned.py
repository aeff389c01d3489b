"""Part: test scores of `jaxnet train` as it comes, beside scikit-learn's models as they come."""

import concurrent.futures
import functools
import importlib
import importlib.util
import statistics
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from experiments.benchmark.scores import in_errors, paired
from experiments.benchmark.timing import Section, Table
from experiments.benchmark.work import Size
from jaxnet import tables
from jaxnet.commands import train
from jaxnet.commands.settings import Train

_BUNDLED = ("digits", "wine", "breast_cancer", "iris", "diabetes")
_NETWORK, _TREES = "MLP", "gradient boosting"
_PART, _SHARES = "part", {"test": 0.2, "validation": 0.2}
_WITHIN = "tables within one standard error of the better"


class _Source(NamedTuple):
    """A table that a package carries.

    Attributes:
        package: it. load: gives a frame of pandas. settings: of `jaxnet train`.
    """

    package: str
    load: Callable[[], Any]
    settings: Mapping[str, Any]


def _penguins() -> Any:
    return importlib.import_module("palmerpenguins").load_penguins()


def _vega(name: str) -> Any:
    return getattr(importlib.import_module("vega_datasets").local_data, name)()


def _statsmodels(name: str) -> Any:
    return getattr(importlib.import_module("statsmodels.datasets"), name).load_pandas().data


def _schools() -> Any:
    """Give the share of the pupils of each school district who are above the national median."""
    frame = _statsmodels("star98")
    above, below = frame.pop("NABOVE"), frame.pop("NBELOW")
    return frame.assign(share=above / (above + below))


SOURCES: Mapping[str, _Source] = {
    "penguins": _Source("palmerpenguins", _penguins, {"target": "species"}),
    "cars": _Source(
        "vega_datasets",
        functools.partial(_vega, "cars"),
        {"target": "Miles_per_Gallon", "drop": ("Name",)},
    ),
    "barley": _Source("vega_datasets", functools.partial(_vega, "barley"), {"target": "yield"}),
    "star98": _Source("statsmodels", _schools, {"target": "share"}),
    "anes96": _Source(
        "statsmodels",
        functools.partial(_statsmodels, "anes96"),
        {"target": "vote", "task": "classification"},
    ),
}


def untuned(size: Size) -> Section:
    """Score jaxnet's command and scikit-learn's models, none told a setting, on the same rows."""
    there = [n for n, each in SOURCES.items() if importlib.util.find_spec(each.package)]
    missing = sorted(SOURCES.keys() - there)
    names = [*_BUNDLED, *there]
    score = functools.partial(_scores, seeds=size.score_seeds)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        figures = dict(zip(names, pool.map(score, names), strict=True))
    rows, within = [], 0
    for name, each in figures.items():
        better = max((_NETWORK, _TREES), key=lambda peer: statistics.mean(each[peer]))
        difference, error = paired(each[better], each["jaxnet"])
        within += in_errors(difference, error) >= -1
        means = (f"{statistics.mean(scores):.4f}" for scores in each.values())
        rows.append((name, *means, f"{difference:+.4f} ± {error:.4f}"))
    columns = ("", f"scikit-learn, {_NETWORK}", _TREES, "jaxnet", "less the better of them")
    notes = (
        f"Accuracy, or R² (diabetes, cars, barley, star98); mean of {size.score_seeds} seeds, each "
        "with a start and parts of its own: a fifth of the rows to test on, and of the others a "
        "quarter that jaxnet validates on before it trains on both, as scikit-learn's models do. "
        "All are given the columns as jaxnet encodes them, and no setting.",
        f"Within one standard error of the better of the two: {within} of {len(rows)}.",
        *[f"Left out, as what carries them is not installed: {', '.join(missing)}."]
        * bool(missing),
    )
    claims = {_WITHIN: within} if not missing else {}
    return Section((), claims, [Table("Untuned", columns, rows)], figures, notes)


def _scores(name: str, seeds: int) -> dict[str, list[float]]:
    """Give the test scores of each on a table, seed by seed."""
    settings = {"target": "target"} if name in _BUNDLED else SOURCES[name].settings
    if name in _BUNDLED:
        table = tables.read(name)
    else:
        table = pa.Table.from_pandas(SOURCES[name].load(), preserve_index=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.parquet"
        seeded = [_of_seed(table, path, settings, seed) for seed in range(seeds)]
    return {way: [scores[way] for scores in seeded] for way in seeded[0]}


def _of_seed(
    table: pa.Table, path: Path, settings: Mapping[str, Any], seed: int
) -> dict[str, float]:
    parquet.write_table(table.append_column(_PART, pa.array(_parts(len(table), seed))), path)
    result = train.run(Train(str(path), split=_PART, seed=seed, **settings))
    data, task = result.split, result.split.encoder.target.kind
    x, y = (np.concatenate(pair) for pair in zip(data.train, data.validation, strict=True))
    theirs = _theirs(task, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 200 epochs of theirs do not converge
        scores = {
            name: float(each.fit(x, y.ravel()).score(data.test[0], data.test[1].ravel()))
            for name, each in theirs.items()
        }
    return scores | {"jaxnet": result.scores["test"]["accuracy" if "class" in task else "r2"]}


def _parts(rows: int, seed: int) -> np.ndarray:
    """Deal rows to parts of the same sizes for each seed, so that one program trains all."""
    parts, first = np.full(rows, "train", dtype=object), 0
    shuffled = np.random.default_rng(seed).permutation(rows)
    for part, share in _SHARES.items():
        parts[shuffled[first : first + int(share * rows)]] = part
        first += int(share * rows)
    return parts


def _theirs(task: str, seed: int) -> dict[str, Any]:
    from sklearn import ensemble, neural_network

    if task == "classification":
        makes = neural_network.MLPClassifier, ensemble.HistGradientBoostingClassifier
    else:
        makes = neural_network.MLPRegressor, ensemble.HistGradientBoostingRegressor
    return {n: make(random_state=seed) for n, make in zip((_NETWORK, _TREES), makes, strict=True)}
