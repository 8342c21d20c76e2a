"""A text file in blocks of whole records."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickflow.events import rows
from clickflow.events.records import Odd, find_odd, line_bounds
from clickflow.events.storage import PLAIN, UNTOUCHED, Storage, opened, originals, read_text
from clickflow.system.errors import DataError

BLOCK = 16 << 20
"""Bytes of text a block has, about."""
MAX_LINE = 256 << 20
"""A text whose lines are longer is not a log."""


@dataclass(frozen=True)
class TextBlock:
    """Whole records of a file: their bytes, the number of the first line (1-based) and of the line after the last, the
    odd records among them, whether the file ends here, how far the file was read on disk (bytes), and whether the bytes
    are those of another encoding made UTF-8.
    """

    data: bytes
    line: int
    stop: int
    odd: tuple[Odd, ...]
    final: bool
    consumed: int
    transcoded: bool = False

    @cached_property
    def bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Start and end (without the newline) of every line."""
        return line_bounds(self.data)

    def escaped(self, text: bytes) -> str:
        """A record of this block that is no text, as quarantine holds it."""
        return rows.escaped(originals(text) if self.transcoded else text)


def is_text(data: bytes) -> bool:
    """Whether bytes are UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def read_blocks(
    path: Path,
    skip: int,
    line: int,
    *,
    delimiter: bytes,
    quoting: bool,
    size: int = BLOCK,
    storage: Storage = PLAIN,
) -> Iterator[TextBlock]:
    """The blocks of a file from byte `skip` of its text on, which is the beginning of line `line`.

    The records are the same wherever the blocks are cut.
    """
    with opened(path, storage) as (text, file):
        while skip > 0:
            skip -= len(read_text(text, min(skip, size), path)) or skip
        carry, chunk = b"", read_text(text, size, path)
        final = False
        while not final:
            ahead = read_text(text, size, path) if len(chunk) == size else b""
            final = not ahead
            data, chunk = carry + chunk, ahead
            cut = len(data) if final else data.rfind(b"\n") + 1
            if not cut and len(data) > MAX_LINE:
                raise DataError(
                    f"{path}, line {line}: no line end within {MAX_LINE >> 20} MB; this is not a text log",
                    kept=UNTOUCHED,
                    next_step="check source.format and the file",
                )
            part, carry = data[:cut], data[cut:]
            odd: list[Odd] = []
            if quoting and b'"' in part:
                odd, kept = find_odd(part, delimiter, final)
                part, carry = part[:kept], part[kept:] + carry
            if part:
                stop = line + part.count(b"\n") + (not part.endswith(b"\n"))
                yield TextBlock(part, line, stop, tuple(odd), final, file.tell(), storage.transcoded)
                line = stop
