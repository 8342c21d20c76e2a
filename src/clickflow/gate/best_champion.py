"""Small losses do not add up: a candidate must not be inferior to the best champion of the past either.

A champion that lost as much as the margin allows, then another, and so on, would lose quality without end. The best is
the last champion that was shown to be better than the best before it; it answers the same test rows.
"""

from clickflow.evaluation.systems import BEST, CANDIDATE, CHAMPION
from clickflow.gate import fairness
from clickflow.gate.draws import Draws
from clickflow.gate.evidence import Evidence
from clickflow.gate.resolved import ResolvedGate
from clickflow.gate.verdicts import Rule, verdict


def judge(gate: ResolvedGate, evidence: Evidence, draws: Draws | None) -> list[Rule]:
    """Shown, that the primary loses at most the margin of that version's; no rule where the champion itself is it."""
    version = evidence.best_version
    if draws is None or not evidence.champion_version or version in (0, evidence.champion_version):
        return []
    rule = f"not inferior to the best champion so far: {gate.primary}"
    reason = draws.why_not(CANDIDATE, BEST) or fairness.why_not(gate, evidence, draws, BEST)
    if reason:
        return [Rule(rule=rule, verdict="not_judged", severity="hold", text=reason, evidence=draws.size)]
    margin = -gate.champion.margin
    comparison = draws.compare(draws.fair[BEST], BEST, margin, gate.champion.confidence)
    change = (
        ""
        if comparison.change is None
        else f": {comparison.change:+.2%} [{comparison.low:+.2%}, {comparison.high:+.2%}]"
    )
    return [
        Rule(
            rule=rule,
            verdict=verdict(comparison.proven),
            severity="hold",
            text=f"{gate.primary} is {comparison.candidate:.4f}, version {version}, the best champion so far, "
            f"{comparison.reference:.4f}{change}; a loss of at most {gate.champion.margin:.2%} "
            f"{'is' if comparison.proven else 'is not'} shown{fairness.left_out(gate, evidence, BEST)}",
            evidence={
                "metric": gate.primary,
                "candidate": comparison.candidate,
                "reference": comparison.reference,
                "observed": comparison.change,
                "bound": draws.sign(gate.key) * margin,
                "interval": None if comparison.low is None else [comparison.low, comparison.high],
                "confidence": gate.champion.confidence,
                "version": version,
                **draws.size,
                **fairness.facts(gate, evidence, BEST),
            },
        )
    ]


def after(gate: ResolvedGate, evidence: Evidence, draws: Draws | None) -> int:
    """Which version is the best champion once the candidate is champion; 0: the candidate itself.

    It is the candidate where it is shown to be better than the best so far, or there is none.
    """
    version, system = evidence.best_version, BEST
    if draws is None or not version:
        return 0
    if version == evidence.champion_version:
        system = CHAMPION
    if draws.why_not(CANDIDATE, system) or fairness.why_not(gate, evidence, draws, system):
        return version
    return 0 if draws.compare(draws.fair[system], system, 0.0, gate.champion.confidence).proven else version
