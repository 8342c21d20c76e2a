"""Baselines of yes or no by the hand-made features of their unit (`clickflow.features`): logistic regression and
boosted trees, as the classical kinds of model fit them (`clickflow.models.estimators`).
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow import features
from clickflow.baselines.actions import fit_majority
from clickflow.baselines.history import ClassScores
from clickflow.baselines.positions import Positions
from clickflow.features import Asked

SEED = 0
MOST = 100_000
"""Training positions that are read at most; of more, so many are drawn."""
BLOCK = 50_000
"""Positions answered at a time."""
SETTINGS: Mapping[str, Mapping[str, Any]] = {"logistic": {}, "boosting": {"boosters": 1, "folds": 2}}
"""By kind, beside the defaults of the estimators."""
LEAST = 1e-6
"""Of a probability."""


def read(positions: Positions) -> npt.NDArray[np.float32]:
    """The features of each position [N, F]; what is asked is asked at the time of its last step."""
    time = np.asarray(positions.split.time)[positions.event]
    asked = Asked(positions.first, positions.event + 1, time)
    table: npt.NDArray[np.float32] = features.compute(positions.unit, positions.split, asked, positions.store)
    return table


def _fit(kind: str, train: Positions) -> ClassScores:
    """Fit one on the training positions; where these have but one answer, that is all there is to learn."""
    from clickflow.models import estimators

    if len(np.unique(train.target)) < 2:
        return fit_majority(train)
    if len(train) > MOST:
        train = train.only(np.sort(np.random.default_rng(SEED).choice(len(train), MOST, replace=False)))
    # the steps of one visit are never in two folds
    visit = np.searchsorted(np.asarray(train.split.offsets), train.event, side="right")
    estimator = estimators.fit(
        kind,
        read(train),
        train.target,
        kind_of_answer="probability",
        groups=visit,
        names=features.names(train.unit),
        seed=SEED,
        params=SETTINGS[kind],
    )

    def log_probabilities(positions: Positions) -> npt.NDArray[np.float64]:
        found = np.zeros((len(positions), 2))
        for rows in _blocks(len(positions)):
            found[rows] = estimator.predict(read(positions.only(rows)))
        return np.maximum(found, np.log(LEAST))

    return log_probabilities


def _blocks(total: int) -> Iterator[slice]:
    for start in range(0, total, BLOCK):
        yield slice(start, min(start + BLOCK, total))


fit_logistic = partial(_fit, "logistic")
"""Logistic regression on the logs of the features, standardised."""
fit_boosting = partial(_fit, "boosting")
"""Gradient-boosted trees."""
