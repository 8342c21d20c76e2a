"""Raw rows, as readers hand them to the checks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clickflow.events.contract import REASONS

BIT = {reason: 1 << index for index, reason in enumerate(REASONS)}
"""Reasons as bits of a mask."""

NOT_READ = ("truncated", "wrong_columns", "bad_quotes", "bad_json", "double_key", "broken_encoding")
UNREAD_IDS = sum(BIT[reason] for reason in (*NOT_READ, "not_scalar", "inexact_id", "too_long"))
"""Where one of these is a row's fault, whose it is cannot be read, or may not be."""

ORDINAL_BITS = 20
"""A position is line << 20 | ordinal: the row's place among those that stand on the same line (nested layouts)."""


def position_of(line: int, ordinal: int = 0) -> int:
    """Where a row stands in its source, as one number that sorts as the rows do."""
    return line << ORDINAL_BITS | ordinal


def lines_of(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """The 1-based lines of positions."""
    return positions >> ORDINAL_BITS


def reasons_of(mask: int) -> list[str]:
    """The reasons of a mask, in the order of `REASONS`."""
    return [reason for reason, bit in BIT.items() if mask & bit]


def escaped(raw: bytes) -> str:
    """Bytes that are no text, as text from which they can be had back: backslashes doubled, the rest as \\xNN."""
    return raw.replace(b"\\", b"\\\\").replace(b"\0", b"\\x00").decode("utf-8", "backslashreplace")


def unescaped(raw: str) -> bytes:
    """The bytes `escaped` was given."""
    parts = raw.split("\\\\")
    return b"\\".join(_unescaped(part) for part in parts)


def _unescaped(part: str) -> bytes:
    first, *rest = part.split("\\x")
    return first.encode() + b"".join(bytes.fromhex(piece[:2]) + piece[2:].encode() for piece in rest)


@dataclass(frozen=True)
class Refused:
    """Rows that are no rows of this layout at all, as far as a reader can say."""

    positions: list[int] = field(default_factory=list)
    masks: list[int] = field(default_factory=list)
    raws: list[str] = field(default_factory=list)

    def add(self, position: int, reason: str, raw: str) -> None:
        """Refuse one row for one reason."""
        self.positions.append(position)
        self.masks.append(BIT[reason])
        self.raws.append(raw)


@dataclass(frozen=True)
class Rows:
    """Rows of one block: canonical columns that the source has, as text (or as timestamps and numbers, where the
    source is typed), in any order, and what the reader refused. `blank` lines are no rows.
    """

    table: pa.Table
    positions: NDArray[np.int64]
    refused: Refused
    blank: int = 0

    @property
    def read(self) -> int:
        """How many rows the block holds."""
        return len(self.positions) + len(self.refused.positions)


def with_constants(rows: Rows, constants: Mapping[str, str | None]) -> Rows:
    """The rows with columns of one value each, in place of their own of that name."""
    if not constants:
        return rows
    table = rows.table
    count = len(rows.positions)
    for name, value in constants.items():
        column = pa.repeat(pa.scalar(value, pa.string()), count)
        at = table.schema.get_field_index(name)
        table = table.append_column(name, column) if at < 0 else table.set_column(at, name, column)
    return replace(rows, table=table)
