"""The verb `inspect`: files looked at once, and what params.yaml should say of them."""

import os
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from clickflow.events import times
from clickflow.events.engine import Engine, started
from clickflow.events.folders import find_files
from clickflow.events.inspect.differences import differences
from clickflow.events.inspect.form import Look, look
from clickflow.events.inspect.page import page
from clickflow.events.inspect.proposal import Proposal, propose
from clickflow.events.inspect.time_forms import BOTH_ORDERS
from clickflow.events.inspect.trial import Trial, attempt
from clickflow.events.roots import of_run
from clickflow.events.sources import EmptyFile
from clickflow.events.storage import SUFFIXES
from clickflow.params import patch
from clickflow.params.patch import plain
from clickflow.params.schema import Params
from clickflow.params.source import Source
from clickflow.system import console
from clickflow.system.errors import ClickflowError, DataError, UsageError
from clickflow.system.files import write_text
from clickflow.system.paths import Paths

FEW_ROWS = 2000
"""Rows that are looked at to say what is wrong."""
FILES = 5
"""At most so many files of a folder are tried, evenly spread."""
NUMBERS = re.compile("([0-9]+)")
LONGEST = 2000
"""Letters of advice: what is longer is none."""
TIES, REPEATED, SHORT_DAYS = 0.05, 0.02, 2.0
"""A share of ties, one of repeated rows, and a span in days, that are worth a word."""


@dataclass(frozen=True)
class Fit:
    """What a log is good for, asked of what a look at it says."""

    unfit: Callable[[Trial], Mapping[str, str]]
    """The units of which it gives no sequences, and why."""
    suggested: Callable[[Trial], Mapping[str, Any]]
    """Params that suit it, by dotted name."""


PLAIN: Mapping[str, Any] = {
    "kind": "files",
    "path": "",
    "pattern": "**/*",
    "preset": None,
    "format": None,
    "delimiter": None,
    "encoding": "utf-8",
    "header": None,
    "columns": {},
    "explode": None,
    "event_types": {},
    "decimal": ".",
    "thousands": None,
    "currency": (),
    "time_format": None,
    "time_formats": {},
    "newest_first": False,
}
"""What `source` says where nothing is special; what is not listed stays as params.yaml has it."""


def run(
    params: Params, paths: Paths, targets: Sequence[Path], *, rows: int, write: bool, as_json: bool, fit: Fit
) -> None:
    """Look, propose, try, and print; with `write` into params.yaml, where models that the log has nothing for become
    comments.

    Raises UsageError where a file is not there, DataError where none can be read.
    """
    base, pattern, files, doubts = _targets(targets, params.source)
    path = os.path.relpath(base, paths.root) if base.is_relative_to(paths.root) else str(base)
    with started(params.ingest.memory_gb) as engine:
        looked, proposal = study(files, rows, params, engine)
        tried = spread(files)
        proposal = one_order(tried, looked, proposal, engine)
        doubts += proposal.doubts
        with console.progress("comparing", len(files)) as advance:
            doubts += differences(files, looked, proposal, partial(advance, 1))
        chosen = {**PLAIN, "path": path, "pattern": pattern, **proposal.values}
        source = replace(params.source, **chosen)
        trial, fault = None, None
        try:
            with console.progress("trying", sum(file.stat().st_size for _, file in tried)) as advance:
                at = replace(source, path=str(base))
                trial = attempt(params, at, tried, rows, engine, advance)
        except ClickflowError as error:
            fault = error.what
        if trial is not None:
            source = replace(source, newest_first=trial.newest_first and trial.ties > TIES)
            doubts += list(_of_trial(trial, looked, proposal))
            doubts += list(_of_names([name for name, _ in files], trial))
    changes = {
        f"source.{name}": plain(value)
        for name, value in asdict(source).items()
        if plain(value) != plain(getattr(params.source, name))
    }
    off = useless(params, fit.unfit(trial)) if trial is not None and trial.accepted else {}
    if off:
        changes["units"] = list(dict.fromkeys(model.unit for name, model in params.models.items() if name not in off))
    if (
        trial is not None and trial.accepted and params.source.kind == "simulator"
    ):  # what suits the simulated shop suits no other
        kept = {model.unit for name, model in params.models.items() if name not in off}
        suggested = fit.suggested(trial) if kept else {}
        changes |= {name: value for name, value in suggested.items() if name.split(".")[1] in kept}
    text = paths.params.read_text(encoding="utf-8")
    names = [f"{section}.{name}" for name in off for section in ("models", "champion")]
    notes = {f"models.{name}": _taken_out(params.models[name].unit, why) for name, why in off.items()}
    changed = patch.apply(patch.without(text, names, notes), changes) if write and (changes or names) else text
    if write and changed != text:
        write_text(paths.params, changed)
    result = {
        "files": len(files),
        "form": {k: v for k, v in asdict(looked.form).items() if k not in ("doubts", "clocks")},
        "rows": looked.read,
        "whole": looked.whole,
        "columns": [{"name": name, "column": column or None, "why": why} for name, column, why in proposal.columns],
        "types": [{"type": kind, "rows": count, "becomes": becomes} for kind, count, becomes in proposal.types],
        "source": {name: plain(value) for name, value in asdict(source).items()},
        "not_sure_of": list(dict.fromkeys(doubts)),
        "off": off,
        "trial": None if trial is None else {**asdict(trial), "refused": trial.refused},
        "fault": fault,
        "written": write and changed != text,
    }
    console.emit(result, as_json=as_json, text=lambda: page(result, looked, proposal, trial))


def useless(params: Params, unfit: Mapping[str, str]) -> dict[str, str]:
    """The models that the log has nothing for, and why; none where none would be left: then a stage says it."""
    off = {name: unfit[model.unit] for name, model in params.models.items() if model.unit in unfit}
    return off if len(off) < len(params.models) else {}


def _taken_out(unit: str, why: str) -> tuple[str, ...]:
    """What stands above a model that became a comment: the rows that were looked at may be few of the log."""
    text = (
        f"taken out by `clickflow inspect --write`: the log {why}, as far as it was looked at. Where all of it is not "
        f"so, take off these signs and those below champion, and add {unit} to units"
    )
    return tuple(textwrap.wrap(text, 112, break_long_words=False, break_on_hyphens=False))


def study(files: Sequence[tuple[str, Path]], rows: int, params: Params, engine: Engine) -> tuple[Look, Proposal]:
    """The newest file that holds something, looked at, and what it seems to need."""
    full = [(name, path) for name, path in reversed(files) if path.stat().st_size] or [files[-1]]
    for name, path in full:
        with console.progress("looking", path.stat().st_size) as advance:
            try:
                looked = look(name, path, rows, advance)
                break
            except EmptyFile:  # a file of no rows beside good ones; its packing has bytes all the same
                if (name, path) == full[-1]:
                    raise
    # a cursor of its own: that of this thread may have been left in the middle of what failed
    return looked, propose(looked, params.source.nulls, engine.root.cursor())


def one_order(tried: Sequence[tuple[str, Path]], looked: Look, proposal: Proposal, engine: Engine) -> Proposal:
    """The proposal with the order of day and month that the files that are tried allow; a file that is written in the
    other one has it in `time_formats`.
    """
    form, column = proposal.values.get("time_format"), proposal.values.get("columns", {}).get("event_time")
    other = times.twin(form)
    if other is None or len(tried) < 2:
        return proposal
    sure: dict[str, str] = {}
    for name, path in tried:
        try:
            table = looked.table if name == looked.name else look(name, path, FEW_ROWS, lambda *_: None).table
        except ClickflowError:
            continue  # the trial says what is wrong with it
        if column in table.column_names:
            values = pc.utf8_trim_whitespace(table[column].combine_chunks().drop_null().unique())
            counts = {
                each: int(times.parse(values, each, "UTC", engine.root.cursor()).known.sum()) for each in (form, other)
            }
            if counts[form] != counts[other]:
                sure[name] = str(form if counts[form] > counts[other] else other)
    if not sure:
        return proposal
    usual = sure.get(looked.name) or max(sure.values(), key=list(sure.values()).count)
    doubts = [doubt for doubt in proposal.doubts if not doubt.startswith(BOTH_ORDERS) or looked.name in sure]
    apart = {escape(name): each for name, each in sure.items() if each != usual}
    values = {**proposal.values, "time_format": usual}
    if apart:
        values["time_formats"] = apart
        doubts.append(
            f"{BOTH_ORDERS} {len(sure) - len(apart)} of the {len(tried)} files that were tried are {usual!r}, "
            f"{len(apart)} the other way round (source.time_formats); of the others nobody knows"
        )
    return replace(proposal, values=values, doubts=tuple(doubts))


def spread(files: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """A few files, evenly spread, the first and the last among them."""
    full = [each for each in files if each[1].stat().st_size]
    if len(full) <= FILES:
        return full
    return [full[round(at * (len(full) - 1) / (FILES - 1))] for at in range(FILES)]


def advised(error: DataError, params: Params, files: Sequence[tuple[str, Path]], engine: Engine) -> DataError:
    """An error about a source with all that its file seems to need at once, and where to see it."""
    if params.source.kind != "files":
        return error
    if of_run(Path()) is not None:
        return error  # what a file seems to be is read off its rows, and a run's log is not for that
    name, path = next((each for each in files if str(each[1]) in error.what or each[0] in error.what), files[-1])
    needs = ""
    try:
        _, proposal = study([(name, path)], FEW_ROWS, params, engine)
        wanted = {**PLAIN, **proposal.values}
        # columns that are called as the canonical ones need not be named
        wanted["columns"] = {c: field for c, field in wanted["columns"].items() if c != field}
        for key in ("kind", "path", "pattern", "nulls"):
            wanted.pop(key, None)
        differs = [
            f"{key}: {patch.written(plain(value))}"
            for key, value in wanted.items()
            if plain(getattr(params.source, key)) != plain(value)
        ]
        listed = ", ".join(differs)
        if differs and len(listed) <= LONGEST:
            needs = f"\n{name} looks as if source needed {listed}"
    except (ClickflowError, ValueError, OSError):
        pass  # then there is nothing to say beyond the error itself
    step = f"; `clickflow inspect {path}` shows what the file is" if path.stat().st_size else ""
    return DataError(f"{error.what}{needs}", kept=error.kept, next_step=f"{error.next_step}{step}")


def _targets(targets: Sequence[Path], probe: Source) -> tuple[Path, str, list[tuple[str, Path]], list[str]]:
    """The place and the pattern of what is to be looked at, its files, and what does not fit."""
    full = [path.expanduser().absolute() for path in targets]
    for path in full:
        if not path.exists():
            raise UsageError(f"there is no file or folder {path}", next_step="clickflow inspect FILE")
    if len(full) == 1:
        base, pattern = full[0], "**/*"
        return base, pattern, find_files(replace(probe, path=str(base), pattern=pattern), base), []
    base = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in full]))
    names = [path.relative_to(base).as_posix() for path in full]
    flat = all("/" not in name for name in names)
    endings = {
        "".join(Path(name).suffixes[-2:] if name.endswith(SUFFIXES) else Path(name).suffixes[-1:]) for name in names
    }
    pattern = ("" if flat else "**/") + (f"*{endings.pop()}" if len(endings) == 1 else "*")
    files = find_files(replace(probe, path=str(base), pattern=pattern), base)
    more = {path for _, path in files} - set(full)
    doubts = [f"{pattern} in {base} takes {len(more)} files more than were named"] if more else []
    return base, pattern, files, doubts


def _of_names(names: Sequence[str], trial: Trial) -> Iterator[str]:
    """Where events of one moment may stand in several files, and the numbers in their names count otherwise."""
    counted = sorted(names, key=lambda name: [int(part) if part.isdigit() else part for part in NUMBERS.split(name)])
    apart = next((at for at, (name, other) in enumerate(zip(names, counted, strict=True)) if name != other), None)
    if trial.ties > TIES and apart is not None:
        yield (
            f"files are read in the order of their names as texts, {names[apart]} before {counted[apart]}, and so are "
            "events of one moment: give the numbers in them as many digits each (02, 10)"
        )


def _of_trial(trial: Trial, looked: Look, proposal: Proposal) -> Iterator[str]:
    """What the rows themselves leave unsure."""
    yield from trial.doubts
    if trial.ties > TIES:
        order = "the reverse of the file, which begins with the newest" if trial.newest_first else "that of the file"
        yield f"{trial.ties:.0%} of the steps have the time of the step before; their order is then {order}"
        if proposal.order:
            yield f"order: {', '.join(proposal.order)} may order the steps of one moment (source.columns.order)"
    if trial.repeated > REPEATED * trial.accepted:
        yield (
            f"{trial.repeated / trial.accepted:.1%} of the rows repeat an earlier one in every column that is read: "
            "they go to quarantine as duplicates; where a repeated line is another piece, set ingest.duplicates: keep"
        )
    if trial.accepted and trial.days < SHORT_DAYS and looked.whole and not looked.folders:
        hours = trial.days * 24
        yield f"it spans {hours:.1f} hours: too short to split by time and to learn from, if it is all there is"
    for key, count in (("session", trial.sessions), ("user", trial.users)):
        if count and trial.accepted / count < 1.05 and trial.accepted > 100:
            yield f"nearly every {key} has one event only: is that the right column?"
