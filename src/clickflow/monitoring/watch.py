"""`clickflow watch`: is the data fresh, has it moved, does the champion still answer as well: is it time to retrain?

Nothing is changed but the report. What is measured, and how often it errs, stands in docs/reference/monitoring.md.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from clickflow.evaluation import reference as references
from clickflow.evaluation import vocabularies
from clickflow.evaluation.distributions import Values, action_codes
from clickflow.evaluation.earlier import REFERENCE
from clickflow.events import refusals
from clickflow.monitoring import drift, live, report, rule, windows
from clickflow.monitoring.gauges import RESULT
from clickflow.monitoring.rule import DRIFT, LIVE, METRIC, Answered, Judged, Verdict
from clickflow.monitoring.watched import Outcome, Watched
from clickflow.monitoring.windows import Window
from clickflow.params.schema import Params
from clickflow.registry import champion
from clickflow.sequences.card import Card
from clickflow.sequences.store import PackedSplit, read_card
from clickflow.system import console, integrity
from clickflow.system.console import Advance
from clickflow.system.errors import DataError, UsageError
from clickflow.system.files import check_folder, replacing, write_json, write_text
from clickflow.system.moments import DAY, HOUR, iso
from clickflow.system.paths import Paths

LiveAnswers = Callable[[str, Sequence[tuple[int, int]], int], Answered | None]
"""From a model, windows (since, until], microseconds, and the fewest visitors of one: what became of a server's
answers; None: it answered nobody.
"""
PAGE = "report.html"
NO_CLOCK = "the log has an order and no clock: age and hours are not judged, a day stands for 1,440 sessions"


def run(
    params: Params,
    paths: Paths,
    models: list[str],
    *,
    out: Path | None,
    as_of: str | None,
    as_json: bool,
    live_answers: LiveAnswers = lambda *_: None,
) -> None:
    """Watch the champions of `models`; the report goes to `out`, none given: reports/watch.

    Raises UsageError where a name or a time is wrong, DataError where store or champion are not what was recorded.
    A judgement, whatever it is, raises nothing.
    """
    now = moment(as_of) if as_of else params.source.as_of or datetime.now(UTC)
    now = now if now.tzinfo else now.replace(tzinfo=UTC)
    result, seen = watch(params, paths, models, now, live_answers)
    folder = out or paths.watch
    check_folder(folder, None, "report of a watch", RESULT)
    with replacing(folder, seal=integrity.seal) as fresh:
        write_json(fresh / RESULT, result)
        write_text(fresh / PAGE, report.page(result, seen))
    written = {**result, "report": str((folder / PAGE).absolute())}
    console.emit(written, as_json=as_json, text=lambda: report.console_text(written, [each.verdict for each in seen]))


def moment(text: str) -> datetime:
    """A time in ISO 8601; UsageError where it is none."""
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--as-of {text!r} is not a time", next_step="such as 2026-02-01T12:00:00Z") from error


def watch(
    params: Params, paths: Paths, models: list[str], now: datetime, live_answers: LiveAnswers = lambda *_: None
) -> tuple[dict[str, Any], list[Outcome]]:
    """All results, as JSON holds them, and what the report draws."""
    as_of = round(now.timestamp() * 1e6)
    stores = {unit: paths.sequences(unit) for unit in sorted({params.model(name).unit for name in models})}
    integrity.verify(*stores.values(), home=paths.home)
    splits = {unit: windows.splits(store) for unit, store in stores.items()}
    newest = max((windows.newest(each, as_of) or 0 for each in splits.values()), default=0)
    if not newest:
        raise DataError(f"there is no event at or before {iso(as_of)}", next_step="name a later --as-of, or ingest")
    clock = all(read_card(store).clock for store in stores.values())
    hours = (as_of - newest) / HOUR if clock else None
    seen = []
    for name in models:
        unit = params.model(name).unit
        seen.append(_model(params, paths, name, stores[unit], splits[unit], newest, live_answers))
    limit = params.watch.max_age_hours
    stale = limit is not None and hours is not None and hours > limit
    retrain = [each.verdict.model for each in seen if each.verdict.retrain]
    why = "; ".join(f"{each.verdict.model}: {each.verdict.why}" for each in seen)
    return {
        "as_of": iso(as_of),
        "newest_event": iso(newest),
        "age_hours": None if hours is None else round(hours, 3),
        "stale": stale,
        "refused_files": refusals.refused_files(paths.ingest_card),
        "retrain": retrain,
        "why": why + (f"; the newest event is {report.age(hours)}: look to the source" if stale else ""),
        "watch": asdict(params.watch),
        "data_sha256": {unit: read_card(store).sha256 for unit, store in stores.items()},
        "models": {each.verdict.model: _plain(each.verdict) for each in seen},
    }, seen


def _model(
    params: Params,
    paths: Paths,
    model: str,
    store: Path,
    splits: Mapping[str, PackedSplit],
    newest: int,
    live_answers: LiveAnswers,
) -> Outcome:
    if not champion.current(params, paths, model):
        why = "it has no champion yet: there is nothing to watch"
        return Outcome(None, Verdict(model=model, version=0, windows=(), breaches=0, retrain=False, why=why))
    version, artefact = champion.loaded(params, paths, model)
    file = champion.evidence(params, paths, model, version, REFERENCE)
    card = read_card(store)
    watched = Watched(
        model,
        version,
        artefact,
        references.read(file, artefact) if file else None,
        card.own_settings,
    )
    most = params.evaluation.max_sequences
    settings = params.watch
    days = max(settings.window_days, windows.spacing(splits))  # shorter ones would hold no cut-off, and nobody
    own_windows = windows.cut(splits, until=newest, days=days, number=settings.windows, most=most)
    answered = None
    if settings.max_live_drop is not None and card.clock:
        answered = live_answers(model, [(each.since, each.until) for each in own_windows], settings.min_sequences)
    return judge(params, watched, store, card, splits, own_windows, answered)


def judge(
    params: Params,
    watched: Watched,
    store: Path,
    card: Card,
    splits: Mapping[str, PackedSplit],
    own_windows: list[Window],
    answered: Answered | None = None,
) -> Outcome:
    """Hold each window against the champion's reference, and decide."""
    seen_until = watched.reference.seen_until if watched.reference else 0
    later = [window.after(seen_until, splits) for window in own_windows]
    drops = rule.drops(params.watch, params.gate, watched.artefact.outputs)
    names = rule.enabled(params.watch, drops)
    if not card.clock:
        names[DRIFT] = [name for name in names[DRIFT] if name != "hour"]
    if answered is not None:
        names[LIVE] = [answered.name]
    translation = vocabularies.translation(store, card, watched.artefact)
    judged, shares = [], []
    total = sum(live.work(window, splits) for window in later)
    with console.progress(f"watching {watched.model}", total) as advance:
        for place, (window, after) in enumerate(zip(own_windows, later, strict=True)):
            distances, cells, why = _drift(params, watched, splits, window, translation.item, card, names)
            metrics, why_not = _live(params, watched, store, card, splits, after, names[METRIC], advance)
            level = rule.alpha(params.watch, names)
            bounds = [
                *rule.drift(params.watch, names[DRIFT], distances, why),
                *rule.metrics(drops, metrics, watched.reference, level, why_not),
            ]
            if answered is not None and params.watch.max_live_drop is not None:
                bounds += rule.answered(params.watch.max_live_drop, answered, place, level)
            judged.append(
                Judged(
                    since=iso(window.since),
                    until=iso(window.until),
                    sequences=window.available,
                    after_training=after.available,
                    bounds=tuple(bounds),
                )
            )
            shares.append(cells)
    call, why = rule.decide(params.watch, judged)
    notes = [] if watched.reference else [f"{watched.why_no_drift}; the next version that is promoted has one"]
    notes += [] if card.clock else [NO_CLOCK]
    if (days := (own_windows[-1].until - own_windows[-1].since) / DAY) > params.watch.window_days + 1e-6:
        notes.append(f"windows are of {days:g} days, as far apart as cut-offs: watch.window_days is shorter")
    verdict = Verdict(
        model=watched.model,
        version=watched.version,
        windows=tuple(judged),
        breaches=sum(each.breach for each in judged),
        retrain=call,
        why=why,
        notes=tuple(notes),
    )
    return Outcome(watched, verdict, tuple(shares))


def _drift(
    params: Params,
    watched: Watched,
    splits: Mapping[str, PackedSplit],
    window: Window,
    item: Any,
    card: Card,
    names: Mapping[str, list[str]],
) -> tuple[dict[str, drift.Distance], Mapping[str, Values], str]:
    """Distances by dimension and the window's shares; or why there are none."""
    reference = watched.reference
    if watched.why_no_drift or reference is None:
        return {}, {}, watched.why_no_drift
    if window.since < reference.trained_until:
        return {}, {}, "the champion was trained on it"
    if window.sequences < params.watch.min_sequences:
        return {}, {}, _few(window.sequences, params)
    cells = reference.cells
    action = action_codes(card.actions, cells.actions)
    counts = np.concatenate(
        [cells.counts(splits[name], chosen, item, action) for name, chosen in window.parts.items() if len(chosen)]
    )
    level = rule.alpha(params.watch, names)
    distances = drift.distances(
        cells, counts, reference.shares, sequences=reference.sequences, alpha=level, seed=params.seed
    )
    return distances, cells.shares(counts.sum(axis=0)), ""


def _live(
    params: Params,
    watched: Watched,
    store: Path,
    card: Card,
    splits: Mapping[str, PackedSplit],
    after: Window,
    names: list[str],
    advance: Advance,
) -> tuple[dict[str, live.Live], str]:
    """Metrics by name, on what began after the champion's data; or why there are none."""
    if watched.reference is None:
        return {}, watched.why_no_drift
    if not after.available:
        return {}, "it began before the champion's data ended"
    if after.sequences < params.watch.min_sequences:
        return {}, _few(after.sequences, params)
    measured = live.metrics(
        watched.artefact,
        store,
        card,
        splits,
        after,
        names,
        confidence=params.evaluation.confidence,
        resamples=params.evaluation.bootstrap,
        seed=params.seed,
        advance=advance,
    )
    return measured, ""


def _few(number: int, params: Params) -> str:
    return f"{number} sequences, {params.watch.min_sequences} are needed"


def _plain(verdict: Verdict) -> dict[str, Any]:
    """The verdict as JSON holds it: six decimals, what differs between two processors' last bits is left out."""
    plain = asdict(verdict)
    for window, judged in zip(plain["windows"], verdict.windows, strict=True):
        window |= {"breach": judged.breach, "broken": judged.broken}
        for bound in window["bounds"]:
            bound |= {key: round(value, 6) for key, value in bound.items() if isinstance(value, float)}
    return plain
