"""The gate's rule on groups of people: none may fare much worse by a head's primary than all of them do.

Unlike a slice, a group is not held against the champion: what counts is how it fares beside the others.
"""

from clickflow.evaluation import slices
from clickflow.evaluation.customers import NOBODY, OTHER
from clickflow.evaluation.systems import CANDIDATE
from clickflow.gate.draws import MIN_CUSTOMERS
from clickflow.gate.evidence import Array, Evidence, Rows
from clickflow.gate.resolved import ResolvedGate
from clickflow.gate.verdicts import Rule, verdict
from clickflow.heads import metrics, outputs
from clickflow.params.gate import Gate
from clickflow.sequences.units import UNITS


def judge(params: Gate, gate: ResolvedGate, evidence: Evidence) -> list[Rule]:
    """A rule a head and kind of group; none where `max_group_gap` is null."""
    if gate.max_group_gap is None:
        return []
    return [
        _judged(
            gate, rows, outputs.place_of(outputs.primary(params, rows.output.head, gate.outputs), gate.outputs)[1], name
        )
        for rows in evidence.rows.values()
        if not rows.output.ahead and _of_people(rows)
        for name in slices.GROUPS
        if name == slices.ALWAYS or name in rows.slices
    ]


def _of_people(rows: Rows) -> bool:
    """Whether a sequence is somebody's; a series of an item is nobody's."""
    unit = UNITS.get(rows.output.head.unit)
    return unit is None or unit.owner == "user_id"


def _judged(gate: ResolvedGate, rows: Rows, metric: str, dimension: str) -> Rule:
    """The worst of the groups that are large enough, beside all rows of those."""
    rule, bound = f"groups fare alike: {rows.output.name} by {dimension}", float(gate.max_group_gap or 0.0)
    if dimension not in rows.slices:
        text = f"the rows do not say the {dimension}: evaluated before, or nobody in the log is known"
        return Rule(rule=rule, verdict="not_judged", severity="hold", text=text, evidence={"bound": bound})
    level, names = rows.slices[dimension]
    large = [
        code
        for code, name in enumerate(names)
        if name not in (NOBODY, OTHER)
        and (level == code).sum() >= gate.min_slice
        and len(set(rows.customer[level == code].tolist())) >= MIN_CUSTOMERS
    ]
    if len(large) < 2:
        text = f"fewer than two groups have {gate.min_slice:,} predictions of {MIN_CUSTOMERS} customers or sessions"
        return Rule(rule=rule, verdict="not_applicable", severity="hold", text=text, evidence={"bound": bound})
    gained, counted = rows.values(metric, rows.answers[CANDIDATE]), rows.counted(metric)
    whole = _mean(gained, counted, [level == code for code in large])
    by_group = {names[code]: _mean(gained, counted, [level == code]) for code in large}
    way = metrics.sign(rows.output.kind, metric)
    worse = {name: way * (whole - value) / abs(whole) if whole else 0.0 for name, value in by_group.items()}
    worst = max(worse, key=lambda name: worse[name])
    passed = worse[worst] <= bound
    written = gate.full(rows.output.name, metric)
    text = (
        f"{written} is " + ", ".join(f"{value:.4f} ({name})" for name, value in by_group.items()) + f"; {worst} fares "
        f"{worse[worst]:.1%} worse than all of them, {'at most' if passed else 'above'} {bound:.1%}"
    )
    facts = {"metric": written, "observed": worse[worst], "bound": bound, "groups": by_group, "all": whole}
    return Rule(rule=rule, verdict=verdict(passed), severity="hold", text=text, evidence=facts)


def _mean(gained: Array, counted: Array, members: list[Array]) -> float:
    """The metric over the rows of some groups; 0 where they count nothing."""
    inside = sum(each.astype(float) for each in members)
    total = float((counted * inside).sum())
    return float((gained * inside).sum()) / total if total else 0.0
