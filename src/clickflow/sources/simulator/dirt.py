"""Dirt for a simulated CSV log: a chosen share of rows is spoilt in ways that real logs are.

A kind is named by the reason code under which ingest must quarantine the row (`contract.REASONS`); a duplicate is an
added copy, every other kind spoils the row itself. truth/dirt.parquet says which line of which file is of which kind.
"""

from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clickflow.sources.simulator.columns import named, numbers

TIME, TYPE, USER, SESSION, ITEM, _CATEGORY, BRAND, PRICE, QUANTITY, _CAMPAIGN = range(10)

KINDS = (
    "duplicate",
    "future_time",
    "unparseable_time",
    "unknown_type",
    "null_item",
    "null_user_and_session",
    "bad_number",
    "negative_price",
    "negative_quantity",
    "zero_quantity",
    "too_long",
    "broken_encoding",
    "wrong_columns",
)
SCHEMA = pa.schema([("file", pa.string()), ("line", pa.int64()), ("kind", pa.string())])
YEARS_AHEAD = 60


def spoil(line: bytes, kind: str, variant: int) -> bytes:
    """A row without its newline, made dirty; `variant` (0 to 255) chooses between ways of the same kind."""
    fields = line.split(b",")
    match kind:
        case "future_time":
            fields[TIME] = b"%d" % (int(fields[TIME][:4]) + YEARS_AHEAD) + fields[TIME][4:]
        case "unparseable_time":
            fields[TIME] = (b"", b"yesterday", b"0000-00-00 00:00:00", b"2026-13-45 10:00:00", b"NULL")[variant % 5]
        case "unknown_type":
            fields[TYPE] = (b"", b"teleport", b"VIEW?", b"null")[variant % 4]
        case "null_item":
            fields[TYPE], fields[ITEM] = (b"view", b"cart", b"purchase")[variant % 3], b""
        case "null_user_and_session":
            fields[USER] = fields[SESSION] = b""
        case "bad_number":
            column = (PRICE, QUANTITY)[variant % 2]
            fields[column] = (b"abc", b"EUR 12.5", b"nan", b"1e999")[variant // 2 % 4]
        case "negative_price":
            fields[PRICE] = b"-" + (fields[PRICE] if fields[PRICE].strip(b"0.") else b"1.00")
        case "negative_quantity":
            fields[QUANTITY] = b"-%d" % (1 + variant % 5)
        case "zero_quantity":
            fields[QUANTITY] = b"0"
        case "too_long":
            fields[BRAND] = b"x" * (2000 + variant)
        case "broken_encoding":
            fields[BRAND] = (b"caf\xe9", b"\xff\xfe", b"ab\xc3", b"\xed\xa0\x80")[variant % 4]
        case "wrong_columns":
            return line[: max(1, line.rfind(b",") * (variant + 1) // 256)]
        case _:
            raise ValueError(f"no kind of dirt: {kind}")
    return b",".join(fields)


class Dirt:
    """Spoils a steady share of the rows that pass through it; all kinds in turn, in an order drawn by the seed.

    After n rows of the process, floor(share * n) are dirty, whatever the blocks were. `record`: truth/dirt.parquet.
    """

    def __init__(self, share: float, seed: int, record: Path | None) -> None:
        self.share, self._record = share, record
        self.rows = self.dirty = 0
        self.counts = dict.fromkeys(KINDS, 0)
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, 3))))
        self._sink: pq.ParquetWriter | None = None

    def close(self) -> None:
        """Finish truth/dirt.parquet (absent where nothing was made dirty)."""
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def write(self, sink: IO[bytes], text: pa.Array, file: str, rows_before: int) -> int:
        """Write rows (each ends with a newline) to `sink`; returns how many lines that made.

        `rows_before`: rows already in the file below its header.
        """
        data = memoryview(text.buffers()[2])
        ends = np.frombuffer(text.buffers()[1], np.int32)[text.offset : text.offset + len(text) + 1]
        count = len(text)
        quota = int(self.share * (self.rows + count)) - self.dirty
        self.rows += count
        self.dirty += quota
        if not quota:
            sink.write(data[ends[0] : ends[-1]])
            return count
        chosen = np.sort(self._random.permutation(count)[:quota])
        kinds = (self.dirty - quota + self._random.permutation(quota)) % len(KINDS)
        lines = self._spoil(sink, data, ends, chosen, kinds)
        self._note(file, lines + rows_before, kinds)
        return count + int((kinds == 0).sum())

    def _spoil(
        self,
        sink: IO[bytes],
        data: memoryview,
        ends: NDArray[np.int32],
        chosen: NDArray[np.int64],
        kinds: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        variants = self._random.integers(0, 256, len(chosen)).tolist()
        parts: list[bytes | memoryview] = []
        lines = np.empty(len(chosen), np.int64)
        at, added = int(ends[0]), 0
        for k, (row, kind, variant) in enumerate(zip(chosen.tolist(), kinds.tolist(), variants, strict=True)):
            begin, end = int(ends[row]), int(ends[row + 1])
            if kind == 0:
                parts += [data[at:end], data[begin:end]]
                added += 1
            else:
                parts += [data[at:begin], spoil(bytes(data[begin : end - 1]), KINDS[kind], variant), b"\n"]
            lines[k] = row + 2 + added
            at = end
        parts.append(data[at : ends[-1]])
        sink.write(b"".join(parts))
        return lines

    def _note(self, file: str, lines: NDArray[np.int64], kinds: NDArray[np.int64]) -> None:
        for kind, count in zip(KINDS, np.bincount(kinds, minlength=len(KINDS)).tolist(), strict=True):
            self.counts[kind] += count
        if self._record is None:
            return
        if self._sink is None:
            self._sink = pq.ParquetWriter(self._record, SCHEMA)
        files = named(np.zeros(len(lines), np.int8), [file])
        table = pa.Table.from_arrays([files, numbers(lines), named(kinds, KINDS)], names=SCHEMA.names)
        self._sink.write_table(table.cast(SCHEMA))
