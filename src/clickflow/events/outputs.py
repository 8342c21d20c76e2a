"""From staged rows to the finished folders: events by day, quarantine, manifest and card."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clickflow.events import days, manifest, quarantine, reading
from clickflow.events.engine import Engine
from clickflow.events.manifest import Ingested, Manifest
from clickflow.events.recheck import Rechecked
from clickflow.events.rows import BIT, reasons_of
from clickflow.events.sources import SourceFile
from clickflow.events.staging import Stage
from clickflow.system import console, files, integrity
from clickflow.system.paths import Paths

APART, APART_SHARE = timedelta(days=365), 0.01
"""Events so long before all others, and so small a share of them, are worth a word."""


@dataclass(frozen=True)
class Work:
    """What an ingest has staged, and what it builds on.

    `kept` sources come from an earlier run; their quarantine is either taken over (`rechecked` None) or staged again.
    """

    folder: Path
    stage: Stage
    kept: tuple[Ingested, ...]
    new: tuple[Ingested, ...]
    """With the counts of the pass over them; what became of the rows is filled in here."""
    opened: Sequence[SourceFile]
    rechecked: Rechecked | None
    slice_rows: int
    threads: int
    engine: Engine
    keep_duplicates: bool
    key: bytes = field(repr=False)
    encrypted: bool
    """Whether quarantine is written so that only the key opens it."""
    newest_first: bool = False
    """See `source.newest_first`."""


class RebuildNeeded(Exception):
    """A row from quarantine has the instant and the actor of an accepted one: only the sources know their order."""


def build(
    work: Work, previous: Manifest | None, settings: Mapping[str, Any], paths: Paths, origin: Mapping[str, Any]
) -> Manifest:
    """Make `events` and `quarantine` in the scratch folder; the manifest, which stands in `events` then."""
    days = _write_days(work, previous, paths)
    sources = _add_up(work)
    path = work.folder / "quarantine" / quarantine.FILE
    tables = _quarantined(work, [source.name for source in sources], previous, paths)
    rows = quarantine.write(tables, path, work.key if work.encrypted else None)
    stored = {"rows": rows, "sha256": files.sha256(path)}
    built = Manifest(settings, sources, dict(sorted(days.items())), stored, origin)
    accepted = sum(day["rows"] for day in days.values())
    if built.total("accepted") != accepted or built.total("quarantined") != rows:
        raise AssertionError(f"rows do not add up: {accepted} and {rows} of {built.total('read')}")
    manifest.save(built, work.folder / "events")
    return built


def _write_days(work: Work, previous: Manifest | None, paths: Paths) -> dict[str, dict[str, int]]:
    events = work.folder / "events"
    events.mkdir()
    counts_by_day: dict[str, dict[str, int]] = {}
    touched = {days.folder_of(day): day for day in sorted(work.stage.days)}
    for name, counts in (previous.days if previous else {}).items():
        if name not in touched:
            (events / name).mkdir()
            _link(paths.events / name / "events.parquet", events / name / "events.parquet")
            counts_by_day[name] = dict(counts)

    def write(task: tuple[str, int]) -> tuple[str, days.Day]:
        name, day = task
        staged = work.stage.day(day)
        old = paths.events / name / "events.parquet"
        if previous is not None and name in previous.days:
            staged = pa.concat_tables([days.read_day(old), staged])
        return name, days.write_day(
            staged,
            events / name / "events.parquet",
            work.slice_rows,
            keep_duplicates=work.keep_duplicates,
            newest_first=work.newest_first,
        )

    doubles: list[tuple[np.ndarray, np.ndarray]] = []
    with console.progress("sorting", len(touched)) as advance:
        for name, day in reading.in_order(write, touched.items(), work.threads):
            counts_by_day[name] = {"rows": day.rows, "bytes": day.size}
            if (day.beside_kept < len(work.kept)).any():
                raise RebuildNeeded
            doubles.append((day.source, day.position))
            advance(1, f"{name.removeprefix('day=')}")
    _refuse_duplicates(work, doubles)
    return counts_by_day


def _refuse_duplicates(work: Work, doubles: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Find the texts of duplicates again, and refuse them."""
    source = np.concatenate([np.zeros(0, np.int32), *(each for each, _ in doubles)])
    position = np.concatenate([np.zeros(0, np.int64), *(each for _, each in doubles)])
    mask = BIT["duplicate"]
    old = source < len(work.kept)
    for number, at in zip(source[old].tolist(), position[old].tolist(), strict=True):
        assert work.rechecked is not None
        raw = work.rechecked.texts[number, at]
        work.stage.refuse(number, np.array([at]), np.array([mask], np.int32), [raw])
    for number, at, raws in reading.fetch(work.opened, len(work.kept), source[~old], position[~old], work.threads):
        work.stage.refuse(number, at, np.full(len(at), mask, np.int32), raws)


def _add_up(work: Work) -> tuple[Ingested, ...]:
    """Every source with its counts."""
    refused = work.stage.refused().select(["source", "mask"])
    pairs, counts = np.unique(
        np.stack([refused["source"].to_numpy(), refused["mask"].to_numpy()]), axis=1, return_counts=True
    )
    quarantined: dict[int, int] = {}
    reasons: dict[int, dict[str, int]] = {}
    for number, mask, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
        quarantined[number] = quarantined.get(number, 0) + count
        of_source = reasons.setdefault(number, {})
        for reason in reasons_of(mask):
            of_source[reason] = of_source.get(reason, 0) + count

    def counted(number: int, source: Ingested) -> Ingested:
        bad = quarantined.get(number, 0)
        good = source.read - bad - sum(source.ignored.values()) - source.forgotten
        return replace(source, accepted=good, quarantined=bad, reasons=dict(sorted(reasons.get(number, {}).items())))

    kept = work.kept
    if work.rechecked is not None:
        kept = tuple(counted(number, work.rechecked.added(number, source)) for number, source in enumerate(kept))
    new = tuple(counted(number, source) for number, source in enumerate(work.new, len(kept)))
    return kept + new


def _quarantined(work: Work, names: Sequence[str], previous: Manifest | None, paths: Paths) -> Iterator[pa.Table]:
    if previous is not None and work.rechecked is None:
        yield from quarantine.read(paths.quarantine, work.key)
    con = work.engine.cursor()
    con.execute(f"SET temp_directory = '{str(work.folder / 'spill').replace(chr(39), chr(39) * 2)}'")
    yield from quarantine.as_quarantine(work.stage.refused(), names, con)


def seal(folder: Path, paths: Paths) -> None:
    """Record the hashes of events, quarantine and card, which lie in the scratch folder."""
    card = os.path.relpath(paths.ingest_card, paths.events)
    integrity.seal(folder / "events", paths.home, beside={card: folder / "ingest.json"})
    integrity.seal(folder / "quarantine", paths.home)


def card_of(built: Manifest, events: Path, engine: Engine) -> dict[str, Any]:
    """reports/ingest.json: counts in total and by source, and what the events span."""
    pattern = str(events / "*" / "events.parquet")
    con = engine.cursor()
    con.execute(f"SET threads = {os.cpu_count() or 1}")
    con.execute("SET TimeZone = 'UTC'")
    first, last, users, sessions, items = con.execute(
        "SELECT strftime(min(event_time), '%Y-%m-%dT%H:%M:%S.%fZ'), strftime(max(event_time), "
        "'%Y-%m-%dT%H:%M:%S.%fZ'), count(DISTINCT user_id), count(DISTINCT session_id), count(DISTINCT item_id) "
        "FROM read_parquet(?, hive_partitioning = false)",
        [pattern],
    ).fetchone()
    return {
        "read": built.total("read"),
        "accepted": built.total("accepted"),
        "quarantined": built.total("quarantined"),
        "ignored": sum(built.ignored().values()),
        "forgotten": built.total("forgotten"),
        "reasons": built.reasons(),
        "ignored_types": built.ignored(),
        "unread": built.unread(),
        "currencies": built.currencies(),
        "sources": [
            {
                "source": source.name,
                "read": source.read,
                "accepted": source.accepted,
                "quarantined": source.quarantined,
                "ignored": sum(source.ignored.values()),
                "forgotten": source.forgotten,
                "blank_lines": source.blank_lines,
                "reasons": source.reasons,
                "lacks": source.described.get("lacks", []),
                "bytes": source.size,
                "sha256": source.sha256,
            }
            for source in built.sources
        ],
        "first_event": first,
        "last_event": last,
        "days": len(built.days),
        "apart": _apart(built.days),
        "users": users,
        "sessions": sessions,
        "items": items,
    }


def _apart(days: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The first days, where they have few events and the rest begins more than a year after them."""
    days = {name.removeprefix("day="): counts for name, counts in days.items()}
    names = sorted(days)
    total, passed, early = sum(day["rows"] for day in days.values()), 0, 0
    for at in range(1, len(names)):
        passed += days[names[at - 1]]["rows"]
        if passed > APART_SHARE * total:
            break
        if date.fromisoformat(names[at]) - date.fromisoformat(names[at - 1]) > APART:
            early = at
    return names[:early]


def _link(old: Path, new: Path) -> None:
    """A day that does not change, without copying it where the file system allows."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copy2(old, new)
