"""Next-action baselines: how often each action follows, at all or after the last one. Exit is the last action."""

import numpy as np
import numpy.typing as npt

from clickflow.evaluation.baselines.history import ActionScores, History

SMOOTHING = 1.0
"""Pseudo-observations an action has from the start, so that what never happened is not impossible."""


def _following(history: History) -> npt.NDArray[np.int64]:
    """[e] the action after each step; `history.actions` (exit) after the last of a sequence."""
    after = np.append(history.action[1:], history.actions)
    after[history.offsets[1:][np.diff(history.offsets) > 0] - 1] = history.actions
    return after


def fit_majority(history: History) -> ActionScores:
    """The frequency of each action as the next one, whatever came before."""
    counts = np.bincount(_following(history), minlength=history.actions + 1) + SMOOTHING
    logs = np.log(counts / counts.sum())

    def log_probabilities(last: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return np.repeat(logs[None], len(last), axis=0)

    return log_probabilities


def fit_markov(history: History) -> ActionScores:
    """The frequency of each action after the last one; the smoothing has the overall frequencies."""
    after, classes = _following(history), history.actions + 1
    overall = np.bincount(after, minlength=classes) + SMOOTHING
    pairs = np.bincount(history.action * classes + after, minlength=history.actions * classes)
    table = pairs.reshape(history.actions, classes) + SMOOTHING * classes * overall / overall.sum()
    logs = np.log(table / table.sum(axis=1, keepdims=True))

    def log_probabilities(last: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        made: npt.NDArray[np.float64] = logs[last]
        return made

    return log_probabilities
