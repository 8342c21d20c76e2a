"""Next-action baselines that count: how often each action follows, at all or after the last one. Exit is the last."""

import numpy as np
import numpy.typing as npt

from clickflow.baselines.history import ActionScores
from clickflow.baselines.positions import Positions

SMOOTHING = 1.0
"""Pseudo-observations an action has from the start, so that what never happened is not impossible."""


def frequencies(following: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float64]:
    """[classes] how often each action follows, smoothed."""
    counts = np.bincount(following, minlength=classes) + SMOOTHING
    share: npt.NDArray[np.float64] = counts / counts.sum()
    return share


def fit_majority(train: Positions) -> ActionScores:
    """The frequency of each action as the next one, whatever came before."""
    logs = np.log(frequencies(train.following, train.actions + 1))
    return lambda asked: np.repeat(logs[None], len(asked), axis=0)


def fit_markov(train: Positions) -> ActionScores:
    """The frequency of each action after the last one; the smoothing has the overall frequencies."""
    after, classes = train.following, train.actions + 1
    pairs = np.bincount(train.last * classes + after, minlength=train.actions * classes)
    table = pairs.reshape(train.actions, classes) + SMOOTHING * classes * frequencies(after, classes)
    logs = np.log(table / table.sum(axis=1, keepdims=True))

    def log_probabilities(asked: Positions) -> npt.NDArray[np.float64]:
        made: npt.NDArray[np.float64] = logs[asked.last]
        return made

    return log_probabilities
