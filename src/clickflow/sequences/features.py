"""What a step knows of time, and the statistics by which models scale it. Pure numpy.

A feature of a step is made from that step and earlier ones of the same sequence, never from later ones.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MICROSECOND = 1_000_000
"""Microseconds in a second."""
CHUNK = 1 << 20
"""Steps summed at a time: fixed, so that the order of additions, and so the last bit, is always the same."""
DIGITS = 6
"""Statistics are rounded to so many decimals: different processors' `log1p` differ in the last bits."""
MEASURED = ("gap", "since_start", "price")
"""The columns that have statistics."""
OF_CLOCK = ("hour", "weekday", "gap", "since_start")
"""The columns that mean nothing where a log knows an order alone."""
SPREAD = 1e-4
"""A standard deviation below is none: scaled by it, what float32 rounds off would be a step of its own."""


def of_time(time: Array, offsets: Array, *, clock: bool = True) -> dict[str, Array]:
    """The time features of packed steps.

    `time` int64 [e], microseconds since 1970 UTC; `offsets` int64 [n + 1], sequence i being steps
    `offsets[i]:offsets[i + 1]`, none of them empty, the first starting at 0.

    Returns `hour` uint8 [e] and `weekday` uint8 [e] (Monday 0), both UTC; `gap` float32 [e], seconds since the step
    before (0 at the first of a sequence); `since_start` float32 [e], seconds since the first step of the sequence.
    Without a `clock` the times are an order alone, and all four are 0.
    """
    if not clock:
        none, seconds = np.zeros(len(time), np.uint8), np.zeros(len(time), np.float32)
        return {"hour": none, "weekday": none, "gap": seconds, "since_start": seconds}
    hours = time // (3600 * MICROSECOND)
    starts = offsets[:-1]
    gap = np.zeros(len(time), np.int64)
    np.subtract(time[1:], time[:-1], out=gap[1:])
    gap[starts] = 0
    since_start = time - np.repeat(time[starts], np.diff(offsets))
    return {
        "hour": (hours % 24).astype(np.uint8),
        "weekday": ((hours // 24 + 3) % 7).astype(np.uint8),  # 1970-01-01 was a Thursday
        "gap": (gap / MICROSECOND).astype(np.float32),
        "since_start": (since_start / MICROSECOND).astype(np.float32),
    }


def statistics(columns: Mapping[str, Array]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of log1p of each column of `MEASURED`, over the steps that have it.

    A column without a value, or whose values hardly differ (`SPREAD`), has the deviation 1, so that scaling by it
    changes nothing.
    """
    found = {}
    for name in MEASURED:
        count, total, squares = 0, 0.0, 0.0
        for values in _chunks(columns[name]):
            logs = np.log1p(values[~np.isnan(values)].astype(np.float64))
            count += logs.size
            total += float(logs.sum())
            squares += float((logs * logs).sum())
        mean = total / count if count else 0.0
        deviation = max(squares / count - mean * mean, 0.0) ** 0.5 if count else 0.0
        deviation = round(deviation, DIGITS)
        found[name] = {"mean": round(mean, DIGITS), "std": deviation if deviation >= SPREAD else 1.0}
    return found


def _chunks(values: Array) -> Iterator[Array]:
    for first in range(0, len(values), CHUNK):
        yield values[first : first + CHUNK]
