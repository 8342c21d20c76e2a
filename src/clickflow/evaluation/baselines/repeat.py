"""What was seen is seen again: the items of the session, the newest first, then the most popular ones."""

import numpy as np
import numpy.typing as npt

from clickflow.evaluation.baselines.history import FIRST_ITEM, History, Scores, popular


def fit(history: History) -> Scores:
    """Score the items of the session by their latest step, all others by popularity, below."""
    share = popular(history)

    def scores(recent: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        longest = recent.shape[1]
        made = np.repeat(share[None], len(recent), axis=0)
        for back in range(longest - 1, -1, -1):  # the latest step of an item is written last
            rows = np.flatnonzero(recent[:, back] >= FIRST_ITEM)
            made[rows, recent[rows, back]] = longest - back
        return made

    return scores
