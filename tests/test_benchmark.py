import statistics

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import benchmark
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
