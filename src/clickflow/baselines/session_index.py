"""An index of the training sessions for the search of neighbours: by item, and by session.

Sessions have a *place*, 0 the most recent. A *pair* is a session and one of its items; pairs lie by place, then by
where the item was last seen in the session.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clickflow.baselines.history import History
from clickflow.sequences.indexes import FIRST_ITEM

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

BACK_BITS = 6
STEPS = 1 << BACK_BITS
"""Steps back that are told apart; all earlier ones weigh as much as the last of these."""
FAINT = 1e-3
"""The weight by distance below which an item of a neighbour is left out."""


@dataclass(frozen=True, kw_only=True)
class Weighting:
    """What one kind of session-kNN makes of what is shared. Arrays [STEPS] are by steps since an item was seen."""

    neighbours: int
    """Sessions that speak."""
    sample: int
    """Most recent sessions among which the neighbours are chosen."""
    similarity: Floats
    """[STEPS] what a shared item adds to the similarity."""
    newest: Floats
    """[STEPS] by what a neighbour's word is multiplied, by the newest item it shares."""
    cosine: bool
    """Whether a neighbour's similarity is divided by the square root of its number of items."""
    recency: float | None
    """Share of the training sessions after which a session weighs 1 / e of a newer one; None: all weigh alike."""
    distance: float | None
    """Steps from the newest shared item, within the neighbour, after which an item weighs 1 / e; None: no matter."""
    idf: float
    """An item's scores are multiplied by 1 + idf x log(sessions / count)."""
    returns: bool
    """Whether the scores of the session's own items are put right by how often visitors return to them."""


@dataclass(frozen=True)
class Index:
    """The training sessions for one weighting."""

    known: int
    place: Ints
    """[n] the place of each session of the history."""
    first: Ints
    """[n + 1] the first pair of each place."""
    weight: Floats
    """[n] by place: what the similarity is multiplied by."""
    postings: Ints
    """[p] by item, most recent session first: place and rank of the item in it, as in a meeting's number."""
    bounds: Ints
    """[known + 1] where each item's postings begin."""
    words: "csr_array"
    """What a neighbour says, [pairs, known] where the distance matters, else [n, known]."""
    rank_bits: int
    place_bits: int


def build(history: History, how: Weighting) -> Index:
    """Lay out the sessions of a history."""
    n, known = len(history.offsets) - 1, history.known
    place = np.empty(n, np.int64)
    place[np.lexsort((np.arange(n), history.end))[::-1]] = np.arange(n)
    # pairs: for each session and item the last step at which it was seen
    step = np.flatnonzero(history.item >= FIRST_ITEM)
    key = place[history.sequence[step]] * known + history.item[step]
    order = np.lexsort((-step, key))
    last = order[np.append(True, np.diff(key[order]) != 0)] if len(order) else order
    last = last[np.lexsort((step[last], key[last] // known))]
    session, item, at = key[last] // known, key[last] % known, step[last]
    first = np.searchsorted(session, np.arange(n + 1)).astype(np.int64)
    rank = np.arange(len(last)) - first[session]

    size = np.diff(first)
    weight = 1 / np.sqrt(np.maximum(size, 1)) if how.cosine else np.ones(n)
    if how.recency is not None:
        weight = weight * np.exp(-np.arange(n) / (how.recency * max(n, 1)))
    rank_bits = max(1, int(rank.max(initial=0)).bit_length())
    by_item = np.lexsort((session, item))
    start = np.searchsorted(item[by_item], np.arange(known + 1)).astype(np.int64)
    # the most recent sessions of several items are among those of each; one more, should one be a question's own
    kept = np.arange(len(by_item)) - start[item[by_item]] <= how.sample
    chosen = by_item[kept]
    return Index(
        known=known,
        place=place,
        first=first,
        weight=weight,
        postings=(session[chosen] << (rank_bits + BACK_BITS)) | rank[chosen],
        bounds=np.searchsorted(item[chosen], np.arange(known + 1)).astype(np.int64),
        words=_words(history, how, n, session, item, at, first),
        rank_bits=rank_bits,
        place_bits=max(1, n.bit_length()),
    )


def _words(history: History, how: Weighting, n: int, session: Ints, item: Ints, at: Ints, first: Ints) -> "csr_array":
    """[n or pairs, known] what a neighbour says of each of its items: idf, and the distance from a shared item."""
    from scipy.sparse import csr_array

    lift = 1 + how.idf * np.maximum(np.log(max(n, 1) / np.maximum(history.counts, 1)), 0.0)
    if how.distance is None:
        return narrow(csr_array((lift[item], item, first), shape=(n, history.known)))
    # in a session pairs lie by time, so no pair further away in their order is nearer in steps
    reach = int(np.ceil(-np.log(FAINT) * how.distance))
    pair = np.arange(len(item))
    begin, end = np.maximum(first[session], pair - reach), np.minimum(first[session + 1], pair + reach + 1)
    bounds = np.concatenate([[0], np.cumsum(end - begin)])
    row = np.repeat(pair, end - begin)
    other = np.arange(bounds[-1]) - np.repeat(bounds[:-1] - begin, end - begin)
    value = np.exp(-np.abs(at[other] - at[row]) / how.distance) * lift[item[other]]
    return narrow(csr_array((value, item[other], bounds), shape=(len(item), history.known)))


def narrow(matrix: "csr_array") -> "csr_array":
    """With 32-bit indexes where they suffice: half the bytes to move."""
    if max(*matrix.shape, matrix.nnz) < np.iinfo(np.int32).max:
        matrix.indices, matrix.indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    return matrix
