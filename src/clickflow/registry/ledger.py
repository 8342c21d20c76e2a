"""The ledger: every decision and every change of champion, one JSON line each, only ever appended.

Each line holds the hash of the line before it, so a line that was changed, removed or put in between shows, and a
signature, so that nobody else can write the chain anew. The newest line is kept in git as well, so that a ledger that
lost its end shows. The last line that moved a champion says who is champion; the aliases in MLflow follow it.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from clickflow.registry import git_head, signatures
from clickflow.system import files
from clickflow.system.console import say
from clickflow.system.errors import DataError
from clickflow.system.paths import Paths

Action = Literal["promote", "hold", "reject", "refuse", "rollback", "canary", "stop"]

FIRST = "0" * 64
"""What the first line holds for the hash of the line before it."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line.

    `version` is the registered version the line speaks of (0: it was refused before it got one), `champion` and
    `previous` are those of `model` after the line (0: none), so a line with action promote or rollback can be replayed
    without the ones before it. `time` is ISO 8601 in UTC. `facts`: what the action rests on (hashes, commit, run,
    metrics). `before` is the hash of the line before, `hash` that of this one, `signature` (hex) is of all
    the others, under the key called `key`; lines of before there were signatures have neither.
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
    key: str = ""
    signature: str = ""

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
    strength. Raises DataError, with the line, where the chain of hashes is broken, or a line is not signed by a key of
    this home although it, or one before it, says that it is signed.
    """
    entries: list[Entry] = []
    keys: dict[str, str] | None = None
    for number, line in enumerate(_lines(file), start=1):
        try:
            content = json.loads(line)
            entry = Entry(**content)
            before = entries[-1].hash if entries else FIRST
            whole = entry.number == number and entry.before == before and entry.hash == hash_of(content)
            whole = whole and line == canonical(content)
        except (ValueError, TypeError, RecursionError):
            whole = False
        if not whole:
            raise _changed(file, number, "does not follow from the lines before it")
        if entry.signature or (entries and entries[-1].signature):
            keys = signatures.trusted(file.parent) if keys is None else keys
            if not signatures.holds(keys.get(entry.key), entry.signature, _signed(content)):
                raise _changed(file, number, _unbelieved(entry, keys))
        entries.append(entry)
    if entries and not entries[-1].signature and signatures.expected(file.parent):
        raise _changed(
            file, len(entries), f"has no signature, and {signatures.PUBLIC_FILE} says that lines were signed"
        )
    return entries


def whole(paths: Paths) -> list[Entry]:
    """As `read`, and held against the newest line that git keeps. Raises DataError where lines are missing."""
    file = path(paths)
    newest = git_head.newest(paths, signatures.trusted(file.parent))  # before the ledger, which only grows
    entries = read(file)
    lines = _lines(file) if newest else []
    for reference, blob in newest.items():
        if any(git_head.blob_of(line + b"\n", blob) == blob for line in lines):
            continue
        lost = _believed(git_head.content(paths, reference, blob), file.parent)
        if lost is None:
            say(f"warning: {reference} in git is no line that this ledger's key has signed: somebody else wrote it")
            continue
        raise DataError(
            f"the ledger lost lines: git keeps line {lost.number} as its newest ({lost.action} {lost.model} version "
            f"{lost.version}, {lost.time[:19]} UTC, by {lost.actor}), and {file} ends with line {len(entries)}"
            if lost.number > len(entries)
            else f"the ledger was changed: line {lost.number} of {file} is not the one that git keeps",
            kept="no champion was changed; the registry and its aliases are as they were",
            next_step="put the whole ledger back from a backup. Where its end is lost for good, "
            f"`git -C {git_head.place(paths)} update-ref -d {reference}` goes on without it",
        )
    return entries


def signing(entries: Sequence[Entry]) -> str:
    """What a person should know of the signatures; empty where every line has one, of one key."""
    unsigned = sum(not entry.signature for entry in entries)
    if unsigned:
        since = "the next line will have one" if unsigned == len(entries) else f"signed from line {unsigned + 1} on"
        return f"lines 1 to {unsigned} of the ledger have no signature, only their chain of hashes; {since}"
    others = [entry for before, entry in pairwise(entries) if entry.key != before.key]
    return f"from line {others[-1].number} of the ledger on another key signs" if others else ""


def _lines(file: Path) -> list[bytes]:
    try:
        *lines, rest = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    if not torn(rest):
        raise _changed(file, len(lines) + 1, "ends with what is no line break")
    return lines


def torn(rest: bytes) -> bool:
    """Whether what stands behind the last line break was being written when the power went: the begin of a line. A
    whole line with one more byte is none; its line break has changed.
    """
    try:
        return not isinstance(json.loads(rest[:-1]), dict)
    except (ValueError, RecursionError):
        return True


def _changed(file: Path, number: int, why: str) -> DataError:
    return DataError(
        f"the ledger was changed: line {number} of {file} {why}",
        kept="no champion was changed; the registry and its aliases are as they were",
        next_step="put the ledger back from a backup, with ledger.key and ledger.pub; then run `clickflow status`",
    )


def _unbelieved(entry: Entry, keys: Mapping[str, str]) -> str:
    if not entry.signature:
        return "has no signature, and the lines before it have"
    if entry.key not in keys:
        known = f"{signatures.PUBLIC_FILE} and {signatures.PUBLIC} hold {', '.join(keys) or 'none'}"
        return f"is signed by a key that is not this ledger's, {entry.key or 'without a name'}: {known}"
    return "is not what was signed"


def _believed(line: bytes, home: Path) -> Entry | None:
    """A line by itself, where it is one that a key of this home signed."""
    try:
        content = json.loads(line)
        entry = Entry(**content)
    except (ValueError, TypeError):
        return None
    key = signatures.trusted(home).get(entry.key)
    return entry if signatures.holds(key, entry.signature, _signed(content)) else None


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
    file.parent.mkdir(parents=True, exist_ok=True)
    signer = signatures.signer(file.parent)
    content["key"] = signer.name
    content["hash"] = hash_of(content)
    entry = Entry(**content, signature=signer.sign(_signed(content)))
    cut_torn_line(file)
    files.append(file, canonical(asdict(entry)) + b"\n")
    signatures.publish(file.parent, signer.public)
    entries.append(entry)
    return entry


def note(paths: Paths, entries: list[Entry], **words: Any) -> Entry:
    """`append` to the ledger of this home, and keep the line in git as its newest."""
    entry = append(path(paths), entries, **words)
    git_head.keep(paths, canonical(asdict(entry)) + b"\n", entry.key)
    return entry


def standing(entries: Iterable[Entry], model: str) -> Standing:
    """Who is champion of `model`, by the last line that moved it."""
    latest = Standing()
    for entry in entries:
        if entry.model == model and entry.moves:
            latest = Standing(entry.champion, entry.previous, entry)
    return latest


def facts_of(entries: Iterable[Entry], model: str, version: int) -> Mapping[str, Any]:
    """What the last line on a version that recorded its files says of it; empty where none did."""
    of = [e.facts for e in entries if e.model == model and e.version == version and "artefact_sha256" in e.facts]
    return of[-1] if of else {}


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


def cut_torn_line(file: Path) -> None:
    """Remove what a power cut left of a line that was being written: the next one would be written behind it."""
    if not file.exists():
        return
    raw = file.read_bytes()
    whole = raw.rfind(b"\n") + 1
    if whole < len(raw):
        os.truncate(file, whole)
        say(f"the last line of {file} was cut off while it was being written; removed, nothing rested on it")


def canonical(content: Mapping[str, Any]) -> bytes:
    """The one form in which a line is hashed and written."""
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def hash_of(content: Mapping[str, Any]) -> str:
    """Of all but itself and the signature, whatever the fields of that day were."""
    return hashlib.sha256(
        canonical({key: value for key, value in content.items() if key not in ("hash", "signature")})
    ).hexdigest()


def _signed(content: Mapping[str, Any]) -> bytes:
    """What a signature is of: the line without it, whatever the fields of that day were."""
    return b"clickflow ledger\n" + canonical({key: value for key, value in content.items() if key != "signature"})
