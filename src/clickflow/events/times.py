"""Texts and numbers to microseconds since 1970, UTC.

The usual shape of ISO 8601 (`2019-10-01 00:00:00.123456 UTC`, `2019-10-01T00:00:00Z`) is read digit by digit in numpy;
every other shape by DuckDB, with the same results where both apply.
"""

import re
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clickflow.events import clocks, texts

ORDER_EPOCH = 946_684_800_000_000
"""2000-01-01, where the times of logs begin that know an order but no clock."""
ORDER_STEP = 60_000_000
"""Between two sessions of such a log."""

MOST_SESSION = 1e9
"""Numbers of sessions in such a log are below."""

UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}
EXCEL = "excel"
"""Days since 1899-12-30, as a spreadsheet counts them where a column of times is shown as numbers."""
EXCEL_EPOCH = 25_569
"""1970-01-01 in them."""
TWINS = {"%d/%m": "%m/%d", "%m/%d": "%d/%m", "%d-%m": "%m-%d", "%m-%d": "%d-%m"}
"""Patterns of a day and a month that could change places."""
SPACED_ZONE = r"^(\d{4}-\d\d-\d\d[ T]\d\d:\d\d[\d:.]*) +([+-]\d\d(?::?\d\d)?)$"
"""A zone with a space before it, which DuckDB does not read."""
FROM_UTC = r"UTC([+-]\d)"
"""DuckDB drops the minutes of `UTC+05:30`, and knows those of `GMT+05:30`."""
SEVERAL_ZONES = frozenset((
    "ACT", "AET", "AGT", "ART", "AST", "BET", "BST", "CNT", "CST", "CTT", "ECT", "IET", "IST", "MIT", "NET", "NST",
    "PNT", "PRT", "SST", "VST",
))  # fmt: skip
"""Letters that DuckDB takes for one zone and others for another: BST is Dhaka's to it, and London's to a shop there."""
NAMED_ZONE = r"\d\d(?:\.\d+)? *(?:[AaPp][Mm] +)?(?P<zone>[A-Za-z]{2,}[A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*)(?: \d{4})?$"
"""The name of a zone at the end of a time, or before the year that Unix writes there."""
LETTERS = re.compile("[A-Z]{3,5}|[a-z]{3,5}")
"""Of those that are letters, such as CET or PST: some mean winter's time by them, others that of the year."""
NUMBERS = re.compile("(?:%[YymdHMS]){2,}")
"""Parts of a pattern with nothing between: which digit is whose depends on each having all of its own."""
SCIENTIFIC = r"^[+-]?\d(?:\.\d*)?[eE]\+\d+$"
AT_ONCE = 8_192
"""Values whose digits are looked at together: few enough to stay in the processor's cache."""

DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.uint8)
"""Of each month, counted from 1."""

PLAUSIBLE = 631_152_000_000_000, 4_102_444_800_000_000
"""1990 to 2100: no log of a shop's clicks is older; most of a file before that was read in a wrong unit."""

LATEST = 253_402_300_799_999_999
"""9999-12-31 23:59:59.999999."""

Micros = tuple[NDArray[np.int64], NDArray[np.bool_]]
"""Times, and which of them are times at all."""


class Times(NamedTuple):
    """Times; which of them are times at all; and which are local ones of an hour that the clock has twice
    (`clocks.TWICE`, taken as the earlier) or never (`clocks.NEVER`), all others 0.
    """

    micros: NDArray[np.int64]
    known: NDArray[np.bool_]
    clock: NDArray[np.int8]


def twin(time_format: str | None) -> str | None:
    """The pattern with day and month changed over, where they stand as numbers beside each other."""
    places = [(mark, other) for mark, other in TWINS.items() if mark in (time_format or "")]
    return time_format.replace(*places[0], 1) if time_format and places else None


def parse(array: pa.Array, time_format: str | None, timezone: str, con: Any) -> Times:
    """Cleaned texts of one `time_format` (see params.yaml); times without a zone are in `timezone`.

    `con` is a DuckDB connection of this thread.
    """
    local = np.zeros(len(array), bool)
    if time_format in UNITS:
        value, known = numbers(array, con)
        known &= ~_rounded(array, UNITS[time_format])
        known &= np.abs(value) <= LATEST / UNITS[time_format]
        return _placed(
            np.round(np.where(known, value, 0) * UNITS[time_format]).astype(np.int64), known, local, timezone
        )
    if time_format == EXCEL:
        value, known = numbers(pc.replace_substring(array, ",", "."), con)
        known &= (value >= 1) & (np.abs(value - EXCEL_EPOCH) <= LATEST / 86_400e6)
        # fifteen digits are shown of a day: to the millisecond they are exact
        micros = np.round((np.where(known, value, EXCEL_EPOCH) - EXCEL_EPOCH) * 86_400_000).astype(np.int64) * 1000
        return _placed(micros, known, known.copy(), timezone)
    if time_format is not None:
        if "%Z" in time_format:
            array = pc.replace_substring_regex(array, FROM_UTC, r"GMT\1")
        micros, known, local = _by_duckdb(array, _strptime(time_format), timezone, con)
        if NUMBERS.search(time_format):
            known &= _matches(array, _in_full(time_format))
        moments = _placed(micros, known, local, timezone)
        if "%Z" in time_format:
            moments.clock[:] = _of_named_zones(array, moments, _strptime(time_format), con)
        return moments
    micros, known = _usual(array)
    named = np.zeros(len(array), np.int8)
    if timezone != "UTC" and known.any():
        # a time of the usual shape has a zone where it ends with Z or UTC
        local[known] = texts.DIGITS[texts.letters(array)[texts.bounds(array)[1:][known] - 1]]
    rest = np.flatnonzero(~known & texts.valid(array))
    if len(rest):
        # DuckDB knows words such as "epoch" and "infinity" too: a time begins with a digit
        cast = "CASE WHEN x[1] BETWEEN '0' AND '9' THEN try_cast(x AS TIMESTAMPTZ) END"
        text = pc.replace_substring_regex(array.take(pa.array(rest)), SPACED_ZONE, r"\1\2")
        text = pc.replace_substring_regex(text, FROM_UTC, r"GMT\1")
        micros[rest], known[rest], local[rest] = _by_duckdb(text, cast, timezone, con)
        named[rest] = _of_named_zones(text, Times(micros[rest], known[rest], named[rest]), cast, con)
    moments = _placed(micros, known, local, timezone)
    moments.clock[named != 0] = named[named != 0]
    return moments


def swapped(array: pa.Array, known: NDArray[np.bool_], time_format: str | None, con: Any) -> int:
    """How many cleaned texts that are no times of a pattern (not `known`) are some with day and month changed over."""
    other = twin(time_format)
    lost = np.flatnonzero(~known & texts.valid(array))
    if other is None or not len(lost):
        return 0
    return int(_by_duckdb(array.take(pa.array(lost)), _strptime(other), "UTC", con)[1].sum())


def likely_unit(number: float) -> str | None:
    """The unit in which a number since 1970 is a time of our days."""
    return next((unit for unit, size in UNITS.items() if PLAUSIBLE[0] <= number * size < PLAUSIBLE[1]), None)


def numbers(array: pa.Array, con: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cleaned texts as numbers, and which of them are finite numbers."""
    if array.null_count == len(array):
        return np.zeros(len(array)), np.zeros(len(array), bool)
    parsed = con.from_arrow(pa.table({"x": array})).select("try_cast(x AS DOUBLE) AS y").to_arrow_table()["y"]
    parsed = parsed.combine_chunks()
    value = parsed.fill_null(0.0).to_numpy(zero_copy_only=False).copy()
    known = texts.valid(parsed) & np.isfinite(value)
    value[~known] = 0
    return value, known


def in_order(session: pa.Array, step: pa.Array, con: Any) -> Micros:
    """Times for a log without a clock: session number times a minute, plus as many microseconds as the step's number.

    So a later session comes later, and so does a later step of a session.
    """
    which, known = numbers(session, con)
    where, counted = numbers(step, con)
    known &= (
        counted
        & (which >= 0)
        & (which < MOST_SESSION)
        & (which == np.floor(which))
        & (where >= 0)
        & (where < ORDER_STEP)
    )
    return ORDER_EPOCH + np.where(known, which * ORDER_STEP + where, 0).astype(np.int64), known


def from_arrow(array: pa.Array, timezone: str) -> Times:
    """Arrow timestamps and dates; those without a zone are in `timezone`."""
    known = texts.valid(array)
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("s"))
    local = np.full(len(array), array.type.tz is None)
    micros = array.cast(pa.timestamp("us", tz=array.type.tz), safe=False)
    micros = micros.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False).copy()
    return _placed(micros, known, local, timezone)


def known_timezone(name: str, con: Any) -> bool:
    """Whether DuckDB has the rules of that zone."""
    import duckdb

    try:
        con.execute(f"SET TimeZone = {_quoted(name)}")
    except duckdb.Error:
        return False
    return True


def known_pattern(pattern: str, con: Any) -> bool:
    """Whether `pattern` is one of strptime's."""
    import duckdb

    try:
        con.execute(f"SELECT try_strptime('', {_quoted(pattern)})")
    except duckdb.Error:
        return False
    return re.search("%[a-zA-Z]", pattern) is not None


def _in_full(pattern: str) -> str:
    """What a time of a pattern looks like that has all digits where numbers stand side by side: by `%Y%m%d` 2026115
    would be read as the 5th of November, and could be the 15th of January.
    """
    form, at = "", 0
    for match in NUMBERS.finditer(pattern):
        digits = sum(4 if part == "Y" else 2 for part in match[0][1::2])
        form += ".*" * (match.start() > at) + f"[0-9]{{{digits}}}"
        at = match.end()
    return f"^{form}{'.*' * (at < len(pattern))}$"


def _matches(array: pa.Array, pattern: str) -> NDArray[np.bool_]:
    matches = pc.match_substring_regex(array, pattern).fill_null(False)
    return np.asarray(matches.to_numpy(zero_copy_only=False), bool)


def _of_named_zones(array: pa.Array, moments: Times, expression: str, con: Any) -> NDArray[np.int8]:
    """`Times.clock`, with those times that end with the name of a zone: whether its clock has them twice or never, or
    the name is letters that mean several zones (other places', or one place's in winter and all year).
    """
    clock = moments.clock.copy()
    names = pc.struct_field(pc.extract_regex(array, NAMED_ZONE), "zone")
    for name in names.unique().drop_null().to_pylist():
        rows = np.flatnonzero(moments.known & np.asarray(pc.equal(names, name).fill_null(False)))
        if name.upper() in SEVERAL_ZONES:
            clock[rows] = clocks.TWICE
        if not len(rows) or clock[rows].all() or name.upper()[:3] in ("UTC", "GMT", "AM", "PM"):
            continue
        # what its own clock shows
        text = pc.replace_substring(array.take(pa.array(rows)), name, "UTC")
        local = _by_duckdb(text, expression, "UTC", con)[0]
        if LETTERS.fullmatch(name):
            at, before, after = clocks.changes(name)
            place = np.searchsorted(at, moments.micros[rows], side="right")
            winter = np.minimum(np.append(before, after[-1]), np.append(after, after[-1]))[place]
            clock[rows[local - moments.micros[rows] != winter]] = clocks.TWICE
        else:
            clock[rows] = clocks.to_utc(local, name)[1]
    return clock


def _rounded(array: pa.Array, unit: int) -> NDArray[np.bool_]:
    """Which numbers of a `unit` of so many microseconds were rounded to more than a second, as a spreadsheet shows
    them: `1.76761E+12`. With a sign the digits are as many as a format asked for, as in `texts.identity`.
    """
    text = texts.letters(array)
    rounded = np.zeros(len(array), bool)
    if not ((text == ord("e")) | (text == ord("E"))).any():
        return rounded
    for at in np.flatnonzero(_matches(array, SCIENTIFIC)).tolist():
        digits, _, exponent = array[at].as_py().lower().partition("e+")
        lost = int(exponent) - len(digits.partition(".")[2])
        rounded[at] = lost > 0 and 10.0 ** min(lost, 300) * unit > UNITS["s"]
    return rounded


def _placed(micros: NDArray[np.int64], known: NDArray[np.bool_], local: NDArray[np.bool_], timezone: str) -> Times:
    """Times of which the `local` ones are read off a clock in `timezone`."""
    clock = np.zeros(len(micros), np.int8)
    local = local & known
    if timezone != "UTC" and local.any():
        micros[local], clock[local] = clocks.to_utc(micros[local], timezone)
    return Times(micros, known, clock)


def _by_duckdb(
    array: pa.Array, expression: str, timezone: str, con: Any
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Times as if those without a zone were in UTC, which are times at all, and which have no zone."""

    def cast(zone: str) -> pa.Array:
        con.execute(f"SET TimeZone = {_quoted(zone)}")
        table = con.from_arrow(pa.table({"x": array})).select(f"epoch_us({expression}) AS y").to_arrow_table()["y"]
        return table.combine_chunks()

    utc = cast("UTC")
    micros = utc.fill_null(0).to_numpy(zero_copy_only=False).copy()
    if timezone == "UTC":
        return micros, texts.valid(utc), np.zeros(len(array), bool)
    # only a time that names no zone depends on the one that is set
    elsewhere = cast("Etc/GMT+12").fill_null(0).to_numpy(zero_copy_only=False)
    return micros, texts.valid(utc), micros != elsewhere


def _strptime(pattern: str) -> str:
    return f"try_strptime(x, {_quoted(pattern)})::TIMESTAMPTZ"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _usual(array: pa.Array) -> Micros:
    """Values shaped `YYYY-MM-DD[ T]HH:MM:SS[.f…][Z| UTC]`; all others are left unknown."""
    count = len(array)
    micros, known = np.zeros(count, np.int64), np.zeros(count, bool)
    long = texts.lengths(array)
    starts = texts.bounds(array)[:-1]
    text = texts.letters(array)
    for length in range(19, 31):
        rows = np.flatnonzero(long == length)
        if not len(rows):
            continue
        for part in np.array_split(rows, -(-len(rows) // AT_ONCE)):
            micros[part], known[part] = _digits(_shaped(text, starts, part, length))
    return micros, known


def _shaped(
    text: NDArray[np.uint8], starts: NDArray[np.int32], rows: NDArray[np.int64], length: int
) -> NDArray[np.uint8]:
    """The bytes of values of one length: [length, rows]."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    if len(breaks) > 16:
        return np.ascontiguousarray(text[np.arange(length, dtype=np.int32)[:, None] + starts[rows]])
    edges = [0, *breaks.tolist(), len(rows)]
    shaped = np.empty((length, len(rows)), np.uint8)
    for start, stop in pairwise(edges):
        # neighbours among the rows are neighbours in the text
        first = int(starts[rows[start]])
        shaped[:, start:stop] = text[first : first + (stop - start) * length].reshape(-1, length).T
    return shaped


def _digits(shaped: NDArray[np.uint8]) -> Micros:
    """Times of values of one length, given as [length, rows] bytes."""
    length, count = shaped.shape
    if (shaped[-1] == ord("Z")).all():
        length -= 1
    elif length >= 23 and (shaped[-4:] == np.frombuffer(b" UTC", np.uint8)[:, None]).all():
        length -= 4
    fraction = length - 20
    if length != 19 and not 1 <= fraction <= 6:
        return np.zeros(count, np.int64), np.zeros(count, bool)
    known = (shaped[10] == ord(" ")) | (shaped[10] == ord("T"))
    for at, mark in [(4, "-"), (7, "-"), (13, ":"), (16, ":"), *([(19, ".")] if fraction > 0 else [])]:
        known &= shaped[at] == ord(mark)

    def digit(at: int) -> NDArray[np.uint8]:
        nonlocal known
        if at >= length:
            return np.zeros(count, np.uint8)
        value: NDArray[np.uint8] = shaped[at] - np.uint8(48)
        known &= value <= 9
        return value

    def pair(at: int) -> NDArray[np.uint8]:
        return digit(at) * np.uint8(10) + digit(at + 1)

    month, day, hour, minute, second = (pair(at) for at in (5, 8, 11, 14, 17))
    year = pair(0).astype(np.int32) * 100 + pair(2)
    micros = (pair(20).astype(np.int32) * 100 + pair(22)) * 100 + pair(24) if fraction > 0 else np.int32(0)
    known &= (month >= 1) & (month <= 12) & (day >= 1) & (hour < 24) & (minute < 60) & (second < 60) & (year >= 1)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    known &= day <= DAYS[np.where(known, month, 0)] + (leap & (month == 2))
    # days since 1970-01-01 in the Gregorian calendar: years are counted from March, so that the leap day is the last
    march = year - (month <= 2)
    century = march // 100
    months = (153 * ((month.astype(np.int32) + 9) % 12) + 2) // 5
    since = 365 * march + march // 4 - century + century // 4 + months + day - 719_469
    seconds = (hour.astype(np.int32) * 60 + minute) * 60 + second
    return (since.astype(np.int64) * 86_400 + seconds) * 1_000_000 + micros, known
