import functools
import json
import os
import re
import types
from collections import Counter

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from few import first_of
from sklearn import neural_network

from experiments import classifier, precision, regression
from experiments.benchmark import (
    __main__ as benchmark,
)
from experiments.benchmark import (
    ablation,
    auditing,
    digits,
    large,
    machine,
    memory,
    notebooks,
    peers,
    results,
    scaling,
    scores,
    starting,
    targets,
    timing,
    work,
    workers,
)
from jaxnet import __main__, devices, losses, network, optimizers
from jaxnet._guards import options
from jaxnet.compare import sweep, tiles, verifying
from jaxnet.errors import InputError

PAIRS = work.crossed(2, [0.05, 0.01])
BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"


def timed(*seconds, compiling=0.0):
    return timing.Timing(seconds, compiling)


def test_a_large_comparison_s_share_is_of_what_its_workers_compute(monkeypatch):
    made = workers.Made(runs=10, files=2, size=10**6, computing=50.0, own=1.0)
    ways = {"devices of one process": timed(3.0, 3.0), workers.OURS: timed(2.0, 2.0)}
    group = timing.Group("what", workers.OURS, ways)
    monkeypatch.setattr(machine, "fresh", lambda *_, **__: (made, 3 * 10**9))
    monkeypatch.setattr(workers, "side_by_side", lambda rounds: group)
    claims = workers.workers(work.Size()).claims
    expected = {f"{n}, {w}": v for n in workers.PROBLEMS for w, v in (("GB", 3), ("share", 0.02))}
    assert claims == expected | {"devices / jaxnet": 1.5}
    assert {t.claim for t in targets.TARGETS if t.part == "workers"} == set(claims)


# --- timing


def test_a_ratio_is_the_median_over_rounds_of_ratios_and_not_of_medians():
    assert timing.ratio([1.0, 4.0, 9.0], [1.0, 2.0, 3.0]) == 2
    assert timing.ratio([6.0, 10.0, 1.0], [2.0, 2.0, 1.0]) == 3
    with pytest.raises(ValueError, match="zip"):
        timing.ratio([1.0, 2.0], [1.0])


def test_the_better_way_of_a_library_is_held_against_ours():
    group = timing.Group(
        "what",
        "jaxnet, fit",
        {
            "scikit-learn": timed(8.0, 16.0),
            "PyTorch eager, threads: 1": timed(12.0, 24.0),
            "PyTorch eager, threads: 2": timed(20.0, 40.0),
            "jaxnet, fit": timed(1.0, 2.0),
        },
    )
    assert group.claims(["PyTorch eager", "scikit-learn", "Flax"], "it: ") == {
        "it: PyTorch eager / jaxnet": 12,
        "it: scikit-learn / jaxnet": 8,
    }
    with pytest.raises(ValueError, match="empty"):
        group.times("Flax")


@pytest.mark.parametrize(
    "theirs",
    [
        [1.0, 0.5, 0.25 * 1.002],
        [1.0, 0.5],
        [[1.0, 0.5, 0.25]],
        [1.0, 0.5, np.nan],
        [1.0, np.inf, 0.25],
        [1.0, 0.0, 0.25],
    ],
)
def test_what_differs_is_not_timed(theirs):
    with pytest.raises(RuntimeError, match=r"^A and B: .* not timed$"):
        timing.refuse_to_time("A and B", [1.0, 0.5, 0.25], theirs, 1e-3)


def test_what_agrees_is_timed_though_rounding_is_all_that_is_left_of_it():
    timing.refuse_to_time("A and B", [1.0, 0.5], np.float32([1.0005, 0.4996]), 1e-3)
    timing.refuse_to_time("A and B", [1.0, 0.0, 1e-9], [1.0, 1e-7, 0.0], 1e-3)
    with pytest.raises(RuntimeError, match="not timed"):
        timing.refuse_to_time("A and B", [1.0, 0.0], [1.0, 1.1e-6], 1e-3)


@pytest.fixture
def readme(monkeypatch, tmp_path):
    """A README of the benchmark's that it may write to."""
    monkeypatch.setattr(benchmark, "README", tmp_path / "README.md")
    return benchmark.README


@pytest.fixture
def clock(monkeypatch):
    """A clock that the ways set forward themselves."""
    clock = types.SimpleNamespace(now=0.0)
    clock.perf_counter = lambda: clock.now
    monkeypatch.setattr(timing, "time", clock)

    def way(seconds, curves=None, first=0.0):
        begun = []

        def run():
            clock.now += seconds + (0 if begun else first)
            begun.append(True)
            return curves

        return run

    return way


def test_seconds_are_of_one_run_and_compiling_is_apart(clock):
    ways = {"alone": clock(3.0, first=2.0), "together": clock(8.0, np.ones((16, 2)), first=1.0)}
    timings = timing.interleaved(ways, 2)
    assert timings["alone"] == ((3, 3), 2, 1)
    assert timings["together"] == ((0.5, 0.5), 1, 16)


def test_nothing_is_timed_before_all_agree(clock):
    calls = []
    ours, wrong = np.ones((2, 3)), np.full((1, 3), 1.1)
    ways = {"right": clock(1.0, ours[:1]), "ours": clock(2.0, ours)}
    group = timing.compare("what", ways, 2, {"beside": clock(4.0, wrong)})
    assert (group.ours, group.times("right"), group.times("beside")) == ("ours", 1, 4)
    ways = {"wrong": lambda: calls.append(1) or wrong, **ways}
    with pytest.raises(RuntimeError, match=r"^wrong and ours: .* not timed$"):
        timing.compare("what", ways, 2)
    assert len(calls) == 1


def test_a_table_shows_medians_quartiles_and_ratios():
    timings = {"peer, loop": timed(2.0, 4.0, 9.0, compiling=0.5), "ours": timed(1.0, 2.0, 3.0)}
    table = timing.Group("what", "ours", timings).table()
    assert table.rows[0] == ("peer, loop", "4 s", "3 - 6.5", "2", "0.5 s")
    assert table.rows[1][3] == "1"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (4.2e-6, "4.2 us"),
        (3.22e-2, "32.2 ms"),
        (0.9994, "999 ms"),
        (1.234, "1.23 s"),
        (4321, "4,321 s"),
    ],
)
def test_seconds_are_told_in_few_digits(seconds, text):
    assert timing.shown(float(seconds)) == text


@pytest.mark.parametrize("power", [0.0, 1.0, 1.7])
def test_the_exponent_of_a_power_is_found(power):
    sizes = [10, 100, 1000, 5000]
    assert np.isclose(timing.exponent(sizes, [3e-4 * n**power for n in sizes]), power)


# --- work


def products(jaxpr):
    """Operations of every matrix product of a jaxpr, those within others included."""
    count = 0
    for equation in jaxpr.eqns:
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            count += products(inner)
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            depth = np.prod([equation.invars[0].aval.shape[axis] for axis in contracted])
            count += 2 * int(depth) * equation.outvars[0].aval.size
    return count


@first_of("sizes", [(7, 4, 3), (5, 3), (9, 8, 6, 2), large.WIDE])
def test_operations_are_those_of_the_products_that_autodiff_makes(sizes):
    rows = 3
    loss = losses.BatchLoss(network.forward, optax.losses.l2_loss)
    params = network.init(jax.random.key(0), sizes)
    batch = jnp.zeros((rows, sizes[0])), jnp.zeros((rows, sizes[-1]))
    jaxpr = jax.make_jaxpr(jax.value_and_grad(loss))(params, batch)
    assert products(jaxpr.jaxpr) == rows * work.weight_flops(sizes)


def test_a_step_of_digits_takes_so_many_operations():
    first, second, rows = 64 * 64, 64 * 10, 32
    forward, to_weights, to_inputs = first + second, first + second, second
    by_hand = 2 * rows * (forward + to_weights + to_inputs)
    assert by_hand == 647_168
    assert work.BATCH_SIZE * work.weight_flops(work.DIGITS) == by_hand


def test_the_work_that_is_timed_is_the_one_that_is_stated():
    task, size = work.digits_workload(), work.size("cpu", False)
    x, y = task.data
    assert (x.shape, x.dtype, x.min(), x.max()) == ((1408, 64), np.float32, 0, 1)
    assert (y.shape, y.min(), y.max()) == ((1408,), 0, 9)
    assert (task.batch_size, len(task.measured), task.steps) == (32, 10, 440)
    for rates in work.RATES.values():
        trials = work.crossed(size.digits_seeds, rates)
        pairs = zip(trials.seeds.tolist(), trials.settings["learning_rate"], strict=True)
        assert len(set(pairs)) == 256
    assert 16 * size.tiny_seeds == 16_384
    assert 16 * size.many_seeds == 100_000
    assert size.rows % large.BATCH_SIZE == 0
    assert {axis: (min(s), max(s)) for axis, s in size.scales.items()} == {
        "runs": (1, 65_536),
        "rows": (1000, 1_000_000),
        "width": (16, 4096),
    }


def test_a_gpu_is_given_more_and_a_hurry_less():
    card, cpu = work.size("gpu", False), work.size("cpu", False)
    assert (16 * card.tiny_seeds, 16 * card.digits_seeds) == (1_000_000, 10_000)
    assert set(card.precisions) == set(large.PRECISIONS)
    assert card.rows % large.BATCH_SIZE == 0
    for chosen in (card, cpu):
        hurried = work.size("gpu" if chosen is card else "cpu", True)
        assert hurried.quick
        assert hurried.slow_rounds < chosen.slow_rounds
        assert hurried.rows < chosen.rows
        assert hurried.rows % large.BATCH_SIZE == 0


# --- peers


@functools.cache
def tiny_digits():
    """What is timed, on 96 rows and for two epochs."""
    task = work.digits_workload()
    data = jax.tree.map(lambda leaf: leaf[:96], task.data)
    return work.workload_of(task.loss, task.init, data, task.batch_size, 2)


@functools.cache
def tiny_work(optimizer="sgd", rate=None):
    """At the pairs, or at one rate alone."""
    trials = PAIRS if rate is None else work.crossed(1, [rate])
    return work.ensemble(tiny_digits(), work.Model(), optimizer, trials)


def held_against_ours(runs, ways, rtol=1e-4):
    ours = peers.jaxnet_single(runs)[peers.TRAIN]()
    assert ours.shape == (1, runs.epochs)
    for name, way in ways.items():
        for _ in range(2):  # a second run starts from the same values
            assert np.allclose(way(), ours, rtol=rtol, atol=0), name


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.slow
def test_libraries_of_jax_make_the_first_run():
    runs = tiny_work("adam")
    ways, notes = peers.single_runs(runs, ["equinox", "flax", "step", "fit"])
    assert list(ways) == [
        "Equinox, filter_jit",
        "Flax, nnx.jit",
        "Flax, cached_partial",
        "optax step, jitted",
        "jaxnet, fit",
    ]
    assert notes == []
    held_against_ours(runs, ways)


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_pytorch_makes_the_first_run(optimizer):
    pytest.importorskip("torch")
    runs = tiny_work(optimizer)
    ways, _ = peers.single_runs(runs, ["torch"])
    assert list(ways) == [f"PyTorch eager, threads: {n}" for n in machine.threads()]
    held_against_ours(runs, ways)


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_peers_make_the_runs_of_sweep(optimizer):
    packages = ["vmap", *(["torch"] if machine.installed("torch") else [])]
    ways, _ = peers.many_runs(tiny_work(optimizer), packages)
    ours = peers.sweeping(tiny_digits(), optimizer, PAIRS)()
    assert len(np.unique(ours, axis=0)) == len(PAIRS.seeds)
    assert len(ways) == len(packages)
    for name, way in ways.items():
        assert np.allclose(way(), ours, rtol=1e-4, atol=0), name


@pytest.mark.parametrize("planted", ["rates", "order", "params"])
@pytest.mark.slow
def test_a_peer_of_other_runs_is_refused(planted):
    runs = tiny_work()
    others = {
        "rates": runs.rates * np.float32(1.02),
        "order": runs.order[::-1],
        "params": jax.tree.map(lambda leaf: leaf[::-1], runs.params),
    }
    wrong = runs._replace(**{planted: others[planted]})
    ways = peers.plain_vmap(wrong) | {peers.SWEEP: peers.sweeping(tiny_digits(), "sgd", PAIRS)}
    with pytest.raises(RuntimeError, match=r"^plain vmap and jaxnet, sweep: .* not timed$"):
        timing.compare("what", ways, 2)


def test_a_step_of_another_optimizer_is_refused(monkeypatch):
    monkeypatch.setattr(peers, "_optax", lambda name, rate: optax.sgd(rate, momentum=0.5))
    ways, _ = peers.single_runs(tiny_work(), ["step", "train"])
    with pytest.raises(RuntimeError, match=r"^optax step, .* and jaxnet, train: .* not timed$"):
        timing.compare("what", ways, 2)


def test_a_pytorch_of_another_update_is_refused(monkeypatch):
    torch = pytest.importorskip("torch")
    from experiments.benchmark import pytorch

    right = pytorch.update
    monkeypatch.setattr(pytorch, "update", lambda name, params, r: right(name, params, 1.02 * r))
    monkeypatch.setattr(torch.optim, "SGD", lambda params, lr: torch.optim.Adam(params, lr=lr))
    single, _ = peers.single_runs(tiny_work(), ["torch", "train"])
    together = peers.torch_func(tiny_work()) | {
        peers.SWEEP: peers.sweeping(tiny_digits(), "sgd", PAIRS)
    }
    for ways in (single, together):
        with pytest.raises(RuntimeError, match="not timed"):
            timing.compare("what", ways, 2)


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.slow
def test_scikit_learn_is_timed_as_it_is_used(optimizer):
    """What is timed is its own loop, shuffles and all."""
    runs = tiny_work(optimizer, 1e-3)
    theirs = neural_network.MLPClassifier(
        (64,),
        solver=optimizer,
        alpha=0,
        batch_size=32,
        learning_rate_init=np.float32(1e-3).item(),
        max_iter=2,
        momentum=0,
        random_state=0,
    )
    with pytest.warns(match="Maximum iterations"):
        theirs.fit(*runs.data)
    assert np.array_equal(peers.scikit_learn_runs(runs)["scikit-learn"](), [theirs.loss_curve_])


def test_processes_of_scikit_learn_each_make_that_run(monkeypatch):
    monkeypatch.setattr(machine, "threads", lambda: [1])
    monkeypatch.setattr(peers, "threads", lambda: [1])
    one, together = peers.scikit_learn_runs(tiny_work(), together=True).values()
    assert np.array_equal(together(), np.tile(one(), (4, 1)))


def test_a_scikit_learn_of_other_settings_is_refused(monkeypatch):
    right = peers.scikit_learn
    monkeypatch.setattr(
        peers, "scikit_learn", lambda *sizes, **more: right(*sizes, **more).set_params(alpha=0.1)
    )
    with pytest.raises(RuntimeError, match=r"^scikit-learn and jaxnet: .* not timed$"):
        peers.scikit_learn_runs(tiny_work())


def test_what_is_not_installed_is_named_and_left_out(monkeypatch):
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: None)
    runs = tiny_work()
    ways, notes = digits.single_ways(runs)
    assert list(ways) == ["optax step, jitted", "jaxnet, train", "jaxnet, fit"]
    missing = [f"{name} is not installed: left out." for name in ("PyTorch", "Equinox", "Flax")]
    assert notes == missing
    assert peers.many_runs(runs, ["torch", "vmap"])[1] == missing[:1]
    assert list(peers.scikit_learn_runs(runs, together=True)) == ["scikit-learn"]
    assert list(machine.products()) == ["jnp.matmul"]
    assert set(machine.versions()) == {"python", "jaxnet", "jax", "jaxlib", "optax", "numpy"}


def test_a_compiler_that_fails_is_named(monkeypatch):
    torch = pytest.importorskip("torch")
    from experiments.benchmark import pytorch

    def fails(function):
        raise RuntimeError("no compiler\nmore of it")

    monkeypatch.setattr(torch, "compile", lambda function: fails)
    monkeypatch.setattr(peers, "installed", lambda module: False)
    assert pytorch.why_not_compiled() == ("torch.compile does not work here, left out: no compiler")
    ways, notes = digits.single_ways(tiny_work())
    assert not any(name.startswith("torch.compile") for name in ways)
    assert notes[0] == pytorch.why_not_compiled()


# --- notebooks


@pytest.mark.parametrize("name", ["classifier", "regression"])
def test_numpy_loops_train_by_the_rules_of_the_notebooks(name):
    setting, loop = {
        "classifier": (classifier, notebooks.numpy_classifier),
        "regression": (regression, notebooks.numpy_regression),
    }[name]
    with precision("float64"):
        runs = notebooks.work_of(name, "float64", losses.Rule(setting.notebook_rule))
        ours = peers.jaxnet_single(runs)[peers.TRAIN]()
        assert np.allclose(runs.curves(loop(runs)), ours, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "setting",
    notebooks._SETTINGS[::2],
    ids=lambda setting: setting.title,
)
@pytest.mark.slow
def test_notebook_runs_by_the_thousand_are_those_of_the_loops(setting):
    pairs = work.crossed(3, notebooks.RATES[setting.name][::8])
    task = notebooks.workload(setting.name, setting.loss)
    runs = work.ensemble(task, notebooks.MODELS[setting.name], "sgd", pairs)
    ours = peers.sweeping(task, "sgd", pairs)()
    assert ours.shape == (6, runs.epochs)
    assert len(np.unique(ours[:, -1])) == 6
    timing.refuse_to_time("loop", setting.loop(runs)[None], ours[:1])
    for name, way in peers.many_runs(runs, setting.packages)[0].items():
        timing.refuse_to_time(name, way(), ours)


def test_another_rule_than_the_notebooks_is_refused():
    runs = notebooks.work_of("classifier", "float32", classifier.LOSS)
    loop = runs.curves(notebooks.numpy_classifier(runs))
    with pytest.raises(RuntimeError, match="not timed"):
        timing.refuse_to_time("NumPy", loop, peers.jaxnet_single(runs)[peers.TRAIN]())


# --- what the fast path is made of


def test_each_path_lacks_one_part_and_the_last_none():
    paths, whole = ablation.paths(), tiles.fast(True)
    assert list(paths.values())[-2:] == [tiles.PLAIN, whole]
    chosen = len(options.of_many_runs())
    assert len(set(paths.values())) == len(paths) == chosen + bool(chosen) + 2
    for path in list(paths.values())[:-2]:
        lacking = len(whole.options) - len(path.options)
        assert lacking + (whole.products - path.products) == 1


def short_case(name="classifier"):
    task = notebooks.workload("classifier", classifier.LOSS)._replace(steps=3, measured=(1, 2, 3))
    return ablation.Case(name, task, 8)


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.slow
def test_every_way_of_a_case_makes_its_runs():
    case = short_case()
    ways, notes = ablation.ways(case, "adam")
    assert {ablation.VMAP, ablation.EVERYWHERE, *ablation.paths()} == set(ways)
    assert list(ways)[-1] == ablation.WHOLE
    assert notes == []
    by_way = {name: way() for name, way in ways.items()}
    assert len(np.unique(by_way[ablation.WHOLE], axis=0)) == case.runs
    for name, curves in by_way.items():
        timing.refuse_to_time(name, curves, by_way[ablation.WHOLE])


def test_a_way_that_is_not_what_it_is_called_is_left_out(monkeypatch):
    def stepped_aside(task, shape):
        return (task if task.fast.products else task._replace(fast=tiles.PLAIN)), ""

    monkeypatch.setattr(verifying, "verified", stepped_aside)
    ways, notes = ablation.ways(short_case(), "sgd")
    assert ablation.PLAIN in ways
    assert "without products" not in ways
    assert notes == [
        "classifier, 8 runs, without products: does not agree with NumPy, left out."
    ] * (bool(options.of_many_runs()))


def test_what_a_part_earns_is_told_by_case_and_the_least_is_claimed(monkeypatch):
    def compared(title, ways, rounds):
        plain = 0.5 if "first" in title else 3.0
        vmap, whole = timed(2.0, 4.0), timed(1.0, 2.0)
        timings = {ablation.VMAP: vmap, ablation.PLAIN: timed(plain, 2 * plain)}
        return timing.Group(title, ablation.WHOLE, {**timings, ablation.WHOLE: whole})

    cases = [short_case("first"), short_case("second")]
    monkeypatch.setattr(ablation, "cases", lambda size: (cases, ["said"]))
    monkeypatch.setattr(ablation, "ways", lambda case, optimizer: ({}, []))
    monkeypatch.setattr(ablation, "compare", compared)
    section = ablation.ablation(work.size("cpu", False))
    assert section.notes == ["said"]
    assert section.claims["adam, the least of plain path / fast path"] == 0.5
    assert section.claims["second, 8 runs, sgd: plain vmap / jaxnet"] == 2
    assert section.figures["sgd"]["second, 8 runs"] == {"plain vmap": 2, "plain path": 3}
    assert section.tables[0].columns == ("", "plain vmap", "plain path")
    assert section.tables[0].rows == [("first, 8 runs", "2", "0.5"), ("second, 8 runs", "2", "3")]


@pytest.mark.slow
def test_targets_name_what_the_ablation_claims():
    cases, _ = ablation.cases(work.size("cpu", False))
    claims = {f"{case.title}, sgd: plain vmap / jaxnet" for case in cases}
    claims.add("sgd, the least of plain path / fast path")
    expected = {t.claim for t in targets.TARGETS if t.part == "ablation" and "sgd" in t.claim}
    assert expected
    assert expected <= claims


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(
    "package", [pytest.param(each, marks=pytest.mark.slow) for each in ("equinox", "flax")]
)
def test_networks_of_other_libraries_train(package):
    pytest.importorskip(package)
    make = {"flax": ablation.flax_convolution, "equinox": ablation.equinox_gru}[package]
    task = make()
    data = jax.tree.map(lambda leaf: leaf[:32], task.data)
    task = work.workload_of(task.loss, task.init, data, 32, 20)
    case = ablation.Case(package, task, 2)
    shape = tiles.tile(task, case.runs, case.together)
    swept, _ = sweep.run(task, optimizers.entry("adam"), case.trials, shape)
    assert (swept.loss[:, -1] < swept.loss[:, 0]).all()


def test_networks_of_libraries_that_are_missing_are_named(monkeypatch):
    monkeypatch.setattr(machine, "installed", lambda module: False)
    cases, notes = ablation.cases(work.size("cpu", True))
    assert len(cases) == 5
    assert notes == ["Flax is not installed: left out.", "Equinox is not installed: left out."]


# --- large networks


def test_shares_are_of_the_best_product_of_the_same_round():
    product = machine.PRODUCTS * 2 * machine.product_size() ** 3
    timings = {
        "jnp.matmul": timed(product / 100, product / 40, product / 100),
        "torch.matmul": timed(product / 90, product / 50, product / 200),
        "jaxnet, fit": timed(1 / 80, 1 / 45, 1 / 160),
    }
    group = timing.Group("what", "jaxnet, fit", timings)
    assert np.allclose(machine.peaks(group), [100, 50, 200])
    assert np.allclose(machine.share(group, 1, machine.peaks(group)), [80, 0.8])
    # Each of 8 passes reads 2**26 numbers of four bytes and writes as many.
    copied = 8 * 2 * 4 * 2**26
    timings |= {
        "np.copyto": timed(copied / 20, copied / 5, copied / 10),
        "jnp, copy plus one": timed(copied / 10, copied / 6, copied / 12),
    }
    group = group._replace(timings=timings)
    assert np.allclose(machine.bandwidths(group), [20, 6, 12])
    assert np.allclose(machine.share(group, 1, machine.bandwidths(group)), [80, 7.5])
    without = group._replace(timings={"jaxnet, fit": timed(1.0)})
    for best in (machine.peaks, machine.bandwidths):
        with pytest.raises(ValueError, match="zip"):
            machine.share(without, 1, best(without))


def test_numbers_moved_are_counted():
    """A step of 2-3-1 on five rows: 13 parameters, 10 inputs, 15 and 5 outputs."""
    assert work.numbers_moved((2, 3, 1), 5) == 2 * 13 + 10 + 2 * (15 + 5)


@pytest.mark.parametrize("name", ["tf32", "bfloat16"])
@pytest.mark.slow
def test_a_deep_network_agrees_in_every_precision(name):
    how = large.PRECISIONS[name]
    runs = large.cast(work.random_work((6, 8, 8, 8, 3), 64, 16, "sgd", 0.01), how.dtype)
    assert str(runs.params[0].weight.dtype) == str(runs.data[0].dtype) == how.dtype
    with large.computing(how):
        assert jax.config.jax_default_matmul_precision == how.matmul
        curves = {way: run() for way, run in peers.single_runs(runs, ["torch", "fit"])[0].items()}
    for way, curve in curves.items():
        timing.refuse_to_time(way, curve, curves[peers.FIT], how.tolerance)


# --- scaling, memory, scores


def test_exponents_are_of_the_upper_half():
    sizes = [1, 10, 100, 1000, 10_000]
    line = scaling.Line("rows", "jaxnet", sizes, [5, 5, 1, 10, 100], [9, 9, 1, 100, 10_000])
    assert np.isclose(line.exponents["seconds"], 1)
    assert np.isclose(line.exponents["memory"], 2)
    assert scaling.Line("devices", "jaxnet", [1, 2], [2, 1], [1, 1]).exponents == {}
    section = scaling.section([line, line._replace(way="PyTorch eager")])
    assert list(section.figures) == ["rows", "rows, PyTorch eager"]
    assert ("rows: exponent", "1.00", "2.00") in section.tables[0].rows


@pytest.mark.parametrize(
    ("axis", "size"),
    [("runs", 3), ("runs", 20), ("width", 8), ("rows", 300)],
)
@pytest.mark.slow
def test_what_is_made_at_a_size_is_of_that_size(axis, size):
    curves = scaling.make(axis, size, "jaxnet")()
    assert curves.shape == ((size, 100) if axis == "runs" else (1, 1))
    assert np.isfinite(curves).all()


@pytest.mark.slow
def test_a_process_new_has_its_own_devices_and_memory(tmp_path):
    large_array = np.ones(10**8)
    asked = "jax.local_device_count(), jax.config.jax_compilation_cache_dir"
    call = (machine.with_memory, eval, f"(jax := __import__('jax')) and ({asked})")
    settings, peak = machine.fresh(*call, cache=str(tmp_path))
    assert settings == (len(os.sched_getaffinity(0)), str(tmp_path))
    assert machine.peak_memory() > large_array.nbytes > peak > 5e7


def test_memory_is_measured_of_every_way_that_is_installed(monkeypatch):
    calls = []

    def fresh(function, make, *arguments, cores):
        calls.append((make.__name__, *arguments))
        return None, 10**8

    monkeypatch.setattr(machine, "fresh", fresh)
    monkeypatch.setattr(machine, "installed", lambda module: module != "torch")
    section = memory.memory(work.size("cpu", False))
    assert section.claims == {"100,000 tiny runs, GB": 0.1}
    assert calls[:2] == [("tiny_runs", 6250), ("one_run", "")]
    assert ("one_run", "flax") in calls
    assert ("many_runs", "sweep", 16) in calls
    assert not any("torch" in call for call in calls)
    assert section.notes[0] == "PyTorch is not installed: left out."
    assert len(memory.memory(work.size("cpu", True)).figures) == 1


def test_the_difference_of_pairs_has_the_standard_error_of_its_mean():
    rng = np.random.default_rng(0)
    theirs = rng.uniform(0.8, 0.9, 20)
    ours = theirs + rng.normal(0.01, 0.001, 20)
    difference, error = scores.paired(theirs.tolist(), ours.tolist())
    apart = ours - theirs
    assert np.isclose(difference, apart.mean())
    assert np.isclose(error, apart.std(ddof=1) / np.sqrt(20))


def test_differences_are_told_in_standard_errors():
    assert scores.in_errors(-0.5, 0.25) == -2
    assert scores.in_errors(-0.3, 0.1 * 3) == scores.in_errors(-0.1 * 3, 0.3) == -1
    assert scores.in_errors(0.0, 0.0) == 0
    assert scores.in_errors(-0.5, 0.0) == -np.inf


# --- targets


@pytest.mark.parametrize(
    ("kind", "value", "met"),
    [
        ("at least", 5.0, True),
        ("at least", 4.99, False),
        ("at least", 99.0, True),
        ("at most", 5.0, True),
        ("at most", 5.01, False),
        ("at most", 0.1, True),
        ("at least", np.nan, False),
        ("at most", np.nan, False),
    ],
)
def test_a_target_is_met_at_its_bound_and_on_its_side(kind, value, met):
    target = targets.Target("part", "it", kind, 5.0, "it is slow")
    judged = [targets.Verdict(target, value)]
    row = ("part: it", f"{value:.3g}", f"{kind} 5", "met" if met else "not met")
    assert targets.table(judged).rows == [row]
    missed = [f"part, it: {value:.3g} ({kind} 5 expected). The reason: it is slow."]
    assert targets.shortfalls(judged) == ([] if met else missed)


def test_what_is_missed_for_one_reason_is_said_together():
    one = targets.Target("part", "it", "at least", 5.0, "it is slow")
    other = one._replace(claim="that", reason="it is far")
    unknown = targets.Target("part", "what", "at most", 0.5)
    every = (one, other, unknown, one._replace(claim="this"))
    assert targets.shortfalls([targets.Verdict(each, 1.0) for each in every]) == [
        "part, it: 1 (at least 5 expected); this: 1 (at least 5 expected). The reason: it is slow.",
        "part, that: 1 (at least 5 expected). The reason: it is far.",
        "part, what: 1 (at most 0.5 expected).",
    ]


def test_only_the_parts_that_ran_are_judged_and_what_they_left_out_is_said():
    judged = targets.verdicts({"wide": {"float32, PyTorch eager / jaxnet": 1.5}})
    assert [(v.target.claim, v.word) for v in judged] == [
        ("float32, share of the machine's peak", "not measured"),
        ("float32, PyTorch eager / jaxnet", "met"),
    ]
    assert targets.shortfalls(judged) == []


@pytest.mark.parametrize("command", [starting.COLD, starting.THREE, starting.ALL])
def test_commands_that_are_timed_are_those_there_are(command):
    assert type(__main__._settings(list(command))).__name__.lower() == command[0]


def test_every_target_is_of_a_part_there_is():
    assert {target.part for target in targets.TARGETS} <= set(benchmark.PARTS)
    assert len({(t.part, t.claim) for t in targets.TARGETS}) == len(targets.TARGETS)


# --- results


def made_up():
    """One group, two lines of scaling and a target that is missed."""
    timings = {
        "jnp.matmul": timed(9.0, 9.0),
        "np.copyto": timed(9.0, 9.0),
        "PyTorch eager, threads: 1": timed(0.08, 0.16),
        "PyTorch eager, threads: 2": timed(0.06, 0.12),
        "Flax, nnx.jit": timed(0.01, 0.02),
        "jaxnet, train": timed(0.015, 0.03),
        "jaxnet, fit": timed(0.02, 0.04),
    }
    group = timing.Group("One run on digits", "jaxnet, fit", timings)
    alone = group._replace(title="alone", timings={"jaxnet, fit": timed(1.0)})
    line = scaling.Line("rows", "jaxnet", [10, 100, 1000], [1.0, 2.0, 20.0], [1e6, 2e6, 4e6])
    lines = [line, line._replace(way="PyTorch eager"), line._replace(axis="runs")]
    sections = {
        "digits": timing.Section([group, alone], group.claims(["PyTorch eager", "scikit-learn"])),
        "start": timing.Section((), {"cold start, s": 7.25}),
        "scaling": scaling.section(lines),
    }
    sections["machine"] = timing.Section(figures={"gigaflops": 123.4, "gigabytes": 5.0})
    hardware = {"processor": "A processor", "family": "25", "model": "17", "stepping": "1"}
    hardware |= {"cores": 2, "memory": 24 * 2**30}
    memory_of = dict.fromkeys(sections, 10**9)
    return results.Findings(sections, memory_of, hardware, {"jax": "0.10.2"}, "2026-01-02")


def test_the_block_says_what_was_found_where_and_what_is_missed():
    lines = results.block(made_up()).splitlines()
    assert (lines[0], lines[-1]) == (BEGIN, END)
    processor = "A processor (family 25, model 17, stepping 1), 2 cores, 24 GiB"
    machine_words = f"{processor}; matrix products at 123.4 GFLOP/s; jax 0.10.2; 2026-01-02"
    assert machine_words in " ".join(lines[1:5])
    assert max(map(len, lines)) <= 100
    assert [line for line in lines if re.match(r"\| \w", line)] == [
        "| One run on digits | 30 ms | PyTorch eager 3, Flax 0.5 |",
        "| from a cold start of `jaxnet train` to a model | 7.25 s | |",
    ]
    assert "Targets met: 0 of 3." in lines
    missed = " ".join(lines).split("- Not met: ")[1:]
    assert missed[0].startswith("digits, PyTorch eager / jaxnet: 3 (at least")
    assert missed[1].startswith("start, cold start, s: 7.25 (at most 5 expected)")


def test_a_block_takes_the_place_of_the_one_there_was():
    before = f"first\n{BEGIN}\nold\n{END}\nlast\n"
    block = results.block(made_up())
    after = results.rewrite(before, block)
    assert after == f"first\n{block}\nlast\n"
    assert results.rewrite(after, block) == after


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        BEGIN,
        f"{END} {BEGIN}",
        f"{BEGIN} {END} {BEGIN} {END}",
    ],
)
def test_a_readme_without_its_place_is_refused_before_anything_runs(text, readme):
    readme.write_text(text)
    with pytest.raises(InputError, match=r"^readme: expected one"):
        benchmark.main(readme=True)
    assert readme.read_text() == text


@pytest.mark.parametrize("page", [benchmark.README, benchmark.GUIDE])
def test_the_pages_have_their_place(page):
    block = results.block(made_up())
    assert block in results.rewrite(page.read_text(), block)


def test_each_page_shows_its_own_parts(monkeypatch, tmp_path, readme):
    empty = f"{BEGIN}{END}"
    monkeypatch.setattr(benchmark, "GUIDE", tmp_path / "gradients.md")
    table = timing.Table("Mistakes planted", ("in", "named"), [("a weight", "17")])
    audits = timing.Section(tables=[table], notes=["Of 3 right gradients none is called wrong."])
    found = made_up()

    def published(**sections):
        readme.write_text(empty)
        benchmark.GUIDE.write_text(empty)
        benchmark.publish(found._replace(sections=sections, only=tuple(sections)))
        return readme.read_text(), benchmark.GUIDE.read_text()

    timings, guide = published(audit=audits)
    assert timings == empty
    assert "| **Mistakes planted** | named |\n| --- | --- |\n| a weight | 17 |" in guide
    assert "Of 3 right gradients none" in guide
    assert "By `python -m experiments.benchmark --only audit` on A processor" in guide
    timings, guide = published(digits=found.sections["digits"])
    assert "| One run on digits |" in timings
    assert guide == empty


def test_honesty_has_a_place_of_its_own_and_says_what_it_misses(readme):
    """The timings beside it stay as they are."""
    timings = f"{BEGIN}\nas they are\n{END}"
    readme.write_text(f"{timings}\n<!-- honesty -->\nold\n<!-- /honesty -->\n")
    table = timing.Table("Honesty", ("", "10"), [("alarms", "9%")])
    section = timing.Section(claims={"alarms, mean": 0.09}, tables=[table])
    benchmark.publish(made_up()._replace(sections={"honesty": section}, only=("honesty",)))
    page = readme.read_text()
    assert page.startswith(timings)
    assert "old" not in page
    assert "| **Honesty** | 10 |\n| --- | --- |\n| alarms | 9% |" in page
    assert "- Not met: honesty, alarms, mean: 0.09 (at most 0.05 expected)." in page


def test_what_is_timed_in_a_part_with_a_place_of_its_own_is_shown_there(readme):
    readme.write_text("<!-- dropout -->\nold\n<!-- /dropout -->\n")
    timings = {"by hand": timing.Timing((2.0, 2.0)), "jaxnet, fit": timing.Timing((1.0, 1.0))}
    section = timing.Section([timing.Group("A run", "jaxnet, fit", timings)])
    benchmark.publish(made_up()._replace(sections={"dropout": section}, only=("dropout",)))
    page = readme.read_text()
    assert "old" not in page
    assert "| **A run** | median | quartiles | / jaxnet | first call adds |" in page
    assert "| by hand | 2 s | 2 - 2 | 2 | 0 s |" in page


def test_plants_are_counted_in_each_precision_and_alarms_are_claimed(monkeypatch):
    families = {name: Counter(named=3) for name in auditing.FAMILIES}
    families["bias"] = Counter({"named": 1, "unexplained": 1, "wrong cause": 1, "false alarm": 1})
    counts = auditing.Counts(families, Counter(right=7, wrong=2, undecided=1), ["a line"])
    asked = []

    def fresh(function, *arguments):
        asked.append((function, *arguments))
        return counts

    monkeypatch.setattr(machine, "fresh", fresh)
    monkeypatch.setattr(auditing, "times", lambda rounds: {"right": 0.25, "two mistakes": 0.5})
    section = auditing.auditing(work.Size(plants=25, right_gradients=10))
    assert sorted(asked, key=str) == [
        (auditing.count, dtype, 25, 10) for dtype in ("float32", "float64")
    ]
    assert section.claims["float64, share named"] == 22 / 25
    assert section.claims["float32, share of wrong causes"] == 1 / 25
    assert section.claims["float32, alarms"] == 3
    assert section.claims["an audit of 1,005 parameters, s"] == 0.5
    assert {f"audit: {claim}" for claim in section.claims} == {
        f"{each.part}: {each.claim}" for each in targets.TARGETS if each.part == "audit"
    }
    assert ("all", "22", "1", "1", "1") in section.tables[0].rows
    assert "Of 10 right gradients in float64 2 are called wrong" in section.notes[0]
    json.dumps(results.to_json(made_up()._replace(sections={"start": section})))


def test_results_are_written_whole(tmp_path):
    findings = made_up()
    benchmark.write(findings, tmp_path)
    kept = json.loads((tmp_path / "results.json").read_text())
    assert (kept["date"], kept["versions"], kept["hardware"]) == (
        findings.date,
        findings.versions,
        findings.hardware,
    )
    assert kept["gigaflops"] == 123.4
    digits_part = kept["parts"]["digits"]
    fit = digits_part["groups"][0]["timings"]["jaxnet, fit"]
    assert fit == {"seconds": [0.02, 0.04], "compiling": 0, "runs": 1}
    assert digits_part["claims"] == {"PyTorch eager / jaxnet": 3}
    assert digits_part["peak_memory"] == 10**9
    assert [(t["part"], t["verdict"]) for t in kept["targets"]] == [
        ("digits", "not measured"),
        ("digits", "not met"),
        ("start", "not met"),
    ]
    assert kept["parts"]["scaling"]["figures"]["rows"]["sizes"] == [10, 100, 1000]
    for name in ("benchmark.png", "scaling.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_pictures_show_the_best_way_of_each_library(monkeypatch):
    (group,) = made_up().groups
    figure = results.Figure()
    ax = figure.subplots()
    results._bars(group, ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "PyTorch eager",
        "jaxnet",
        "Flax",
    ]
    assert [text.get_text() for text in ax.texts] == ["90 ms, 3x", "30 ms", "15 ms, 0.5x"]
    assert np.allclose([bar.get_width() for bar in ax.patches], [0.09, 0.03, 0.015])


# --- the command


def test_every_part_runs_in_a_process_new_with_the_devices_it_wants(monkeypatch, capsys, readme):
    started = []

    def fresh(with_memory, make, size, cores):
        started.append((make, size.quick, cores))
        return timing.Section(notes=["said"]), 1

    monkeypatch.setattr(machine, "fresh", fresh)
    readme.write_text(f"{BEGIN}{END}")
    benchmark.main(only=("notebooks", "digits"), readme=True)
    assert started == [(digits.one_run, False, 1), (notebooks.many_runs, False, None)][::-1]
    assert "said" in capsys.readouterr().out
    assert "Targets met" in readme.read_text()
    started.clear()
    benchmark.main(quick=True)
    assert {make for make, _, _ in started} == {
        part.make for part in benchmark.PARTS.values() if part.quick
    }
    assert all(quick for _, quick, _ in started)


def test_the_kind_of_the_first_processor_is_told():
    processors = "model\t\t: 17\nmodel name\t: A: B\nstepping\t: 1\n\nmodel\t\t: 18\n"
    assert machine._first_processor(processors) == {
        "model": "17",
        "model name": "A: B",
        "stepping": "1",
    }


def test_hardware_and_versions_are_told():
    hardware = machine.hardware()
    assert hardware["cores"] == len(os.sched_getaffinity(0))
    assert hardware["memory"] > 2**30
    assert hardware["processor"]
    assert machine.versions()["jax"] == jax.__version__
    assert machine.versions()["jaxnet"] == devices.releases()["jaxnet"]
    assert "card" not in hardware
