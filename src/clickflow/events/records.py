"""Where the records of a delimited text begin and end (RFC 4180), also in text that breaks the rules.

A quote opens a quoted field only at the field's start; there it ends at a single quote that is followed by the
delimiter or the line's end. Lines that plainly keep to this are left to the fast parser. Every other line is *odd* and
is read here, one at a time. A quoted field may run over line ends, but only so far: what does not end within
`MAX_LINES` lines and `MAX_BYTES` bytes is one bad line, and reading goes on with the next. So a stray quote costs one
row, not the rest of the file, wherever the blocks of a file happen to be cut.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_LINES = 100
MAX_BYTES = 1 << 20

QUOTE, NEWLINE, RETURN = 34, 10, 13


@dataclass(frozen=True)
class Odd:
    """A record that the fast parser must not see: byte range, lines, and fields (None: a quote that never ends)."""

    start: int
    end: int
    first: int
    lines: int
    fields: tuple[bytes, ...] | None


def line_bounds(data: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and end (without the newline) of every line of `data`; a last line without newline counts."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == NEWLINE)
    if data and not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    starts = np.empty_like(ends)
    if len(ends):
        starts[0] = 0
        starts[1:] = ends[:-1] + 1
    return starts, ends


def find_odd(data: bytes, delimiter: bytes, final: bool) -> tuple[list[Odd], int]:
    """The odd records of `data`, and where to cut it: nothing from there on can be decided without more text.

    `data` begins with a record; where not `final` it ends with a newline.
    """
    starts, ends = line_bounds(data)
    suspects = _suspects(data, delimiter[0], starts, ends)
    odd: list[Odd] = []
    covered = -1
    for line in suspects.tolist():
        if line <= covered:
            continue
        start = int(starts[line])
        last = min(line + MAX_LINES - 1, len(ends) - 1)
        limit = min(int(ends[last]), start + MAX_BYTES)
        fields, end = split_record(data, start, delimiter, limit)
        if fields is None:
            undecided = last == len(ends) - 1 and limit == int(ends[last]) and end < 0
            if undecided and not final:
                return odd, start
            odd.append(Odd(start, int(ends[line]), line, 1, None))
            covered = line
        else:
            lines = int(np.searchsorted(ends, end)) - line + 1
            odd.append(Odd(start, end, line, lines, tuple(fields)))
            covered = line + lines - 1
    return odd, len(data)


def split_record(data: bytes, start: int, delimiter: bytes, limit: int) -> tuple[list[bytes] | None, int]:
    """The fields of the record at `start`, and where it ends (before its newline).

    Fields are None where a quoted field breaks the rules; the end is then -1 if it only had not ended by `limit`.
    """
    fields: list[bytes] = []
    at, end = start, -1
    while True:
        if data[at : at + 1] == b'"':
            close = at + 1
            while True:
                close = data.find(b'"', close, limit)
                if close < 0:
                    return None, -1
                if data[close + 1 : close + 2] != b'"':
                    break
                close += 2
            fields.append(data[at + 1 : close].replace(b'""', b'"'))
            at = close + 1
            if data[at : at + 1] == delimiter:
                at += 1
                continue
            if at == len(data) or data[at : at + 1] == b"\n":
                return fields, at
            if data[at : at + 1] == b"\r" and data[at + 1 : at + 2] in (b"\n", b""):
                return fields, at + 1
            return None, at
        if end < at:  # looked for once a line, not once a field
            end = data.find(b"\n", at)
            end = len(data) if end < 0 else end
        stop = data.find(delimiter, at, end)
        if stop < 0:
            fields.append(data[at:end].removesuffix(b"\r"))
            return fields, end
        fields.append(data[at:stop])
        at = stop + 1


def _suspects(data: bytes, delimiter: int, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Lines with quotes that are not plainly well formed on their own."""
    text = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(text == QUOTE)
    if not len(quotes):
        return quotes
    line = np.searchsorted(ends, quotes)
    first = np.searchsorted(quotes, starts[line])
    opening = (np.arange(len(quotes)) - first) % 2 == 0
    before = text[np.maximum(quotes - 1, 0)]
    after = text[np.minimum(quotes + 1, len(text) - 1)]
    at_start = quotes == starts[line]
    width = ends[line] - quotes
    at_end = (width == 1) | ((width == 2) & (after == RETURN))
    well = np.where(
        opening,
        at_start | (before == delimiter) | (before == QUOTE),
        at_end | (after == delimiter) | (after == QUOTE),
    )
    counts = np.bincount(line, minlength=len(ends))
    bad = np.zeros(len(ends), bool)
    bad[line[~well]] = True
    bad |= counts % 2 == 1
    return np.flatnonzero(bad)
