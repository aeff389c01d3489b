"""Evidence for the whole procedure: what is known beforehand is what `compare` says.

Where an answer is of many comparisons, one of many replicates is cut: each piece of it draws,
tunes, picks and is judged by itself, as a comparison of its own does.
"""

import functools
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize, stats

from jaxnet import optimizers, spaces
from jaxnet.compare import Problem, compare, statistics, verdicts

# Of one comparison at its first look.
ALPHA = statistics.spent(1, 0.05)
MARGIN = 0.05


@pytest.fixture(scope="module", autouse=True)
def promotion():
    """Promote dtypes as JAX does by default, as optax counts on."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def answer_of(comparison, name):
    (answer,) = [each for each in comparison.answers if each.optimizer == name]
    return answer


def tuned(comparison):
    return verdicts.values(comparison, "tuned", comparison.target)


def told(values, baseline, pieces):
    """The verdicts of as many comparisons as the replicates are cut into, all above zero."""
    pairs = [
        statistics.paired(mine, others, ALPHA, "ratio")
        for mine, others in zip(np.split(values, pieces), np.split(baseline, pieces), strict=True)
    ]
    return [statistics.verdict(pair, ALPHA, MARGIN, "ratio", 1.0) for pair in pairs]


# --- quadratics: what SGD reaches is known in closed form

DIMENSIONS, STEPS = 10, 200


def point(key):
    return jax.random.normal(key, (DIMENSIONS,))


def curvatures(condition):
    return np.geomspace(1 / condition, 1, DIMENSIONS)


@functools.cache
def quadratic(condition):
    def loss(params, batch):
        del batch
        return jnp.sum(jnp.asarray(curvatures(condition), params.dtype) * params**2) / 2

    return loss


def least_of_fixed_rates(condition, seeds):
    """The typical loss that SGD reaches in so many steps at the best of 4,000 rates."""
    starts = np.asarray(jax.vmap(lambda seed: point(jax.random.key(seed)))(seeds), np.float64)
    rates = np.geomspace(1e-2, 2, 4000)[:, None]
    # Seen at the last step before its update, as training losses are.
    left = (1 - rates * curvatures(condition)) ** (2 * (STEPS - 1))
    losses = (curvatures(condition) * left) @ starts.T**2 / 2
    return min(statistics.location(each, ALPHA, "ratio").estimate for each in losses)


@pytest.fixture(scope="module")
def steep():
    """A valley a thousand times as wide as it is long, with trials enough to find its edge."""
    loss = quadratic(1e3)
    return compare(Problem(loss, point, steps=STEPS), ["momentum"], replicates=20, budget=20)


@pytest.mark.slow
def test_sgd_tuned_is_near_the_best_of_all_fixed_rates(steep):
    least = least_of_fixed_rates(1e3, steep.protocol.seeds()[:, 0])
    sgd = answer_of(steep, "sgd")
    assert 0.95 * least < sgd.value.estimate <= 1.1 * least
    assert 0.95 * least < sgd.recommended.estimate <= 1.1 * least
    assert sgd.customary.estimate > 10 * least


def test_momentum_accelerates_where_the_condition_is_bad(steep):
    momentum = answer_of(steep, "momentum")
    assert momentum.verdict == "better"
    assert momentum.pair.difference.high < 0.1


@pytest.mark.slow
def test_what_a_hyperparameter_explains_is_what_it_does():
    """One that does nothing explains nothing; beside a rate that does all, little is left over."""

    def make(learning_rate, inert):
        del inert
        return optax.sgd(learning_rate)

    axes = {"learning_rate": spaces.log(1e-2, 1e0), "inert": spaces.linear(0.0, 1.0)}
    entry = optimizers.Entry("mine", make, axes, {"learning_rate": 0.1, "inert": 0.5})
    comparison = compare(
        Problem(quadratic(1.0), point, steps=STEPS // 10),
        {"mine": entry},
        tune={"mine": "all", "sgd": {"learning_rate": axes["learning_rate"]}},
        budget=24,
    )
    effects, tuning = answer_of(comparison, "mine").effects, comparison.phase("tuning")["mine"]
    # Worked out another way: a rank within its replicate, explained by the sixth its value is in.
    losses = tuning.final("training").reshape(20, 24, -1).mean(axis=-1)
    ranks = stats.rankdata(losses, axis=1)
    for name, effect in effects.items():
        tried = tuning.settings[name].reshape(20, 24, -1)[..., 0].ravel()
        sixths = np.array_split(ranks.ravel()[np.argsort(tried, kind="stable")], 6)
        between = sum(len(each) * (each.mean() - ranks.mean()) ** 2 for each in sixths)
        assert effect == pytest.approx(between / np.sum((ranks - ranks.mean()) ** 2), abs=0.02)
    assert effects["inert"] < 0.1
    assert effects["learning_rate"] > 0.5


@pytest.mark.slow
def test_momentum_is_not_worse_where_there_is_nothing_to_accelerate():
    own = {"learning_rate": spaces.log(1e-3, 1e1), "momentum": spaces.one_minus(0.0, 0.99)}
    comparison = compare(
        Problem(quadratic(1.0), point, steps=STEPS),
        ["momentum"],
        replicates=20,
        tune={"momentum": own},
    )
    assert answer_of(comparison, "momentum").verdict in ("as good", "not told apart")


def test_no_wider_range_is_asked_for_where_the_loss_is_flat_up_to_its_end():
    """One optimizer does the same at all rates of its last twentieth; the other gets lower."""
    own = {
        "capped": lambda learning_rate: optax.sgd(jnp.minimum(learning_rate, 0.027)),
        "falling": optax.sgd,
    }
    comparison = compare(
        Problem(quadratic(1e3), point, steps=STEPS // 4),
        own,
        tune={name: {"learning_rate": spaces.log(1e-5, 0.04)} for name in own},
        replicates=20,
    )
    capped, falling = (answer_of(comparison, name) for name in own)
    assert capped.beyond < 0.3
    assert falling.beyond == 1
    asked = ["give it a wider one" in each.sentence for each in (capped, falling)]
    assert asked == [False, True]


# --- published examples


def within_one(make):
    """An optimizer kept between minus one and one."""

    def projected(learning_rate):
        inner = make(learning_rate)

        def update(updates, state, params=None):
            updates, state = inner.update(updates, state, params)
            inside = jax.tree.map(lambda p, u: jnp.clip(p + u, -1, 1) - p, params, updates)
            return inside, state

        return optax.GradientTransformation(inner.init, update)

    return projected


def slope(params, batch):
    return jnp.mean(batch) * params


@pytest.mark.slow
def test_adam_goes_to_the_worst_point_and_amsgrad_to_the_best():
    """Reddi, Kale & Kumar (2018), theorem 1: one large gradient, and two small ones against it."""
    large = 3.0
    rows = np.float32([large, -1, -1])
    settings = {"b1": 0.0, "b2": 1 / (1 + large**2), "eps": 1e-8}
    own = {
        name: within_one(functools.partial(getattr(optax, name), **settings))
        for name in ("adam", "amsgrad")
    }

    def begin(key):
        return jax.random.uniform(key, minval=-1, maxval=1)

    comparison = compare(
        Problem(slope, begin, rows, epochs=300, batch_size=1, validation=rows),
        own,
        baseline="adam",
        replicates=20,
        tune={name: {"learning_rate": 0.03} for name in own},
    )
    adam, amsgrad = comparison.answers
    assert (adam.optimizer, amsgrad.verdict) == ("adam", "better")
    best = (large - 2) / 3
    assert adam.value.estimate == pytest.approx(best, rel=0.05)
    assert amsgrad.value.estimate == pytest.approx(-best, rel=0.05)


def wilsons(count, positive):
    """Wilson et al. (2017), 3.3: the first feature is the label, two are one, others tell rows."""
    labels = np.where(np.arange(count) < positive, 1, -1)
    x = np.zeros((count, 3 + 5 * count), np.float32)
    x[:, 0], x[:, 1:3] = labels, 1
    for row, label in enumerate(labels):
        x[row, 3 + 5 * row : 3 + 5 * row + (1 if label > 0 else 5)] = 1
    return x, labels.astype(np.float32)


def squares(params, batch):
    x, y = batch
    return jnp.mean((x @ params - y) ** 2)


def mistakes(params, batch):
    x, y = batch
    return jnp.mean(jnp.sign(x @ params) != y, dtype=jnp.float32)


@pytest.mark.slow
def test_adam_fits_separable_data_and_knows_nothing_of_new_rows():
    """What is new to it are features never seen: it calls them all what most rows are."""
    x, y = wilsons(30, 18)
    new = np.concatenate([x[:, :3], np.zeros_like(x[:, 3:])], axis=1), y

    def begin(key):
        return 1e-6 * jax.random.normal(key, (x.shape[1],))

    comparison = compare(
        Problem(squares, begin, (x, y), steps=300, test=new, metrics={"mistakes": mistakes}),
        ["adam"],
        by="mistakes",
        maximised=False,
        replicates=20,
    )
    sgd, adam = comparison.answers
    assert adam.verdict == "worse"
    assert (sgd.value.estimate, adam.value.estimate) == (0, pytest.approx(12 / 30))
    # Both fit what they were given.
    for runs in comparison.phase("tuned").values():
        assert np.median(runs.final("training")) < 1e-3


def rosenbrock(params, batch):
    del batch
    x, y = params
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


@pytest.mark.slow
def test_lbfgs_finds_the_end_of_rosenbrocks_valley():
    def begin(key):
        return jnp.array([-1.2, 1.0]) + jax.random.normal(key, (2,)) / 10

    comparison = compare(
        Problem(rosenbrock, begin, steps=60),
        ["lbfgs"],
        replicates=20,
        budget=4,
    )
    lbfgs = answer_of(comparison, "lbfgs")
    assert lbfgs.verdict in ("better", "fails less often")
    assert lbfgs.failed == 0
    assert lbfgs.value.high < 1e-8
    assert answer_of(comparison, "sgd").value.low > 1e-2


@pytest.mark.usefixtures("x64")
@pytest.mark.slow
def test_lbfgs_solves_a_logistic_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5))
    y = np.where(rng.random(40) < 1 / (1 + np.exp(-x @ rng.normal(size=5))), 1.0, -1.0)

    def loss(params, batch):
        rows, labels = batch
        penalty = jnp.sum(params**2) / 20
        return jnp.mean(jnp.logaddexp(0.0, -labels * (rows @ params))) + penalty

    def oracle(params):
        return np.mean(np.logaddexp(0, -y * (x @ params))) + np.sum(params**2) / 20

    least = optimize.minimize(oracle, np.zeros(5), method="BFGS", options={"gtol": 1e-10}).fun

    def begin(key):
        return jax.random.normal(key, (5,))

    comparison = compare(
        Problem(loss, begin, (x, y), steps=30),
        ["lbfgs"],
        replicates=5,
        budget=4,
    )
    ends = tuned(comparison)["lbfgs"]
    assert np.all(np.abs(ends - least) < 1e-8)


# --- optimizers planted: what they are is known, all else is searched as ever

NOISES = np.random.default_rng(1).normal(size=(64, 4)).astype(np.float32)
NOISES -= NOISES.mean(axis=0)


class Scaled(NamedTuple):
    """Parameters, and what the loss is multiplied by: one, but where an optimizer is judged."""

    point: jax.Array
    factor: jax.Array


def scaled_start(key):
    return Scaled(2 * jax.random.normal(key, (4,)), jnp.ones(()))


def noisy(params, batch):
    """A quadratic whose minimum is elsewhere in every batch, above a floor."""
    far = jnp.sum((params.point[None] - batch) ** 2 * jnp.array([[1.0, 0.3, 0.1, 0.03]]), axis=1)
    return jax.lax.stop_gradient(params.factor) * (1 + jnp.mean(far) / 4)


class Planted(NamedTuple):
    state: optax.OptState
    factor: jax.Array


def planted(shift=0.0, spread=0.0, failing=0.0, rates=(1e-4, 1e0)):
    """SGD whose loss is `exp(shift)` times what it is, give or take, and nan for a share of keys.

    Its range is not SGD's, so that its trials are not either.
    """

    def make(learning_rate, key=None):
        inner = optax.sgd(learning_rate)

        def init(params):
            normal, uniform = jax.random.split(key)
            factor = jnp.exp(shift + spread * jax.random.normal(normal))
            lost = jax.random.uniform(uniform) < failing
            return Planted(inner.init(params), jnp.where(lost, jnp.nan, factor))

        def update(updates, state, params=None):
            updates, after = inner.update(updates, state.state, params)
            return updates, Planted(after, state.factor)

        return optax.GradientTransformation(init, update)

    return optimizers.Entry(
        "planted",
        make,
        {"learning_rate": spaces.log(*rates)},
        {"learning_rate": 0.01},
        random=True,
        evaluate=lambda state, params: params._replace(factor=state.factor),
    )


PLANTED = MappingProxyType(
    {
        "better": planted(np.log(0.95), 0.02),
        "worse": planted(np.log(1.05), 0.02),
        "twin": optimizers.join("twin", optax.sgd),
        "lost": planted(np.log(0.95), failing=0.6),
    }
)
PIECES = 20


@pytest.fixture(scope="module")
def plants():
    """Twenty comparisons of 20 replicates, and six of 66, in one of 400."""
    still = np.zeros((1, 4), np.float32)
    problem = Problem(noisy, scaled_start, NOISES, epochs=4, batch_size=4, validation=still)
    comparison = compare(problem, dict(PLANTED), replicates=20 * PIECES)
    return tuned(comparison)


@pytest.mark.parametrize("kind", ["better", "worse"])
@pytest.mark.slow
def test_five_percent_is_told(plants, kind):
    """The spread of differences is such that 20 replicates tell four in five and more."""
    least = statistics.smallest_told(plants[kind][:20], plants["sgd"][:20], ALPHA, "ratio")
    assert least < 1.05
    verdicts_ = told(plants[kind], plants["sgd"], PIECES)
    assert verdicts_.count(kind) >= 0.9 * PIECES
    assert set(told(plants[kind][:360], plants["sgd"][:360], 6)) == {kind}


@pytest.mark.slow
def test_the_same_is_told_apart_no_more_often_than_the_level(plants):
    """Of 20 comparisons at 5% more than three are told apart once in 60 runs of this test."""
    verdicts_ = told(plants["twin"], plants["sgd"], PIECES)
    assert PIECES - sum(verdicts_.count(each) for each in ("as good", "not told apart")) <= 3
    # It was searched elsewhere: the differences are none of rounding.
    assert np.std(np.log(plants["twin"] / plants["sgd"])) > 1e-3
    assert "as good" in verdicts_


@pytest.mark.slow
def test_what_fails_in_six_of_ten_is_said_to_fail_though_it_is_better_where_it_lasts(plants):
    lost = plants["lost"]
    assert 0.5 < np.mean(np.isinf(lost)) < 0.7
    verdicts_ = told(lost, plants["sgd"], PIECES)
    assert verdicts_.count("fails more often") >= 0.9 * PIECES
    assert "better" not in verdicts_
    assert "fails less often" in told(plants["sgd"], lost, PIECES)
