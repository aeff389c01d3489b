import functools
import os
import statistics
import types

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import neural_network

from experiments import benchmark, classifier
from jaxnet import batches, losses, network, training


def timing(*seconds):
    return benchmark.Timing(statistics.median(seconds), 0, 0, 1, seconds)


def test_a_ratio_is_the_median_over_rounds_of_ratios_and_not_of_medians():
    assert benchmark.ratio([1.0, 4.0, 9.0], [1.0, 2.0, 3.0]) == 2
    assert benchmark.ratio([6.0, 10.0, 1.0], [2.0, 2.0, 1.0]) == 3
    with pytest.raises(ValueError, match="zip"):
        benchmark.ratio([1.0, 2.0], [1.0])


def test_the_better_way_of_a_library_is_held_against_ours():
    timings = {
        "scikit-learn": timing(8.0, 16.0),
        "jaxnet, fit": timing(1.0, 2.0),
        "PyTorch eager, threads: 1": timing(12.0, 24.0),
        "PyTorch eager, threads: 2": timing(20.0, 40.0),
    }
    assert benchmark.slower(timings, "jaxnet, fit") == [
        "scikit-learn takes 8 times as long as jaxnet, fit.",
        "PyTorch takes 12 times as long as jaxnet, fit.",
    ]
    without = {"jaxnet, fit": timing(1.0)}
    assert benchmark.slower(without, "jaxnet, fit") == []


def test_the_difference_of_pairs_has_the_standard_error_of_its_mean():
    rng = np.random.default_rng(0)
    theirs = rng.uniform(0.8, 0.9, 20)
    ours = theirs + rng.normal(0.01, 0.001, 20)
    difference, error = benchmark.paired(theirs.tolist(), ours.tolist())
    apart = ours - theirs
    assert np.isclose(difference, apart.mean())
    assert np.isclose(error, apart.std(ddof=1) / np.sqrt(20))


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
        benchmark.refuse_to_time("A and B", [1.0, 0.5, 0.25], theirs, 1e-3)


def test_what_agrees_is_timed():
    benchmark.refuse_to_time("A and B", [1.0, 0.5], np.float32([1.0005, 0.4996]), 1e-3)


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


@pytest.mark.parametrize("sizes", [(5, 3), (7, 4, 3), (9, 8, 6, 2), benchmark.WIDE])
def test_operations_are_those_of_the_products_that_autodiff_makes(sizes):
    rows = 3
    loss = losses.BatchLoss(network.forward, optax.losses.l2_loss)
    params = network.init(jax.random.key(0), sizes)
    batch = jnp.zeros((rows, sizes[0])), jnp.zeros((rows, sizes[-1]))
    jaxpr = jax.make_jaxpr(jax.value_and_grad(loss))(params, batch)
    assert products(jaxpr.jaxpr) == rows * benchmark.weight_flops(sizes)


def test_the_steps_are_those_of_fit():
    """Gradient steps over them by hand give the history of `fit`, a short last batch included."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(10, 2)).astype(np.float32), rng.normal(size=(10, 1)).astype(np.float32)
    rule = jax.value_and_grad(losses.BatchLoss(network.forward, optax.losses.l2_loss))
    params = network.init(jax.random.key(0), [2, 1])
    steps = benchmark.epoch_steps(10, 4, 3, seed=5)
    assert [len(rows) for rows in steps] == [4, 4, 2] * 3
    state, values = training.start(optax.sgd(0.1), params), []
    for rows in steps:
        state, value = training.step(rule, optax.sgd(0.1), state, batches.take(data, rows))
        values.append(float(value))
    fit = training.fit(
        rule, optax.sgd, params, data, epochs=3, batch_size=4, seed=5, learning_rate=0.1
    )
    means = benchmark.epoch_means(np.array(values), steps, 3)
    assert np.allclose(means, fit.history["loss"], rtol=1e-5)


def test_shares_are_of_the_best_product_of_the_same_round():
    epoch = benchmark.WIDE_ROWS * benchmark.weight_flops(benchmark.WIDE) / 1e9
    product = benchmark.GEMMS * 2 * benchmark.GEMM**3 / 1e9
    section = benchmark.wide_section(
        {
            "jaxnet, fit": timing(epoch / 80, epoch / 45, epoch / 160),
            "jnp.matmul": timing(product / 100, product / 40, product / 100),
            "torch.matmul": timing(product / 90, product / 50, product / 200),
            "PyTorch eager": timing(epoch / 40, epoch / 45, epoch / 80),
        }
    )
    assert np.isclose(section.figures["jaxnet, fit"]["share"], 0.8)
    assert np.allclose(section.figures["jaxnet, fit"]["gflops"], [80, 45, 160])
    assert section.notes == ["PyTorch takes 2 times as long as jaxnet, fit."]


def test_what_is_not_installed_is_named_and_left_out(monkeypatch):
    monkeypatch.setattr(benchmark.importlib.util, "find_spec", lambda name: None)
    assert benchmark.torch_module() is None
    section = benchmark.start()
    assert section.rows == []
    assert section.notes == ["experiments.train is missing: cold start left out."]


@pytest.mark.parametrize(
    ("bad", "wanted"),
    [({"seeds": 1}, "seeds"), ({"output": "x.txt"}, "output"), ({"output": "no/x.json"}, "output")],
)
def test_bad_arguments_are_refused_before_anything_runs(bad, wanted, tmp_path):
    if "output" in bad:
        bad = {"output": tmp_path / bad["output"]}
    with pytest.raises(ValueError, match=f"^{wanted}: wanted"):
        benchmark.main(only=(), **bad)


def tiny_digits():
    """What `sweep` times, on 100 rows and for two epochs."""
    task = benchmark.digits_task()
    return task._replace(data=jax.tree.map(lambda leaf: leaf[:100], task.data), epochs=2)


PAIRS = benchmark.crossed(2, [0.05, 0.01])


def test_the_work_that_is_timed_is_the_one_that_is_stated():
    task = benchmark.digits_task()
    x, y = task.data
    assert (x.shape, x.dtype, x.min(), x.max()) == ((1437, 64), np.float32, 0, 1)
    assert (y.shape, y.min(), y.max()) == ((1437,), 0, 9)
    assert (task.batch_size, task.epochs, task.steps) == (32, 10, 440)
    for rates in benchmark.SWEPT_RATES.values():
        assert len(set(benchmark.crossed(benchmark.SWEPT_SEEDS, rates))) == 256
    assert len(benchmark.TINY_RATES) * benchmark.TINY_SEEDS == 16_384
    assert len(benchmark.TINY_RATES) * benchmark.MANY_SEEDS == 100_000


def test_a_step_of_digits_takes_so_many_operations():
    first, second, rows = 64 * 64, 64 * 10, 32
    forward, to_weights, to_inputs = first + second, first + second, second
    by_hand = 2 * rows * (forward + to_weights + to_inputs)
    assert by_hand == 647_168
    assert benchmark.BATCH_SIZE * benchmark.weight_flops(benchmark.SWEPT) == by_hand


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_peers_make_the_runs_of_sweep(optimizer):
    pytest.importorskip("torch")
    ways = benchmark.sweep_ways(tiny_digits(), optimizer, PAIRS)
    *singles, together, plain, ours = ways
    assert singles == [f"PyTorch eager, threads: {n}" for n in sorted({1, os.cpu_count()})]
    assert (together, plain, ours) == ("torch.func vmap", "plain vmap", "jaxnet, sweep")
    curves = {name: way() for name, way in ways.items()}
    assert len(np.unique(curves[ours], axis=0)) == len(PAIRS)
    for name, curve in curves.items():
        runs = 1 if name in singles else len(PAIRS)
        assert curve.shape == (runs, 2)
        assert np.allclose(curve, curves[ours][:runs], rtol=1e-4, atol=0)
    assert benchmark.count_runs(ways) == dict.fromkeys(singles, 1) | dict.fromkeys(
        (together, plain, ours), len(PAIRS)
    )


@pytest.mark.parametrize("planted", ["rates", "order", "params"])
def test_a_peer_of_other_runs_is_refused(planted, monkeypatch):
    monkeypatch.setattr(benchmark, "torch_module", lambda: None)
    task = tiny_digits()
    runs = benchmark.ensemble(task, PAIRS)
    others = {
        "rates": runs.rates * np.float32(1.02),
        "order": runs.order[::-1],
        "params": jax.tree.map(lambda leaf: leaf[::-1], runs.params),
    }
    wrong = runs._replace(**{planted: others[planted]})
    monkeypatch.setattr(benchmark, "ensemble", lambda *_: wrong)
    with pytest.raises(RuntimeError, match=r"^plain vmap and jaxnet, sweep: .* not timed$"):
        benchmark.count_runs(benchmark.sweep_ways(task, "sgd", PAIRS))


@pytest.mark.parametrize(
    ("name", "planted"),
    [("torch_update", "torch.func vmap"), ("torch_loop", "PyTorch eager, threads: 1")],
)
def test_a_peer_of_another_optimizer_is_refused(name, planted, monkeypatch):
    torch = pytest.importorskip("torch")
    right = getattr(benchmark, name)

    def update(torch, optimizer, params, rates):
        return right(torch, optimizer, params, 1.02 * rates)

    def loop(torch, params, data, steps, make, threads):
        heavy = {"momentum": 0.5, **make.keywords}
        return right(torch, params, data, steps, lambda p: torch.optim.SGD(p, **heavy), threads)

    monkeypatch.setattr(benchmark, name, {"torch_update": update, "torch_loop": loop}[name])
    monkeypatch.setattr(benchmark, "torch_module", lambda: torch)
    with pytest.raises(RuntimeError, match=f"^{planted} and jaxnet, sweep: .* not timed$"):
        benchmark.count_runs(benchmark.sweep_ways(tiny_digits(), "sgd", PAIRS))


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_scikit_learn_is_timed_as_it_is_used(optimizer):
    """What is timed is its own loop, shuffles and all, of whole batches."""
    task = tiny_digits()
    way = benchmark.scikit_learn_way(task, optimizer, 1e-3)
    theirs = neural_network.MLPClassifier(
        (64,),
        solver=optimizer,
        alpha=0,
        batch_size=32,
        learning_rate_init=1e-3,
        max_iter=2,
        momentum=0,
        random_state=0,
    )
    with pytest.warns(match="Maximum iterations"):
        theirs.fit(*(leaf[:96] for leaf in task.data))
    assert np.array_equal(way(), [theirs.loss_curve_])


def test_a_scikit_learn_of_other_settings_is_refused(monkeypatch):
    right = benchmark.scikit_learn
    monkeypatch.setattr(
        benchmark, "scikit_learn", lambda *given: right(*given).set_params(alpha=0.1)
    )
    with pytest.raises(RuntimeError, match=r"^scikit-learn and jaxnet: .* not timed$"):
        benchmark.scikit_learn_way(tiny_digits(), "sgd", 1e-2)


def test_the_tiny_runs_are_those_of_the_numpy_loop(monkeypatch):
    pairs = benchmark.crossed(2, [benchmark.LEARNING_RATE, 0.1])
    benchmark.check_tiny(pairs)
    monkeypatch.setattr(classifier, "notebook_rule", classifier.AUTODIFF)
    with pytest.raises(RuntimeError, match=r"^NumPy and sweep: .* not timed$"):
        benchmark.check_tiny(pairs)


def test_the_tiny_runs_start_by_seed_and_differ():
    pairs = benchmark.crossed(3, [0.03, 0.1])
    loss = benchmark.sweeping(benchmark.tiny_task(classifier.AUTODIFF), "sgd", pairs)()
    assert loss.shape == (6, benchmark.EPOCHS)
    assert len(np.unique(loss[:, 0])) == 3
    assert len(np.unique(loss[:, -1])) == 6


def test_seconds_are_of_one_run(monkeypatch):
    """By a clock that the ways themselves set forward."""
    clock = types.SimpleNamespace(now=0.0)
    clock.perf_counter = lambda: clock.now
    monkeypatch.setattr(benchmark, "time", clock)

    def way(seconds):
        def run():
            clock.now += seconds

        return run

    ways = {"alone": way(3.0), "together": way(8.0)}
    timings = benchmark.interleaved(ways, 2, {"together": 16})
    assert timings["alone"].seconds == (3, 3)
    assert timings["together"].seconds == (0.5, 0.5)
    assert (timings["alone"].ratio, timings["together"].ratio) == (1, 6)


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
    section = benchmark.Section(("what", "", "", ""), [("kept", "", "", "")], {"kept": 1})
    found = benchmark.held(section, [benchmark.Target("it", value, kind, 5.0)])
    said = ("target: it", f"{value:.4g}", f"{kind} 5", "met" if met else "not met")
    assert found.rows == [("kept", "", "", ""), said]
    assert found.figures["targets"]["it"]["met"] is met
    assert found.figures["kept"] == 1


def test_sweeps_are_held_against_their_targets_round_by_round():
    flops = 10**9
    product = benchmark.GEMMS * 2 * benchmark.GEMM**3 / 1e9

    def made_up(ours, **slower):
        """Rounds of which the second is ten times as slow as the first."""
        each = {
            "scikit-learn": slower["sklearn"],
            "PyTorch eager, threads: 1": slower["eager"],
            "PyTorch eager, threads: 2": 2 * slower["eager"],
            "torch.func vmap": slower["func"],
            "plain vmap": slower["plain"],
            "jaxnet, sweep": 1,
        }
        timings = {way: timing(ours * times, 10 * ours * times) for way, times in each.items()}
        return timings | {
            "jnp.matmul 2048": timing(product / 100, product / 5),
            "torch.matmul 2048": timing(product / 50, product / 10),
        }

    section = benchmark.swept_section(
        {
            "sgd": made_up(1 / 60, sklearn=24.0, eager=51.0, func=5.5, plain=4.0),
            "adam": made_up(1 / 49, sklearn=26.0, eager=54.0, func=4.5, plain=5.0),
        },
        {"sgd": 0.5, "adam": 0.75},
        flops,
    )
    targets = section.figures["targets"]
    said = {
        name: (round(t["value"], 9), t["kind"], t["bound"], t["met"]) for name, t in targets.items()
    }
    assert said == {
        "sgd, PyTorch eager / jaxnet": (51, "at least", 50, True),
        "sgd, scikit-learn / jaxnet": (24, "at least", 25, False),
        "sgd, plain vmap / jaxnet": (4, "at least", 4.5, False),
        "sgd, torch.func / jaxnet": (5.5, "at least", 5, True),
        "sgd, share of peak": (0.6, "at least", 0.6, True),
        "adam, PyTorch eager / jaxnet": (54, "at least", 55, False),
        "adam, scikit-learn / jaxnet": (26, "at least", 25, True),
        "adam, plain vmap / jaxnet": (5, "at least", 4.5, True),
        "adam, torch.func / jaxnet": (4.5, "at least", 5, False),
        "adam, share of peak": (0.49, "at least", 0.5, False),
    }
    assert np.allclose(section.figures["sgd"]["peak_gflops"], [100, 10])
    ways = [row[0] for row in section.rows if not row[0].startswith("target")]
    assert len(ways) == 12
    assert not any("matmul" in way for way in ways)
    assert section.notes[1].endswith("compiled in 0.75 s.")


def test_a_process_new_has_every_core_as_a_device_and_memory_of_its_own(tmp_path):
    held = np.ones(10**8)
    asked = (
        "jax.local_device_count(), jax.config.jax_compilation_cache_dir, benchmark.peak_memory()"
    )
    names = "[jax := __import__('jax'), benchmark := __import__('experiments.benchmark').benchmark]"
    count, cache, peak = benchmark.fresh(eval, f"{names} and ({asked})", cache=str(tmp_path))
    assert count == len(os.sched_getaffinity(0))
    assert cache == str(tmp_path)
    assert benchmark.peak_memory() > held.nbytes > peak > 5e7


def test_only_what_takes_all_cores_leaves_this_process(monkeypatch, capsys):
    section = benchmark.Section(("what",), [], {})
    left = []
    for name in ("digits", "tiny", "wide", "memory"):
        monkeypatch.setattr(benchmark, name, functools.partial(section._replace))
    monkeypatch.setattr(benchmark, "fresh", lambda make: left.append(make) or make())
    benchmark.main(only=("digits", "tiny", "wide", "memory"))
    assert [make.args[0] for make in left] == [benchmark.tiny, benchmark.memory]
    assert "digits: cpu" in capsys.readouterr().out
