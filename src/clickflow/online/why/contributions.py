"""What each hand-made feature of a question adds to an answer: Shapley values by permutations, in one batch.

The value of a feature is the mean, over orders in which the features go one by one from their typical values (the
medians of the training part, in the artefact's card) to those of the question, of what its own step changes (Štrumbelj
& Kononenko 2014, doi 10.1007/s10115-013-0679-x). Orders are drawn in pairs, each with its reverse: the sum is the
difference of both answers whatever is drawn, and where no more than two features act together each value is exact.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PAIRS = 8
"""Orders, each with its reverse: 2 * 8 * (F + 1) rows are asked."""
SEED = 0


@dataclass(frozen=True)
class Shapley:
    """`values` [F] sum to `answer - typical`; `error` [F]: the standard error of each over the pairs of orders."""

    values: Floats
    error: Floats
    answer: float
    typical: float


def shapley(
    ask: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]],
    x: npt.NDArray[np.float32],
    typical: npt.NDArray[np.float32],
) -> Shapley:
    """Of one question with features `x` [F] beside the features `typical` [F]; `ask` answers rows [n, F] with [n].

    Features that are equal (both missing, too) have the value 0 and are in no order. The same input gives the same
    values.
    """
    differ = np.flatnonzero(~((x == typical) | (np.isnan(x) & np.isnan(typical))))
    count = len(differ)
    values, error = np.zeros(len(x)), np.zeros(len(x))
    if not count:
        (both,) = ask(x[None]).astype(np.float64)
        return Shapley(values, error, float(both), float(both))
    # of one or two features that differ a pair is all orders there are
    orders = _orders(count, PAIRS if count > 2 else 1)
    place = np.argsort(orders, axis=1)
    # row s of an order has taken its first s features from x
    taken = place[:, None, :] < np.arange(count + 1)[:, None]
    rows = np.tile(typical, (taken.shape[0], count + 1, 1)).astype(np.float32)
    rows[:, :, differ] = np.where(taken, x[differ], typical[differ])
    answers = ask(rows.reshape(-1, len(x))).astype(np.float64).reshape(len(orders), count + 1)
    gains = np.take_along_axis(np.diff(answers, axis=1), place, axis=1)
    by_pair = gains.reshape(-1, 2, count).mean(axis=1)
    values[differ] = by_pair.mean(axis=0)
    if len(by_pair) > 1:
        error[differ] = by_pair.std(axis=0, ddof=1) / np.sqrt(len(by_pair))
    return Shapley(values, error, float(answers[0, -1]), float(answers[0, 0]))


def _orders(count: int, pairs: int) -> npt.NDArray[np.int64]:
    """[2 * pairs, count]: orders drawn by chance, each before its reverse."""
    draw = np.random.default_rng(SEED)
    drawn = np.stack([draw.permutation(count) for _ in range(pairs)])
    return np.stack([drawn, drawn[:, ::-1]], axis=1).reshape(-1, count)
