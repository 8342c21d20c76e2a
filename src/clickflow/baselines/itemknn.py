"""Item-kNN: the items most often seen in the same sequences as those just seen (Sarwar et al. 2001,
doi 10.1145/371920.372071).

Two items are as similar as the cosine of the sequences they occur in, damped as in session-rec: the number of sequences
with both, over the square root of (count + damping) of each, so that a chance meeting of rare items says little. An
item's score is the sum of its similarities to the items of the session, the newest weighing most.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clickflow.baselines.history import History, Scores, popular
from clickflow.sequences.indexes import FIRST_ITEM

if TYPE_CHECKING:
    from scipy.sparse import csr_array

LEAST = 1e-9
"""What popularity may add at most: it orders items that were never seen together with these."""
LONGEST = 100
"""Of longer sequences the last so many steps are read: pairs grow with the square of the length."""
STEPS = 10
"""Of the session asked about, the newest items that count."""


def fit(history: History, *, damping: float = 20.0, decay: float = 1.0) -> Scores:
    """`decay`: steps after which an item of the session weighs 1 / e; 0: the last one alone counts."""
    from scipy.sparse import csr_array

    similar = _similar(history, damping)
    share = LEAST * popular(history)
    weight = np.exp(-np.arange(STEPS) / decay) if decay else np.eye(1, STEPS)[0]

    def scores(recent: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        rows, back = np.nonzero(recent[:, :STEPS] >= FIRST_ITEM)
        weights = csr_array((weight[back], (rows, recent[rows, back])), shape=(len(recent), history.known))
        similarities: npt.NDArray[np.float64] = (weights @ similar).toarray()
        return similarities + share

    return scores


def _similar(history: History, damping: float) -> "csr_array":
    """[known, known] the damped cosine of each pair of items that met; 0 on the diagonal."""
    from scipy.sparse import csr_array

    left = np.repeat(history.offsets[1:], np.diff(history.offsets)) - np.arange(len(history.item))
    kept = (history.item >= FIRST_ITEM) & (left <= LONGEST)
    shape = (len(history.offsets) - 1, history.known)
    inside = csr_array((np.ones(int(kept.sum())), (history.sequence[kept], history.item[kept])), shape=shape)
    inside.sum_duplicates()
    inside.data[:] = 1
    together = csr_array(inside.T @ inside)
    count = np.asarray(inside.sum(axis=0)).reshape(-1)
    row = np.repeat(np.arange(history.known), np.diff(together.indptr))
    together.data /= np.sqrt((count[row] + damping) * (count[together.indices] + damping))
    together.data[row == together.indices] = 0
    together.eliminate_zeros()
    return together
