"""From ranks to recall, MRR and NDCG.

A rank is 1 for the best-placed item. Ties count against the system: every item whose score is not below the target's
stands before it. 0 says that the target cannot be ranked because the system does not know it: a miss.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from clickflow.sequences.indexes import FIRST_ITEM

Ranks = npt.NDArray[np.int32]


def ranks(scores: npt.NDArray[np.floating], targets: npt.NDArray[np.integer]) -> Ranks:
    """The rank of each target [N] among the items of its row of scores [N, known].

    Targets outside FIRST_ITEM..known-1 have rank 0. A score that is no number counts against the target too.
    """
    known = scores.shape[1]
    rankable = (targets >= FIRST_ITEM) & (targets < known)
    column = np.where(rankable, targets, 0)
    own = scores[np.arange(len(targets)), column][:, None]
    below = np.count_nonzero(scores[:, FIRST_ITEM:] < own, axis=1)
    return np.where(rankable, known - FIRST_ITEM - below, 0).astype(np.int32)


def names(cutoffs: Sequence[int]) -> list[str]:
    """The metrics of `gains`, in the order of its columns."""
    return [f"{kind}@{k}" for k in cutoffs for kind in ("recall", "mrr", "ndcg")]


def gains(found: Ranks, cutoffs: Sequence[int]) -> npt.NDArray[np.float64]:
    """What each prediction adds to each metric, [N, 3 x cutoffs]; a metric is the mean over predictions.

    With one right answer, recall@k is 1 within the first k; MRR@k is 1 / rank there (Voorhees 1999), NDCG@k
    1 / log2(1 + rank) (Järvelin & Kekäläinen 2002); each 0 beyond.
    """
    rank = np.maximum(found, 1).astype(np.float64)
    columns = []
    for k in cutoffs:
        hit = (found >= 1) & (found <= k)
        columns += [hit.astype(np.float64), np.where(hit, 1 / rank, 0), np.where(hit, 1 / np.log2(1 + rank), 0)]
    return np.stack(columns, axis=1) if columns else np.zeros((len(found), 0))


def recall_curve(found: Ranks, longest: int = 100) -> npt.NDArray[np.float64]:
    """Recall at 1..`longest`, for the figure; zeros where there are no predictions."""
    counts = np.bincount(found[(found >= 1) & (found <= longest)], minlength=longest + 1)[1:]
    curve: npt.NDArray[np.float64] = np.cumsum(counts) / max(len(found), 1)
    return curve
