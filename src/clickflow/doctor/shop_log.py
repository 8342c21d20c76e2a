"""The shop's log and the key of its pseudonyms: what would make an ingest fail, checked before it is started."""

import os

from clickflow.doctor.finding import Finding, fault, warning, well
from clickflow.events import folders, sources
from clickflow.events.manifest import NAME as MANIFEST
from clickflow.events.origins import as_read
from clickflow.events.pseudonyms import VARIABLE, key_name, load_key
from clickflow.orchestration import repository
from clickflow.params.file import load
from clickflow.sequences.split import cut_offs
from clickflow.sequences.units import UNITS
from clickflow.system.errors import ClickflowError, DataError
from clickflow.system.files import read_json
from clickflow.system.moments import of_iso
from clickflow.system.paths import Paths

SOME = 20
"""So many files are looked into at either end; an ingest looks into all."""


def source(paths: Paths) -> list[Finding]:
    """Whether the log is there, can be read, and has the columns that params.yaml names.

    On a machine that only works for a repository elsewhere it may well not be there.
    """
    origin = os.environ.get("CLICKFLOW_REPOSITORY") or str(paths.root)
    bad = fault if repository.is_checkout(origin) else warning
    try:
        said = load(paths.params).source
    except ClickflowError:
        return []  # `params` has said it
    if said.kind == "simulator":
        return [well("source", "a simulated log; `clickflow inspect FILE` shows how to read yours")]
    if said.kind == "sql":
        if os.environ.get(said.sql_url_env):
            return [well("source", f"the database that {said.sql_url_env} names, not asked here")]
        mend = f"export {said.sql_url_env}=postgresql://user:password@host:5432/database"
        return [bad("source", f"source.kind is sql, and {said.sql_url_env} is not set", mend)]
    try:
        raw_files = folders.find_files(said, paths.root)
    except ClickflowError as error:
        return [bad("source", error.what, error.next_step)]
    try:
        sources.open_files(
            as_read(said), raw_files if len(raw_files) <= 2 * SOME else [*raw_files[:SOME], *raw_files[-SOME:]]
        )
    except DataError as error:
        return [bad("source", error.what, f"`clickflow inspect {said.path}` writes the block that reads it")]
    except ClickflowError as error:
        return [bad("source", error.what, error.next_step)]
    size = sum(path.stat().st_size for path in {path for _, path in raw_files})
    files = "1 file" if len(raw_files) == 1 else f"{len(raw_files):,} files"
    return [well("source", f"{said.path}: {files}, {size / 1e6:,.1f} MB, with the columns that params.yaml names")]


def span(paths: Paths) -> list[Finding]:
    """Whether the log, as the last ingest found it, is long enough for the horizons of the units that are listed."""
    try:
        params, card = load(paths.params), read_json(paths.ingest_card)
        first, last = (of_iso(card[name]) for name in ("first_event", "last_event"))
    except (ClickflowError, OSError, ValueError, KeyError, TypeError):
        return []  # `params` has said it, or nothing was ingested
    findings = []
    for unit in (UNITS[name] for name in params.units if UNITS[name].as_of):
        assert unit.as_of is not None
        how, settings = unit.as_of(getattr(params.sequences, unit.section)), params.sequences
        try:
            cut_offs(first, last + 1, how, settings.valid_share, settings.test_share)
        except DataError as error:
            findings.append(fault(f"unit {unit.name}", error.what, error.next_step))
    return findings


def key(paths: Paths) -> list[Finding]:
    """Whether the key is the one that the events were made with."""
    try:
        events_key = read_json(paths.events / MANIFEST)["settings"]["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # no events: the first ingest makes a key
    file = paths.home / "pseudonym.key"
    where = VARIABLE if os.environ.get(VARIABLE) else str(file)
    mend = "give the key they were made with; else the next ingest reads all anew, and everybody has another pseudonym"
    if where != VARIABLE and not file.exists():
        return [fault("pseudonym key", f"there is no {file}, and the events were made with one", mend)]
    try:
        same = key_name(load_key(paths.home)) == events_key
    except (ClickflowError, OSError) as error:
        return [fault("pseudonym key", getattr(error, "what", str(error)), mend)]
    return [well("pseudonym key", where) if same else fault("pseudonym key", f"{where} made other events", mend)]
