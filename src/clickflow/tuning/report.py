"""The report of a study: its best setting, its trials as a table, and figures of how it went and what mattered."""

import csv
import io
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from clickflow.system.files import replacing, write_text
from clickflow.tuning.study import Study

if TYPE_CHECKING:
    import optuna

ENOUGH = 4
"""Finished trials before importance is asked for."""


def write(study: Study) -> dict[str, float]:
    """Write the study's `report`: best.yaml, trials.csv, history.png; importance.png of enough trials.

    Returns the importance, see below.
    """
    with replacing(study.report) as fresh:
        write_text(fresh / "best.yaml", _best(study))
        write_text(fresh / "trials.csv", _table(study))
        _history(study, fresh / "history.png")
        if shares := importance(study):
            _importance(study, shares, fresh / "importance.png")
    return shares


def _best(study: Study) -> str:
    """The best setting as overrides: dotted names, as `--set` and the trigger form take them."""
    best = study.best()[0]
    name = study.space.model
    setting = {f"models.{name}.{key}": value for key, value in best.user_attrs["setting"].items()}
    valid = ", ".join(f"{key} {value:.4f}" for key, value in sorted(best.user_attrs["valid"].items()))
    head = f"# trial {best.number} of `clickflow tune {name}`; valid: {valid}\n"
    return head + yaml.safe_dump(setting, sort_keys=False, default_flow_style=None, width=10_000)


def outcome(trial: "optuna.trial.FrozenTrial") -> str:
    """How a trial ended, in the words of this project; empty for one that was never begun."""
    if trial.state.name == "FAIL":
        return "failed" if "failed" in trial.user_attrs else "stopped"
    return {"COMPLETE": "finished", "PRUNED": "pruned"}.get(trial.state.name, "")


def tried(study: Study) -> "list[optuna.trial.FrozenTrial]":
    """Every trial that was trained, in order; those that were passed over are none."""
    trials = study.optuna_study.get_trials(deepcopy=False)
    return [trial for trial in trials if "setting" in trial.user_attrs and outcome(trial)]


def _table(study: Study) -> str:
    measures = sorted({name for trial in study.best() for name in trial.user_attrs["valid"]})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["trial", "outcome", "why", "epochs", "seconds", *measures, *study.space.tuned])
    for trial in tried(study):
        attrs = trial.user_attrs
        why = attrs.get("failed", attrs.get("pruned", ""))
        valid = [attrs.get("valid", {}).get(name, "") for name in measures]
        setting = [attrs["setting"][key] for key in study.space.tuned]
        epochs = len(trial.intermediate_values)
        writer.writerow([trial.number, outcome(trial), why, epochs, attrs.get("seconds", ""), *valid, *setting])
    return out.getvalue()


def importance(study: Study) -> dict[str, float]:
    """The share of the objective's variance that each param explains, by fANOVA over finished trials (Hutter et al.
    2014), the largest first; empty of too few trials. Trials with values from outside the space are left out.
    """
    import optuna

    done = [trial for trial in study.best() if set(trial.params) == set(study.space.tuned)]
    if len(done) < ENOUGH or len({trial.value for trial in done}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=study.params.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            shares = optuna.importance.get_param_importances(
                study.optuna_study, evaluator=evaluator, params=list(study.space.tuned)
            )
        except (ValueError, RuntimeError):  # too little variance to explain
            return {}
    return shares if all(math.isfinite(value) for value in shares.values()) else {}


def _history(study: Study, path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axis = figure.subplots()
    done = sorted(study.best(), key=lambda trial: trial.number)
    values = [trial.value or 0.0 for trial in done]
    better = min if study.lower else max
    axis.plot([t.number for t in done], values, "o", markersize=4, label="finished")
    stopped = [t for t in tried(study) if outcome(t) == "pruned" and t.intermediate_values]
    if stopped:
        last = [t.intermediate_values[max(t.intermediate_values)] for t in stopped]
        axis.plot([t.number for t in stopped], last, "x", markersize=4, color="grey", label="pruned")
    so_far = [better(values[: place + 1]) for place in range(len(values))]
    axis.step([t.number for t in done], so_far, where="post", linewidth=1, label="best so far")
    if present := study.present():
        axis.axhline(present.value or 0.0, color="black", linewidth=0.8, linestyle=":", label="present params")
    objective = study.params.tuning.objective
    unit = f"{objective}: nats, less is better" if study.lower else f"{objective}: more is better"
    axis.set(title=f"{study.space.model}: validation part", xlabel="trial", ylabel=unit)
    low, high = min(values), max(values)
    room = 0.1 * (high - low) or 0.01
    axis.set_ylim(low - room, high + room)  # what was pruned far off does not hide the rest
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _importance(study: Study, shares: Mapping[str, float], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 0.8 + 0.3 * len(shares)), layout="constrained")
    axis = figure.subplots()
    keys = list(shares)[::-1]
    axis.barh(keys, [shares[key] for key in keys])
    axis.set(
        title=f"{study.space.model}: what mattered", xlabel=f"share of the variance of {study.params.tuning.objective}"
    )
    axis.grid(alpha=0.3, axis="x")
    figure.savefig(path, dpi=120, metadata={"Software": None})
