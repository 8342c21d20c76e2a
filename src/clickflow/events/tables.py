"""Parquet files (and the snapshots of SQL tables): typed columns, a row's exact text is its JSON."""

import datetime
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clickflow.events import fields, structs, texts
from clickflow.events.rows import ORDINAL_BITS, Refused, Rows, lines_of, position_of
from clickflow.events.scalars import listed
from clickflow.events.storage import UNTOUCHED
from clickflow.system.errors import DataError
from clickflow.system.faults import without_values

ROWS = 131_072

LIMITS = {pa.float16(): 2.0**11, pa.float32(): 2.0**24, pa.float64(): float(texts.EXACT)}
"""From here on a whole number of the type may have been another one."""


@dataclass(frozen=True)
class TableBlock:
    """Some rows of a Parquet file, the first one's number (1-based), and about how far the file is read (bytes)."""

    batch: pa.RecordBatch
    line: int
    consumed: int

    @property
    def stop(self) -> int:
        """The number of the row after the last."""
        return self.line + int(self.batch.num_rows)


@dataclass(frozen=True)
class Table:
    """A Parquet file."""

    path: Path
    wanted: Mapping[str, str]
    """Canonical column: the file's column, or a path (see `fields`)."""
    nested: str = ""
    """The path of the list whose elements are rows of their own; empty: none."""
    rows: int = ROWS

    def blocks(self, size: int = 0) -> Iterator[TableBlock]:
        """The file's rows, in blocks; `size` is there for the sake of the other readers."""
        del size
        line = 1
        with pq.ParquetFile(self.path) as file:
            total = max(1, file.metadata.num_rows)
            length = self.path.stat().st_size
            try:
                for batch in file.iter_batches(self.rows):
                    yield TableBlock(batch, line, length * (line - 1 + batch.num_rows) // total)
                    line += batch.num_rows
            except (pa.ArrowException, OSError) as error:
                raise _damaged(self.path, line, str(error)) from error
            if line - 1 != file.metadata.num_rows:
                raise _damaged(self.path, line, f"its end says that there are {file.metadata.num_rows:,}")

    def parse(self, block: TableBlock) -> Rows:
        """The rows of a block."""
        batch, refused = block.batch, Refused()
        rows = structs.explode(batch, self.nested, _text)
        positions = (rows.row + block.line) << ORDINAL_BITS | rows.ordinal
        long = np.unique(rows.row[rows.ordinal >= fields.MOST])
        if len(long):
            for row, raw in zip(long.tolist(), _raws(batch, long), strict=True):
                refused.add(position_of(block.line + row), "bad_json", raw)
        broken = np.zeros(len(rows.row), bool)
        columns = {}
        for name, field in self.wanted.items():
            value = structs.value_at(batch, field, rows, _text)
            columns[name], bad = _column(value, keep=_typed(name, value.type))
            broken |= bad
        table = pa.table(columns)
        broken &= ~np.isin(rows.row, long)
        if broken.any():
            at = positions[broken]
            for position, raw in zip(at.tolist(), self.raw_at(block, at), strict=True):
                refused.add(position, "broken_encoding", raw.replace("\\", "\\\\"))
        keep = np.flatnonzero(~broken & ~np.isin(rows.row, long))
        if len(keep) < len(rows.row):
            table = table.take(pa.array(keep))
        return Rows(table, positions[keep], refused)

    def raw_at(self, block: TableBlock, positions: NDArray[np.int64]) -> list[str]:
        """Rows of a block as JSON, with all columns of the file."""
        lines = lines_of(positions) - block.line
        if not self.nested:
            return _raws(block.batch, lines)
        ordinals = (positions & (1 << ORDINAL_BITS) - 1).tolist()
        rows = _rows(block.batch, lines)
        return [_json(fields.exploded(row, self.nested)[at]) for row, at in zip(rows, ordinals, strict=True)]

    @property
    def clock(self) -> bool:
        """Whether the file's times are times by themselves."""
        schema = pq.read_schema(self.path)
        batch = pa.RecordBatch.from_arrays([pa.nulls(0, kind) for kind in schema.types], schema=schema)
        return is_clock(
            structs.value_at(batch, self.wanted["event_time"], structs.explode(batch, self.nested, _text), _text).type
        )


def _damaged(path: Path, line: int, why: str) -> DataError:
    return DataError(
        f"{path}: cannot be read beyond row {line - 1} ({without_values(why)})",
        kept=UNTOUCHED,
        next_step="fetch or write the file again",
    )


def is_clock(kind: pa.DataType) -> bool:
    """Whether values of this type are times by themselves."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _typed(name: str, kind: pa.DataType) -> bool:
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return (name == "event_time" and is_clock(kind)) or (name in ("price", "quantity") and number)


def _column(array: pa.Array, *, keep: bool) -> tuple[pa.Array, NDArray[np.bool_]]:
    """A column as text, or as it is where `keep`; and which values are bytes but no text."""
    fine = np.zeros(len(array), bool)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if isinstance(array.type, pa.UuidType):
        return pa.array([None if value is None else str(value) for value in listed(array)], pa.string()), fine
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    if keep:
        return array, fine
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        try:
            array.validate(full=True)
            return array.cast(pa.string()), fine
        except pa.ArrowInvalid:
            array = array.cast(pa.large_binary() if pa.types.is_large_string(kind) else pa.binary())
            kind = array.type
    if pa.types.is_floating(kind):
        return _floats(array), fine
    if pa.types.is_decimal(kind) and kind.scale > 0:
        return _decimals(array), fine
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        values = array.to_pylist()
        return pa.array([None if v is None else v.decode("utf-8", "replace") for v in values], pa.string()), np.array(
            [v is not None and v.decode("utf-8", "ignore").encode() != v for v in values], bool
        )
    if pa.types.is_nested(kind):
        return pa.array([None if v is None else _json(v) for v in listed(array)], pa.string()), fine
    return texts.plain(array.cast(pa.string())), fine


def _floats(array: pa.Array) -> pa.Array:
    """As text: whole numbers without a point; those that the type no longer holds exactly as `inexact` writes them."""
    limit = LIMITS[array.type]
    if pa.types.is_float16(array.type):
        array = array.cast(pa.float32())
    whole = pc.equal(pc.floor(array), array)
    exact = pc.and_(whole, pc.less(pc.abs(array), limit))
    as_text = array.cast(pa.string())
    if pc.any(exact).as_py():
        as_int = pc.if_else(exact, array, pa.scalar(0, array.type)).cast(pa.int64()).cast(pa.string())
        as_text = pc.if_else(exact, as_int, as_text)
    lost = pc.and_not(pc.and_(whole, pc.is_finite(array)), exact).fill_null(False)
    if pc.any(lost).as_py():
        values = array.filter(lost).to_pylist()
        as_text = pc.replace_with_mask(as_text, lost, pa.array([inexact(value) for value in values], pa.string()))
    return as_text


def _decimals(array: pa.Array) -> pa.Array:
    """As text: whole numbers without a point, with all of their digits."""
    text = pc.replace_substring_regex(array.cast(pa.string()), r"^0E-[0-9]+$", "0")
    return pc.replace_substring_regex(text, r"^(-?[0-9]+)\.0*$", r"\1")


def inexact(value: float) -> str:
    """A whole number that a floating type has rounded, with an exponent: its digits end at the point, or before."""
    digits, _, exponent = f"{value:.16e}".partition("e")
    return f"{digits.rstrip('0').removesuffix('.')}e{exponent}"


def _text(array: pa.Array) -> pa.Array:
    return _column(array, keep=False)[0]


def _raws(batch: pa.RecordBatch, indices: NDArray[np.int64]) -> list[str]:
    return [_json(row) for row in _rows(batch, indices)]


def _rows(batch: pa.RecordBatch, indices: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Rows as JSON has them."""
    part = batch.take(pa.array(indices))
    values = [listed(column) for column in part.columns]
    rows = [dict(zip(part.schema.names, row, strict=True)) for row in zip(*values, strict=True)]
    # JSON knows no infinity: as a text it is still seen to be no number
    rows = [{k: str(v) if v in (math.inf, -math.inf) else v for k, v in row.items()} for row in rows]
    for name, kind in zip(part.schema.names, part.schema.types, strict=True):
        if kind in (pa.float16(), pa.float32()):
            # a double would look exact
            for row in rows:
                value = row[name]
                if isinstance(value, float) and value.is_integer() and abs(value) >= LIMITS[kind]:
                    row[name] = inexact(value)
    return rows


def _json(value: Any) -> str:
    return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    return str(value)
