"""In which form the times of a column are written."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clickflow.events import times

DATES = (
    "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%y",
    "%d/%m/%y", "%m/%d/%y", "%d-%b-%Y", "%d %b %Y", "%d/%b/%Y", "%b %d %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y",
    "%Y年%m月%d日",
)  # fmt: skip
CLOCKS = (
    "", " %H:%M:%S", " %H:%M", "T%H:%M:%S", "T%H:%M", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", ", %H:%M:%S",
    ":%H:%M:%S %z",    " %H:%M:%S %z", "T%H:%M:%S%z", "%H%M%S", "%H%M", "%H", "T%H%M%SZ",
)  # fmt: skip
OTHERS = (
    "%a %b %d %H:%M:%S %Y",
    "%a, %d %b %Y %H:%M:%S GMT",
    "%Y-%m-%d-%H.%M.%S",
    "%Y-%m-%d %I:%M:%S %p",
    "%Y-%m-%d %H",
    "%Y-%m",
)
PATTERNS = (*(date + clock for date, clock in product(DATES, CLOCKS)), *OTHERS)
_LETTER = "a letter"
_MARKS = {
    pattern: {*re.sub(r"%.|[A-Za-z ]", "", pattern), *([_LETTER] if re.search("%[abBp]", pattern) else [])}
    for pattern in PATTERNS
}
"""What a value must have in it to be read by a pattern. To try all of them on a column takes a tenth of a second."""

BOTH_ORDERS = "day and month:"
"""How the doubt begins where a file's times are times in either order of day and month."""

FEW = 40
MANY = 20_000
"""Values that a pattern is tried on, first and last."""
ENOUGH = 0.95
"""The share of values that have to be times."""
MANY_HOURS = 50
"""Different times, of which some are of the other half of the day."""
LOST_HALF = (
    "no hour of its times is 0 or above 12: where a clock of twelve hours wrote them without AM and PM, half of them "
    "are read twelve hours off"
)
EPOCHS = (("s", 1e8, 5e9), ("ms", 1e11, 5e12), ("us", 1e14, 5e15))
"""Whole numbers between are times since 1970, from 1973 to 2128."""
SERIALS = (29_221, 73_051)
"""1980 and 2100 in days since 1899-12-30."""
FOREVER = 4_102_444_800_000_000
"""2100-01-01 in microseconds."""


@dataclass(frozen=True)
class Clock:
    """The form of a column's times: `time_format` as params.yaml has it (None: ISO 8601).

    `resolution`: how many of them differ; `zoned`: the share that carry their zone; `doubts`: what else it may be.
    """

    time_format: str | None
    share: float
    resolution: int
    zoned: float
    why: str
    doubts: tuple[str, ...] = ()
    date_only: bool = False


LONGEST = 100
"""Bytes of a time; what is longer is none."""


def clock_of(column: pa.Array, con: Any, enough: float = ENOUGH) -> Clock | None:
    """The form of a column of text without nulls; None where less than the share `enough` are times of one form."""
    short = pc.less_equal(pc.binary_length(column), LONGEST)
    if not len(column) or pc.mean(short.cast(pa.float64())).as_py() < enough:
        return None
    column = column.filter(short)
    if (pc.count_distinct(column).as_py() or 0) > MANY:
        column = column.take(pa.array(np.linspace(0, len(column) - 1, MANY).astype(np.int64)))
    values = column.unique()
    clock = _epoch(values, con, enough) or _iso(values, con, enough) or _pattern(values, con, enough)
    clock = clock or (_serial(values, con) if enough < ENOUGH else None)
    if clock is not None and _half_a_day(values):
        clock = replace(clock, doubts=(*clock.doubts, LOST_HALF))
    return clock


def _half_a_day(values: pa.Array) -> bool:
    """Whether times have the hours 1 to 12 alone, and nothing says whether before or after noon."""
    if len(values) < MANY_HOURS or pc.any(pc.match_substring_regex(values, r"(?i)\d *[ap]\.?m\b|上午|下午")).as_py():
        return False
    hours = pc.struct_field(pc.extract_regex(values, r"^[^:]*?[ T]?(?P<hour>\d{1,2}):\d\d"), "hour").drop_null()
    distinct = set(map(int, hours.unique().to_pylist()))
    return len(hours) == len(values) and distinct <= set(range(1, 13)) and len(distinct) >= 11


def could_be_order(column: pa.Array, con: Any, most: float = 1e8) -> bool:
    """Whether values are an order alone: whole numbers below `most`."""
    value, known = times.numbers(column, con)
    return bool(
        len(column)
        and known.mean() >= ENOUGH
        and (value == np.floor(value)).all()
        and value.min() >= 0
        and value.max() < most
    )


def _epoch(values: pa.Array, con: Any, enough: float) -> Clock | None:
    number, known = times.numbers(values, con)
    if known.mean() < enough:
        return None
    number = number[known]
    middle = float(np.median(number))
    for unit, low, high in EPOCHS:
        if low <= middle < high:
            share = float(((number >= low) & (number < high)).mean())
            if share < enough:
                return None
            first = values[0].as_py()
            if unit == "s" and len(first) == 10 and middle > datetime.now(UTC).timestamp() + 86_400:
                return _pattern(values, con, enough)  # 2019100113: year, month, day and hour
            return Clock(
                unit,
                share * float(known.mean()),
                len(values),
                1.0,
                f"whole numbers such as {first}: {_NAMES[unit]} since 1970",
            )
    return None


def _serial(values: pa.Array, con: Any) -> Clock | None:
    """Days as a spreadsheet counts them, of a column that is called a time; whole ones alone could be anything."""
    number, known = times.numbers(pc.replace_substring(values, ",", "."), con)
    known &= (number >= SERIALS[0]) & (number < SERIALS[1])
    whole = number == np.floor(number)
    if known.mean() < ENOUGH or (known & ~whole).sum() < 0.5 * len(values):
        return None
    first = next(text for text in values.to_pylist() if not text.isdigit())
    doubts = [f"numbers such as {first} are read as days since 1899-12-30, as spreadsheets count them"]
    if max(len(text.replace(",", ".").partition(".")[2]) for text in values.to_pylist()) < 5:
        doubts.append("its times are rounded to minutes and more: steps of one visit may tie")
    return Clock(times.EXCEL, float(known.mean()), len(values), 0.0, f"a spreadsheet's days, such as {first}",
                 tuple(doubts))  # fmt: skip


_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}


def _iso(values: pa.Array, con: Any, enough: float) -> Clock | None:
    micros, known, _ = times.parse(values, None, "UTC", con)
    known &= (micros >= 0) & (micros < FOREVER)
    if known.mean() < enough:
        return None
    first = values[0].as_py()
    if first.isdigit():
        return None
    ends = pc.match_substring_regex(values, r"\d\d:\d\d.*([A-Za-z]|[+-]\d\d:?(\d\d)?)$").to_numpy(zero_copy_only=False)
    zoned = float(ends[known].mean())
    dates = bool((pc.binary_length(values).to_numpy(zero_copy_only=False) <= 10).all())
    return Clock(None, float(known.mean()), len(values), zoned, f"ISO 8601, such as {first}", (), dates)


def _pattern(values: pa.Array, con: Any, enough: float) -> Clock | None:
    few = values.take(pa.array(np.linspace(0, len(values) - 1, min(FEW, len(values))).astype(np.int64)))
    if not pc.any(pc.match_substring_regex(few, "[0-9]")).as_py():
        return None
    possible = possible_patterns(few.to_pylist())
    counted = ", ".join(f"count(try_strptime(x, '{pattern}'))" for pattern in possible)
    counts = con.from_arrow(pa.table({"x": few})).aggregate(counted).fetchall()[0] if possible else ()
    likely = [pattern for pattern, count in zip(possible, counts, strict=True) if count >= len(few) / 2]
    shares = {pattern: _share(values, pattern, con) for pattern in likely}
    if not shares or max(shares.values()) < enough:
        return None
    # the longest of equally good ones: it says the most
    best = max(shares, key=lambda pattern: (round(shares[pattern], 4), len(pattern)))
    doubts: tuple[str, ...] = ()
    twin = times.twin(best)
    if twin is not None and shares.get(twin, 0) >= shares[best] - 1e-9:
        spans = {pattern: _span(values, pattern, con) for pattern in (best, twin)}
        best, twin = sorted((best, twin), key=lambda pattern: (spans[pattern], pattern.startswith("%m")))
        first = values[0].as_py()
        doubts = (
            f"{BOTH_ORDERS} {best!r} and {twin!r} both read every time, such as {first}; the former spans "
            f"{spans[best]:,.0f} days, the latter {spans[twin]:,.0f}",
        )
    dates = not any(mark in best for mark in ("%H", "%I"))
    return Clock(
        best,
        shares[best],
        len(values),
        float("%z" in best or best.endswith(("Z", "GMT"))),
        f"{best}, such as {values[0].as_py()}",
        doubts,
        dates,
    )


def possible_patterns(values: Sequence[str]) -> list[str]:
    """The patterns whose marks stand in half of the values and more; the others cannot read as many."""
    has = {mark: sum(mark in value for value in values) for mark in set().union(*_MARKS.values())}
    has[_LETTER] = sum(re.search("[A-Za-z]", value) is not None for value in values)
    return [pattern for pattern in PATTERNS if all(has[mark] >= len(values) / 2 for mark in _MARKS[pattern])]


def _share(values: pa.Array, pattern: str, con: Any) -> float:
    micros, known, _ = times.parse(values, pattern, "UTC", con)
    return float((known & (micros >= 0) & (micros < FOREVER)).mean())


def _span(values: pa.Array, pattern: str, con: Any) -> float:
    micros, known, _ = times.parse(values, pattern, "UTC", con)
    return float(np.ptp(micros[known])) / 86_400e6 if known.any() else 0.0
