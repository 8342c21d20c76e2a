"""Signs of oddness of a sequence: how far what was seen in it lies from what the model expected step by step.

Each sign is a sum over the steps, less what was expected of it, in standard deviations as the model expects them: so it
depends neither on how long a visit is nor on how rare its kinds of step are. The score of a sequence is the sum of the
squares of its signs; were the model the true process, it would be about as large as there are signs, whatever was done.

Signs of several visits of a customer are added and divided by the root of their number (Stouffer 1949): what is a
little odd every time becomes very odd. One visit unlike all others is odd by itself: the larger of both counts.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.anomalies.surprise import PACE, Pace, Surprise

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
PRIOR = 0.5
"""Added to a variance: one rare thing alone is not yet odd."""
REGULAR_LEAST = 5
"""Gaps from which their evenness is judged."""
EVENNESS = "evenness"


@dataclass(frozen=True)
class Signs:
    """Of N sequences; all arrays [N, signs]."""

    names: tuple[str, ...]
    """the name of a head, `head=class` for each of its classes, `pace`, `evenness`"""
    value: Floats
    """in deviations: + more, more surprising, slower or more even than expected, - less; 0 where it cannot be judged"""
    observed: Floats
    """the count of a class, else the mean of the steps: nats of a ranking, log1p seconds of the pace"""
    expected: Floats

    @property
    def score(self) -> Floats:
        """[N] the sum of the squares."""
        return np.asarray((self.value**2).sum(axis=1))


def of(surprise: Surprise, pace: Pace | None, split: Any) -> Signs:
    """The signs of the sequences of a split, in the order in which they were asked about."""
    questions = surprise.questions
    _, place = np.unique(questions.sequence, return_inverse=True)
    count = int(place.max(initial=-1)) + 1
    signs: dict[str, tuple[Floats, Floats, Floats]] = {}

    def total(values: Floats | npt.NDArray[np.bool_]) -> Floats:
        return np.asarray(np.bincount(place, np.nan_to_num(np.asarray(values, np.float64)), count), np.float64)

    for name, channel in surprise.channels.items():
        known = ~np.isnan(channel.surprise)
        steps = np.maximum(total(known), 1)
        if channel.probability is None or channel.came is None:
            own, mean = total(channel.surprise), total(np.where(known, channel.mean, 0))
            spread = np.sqrt(total(np.where(known, channel.variance, 0)) + PRIOR)
            signs[name] = (own - mean) / spread, own / steps, mean / steps
            continue
        for code, kind in enumerate(channel.classes):
            p = channel.probability[:, code].astype(np.float64) * known
            observed, expected = total((channel.came == code) & known), total(p)
            signs[f"{name}={kind}"] = (
                (observed - expected) / np.sqrt(total(p * (1 - p)) + PRIOR),
                observed,
                expected,
            )
    if pace is not None:
        signs |= _times(pace, split, surprise, place, count)
    stacked = [np.stack([each[k] for each in signs.values()], axis=1) for k in range(3)]
    return Signs(tuple(signs), *stacked)


def _times(
    pace: Pace, split: Any, surprise: Surprise, place: Ints, count: int
) -> dict[str, tuple[Floats, Floats, Floats]]:
    """The times between steps: too fast or too slow, and too even or too uneven."""
    log, mean, deviation = pace.gaps(split, surprise.questions)
    there = ~np.isnan(log)
    z = np.where(there, (log - mean) / deviation, 0.0)
    gaps = np.bincount(place, there, count)
    many = np.maximum(gaps, 1)
    own, usual = (np.bincount(place, np.where(there, each, 0.0), count) / many for each in (log, mean))
    middle = np.bincount(place, z, count) / many
    spread = np.bincount(place, np.where(there, (z - middle[place]) ** 2, 0.0), count)
    free = np.maximum(gaps - 1, 1)
    even = np.where(gaps >= REGULAR_LEAST, (free - spread) / np.sqrt(2 * free), 0.0)
    return {
        PACE: (middle * gaps / np.sqrt(gaps + PRIOR), own, usual),
        EVENNESS: (even, np.sqrt(spread / free), np.ones(count)),
    }


def customers(signs: Signs, owner: Ints) -> tuple[Floats, Ints]:
    """Scores [U] of customers 0 to U - 1, and the sequence that is the oddest of each; `owner` [N], -1: nobody."""
    known = np.flatnonzero(owner >= 0)
    count = int(owner.max(initial=-1)) + 1
    order = known[np.lexsort((-signs.score[known], owner[known]))]
    people, first = np.unique(owner[order], return_index=True)
    worst = np.zeros(count, np.int64)
    worst[people] = order[first]
    visits = np.bincount(owner[known], minlength=count)
    together = np.zeros((count, len(signs.names)))
    np.add.at(together, owner[known], signs.value[known])
    together /= np.sqrt(np.maximum(visits, 1))[:, None]
    return np.maximum((together**2).sum(axis=1), signs.score[worst]), worst


def words(name: str, value: float, observed: float, expected: float) -> str:
    """A sign in words."""
    head, is_class, kind = name.partition("=")
    if is_class:
        return f"{observed:.0f} {kind}{'' if observed == 1 else 's'}, where {expected:.1f} were expected"
    if name == PACE:
        direction = "faster" if value < 0 else "slower"
        return f"{direction} than usual: {np.expm1(observed):.0f} s a step, where {np.expm1(expected):.0f} s are usual"
    if name == EVENNESS:
        direction = "more" if value > 0 else "less"
        return f"{direction} even times between steps: their spread is {observed:.2f} of the usual one"
    direction = "less usual" if value > 0 else "more foreseeable"
    return f"{direction} by {head}: a surprise of {observed:.1f} nats a step, where {expected:.1f} were expected"
