"""`clickflow tune MODEL`: try other params for so many minutes, and name the best on the validation part."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from clickflow.params import patch
from clickflow.params.schema import Params
from clickflow.params.tuning import METRICS
from clickflow.sequences.card import read_card
from clickflow.system import console, integrity
from clickflow.system.errors import ClickflowError, DataError
from clickflow.system.files import write_text
from clickflow.system.paths import Paths
from clickflow.tracking import provenance
from clickflow.tracking.experiment import flat_metrics
from clickflow.tuning import report, search, space, study
from clickflow.tuning.runs import Runs
from clickflow.tuning.study import Study

SHOWN = 5


def run(
    params: Params,
    paths: Paths,
    name: str,
    *,
    minutes: float,
    trials: int | None,
    jobs: int,
    fresh: bool,
    apply: bool,
    as_json: bool,
) -> None:
    """Tune a model, report, and with `apply` write the best params into params.yaml.

    Raises UsageError where the space is wrong or another process tunes the same, DataError where there is no store or
    no validation part, ClickflowError where no trial has ended.
    """
    tuned = space.of(params, name)
    space.check(params, tuned)
    store = paths.sequences(params.model(name).unit).absolute()
    integrity.verify(store, home=paths.home)
    card = read_card(store)
    if not card.splits["valid"].sequences:
        raise DataError(
            f"the validation part of {store} has no sequences to judge by", next_step="raise sequences.valid_share"
        )
    raw = yaml.safe_load(paths.params.read_text(encoding="utf-8"))
    shares = None
    with study.opened(paths.home, params, tuned, card.sha256, fresh=fresh, say=console.say) as opened:
        if minutes and trials != 0:
            runs = Runs(
                params,
                paths,
                opened.id,
                name,
                tags=provenance.tags(provenance.of(paths.root), card.sha256),
                say=console.say,
            )
            console.say(f"tune {name}: {minutes:g} minutes, {jobs} trials at once, {len(tuned.tuned)} params")
            deadline = time.monotonic() + 60 * minutes
            going = search.Search(opened, raw, store, paths.root, runs, jobs, trials, deadline)
            try:
                with console.progress(f"tune {name}", 60 * minutes) as advance:
                    search.run(going, advance)
            except KeyboardInterrupt:
                console.say(
                    "stopped; finished trials are kept, the others will be tried again. The same command goes on; "
                    "with `--minutes 0` it shows what was found"
                )
                raise
            finally:
                shares = _note(runs, opened)
        if not opened.best():
            raise ClickflowError(
                f"no trial of {name} was finished",
                kept=f"the study, {opened.folder}",
                next_step="give it more --minutes, or let trials be shorter: tuning.epochs, tuning.max_sequences",
            )
        _tell(opened, paths, report.write(opened) if shares is None else shares, apply=apply, as_json=as_json)


def _note(runs: Runs, opened: Study) -> dict[str, float] | None:
    """Write the report, for MLflow too, and return the importance; a study without a finished trial has none."""
    best = opened.best()[:1]
    shares = report.write(opened) if best else None
    metrics = {f"best/{key}": value for trial in best for key, value in flat_metrics(trial.user_attrs["valid"]).items()}
    runs.finish(metrics, best[0].user_attrs["setting"] if best else {}, opened.report if best else None)
    return shares


def _tell(opened: Study, paths: Paths, shares: Mapping[str, float], *, apply: bool, as_json: bool) -> None:
    """Print the results, `shares` of importance among them; with `apply` change params.yaml."""
    best, present, name = opened.best()[0], opened.present(), opened.space.model
    now = space.current(opened.params, opened.space)
    setting = best.user_attrs["setting"]
    changes = {f"models.{name}.{key}": value for key, value in setting.items() if value != now[key]}
    text = paths.params.read_text(encoding="utf-8")
    changed = patch.apply(text, changes) if changes else text
    if apply and changed != text:
        write_text(paths.params, changed)
    counts: dict[str, int] = {}
    for trial in report.tried(opened):
        counts[report.outcome(trial)] = counts.get(report.outcome(trial), 0) + 1
    result: dict[str, Any] = {
        "model": name,
        "objective": opened.params.tuning.objective,
        "trials": counts,
        "best": {"trial": best.number, "valid": best.user_attrs["valid"], "params": setting},
        "present": {"trial": present.number, "valid": present.user_attrs["valid"]} if present else None,
        "changes": changes,
        "diff": patch.diff(text, changed),
        "applied": apply and changed != text,
        "importance": shares,
        "report": str(opened.report),
    }
    console.emit(result, as_json=as_json, text=lambda: _text(opened, result, now))


def _text(opened: Study, result: Mapping[str, Any], now: Mapping[str, Any]) -> Group:
    name, objective = result["model"], result["objective"]
    counts = ", ".join(f"{count} {word}" for word, count in sorted(result["trials"].items()))
    table = Table(title=f"{name}: {counts}", title_justify="left", box=None, pad_edge=False)
    measures = [key for key in (objective, *METRICS) if key in result["best"]["valid"]]
    for column in ("trial", *dict.fromkeys(measures)):
        table.add_column(column, justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("what differs from params.yaml", overflow="fold")
    shown = opened.best()[:SHOWN]
    present = opened.present()
    if present and present.number not in [trial.number for trial in shown]:
        shown = [*shown, present]
    for trial in shown:
        attrs = trial.user_attrs
        differs = [
            f"{key.rpartition('.')[2]} {patch.written(v)}" for key, v in attrs["setting"].items() if v != now[key]
        ]
        values = [f"{attrs['valid'][key]:.4f}" for key in dict.fromkeys(measures)]
        words = escape(", ".join(differs) or "nothing: the present params")
        table.add_row(str(trial.number), *values, f"{attrs['seconds']:.0f}", words)
    parts: list[Any] = [table, Text(), Text(_gain(result, list(opened.params.model(name).heads))), Text()]
    if result["diff"]:
        parts.append(Text(result["diff"]))
        applied = (
            "params.yaml was written" if result["applied"] else f"`clickflow tune {name} --minutes 0 --apply` does it"
        )
        parts.append(Text(f"{applied}; then `dvc repro` trains it, and the gate judges it on the test part"))
    if result["importance"]:
        most = ", ".join(f"{key} {share:.0%}" for key, share in list(result["importance"].items())[:SHOWN])
        parts.append(Text(f"what mattered: {most}"))
    parts.append(Text(f"report: {result['report']}"))
    return Group(*parts)


def _gain(result: Mapping[str, Any], heads: Sequence[str]) -> str:
    """By how much the best setting beats the present one, and what that is worth."""
    objective, best, present = result["objective"], result["best"], result["present"]
    if present is None:
        return f"trial {best['trial']} is the best; the present params have no finished trial to hold it against"
    if not result["changes"]:
        return "nothing that was tried beats the present params on the validation part"
    moved = []
    for key in dict.fromkeys([objective, *heads[:1], *METRICS]):
        if key in best["valid"]:
            was, is_ = present["valid"][key], best["valid"][key]
            share = f" ({(is_ - was) / was:+.1%})" if was else ""
            moved.append(f"{key} {was:.4f} → {is_:.4f}{share}")
    return (
        f"validation part: {', '.join(moved)}\n"
        "it was chosen by these very numbers, so on data that nobody has seen the gain will be smaller"
    )
