"""Networks as scikit-learn's estimators, for its pipelines and searches (extra `sklearn`)."""

from typing import TYPE_CHECKING

from jaxnet._guards import checks

if not TYPE_CHECKING:
    checks.extra("sklearn", "sklearn")

from jaxnet.sklearn.estimators import NetworkClassifier, NetworkRegressor

__all__ = ["NetworkClassifier", "NetworkRegressor"]
