"""Nearest past sessions, and what they say about the next item: the search that V-SKNN and VSTAN share.

A question is a session so far. Its neighbours are training sessions that share an item with it; what sets one method
apart from another is a `Weighting`, a small table. Everything is done for a block of questions at once: the sessions
of each shared item are laid out as one integer a meeting, (question, session, steps since the item was seen, where it
stands in that session), and one sort of these brings the meetings of a question with a session together.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clickflow.baselines import returns
from clickflow.baselines.history import History, Scores, popular
from clickflow.baselines.session_index import BACK_BITS, STEPS, Floats, Index, Ints, Weighting, build, narrow
from clickflow.sequences.indexes import FIRST_ITEM

if TYPE_CHECKING:
    from scipy.sparse import csr_array

LEAST = 1e-9
"""What popularity may add at most: it orders items that no neighbour has, and nothing else."""
MEETINGS = 1 << 19
"""Meetings of a question with a session through an item that are laid out at once; a few MB that stay in the cache."""


@dataclass(frozen=True)
class Neighbours:
    """Session-kNN fitted on a history."""

    known: int
    share: Floats
    """[known] popularity, far below any neighbour's word."""
    search: Callable[[npt.NDArray[np.integer], npt.NDArray[np.integer] | None], "csr_array"]

    def scores(self, recent: npt.NDArray[np.integer], own: npt.NDArray[np.integer] | None = None) -> "csr_array":
        """Scores [N, known] of the items that a neighbour has, all above 0; columns of a row in no order.

        `recent` [N, L]: items seen, newest first, below 2 where there is none. `own` [N]: the training session (row of
        `History.offsets`) that a question is taken from, which then is not among its neighbours; -1 for none.
        """
        return self.search(recent, own)

    def dense(self, recent: npt.NDArray[np.integer], own: npt.NDArray[np.integer] | None = None) -> Floats:
        """The same for all items [N, known]; those without a neighbour by popularity, below."""
        scores: Floats = self.search(recent, own).toarray()
        scores += self.share
        return scores


def fit(history: History, weighting: Weighting) -> Neighbours:
    """Index the training sessions for one kind of kNN."""
    index = build(history, weighting)

    def plain(recent: npt.NDArray[np.integer], own: npt.NDArray[np.integer] | None) -> "csr_array":
        queries = _queries(np.asarray(recent), index.known)
        mine = None
        if own is not None and len(index.place):
            mine = np.where(np.asarray(own) < 0, -1, index.place[np.asarray(own)])
        parts = [_scores(index, weighting, queries, first, last, mine) for first, last in _blocks(index, queries)]
        return parts[0] if len(parts) == 1 else _below(parts, index.known)

    if not weighting.returns:
        return Neighbours(history.known, LEAST * popular(history), plain)
    factors = returns.learn(history, plain)

    def search(recent: npt.NDArray[np.integer], own: npt.NDArray[np.integer] | None) -> "csr_array":
        scores = plain(recent, own)
        returns.weigh(scores, np.asarray(recent), factors)
        return scores

    return Neighbours(history.known, LEAST * popular(history), search)


def as_scores(fitted: Neighbours) -> Scores:
    """The form in which the evaluation asks a baseline."""
    return lambda recent: fitted.dense(recent)


@dataclass(frozen=True)
class _Queries:
    """Questions without their holes: entry by entry an item and the steps since it was seen last."""

    bounds: Ints
    """[N + 1]"""
    item: Ints
    back: Ints


def _queries(recent: npt.NDArray[np.integer], known: int) -> _Queries:
    """An item counts where it was seen last."""
    rows, back = np.nonzero((recent >= FIRST_ITEM) & (recent < known))
    item = recent[rows, back].astype(np.int64)
    _, first = np.unique(rows * known + item, return_index=True)
    first.sort()
    bounds = np.searchsorted(rows[first], np.arange(len(recent) + 1)).astype(np.int64)
    return _Queries(bounds, item[first], np.minimum(back[first], STEPS - 1))


def _blocks(index: Index, queries: _Queries) -> Iterator[tuple[int, int]]:
    """Ranges of questions, each of bounded meetings, and of few enough questions for a meeting's number."""
    n = len(queries.bounds) - 1
    meetings = np.concatenate([[0], np.cumsum(index.bounds[queries.item + 1] - index.bounds[queries.item])])[
        queries.bounds
    ]
    most = 1 << (63 - BACK_BITS - index.rank_bits - index.place_bits)
    first = 0
    while first < n:
        last = int(np.searchsorted(meetings, meetings[first] + MEETINGS, side="right")) - 1
        last = min(max(last, first + 1), first + most, n)
        yield first, last
        first = last


def _scores(index: Index, how: Weighting, queries: _Queries, begin: int, end: int, own: Ints | None) -> "csr_array":
    """The scores of the questions `begin` to `end`."""
    from scipy.sparse import csr_array

    met = _met(index, how, queries, begin, end)
    if own is not None:
        met = _where(met, met.place != own[begin:end][met.row])
    count = np.bincount(met.row, minlength=end - begin)
    if count.max(initial=0) > how.sample:
        met = _where(met, np.arange(len(met.row)) - (np.cumsum(count) - count)[met.row] < how.sample)
    similarity = met.similarity * index.weight[met.place]
    near = _nearest(met.row, met.place, similarity, end - begin, how.neighbours)
    votes = similarity * how.newest[met.back]
    column = met.place if how.distance is None else index.first[met.place] + met.rank
    kept = votes > 0 if near is None else near & (votes > 0)
    row, votes, column = met.row[kept], votes[kept], column[kept]
    bounds = np.searchsorted(row, np.arange(end - begin + 1))
    word = csr_array((votes, column, bounds), shape=(end - begin, index.words.shape[0]))
    return narrow(word) @ index.words


def _below(parts: list["csr_array"], known: int) -> "csr_array":
    """Blocks of rows, one below the other."""
    from scipy.sparse import csr_array

    bounds = np.concatenate([[0], *(np.diff(part.indptr) for part in parts)]).cumsum()
    matrix = csr_array((len(bounds) - 1, known))
    if parts:
        data, indices = np.concatenate([part.data for part in parts]), np.concatenate([part.indices for part in parts])
        matrix = csr_array((data, indices, bounds), shape=(len(bounds) - 1, known))
    return matrix


def _where(met: "_Met", kept: npt.NDArray[np.bool_]) -> "_Met":
    return _Met(*(getattr(met, column.name)[kept] for column in fields(met)))


@dataclass(frozen=True)
class _Met:
    """Sessions met, by question, the most recent first; all [m]."""

    row: Ints
    """The question."""
    place: Ints
    back: Ints
    """Steps since the newest shared item."""
    rank: Ints
    """That item's rank among the pairs of the session."""
    similarity: Floats
    """Sum of the weights of the shared items."""


def _met(index: Index, how: Weighting, queries: _Queries, begin: int, end: int) -> _Met:
    """All sessions that share an item with the questions `begin` to `end`."""
    entries = slice(queries.bounds[begin], queries.bounds[end])
    item, back = queries.item[entries], queries.back[entries]
    question = np.repeat(np.arange(end - begin), np.diff(queries.bounds[begin : end + 1]))
    start = index.bounds[item]
    count = index.bounds[item + 1] - start
    shift = index.rank_bits + BACK_BITS
    before = np.cumsum(count) - count
    head = (question << (shift + index.place_bits)) | (back << index.rank_bits)
    meeting = index.postings[np.repeat(start - before, count) + np.arange(int(count.sum()))]
    meeting += np.repeat(head, count)
    meeting.sort()
    session = meeting >> shift
    first = np.flatnonzero(np.append(True, session[1:] != session[:-1])) if len(meeting) else np.zeros(0, np.int64)
    steps = (meeting >> index.rank_bits) & (STEPS - 1)
    weights = how.similarity[steps]
    similarity = np.add.reduceat(weights, first) if len(first) else np.zeros(0)
    met = session[first]
    return _Met(
        row=met >> index.place_bits,
        place=met & ((1 << index.place_bits) - 1),
        back=steps[first],
        rank=meeting[first] & ((1 << index.rank_bits) - 1),
        similarity=similarity,
    )


def _nearest(row: Ints, place: Ints, similarity: Floats, n: int, neighbours: int) -> npt.NDArray[np.bool_] | None:
    """Which of the sessions met are among the nearest of their question; None: all. Of equally similar ones the more
    recent is nearer; similarities are equal that agree in single precision.
    """
    count = np.bincount(row, minlength=n)
    many = np.flatnonzero(count > neighbours)
    if not len(many):
        return None
    order = similarity.astype(np.float32).view(np.uint32).astype(np.uint64) << np.uint64(32)
    order |= np.uint64(0xFFFFFFFF) - place.astype(np.uint64)
    which = np.full(n, -1, np.int64)
    which[many] = np.arange(len(many))
    inside = np.flatnonzero(which[row] >= 0)
    begin = np.concatenate([[0], np.cumsum(count)])[row[inside]]
    table = np.zeros((len(many), int(count.max())), np.uint64)
    table[which[row[inside]], inside - begin] = order[inside]
    width = table.shape[1]
    table.partition(width - neighbours, axis=1)
    least = np.zeros(n, np.uint64)
    least[many] = table[:, width - neighbours]
    near: npt.NDArray[np.bool_] = order >= least[row]
    return near
