"""Baselines of classes, by scikit-learn, over a table of simple numbers about each position (`positions.features`)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.baselines.actions import fit_majority, frequencies
from clickflow.baselines.history import ClassScores
from clickflow.baselines.positions import Positions, features, log_counts

MOST = 20_000
"""Training positions that are read at most; of more, so many are drawn."""
BLOCK = 20_000
"""Positions answered at a time."""
SEED = 0
ITERATIONS = 1000
"""Of the logistic regression, at most; it ends long before where it converges."""
RESERVE = 1e-3
"""The share of an answer that is the overall frequencies: what a model calls impossible may still happen."""


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=ITERATIONS))


def _forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_estimators=50, min_samples_leaf=20, random_state=SEED, n_jobs=1)


def _boosting() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=40, learning_rate=0.1, max_leaf_nodes=8, min_samples_leaf=50, early_stopping=False, random_state=SEED
    )


def _fit(make: Callable[[], Any], train: Positions) -> ClassScores:
    """Fit one on the training positions; where these have but one answer, that is all there is to learn."""
    from threadpoolctl import threadpool_limits

    if len(train) > MOST:
        train = train.only(np.sort(np.random.default_rng(SEED).choice(len(train), MOST, replace=False)))
    target = train.target
    if len(np.unique(target)) < 2:
        return fit_majority(train)
    overall = frequencies(target, train.classes)
    popularity = log_counts(train.split)
    # one thread: the same digits on every machine, and no waiting for a core that others use
    with threadpool_limits(1):
        model = make().fit(features(train, popularity), target)

    def log_probabilities(positions: Positions) -> npt.NDArray[np.float64]:
        values = np.zeros((len(positions), train.classes))
        with threadpool_limits(1):
            for start in range(0, len(positions), BLOCK):
                rows = slice(start, start + BLOCK)
                values[rows, model.classes_] = model.predict_proba(features(positions.only(rows), popularity))
        return np.log((1 - RESERVE) * values + RESERVE * overall)

    return log_probabilities


fit_logistic = partial(_fit, _logistic)
"""Multinomial logistic regression on standardised numbers."""
fit_forest = partial(_fit, _forest)
"""A random forest."""
fit_boosting = partial(_fit, _boosting)
"""Gradient-boosted trees."""
