"""scikit-learn's estimators: its own checks, and each promise of ours against `jaxnet.fit`."""

import functools
import pickle
import re

import jax
import numpy as np
import optax
import pytest
from runs import close, same
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import jaxnet
from jaxnet.sklearn import NetworkClassifier, NetworkRegressor
from jaxnet.storage import models

# As scikit-learn's and optax's arithmetic has it.
pytestmark = pytest.mark.usefixtures("standard_promotion")

_random = np.random.default_rng(0)
X = _random.normal(size=(40, 3)).astype(np.float32)
LABELS = np.array(["no", "yes"])[(X[:, 0] > 0).astype(int)]
Y = np.stack([X.sum(axis=1), X[:, 0] - X[:, 1]], axis=1)
Classifier = functools.partial(NetworkClassifier, hidden=4, epochs=3, batch_size=16, random_state=0)
Regressor = functools.partial(NetworkRegressor, hidden=4, epochs=3, batch_size=16, random_state=0)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("make", [NetworkClassifier, NetworkRegressor])
@pytest.mark.filterwarnings("default")
def test_scikit_learn_s_checks_pass(make):
    with jax.numpy_rank_promotion("allow"):
        results = check_estimator(make(), on_skip=None)
    assert {each["status"] for each in results} <= {"passed", "skipped"}
    assert sum(each["status"] == "passed" for each in results) > 50


def alone(member, members_count, *, epochs=3):
    """What `jaxnet.fit` makes of a member's start, without the estimator."""
    key = jax.random.split(jax.random.key(SEED), members_count)[member]
    return jaxnet.fit(
        models.loss("regression", "relu"),
        optax.adam,
        jaxnet.init(key, [3, 4, 2], jax.nn.initializers.glorot_uniform()),
        (X, Y),
        epochs=epochs,
        batch_size=16,
        seed=SEED,
        hyperparameters={"learning_rate": 0.01},
    )


SEED = np.random.RandomState(0).randint(2**31)


@pytest.mark.slow
def test_an_ensemble_is_its_members_alone():
    net = Regressor(n_members=3, learning_rate=0.01).fit(X, Y)
    fits = [alone(member, 3) for member in range(3)]
    for member, fit in enumerate(fits):
        close(jax.tree.map(lambda leaf, m=member: leaf[m], net.fit_.params), fit.params)
    losses = np.mean([fit.history["loss"] for fit in fits], axis=0)
    np.testing.assert_allclose(net.fit_.history["loss"], losses, rtol=1e-5)
    outputs = [jaxnet.predict(models.forward("relu"), fit.params, X) for fit in fits]
    assert np.ptp(outputs, axis=0).max() > 0.1
    np.testing.assert_allclose(net.predict(X), np.mean(outputs, axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_weights_leave_out_and_repeat():
    counts = _random.integers(0, 3, 40)
    weighed = Classifier(batch_size=None).fit(X, LABELS, sample_weight=counts)
    rows = np.repeat(np.arange(40), counts)
    repeated = Classifier(batch_size=None).fit(X[rows], LABELS[rows])
    close(weighed.predict_proba(X), repeated.predict_proba(X))
    assert np.abs(weighed.predict_proba(X) - Classifier().fit(X, LABELS).predict_proba(X)).max()
    left_out = np.where(LABELS == "yes", 0, 1)
    assert Classifier().fit(X, LABELS, left_out).classes_.tolist() == ["no"]


@pytest.mark.slow
def test_partial_fit_and_warm_start_are_a_longer_fit():
    whole = Classifier(epochs=4).fit(X, LABELS)
    parts = Classifier()
    for _ in range(4):
        parts.partial_fit(X, LABELS, classes=["yes", "no"])
    same(parts.fit_.progress.run.state, whole.fit_.progress.run.state)
    warm = Classifier(epochs=2, warm_start=True).fit(X, LABELS).fit(X, LABELS)
    same(warm.fit_.params, whole.fit_.params)
    np.testing.assert_array_equal(warm.fit_.history["loss"], whole.fit_.history["loss"])
    cold = Classifier(epochs=2).fit(X, LABELS).fit(X, LABELS)
    assert len(cold.fit_.history["loss"]) == 2


@pytest.mark.slow
def test_early_stopping_keeps_the_best_epoch():
    net = Regressor(epochs=400, patience=1, validation=0.5, learning_rate=0.3).fit(X, Y)
    losses = net.fit_.history["validation_loss"]
    assert net.fit_.outcome == "stopped early"
    assert int(net.fit_.progress.best_epoch) == 1 + losses.argmin()


@pytest.mark.slow
def test_it_works_in_scikit_learn_s_tools(compilations):
    pipeline = make_pipeline(StandardScaler(), Classifier())
    grid = {"networkclassifier__learning_rate": [1e-3, 1e-2]}
    GridSearchCV(pipeline, grid, cv=2).fit(X, LABELS)
    compilations.clear()
    search = GridSearchCV(pipeline, {**grid, "networkclassifier__n_members": [1]}, cv=2)
    assert search.fit(X, LABELS).score(X, LABELS) >= 0
    assert not compilations
    calibrated = CalibratedClassifierCV(Classifier(), cv=2).fit(X, LABELS)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1, rtol=1e-5)


@pytest.mark.slow
def test_it_is_pickled_and_cloned():
    for rows in (X, X.astype(np.float64)):
        net = Regressor().fit(rows, Y)
        again = pickle.loads(pickle.dumps(net))
        same(again.predict(rows), net.predict(rows))
        same(again.partial_fit(rows, Y).fit_.params, net.partial_fit(rows, Y).fit_.params)
        assert net.predict(rows).dtype == rows.dtype
    assert not hasattr(clone(net), "fit_")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer": "adamm"}, "optimizer: expected an optimizer of optax, got 'adamm'"),
        ({"activation": "tan"}, "activation: expected one of relu"),
        ({"optimizer": optax.adam(0.1), "learning_rate": 0.1}, "already made"),
        ({"hyperparameters": {"beta": 1.0}}, "hyperparameters: expected those of adam"),
        ({"hyperparameters": ["b1"]}, "hyperparameters: expected a dict"),
        ({"hyperparameters": {"learning_rate": 1.0}, "learning_rate": 0.1}, "expected it once"),
        ({"learning_rate": -0.1}, "learning_rate: expected at least 0, got -0.1"),
        ({"hidden": (4, 0)}, "hidden: expected at least 1, got 0"),
        ({"hidden": (4.0,)}, "hidden: expected a whole number, got 4.0"),
        ({"hidden": "44"}, "hidden: expected a whole number, got '4'"),
        ({"n_members": 0}, "n_members: expected at least 1"),
        ({"batch_size": 0}, "batch_size: expected at least 1"),
        ({"epochs": 0}, "epochs: expected at least 1"),
        ({"patience": 1, "validation": 1.5}, "validation: expected a share of the rows"),
    ],
)
def test_bad_settings_are_named(settings, words):
    with pytest.raises(jaxnet.InputError, match=words):
        Classifier(**settings).fit(X, LABELS)


def test_partial_fit_names_what_it_lacks():
    with pytest.raises(jaxnet.InputError, match="classes: expected all classes"):
        Classifier().partial_fit(X, LABELS)
    with pytest.raises(jaxnet.InputError, match="patience: expected None"):
        Classifier(patience=2).partial_fit(X, LABELS, classes=["no", "yes"])
    net = Classifier().fit(X, LABELS)
    with pytest.raises(jaxnet.InputError, match="classes: expected those of the first call"):
        net.partial_fit(X, LABELS, classes=["no", "perhaps"])
    with pytest.raises(ValueError, match="previously unseen labels"):
        net.partial_fit(X, np.where(X[:, 0] > 0, "perhaps", "no"))


def test_a_copy_of_a_partial_function_compiles_nothing(compilations):
    make = functools.partial(optax.sgd, momentum=0.5)
    mine = NetworkRegressor(hidden=3, optimizer=make, learning_rate=0.1, epochs=2, random_state=0)
    x, y = np.ones((8, 2), np.float32), np.ones(8, np.float32)
    clone(mine).fit(x, y)
    compilations.clear()
    clone(mine).set_params(learning_rate=0.2).fit(x, y)
    assert not compilations


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("goes_on", [False, True])
def test_what_fails_changes_nothing(goes_on):
    net = Classifier(warm_start=goes_on).fit(X, LABELS)
    before, probabilities = net.fit_, net.predict_proba(X)
    wide, others = np.c_[X, X], np.where(X[:, 1] > 0, "perhaps", "no")
    for settings, rows, labels in (
        ({"hidden": "a"}, wide, others),
        ({"learning_rate": "a"}, wide, others),
        ({}, wide, np.full(len(X), np.nan)),
        ({}, wide, LABELS[:3]),
    ):
        with pytest.raises(ValueError, match=r"expected|NaN|inconsistent|features"):
            net.set_params(**settings).fit(rows, labels)
        net.set_params(hidden=4, learning_rate=None)
        assert net.fit_ is before
        assert np.array_equal(net.predict_proba(X), probabilities)
        assert net.classes_.tolist() == ["no", "yes"]


@pytest.mark.parametrize("settings", [{"hidden": (4, 4)}, {"n_members": 2}])
def test_a_run_goes_on_with_the_layers_that_it_began_with(settings):
    net = Classifier(warm_start=True).fit(X, LABELS).set_params(**settings)
    ((name, value),) = settings.items()
    words = rf"{name}: expected .*, with which training began, got {re.escape(str(value))}"
    with pytest.raises(jaxnet.InputError, match=words):
        net.fit(X, LABELS)


def test_weights_below_zero_are_refused():
    weights = np.ones(len(X))
    weights[1] = -1
    with pytest.raises(ValueError, match=r"[Nn]egative.*sample_weight"):
        Classifier().fit(X, LABELS, sample_weight=weights)


def test_the_activation_is_that_of_the_training():
    x = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
    mine = NetworkRegressor(hidden=3, epochs=1, warm_start=True, random_state=0).fit(x, x[:, 0])
    before = mine.predict(x)
    assert np.array_equal(mine.set_params(activation="tanh").predict(x), before)
    with pytest.raises(jaxnet.InputError, match=r"activation: expected relu, .* got tanh"):
        mine.fit(x, x[:, 0])
    assert np.array_equal(mine.predict(x), before)
