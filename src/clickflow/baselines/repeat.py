"""The items of the session itself, in the order that fits the training part best, then the most popular ones.

In one shop visitors go back to what they just saw, in another to what they saw most often, or first; and in a long
visit to others than in a short one. So each order of `ORDERS` is tried on training positions, and the one with the best
MRR@20 is kept, for each class of lengths.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact.windows import questions, recent
from clickflow.baselines.history import History, Scores, popular
from clickflow.sequences.indexes import FIRST_ITEM

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

STEPS = (1, 3, 5, 10, 20)
"""Classes of sessions by the steps so far, each with an order of its own: it begins with so many."""
POSITIONS, FEW, LONGEST, CUTOFF, SEED = 8000, 100, 50, 20, 0
"""Training positions of a class that the orders are tried on, how many are too few, the steps of each that are read,
and the longest list that counts.
"""
BLOCK = 1000
"""Rows looked at together."""


@dataclass(frozen=True)
class SeenItems:
    """The distinct items of sessions, [E] each: the `row` of each, the `item`, how often it was seen (`count`; `late`:
    each time weighs less by `FADING` for every step ago), and how many steps ago `last` and `first`; `longest` is more.
    """

    row: Ints
    item: Ints
    count: Ints
    late: Floats
    last: Ints
    first: Ints
    longest: int


ORDERS: Mapping[str, Callable[[SeenItems], npt.NDArray[Any]]] = {
    "recency": lambda seen: seen.longest - seen.last,
    "first": lambda seen: seen.first,
    "count, recency": lambda seen: seen.count * seen.longest + seen.longest - seen.last,
    "count, first": lambda seen: seen.count * seen.longest + seen.first,
    "count of late": lambda seen: seen.late,
}
"""What items are ordered by, the highest first: numbers from 0 on, different for the items of a session. In
visits longer than those of training, counts far back say little: hence the last one.
"""
FADING = 0.8


def fit(history: History) -> Scores:
    """Score the items of the session by the order that `learned` gives for its length, all others by popularity."""
    share, names = popular(history), learned(history)
    chosen = np.array([list(ORDERS).index(name) for name in names])

    def scores(recent: Ints) -> Floats:
        scored = np.repeat(share[None], len(recent), axis=0)
        seen = distinct(recent)
        ordered = np.stack([order(seen) for order in ORDERS.values()])
        scored[seen.row, seen.item] = 1 + ordered[chosen[lengths(recent)[seen.row]], np.arange(len(seen.row))]
        return scored

    return scores


def learned(history: History) -> list[str]:
    """For each class of `STEPS` the order with the best MRR@20 on training positions, of equal ones the first of
    `ORDERS`; a class with too few positions has the order of the class before.

    Only an item of the session has a rank that depends on the order, so that of no other is counted.
    """
    positions = questions(history.offsets, np.arange(len(history.offsets) - 1), LONGEST)
    followed = np.flatnonzero(positions.has_next)
    draw, names = np.random.default_rng(SEED), [next(iter(ORDERS))]
    of = np.searchsorted(STEPS, positions.position[followed] + 1, side="right") - 1
    for number in range(len(STEPS)):
        rows = followed[of == number]
        if len(rows) >= FEW:
            rows = np.sort(draw.choice(rows, POSITIONS, replace=False)) if len(rows) > POSITIONS else rows
            seen = distinct(recent(history.item, positions, rows, LONGEST))
            wanted = history.item[positions.event[rows] + 1]
            gains = {name: _gain(order(seen), seen, wanted) for name, order in ORDERS.items()}
            names.append(max(gains, key=lambda name: gains[name]))
        else:
            names.append(names[-1])
    return names[1:]


def lengths(recent: Ints) -> Ints:
    """The class of `STEPS` that each of `recent` [N, L] is in, [N]."""
    classes: Ints = np.searchsorted(STEPS, np.count_nonzero(recent, axis=1).clip(min=1), side="right") - 1
    return classes


def distinct(recent: Ints) -> SeenItems:
    """The items of `recent` [N, L], newest first, each once, where it was seen last; row by row, the newest first."""
    longest = recent.shape[1]
    back = np.arange(longest)
    parts = []
    for start in range(0, len(recent), BLOCK):
        block = recent[start : start + BLOCK]
        same = (block[:, :, None] == block[:, None, :]) & (block >= FIRST_ITEM)[:, :, None]
        row, last = np.nonzero(same.any(-1) & (same.argmax(-1) == back))
        same = same[row, last]
        first = longest - 1 - same[:, ::-1].argmax(-1)
        parts.append((row + start, block[row, last], same.sum(-1), same @ FADING**back, last, first))
    none = np.zeros(0, np.int64)
    row, item, count, late, last, first = (np.concatenate([none, *(part[k] for part in parts)]) for k in range(6))
    return SeenItems(row.astype(np.int64), item.astype(np.int64), count, late, last, first, longest + 1)


def _gain(score: npt.NDArray[Any], seen: SeenItems, wanted: Ints) -> float:
    """The sum of 1 / rank, 0 beyond `CUTOFF`, of the wanted items [N] among those of their sessions."""
    order = np.lexsort((-score, seen.row))
    start = np.searchsorted(seen.row, np.arange(len(wanted)))
    rank = np.arange(len(order)) - start[seen.row[order]] + 1
    hit = (seen.item == wanted[seen.row])[order] & (rank <= CUTOFF)
    return float((1 / rank[hit]).sum())
