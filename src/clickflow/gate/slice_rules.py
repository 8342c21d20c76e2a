"""The gate's rule on slices, which are parts of the traffic: a better average must not hide a slice that got worse."""

from statistics import NormalDist
from typing import Any

import numpy as np

from clickflow.evaluation.slices import UNKNOWN
from clickflow.evaluation.systems import CANDIDATE, CHAMPION
from clickflow.gate import fairness
from clickflow.gate.draws import MIN_CUSTOMERS, Draws
from clickflow.gate.evidence import Evidence
from clickflow.gate.resolved import ResolvedGate
from clickflow.gate.verdicts import Rule, verdict


def judge(gate: ResolvedGate, evidence: Evidence, draws: Draws | None) -> list[Rule]:
    """No slice of at least `min_slice` predictions drops by more than the bound, by more than chance.

    A slice fails where the measured drop exceeds the bound and its upper bound lies below no drop, at the confidence
    shared among all slices judged (Bonferroni; normal, by the spread of the draws). Items that the candidate does not
    know are no slice here: it scores 0 there by definition, so they are judged overall, among all predictions.
    """
    if not evidence.champion_version or draws is None:
        text = "params.yaml names no champion" if draws else f"the model has no {gate.output} head"
        return [Rule(rule="no slice drops", verdict="not_applicable", severity="hold", text=text)]
    if reason := (
        evidence.another_shop or draws.why_not(CANDIDATE, CHAMPION) or fairness.why_not(gate, evidence, draws)
    ):
        return [Rule(rule="no slice drops", verdict="not_judged", severity="hold", text=reason)]
    large = {
        dimension: [
            level
            for level, count in enumerate(draws.sums["slice", dimension, "count"].sum(axis=0))
            if (dimension, names[level]) != ("popularity", UNKNOWN)
            and count >= gate.min_slice
            and np.count_nonzero(draws.sums["slice", dimension, "count"][:, level]) >= MIN_CUSTOMERS
        ]
        for dimension, (_, names) in draws.rows.slices.items()
    }
    judged = sum(map(len, large.values()))
    enough = f"{gate.min_slice:,} predictions of {MIN_CUSTOMERS} customers or sessions"
    if not judged:
        text = f"no slice has {enough}"
        return [Rule(rule="no slice drops", verdict="not_applicable", severity="hold", text=text)]
    z = NormalDist().inv_cdf(1 - (1 - gate.champion.confidence) / judged)
    rules = []
    for dimension, levels in sorted(large.items()):
        rule = f"no slice drops: {dimension}"
        if not levels:
            text = f"no slice by {dimension} has {enough}"
            rules.append(Rule(rule=rule, verdict="not_applicable", severity="hold", text=text))
            continue
        changes = [_slice(draws, dimension, level, z) for level in levels]
        way = draws.sign(gate.key)
        breaches = [s for s in changes if way * s["change"] < -gate.max_slice_drop and way * s["best_change"] < 0]
        worst = min(changes, key=lambda s: way * float(s["change"]))
        text = f"the worst of {len(changes)} by {dimension} is {worst['slice']}: {worst['change']:+.1%}"
        if breaches:
            text = f"{len(breaches)} of {len(changes)} by {dimension} drop: " + ", ".join(
                f"{s['slice']} {s['change']:+.1%}" for s in breaches
            )
        rules.append(
            Rule(
                rule=rule,
                verdict=verdict(not breaches),
                severity="hold",
                text=f"{text}; at most {'-' if way > 0 else '+'}{gate.max_slice_drop:.1%} is allowed",
                evidence={
                    "metric": gate.primary,
                    "observed": worst["change"],
                    "bound": -way * gate.max_slice_drop,
                    "worst": worst,
                    "breaches": breaches,
                    "slices": len(changes),
                },
            )
        )
    return rules


def _slice(draws: Draws, dimension: str, level: int, z: float) -> dict[str, Any]:
    """The relative change of one slice against the champion, and the best it may be; 0 where that one has nothing."""
    count, candidate, champion = (
        float(draws.sums["slice", dimension, what][:, level].sum()) for what in ("count", CANDIDATE, CHAMPION)
    )
    drawn = {what: draws.drawn["slice", dimension, what][:, level] for what in ("count", CANDIDATE, CHAMPION)}
    spread = float(np.std((drawn[CANDIDATE] - drawn[CHAMPION]) / np.maximum(drawn["count"], 1)))
    reference = champion / count
    change = (candidate - champion) / champion if champion else 0.0
    return {
        "slice": draws.rows.slices[dimension][1][level],
        "predictions": int(count),
        "candidate": candidate / count,
        "champion": reference,
        "change": change,
        "best_change": change + draws.sign(draws.primary) * z * spread / reference if reference else 0.0,
    }
