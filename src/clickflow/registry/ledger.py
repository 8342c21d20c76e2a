"""The ledger: every decision and every change of champion, one JSON line each, only ever appended.

Each line holds the hash of the line before it, so a line that was changed, removed or put in between shows. The last
line that moved a champion says who is champion; the aliases in MLflow follow it.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from clickflow.console import say
from clickflow.errors import DataError
from clickflow.paths import Paths

Action = Literal["promote", "hold", "reject", "refuse", "rollback"]

FIRST = "0" * 64
"""What the first line holds for the hash of the line before it."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line.

    `version` is the registered version the line speaks of (0: it was refused before it got one), `champion` and
    `previous` are those of `model` after the line (0: none), so a line with action promote or rollback can be replayed
    without the ones before it. `time` is ISO 8601 in UTC. `facts`: what the action rests on (hashes, commit, run,
    metrics). `before` is the hash of the line before, `hash` that of this one.
    """

    number: int
    time: str
    actor: str
    action: Action
    model: str
    version: int
    champion: int
    previous: int
    reason: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    before: str
    hash: str

    @property
    def moves(self) -> bool:
        """Whether the line set the champion."""
        return self.action in ("promote", "rollback")


@dataclass(frozen=True)
class Standing:
    """Who is champion of a model, by which line; all None and 0 where the ledger names none."""

    champion: int = 0
    previous: int = 0
    entry: Entry | None = None


def path(paths: Paths) -> Path:
    """Where the ledger lies."""
    return paths.home / "ledger.jsonl"


def read(file: Path) -> list[Entry]:
    """Every line, in order; empty where there is no ledger.

    A last line without its line break was being written when the power went: it is left out, nothing was done on its
    strength. Raises DataError, with the line, where the chain of hashes is broken.
    """
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        return []
    entries: list[Entry] = []
    before = FIRST
    for number, line in enumerate(raw.split(b"\n")[:-1], start=1):
        try:
            entry = Entry(**json.loads(line))
            whole = entry.number == number and entry.before == before and entry.hash == _hash(asdict(entry))
        except (ValueError, TypeError):
            whole = False
        if not whole:
            raise DataError(
                f"the ledger was changed: line {number} of {file} does not follow from the lines before it",
                kept="no champion was changed; the registry and its aliases are as they were",
                next_step="put the ledger back from a backup, then run `clickflow status`",
            )
        entries.append(entry)
        before = entry.hash
    return entries


def append(
    file: Path,
    entries: list[Entry],
    *,
    action: Action,
    model: str,
    version: int,
    champion: int,
    previous: int,
    reason: str,
    facts: Mapping[str, Any],
) -> Entry:
    """Add one line after `entries` (what `read` gave, under the same lock) and return it; it is on disk by then."""
    content: dict[str, Any] = {
        "number": len(entries) + 1,
        "time": datetime.now(UTC).isoformat(timespec="microseconds"),
        "actor": actor(),
        "action": action,
        "model": model,
        "version": version,
        "champion": champion,
        "previous": previous,
        "reason": reason,
        "facts": dict(facts),
        "before": entries[-1].hash if entries else FIRST,
    }
    entry = Entry(**content, hash=_hash(content))
    file.parent.mkdir(parents=True, exist_ok=True)
    _cut_torn_line(file)
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, _canonical(asdict(entry)) + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    entries.append(entry)
    return entry


def standing(entries: Iterable[Entry], model: str) -> Standing:
    """Who is champion of `model`, by the last line that moved it."""
    found = Standing()
    for entry in entries:
        if entry.model == model and entry.moves:
            found = Standing(entry.champion, entry.previous, entry)
    return found


def foretell(frozen: Mapping[str, int], paths: Paths) -> None:
    """Say, before work begins, where the gate's decision could not be promoted: params.yaml names another champion.

    `frozen` are the versions that it names, by model. Only the ledger is asked, which costs nothing; one that cannot be
    read is left to who must read it.
    """
    try:
        entries = read(path(paths))
    except (DataError, OSError):
        return
    for model, version in sorted(frozen.items()):
        now = standing(entries, model)
        if now.entry and now.champion != version:
            name = f"version {now.champion}" if now.champion else "none"
            say(
                f"warning: the champion of {model} is {name}, and params.yaml says {version}: run `clickflow open` "
                f"first, or `clickflow promote` will refuse what the gate decides"
            )


def champions(entries: Iterable[Entry], model: str) -> set[int]:
    """The versions of `model` that are champion, or were."""
    return {entry.champion for entry in entries if entry.model == model and entry.moves} - {0}


def actor() -> str:
    """Who acts: `CLICKFLOW_PERSON`, whose run this is, or `CLICKFLOW_ACTOR`; else the user of the operating system."""
    import getpass

    for name in ("CLICKFLOW_PERSON", "CLICKFLOW_ACTOR"):
        if named := os.environ.get(name, "").strip():
            return named
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user id without a name
        return f"uid {os.getuid()}"


def _cut_torn_line(file: Path) -> None:
    if not file.exists():
        return
    raw = file.read_bytes()
    whole = raw.rfind(b"\n") + 1
    if whole < len(raw):
        os.truncate(file, whole)
        say(f"the last line of {file} was cut off while it was being written; removed, nothing rested on it")


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical({key: value for key, value in content.items() if key != "hash"})).hexdigest()
