"""The items most often seen in training, the same for everyone."""

import numpy as np
import numpy.typing as npt

from clickflow.baselines.history import History, Scores, popular
from clickflow.sequences.indexes import FIRST_ITEM


def fit(history: History) -> Scores:
    """Score every item by how often it occurs."""
    return _everyone(popular(history))


def fit_decayed(history: History, *, half_life: float = 0.1) -> Scores:
    """Score every item by how often it occurs, a step counting half as much for every `half_life` of its age.

    `half_life` is a share of the time from the first step to the last, so it needs no clock, only an order.
    """
    if not len(history.time):
        return fit(history)
    age = history.time.max() - history.time.astype(np.float64)
    weight = 0.5 ** (age / max(half_life * age.max(), 1e-12))
    score = np.bincount(history.item, weights=weight, minlength=history.known)
    score[:FIRST_ITEM] = 0
    return _everyone(score + popular(history) * 1e-9)


def _everyone(score: npt.NDArray[np.float64]) -> Scores:
    def scores(recent: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return np.broadcast_to(score, (len(recent), len(score)))

    return scores
