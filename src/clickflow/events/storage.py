"""A text file's compression, encoding and line ends; readers get plain UTF-8."""

import bz2
import codecs
import gzip
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from clickflow.system.errors import DataError

UTF8 = "utf-8"
BOM = b"\xef\xbb\xbf"
UNTOUCHED = "the outputs are as they were"

PACKINGS = (
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\xfd7zXZ\x00", "xz"),
)
"""The first bytes of packed files. bzip2 has one more: see `packing_of`."""
BZIP2 = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")

ZIP_FAULTS = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, struct.error)
"""What a damaged zip archive raises, by where it is damaged."""

MOST_UNPACKED, MOST_RATIO = 1 << 30, 500
"""Bytes that may come out of any packed file, and how many times its own size beyond them."""

SUFFIXES = (".gz", ".zip", ".zst", ".zstd", ".lz4", ".xz", ".bz2")
"""Endings of names that say nothing of what is inside."""

FOREIGN = (
    (b"PAR1", "Parquet"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"Obj\x01", "Avro"),
    (b"ORC", "ORC"),
    (b"ARROW1", "an Arrow file"),
    (b"%PDF-", "a PDF"),
)
"""The first bytes of what is no text."""

PART = b"\x1f"
"""What readers see in place of a delimiter of several characters: the unit separator, which is made for it."""

MOST_NESTED = 3
"""How many packings around one text are taken off, such as gzip in zip."""

FAULTS = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, OSError)
"""What a packed stream raises that is broken or cut off."""

ERRORS = "clickflow.undecodable"
SURROGATE = re.compile(rb"\xed([\xb0-\xb3])([\x80-\xbf])")


@dataclass(frozen=True)
class Storage:
    """How a file holds its text: the `member` of a zip archive, the encoding, whether lines end with a carriage return
    alone, and the delimiter, where it has several bytes (readers see `PART` in its place).
    """

    member: str = ""
    encoding: str = UTF8
    returns: bool = False
    parted: bytes = b""

    @property
    def transcoded(self) -> bool:
        """Whether readers see other bytes than the file has."""
        return self.encoding != UTF8 or self.returns


PLAIN = Storage()


def canonical_encoding(name: str) -> str | None:
    """The encoding's name as Python has it; None where it has none of that name."""
    try:
        codec = codecs.lookup(name)
        "".encode(codec.name)
    except LookupError:
        return None
    return UTF8 if codec.name in ("utf-8", "utf-8-sig", "ascii") else codec.name


def packing_of(head: bytes) -> str | None:
    """What packed a file that begins with `head` (10 bytes or more); None: nothing that is known."""
    if BZIP2.match(head):
        return "bzip2"
    return next((name for magic, name in PACKINGS if head.startswith(magic)), None)


def foreign(head: bytes) -> str | None:
    """What a file that begins with `head` is, where that is plainly no text."""
    if head[257:262] == b"ustar":
        return "a tar archive"
    return next((name for magic, name in FOREIGN if head.startswith(magic)), None)


def members(path: Path) -> list[str] | None:
    """The files in a zip archive, by name, without those that systems add; None where it is no zip archive.

    Raises DataError where it cannot be read, or is a workbook.
    """
    with path.open("rb") as file:
        if packing_of(file.read(16)) != "zip":
            return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(info.filename for info in archive.infolist() if not info.is_dir())
    except ZIP_FAULTS as error:
        raise _broken(path, "zip", error) from error
    if "[Content_Types].xml" in names:
        raise DataError(f"{path} is a workbook, not a log", kept=UNTOUCHED, next_step="save its sheet as CSV")
    return [name for name in names if not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))]


@contextmanager
def opened(path: Path, storage: Storage = PLAIN) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The file's text as UTF-8, and the file itself, to tell how far it was read.

    What the encoding does not know stands there as bytes that are no UTF-8; `originals` gives them back.
    """
    with path.open("rb") as file:
        packing = packing_of(file.read(16))
        file.seek(0)
        text: Any = file
        for _ in range(MOST_NESTED):
            if packing is None:
                break
            text = _Bounded(_unpacked(text, packing, path, storage.member), file, path)
            packing = packing_of(text.peek(16))
        if storage.transcoded:
            text = _Transcoded(text, storage)
        if storage.parted:
            text = _Parted(text, storage.parted, path)
        yield text, file


def _unpacked(file: Any, packing: str, path: Path, member: str) -> Any:
    """The stream that is packed in a stream."""
    if packing == "gzip":
        return gzip.GzipFile(fileobj=file)
    if packing == "bzip2":
        return bz2.BZ2File(file)
    if packing == "xz":
        return lzma.open(file)
    if packing == "zip":
        if isinstance(file, _Bounded):
            raise DataError(f"{path} holds a zip archive", kept=UNTOUCHED, next_step="unpack it by hand")
        return _member(path, file, member)
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), packing)


def read_text(file: IO[bytes], size: int, path: Path) -> bytes:
    """Up to `size` bytes, fewer only at the end.

    Raises DataError where what packed them is broken or cut off, or where the encoding is plainly another.
    """
    try:
        return file.read(size)
    except UnicodeError as error:
        raise DataError(
            f"{path} is not in the encoding that source.encoding names ({error})",
            kept=UNTOUCHED,
            next_step="set source.encoding; of UTF-16 without a byte order mark, utf-16-le or utf-16-be",
        ) from error
    except FAULTS as error:
        with path.open("rb") as raw:
            packing = packing_of(raw.read(16))
        if packing is None:
            raise
        raise _broken(path, packing, error) from error


def originals(text: bytes) -> bytes:
    """Transcoded text with the bytes that its encoding does not know as they stand in the file."""
    return SURROGATE.sub(lambda pair: bytes([(pair[1][0] & 3) << 6 | pair[2][0] & 63]), text)


class _Bounded:
    """An unpacked stream that ends in an error where it gives more than any packed log could."""

    def __init__(self, text: IO[bytes], file: IO[bytes], path: Path) -> None:
        self.text, self.file, self.path = text, file, path
        self.given = 0
        self.seen = b""
        self.fault: Exception | None = None
        self.closed = False

    def peek(self, size: int) -> bytes:
        """The first bytes, which are still to be read; what is broken is said when they are."""
        try:
            while len(self.seen) < size and (part := self.text.read(size - len(self.seen))):
                self.seen += part
        except FAULTS as error:
            self.fault = error
        return self.seen

    def read(self, size: int) -> bytes:
        if self.seen:
            part, self.seen = self.seen[:size], self.seen[size:]
            return part + self.read(size - len(part)) if len(part) < size else part
        if self.fault is not None:
            raise self.fault
        part = self.text.read(size)
        self.given += len(part)
        if self.given > MOST_UNPACKED and self.given > MOST_RATIO * self.file.tell():
            raise DataError(
                f"{self.path} unpacks to over {MOST_RATIO} times its size: it is made to fill memory and disks, no log",
                kept=UNTOUCHED,
                next_step="ask where it comes from; if it is a log all the same, unpack it by hand",
            )
        return part


class _Transcoded:
    """A stream of bytes in some encoding, as UTF-8 with newlines."""

    def __init__(self, source: IO[bytes], storage: Storage) -> None:
        self.source = source
        self.decoder = codecs.getincrementaldecoder(storage.encoding)(ERRORS)
        self.returns = storage.returns
        self.waiting = b""
        self.done = False

    def read(self, size: int) -> bytes:
        parts, held = [self.waiting], len(self.waiting)
        while held < size and not self.done:
            raw = self.source.read(max(size, 1 << 16))
            self.done = not raw
            part = self.decoder.decode(raw, self.done).encode(UTF8, "surrogatepass")
            if self.returns:
                part = part.replace(b"\r", b"\n")
            parts.append(part)
            held += len(part)
        text = b"".join(parts)
        self.waiting = text[size:]
        return text[:size]


class _Parted:
    """A stream with `PART` in place of a delimiter of several bytes."""

    def __init__(self, source: Any, mark: bytes, path: Path) -> None:
        self.source, self.mark, self.path = source, mark, path
        self.rest = self.waiting = b""
        self.done = False

    def read(self, size: int) -> bytes:
        while len(self.waiting) < size and not self.done:
            raw = self.source.read(max(size, 1 << 16))
            if PART in raw:
                raise DataError(
                    f"{self.path} holds the control character 0x1F, so its delimiter {self.mark.decode()!r} cannot be "
                    "read",
                    kept=UNTOUCHED,
                    next_step="write the file with one character between its columns, such as a tab",
                )
            self.done = not raw
            raw = self.rest + raw
            # whole lines: no delimiter is cut in two
            cut = len(raw) if self.done else raw.rfind(b"\n") + 1
            self.waiting, self.rest = self.waiting + raw[:cut].replace(self.mark, PART), raw[cut:]
        text, self.waiting = self.waiting[:size], self.waiting[size:]
        return text


def _undecodable(error: UnicodeError) -> tuple[str, int]:
    """Each byte that the encoding does not know as a surrogate, which no text has."""
    assert isinstance(error, UnicodeDecodeError)
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(ERRORS, _undecodable)


def _member(path: Path, file: IO[bytes], member: str) -> IO[bytes]:
    try:
        return zipfile.ZipFile(file).open(member)
    except (RuntimeError, NotImplementedError, KeyError) as error:
        raise DataError(
            f"{path}: its member {member!r} cannot be unpacked ({error})",
            kept=UNTOUCHED,
            next_step="unpack it by hand, and name the folder in source.path",
        ) from error
    except ZIP_FAULTS as error:
        raise _broken(path, "zip", error) from error


def _broken(path: Path, packing: str, error: Exception) -> DataError:
    test = {"gzip": "gzip --test", "zip": "unzip -t", "zstd": "zstd --test", "xz": "xz --test", "bzip2": "bzip2 --test"}
    return DataError(
        f"{path}: the {packing} stream cannot be read to its end ({error})",
        kept=UNTOUCHED,
        next_step="fetch the file again"
        + (f"; `{test[packing]} {path.name}` says whether it is whole" if packing in test else ""),
    )
