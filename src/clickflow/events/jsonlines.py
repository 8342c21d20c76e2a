"""JSON lines: an object a line, or (nested layouts) an object with a list of events a line; and JSON arrays of them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from clickflow.events.contract import IDENTITIES
from clickflow.events.fields import MOST, exploded, getter, read
from clickflow.events.json_arrays import read_elements
from clickflow.events.rows import ORDINAL_BITS, Refused, Rows, position_of
from clickflow.events.storage import PLAIN, Storage
from clickflow.events.text_blocks import BLOCK, TextBlock, is_text, read_blocks
from clickflow.events.texts import EXACT

BATCH = 200
"""Events whose columns are made at once: few enough that Python does not look among them for rubbish."""
PLAIN_FLOAT = 1e-3
"""From here on up to `EXACT` no writer of JSON gives a number an exponent."""
TEXTS = frozenset((str, type(None)))
DEEPEST = 200
"""Levels that every parser and writer takes."""
SHALLOW = 2 * DEEPEST
"""Bytes; a shorter line has no room for the brackets of a deeper nest."""
SPACED = re.compile(rb'"[ \t\r]+:')
KEY = re.compile(rb'"[ \t\r\n]*:')
"""The end of a key; or what looks like it within a text, in which it stands in any writing of the value."""
BY_NUMBER = re.compile(rb"\\u00(?:22|3[aA])")
QUOTE, COLON, NEWLINE = b'":\n'
SPACES = np.frombuffer(b" \t\r", np.uint8)


@dataclass(frozen=True)
class JsonLines:
    """A file of JSON lines."""

    path: Path
    wanted: Mapping[str, str]
    """Canonical column: field, or a path (see `fields`)."""
    nested: str
    """The path of the list that holds the events of a line; empty: the line is the event."""
    skip: int = 0
    storage: Storage = PLAIN
    decimal: str = "."
    array: bool = False
    """The file is one array; its elements are the lines."""

    def blocks(self, size: int = BLOCK) -> Iterator[TextBlock]:
        """The file's lines, in blocks."""
        if self.array:
            return read_elements(self.path, self.skip, size, self.storage)
        return read_blocks(self.path, self.skip, 1, delimiter=b"", quoting=False, size=size, storage=self.storage)

    def parse(self, block: TextBlock) -> Rows:
        """The rows of a block."""
        return parse(block, self.wanted, self.nested, self.decimal)

    def raw_at(self, block: TextBlock, positions: NDArray[np.int64]) -> list[str]:
        """The exact text of rows of a block: the line, or in a nested layout the event as an object of its own."""
        lines = block.data.split(b"\n")
        texts = []
        for position in positions.tolist():
            line = lines[(position >> ORDINAL_BITS) - block.line].removesuffix(b"\r")
            if self.nested:
                # the standard parser keeps the digits of any whole number
                event = exploded(json.loads(line), self.nested)[position & (1 << ORDINAL_BITS) - 1]
                line = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
            texts.append(line.decode())
        return texts


def parse(block: TextBlock, wanted: Mapping[str, str], nested: str, decimal: str = ".") -> Rows:
    """The rows of a block of JSON lines. A price or quantity that is a number gets `decimal`, as one in text has."""
    refused = Refused()
    positions: list[int] = []
    columns: dict[str, list[str | None]] = {name: [] for name in wanted}
    batch: list[tuple[dict[str, Any], bytes, int]] = []
    blank = 0
    lines = block.data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    key_ends, spaced = _key_ends(block.data, len(lines))
    for number, line in enumerate(lines, block.line):
        line = line.removesuffix(b"\r")
        if not line or line.isspace():
            blank += 1
            continue
        reason = ""
        events: Any = None
        try:
            value = loaded(line)
        except ValueError:
            reason = "broken_encoding" if b"\0" in line or not is_text(line) else "bad_json"
        else:
            deep = len(line) >= SHALLOW and too_deep(line, value)
            events = [] if deep else [value] if type(value) is dict and not nested else exploded(value, nested)
            reason = "" if 0 < len(events) <= MOST else "bad_json"
            # where no text looks like the end of a key there are as many ends of keys as keys
            if not reason and (
                spaced or ((ends := key_ends[number - block.line]) != len(value) and ends != _keys(value))
            ):
                twice = _key_twice(line, value, spaced=spaced) and _differ(line, wanted, nested)
                reason = "double_key" if twice else ""
        if reason:
            raw = block.escaped(line) if reason == "broken_encoding" else line.decode()
            refused.add(position_of(number), reason, raw)
            continue
        for ordinal, event in enumerate(events):
            positions.append(position_of(number, ordinal))
            batch.append((event, line, ordinal))
        if len(batch) >= BATCH:
            _add(columns, batch, wanted, nested, decimal)
            batch = []
    _add(columns, batch, wanted, nested, decimal)

    table = pa.table({name: pa.array(column, pa.string()) for name, column in columns.items()})
    return Rows(table, np.array(positions, np.int64), refused, blank)


def _add(
    columns: dict[str, list[str | None]],
    batch: list[tuple[dict[str, Any], bytes, int]],
    wanted: Mapping[str, str],
    nested: str,
    decimal: str,
) -> None:
    """The texts of some events, each with its line and its number in it, at the ends of their columns."""
    events = [event for event, _, _ in batch]
    for name, field in wanted.items():
        values = read(events, field)
        if not TEXTS.issuperset(map(type, values)):
            mark = decimal != "." and name in ("price", "quantity")
            precise = name in IDENTITIES
            for at, value in enumerate(values):
                if value is None or type(value) is str:
                    continue
                if type(value) is float:
                    _, line, ordinal = batch[at]
                    if abs(value) >= EXACT or (precise and (not value.is_integer() or b"e+" in line.lower())):
                        value = getter(field)(exploded(_exact(line), nested)[ordinal])
                text = as_text(value)
                values[at] = text.replace(".", decimal) if mark and text and type(value) is float else text
        columns[name] += values


def _key_ends(data: bytes, lines: int) -> tuple[list[int], bool]:
    """How often a quote and a colon stand together in each of some lines; whether white space stands between some."""
    text = np.frombuffer(data, np.uint8)
    colons = np.flatnonzero(text == COLON)
    before = text[np.maximum(colons - 1, 0)]
    newlines = np.append(np.flatnonzero(text == NEWLINE), len(data))[:lines]
    counts = np.diff(np.searchsorted(colons[before == QUOTE], newlines), prepend=0).tolist()
    return counts, bool(np.isin(before, SPACES).any()) and SPACED.search(data) is not None


def _keys(value: dict[str, Any]) -> int:
    """How many keys an object has, with those of all objects in it."""
    count = len(value)
    for inner in value.values():
        if type(inner) is dict:
            count += _keys(inner)
        elif type(inner) is list:
            count += _keys(dict(enumerate(inner))) - len(inner)  # type: ignore[arg-type]
    return count


def _key_twice(line: bytes, value: Any, *, spaced: bool) -> bool:
    """Whether an object of a line may have a key twice: there are other keys in the text than in its value; `spaced`:
    white space may stand before its colons.
    """
    # a quote or colon that is written by its number becomes what the end of a key looks like
    if BY_NUMBER.search(line):
        return True
    try:
        plain = orjson.dumps(value)
    except TypeError:  # a whole number of more than 64 bits
        return True
    if spaced:
        return len(KEY.findall(line)) != len(KEY.findall(plain))
    return line.count(b'":') != plain.count(b'":')


class _Both(dict[str, Any]):
    """What a key has that stands twice with two values; whatever lies in it is so too. It is read as the last of them,
    and written so.
    """

    def __init__(self, last: Any) -> None:
        super().__init__()
        self.last = last

    def get(self, _name: str, _default: Any = None) -> Any:
        return self

    def __contains__(self, _name: object) -> bool:
        return True

    def __getitem__(self, _name: str) -> Any:
        return self

    def values(self) -> Any:
        return [self]

    def __repr__(self) -> str:
        return repr(self.last)


def _both(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for key, value in pairs:
        record[key] = value if key not in record or _same(record[key], value) else _Both(value)
    return record


def _same(one: Any, other: Any) -> bool:
    """Whether two values are written alike: 1 and `true`, which are equal to Python, are not."""
    return type(one) is not _Both and repr(one) == repr(other)


def _differ(line: bytes, wanted: Mapping[str, str], nested: str) -> bool:
    """Whether an event of a line would be another one by the first of two values of a key than by the last."""
    value = json.loads(line, object_pairs_hook=_both)
    if nested and type(getter(nested)(value)) is _Both:
        return True
    return any(type(getter(field)(event)) is _Both for event in exploded(value, nested) for field in wanted.values())


def loaded(line: bytes) -> Any:
    """The value of a line. `NaN`, which is how pandas writes that there is nothing, is null; an infinity its name.

    Raises ValueError where it is no JSON.
    """
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        if b"NaN" not in line and b"Infinity" not in line:
            raise
        try:
            return json.loads(line.decode(), parse_constant=lambda name: None if name == "NaN" else name)
        except RecursionError:
            raise ValueError from None


def too_deep(line: bytes, value: Any) -> bool:
    """Whether a value is nested deeper than the writer of JSON goes, which no event is."""
    if line.count(b"[") + line.count(b"{") < DEEPEST:
        return False
    try:
        orjson.dumps(value)
    except TypeError:
        return True
    return False


def as_text(value: Any) -> str | None:
    """A JSON value as the text a CSV file would hold: whole floats without a point, structures as JSON."""
    if value is None or type(value) is str:
        return value
    if type(value) is float:
        if value.is_integer() and abs(value) < EXACT:
            return str(int(value))
        # where neither writes an exponent both write the same, orjson in half the time
        return repr(value) if not PLAIN_FLOAT <= abs(value) < EXACT else orjson.dumps(value).decode()
    return orjson.dumps(value).decode()


def _exact(line: bytes) -> Any:
    """A line with its numbers as they are written, however long; the fast parser rounds them."""
    return json.loads(line, parse_int=str, parse_float=str)
