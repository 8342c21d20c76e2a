"""The gate's rules: what a candidate must reach, judged on the evidence, each with a line a person can read."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from clickflow.evaluation.systems import CANDIDATE, CHAMPION
from clickflow.gate import (
    agreement,
    answered,
    best_champion,
    fairness,
    groups,
    leaks,
    paired,
    resolved,
    slice_rules,
    tries,
)
from clickflow.gate.draws import Array, Drawn, Draws, of_rows
from clickflow.gate.evidence import Evidence
from clickflow.gate.paired import Comparison
from clickflow.gate.resolved import ResolvedGate
from clickflow.gate.verdicts import Decision, Rule, verdict
from clickflow.heads import metrics, outputs
from clickflow.params.gate import OTHERS, ChampionRule, Gate, Severity
from clickflow.system.errors import UsageError


def judge(params: Gate, evidence: Evidence, seed: int) -> list[Rule]:
    """Every rule of `params`, in the order of params.yaml. UsageError where it names a metric that was not measured."""
    gate = resolved.of(params, evidence.rows)
    check_names(gate, evidence)
    agreement.check(evidence)
    rows = evidence.rows.get(gate.output)
    draws = Draws(gate, rows, seed) if rows else None
    paid = tries.paid(gate, evidence.tries)
    quality = [
        *(_floor(gate, evidence, draws, name, bound) for name, bound in gate.floors.items()),
        *_baselines(paid, evidence, draws, seed),
        _champion(gate, evidence, draws),
        *best_champion.judge(paid, evidence, draws),
    ]
    judged = any(rule.verdict in ("passed", "failed") and rule.severity != "warn" for rule in quality)
    return [
        *quality,
        *_other_heads(params, gate, evidence, seed),
        answered.judge(gate, evidence),
        *slice_rules.judge(gate, evidence, draws),
        *leaks.judge(gate, draws),
        _coverage(gate, evidence),
        *_calibration(gate, evidence),
        *groups.judge(params, gate, evidence),
        _budget("latency", evidence.latency_ms, gate.max_latency_ms, "ms, 95th percentile"),
        _budget("size", evidence.size_mb, gate.max_size_mb, "MB"),
        Rule(
            rule="quality is judged",
            verdict="passed" if judged else "failed",
            severity="hold",
            text="at least one floor, baseline or champion rule was judged"
            if judged
            else "no floor, baseline or champion rule could be judged: nothing says that the model is any good",
        ),
    ]


def check_names(gate: ResolvedGate, evidence: Evidence) -> None:
    """Raise UsageError for a metric of params.gate that the evaluation did not measure, naming those it did."""
    every, by_row = [], []
    for name, rows in evidence.rows.items():
        for key in sorted((evidence.metrics.get(name) or {}).get(CANDIDATE) or {}):
            every.append(gate.full(name, key))
            by_row += [gate.full(name, key)] * metrics.by_row(rows.output.kind, key)
    metric_names = {
        "gate.primary": gate.primary,
        **{f"gate.beat_baselines: {name}": name for name in gate.beat_baselines},
        **{f"gate.floors.{name}": name for name in gate.floors},
    }
    lacking = {output.name: output.kind for output in outputs.every() if output.name not in evidence.rows}
    for place, name in metric_names.items():
        head, key = gate.place_of(name)
        valid = every if place.startswith("gate.floors") else by_row
        if gate.full(head, key) in valid or (head in lacking and metrics.of(lacking[head], key)):
            continue
        raise UsageError(
            f"params.yaml, {place}: no such metric was measured; there is: {', '.join(valid) or 'none'}",
            kept="no decision was written",
            next_step="correct the name, or add the cutoff to evaluation.cutoffs",
        )


def _interval(values: Any) -> list[float] | None:
    """Both ends, or None where one is unknown."""
    ends = [float(value) for value in values if value is not None and math.isfinite(value)]
    return ends if len(ends) == 2 else None


def value_of(measured: Any) -> float | None:
    """A metric of metrics.json as a number; None where it is none, or NaN."""
    value = measured.get("value") if isinstance(measured, Mapping) else measured
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _floor(gate: ResolvedGate, evidence: Evidence, draws: Draws | None, name: str, bound: float) -> Rule:
    """The measured value is at least the floor, or at most where less is better; the interval does not decide."""
    head, key = gate.place_of(name)
    rule = f"floor: {name}"
    if not evidence.metrics.get(head):
        return _without(gate, evidence, head, rule, "reject")
    entry = evidence.metrics[head][CANDIDATE].get(key)
    interval = _interval((entry.get("low"), entry.get("high"))) if isinstance(entry, Mapping) else None
    observed = value_of(entry)
    kind = evidence.rows[head].output.kind
    if observed is not None and draws and head == gate.output and metrics.by_row(kind, key):
        observed = draws.measured(CANDIDATE, key)
        if draws.why_not(CANDIDATE) is None:
            alpha = 1 - gate.champion.confidence
            interval = _interval(np.quantile(draws.redrawn(CANDIDATE, key), [alpha, 1 - alpha]))
    facts = {
        "metric": name,
        "observed": observed,
        "bound": bound,
        "interval": interval,
        **(draws.size if draws else {}),
    }
    if observed is None or not math.isfinite(observed):
        text = f"{name} was not measured, so the floor {bound:g} cannot be judged"
        return Rule(rule=rule, verdict="not_judged", severity="reject", text=text, evidence={**facts, "observed": None})
    least = metrics.sign(kind, key) > 0
    passed = observed >= bound if least else observed <= bound
    relation = ("at least" if passed else "below") if least else _limit(passed)
    text = f"{name} is {observed:.4f}{_shown(interval)}, {relation} {bound:g}"
    return Rule(rule=rule, verdict=verdict(passed), severity="reject", text=text, evidence=facts)


def _without(gate: ResolvedGate, evidence: Evidence, head: str, rule: str, severity: Severity) -> Rule:
    """A rule on a head that the model lacks: nothing to judge, unless the champion has it."""
    if lost := answered.lost(gate, evidence, head):
        return Rule(rule=rule, verdict="not_judged", severity=severity, text=lost)
    return Rule(rule=rule, verdict="not_applicable", severity=severity, text=f"the model has no {head} head")


def _baselines(gate: ResolvedGate, evidence: Evidence, draws: Draws | None, seed: int) -> list[Rule]:
    """Better than every baseline of its head on every metric named, at the confidence, on the same sequences."""
    wanted: dict[str, list[str]] = {}
    for name in gate.beat_baselines:
        output, key = gate.place_of(name)
        wanted.setdefault(output, []).append(key)
    drawn: dict[str, Drawn | None] = {
        output: draws if output == gate.output else of_rows(evidence.rows[output], keys, seed)
        for output, keys in wanted.items()
        if output in evidence.rows
    }
    return [
        rule
        for name in gate.beat_baselines
        for rule in _beaten(gate, evidence, drawn.get(gate.place_of(name)[0]), name)
    ]


def _beaten(gate: ResolvedGate, evidence: Evidence, drawn: Drawn | None, name: str) -> list[Rule]:
    """One metric against every baseline of its head."""
    head, metric = gate.place_of(name)
    severities = gate.beat_baselines[name]
    of_all = severities if isinstance(severities, str) else severities.get(OTHERS, "reject")
    if drawn is None:
        return [_without(gate, evidence, head, f"beats the baselines: {name}", of_all)]
    if not drawn.baselines:
        text = f"no baseline of {head} was evaluated"
        return [Rule(rule=f"beats the baselines: {name}", verdict="not_judged", severity=of_all, text=text)]
    rules = []
    for baseline in drawn.baselines:
        severity = of_all if isinstance(severities, str) else severities.get(baseline, of_all)
        rule = f"beats {baseline}: {name}"
        if reason := drawn.why_not(CANDIDATE, baseline):
            rules.append(Rule(rule=rule, verdict="not_judged", severity=severity, text=reason, evidence=drawn.size))
            continue
        comparison = drawn.compare(metric, baseline, 0.0, gate.champion.confidence)
        better, worse = ("above", "below") if drawn.sign(metric) > 0 else ("below", "above")
        outcome = f"not shown to be {better} it"
        if comparison.proven or comparison.refuted:
            outcome = f"{better} it" if comparison.proven else f"shown to be {worse} it"
        level = _best_possible(comparison, drawn.sign(metric))
        if level:
            outcome = "the best that can be, which nothing beats"
        rules.append(
            Rule(
                rule=rule,
                verdict=verdict(comparison.proven or level),
                severity=severity,
                text=f"{name} is {comparison.candidate:.4f}, {baseline} {comparison.reference:.4f}: "
                f"{_change(comparison)}, {outcome}",
                evidence=_compared(name, comparison, 0.0, gate.champion.confidence, drawn),
            )
        )
    return rules


def _best_possible(comparison: Comparison, sign: int) -> bool:
    """Whether both have every row right: a share of 1, or an error of 0. A tie there is no defeat."""
    return comparison.candidate == comparison.reference == (1.0 if sign > 0 else 0.0)


def _champion(gate: ResolvedGate, evidence: Evidence, draws: Draws | None) -> Rule:
    """Not worse than the champion by the margin, or better by the margin, at the confidence, on the same sequences.

    See `champion_decision`.
    """
    wanted = gate.champion
    rule = f"{'not inferior to' if wanted.rule == 'non_inferior' else 'better than'} the champion: {gate.primary}"
    if not evidence.champion_version:
        return Rule(rule=rule, verdict="not_applicable", severity="hold", text="params.yaml names no champion")
    if draws is None:
        return Rule(rule=rule, verdict="not_applicable", severity="hold", text=f"the model has no {gate.output} head")
    if reason := evidence.another_shop:
        fit = dict(evidence.metrics["champion_fit"])
        return Rule(rule=rule, verdict="not_judged", severity="hold", text=reason, evidence=fit)
    if reason := draws.why_not(CANDIDATE, CHAMPION) or fairness.why_not(gate, evidence, draws):
        shares = {**draws.size, **fairness.facts(gate, evidence)}
        return Rule(rule=rule, verdict="not_judged", severity="hold", text=reason, evidence=shares)
    paid, fair = tries.paid(gate, evidence.tries), draws.fair[CHAMPION]
    decision, comparison = champion_decision(
        wanted,
        draws.measured(CANDIDATE, fair),
        draws.measured(CHAMPION, fair),
        draws.redrawn(CANDIDATE, fair),
        draws.redrawn(CHAMPION, fair),
        shown=paid.champion.confidence,
        sign=draws.sign(gate.key),
    )
    margin = champion_margin(wanted)
    needed = f"{'a loss of at most' if margin <= 0 else 'a gain of at least'} {abs(margin):.2%}"
    outcomes = {"promote": "is shown", "hold": "is not shown: the data do not tell", "reject": "is out of the question"}
    return Rule(
        rule=rule,
        verdict=verdict(decision == "promote"),
        severity="reject" if decision == "reject" else "hold",
        text=f"{gate.primary} is {comparison.candidate:.4f}, "
        f"version {evidence.champion_version} {comparison.reference:.4f}: "
        f"{_change(comparison)}; {needed} {outcomes[decision]}{fairness.left_out(gate, evidence)}"
        f"{tries.note(gate, evidence.tries)}",
        evidence={
            **_compared(gate.primary, comparison, draws.sign(gate.key) * margin, paid.champion.confidence, draws),
            "rule": wanted.rule,
            "best_champion": best_champion.after(paid, evidence, draws),
            **fairness.facts(gate, evidence),
        },
    )


def _other_heads(params: Gate, gate: ResolvedGate, evidence: Evidence, seed: int) -> list[Rule]:
    """No other head is shown to lose more than the margin of its own primary against the champion.

    What is not shown passes: a model is promoted by its first head, and must not pay for that with another. The heads
    share the error of `gate.champion.confidence` (Bonferroni).
    """
    others = [
        name
        for name, rows in evidence.rows.items()
        if name != gate.output and not rows.output.second and CHAMPION in rows.answers
    ]
    if not evidence.champion_version or evidence.another_shop:
        return []
    return [_not_worse(params, gate, evidence, name, seed, len(others)) for name in others]


def _not_worse(params: Gate, gate: ResolvedGate, evidence: Evidence, head: str, seed: int, heads: int) -> Rule:
    rows = evidence.rows[head]
    own = replace(gate, primary=outputs.primary(params, rows.output.head, gate.outputs), floors={}, beat_baselines={})
    rule = f"not shown to be worse than the champion: {own.primary}"
    draws = Draws(own, rows, seed)
    if reason := draws.why_not(CANDIDATE, CHAMPION) or fairness.why_not(own, evidence, draws):
        return Rule(rule=rule, verdict="not_judged", severity="hold", text=reason, evidence=draws.size)
    confidence = 1 - (1 - gate.champion.confidence) / heads
    comparison = draws.compare(draws.fair[CHAMPION], CHAMPION, -gate.champion.margin, confidence)
    outcome = "is shown" if comparison.refuted else "is not shown"
    return Rule(
        rule=rule,
        verdict=verdict(not comparison.refuted),
        severity="hold",
        text=f"{own.primary} is {comparison.candidate:.4f}, version {evidence.champion_version} "
        f"{comparison.reference:.4f}: {_change(comparison)}; a loss of more than {gate.champion.margin:.2%} {outcome}"
        f"{fairness.left_out(own, evidence)}",
        evidence={
            **_compared(own.primary, comparison, -draws.sign(own.key) * gate.champion.margin, confidence, draws),
            **fairness.facts(own, evidence),
        },
    )


def champion_margin(wanted: ChampionRule) -> float:
    """The relative change a candidate must show: -margin where it must not be inferior, +margin where better."""
    return -wanted.margin if wanted.rule == "non_inferior" else wanted.margin


def champion_decision(
    wanted: ChampionRule,
    candidate: float,
    champion: float,
    candidates: Array,
    champions: Array,
    *,
    shown: float | None = None,
    sign: int = 1,
) -> tuple[Decision, Comparison]:
    """The champion rule alone, from the metric of both systems as measured and in each draw [resamples].

    `shown`: the confidence of what lets a candidate through, where its tries are paid for; else that of `wanted`.
    `sign`: -1 where less is better.
    promote: the change is shown to be above the margin. reject: the candidate is shown to be worse, by more than the
    margin where it must not be inferior, at all where it must be better. hold: neither.
    """
    margin, confidence = champion_margin(wanted), wanted.confidence
    both = (candidate, champion, candidates, champions)
    comparison = paired.compare(*both, margin=margin, confidence=shown or confidence, sign=sign)
    if comparison.proven:
        return "promote", comparison
    worse = paired.compare(*both, margin=min(margin, 0.0), confidence=confidence, sign=sign).refuted
    return ("reject" if worse else "hold"), comparison


def _coverage(gate: ResolvedGate, evidence: Evidence) -> Rule:
    """Enough of the items asked for are in the candidate's vocabulary: a log that is too short promotes nothing."""
    bound, predictions = gate.min_coverage, evidence.ranked
    if predictions is None or not len(predictions.known):
        none = f"the model has no {outputs.main((), 'ranking')} head"
        text = none if predictions is None else "there is no prediction"
        return Rule(rule="coverage", verdict="not_applicable", severity="hold", text=text)
    observed = float(predictions.known.mean())
    passed = observed >= bound
    items = predictions.output.head.means.get("en", "next items")
    text = f"{observed:.1%} of the {items} stood in the training part often enough to be known"
    if not passed:
        text += f", below {bound:.0%}: the log is too short, or its items change too fast, to recommend from"
    facts = {"metric": "coverage", "observed": observed, "bound": bound}
    return Rule(rule="coverage", verdict=verdict(passed), severity="hold", text=text, evidence=facts)


def _calibration(gate: ResolvedGate, evidence: Evidence) -> list[Rule]:
    """The expected calibration error of every head that has one; where none has, that of the first there could be."""
    having = [name for name, rows in evidence.rows.items() if metrics.of(rows.output.kind, metrics.CALIBRATION)]
    return [_calibrated(gate, evidence, head) for head in having or [outputs.main((), "classes")]]


def _calibrated(gate: ResolvedGate, evidence: Evidence, head: str) -> Rule:
    rule, bound = f"calibration of {head}", gate.max_calibration_error
    measured = evidence.metrics.get(head)
    if not measured:
        return _without(gate, evidence, head, rule, "hold")
    entry = measured[CANDIDATE].get(metrics.CALIBRATION)
    observed = value_of(entry)
    if observed is None:
        text = "the expected calibration error was not measured"
        return Rule(rule=rule, verdict="not_judged", severity="hold", text=text, evidence={"bound": bound})
    interval = _interval((entry.get("low"), entry.get("high"))) if isinstance(entry, Mapping) else None
    passed = observed <= bound
    severity = "hold" if head == gate.output else outputs.head(head).calibration
    text = f"the expected calibration error is {observed:.4f}{_shown(interval)}, {_limit(passed)} {bound:g}"
    facts = {"metric": f"{head}.{metrics.CALIBRATION}", "observed": observed, "bound": bound, "interval": interval}
    return Rule(rule=rule, verdict=verdict(passed), severity=severity, text=text, evidence=facts)


def _budget(what: str, observed: float | None, bound: float, unit: str) -> Rule:
    facts = {"observed": observed, "bound": bound, "unit": unit}
    if observed is None:
        text = f"the {what} was not measured"
        return Rule(rule=what, verdict="not_judged", severity="reject", text=text, evidence=facts)
    passed = observed <= bound
    text = f"{observed:.4g} {unit}, {_limit(passed)} {bound:g}"
    return Rule(rule=what, verdict=verdict(passed), severity="reject", text=text, evidence=facts)


def _compared(metric: str, comparison: Any, margin: float, confidence: float, drawn: Drawn) -> dict[str, Any]:
    return {
        "metric": metric,
        "candidate": comparison.candidate,
        "reference": comparison.reference,
        "observed": comparison.change,
        "bound": margin,
        "interval": _interval((comparison.low, comparison.high)),
        "confidence": confidence,
        **drawn.size,
    }


def _change(comparison: Any) -> str:
    if comparison.change is None or comparison.low is None:
        return f"{comparison.candidate - comparison.reference:+.4f}"
    return f"{comparison.change:+.2%} [{comparison.low:+.2%}, {comparison.high:+.2%}]"


def _shown(interval: list[float] | None) -> str:
    return f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else ""


def _limit(passed: bool) -> str:
    return "at most" if passed else "above"
