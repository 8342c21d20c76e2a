"""Counts of items that occur together in the training part, and for each step the counts as they stood before it.

A step is answered from the counts of sessions that had ended before its own: as it will be when the model is used, and
never from itself. Counts of all sessions are the table that the model takes with it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clickflow.models.associations import ENTRIES, MOST, REACH, Table
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.training.batches import Ints, Windows

if TYPE_CHECKING:
    from clickflow.sequences.store import PackedSplit

PAIRS = 1 << 25
"""How many pairs of steps are counted at once; their items decide which."""
HIGHEST = 60_000.0
"""Counts above are kept as this: float16 ends soon after."""


@dataclass(frozen=True)
class Before:
    """What the sessions before say of the steps of a split.

    `beside` [E, REACH]: how often they hold the item of a step beside the item d + 1 steps before it; `support` [E]:
    how often they hold a step's item beside any.
    """

    beside: NDArray[np.float16]
    support: NDArray[np.float32]

    def gather(self, window: Windows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """For the windows of a batch: `beside` [B, T, T], of what follows step t and the item of step u; `support`
        [B, T] of the item of step u.
        """
        steps = np.arange(int(window.length.max()))
        last = len(self.support) - 1
        at = np.minimum(window.start[:, None] + steps, last)
        back = steps[:, None] - steps
        near = (back >= 0) & (back < REACH)
        values = self.beside[np.minimum(at + 1, last)[:, :, None], np.where(near, back, 0)]
        return np.where(near, values, np.float16(0)).astype(np.float32), self.support[at]


def count(split: "PackedSplit", known: int) -> tuple[Table, Before]:
    """The table of `split` for a model that knows the items below `known`, and what was known before each step."""
    item = np.asarray(split.item).astype(np.int64)
    item[item >= known] = 1
    session = np.repeat(_rank(split), split.lengths)
    total, own = np.zeros(known), np.zeros(len(item))
    beside = np.zeros((len(item), REACH), np.float16)
    parts = max(1, -(-len(item) * REACH // PAIRS))
    tables = []
    for part in range(parts):
        later, distance = _pairs(item, session, part, parts)
        weight = 1 / distance
        one, other = item[later - distance], item[later]
        pairs, pair = np.unique(np.minimum(one, other) * known + np.maximum(one, other), return_inverse=True)
        beside[later, distance - 1] = np.minimum(_before(pair, session[later], weight), HIGHEST)
        for step in (later, later - distance):
            total += np.bincount(item[step], weight, known)
            own += np.bincount(step, weight, len(item))
        tables.append(_both_ways(pairs, np.bincount(pair, weight, len(pairs)).astype(np.float64), known))
    support = _before(item, session, own)
    support[item < FIRST_ITEM] = 0
    one, other, counts = (np.concatenate(each) for each in zip(*tables, strict=True))
    strength, kept = _most(one, other, counts, known)
    return Table(strength, kept, total.astype(np.float32)), Before(beside, support.astype(np.float32))


def _rank(split: "PackedSplit") -> Ints:
    """[n] the place of each sequence in the order of their ends."""
    order = np.argsort(np.asarray(split.time)[np.maximum(split.offsets[1:] - 1, 0)], kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank


def _pairs(item: Ints, session: Ints, part: int, parts: int) -> tuple[Ints, Ints]:
    """The later step and the distance of pairs of different known items in a session; the smaller item decides in which
    of the `parts` a pair is.
    """
    steps, distances = [], []
    for distance in range(1, REACH + 1):
        one, other = item[:-distance], item[distance:]
        fits = (session[distance:] == session[:-distance]) & (one != other)
        low = np.minimum(one, other)
        fits &= (low >= FIRST_ITEM) & (low % parts == part)
        steps.append(distance + np.flatnonzero(fits))
        distances.append(np.full(len(steps[-1]), distance))
    return np.concatenate(steps), np.concatenate(distances)


def _before(group: Ints, session: Ints, weight: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """[n] the sum of the weights of each one's group in the sessions before its own."""
    order = np.lexsort((session, group))
    groups, sessions, weights = group[order], session[order], weight[order]
    sums = np.cumsum(weights, dtype=np.float64) - weights
    n = np.arange(len(order))
    new = np.append(True, groups[1:] != groups[:-1])[: len(order)]
    first = new | np.append(True, sessions[1:] != sessions[:-1])[: len(order)]
    before = np.empty(len(order))
    before[order] = (
        sums[np.maximum.accumulate(np.where(first, n, 0))] - sums[np.maximum.accumulate(np.where(new, n, 0))]
    )
    return np.maximum(before, 0)


Neighbours = tuple[Ints, Ints, NDArray[np.float64]]
"""Items, the neighbour of each, and how often: [n] each."""


def _both_ways(pairs: Ints, counts: NDArray[np.float64], known: int) -> Neighbours:
    """Each pair as a neighbour of either item, of which only the most frequent are kept."""
    low, high = pairs // known, pairs % known
    one, other, twice = np.concatenate([low, high]), np.concatenate([high, low]), np.concatenate([counts, counts])
    kept = _places(one, other, twice) < MOST
    return one[kept], other[kept], twice[kept]


def _places(one: Ints, other: Ints, counts: NDArray[np.float64]) -> Ints:
    """The place of each neighbour among those of its item, 0 for the most frequent; of equal ones the lower item's."""
    order = np.lexsort((other, -counts, one))
    ordered = one[order]
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return place


def _most(
    one: Ints, other: Ints, counts: NDArray[np.float64], known: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    place = _places(one, other, counts)
    width = max(1, min(MOST, ENTRIES // known, int(place.max(initial=0)) + 1))
    items, strengths = np.zeros((known, width), np.int32), np.zeros((known, width), np.float32)
    kept = place < width
    items[one[kept], place[kept]] = other[kept]
    strengths[one[kept], place[kept]] = counts[kept]
    return items, strengths
