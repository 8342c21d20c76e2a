"""First-order Markov chain over items: what most often came right after the last item."""

import numpy as np
import numpy.typing as npt

from clickflow.baselines.history import History, Scores, popular
from clickflow.sequences.indexes import FIRST_ITEM


def fit(history: History) -> Scores:
    """Score an item by how often it followed the last one; what never did, by popularity, below."""
    from scipy.sparse import coo_array

    share = popular(history)
    step = np.arange(len(history.item) - 1)
    inside = history.sequence[step] == history.sequence[step + 1]
    before, after = history.item[:-1][inside], history.item[1:][inside]
    both = (before >= FIRST_ITEM) & (after >= FIRST_ITEM)
    shape = (history.known, history.known)
    follows = coo_array((np.ones(int(both.sum())), (before[both], after[both])), shape=shape).tocsr()

    def scores(recent: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        # the row of an unknown item is empty: popularity alone
        shares: npt.NDArray[np.float64] = follows[recent[:, 0]].toarray() + share
        return shares

    return scores
