"""The stage `ingest`: any source to canonical events, day by day; what cannot be accepted goes to quarantine.

Read = accepted + quarantined + ignored + forgotten, for every source and in total. The outputs change together, and
only when all of them are whole. Sources that sort after those already taken in are appended; anything else is read from
scratch.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.markup import escape

from clickflow.events import (
    basis,
    folders,
    forgotten,
    manifest,
    missing,
    origins,
    outputs,
    quarantine,
    reading,
    remarks,
    times,
)
from clickflow.events.commit import commit, scratch
from clickflow.events.digests import digests, steady
from clickflow.events.engine import Engine, started
from clickflow.events.manifest import Ingested, Manifest
from clickflow.events.presets import layout_of
from clickflow.events.pseudonyms import key_name, load_key, retired
from clickflow.events.recheck import Rechecked, recheck
from clickflow.events.roots import of_run
from clickflow.events.rules import rules_for
from clickflow.events.sources import SourceFile, open_files
from clickflow.events.staging import Stage
from clickflow.events.storage import UNTOUCHED
from clickflow.events.text_blocks import BLOCK
from clickflow.params.schema import Params
from clickflow.params.source import Source
from clickflow.system import console, files, integrity
from clickflow.system.errors import ClickflowError, DataError, UsageError
from clickflow.system.paths import Paths

MIXED = 0.01
"""More times of a file than this share, in another unit than the rest, stop the ingest; fewer are strays."""
ROW_BYTES = 130
"""Of a staged row, about."""


def run(params: Params, paths: Paths) -> None:
    """Ingest the source of `params` into `paths`, and say what came of it."""
    if params.source.kind == "simulator" and (unread := _logs_beside(params.source, paths)):
        console.say(
            f"[bold yellow]note[/] {escape(params.source.path)} holds files ({unread:,}) that are not read, for "
            f"source.kind is simulator; `clickflow inspect {escape(params.source.path)} --write` makes them the source"
        )
    card = ingest(params, paths)
    share = params.ingest.max_file_quarantine_share
    for line in remarks.lines(card, paths.quarantine, share, load_key(paths.home)):
        console.say(f"[bold yellow]note[/] {escape(line)}")
    if _either_order(params.source, paths):
        console.say(
            "[bold yellow]note[/] all days are the first twelve of their months: with day and month changed over every "
            f"time would be one too ({times.twin(params.source.time_format)}); look whether these are the days"
        )
    console.emit(card, as_json=False, text=lambda: summary(card))


def _either_order(source: Source, paths: Paths) -> bool:
    """Whether nothing in the times says which of two numbers is the day."""
    days = [int(path.name[-2:]) for path in paths.events.glob("day=*")]
    return times.twin(source.time_format) is not None and len(days) > 1 and max(days) <= 12


def _logs_beside(source: Source, paths: Paths) -> int:
    """How many files lie where a log would, beside a source that is no folder; a run is not told."""
    if of_run(Path()) is not None:
        return 0
    try:
        return len(folders.find_files(source, paths.root))
    except ClickflowError:
        return 0


def ingest(params: Params, paths: Paths, *, rebuild: bool = False) -> dict[str, Any]:
    """Ingest; returns the card (reports/ingest.json). `rebuild`: take nothing over from an earlier run.

    Raises UsageError or DataError, with the outputs as they were, where the source or the params cannot be used.
    """
    try:
        with started(params.ingest.memory_gb) as engine:
            check_source(params.source, engine)
            key = load_key(paths.home)
            with scratch(paths) as folder:
                return _ingest(params, paths, folder, key, engine, rebuild=rebuild)
    except outputs.RebuildNeeded:
        console.say("a row from quarantine ties with an accepted one: reading everything again, to keep its place")
    return ingest(params, paths, rebuild=True)


def _ingest(params: Params, paths: Paths, folder: Path, key: bytes, engine: Engine, *, rebuild: bool) -> dict[str, Any]:
    source, raw_files = origins.raw_files(params, paths, folder)
    with steady(path for _, path in raw_files):
        ingested, stage, opened = _take_in(params, paths, folder, source, raw_files, key, engine, rebuild=rebuild)
    if not ingested.total("accepted"):
        raise _advised(_nothing(ingested, stage, opened), params, raw_files, engine)
    card = outputs.card_of(ingested, folder / "events", engine)
    files.write_json(folder / "ingest.json", card)
    origins.write_truth(params, folder, folder / "truth", key, forgotten.load(paths.home, key))
    integrity.seal(folder / "truth", paths.home)
    outputs.seal(folder, paths)
    quarantine.guard(paths.root)
    commit(
        folder,
        paths,
        {
            "quarantine": paths.quarantine,
            "truth": paths.truth,
            "ingest.json": paths.ingest_card,
            "events": paths.events,
        },
    )
    return card


def _take_in(
    params: Params,
    paths: Paths,
    folder: Path,
    source: Source,
    files: list[tuple[str, Path]],
    key: bytes,
    engine: Engine,
    *,
    rebuild: bool,
) -> tuple[Manifest, Stage, list[SourceFile]]:
    """Read what is new among the files, and make events and quarantine in the scratch folder."""
    try:
        opened = open_files(source, files)
    except DataError as error:
        raise _advised(error, params, files, engine) from error
    hashed = digests(files, paths.home)
    marks = [(name, digest.size, digest.sha256) for (name, _), digest in zip(files, hashed, strict=True)]
    settings = basis.settings(params, key_name(key), [key_name(old) for old in retired(paths.home)])
    previous = basis.load(paths)
    _same_key(manifest.read(paths.events), settings, paths)
    missing.check(manifest.read(paths.events), params, [name for name, _ in files])
    if rebuild:
        previous = None
    if previous is not None and not _continues(previous, settings, marks):
        previous = None
    # what other files have and these lack may have changed with the files that are new
    kept = tuple(
        replace(source, described=file.described)
        for source, file in zip(previous.sources if previous else (), opened, strict=False)
    )
    stage = Stage(folder)
    rules = rules_for(params, key, forgotten.load(paths.home, key))
    rechecked = None
    if previous is not None and previous.settings != settings:
        names = {file.name: file.layout for file in opened}
        rechecked = recheck(previous, paths.quarantine, names.__getitem__, rules, stage, engine, key)
    todo = list(enumerate(opened))[len(kept) :]
    if kept:
        console.say(f"{len(kept)} of {len(opened)} files were taken in before; {len(todo)} to read")
    tallies = reading.read_files(todo, rules, stage, engine, threads_of(params))
    for number, file in todo:
        _check_times(file, tallies[number])
        _check_order(file, tallies[number])
        _check_ids(file, tallies[number])
        _say_direction(file, tallies[number], newest_first=params.source.newest_first)
    new = tuple(
        Ingested(
            name=name,
            size=size,
            sha256=sha256,
            described=file.described,
            read=tallies[number].read,
            accepted=0,
            quarantined=0,
            blank_lines=tallies[number].blank_lines,
            reasons={},
            ignored=dict(sorted(tallies[number].ignored.items())),
            unread=tallies[number].unread,
            currencies=dict(sorted(tallies[number].currencies.items())),
            forgotten=tallies[number].forgotten,
        )
        for (number, file), (name, size, sha256) in zip(todo, marks[len(kept) :], strict=True)
    )
    work = work_of(params, folder, stage, kept, new, [file for _, file in todo], rechecked, engine, key)
    return outputs.build(work, previous, settings, paths, missing.origin(params)), stage, opened


def _check_times(file: SourceFile, tally: reading.Tally) -> None:
    """Raise DataError where times of a file are so early that they were read in a wrong unit: most of them, or, where
    another unit makes them times of our days, more than a few.
    """
    form = file.layout.time_format
    unit = times.likely_unit(tally.early_time / times.UNITS[form]) if form in times.UNITS else None
    if tally.early <= (MIXED if unit else 0.5) * tally.good:
        return
    mixed = unit is not None and tally.early * 2 <= tally.good
    year = datetime.fromtimestamp(tally.early_time / 1e6, UTC).year
    raise DataError(
        f"{file.path}: {tally.early:,} of its {tally.good:,} good rows are before 1990, such as in {year}"
        + (f"; as {unit} they would be of our days, they were read as {form}" if unit else ""),
        kept=UNTOUCHED,
        next_step="write its times in one unit"
        if mixed
        else f"set source.time_format to {unit or 'what the file has'} in params.yaml"
        + ("" if unit else ", or correct its times"),
    )


def _check_order(file: SourceFile, tally: reading.Tally) -> None:
    """Raise DataError where times of a file have day and month in two orders, or in the other one: those of the first
    twelve days of a month would be read as other days without a word.
    """
    form = file.layout.time_format
    if not tally.swapped:
        return
    said = (
        f"{tally.swapped:,} of its {tally.good + tally.swapped:,} times are {times.twin(form)}, and no {form}: "
        "day and month have changed places"
    )
    if tally.swapped <= MIXED * (tally.good + tally.swapped):
        console.say(
            f"[bold yellow]note[/] {escape(f'{file.name}: {said}; they are in quarantine, and of the others some may')}"
            " be other days"
        )
        return
    raise DataError(
        f"{file.path}: {said}, so those of the first twelve days of a month may be read as other days",
        kept=UNTOUCHED,
        next_step="write its times in one order, best as 2026-01-31; where all of the file has the other one, set "
        f"source.time_formats to {{{file.name!r}: {times.twin(form)!r}}} in params.yaml",
    )


def _check_ids(file: SourceFile, tally: reading.Tally) -> None:
    """Raise DataError where a program has rounded the ids of a file: nothing tells them apart any more."""
    for said in reading.cut_off(tally.rounded):
        raise DataError(
            f"{file.path}: {said}",
            kept=UNTOUCHED,
            next_step="export the column again as text, with no program between that takes it for numbers; ids that "
            "are so by themselves are told by a letter before them",
        )


def _say_direction(file: SourceFile, tally: reading.Tally, *, newest_first: bool) -> None:
    """Say where a file stands the other way round than its events of one instant are taken to be."""
    against, along = (tally.rises, tally.falls) if newest_first else (tally.falls, tally.rises)
    if not tally.tied or not reading.one_way(against, along):
        return
    way = ("oldest", "newest")[not newest_first]
    console.say(
        f"[bold yellow]note[/] {escape(file.name)} stands {way} first, and {tally.tied:,} of its rows have the instant "
        f"of the row before: their order is taken to be {'the reverse of ' * newest_first}that of the file; "
        f"source.newest_first: {str(not newest_first).lower()} turns it round"
    )


def work_of(
    params: Params,
    folder: Path,
    stage: Stage,
    kept: tuple[Ingested, ...],
    new: tuple[Ingested, ...],
    opened: Sequence[SourceFile],
    rechecked: Rechecked | None,
    engine: Engine,
    key: bytes,
) -> outputs.Work:
    """The staged rows with what is needed to finish them within `ingest.memory_gb`."""
    stage.flush()
    threads = threads_of(params)
    slice_rows = max(50_000, int(params.ingest.memory_gb * 1e9 / ROW_BYTES / 4 / threads))
    return outputs.Work(
        folder,
        stage,
        kept,
        new,
        opened,
        rechecked,
        slice_rows,
        threads,
        engine,
        params.ingest.duplicates == "keep",
        key,
        "quarantine" in params.ingest.encrypt,
        params.source.newest_first,
    )


def threads_of(params: Params) -> int:
    """As many as there are cores and memory for."""
    return max(1, min(os.cpu_count() or 1, 8, int(params.ingest.memory_gb * 1e9 / (BLOCK * 24))))


def check_source(source: Source, engine: Engine) -> None:
    """Raise UsageError on what only shows when it is used: time zone, time format, names of columns and types."""
    layout_of(source, "")
    con = engine.cursor()
    if not times.known_timezone(source.timezone, con):
        raise UsageError(
            f"source.timezone: {source.timezone!r} is not a time zone",
            kept=UNTOUCHED,
            next_step="use a name such as Europe/Amsterdam, or UTC",
        )
    forms = {"source.time_format": source.time_format}
    forms |= {f"source.time_formats: {name}": form for name, form in source.time_formats.items()}
    for name, form in forms.items():
        known = (*times.UNITS, times.EXCEL, "order")
        if form is not None and form not in known and not times.known_pattern(form, con):
            raise UsageError(
                f"{name}: {form!r} is neither s, ms, us, excel, order nor a strptime pattern",
                kept=UNTOUCHED,
                next_step="use a pattern such as %d/%m/%Y %H:%M, or null for ISO 8601",
            )


def summary(card: dict[str, Any]) -> str:
    """The card for a person."""
    ignored = f" + {card['ignored']:,} ignored" if card["ignored"] else ""
    ignored += f" + {card['forgotten']:,} forgotten" if card["forgotten"] else ""
    lines = [
        f"{card['read']:,} rows read = {card['accepted']:,} accepted + {card['quarantined']:,} quarantined{ignored}",
        f"{card['first_event']} to {card['last_event']}, {card['days']:,} days: "
        f"{card['users']:,} users, {card['sessions']:,} sessions, {card['items']:,} items",
    ]
    if card["reasons"]:
        counts = sorted(card["reasons"].items(), key=lambda item: (-item[1], item[0]))
        lines.append("quarantined for: " + ", ".join(f"{reason} {count:,}" for reason, count in counts))
    if card["reasons"].get("inexact_id"):
        lines.append(
            "  inexact_id: numbers that have lost digits, such as 1.23457E+11, are ids that nothing tells apart: "
            "export them again as text"
        )
    if card["ignored_types"]:
        lines.append(
            "ignored types: " + ", ".join(f"{name} {count:,}" for name, count in card["ignored_types"].items())
        )
    for column, reasons in card["unread"].items():
        for reason, seen in reasons.items():
            lines.append(
                f"{column} left empty in {seen['count']:,} events, for {reason}; such as {seen['text'][:80]!r}, "
                f"{seen['source']}, line {seen['line']}"
            )
    if "bad_number" in card["unread"].get("price", {}):
        lines.append("  how prices are written: source.decimal, source.thousands and source.currency in params.yaml")
    return "\n".join(lines)


def _same_key(before: Manifest | None, settings: dict[str, Any], paths: Paths) -> None:
    """Say where the key is another one, and no successor of that of the events: a flipped letter is enough."""
    own = [settings["key"], *settings.get("former_keys", ())]
    if before is not None and before.settings.get("key") not in own:
        console.say(
            f"warning: the events were made under the pseudonym key {before.settings.get('key')}, and this one is "
            f"{settings['key']}: everybody gets another pseudonym, and stores, predictions and the log of answers name "
            f"others. Where that is not meant, put {paths.home / 'pseudonym.key'} back and run this again"
        )


def _continues(previous: Manifest, settings: dict[str, Any], marks: Sequence[tuple[str, int, str]]) -> bool:
    """Whether what an earlier run took in is what this run would begin with."""
    if basis.tightened(previous.settings, settings):
        return False
    return [(s.name, s.size, s.sha256) for s in previous.sources] == list(marks[: len(previous.sources)])


def _advised(error: DataError, params: Params, files: Sequence[tuple[str, Path]], engine: Engine) -> DataError:
    """The error with all that a look at the file says, so that one edit mends it."""
    from clickflow.events.inspect.verb import advised

    return advised(error, params, files, engine)


def _nothing(ingested: Manifest, stage: Stage, opened: Sequence[SourceFile]) -> DataError:
    """The error for a source of which no row is good."""
    where = opened[0].path if len(opened) == 1 else f"the {len(opened)} files of source.path"
    read = ingested.total("read")
    if not read:
        return DataError(f"{where}: there is no row", kept=UNTOUCHED, next_step="check source.path and source.pattern")
    reasons = sorted(ingested.reasons().items(), key=lambda item: -item[1])
    refused = stage.refused().slice(0, 1).to_pylist()
    if not refused:
        return DataError(
            f"{where}: all of {read:,} rows are of types that are ignored",
            kept=UNTOUCHED,
            next_step="check source.event_types in params.yaml",
        )
    example = refused[0]
    line = example["position"] >> 20
    return DataError(
        f"{where}: none of {read:,} rows is good: "
        + ", ".join(f"{reason} {count:,}" for reason, count in reasons[:5])
        + f"; such as line {line}",
        kept=UNTOUCHED,
        next_step="check source.preset, source.columns, source.time_format and source.event_types in params.yaml",
    )
