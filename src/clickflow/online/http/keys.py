"""Keys of clients: their hashes, with the scopes of each, in `<home>/serving-keys.json` (mode 0600). One more, which
may read and tell events, stands in CLICKFLOW_SERVING_KEY: of containers.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from clickflow.system.errors import DataError, UsageError
from clickflow.system.files import read_json, write_bytes

Scope = Literal["read", "events", "people", "promote"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
PREFIX = "cf_"
VARIABLE = "CLICKFLOW_SERVING_KEY"
SHORTEST = 32
"""Letters of a key that is given, not made."""


@dataclass(frozen=True)
class Key:
    """A client: its name, for counts and logs, and what it may do."""

    name: str
    scopes: frozenset[str]


def file_of(home: Path) -> Path:
    """Where the hashes are."""
    return home / "serving-keys.json"


def load(home: Path) -> Mapping[bytes, Key]:
    """The keys by the hash of each. Raises DataError where the file is not one of keys, UsageError where the
    variable's is too short to be safe.
    """
    return {**_filed(file_of(home)), **_given(os.environ.get(VARIABLE, ""))}


def _given(key: str) -> Mapping[bytes, Key]:
    if 0 < len(key) < SHORTEST:
        raise UsageError(
            f"{VARIABLE} has {len(key)} letters; at least {SHORTEST} cannot be guessed", kept="nobody is let in by it"
        )
    return {hashed(key): Key("variable", frozenset({"read", "events"}))} if key else {}


def _filed(file: Path) -> Mapping[bytes, Key]:
    try:
        rows = read_json(file)
        return {bytes.fromhex(row["sha256"]): Key(name, frozenset(row["scopes"])) for name, row in rows.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{file} cannot be read as keys: {error}",
            kept="nobody is let in by it",
            next_step="put it back from a backup, or remove it and make new keys",
        ) from error


def hashed(key: str) -> bytes:
    """What is kept of a key: it has 256 bits drawn at random, so a plain hash tells nothing."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def make(home: Path, name: str, scopes: tuple[str, ...]) -> str:
    """A new key of that name, in the place of an older one; it is kept nowhere.

    Raises UsageError where name or scopes are none.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a name for a key: letters, digits, _ . and -, at most 64", kept="no key was made"
        )
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise UsageError(f"there is no scope {unknown[0]!r}; there is: {', '.join(SCOPES)}", kept="no key was made")
    from filelock import FileLock

    home.mkdir(parents=True, exist_ok=True)
    file = file_of(home)
    with FileLock(file.with_suffix(".lock")):  # of two that are made at once, both stay
        load(home)
        rows = read_json(file) if file.exists() else {}
        key = PREFIX + secrets.token_urlsafe(32)
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        rows[name] = {"sha256": hashed(key).hex(), "scopes": sorted(scopes), "made": moment}
        write_bytes(file, (json.dumps(rows, indent=2, sort_keys=True) + "\n").encode(), mode=0o600)
    return key


class Bucket:
    """A token bucket a client: `rate` a second on average, `burst` at once. For one thread."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, float(burst)
        self._held: dict[str, tuple[float, float]] = {}

    def wait(self, client: str, now: float) -> float:
        """Seconds until the client may ask; 0: it may, and one token is gone."""
        tokens, last = self._held.get(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - last) * self._rate)
        if tokens < 1:
            return (1 - tokens) / self._rate
        if len(self._held) >= 10_000 and client not in self._held:
            full = self._burst / self._rate
            self._held = {who: held for who, held in self._held.items() if now - held[1] < full}
        self._held[client] = (tokens - 1, now)
        return 0.0
