"""CSV, TSV and their like: blocks of bytes to columns of text, with the line and the exact text of every row.

pyarrow reads the lines that keep to the rules. What it would read wrongly, or not at all (quotes that break the rules,
fields over several lines, lone carriage returns, NULs, bytes that are not UTF-8, blank lines), is cut out before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
from numpy.typing import NDArray

from clickflow.events.records import NEWLINE, RETURN, Odd, split_record
from clickflow.events.rows import ORDINAL_BITS, Refused, Rows, lines_of, position_of
from clickflow.events.storage import BOM, PART, PLAIN, Storage
from clickflow.events.text_blocks import BLOCK, TextBlock, is_text, read_blocks


@dataclass(frozen=True)
class Delimited:
    """A delimited file, known as far as its header."""

    path: Path
    names: tuple[str, ...]
    """The file's columns."""
    wanted: Mapping[str, int]
    """Canonical column: index of the file's column."""
    delimiter: bytes
    quoting: bool
    skip: int
    """Bytes before the first row."""
    line: int
    """The first row's line."""
    storage: Storage = PLAIN

    def blocks(self, size: int = BLOCK) -> Iterator[TextBlock]:
        """The file's rows, in blocks."""
        return read_blocks(
            self.path,
            self.skip,
            self.line,
            delimiter=self.delimiter,
            quoting=self.quoting,
            size=size,
            storage=self.storage,
        )

    def parse(self, block: TextBlock) -> Rows:
        """The rows of a block."""
        rows = parse(block, self.delimiter, self.quoting, len(self.names), self.wanted)
        rows.refused.raws[:] = map(self._as_written, rows.refused.raws)
        return rows

    def _as_written(self, raw: str) -> str:
        """The text of a row with the delimiter that the file has."""
        return raw.replace(PART.decode(), self.storage.parted.decode()) if self.storage.parted else raw

    def raw_at(self, block: TextBlock, positions: NDArray[np.int64]) -> list[str]:
        """The exact text of rows of a block, which are UTF-8."""
        starts, ends = block.bounds
        spans = {odd.first: odd.end for odd in block.odd}
        return [
            self._as_written(_line(block.data, int(starts[line]), spans.get(line, int(ends[line]))).decode())
            for line in (lines_of(positions) - block.line).tolist()
        ]


def parse(block: TextBlock, delimiter: bytes, quoting: bool, width: int, wanted: Mapping[str, int]) -> Rows:
    """The rows of a block whose lines have `width` columns."""
    refused = Refused()
    cut = _cut(block, delimiter, quoting, width, refused)
    table, lines = _fast(block, cut, delimiter, quoting, width, wanted, refused)
    if cut.fields:
        extra = {
            name: pa.array([fields[at].decode() for fields in cut.fields], pa.string()) for name, at in wanted.items()
        }
        table = pa.concat_tables([table, pa.table(extra, schema=table.schema)])
        lines = np.concatenate([lines, np.array(cut.lines, np.int64)])
    return Rows(table, (lines + block.line) << ORDINAL_BITS, refused, cut.blank)


@dataclass(frozen=True)
class _Cut:
    """What was taken out of a block: which lines, and the rows found in them by hand."""

    mask: NDArray[np.bool_] | None
    lines: list[int]
    fields: list[Sequence[bytes]]
    blank: int


def _line(data: bytes, start: int, end: int) -> bytes:
    """A line or record without its end."""
    return data[start:end].removesuffix(b"\r")


def _cut(block: TextBlock, delimiter: bytes, quoting: bool, width: int, refused: Refused) -> _Cut:
    """Take out the records that pyarrow must not see, and read them."""
    data = block.data
    suspects, empty = _suspects(block)
    if not len(suspects) and not len(empty) and not block.odd:
        return _Cut(None, [], [], 0)
    starts, ends = block.bounds
    mask = np.zeros(len(ends), bool)
    for odd in block.odd:
        mask[odd.first : odd.first + odd.lines] = True
    empty = empty[~mask[empty]]
    mask[empty] = True
    todo = list(block.odd)
    for index in np.unique(np.searchsorted(ends, suspects)).tolist():
        if not mask[index]:
            start, end = int(starts[index]), int(ends[index])
            fields = split_record(data, start, delimiter, end)[0] if quoting else None
            fields = _line(data, start, end).split(delimiter) if fields is None else fields
            todo.append(Odd(start, end, index, 1, tuple(fields)))
            mask[index] = True
    lines: list[int] = []
    rows: list[Sequence[bytes]] = []
    for odd in sorted(todo, key=lambda odd: odd.first):
        text = _line(data, odd.start, odd.end)
        position = position_of(block.line + odd.first)
        if b"\0" in text or not is_text(text):
            refused.add(position, "broken_encoding", block.escaped(text))
        elif odd.fields is None:
            refused.add(position, "bad_quotes", text.decode())
        elif len(odd.fields) != width:
            last = block.final and odd.first + odd.lines == len(ends)
            short = len(odd.fields) < width
            refused.add(position, "truncated" if last and short else "wrong_columns", text.decode())
        else:
            lines.append(odd.first)
            rows.append(odd.fields)
    return _Cut(mask, lines, rows, len(empty))


def _suspects(block: TextBlock) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Offsets on the lines that pyarrow would read wrongly: NULs, bytes that are not UTF-8, carriage returns that end
    no line, byte order marks at a line's start; and the lines that hold nothing at all.
    """
    data = block.data
    codes = np.frombuffer(data, np.uint8)
    starts, ends = block.bounds
    first = codes[starts]
    blank = (ends == starts) | ((ends - starts == 1) & (first == RETURN))
    suspects = [np.zeros(0, np.int64)]
    if b"\0" in data:
        suspects.append(np.flatnonzero(codes == 0))
    if not data.isascii():
        marked = starts[first == BOM[0]]
        suspects.append(marked[[data.startswith(BOM, place) for place in marked.tolist()]])
        foreign = np.unique(np.searchsorted(ends, np.flatnonzero(codes >= 128)))
        if 2 * len(foreign) < len(ends) or not is_text(data):
            bad = [line for line in foreign.tolist() if not is_text(data[int(starts[line]) : int(ends[line])])]
            suspects.append(starts[bad])
    if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
        returns = np.flatnonzero(codes == RETURN)
        suspects.append(returns[np.append(codes, NEWLINE)[returns + 1] != NEWLINE])
    return np.concatenate(suspects), np.flatnonzero(blank)


def _fast(
    block: TextBlock,
    cut: _Cut,
    delimiter: bytes,
    quoting: bool,
    width: int,
    wanted: Mapping[str, int],
    refused: Refused,
) -> tuple[pa.Table, NDArray[np.int64]]:
    """The lines that were not cut out, read by pyarrow, and their indices in the block."""
    columns = sorted(set(wanted.values()))
    schema = pa.schema([(name, pa.string()) for name in wanted])
    data = block.data
    kept: NDArray[np.int64] | None = None
    if cut.mask is not None:
        kept = np.flatnonzero(~cut.mask)
        data = _without(block, cut.mask)
    if not data:
        return schema.empty_table(), np.zeros(0, np.int64)
    bad: list[tuple[int, bool]] = []

    def skip(row: csv.InvalidRow) -> str:
        bad.append((row.number - 1, row.actual_columns < row.expected_columns))
        return "skip"

    table = csv.read_csv(
        pa.BufferReader(data),
        read_options=csv.ReadOptions(
            use_threads=False, column_names=[str(at) for at in range(width)], block_size=len(data) + 64
        ),
        parse_options=csv.ParseOptions(
            delimiter=delimiter.decode(),
            quote_char='"' if quoting else False,
            invalid_row_handler=skip,
            ignore_empty_lines=False,
        ),
        convert_options=csv.ConvertOptions(
            include_columns=[str(at) for at in columns],
            column_types={str(at): pa.string() for at in columns},
            strings_can_be_null=False,
            check_utf8=False,
        ),
    )
    rows = table.num_rows + len(bad)
    lines = np.arange(rows) if kept is None else kept
    if bad:
        starts, ends = block.bounds
        for index, short in bad:
            line = int(lines[index])
            last = block.final and line == len(ends) - 1
            reason = "truncated" if last and short else "wrong_columns"
            raw = _line(block.data, int(starts[line]), int(ends[line])).decode()
            refused.add(position_of(block.line + line), reason, raw)
        lines = np.delete(lines, [index for index, _ in bad])
    return pa.table({name: table[str(at)] for name, at in wanted.items()}, schema=schema), lines


def _without(block: TextBlock, mask: NDArray[np.bool_]) -> bytes:
    """The bytes of a block without the lines of `mask`."""
    data, (starts, _) = block.data, block.bounds
    edges = np.flatnonzero(np.diff(np.concatenate([[True], mask, [True]]).astype(np.int8)))
    stops = np.append(starts, len(data))
    return b"".join(data[int(stops[a]) : int(stops[b])] for a, b in edges.reshape(-1, 2).tolist())
