"""Baselines of classes that count: how often each one is the answer, at all, after the last action, or at the item."""

import numpy as np
import numpy.typing as npt

from clickflow.baselines.history import ClassScores
from clickflow.baselines.positions import Positions

SMOOTHING = 1.0
"""Pseudo-observations a class has from the start, so that what never happened is not impossible."""

ITEM_PRIOR = 20.0
"""Observations that an item has from the start: with few of its own, its rate is nearly that of all."""


def frequencies(target: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float64]:
    """[classes] how often each class is the answer, smoothed."""
    counts = np.bincount(target, minlength=classes) + SMOOTHING
    share: npt.NDArray[np.float64] = counts / counts.sum()
    return share


def fit_majority(train: Positions) -> ClassScores:
    """The frequency of each class, whatever came before."""
    logs = np.log(frequencies(train.target, train.classes))
    return lambda positions: np.repeat(logs[None], len(positions), axis=0)


def fit_item_rate(train: Positions) -> ClassScores:
    """The frequency of each class at the item of the step, as `ITEM_PRIOR` more with the overall frequencies."""
    items = train.items
    overall, size = frequencies(train.target, train.classes), int(items.max(initial=0)) + 2
    counts = np.bincount(items * train.classes + train.target, minlength=size * train.classes)
    table = counts.reshape(size, train.classes) + ITEM_PRIOR * overall
    logs = np.log(table / table.sum(axis=1, keepdims=True))

    def log_probabilities(positions: Positions) -> npt.NDArray[np.float64]:
        values: npt.NDArray[np.float64] = logs[np.minimum(positions.items, size - 1)]
        return values

    return log_probabilities


def fit_markov(train: Positions) -> ClassScores:
    """The frequency of each class after the last action; the smoothing has the overall frequencies."""
    after, classes = train.target, train.classes
    pairs = np.bincount(train.last * classes + after, minlength=train.actions * classes)
    table = pairs.reshape(train.actions, classes) + SMOOTHING * classes * frequencies(after, classes)
    logs = np.log(table / table.sum(axis=1, keepdims=True))

    def log_probabilities(positions: Positions) -> npt.NDArray[np.float64]:
        values: npt.NDArray[np.float64] = logs[positions.last]
        return values

    return log_probabilities
