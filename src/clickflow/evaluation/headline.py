"""The headline figures: for a shop manager, on the console, in `dvc metrics`."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from clickflow.evaluation import customers
from clickflow.evaluation.systems import BEST, CANDIDATE, CHAMPION, ORACLE
from clickflow.heads import metrics, outputs
from clickflow.heads.head import Kind
from clickflow.heads.outputs import Output
from clickflow.sequences.store import Card
from clickflow.system.moments import iso

LOW_COVERAGE = 0.5
"""Below it a log is too short to recommend from: most next items were never seen, or too rarely."""
AS_MODELS = ("logistic", "boosting")
"""Baselines on hand-made features that are kinds of model by the same name."""
NO_BASELINE = (CANDIDATE, CHAMPION, BEST, ORACLE)
"""Systems that are none."""
APART = 0.0005
"""Two figures further apart than this are two figures, and both are named."""


def data(card: Card) -> dict[str, Any]:
    """Where the data come from, and their dates (UTC): training from, training to, tested from, tested to."""

    source = card.settings.get("source") or {}
    train, test = card.splits["train"], card.splits["test"]
    ends = {"from": train.first, "to": train.last, "tested_from": test.first, "tested_to": test.last}
    named = {name: None if time is None else iso(time)[:16] for name, time in ends.items()}
    return {**named, "kind": source.get("kind"), "preset": source.get("preset")}


def source(content: Mapping[str, Any]) -> str:
    """Where the data come from, in words."""
    kind, preset = content["data"]["kind"], content["data"]["preset"]
    named = {"simulator": "A simulated shop", "files": "The shop's files", "sql": "The shop's database"}
    return named.get(kind, "Data of an unnamed source") + (f" (preset {preset})" if preset else "")


def answered(content: Mapping[str, Any]) -> list[Output]:
    """The outputs that were measured, in the order in which they are shown."""
    return outputs.of(output.name for output in outputs.every() if content.get(output.name))


def ranked(content: Mapping[str, Any]) -> str | None:
    """The first ranking that was measured, whose figures stand without its name; None: there is none."""
    names = [output.name for output in answered(content) if output.kind == "ranking" and not output.ahead]
    return names[0] if names else None


def largest(content: Mapping[str, Any]) -> int:
    """The largest cutoff of the rankings."""
    own = content[ranked(content) or ""][CANDIDATE]
    return max(int(name.split("@")[1]) for name in own if "@" in name and not name.endswith("_known"))


def telling(content: Mapping[str, Any], head: str) -> int:
    """The largest cutoff at which a ranking misses some that it knows: of ten categories all are among the first 20."""
    own = content[head][CANDIDATE]
    cutoffs = sorted({int(name.split("@")[1]) for name in own if "@" in name and not name.endswith("_known")})
    missed = [k for k in cutoffs if (value(content, head, CANDIDATE, f"recall@{k}_known") or 0.0) < 1]
    return missed[-1] if missed else cutoffs[0]


def value(content: Mapping[str, Any], head: str | None, system: str, metric: str) -> float | None:
    """One figure; None where it was not measured."""
    figure = ((content.get(head or "") or {}).get(system) or {}).get(metric)
    return figure["value"] if isinstance(figure, Mapping) else None


def best_baseline(content: Mapping[str, Any], metric: str, head: str | None = None) -> str | None:
    """The strongest baseline of a ranking; none named: of the first."""
    head = head or ranked(content)
    names = [name for name in content[head or ""] if name not in (CANDIDATE, CHAMPION, BEST, ORACLE)]
    return max(names, key=lambda name: value(content, head, name, metric) or 0.0, default=None)


def apart(content: Mapping[str, Any], head: str | None = None) -> bool:
    """Whether a ranking's figures over all items differ from those over the known ones; none named: the first's."""
    name, head = f"recall@{largest(content)}", head or ranked(content)
    every, known = (value(content, head, CANDIDATE, each) for each in (name, f"{name}_known"))
    return every is not None and known is not None and abs(every - known) > APART


def items(content: Mapping[str, Any]) -> str:
    """What the first ranking ranks, in words: next items, unless its head says otherwise."""
    return outputs.head(ranked(content) or outputs.main((), "ranking")).means.get("en", "next items")


def warnings(content: Mapping[str, Any]) -> list[str]:
    """What must be known before any figure is read, a line each."""
    coverage = content.get("coverage")
    if not ranked(content) or coverage is None or coverage >= LOW_COVERAGE:
        return list(outdone(content))
    share = f"{coverage:.0%}" if coverage >= 0.01 else f"{coverage:.2%}"
    return [
        f"only {share} of the {items(content)} stood in the training part often enough to be known: the log is too "
        f"short, or its items change too fast, to recommend from; every other one is a miss for all systems",
        *outdone(content),
    ]


def outdone(content: Mapping[str, Any]) -> Iterator[str]:
    """A line for every head that a baseline answers better by its primary metric which is a kind of model too: what
    ships should be the best that was tried.
    """
    kind = (content.get("artefact") or {}).get("kind", "network")
    for output in answered(content):
        metric = output.head.primary
        sign, own = metrics.sign(output.kind, metric), value(content, output.name, CANDIDATE, metric)
        tried = {name: value(content, output.name, name, metric) for name in AS_MODELS if name != kind}
        better = {name: each for name, each in tried.items() if each is not None}
        if output.ahead or own is None or not better or output.kind == "forecast":
            continue  # a baseline of forecasts that is called boosting is no kind of model
        best = max(better, key=lambda name: sign * better[name])
        if sign * better[best] > sign * own:
            yield (
                f"{output.name}: {best} on hand-made features answers better than this {kind} model, {metric} "
                f"{better[best]:.4f} against {own:.4f}: a model of `kind: {best}` can ship that "
                f"(docs/howto/choose-a-model.md)"
            )


def notes(content: Mapping[str, Any]) -> list[str]:
    """What the figures rest on, where that is not what a reader would take for granted, a line each."""
    whose = {customers.called(output.head.unit) for output in answered(content)} - {"customer"}
    lines = [f"intervals are by customer: {customers.named(content['resampled'])} were drawn again"]
    if whose:
        lines = [f"intervals are by {min(whose)}: {content['resampled']['customers']:,} were drawn again"]
    elif not content["resampled"]["customers"]:
        lines = [
            f"no customer is known: intervals are by session, {customers.named(content['resampled'])} drawn again; "
            "where visitors come back they are too narrow"
        ]
    for output in answered(content):
        if output.by and (cutoff := telling(content, output.name)) < largest(content):
            lines.append(
                f"recall of {output.name} beyond the first {cutoff} says nothing: all that the model knows are among "
                f"the next cutoff's, as where there are no more"
            )
    for system, overlap in (content.get("seen") or {}).items():
        version = content["champion_version"] if system == CHAMPION else content["best_version"]
        name = f"the {system.replace('_', ' ')}, version {version},"
        if overlap["share"] is None:
            lines.append(
                f"{name} does not say until when its data reach: it may have learned from these test rows, and the "
                f"gate does not compare it"
            )
        elif overlap["share"]:
            lines.append(
                f"{name} may have learned from {overlap['share']:.1%} of these test rows (its data reach until "
                f"{overlap['until'][:16]}), so its figures may be too good: the gate compares it on the others"
            )
    return lines


def sentence(content: Mapping[str, Any]) -> str:
    """The plain sentence of a model that ranks; empty for another."""
    head = ranked(content)
    if head is None:
        return ""
    cutoff = largest(content)
    own = value(content, head, CANDIDATE, f"recall@{cutoff}") or 0.0
    ranks = outputs.head(head).means.get("en", "next clicks")
    text = f"Of 100 {ranks}, the model has {100 * own:.0f} among its {cutoff} suggestions"
    others = []
    if baseline := best_baseline(content, f"recall@{cutoff}"):
        theirs = value(content, head, baseline, f"recall@{cutoff}") or 0.0
        others.append(f"the best simple method has {100 * theirs:.0f}")
    if (champion := value(content, head, CHAMPION, f"recall@{cutoff}")) is not None:
        others.append(f"the model in use has {100 * champion:.0f}")
    text += "".join(f"; {other}" for other in others) + "."
    coverage = content.get("coverage")
    if coverage is not None and coverage < 1 and apart(content):
        text += (
            f" {100 * (1 - coverage):.0f} of the 100 went to items that the training data do not hold, or hardly, "
            f"which no model can name."
        )
    return text


def short(content: Mapping[str, Any]) -> dict[str, float | int | None]:
    """The dozen figures of `reports/<model>/metrics.json`, by name; those of the first ranking stand without its."""
    figures: dict[str, float | int | None] = {
        name: content.get(name) for name in ("sequences", "predictions", "coverage")
    }
    for output in answered(content):
        if not output.ahead:
            before = "" if output.name == ranked(content) else f"{output.name}."
            figures |= {f"{before}{name}": number for name, number in SHORT[output.kind](content, output.name).items()}
    return {name: number for name, number in (figures | _of_forms(content)).items() if number is not None}


def _of_forms(content: Mapping[str, Any]) -> dict[str, float]:
    """What the export measured of the model's smaller forms (`artefact.compression`), on the validation part."""
    forms = (content.get("artefact") or {}).get("compression") or {}
    figures: dict[str, float] = {}
    for name, row in forms.get("variants", {}).items():
        figures |= {f"{name}.valid.{metric}": value for metric, value in row["quality"].items()}
        figures |= {f"{name}.size_mb": round(row["size_bytes"] / 1e6, 3)}
        figures |= {f"{name}.{key}": row[key] for key in ("latency_ms_p50_class", "latency_ms_p99_class")}
    return figures


def _of_ranking(content: Mapping[str, Any], head: str) -> dict[str, float | None]:
    """Recall and MRR at the largest cutoff, and those of the best baseline and of the champion."""
    figures: dict[str, float | None] = {}
    for name in (f"{kind}@{largest(content)}" for kind in ("recall", "mrr")):
        figures[name] = value(content, head, CANDIDATE, name)
        figures[f"{name}_known"] = value(content, head, CANDIDATE, f"{name}_known")
        if baseline := best_baseline(content, name, head):
            figures[f"best_baseline.{name}"] = value(content, head, baseline, name)
        if (champion := value(content, head, CHAMPION, name)) is not None:
            figures[f"champion.{name}"] = champion
    return figures


def _of_classes(content: Mapping[str, Any], head: str) -> dict[str, float | None]:
    """How often it is right, its loss, and whether its probabilities come true."""
    return {name: value(content, head, CANDIDATE, name) for name in ("accuracy", "log_loss", "ece")}


def _of_probability(content: Mapping[str, Any], head: str) -> dict[str, float | None]:
    """How well it tells yes from no, its loss, and whether its probabilities come true."""
    return {name: value(content, head, CANDIDATE, name) for name in ("average_precision", "roc_auc", "log_loss", "ece")}


def _of_amount(content: Mapping[str, Any], head: str) -> dict[str, float | None]:
    """How far off it is, how well it orders, and whether its sum and its intervals come true."""
    return {name: value(content, head, CANDIDATE, name) for name in ("mae", "gini", "sum_ratio", "coverage_80")}


def _of_forecast(content: Mapping[str, Any], head: str) -> dict[str, float | None]:
    """How far off it is, beside the best baseline, and whether its intervals come true."""
    figures = {
        name: value(content, head, CANDIDATE, name)
        for name in ("weighted_quantile_loss", "mase", "rmse", "coverage_80")
    }
    if baseline := least(content, head, "weighted_quantile_loss"):
        figures["best_baseline.weighted_quantile_loss"] = value(content, head, baseline, "weighted_quantile_loss")
    return figures


def least(content: Mapping[str, Any], head: str, metric: str) -> str | None:
    """The baseline of the least error."""
    values = {name: value(content, head, name, metric) for name in content[head] if name not in NO_BASELINE}
    known = {name: each for name, each in values.items() if each is not None}
    return min(known, key=lambda name: known[name], default=None)


SHORT: Mapping[Kind, Callable[[Mapping[str, Any], str], Mapping[str, float | None]]] = {
    "ranking": _of_ranking,
    "classes": _of_classes,
    "probability": _of_probability,
    "amount": _of_amount,
    "forecast": _of_forecast,
}
"""By kind of answer, what stands first."""
