"""Who was forgotten: keyed hashes of pseudonyms, so that no file that comes late, and no replay, brings a person back.

`<home>/forgotten.json` (mode 0600) has, by the name of the key, the hashes of users and of the visits that were theirs
alone. A hash is BLAKE2b of the pseudonym under the same key: it tells neither the id nor the pseudonym. Rows of theirs
are read, counted as `forgotten`, and kept nowhere.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clickflow.events import texts
from clickflow.events.pseudonyms import RETIRED, key_name, pseudonyms, retired
from clickflow.system import files
from clickflow.system.errors import DataError

NAME = "forgotten.json"
PERSON = b"clickflow forget"
Kind = Literal["user", "session"]
KINDS: tuple[Kind, ...] = ("user", "session")

TOKENS = (re.compile(r"[^\s,;|\"'{}\[\]()<>=:&]+"), re.compile(r"[^\s,;|\"'{}\[\]()<>=]+"))
"""What stands in a text as a word of its own; ids may hold a colon."""
SHORT, LONG = 5, 9
"""Ids of fewer letters stand everywhere by chance, as plain words and numbers do, if not of so many digits."""
NUMBER = re.compile(r"[\d.,:+-]*")

Mask = NDArray[np.bool_]


def telling(name: str) -> bool:
    """Whether an id names somebody wherever it stands. A number, a plain word and a short id do so only where an id is
    due: in another field, or another file, they mean something else.
    """
    if NUMBER.fullmatch(name):
        return sum(map(str.isdigit, name)) >= LONG
    return len(name) >= SHORT and not name.isalpha()


def hashed(pseudonym: str, key: bytes) -> str:
    """The name under which a person is forgotten."""
    return hashlib.blake2b(pseudonym.encode(), key=key, digest_size=16, person=PERSON).hexdigest()


@dataclass(frozen=True)
class Forgotten:
    """The hashes of one key; none: nobody was forgotten."""

    key: bytes = b""
    users: frozenset[str] = frozenset()
    sessions: frozenset[str] = frozenset()
    before: "tuple[Forgotten, ...]" = ()
    """Those who were forgotten under keys that this one took the place of."""

    def __bool__(self) -> bool:
        return bool(self.users or self.sessions or any(self.before))

    def with_others(self, other: "Forgotten") -> "Forgotten":
        """Those of two lists under one key."""
        return Forgotten(self.key, self.users | other.users, self.sessions | other.sessions, self.before + other.before)

    def rows(self, users: pa.Array, sessions: pa.Array) -> Mask:
        """Which rows are a forgotten person's, by their pseudonyms: the user's, or of a visit of theirs that names
        nobody.
        """
        if not self:
            return np.zeros(len(users), bool)
        listed = self._among(users, self.users)
        if self.sessions:
            listed |= self._among(sessions, self.sessions) & ~texts.valid(texts.plain(users))
        return listed

    def earlier(self, users: pa.Array, sessions: pa.Array) -> Mask:
        """Which rows are theirs who were forgotten under an earlier key, by raw ids in their one form."""
        listed = np.zeros(len(users), bool)
        for old in filter(None, self.before):
            listed |= old.rows(pseudonyms(users, old.key, "user"), pseudonyms(sessions, old.key, "session"))
        return listed

    def in_texts(self, raws: Sequence[str], unread: Mask) -> Mask:
        """Which raw rows hold the id of a forgotten user or visit as a word of its own. Where a row's ids could be read
        (not `unread`), they say whose it is, and elsewhere in it only a `telling` id counts.
        """
        if not self or not raws:
            return np.zeros(len(raws), bool)
        words = [{word for tokens in TOKENS for word in tokens.findall(raw)} for raw in raws]
        every = sorted(set[str]().union(*words))
        ids = texts.identity(pa.array(every, pa.string()))[0]
        theirs: set[str] = set()
        for one in (self, *self.before):
            for kind, wanted in (("user", one.users), ("session", one.sessions)):
                if wanted and every:
                    hit = one._among(pseudonyms(ids, one.key, kind), wanted)  # type: ignore[arg-type]
                    theirs |= {every[at] for at in np.flatnonzero(hit).tolist()}
        sure = {word for word in theirs if telling(word)}
        wanted_of = zip(words, unread.tolist(), strict=True)
        return np.array([not (theirs if blind else sure).isdisjoint(row) for row, blind in wanted_of], bool)

    def _among(self, column: pa.Array, wanted: frozenset[str]) -> Mask:
        coded = texts.plain(column).dictionary_encode()
        hit = [name is not None and hashed(name, self.key) in wanted for name in coded.dictionary.to_pylist()]
        at = coded.indices.fill_null(len(hit)).to_numpy(zero_copy_only=False)
        listed: Mask = np.array([*hit, False], bool)[at]
        return listed


NOBODY = Forgotten()


def load(home: Path, key: bytes) -> Forgotten:
    """Who was forgotten under a key. Raises DataError where the list is damaged: without it people would come back."""
    listed = _read(home / NAME)
    keys = {key_name(each): each for each in ([key, *retired(home)] if listed else [key])}
    lost = [name for name in listed if name not in keys]
    if lost:
        raise DataError(
            f"{home / NAME} has people who were forgotten under keys that are not here: {', '.join(lost)}",
            kept="the outputs are as they were",
            next_step=f"put {RETIRED} of the home back: without it they would come back; or take "
            f"these keys out of {NAME}, where that does not matter any more",
        )
    one, *before = (
        Forgotten(each, *(frozenset[str](listed.get(name, {}).get(kind, ())) for kind in KINDS))  # type: ignore[arg-type]
        for name, each in keys.items()
    )
    return Forgotten(key, one.users, one.sessions, tuple(old for old in before if old))


def add(home: Path, key: bytes, names: Mapping[Kind, Iterable[str]]) -> Forgotten:
    """Put pseudonyms on the list, and return it; it is on disk then."""
    file = home / NAME
    content = _read(file)
    entry = content.setdefault(key_name(key), {})
    for kind in KINDS:
        entry[kind] = sorted({*entry.get(kind, ()), *(hashed(name, key) for name in names.get(kind, ()))})
    files.write_record(file, {"version": 1, "keys": content}, mode=0o600)
    return load(home, key)


def _read(file: Path) -> dict[str, Any]:
    return files.read_record(
        file,
        "the list of forgotten people",
        key="keys",
        kept="the outputs are as they were",
        why="without it a person who was forgotten would come back",
    )
