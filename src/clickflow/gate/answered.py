"""The gate's rule on coverage of answers: a candidate must answer whatever the champion answers.

A run may set its model's heads. Without this rule, a candidate that lacks a head would be judged by the others alone.
"""

from collections.abc import Mapping

from clickflow.evaluation.systems import CANDIDATE, CHAMPION
from clickflow.gate.evidence import Evidence
from clickflow.gate.resolved import ResolvedGate
from clickflow.gate.verdicts import Rule, verdict

RULE = "answers all that the champion answers"


def judge(gate: ResolvedGate, evidence: Evidence) -> Rule:
    """Every output of the champion's card is one of the candidate's, for as many steps; `may_drop` lets some go."""
    if not evidence.champion_version:
        return Rule(rule=RULE, verdict="not_applicable", severity="hold", text="params.yaml names no champion")
    version, said = evidence.champion_version, _said(evidence)
    if said is None:
        text = f"the evaluation does not say what version {version} answers: `dvc repro evaluate@MODEL` says it"
        return Rule(rule=RULE, verdict="not_judged", severity="hold", text=text)
    own, wanted = said[CANDIDATE], said[CHAMPION]
    gone = {name: steps for name, steps in wanted.items() if own.get(name, 0) < steps}
    missing, dropped = ([name for name in gone if (name in gate.may_drop) is let_go] for let_go in (False, True))
    named = ", ".join(_named(name, wanted[name], own.get(name)) for name in missing)
    text = f"version {version} answers {', '.join(wanted)}, and so does the candidate"
    if missing:
        text = (
            f"the candidate does not answer {named}, version {version} does: those who ask for it would get nothing; "
            f"let it answer, or name what is given up in gate.may_drop"
        )
    elif dropped:
        text = f"the candidate does not answer {', '.join(dropped)}, version {version} does; gate.may_drop allows it"
    facts = {"missing": missing, "dropped": dropped, "steps": {CHAMPION: dict(wanted), CANDIDATE: dict(own)}}
    return Rule(rule=RULE, verdict=verdict(not missing), severity="hold", text=text, evidence=facts)


def lost(gate: ResolvedGate, evidence: Evidence, output: str) -> str:
    """Why a rule on an output that the candidate lacks cannot be passed over; empty where the model never had it, or
    was allowed to drop it.
    """
    said = _said(evidence)
    if said is None or output in gate.may_drop or output not in said[CHAMPION]:
        return ""
    return f"the model has no {output} head, and version {evidence.champion_version} has"


def _said(evidence: Evidence) -> Mapping[str, Mapping[str, int]] | None:
    """By system and output, for how many next steps it is answered; None where the evaluation does not say."""
    said: Mapping[str, Mapping[str, int]] | None = (evidence.metrics.get("champion_fit") or {}).get("answered")
    return said if said and {CANDIDATE, CHAMPION} <= said.keys() else None


def _named(name: str, wanted: int, own: int | None) -> str:
    """An output that is missing, or is there for fewer steps."""
    return f"{name} for {wanted} steps (only for {own})" if own else name
