"""Files that only the key of the pseudonyms opens: AES-SIV (RFC 5297), in chunks, the same bytes for the same content.

A random nonce would give the same rows other bytes at every ingest, and DVC would take that for news; SIV needs none,
and tells no more than that two chunks at one place of two files are equal. The key is derived by HKDF (RFC 5869). Each
chunk knows its place and whether it is the last, so that a file that was cut, or put together anew, does not open.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from clickflow.events.pseudonyms import VARIABLE, key_name
from clickflow.system.errors import DataError

MAGIC = b"clickflow AES-SIV 1\n"
CHUNK, TAG = 1 << 20, 16
HEADER = len(MAGIC) + 17
"""The magic, the name of the key, a line end."""


def is_encrypted(path: Path) -> bool:
    """Whether a file begins as one of these."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


@contextmanager
def reading(path: Path, key: bytes) -> Iterator[IO[bytes]]:
    """A file's content, whether it is encrypted or not. Raises DataError where the key is another one."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            file.seek(0)
            yield file
            return
        named = file.read(17).decode("ascii", "replace").strip()
        if named != key_name(key):
            raise DataError(
                f"{path} is encrypted under another key (its name is {named}) than the one here ({key_name(key)})",
                kept="nothing was read, the file is as it was",
                next_step=f"put the key of the ingest that wrote it back: {VARIABLE}, or pseudonym.key in the home; "
                "without it, remove data/quarantine and data/events and run `clickflow ingest`",
            )
        with io.BufferedReader(_Opened(path, file, _cipher(key)), CHUNK) as opened:
            yield opened


@contextmanager
def writing(path: Path, key: bytes | None) -> Iterator[IO[bytes]]:
    """A file to write, encrypted where there is a key; it is whole when the block ends."""
    with path.open("wb") as file:
        if key is None:
            yield file
            return
        file.write(MAGIC + key_name(key).encode() + b"\n")
        closing = _Closing(file, _cipher(key))
        yield closing  # type: ignore[misc]
        closing.finish()


def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV
    from cryptography.hazmat.primitives.hashes import SHA512
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return AESSIV(HKDF(SHA512(), 64, None, b"clickflow files").derive(key))


def _place(number: int, *, last: bool) -> list[bytes]:
    return [MAGIC, number.to_bytes(8, "big"), b"last" if last else b"more"]


class _Closing(io.RawIOBase):
    """Takes bytes, and writes them in encrypted chunks."""

    def __init__(self, file: IO[bytes], cipher: Any) -> None:
        self._file, self._cipher = file, cipher
        self._waiting = bytearray()
        self._number = self._at = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        self._waiting += data
        self._at += len(data)
        while len(self._waiting) > CHUNK:  # the last chunk is known when all is written
            self._chunk(bytes(self._waiting[:CHUNK]), last=False)
            del self._waiting[:CHUNK]
        return len(data)

    def finish(self) -> None:
        """Write what waits."""
        self._chunk(bytes(self._waiting), last=True)

    def _chunk(self, data: bytes, *, last: bool) -> None:
        self._file.write(self._cipher.encrypt(data, _place(self._number, last=last)))
        self._number += 1


class _Opened(io.RawIOBase):
    """Gives an encrypted file's content, at any place."""

    def __init__(self, path: Path, file: IO[bytes], cipher: Any) -> None:
        self._path, self._file, self._cipher = path, file, cipher
        body = file.seek(0, io.SEEK_END) - HEADER
        self._chunks = max(1, -(-body // (CHUNK + TAG)))
        self._size = body - self._chunks * TAG
        self._at, self._held = 0, (-1, b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        number, start = divmod(self._at, CHUNK)
        if self._at >= self._size:
            return 0
        part = self._chunk(number)[start : start + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _chunk(self, number: int) -> bytes:
        from cryptography.exceptions import InvalidTag

        if self._held[0] != number:
            self._file.seek(HEADER + number * (CHUNK + TAG))
            data = self._file.read(CHUNK + TAG)
            try:
                opened = self._cipher.decrypt(data, _place(number, last=number == self._chunks - 1))
            except InvalidTag as error:
                raise DataError(
                    f"{self._path} does not open: its bytes are not those that were written",
                    kept="nothing was read from it",
                    next_step="`dvc checkout data/quarantine` puts the recorded bytes back, or `clickflow ingest` "
                    "makes it again",
                ) from error
            self._held = number, opened
        return self._held[1]
