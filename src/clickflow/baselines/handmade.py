"""Baselines of yes or no, and of amounts, by the hand-made features of their unit (`clickflow.features`): regressions
and boosted trees, as the classical kinds of model fit them (`clickflow.models.estimators`).
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
from clickflow.features import Spans
from clickflow.heads.head import LEVELS

SEED = 0
MOST = 100_000
"""Training positions that are read at most; of more, so many are drawn."""
BLOCK = 50_000
"""Positions answered at a time."""
SETTINGS: Mapping[str, Mapping[str, Any]] = {"logistic": {}, "boosting": {"boosters": 1, "folds": 2}}
"""By kind, beside the defaults of the estimators."""
LEAST = 1e-6
"""Of a probability."""
RFM = ("recency_days", "purchases", "amount_mean")
"""Recency, frequency, money; a unit without them has all its features read in their place."""


def read(positions: Positions) -> npt.NDArray[np.float32]:
    """The features of each position [N, F]."""
    spans = Spans(positions.begin, positions.event + 1, positions.now)
    table: npt.NDArray[np.float32] = features.compute(positions.unit, positions.split, spans, positions.store)
    return table


def _fit(kind: str, answer: str, chosen: tuple[str, ...], train: Positions) -> ClassScores:
    """Fit one on the training positions, by the `chosen` features (none given: all that the unit has); where these have
    but one answer, that is all there is to learn.
    """
    from clickflow.models import estimators

    if len(np.unique(train.target)) < 2:
        return fit_mean(train) if answer == "amount" else fit_majority(train)
    if len(train) > MOST:
        train = train.only(np.sort(np.random.default_rng(SEED).choice(len(train), MOST, replace=False)))
    every, there = features.names(train.unit), features.names(train.unit, clock=train.store.clock)
    names = [name for name in there if name in chosen] or list(there)
    columns = [every.index(name) for name in names]
    # the steps of one visit, and the cut-offs of one person, are never in two folds
    estimator = estimators.fit(
        kind,
        read(train)[:, columns],
        train.target,
        kind_of_answer=answer,
        groups=train.begin,
        names=names,
        seed=SEED,
        params=SETTINGS[kind],
    )

    def answers(positions: Positions) -> npt.NDArray[np.float64]:
        predictions = [estimator.predict(read(positions.only(rows))[:, columns]) for rows in _blocks(len(positions))]
        values = np.concatenate(predictions).astype(np.float64) if predictions else np.zeros((0, estimator.answers))
        return values if answer == "amount" else np.maximum(values, np.log(LEAST))

    return answers


def fit_mean(train: Positions) -> ClassScores:
    """The mean amount and the quantiles of all, whoever is asked about."""
    target = train.target.astype(np.float64)
    statistics = np.concatenate([[target.mean()], np.quantile(target, LEVELS)])
    return lambda positions: np.repeat(statistics[None], len(positions), axis=0)


def _blocks(total: int) -> Iterator[slice]:
    for start in range(0, total, BLOCK):
        yield slice(start, min(start + BLOCK, total))


fit_logistic = partial(_fit, "logistic", "probability", ())
"""Logistic regression on the logs of the features, standardised."""
fit_boosting = partial(_fit, "boosting", "probability", ())
"""Gradient-boosted trees."""
fit_rfm = partial(_fit, "logistic", "amount", RFM)
"""A log-linear regression on recency, frequency and money alone."""
fit_amount_boosting = partial(_fit, "boosting", "amount", ())
"""Gradient-boosted trees, with Tweedie's deviance."""
