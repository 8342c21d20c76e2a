"""Who stands behind a pseudonym: raw id to pseudonym by the key, and back by reading the raw source again.

A keyed hash cannot be turned back, so the way back goes through the source: each of its ids is hashed until the one
asked for is met. No table of identities is kept. Every use of the key is a line of `<home>/who.jsonl` (mode 0600), on
disk before the answer is shown: when, who asked, which pseudonym, and never the raw id.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from clickflow.events import manifest, origins, reading
from clickflow.events.checks import check
from clickflow.events.engine import started
from clickflow.events.ingest import threads_of
from clickflow.events.presets import layout_of
from clickflow.events.pseudonyms import VARIABLE, key_name, load_key
from clickflow.events.rows import with_constants
from clickflow.events.rules import rules_for
from clickflow.events.sources import SourceFile, open_files
from clickflow.params.schema import Params
from clickflow.registry.ledger import actor
from clickflow.system import console
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.files import append, read_json
from clickflow.system.paths import Paths

Kind = Literal["user", "session"]
KINDS: tuple[Kind, ...] = ("user", "session")
NOT_CHANGED = "nothing was changed"


@dataclass(frozen=True)
class Identity:
    """A user or a session; `id` as the source writes it, None where it is not known."""

    kind: Kind
    pseudonym: str
    id: str | None = None


def existing_key(paths: Paths) -> bytes:
    """The key under which the events lie.

    Raises UsageError where there is none, or where it is not the one that the events were made with.
    """
    file = paths.home / "pseudonym.key"
    if not os.environ.get(VARIABLE) and not file.exists():
        raise UsageError(
            f"there is no key for pseudonyms here: neither {VARIABLE} nor {file}",
            kept=NOT_CHANGED,
            next_step="ask on the machine that ingests, or give its key by the variable",
        )
    key = load_key(paths.home)
    try:
        events_key = read_json(paths.events / manifest.NAME)["settings"]["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return key  # no events yet, or older ones
    if events_key != key_name(key):
        where = VARIABLE if os.environ.get(VARIABLE) else file
        raise UsageError(
            f"the key in {where} is not the one that the events were made with",
            kept=NOT_CHANGED,
            next_step="use the key of the ingest that made them, or run `clickflow ingest` again",
        )
    return key


def pseudonym_of(params: Params, kind: Kind, raw: str, key: bytes) -> str:
    """The pseudonym that ingest gives a raw id. Raises UsageError where ingest takes it for no id at all."""
    rules = rules_for(params, key)(layout_of(origins.as_read(params.source), ""))
    row = pa.table({"event_time": ["2000-01-01T00:00:00Z"], f"{kind}_id": [raw]})
    with started(params.ingest.memory_gb) as engine:
        pseudonym = check(row, rules, engine.cursor()).table[f"{kind}_id"][0].as_py()
    if pseudonym is None:
        raise UsageError(f"{raw!r} is no {kind} id: it is read as missing, as an empty cell is", kept=NOT_CHANGED)
    return str(pseudonym)


def search(params: Params, paths: Paths, wanted: Mapping[str, Kind], key: bytes) -> dict[str, str]:
    """The raw ids behind pseudonyms, as the source writes them; those that the source no longer has are missing.

    Reads the source of `params` from its beginning until all are met: files, a new snapshot of the SQL query, or the
    simulated log, in a folder of the home that is removed again. Raises what ingest raises where it cannot be read.
    """
    rules = rules_for(params, key)
    raw_ids: dict[str, str] = {}
    paths.home.mkdir(parents=True, exist_ok=True)
    with started(params.ingest.memory_gb) as engine, TemporaryDirectory(prefix=".who-", dir=paths.home) as folder:
        source, files = origins.raw_files(params, paths, Path(folder))
        opened = open_files(source, files)

        def blocks() -> Iterator[tuple[SourceFile, Any]]:
            for file in opened:
                for block in file.reader.blocks():
                    yield file, block

        def work(task: tuple[SourceFile, Any]) -> tuple[SourceFile, int, dict[str, str]]:
            file, block = task
            table = with_constants(file.reader.parse(block), file.constants).table
            checked = check(table, rules(file.layout), engine.cursor()).table
            return file, block.consumed, _met(table, checked, wanted)

        at: dict[str, int] = {}
        with console.progress("looking through the source", sum(path.stat().st_size for _, path in files)) as advance:
            for file, consumed, met in reading.in_order(work, blocks(), threads_of(params)):
                raw_ids |= met
                if len(raw_ids) == len(wanted):
                    break
                advance(consumed - at.get(file.name, 0), f"{len(raw_ids)} of {len(wanted)} met")
                at[file.name] = consumed
    return raw_ids


def _met(raw: pa.Table, checked: pa.Table, wanted: Mapping[str, Kind]) -> dict[str, str]:
    """Raw ids by pseudonym, of the rows of one block."""
    met = {}
    for kind in set(wanted.values()):
        column = f"{kind}_id"
        if column not in raw.column_names:
            continue
        names = pa.array([name for name, of in wanted.items() if of == kind], pa.string())
        place = pc.index_in(names, value_set=checked[column].combine_chunks())
        for name, row in zip(names.to_pylist(), place.to_pylist(), strict=True):
            if row is not None:
                met[name] = str(raw[column][row].as_py()).strip()
    return met


def record(paths: Paths, verb: str, given: str, who: Collection[Identity], by: str | None = None) -> Path:
    """Append a line for each identity to the log of such questions; it is on disk when this returns.

    `given`: `id` (a pseudonym was given) or `pseudonym` (a raw id was given). `by`: who asks; None: `ledger.actor`.
    """
    file = paths.home / "who.jsonl"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    common = {"time": now, "actor": by or actor(), "verb": verb, "asked": given}
    lines = [json.dumps({**common, "kind": one.kind, "pseudonym": one.pseudonym}, sort_keys=True) for one in who]
    try:
        append(file, "".join(f"{line}\n" for line in lines).encode(), mode=0o600)
        file.chmod(0o600)
    except OSError as error:
        raise ClickflowError(
            f"the question cannot be written into {file}: {error.strerror}",
            kept="it was not answered",
            next_step="make the file writable; who asks whom is always recorded",
        ) from error
    return file
