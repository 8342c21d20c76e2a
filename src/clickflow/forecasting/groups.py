"""Which series the preset takes as alike: seldom without a sale, often without, or too young to say."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting.panel import Panel

Array = NDArray[Any]

GROUPS = ("fast", "intermittent", "short")
INTERMITTENT = 0.3
"""Share of zeros from which on a series is intermittent."""
SHORT = {"day": 28, "week": 12, "month": 14}
"""Fewer periods are few."""
BACKTESTED, BACKTESTED_OF_GROUP = 1_000, 200
"""Series that backtests ask about, of more about so many, and of a group no fewer: more choose no other weights, and
take minutes.
"""


def groups(known: Panel) -> Array:
    """The group of each series, as an index of `GROUPS`."""
    there = ~np.isnan(known.values)
    length = there.sum(1)
    zeros = (known.values == 0).sum(1) / np.maximum(length, 1)
    return np.where(length < SHORT[known.step], 2, np.where(zeros >= INTERMITTENT, 1, 0))


def drawn(known: Panel) -> Array:
    """The series that backtests ask about, [s]: all, or evenly some of each group where they are very many, and the
    longest, which says whether there is a season.
    """
    every, of = -(-len(known.values) // BACKTESTED), groups(known)
    rows = [np.flatnonzero(of == number) for number in range(len(GROUPS))]
    some = [row[:: max(1, min(every, len(row) // BACKTESTED_OF_GROUP))] for row in rows]
    return np.unique(np.concatenate([*some, [np.argmax((~np.isnan(known.values)).sum(1))]]))
