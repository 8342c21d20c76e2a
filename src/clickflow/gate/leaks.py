"""Is a gain too good to be true? Then the answer, or something that follows from it, may have leaked into the input.

Three signs: the gain is gone where the answer does not tie with (have the time of) the step before; the candidate is
better than the oracle, where there is one; or it has less than a third of the best baseline's misses.
"""

from typing import Any

from clickflow.evaluation.systems import CANDIDATE, CHAMPION, ORACLE
from clickflow.gate.draws import KNOWN_TRUTH, UNTIED, Draws
from clickflow.gate.resolved import ResolvedGate
from clickflow.gate.verdicts import Rule

FEWER_MISSES = 3.0
"""A candidate with so many times fewer misses than the best baseline is looked at by a person. On the clicks of bol.com
and RetailRocket (README.md) what the default misses by mrr@20 is 1.14 and 1.10 times less than the best baseline's.
"""
RULE = "no sign of a leak"


def judge(gate: ResolvedGate, draws: Draws | None) -> list[Rule]:
    """One rule: passed where there is no such trace, and the candidate is held where there is one."""
    if draws is None or draws.why_not(CANDIDATE) or not draws.baselines:
        text = "nothing was measured that a leak would show in"
        return [Rule(rule=RULE, verdict="not_applicable", severity="hold", text=text)]
    traces = [each for each in (_ties(gate, draws), _oracle(gate, draws), _baseline(gate, draws)) if each]
    signs = [text for text, sign, _ in traces if sign]
    return [
        Rule(
            rule=RULE,
            verdict="failed" if signs else "passed",
            severity="hold",
            text="; ".join(signs or [text for text, _, _ in traces]) or "no trace of one",
            evidence={key: value for _, _, facts in traces for key, value in facts.items()},
        )
    ]


Trace = tuple[str, bool, dict[str, Any]]


def _ties(gate: ResolvedGate, draws: Draws) -> Trace | None:
    """Against the champion, else the best baseline: a gain that is shown on all rows, and of which less than a quarter
    is left, and not shown, where nothing ties.
    """
    tied = draws.rows.tied
    name = gate.key + UNTIED
    if tied is None or not tied.any() or int((~tied).sum()) < gate.min_slice:
        return None
    reference = CHAMPION if draws.why_not(CHAMPION) is None else _strongest(gate, draws)
    every, rest = (draws.compare(each, reference, 0.0, gate.champion.confidence) for each in (gate.key, name))
    if every.change is None or rest.change is None:
        return None
    way = draws.sign(gate.key)
    sign = every.proven and not rest.proven and way * rest.change < way * every.change / 4
    text = (
        f"against {reference} {gate.primary} changes by {every.change:+.2%} on all rows and by {rest.change:+.2%} on "
        f"the {1 - tied.mean():.1%} whose answer does not share its instant with the step before"
    )
    if sign:
        text += ": the gain lies in the order of events of one instant (source.columns.order, quality.max_tie_share)"
    return text, sign, {"gain": every.change, "gain_untied": rest.change, "tied": float(tied.mean())}


def _oracle(gate: ResolvedGate, draws: Draws) -> Trace | None:
    """Better than the true process, by more than chance: nobody can be."""
    name = gate.key + KNOWN_TRUTH
    if draws.rows.oracle is None or not draws.measured(ORACLE, name) > 0:
        return None
    comparison = draws.compare(name, ORACLE, 0.0, gate.champion.confidence)
    text = f"{gate.primary} is {comparison.candidate:.4f}, the best possible {comparison.reference:.4f}"
    if comparison.proven:
        beyond = "above" if draws.sign(gate.key) > 0 else "below"
        text += f", which nobody can be {beyond}: the answer was told"
    return text, comparison.proven, {"best_possible": comparison.reference}


def _baseline(gate: ResolvedGate, draws: Draws) -> Trace:
    """Far above the best baseline: so few misses that somebody should look. A loss has no misses to be counted."""
    best = _strongest(gate, draws)
    own, theirs = draws.measured(CANDIDATE, gate.key), draws.measured(best, gate.key)
    sign = draws.sign(gate.key) > 0 and (1 - theirs) > FEWER_MISSES * (1 - own)
    text = f"{gate.primary} is {own:.4f}, {best}, the best baseline, {theirs:.4f}"
    if sign:
        text += f": it misses over {FEWER_MISSES:g} times less, which wants to be explained"
    return text, sign, {"best_baseline": best}


def _strongest(gate: ResolvedGate, draws: Draws) -> str:
    return max(draws.baselines, key=lambda name: draws.sign(gate.key) * draws.measured(name, gate.key))
