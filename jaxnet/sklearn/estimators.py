"""Estimators with scikit-learn's methods: `fit` and `partial_fit` call `jaxnet.fit`.

Shapes: N rows, I inputs, O outputs, K classes.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import jax
import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from jaxnet import fitting, optimizers
from jaxnet._guards import checks
from jaxnet._guards.defaults import VALIDATION, Task
from jaxnet._models.ensembles import ensemble
from jaxnet._models.predicting import predict
from jaxnet.errors import InputError
from jaxnet.optimizers import Optimizer
from jaxnet.sklearn import members
from jaxnet.storage import models

_Own = TypeVar("_Own", bound="_Network")


class _Network(BaseEstimator, ABC):
    """What both estimators are."""

    _task: ClassVar[Task]
    # What is asked of the targets, beside what is asked of all data.
    _asked: ClassVar[Mapping[str, bool]] = {}

    def __init__(
        self,
        *,
        hidden: int | Sequence[int] = (64, 64),
        activation: str = "relu",
        optimizer: str | Optimizer = "adam",
        learning_rate: float | None = None,
        hyperparameters: Mapping[str, float] | None = None,
        epochs: int = 50,
        batch_size: int | None = 32,
        patience: int | None = None,
        validation: float = VALIDATION,
        n_members: int = 1,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        """Keep the settings; they are checked where they are used, as scikit-learn has it."""
        self.hidden = hidden
        self.activation = activation
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.hyperparameters = hyperparameters
        self.epochs = epochs
        self.batch_size = batch_size
        self.patience = patience
        self.validation = validation
        self.n_members = n_members
        self.warm_start = warm_start
        self.random_state = random_state

    @abstractmethod
    def _begin(self, y: Shaped[np.ndarray, "N ..."]) -> None:
        """Learn from the first targets what all have in common."""

    @abstractmethod
    def _encoded(self, y: Shaped[np.ndarray, "N ..."]) -> tuple[Shaped[np.ndarray, "N ..."], int]:
        """Give targets as the loss takes them, and O."""

    def fit(self: _Own, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> _Own:
        """Train for `epochs`, anew or, with `warm_start`, on from where training is.

        Args:
            X: rows, shape [N, I]. y: their targets, shape [N]; of a regression also [N, O].
            sample_weight: shape [N]; a row of weight 0 is left out, and its class with it where it
                has no other; one of weight 2 counts in its batch as two.

        Raises:
            InputError: a setting or data that cannot be trained on.
            ValueError: data that scikit-learn refuses.
        """
        checks.at_least_one(epochs=self.epochs)
        goes_on = self.warm_start and hasattr(self, "fit_")
        self._train(X, y, sample_weight, epochs=self.epochs, goes_on=goes_on)
        return self

    def _train_once(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, first: Any = None
    ) -> None:
        """Train one epoch more, the first with what is to be learned from first."""
        if self.patience is not None:
            raise InputError(
                f"patience: expected None where partial_fit is called, got {self.patience}; an "
                "epoch at a time is not stopped early: call fit"
            )
        goes_on = hasattr(self, "fit_")
        self._train(X, y, sample_weight, epochs=1, goes_on=goes_on, first=first)

    def _train(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        *,
        epochs: int,
        goes_on: bool,
        first: Any = None,
    ) -> None:
        """Train so many epochs; what fails leaves the estimator as it was."""
        new = copy.copy(self)
        new._train_on(new._checked(X, y, sample_weight, goes_on=goes_on), epochs, goes_on, first)
        vars(self).clear()
        vars(self).update(vars(new))

    def _train_on(
        self, rows: tuple[Shaped[np.ndarray, "N ..."], ...], epochs: int, goes_on: bool, first: Any
    ) -> None:
        sizes = {} if self.batch_size is None else {"batch_size": self.batch_size}
        checks.at_least_one(n_members=self.n_members, **sizes)
        hidden = self.hidden if isinstance(self.hidden, Sequence | np.ndarray) else (self.hidden,)
        for each in hidden:
            checks.at_least_one(hidden=each)
        stays = {"activation": self.activation, "hidden": (*hidden,), "n_members": self.n_members}
        began = self._stays if goes_on else stays
        for name, value in stays.items():
            if value != began[name]:
                raise InputError(
                    f"{name}: expected {began[name]}, with which training began, got {value}; "
                    "leave it, or begin with a new estimator"
                )
        optimizer, numbers = self._made()
        together = ensemble(models.loss(self._task, self.activation), optimizer)
        x, targets, *weights = rows
        if not goes_on:
            self._begin(targets if first is None else first)
            self._seed = check_random_state(self.random_state).randint(2**31)
            self._dtype, self._stays = x.dtype, stays
        targets, outputs = self._encoded(targets)
        data, judged = (x, targets, *weights), None
        if self.patience is not None:
            data, judged = self._split(data)
        layers = (x.shape[1], *map(int, hidden), outputs)
        with jax.enable_x64(self._dtype == np.float64):
            fit = fitting.fit(
                together.loss,
                together.optimizer,
                members.init(self._seed, layers, self.n_members),
                data,
                epochs=epochs + (int(self.fit_.progress.epoch) if goes_on else 0),
                batch_size=self.batch_size and min(self.batch_size, len(data[0])),
                seed=self._seed,
                validation=judged,
                patience=self.patience,
                resume=_waiting(self.fit_) if goes_on else None,
                hyperparameters=numbers,
            )
        # NumPy's arrays, which a pickle has of both dtypes and that no device need be there for.
        self.fit_ = fit._replace(progress=jax.device_get(fit.progress))

    def _checked(
        self, X: Any, y: Any, sample_weight: ArrayLike | None, *, goes_on: bool
    ) -> tuple[Shaped[np.ndarray, "N ..."], ...]:
        """Give x, y and, where there are some, the weights of the rows that count."""
        dtypes = self._dtype if goes_on else (np.float64, np.float32)
        checked: Any = validate_data(self, X, y, dtype=dtypes, reset=not goes_on, **self._asked)
        x, y = checked
        if sample_weight is None:
            return x, y
        weights = _check_sample_weight(sample_weight, x, dtype=x.dtype, ensure_non_negative=True)
        counts = weights != 0 if weights.any() else slice(None)
        return x[counts], y[counts], weights[counts]

    def _split(self, data: tuple[np.ndarray, ...]) -> tuple[tuple[np.ndarray, ...], ...]:
        """Give the rows to train on, and a share to judge on, of classes in proportion."""
        if not 0 < checks.number("validation", self.validation) < 1:
            raise InputError(
                f"validation: expected a share of the rows between 0 and 1, got "
                f"{self.validation}; give one, such as {VALIDATION}"
            )
        classes = data[1] if self._task == "classification" else None
        asked: dict[str, Any] = {"test_size": self.validation, "random_state": self._seed}
        parts: Any = train_test_split(*data, stratify=classes, **asked)
        return tuple(parts[::2]), tuple(parts[1::2])

    def _made(self) -> tuple[Optimizer, dict[str, float]]:
        """Give the optimizer of each member and its hyperparameters."""
        given = {} if self.hyperparameters is None else self.hyperparameters
        if not isinstance(given, Mapping):
            raise InputError(
                f"hyperparameters: expected a dict of numbers by name, got {type(given).__name__}"
            )
        if self.learning_rate is not None and "learning_rate" in given:
            raise InputError(
                "learning_rate: expected it once, got it in hyperparameters too; leave one out"
            )
        optimizer, numbers = self.optimizer, dict(given)
        if isinstance(optimizer, str):
            entry = optimizers.entry(optimizer)
            optimizer = entry.make
            numbers = {"learning_rate": entry.customary["learning_rate"], **numbers}
        if self.learning_rate is not None:
            numbers["learning_rate"] = self.learning_rate
        return optimizer, optimizers.check(optimizer, numbers)

    def _predicted(self, X: Any) -> Float[np.ndarray, "N O"]:
        check_is_fitted(self)
        x: Any = validate_data(self, X, dtype=self._dtype, reset=False)
        with jax.enable_x64(self._dtype == np.float64):
            forward = members.forward(self._task, self._stays["activation"])
            return predict(forward, self.fit_.params, x)


def _waiting(fit: fitting.Fit) -> fitting.Fit:
    """Give a run that is to go on, with nothing to be better than: its data may be others."""
    now = fit.progress
    best = now._replace(best_value=np.full_like(now.best_value, np.inf), best_epoch=now.epoch)
    return fit._replace(progress=best)


class NetworkClassifier(ClassifierMixin, _Network):
    """A fully connected network, or an ensemble of them, that classifies, by softmax cross-entropy.

    Args:
        hidden: sizes of the hidden layers.
        activation: of the hidden layers: relu, tanh, sigmoid, gelu, silu or softplus.
        optimizer: one of optax by its name, a function that makes one, or one made already.
        learning_rate: of it; where None the customary one of an optimizer by name.
        hyperparameters: its others, by name, such as `{"b1": 0.8}`.
        epochs: passes over the rows; at most, with `patience`.
        batch_size: rows of a step; all of them where None or where there are fewer.
        patience: keep a share of the rows for validation, stop after so many epochs without a
            lower loss on them, and predict by the epoch of the lowest; no such share where None.
        validation: that share.
        n_members: networks of other starts, trained together on the same batches, and stopped
            together, by their mean loss or where one diverges; their probabilities are averaged.
        warm_start: whether `fit` goes on from where training is.
        random_state: of the starts, the order of the rows and the validation share.

    Attributes:
        classes_: sorted, shape [K].
        fit_: the run, a `jaxnet.Fit`: parameters, each with the members' axis first, and history.
    """

    _task = "classification"
    classes_: Shaped[np.ndarray, " K"]
    fit_: fitting.Fit

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> "NetworkClassifier":
        """Train one epoch more on these rows; so many calls are `fit` with as many epochs.

        Args:
            X: rows, shape [N, I]. y: their classes, shape [N].
            classes: all there will be; needed in the first call.
            sample_weight: as in `fit`.

        Raises:
            InputError: as in `fit`; no classes in the first call, or others in a later one.
            ValueError: data that scikit-learn refuses.
        """
        known = self.classes_ if hasattr(self, "fit_") else None
        if classes is None and known is None:
            raise InputError(
                "classes: expected all classes in the first call of partial_fit, got None; give "
                "them, such as numpy.unique(y)"
            )
        if known is not None and classes is not None and set(known) != set(np.ravel(classes)):
            raise InputError(
                f"classes: expected those of the first call, {known}, got {classes}; leave them out"
            )
        self._train_once(X, y, sample_weight, None if classes is None else np.ravel(classes))
        return self

    def predict(self, X: ArrayLike) -> Shaped[np.ndarray, " N"]:
        """Give the most probable class of each row, shape [N]."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def predict_proba(self, X: ArrayLike) -> Float[np.ndarray, "N K"]:
        """Give the probability of each class in the order of `classes_`, shape [N, K]."""
        return self._predicted(X)

    def _begin(self, y: Shaped[np.ndarray, "N ..."]) -> None:
        check_classification_targets(y)
        self._encoder = LabelEncoder().fit(y)
        self.classes_ = np.asarray(self._encoder.classes_)

    def _encoded(self, y: Shaped[np.ndarray, "N ..."]) -> tuple[Shaped[np.ndarray, "N ..."], int]:
        return self._encoder.transform(y).astype(np.int32), len(self.classes_)


class NetworkRegressor(RegressorMixin, _Network):
    """A fully connected network, or an ensemble of them, of the least squared error.

    Targets are learned as they are; for large ones wrap it in scikit-learn's
    `TransformedTargetRegressor`, which scales them.

    Args:
        hidden: sizes of the hidden layers.
        activation: of the hidden layers: relu, tanh, sigmoid, gelu, silu or softplus.
        optimizer: one of optax by its name, a function that makes one, or one made already.
        learning_rate: of it; where None the customary one of an optimizer by name.
        hyperparameters: its others, by name, such as `{"b1": 0.8}`.
        epochs: passes over the rows; at most, with `patience`.
        batch_size: rows of a step; all of them where None or where there are fewer.
        patience: keep a share of the rows for validation, stop after so many epochs without a
            lower loss on them, and predict by the epoch of the lowest; no such share where None.
        validation: that share.
        n_members: networks of other starts, trained together on the same batches, and stopped
            together, by their mean loss or where one diverges; their outputs are averaged.
        warm_start: whether `fit` goes on from where training is.
        random_state: of the starts, the order of the rows and the validation share.

    Attributes:
        fit_: the run, a `jaxnet.Fit`: parameters, each with the members' axis first, and history.
    """

    _task = "regression"
    _asked: ClassVar = {"multi_output": True, "y_numeric": True}
    fit_: fitting.Fit

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> "NetworkRegressor":
        """Train one epoch more on these rows; so many calls are `fit` with as many epochs.

        Args:
            X: rows, shape [N, I]. y: their targets, shape [N] or [N, O].
            sample_weight: as in `fit`.

        Raises:
            InputError: as in `fit`.
            ValueError: data that scikit-learn refuses.
        """
        self._train_once(X, y, sample_weight)
        return self

    def predict(self, X: ArrayLike) -> Float[np.ndarray, "N ..."]:
        """Give the outputs, shape [N] or [N, O] as that of the targets."""
        return self._predicted(X).reshape(-1, *self._shape)

    def _begin(self, y: Shaped[np.ndarray, "N ..."]) -> None:
        self._shape = y.shape[1:]

    def _encoded(self, y: Shaped[np.ndarray, "N ..."]) -> tuple[Shaped[np.ndarray, "N ..."], int]:
        targets = y.reshape(len(y), -1).astype(self._dtype)
        return targets, targets.shape[1]

    def __sklearn_tags__(self) -> Tags:
        """Say that a row may have several targets."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
