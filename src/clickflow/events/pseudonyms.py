"""Keyed pseudonyms: who a user is stays with the shop, that two events are the same user's does not.

A pseudonym is BLAKE2b (RFC 7693) of the id under a secret key, cut to 72 bits and written as 12 characters of
base64url (RFC 4648). Two of a hundred million ids meet with a probability of one in a million. Users and sessions have
different personalisations: the same number as user and as session gives two pseudonyms. The key is the environment
variable CLICKFLOW_PSEUDONYM_KEY, or the file `pseudonym.key` of the home, which is made at the first use.
"""

import hashlib
import os
import secrets
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from clickflow.system import console, files
from clickflow.system.errors import UsageError

VARIABLE = "CLICKFLOW_PSEUDONYM_KEY"
RETIRED = "retired.keys"
BYTES = 9
LETTERS = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", np.uint8)
PERSON = {"user": b"clickflow user", "session": b"clickflow visit", "key": b"clickflow key"}


def load_key(home: Path) -> bytes:
    """The secret key; made in `home` (mode 0600), and announced, where there is none yet.

    Raises UsageError where the key is shorter than 16 bytes.
    """
    value = os.environ.get(VARIABLE, "")
    if value:
        return _checked(value, VARIABLE)
    path = home / "pseudonym.key"
    if not path.exists() and files.write_new(path, f"{secrets.token_hex(32)}\n".encode(), mode=0o600):
        console.say(
            f"made a key for pseudonyms: {path}\n"
            "  keep it secret and keep it safe: another key gives everybody another pseudonym"
        )
    if not path.read_bytes().strip():
        raise UsageError(
            f"the pseudonym key {path} is empty: a disk was full, or a machine stopped, while it was written",
            kept="nothing was read, the outputs are as they were",
            next_step=f"put the key back from a backup, or set {VARIABLE} to it: another key gives everybody "
            "another pseudonym, and all is read again. Where no events were made with it, remove the file",
        )
    return _checked(_text(path).strip(), str(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not text any more (byte {error.start}): it holds a key of the pseudonyms",
            kept="nothing was read, the outputs are as they were",
            next_step="put it back from a backup: another key gives everybody another pseudonym",
        ) from error


def _checked(text: str, where: str) -> bytes:
    if len(text.encode()) < 16:
        raise UsageError(
            f"the pseudonym key in {where} is shorter than 16 characters",
            kept="nothing was read, the outputs are as they were",
            next_step="make one with: python -c 'import secrets; print(secrets.token_hex(32))'",
        )
    # BLAKE2b takes at most 64 bytes of key
    return hashlib.blake2b(text.encode(), person=PERSON["key"]).digest()


def retired(home: Path) -> list[bytes]:
    """The keys before this one, the oldest first: `retired.keys` of the home, which `clickflow rotate-key` writes."""
    path = home / RETIRED
    if not path.exists():
        return []
    return [_checked(line, str(path)) for line in _text(path).split()]


def key_name(key: bytes) -> str:
    """A name for a key that tells nothing about it: the same for the same key."""
    return hashlib.blake2b(b"name", key=key, digest_size=8, person=PERSON["key"]).hexdigest()


def pseudonyms(ids: pa.Array, key: bytes, kind: Literal["user", "session"]) -> pa.Array:
    """The pseudonym of every id (strings; null stays null); each distinct id is hashed once."""
    coded = ids.dictionary_encode()
    keyed = hashlib.blake2b(key=key, digest_size=BYTES, person=PERSON[kind])

    def digest(text: bytes) -> bytes:
        state = keyed.copy()
        state.update(text)
        return state.digest()

    distinct = coded.dictionary.cast(pa.binary()).to_pylist()
    hashed = np.frombuffer(b"".join(map(digest, distinct)), np.uint8)
    return pa.array(_base64(hashed), pa.string()).take(coded.indices) if len(distinct) else ids


def _base64(hashed: np.ndarray) -> pa.Array:
    """Rows of 9 bytes as rows of 12 letters."""
    triples = hashed.reshape(-1, 3).astype(np.uint32)
    bits = triples[:, 0] << 16 | triples[:, 1] << 8 | triples[:, 2]
    letters = LETTERS[np.stack([bits >> 18 & 63, bits >> 12 & 63, bits >> 6 & 63, bits & 63], axis=1)]
    rows = len(hashed) // BYTES
    offsets = np.arange(rows + 1, dtype=np.int32) * 12
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(letters)))
