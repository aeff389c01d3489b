"""Part: a wide and a deep network, an epoch of SGD, as a share of the machine's own peak."""

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmark import machine, peers
from experiments.benchmark.timing import TOLERANCE, Section, compare
from experiments.benchmark.work import Size, Work, numbers_moved, random_work, weight_flops

WIDE, DEEP = (784, 512, 512, 10), (784, *[128] * 16, 10)
BATCH_SIZE, RATE = 512, 0.01


class Precision(NamedTuple):
    """How products are computed.

    Attributes:
        matmul: what `jax.default_matmul_precision` is told.
        torch: what `torch.set_float32_matmul_precision` is told.
        dtype: of data and parameters.
        tolerance: within which losses agree.
    """

    matmul: str
    torch: str
    dtype: str = "float32"
    tolerance: float = TOLERANCE


PRECISIONS = {
    "float32": Precision("highest", "highest"),
    "tf32": Precision("tensorfloat32", "high", tolerance=1e-2),
    "bfloat16": Precision("bfloat16", "medium", "bfloat16", tolerance=5e-2),
}


@contextlib.contextmanager
def computing(precision: Precision) -> Iterator[None]:
    """Compute matrix products so, in JAX and in PyTorch where it is installed."""
    if machine.installed("torch"):
        torch: Any = importlib.import_module("torch")

        torch.set_float32_matmul_precision(precision.torch)
    with jax.default_matmul_precision(precision.matmul):
        yield


def cast(work: Work, dtype: str) -> Work:
    """Give the same work with parameters and data of another dtype."""
    kind = jax.numpy.dtype(dtype)
    params = jax.tree.map(lambda leaf: np.asarray(leaf).astype(kind), work.params)
    return work._replace(params=params, data=(work.data[0].astype(kind), work.data[1]))


def wide(size: Size) -> Section:
    """Time the wide network."""
    return network(WIDE, "wide", size)


def deep(size: Size) -> Section:
    """Time the deep network."""
    return network(DEEP, "deep", size)


def network(sizes: tuple[int, ...], name: str, size: Size) -> Section:
    """Time an epoch in each precision.

    Raises:
        RuntimeError: a peer whose losses differ.
    """
    groups, claims, notes, missing = [], {}, [], []
    operations = size.rows * weight_flops(sizes)
    drawn = random_work(sizes, size.rows, BATCH_SIZE, "sgd", RATE)
    for called in size.precisions:
        precision = PRECISIONS[called]
        with computing(precision):
            ways, missing = peers.single_runs(
                cast(drawn, precision.dtype), ("torch", "equinox", "train", "fit")
            )
            group = compare(
                f"An epoch of {size.rows:,} rows, {name} network, {called}",
                ways,
                size.slow_rounds,
                machine.products(precision.dtype) | machine.copies(),
                precision.tolerance,
            )
        rate, share = machine.share(group, operations, machine.peaks(group))
        width = jax.numpy.dtype(precision.dtype).itemsize
        moved = width * size.rows // BATCH_SIZE * numbers_moved(sizes, BATCH_SIZE)
        bandwidth, share_moved = machine.share(group, moved, machine.bandwidths(group))
        groups.append(group)
        claims |= group.claims(("PyTorch eager", "Equinox"), f"{called}, ")
        claims |= {
            f"{called}, share of the machine's peak": share,
            f"{called}, share of the machine's bandwidth": share_moved,
        }
        notes.append(
            f"{called}: {rate / 1e9:.4g} GFLOP/s, {share:.0%} of the best matrix product; "
            f"{bandwidth / 1e9:.3g} GB/s of what must be moved, {share_moved:.0%} of the best copy."
        )
    shape = "-".join(map(str, sizes))
    return Section(groups, claims, notes=[*missing, f"{shape}, batch {BATCH_SIZE}, SGD.", *notes])
