"""`clickflow replay`: rows in quarantine are checked again; those that a fix has made good become events.

A fix is a change of params that lets more rows in: a type added to `source.event_types`, a longer
`ingest.max_text_length`, guests accepted, a later `source.as_of`. The outcome is that of a new ingest with these
params, without reading the sources. Other changes touch accepted rows too, and ask for the ingest itself.
"""

from typing import Any

from clickflow.events import basis, forgotten, outputs
from clickflow.events import ingest as stage_of
from clickflow.events.commit import commit, scratch
from clickflow.events.engine import started
from clickflow.events.origins import as_read
from clickflow.events.presets import layout_of
from clickflow.events.pseudonyms import key_name, load_key, retired
from clickflow.events.recheck import recheck
from clickflow.events.rules import rules_for
from clickflow.events.staging import Stage
from clickflow.params.schema import Params
from clickflow.system import console, files, integrity
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths


def run(params: Params, paths: Paths, *, as_json: bool) -> None:
    """The verb."""
    result = replay(params, paths)
    console.emit(result, as_json=as_json, text=lambda: _text(result))


def replay(params: Params, paths: Paths) -> dict[str, Any]:
    """Check quarantine again; returns counts: checked, accepted, still_quarantined, and the totals after.

    Raises UsageError where nothing was ingested, or where the params changed in a way that touches accepted rows.
    """
    try:
        with started(params.ingest.memory_gb) as engine, scratch(paths) as folder:
            stage_of.check_source(params.source, engine)
            integrity.verify(paths.events, paths.quarantine, home=paths.home)
            previous = basis.load(paths)
            if previous is None:
                raise UsageError(
                    "there is nothing to replay: no ingest has left its events and quarantine here",
                    next_step="clickflow ingest",
                )
            key = load_key(paths.home)
            before = previous.total("accepted"), previous.total("quarantined")
            settings = basis.settings(params, key_name(key), [key_name(old) for old in retired(paths.home)])
            touched = basis.tightened(previous.settings, settings)
            if touched:
                raise UsageError(
                    f"these params changed since the ingest, and with them accepted rows too: {', '.join(touched)}",
                    kept="events and quarantine are as they were",
                    next_step="clickflow ingest",
                )
            staged = Stage(folder)
            rechecked = recheck(
                previous,
                paths.quarantine,
                lambda name: layout_of(as_read(params.source), name),
                rules_for(params, key, forgotten.load(paths.home, key)),
                staged,
                engine,
                key,
            )
            work = stage_of.work_of(params, folder, staged, previous.sources, (), (), rechecked, engine, key)
            built = outputs.build(work, previous, settings, paths, previous.origin)
            card = outputs.card_of(built, folder / "events", engine)
            files.write_json(folder / "ingest.json", card)
            outputs.seal(folder, paths)
            commit(
                folder,
                paths,
                {"quarantine": paths.quarantine, "ingest.json": paths.ingest_card, "events": paths.events},
            )
            return _result(before, card)
    except outputs.RebuildNeeded:
        console.say("a row from quarantine ties with an accepted one: reading the sources again, to keep its place")
    return _result(before, stage_of.ingest(params, paths, rebuild=True))


def _result(before: tuple[int, int], card: dict[str, Any]) -> dict[str, Any]:
    return {
        "in_quarantine_before": before[1],
        "taken_in": card["accepted"] - before[0],
        "still_quarantined": card["quarantined"],
        "ignored": card["ignored"],
        "reasons": card["reasons"],
        "read": card["read"],
        "accepted": card["accepted"],
    }


def _text(result: dict[str, Any]) -> str:
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(result["reasons"].items()))
    ignored = result["in_quarantine_before"] - result["taken_in"] - result["still_quarantined"]
    return (
        f"{result['in_quarantine_before']:,} rows were in quarantine: {result['taken_in']:,} taken in, "
        f"{f'{ignored:,} ignored by their type, ' if ignored else ''}"
        f"{result['still_quarantined']:,} stay{': ' + reasons if reasons else ''}"
    )
