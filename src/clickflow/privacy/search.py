"""Whether a file names somebody, by its bytes and by what they unpack to."""

import bz2
import gzip
import io
import json
import lzma
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from clickflow.events.encryption import reading
from clickflow.events.storage import packing_of
from clickflow.privacy.people import People

IDS = frozenset({"user_id", "session_id", "raw"})
OURS = IDS | {"item_id"}
"""Columns that may hold ids in tables that have one of these."""
DOCUMENT = 64 << 20
CHUNK = 16 << 20
UNREADABLE = (OSError, EOFError, ValueError, TypeError, LookupError, RuntimeError, MemoryError)
"""What readers raise of bytes that are not what they seem."""
OVERLAP = 1 << 10


def holds(path: Path, people: People, *, raw: bool = False) -> bool:
    """Whether a file names one of them, whatever it is packed in. A file that is gone, or is a link, names nobody.

    `raw`: it may be a copy of raw rows, in which an id that is a number or a plain word is an id.
    """
    return bool(looked_into(path, people, raw=raw))


def looked_into(path: Path, people: People, *, raw: bool = False) -> bool | None:
    """As `holds`; None where its bytes name nobody, and what they are packed in cannot be opened: it may."""
    if path.is_symlink() or not path.is_file():
        return False
    blind: list[str] = []
    try:
        with reading(path, people.key) as file:
            words = people.words if raw else None
            named = any(
                people.needles.search(part) or (rows and words is not None and words.search(part))
                for part, rows in _parts(file, path, blind)
            )
            return named or (None if blind else False)
    except FileNotFoundError:
        return False


def _parts(file: IO[bytes], path: Path | None, blind: list[str]) -> Iterator[tuple[bytes, bool]]:
    """Parts of a file, and whether they may be raw rows: lines of text, or columns that may hold ids. `blind`: what
    could not be unpacked is noted in it.
    """
    from pyarrow import ArrowException

    head = file.read(1024)
    file.seek(0)
    packing = packing_of(head)
    plain = not packing and b"\0" not in head and head[:4] != b"PAR1" and not _one_document(file, head)
    file.seek(0)
    yield from ((part, plain) for part in _chunks(file))
    try:
        if head[:4] == b"PAR1":
            file.seek(0)
            yield from _table(file)
        elif head.startswith(b"SQLite format 3"):
            yield from ((part, False) for part in _database(file, path))
        elif packing == "zip":
            with zipfile.ZipFile(file) as archive:
                for name in archive.namelist():
                    with archive.open(name) as member:
                        yield from _parts(io.BytesIO(member.read()), None, blind)
        elif packing:
            file.seek(0)
            yield from ((part, True) for part in _chunks(_unpacked(file, packing)))
    except (ArrowException, zlib.error, lzma.LZMAError, zipfile.BadZipFile, sqlite3.Error, *UNREADABLE) as error:
        blind.append(type(error).__name__)  # its bytes were searched, and not what they unpack to


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    kept = b""
    while part := file.read(CHUNK):
        yield kept + part
        kept = part[-OVERLAP:]


def _unpacked(file: IO[bytes], packing: str) -> IO[bytes]:
    import pyarrow as pa

    if packing in ("zstd", "lz4"):
        stream: IO[bytes] = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), packing)
        return stream
    openers = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
    return openers[packing](file)  # type: ignore[operator,no-any-return]


def _one_document(file: IO[bytes], head: bytes) -> bool:
    """Whether a text is a page or one JSON object, which this program writes, and not rows."""
    if head.lstrip()[:1] == b"<":
        return True
    if head.lstrip()[:1] != b"{":
        return False
    try:
        json.loads(file.read(DOCUMENT))
    except ValueError:
        return False
    return True


def _table(file: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    """The texts of a Parquet file, each distinct one of a row group once; of tables with columns of this program, raw
    ids stand in those of people and in quarantine's text alone.
    """
    import pyarrow as pa
    from pyarrow import parquet

    with parquet.ParquetFile(file) as table:
        ours = not OURS.isdisjoint(table.schema_arrow.names)
        for number in range(table.num_row_groups):
            group = table.read_row_group(number).flatten()
            for name, column in zip(group.column_names, group.columns, strict=True):
                rows = not ours or name in IDS
                column = column.combine_chunks()
                while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
                    column = column.flatten()
                kind = column.type
                if pa.types.is_struct(kind) or pa.types.is_map(kind):
                    yield repr(column.to_pylist()).encode(), rows
                elif not pa.types.is_null(kind) and not pa.types.is_temporal(kind):
                    distinct = column.unique().cast(pa.large_string() if not _bytes(kind) else pa.large_binary())
                    values = distinct.cast(pa.large_binary()).drop_null().to_pylist()
                    yield b"\n".join(values), rows


def _bytes(kind: object) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _database(file: IO[bytes], path: Path | None) -> Iterator[bytes]:
    """The texts of an SQLite database; what its pages hold beside its rows was searched as bytes."""
    with tempfile.NamedTemporaryFile(suffix=".db") as copy:
        if path is None:
            file.seek(0)
            copy.write(file.read())
            copy.flush()
        with sqlite3.connect(f"file:{path or copy.name}?mode=ro", uri=True) as database:
            for line in database.iterdump():
                yield line.encode("utf-8", "surrogateescape")
