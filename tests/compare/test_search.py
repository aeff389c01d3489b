"""Evidence for the search: where its draws lie, what they hang on, and how they close in."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnet import spaces
from jaxnet.compare.search import Search, ranked
from jaxnet.errors import InputError

RATE = spaces.log(1e-3, 1e1)
AXES = {
    "learning_rate": RATE,
    "momentum": spaces.one_minus(0.5, 0.999),
    "warmup": spaces.linear(0.0, 0.2),
    "schedule": spaces.choice(0.0, 1.0, 2.0),
}
NAMES = st.sets(st.sampled_from(["momentum", "warmup", "schedule"])).map(
    lambda names: ("learning_rate", *sorted(names))
)


def searched(*names, trials=12):
    axes = {name: AXES[name] for name in names}
    customary = {name: float(axis.at(np.array(0.5))) for name, axis in axes.items()}
    return Search(axes, customary, trials)


ALONE = searched("learning_rate")


def drawn(found, loss, seed=0, replicates=range(3)):
    """All points of a search of a planted loss, in order, and how far it looked at each stage."""
    points, reaches = found.first(seed, replicates), []
    for stage in range(1, len(found.stages)):
        losses = loss(points)
        centres = found.best(points, losses)
        below, above = found._reach(points, centres)
        reaches.append((centres - below, centres + above))
        further = found.further(seed, replicates, points, losses, stage)
        points = np.concatenate([points, further], axis=1)
    return points, reaches


def bowl(*optimum):
    """Unimodal on every axis, and no two points alike; of one seed."""
    return lambda points: np.sum(np.abs(points - np.array(optimum)), axis=-1, keepdims=True)


@given(NAMES, st.integers(2, 60), st.integers(0, 99), st.integers(0, 9999))
def test_the_first_trials_lie_one_in_each_piece_of_every_axis(names, trials, seed, replicate):
    found = searched(*names, trials=trials)
    (points,) = found.first(seed, [replicate])
    count = found.stages[0]
    assert points.shape == (count, len(names))
    pieces = np.sort(np.floor(points * count), axis=0)
    assert np.array_equal(pieces, np.broadcast_to(np.arange(count)[:, None], points.shape))
    np.testing.assert_allclose(np.diff(np.sort(points, axis=0), axis=0), 1 / count, atol=1e-12)


@given(NAMES, NAMES, st.integers(3, 20), st.integers(0, 9), st.integers(0, 99))
def test_optimizers_share_the_draws_of_what_they_have_in_common(ours, theirs, trials, seed, of):
    """By name: also where they have other axes beside it."""
    mine, others = searched(*ours, trials=trials), searched(*theirs, trials=trials)
    a, b = (each.first(seed, [of]) for each in (mine, others))
    for name in set(ours) & set(theirs):
        assert np.array_equal(a[..., mine.names.index(name)], b[..., others.names.index(name)])


def test_each_seed_replicate_stage_and_name_has_draws_of_its_own():
    found = searched("learning_rate", "momentum")
    points = found.first(0, range(50))
    assert len(np.unique(points[..., 0].round(9))) == points[..., 0].size
    assert not np.intersect1d(points[..., 0], points[..., 1]).size
    assert not np.intersect1d(points, found.first(1, range(50))).size
    again = drawn(found, lambda points: -np.arange(points.shape[1])[:, None] + 0 * points[..., :1])[
        0
    ]
    assert len(np.unique(again[..., 0].round(9))) == again[..., 0].size


def test_replicates_are_nested():
    loss = bowl(0.3, 0.8)
    found = searched("learning_rate", "momentum")
    many = drawn(found, loss, replicates=range(8))[0]
    assert np.array_equal(drawn(found, loss, replicates=range(3))[0], many[:3])
    assert np.array_equal(drawn(found, loss, replicates=range(5, 8))[0], many[5:])


@given(st.integers(2, 200))
def test_the_stages_are_all_the_trials(trials):
    assert sum(of_trials(trials).stages) == trials
    assert min(of_trials(trials).stages) >= 1


def of_trials(trials):
    return searched("learning_rate", trials=trials)


@given(st.floats(-0.4, 1.4), st.integers(6, 40), st.integers(0, 9))
def test_a_single_valley_stays_between_the_neighbours_of_the_best(optimum, trials, seed):
    """So that it is closed in on; and what is drawn lies there."""
    found = searched("learning_rate", trials=trials)
    points, reaches = drawn(found, bowl(optimum), seed, range(4))
    first = points[:, : found.stages[0], 0]
    inside = (first.min(1) <= optimum) & (optimum <= first.max(1))
    start, widths = found.stages[0], []
    for (low, high), count in zip(reaches, found.stages[1:], strict=True):
        assert np.all((low[:, 0] <= optimum) & (optimum <= high[:, 0]) | ~inside)
        now = points[:, start : start + count, 0]
        assert np.all((low <= now) & (now <= high))
        start += count
        widths.append(np.where(inside, (high - low)[:, 0], 0))
    assert np.all(np.diff(widths, axis=0) <= 1e-12)


def test_twelve_trials_come_as_near_as_forty_of_one_grid():
    """From the nearest of which a quarter of their distance is the median."""
    optima = np.random.default_rng(0).uniform(0.1, 0.9, 200)
    ends = []
    for seed, optimum in enumerate(optima):
        points = drawn(ALONE, bowl(optimum), seed, [0])[0]
        ends.append(np.abs(points - optimum).min())
    assert np.median(ends) < 1 / 40 / 4
    assert np.quantile(ends, 0.9) < 0.03


@pytest.mark.parametrize("optimum", [-0.6, 1.7])
def test_a_learning_rate_is_followed_beyond_its_range(optimum):
    found = searched("learning_rate", trials=20)
    points = drawn(found, bowl(optimum), 0, range(20))[0][..., 0]
    assert np.median(np.abs(points - optimum).min(axis=1)) < 0.05
    values = found.values(points[..., None])["learning_rate"]
    assert np.all(values > 0)
    assert (values.min() < RATE.values[0]) == (optimum < 0)
    assert (values.max() > RATE.values[1]) == (optimum > 1)


@pytest.mark.parametrize("optimum", [-0.6, 1.7])
def test_no_other_axis_is_left(optimum):
    """Its end is tried in most searches, and nothing beyond it."""
    found = searched("learning_rate", "momentum", "warmup", trials=30)
    places = [optimum if name != "learning_rate" else 0.5 for name in found.names]
    points = drawn(found, bowl(*places), 0, range(10))[0]
    for name in ("momentum", "warmup"):
        mine = points[..., found.names.index(name)]
        assert np.all((mine >= 0) & (mine <= 1))
        assert np.mean(np.any(mine == np.clip(optimum, 0, 1), axis=1)) > 0.5


def test_several_axes_are_closed_in_on_together():
    """Nearer than as many draws all over, in the middle of many searches."""
    found = searched("learning_rate", "momentum", "warmup", trials=36)
    random, closer = np.random.default_rng(0), []
    for seed in range(100):
        optimum = random.uniform(0.1, 0.9, 3)
        points = drawn(found, bowl(*optimum), seed, [0])[0]
        lattice = searched(*found.names, trials=5 * 36).first(seed, [0])
        assert lattice.shape[1] == 36
        closer.append([bowl(*optimum)(each).min() for each in (points, lattice)])
    searches, lattices = np.median(closer, axis=0)
    assert searches < 0.65 * lattices


def test_choices_are_kept_or_drawn_anew():
    found = searched("learning_rate", "schedule", trials=300)
    at = found.names.index("schedule")
    points = found.first(0, range(20))
    # The last piece is best, whatever the rate.
    losses = -points[..., [at]]
    further = found.further(0, range(20), points, losses, 1)[..., at]
    centres = found.best(points, losses)[:, None, at]
    assert np.all((further >= 0) & (further <= 1))
    stays = np.mean(further == centres)
    assert 0.2 < stays < 0.8
    assert len(np.unique(AXES["schedule"].at(further))) == 3


def test_choices_alone_are_drawn_at_once():
    found = Search({"learning_rate": spaces.choice(0.1, 0.2, 0.4)}, {"learning_rate": 0.2}, 3)
    assert found.stages == (3,)
    (points,) = found.first(5, [3])
    assert sorted(found.values(points[None])["learning_rate"][0]) == [0.1, 0.2, 0.4]


def test_the_best_is_the_lowest_and_of_equals_the_first():
    points = np.array([[0.0, 1, 2, 3], [5, 4, 7, 6]])[..., None]
    losses = np.array([[3, 1, 1, 2], [math.inf, 3, 3, 1]])[..., None]
    assert ALONE.best(points, losses).tolist() == [[1], [6]]


def test_where_all_failed_the_lowest_rate_is_the_best_and_lower_ones_are_next():
    points = ALONE.first(0, range(5))
    lost = np.full((*points.shape[:2], 3), math.inf)
    assert np.array_equal(ALONE.best(points, lost), points.min(axis=1))
    further = ALONE.further(0, range(5), points, lost, 1)
    piece = 1 / ALONE.stages[0]
    assert np.all(further < points.min(axis=1)[:, None])
    assert np.all(further >= points.min(axis=1)[:, None] - 2 * piece)


@given(
    losses=st.lists(
        st.lists(st.sampled_from([0.125, 0.25, 0.75, math.inf]), min_size=3, max_size=3), min_size=1
    )
)
def test_trials_rank_by_failures_and_then_by_the_loss_of_the_others(losses):
    def key(trial):
        lasting = [loss for loss in trial if loss < math.inf]
        return 3 - len(lasting), sum(lasting) / max(1, len(lasting))

    order = sorted(range(len(losses)), key=lambda each: key(losses[each]))
    (ranks,) = ranked(np.array([losses]))
    lasting = [each for each in order if min(losses[each]) < math.inf]
    assert [ranks[each] for each in lasting] == list(range(len(lasting)))
    assert all(ranks[each] == math.inf for each in order[len(lasting) :])


def test_an_optimizer_that_fails_in_six_of_ten_runs_is_tuned_all_the_same():
    """Where runs fail by chance, at every rate, those that last tell the best one."""
    random = np.random.default_rng(0)

    def loss(points):
        return np.where(failing[:, : points.shape[1]], math.inf, bowl(0.5)(points))

    failing = random.random((200, ALONE.trials, 3)) < 0.6
    points = drawn(ALONE, loss, 0, range(200))[0]
    off = np.abs(ALONE.best(points, loss(points)) - 0.5)
    assert np.median(off) < 0.2


def test_where_all_failed_a_rate_is_found_far_below_the_range():
    def loss(points):
        return np.where(points > -0.4, math.inf, bowl(-0.45)(points))

    points = drawn(ALONE, loss, 0, range(20))[0]
    assert np.all(np.isfinite(loss(points)).any(axis=1))


@pytest.mark.parametrize("noise", [1e-4, 0.05])
def test_a_curve_that_is_flat_to_its_end_has_no_edge_and_one_that_falls_has(noise):
    """Flat all over, or from nine tenths of the range on; or falling until far beyond it."""
    found, random = searched("learning_rate", trials=20), np.random.default_rng(0)

    def beyond(optimum, slope):
        """Shares of trials, and of settings picked."""

        def loss(points):
            seeds = noise * random.normal(size=(*points.shape[:2], 3))
            return slope * np.maximum(optimum - points, 0) + seeds

        points = drawn(found, loss, 0, range(200))[0]
        rates = points[..., 0], found.best(points, loss(points))[:, 0]
        return [np.mean((each < 0) | (each > 1)) for each in rates]

    assert max(beyond(0.0, 0)) < 0.05
    assert max(beyond(0.9, 4)) < 0.35
    assert min(beyond(1.4, 4)) > 0.5


def test_the_recommended_setting_is_the_middle_of_the_picks():
    """Of those with the choice most often made, and there the median on every axis."""
    found = searched("learning_rate", "schedule")
    schedules = AXES["schedule"].point(np.array([2.0, 1, 2, 0, 2, 1]))
    picks = np.stack([np.array([0.9, 0.0, 1.3, 0.0, 0.2, 0.0]), schedules], axis=1)
    setting = found.values(found.recommended(picks)[None, None])
    assert setting["schedule"].item() == 2
    assert setting["learning_rate"].item() == pytest.approx(1e-3 * 1e4**0.9)
    assert ALONE.recommended(np.array([[0.1], [0.7], [0.2]])).tolist() == [0.2]


@given(st.lists(st.floats(-1, 2), min_size=1, max_size=30))
def test_the_recommended_rate_is_the_median_whatever_was_picked(rates):
    picks = np.array(rates)[:, None]
    assert ALONE.recommended(picks).tolist() == [np.median(rates)]


def test_the_customary_point_is_that_of_the_customary_values():
    for found in (ALONE, searched(*AXES)):
        values = found.values(found.customary_point[None, None])
        for name, value in found.customary.items():
            assert values[name].item() == pytest.approx(value)


@pytest.mark.parametrize(
    ("axes", "customary", "trials", "words"),
    [
        ({}, {}, 3, "axes: expected a customary value for each, learning_rate among them"),
        ({"momentum": AXES["momentum"]}, {"momentum": 0.9}, 3, "axes: expected a customary"),
        ({"learning_rate": RATE}, {}, 3, "axes: expected a customary value for each"),
        ({"learning_rate": RATE}, {"learning_rate": 0.1}, 0, "trials: expected at least 1, got 0"),
        (
            {"learning_rate": spaces.choice(-1.0, 0.1)},
            {"learning_rate": 0.1},
            2,
            "learning_rate: expected values above zero, got -1, 0.1",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused(axes, customary, trials, words):
    with pytest.raises(InputError, match=words):
        Search(axes, customary, trials)
