"""Local times to UTC across daylight saving: the hour that occurs twice, and the one that never does."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from clickflow.system.moments import DAY

TWICE, NEVER = 1, -1

FIRST, LAST = "1970-01-01", "2100-01-01"


def to_utc(local: NDArray[np.int64], zone: str) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Microseconds on a clock in `zone`, as microseconds since 1970 UTC; and `TWICE` or `NEVER` where the clock has the
    time so, else 0. Of the two the earlier is taken; a time that never was is taken as if the clock had not moved yet.
    """
    at, before, after = changes(zone)
    # a change is over, on the clock, where no time of before it can be shown any more
    over = at + np.maximum(before, after)
    index = np.searchsorted(over, local, side="right")
    offset = np.append(before, after[-1])[index]
    within = index < len(at)
    following = np.minimum(index, len(at) - 1)
    within &= local >= (at + np.minimum(before, after))[following]
    clock = np.where(within, np.where(after > before, NEVER, TWICE)[following], 0)
    return local - offset, clock.astype(np.int8)


@lru_cache
def changes(zone: str) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """When clocks in a zone change: moments in UTC, and what is added to UTC before and after each, in microseconds.

    The rules are DuckDB's. A zone without a change has one of nothing, at the end.
    """
    import duckdb

    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")

        def offsets(start: str, stop: str, step: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            table = con.execute(
                "SELECT epoch_us(t) AS t, epoch_us(timezone(?, t)) - epoch_us(t) AS off FROM (SELECT unnest("
                f"generate_series(?::TIMESTAMPTZ, ?::TIMESTAMPTZ, INTERVAL {step})) AS t)",
                [zone, start, stop],
            ).fetchnumpy()
            return table["t"].astype(np.int64), table["off"].astype(np.int64)

        days, of_day = offsets(FIRST, LAST, "1 DAY")
        rows = [(int(days[-1]), int(of_day[-1]), int(of_day[-1]))]
        for day in np.flatnonzero(np.diff(of_day)).tolist():
            start = str(np.datetime64(int(days[day]), "us")) + "+00"
            stop = str(np.datetime64(int(days[day]) + DAY, "us")) + "+00"
            minutes, of_minute = offsets(start, stop, "1 MINUTE")
            rows += [
                (int(minutes[n + 1]), int(of_minute[n]), int(of_minute[n + 1]))
                for n in np.flatnonzero(np.diff(of_minute)).tolist()
            ]
    at, before, after = np.array(sorted(rows), np.int64).T
    return at, before, after
