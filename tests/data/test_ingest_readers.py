"""Raw text to rows: every byte of a file is in exactly one row, wherever the blocks are cut."""

import csv
import gzip
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clickflow.events.delimited import Delimited
from clickflow.events.jsonlines import JsonLines, parse
from clickflow.events.rows import escaped, lines_of, reasons_of, unescaped
from clickflow.events.storage import packing_of
from clickflow.events.text_blocks import TextBlock

COLUMNS = ("a", "b", "c")

CSV_PIECES = b"""
1,2,3|x,y,z\r|"a","b","c"|"a
b",2,3|"a""b",2,3|5" pipe,2,3|"|a,b|1,2,3,4|"open,2,3|1,"2"x,3|"" "quoted" ,2,"|,,|"",,
""".strip().split(b"|")
JSON_PIECES = [b'{"a":1,"b":"2","c":null}', b'{"a":1}', b"{}", b"[1]", b'"s"', b'{"a":"\\u0000"}', b'{"a":1e400}']
BYTES = [b'"', b",", b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xc3\xa9", b"\xef\xbb\xbf", b" ", b"1", b"\t", b'""']
PIECES = st.sampled_from([piece + b"\n" for piece in CSV_PIECES + JSON_PIECES] + BYTES)
FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8)
# a file that begins like a packed one is one, and has an error of its own where it cannot be unpacked
HOSTILE = st.one_of(st.lists(PIECES, max_size=40).map(b"".join), st.binary(max_size=200)).filter(
    lambda data: packing_of(data) is None
)


def collect(
    reader: Any, size: int
) -> tuple[dict[int, tuple[Any, ...]], dict[int, tuple[str, str]], int, dict[int, str]]:
    """Rows and refusals by position, blank lines, and the raw text of rows."""
    rows: dict[int, tuple[Any, ...]] = {}
    refused: dict[int, tuple[str, str]] = {}
    raws: dict[int, str] = {}
    blank = 0
    for block in reader.blocks(size):
        parsed = reader.parse(block)
        columns = [column.to_pylist() for column in parsed.table.columns]
        rows |= dict(zip(parsed.positions.tolist(), zip(*columns, strict=True), strict=True))
        raws |= dict(zip(parsed.positions.tolist(), reader.raw_at(block, parsed.positions), strict=True))
        given = parsed.refused
        refused |= {p: (reasons_of(m)[0], r) for p, m, r in zip(given.positions, given.masks, given.raws, strict=True)}
        blank += parsed.blank
        assert parsed.read == len(parsed.positions) + len(given.positions)
    assert not rows.keys() & refused.keys()
    return rows, refused, blank, raws


def delimited(path: Path, delimiter: bytes = b",", quoting: bool = True) -> Delimited:
    return Delimited(path, COLUMNS, {name: at for at, name in enumerate(COLUMNS)}, delimiter, quoting, 0, 1)


@pytest.mark.parametrize(("delimiter", "quoting"), [(b",", True), (b"\t", False), (b";", True)])
@pytest.mark.parametrize("packed", [False, True])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=HOSTILE, size=st.integers(1, 64))
def test_delimited_text_in_any_blocks(
    tmp_path: Path, delimiter: bytes, quoting: bool, packed: bool, data: bytes, size: int
) -> None:
    if delimiter != b",":
        data = data.replace(b",", delimiter)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(data) if packed else data)
    reader = delimited(path, delimiter, quoting)
    whole = collect(reader, 1 << 20)
    assert collect(reader, size) == whole
    rows, refused, blank, raws = whole
    # every line of the file is a row, a part of one, or blank; and the texts of the rows are the file
    texts = {p >> 20: text.encode() for p, text in raws.items()}
    for position, (reason, text) in refused.items():
        texts[position >> 20] = unescaped(text) if reason == "broken_encoding" else text.encode()
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    number, empty = 1, 0
    while number <= len(lines):
        if number in texts:
            span = texts[number].count(b"\n") + 1
            assert b"\n".join(lines[number - 1 : number - 1 + span]).removesuffix(b"\r") == texts[number]
            number += span
        else:
            assert lines[number - 1] in (b"", b"\r")
            empty += 1
            number += 1
    assert empty == blank
    assert len(texts) == len(rows) + len(refused)


@settings(max_examples=200, deadline=None)
@given(
    table=st.lists(st.lists(FIELD, min_size=3, max_size=3), min_size=1, max_size=20),
    crlf=st.booleans(),
    quote_all=st.booleans(),
)
def test_what_a_csv_writer_writes_is_read_back(table: list[list[str]], crlf: bool, quote_all: bool) -> None:
    text = io.StringIO(newline="")
    how = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator="\r\n" if crlf else "\n", quoting=how).writerows(table)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(text.getvalue().encode())
        rows, refused, _, _ = collect(delimited(path), 16)
    assert not refused
    assert [rows[position] for position in sorted(rows)] == [tuple(fields) for fields in table]


@pytest.mark.parametrize("packed", [False, True])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=HOSTILE, size=st.integers(1, 64))
def test_json_lines_in_any_blocks(tmp_path: Path, packed: bool, data: bytes, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(data) if packed else data)
    reader = JsonLines(path, {"a": "a", "b": "b", "c": "c.d"}, "")
    whole = collect(reader, 1 << 20)
    assert collect(reader, size) == whole
    rows, refused, blank, raws = whole
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    assert len(rows) + len(refused) + blank == len(lines)
    for position, (reason, text) in refused.items():
        raw = unescaped(text) if reason == "broken_encoding" else text.encode()
        assert raw == lines[(position >> 20) - 1].removesuffix(b"\r")
    for position, raw_text in raws.items():
        assert raw_text.encode() == lines[(position >> 20) - 1].removesuffix(b"\r")


def test_a_stray_quote_costs_one_row(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b'1,2,3\n"open,2,3\n' + b"4,5,6\n" * 500)
    rows, refused, _, _ = collect(delimited(path), 64)
    assert len(rows) == 501
    assert refused == {2 << 20: ("bad_quotes", '"open,2,3')}


def test_a_field_over_many_lines_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b'1,"' + b"line\n" * 99 + b'end",3\n4,5,6\n')
    rows, refused, _, _ = collect(delimited(path), 64)
    assert not refused
    assert [(position >> 20, len(fields[1])) for position, fields in sorted(rows.items())] == [(1, 498), (101, 1)]


@given(data=st.binary())
def test_escaped_bytes_can_be_had_back(data: bytes) -> None:
    assert unescaped(escaped(data)) == data


def test_lines_of_positions() -> None:
    import numpy as np

    assert lines_of(np.array([5 << 20 | 3])).tolist() == [5]


def _written(pairs: list[tuple[str, Any]], draw: st.DrawFn) -> str:
    """An object as some program writes it: white space where it may stand, signs by their numbers."""
    space = st.sampled_from(["", "", "", " ", "\t", " \t", "\r"])

    def value_of(value: Any) -> str:
        if isinstance(value, list):
            return _written(value, draw)
        text = json.dumps(value)
        return text if "\\\\" in text or draw(st.booleans()) else text.replace(chr(92) + chr(34), "\\u0022")

    return "{" + ",".join(f"{json.dumps(key)}{draw(space)}:{draw(space)}{value_of(v)}" for key, v in pairs) + "}"


@st.composite
def _objects_with_doubles(draw: st.DrawFn) -> tuple[str, bool]:
    """A line, and whether a key that is wanted stands in it twice with two values."""
    texts = st.sampled_from(['":', 'a":b', '" :', "\\", '\\":', "plain", ":", "{", "Ü", 7, 1.5, 1, True, None])
    keys = st.sampled_from(["a", "b", "c", '":', "x"])
    inner = st.lists(st.tuples(st.sampled_from(["y", "z"]), texts), max_size=3)
    pairs = draw(st.lists(st.tuples(keys, texts | inner), max_size=6))
    if draw(st.booleans()) and pairs:
        pairs.append(draw(st.sampled_from(pairs)))
    # of inner objects as they are read: the last of a key's values
    plain = [(key, dict(value) if isinstance(value, list) else value) for key, value in pairs]
    return _written(pairs, draw), any(
        one[0] == other[0] and json.dumps(one[1]) != json.dumps(other[1])
        for one in plain
        for other in plain
        if one[0] in "ab"
    )


@example([('{"a":{"z":1,"y":"\\u0022:"},"a":{"z":2,"y":"\\u0022:","z":1}}', False)], "\n", False)
@example([('{"a":{"z":1,"z":2},"a":{"z":1,"z":3}}', True)], "\n", False)
@given(
    st.lists(st.one_of(_objects_with_doubles(), st.just(("", False)), st.just((':"', False))), max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_a_key_that_stands_twice_is_seen_in_any_writing(lines: list[tuple[str, bool]], end: str, closed: bool) -> None:
    """Quotes within texts, quotes by their number, inner objects, white space before colons, lines that are no JSON."""
    data = end.join(line for line, _ in lines) + (end if closed else "")
    block = TextBlock(data.encode(), 1, len(lines) + 1, (), True, len(data))
    rows = parse(block, {"item_id": "a", "user_id": "b"}, "")
    places = lines_of(np.array(rows.refused.positions, np.int64)).tolist()
    refused = dict(zip(places, map(reasons_of, rows.refused.masks), strict=True))
    for number, (line, twice) in enumerate(lines, 1):
        if line.startswith("{"):
            assert (refused.get(number) == ["double_key"]) == twice, line
