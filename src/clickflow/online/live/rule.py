"""When a canary ends: by what was seen of its visitors, and by nothing that could not be looked at every minute."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from clickflow.online.live import log, metrics, sequential
from clickflow.online.live.metrics import Joined
from clickflow.online.live.sequential import Evidence
from clickflow.params.schema import Params
from clickflow.registry.ledger import Entry
from clickflow.system.moments import DAY, of_iso

Call = Literal["promote", "stop", "wait"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the rule says of a canary; `evidence` is of the candidate less the champion."""

    model: str
    version: int
    champion: int
    test: int
    metric: str | None
    visitors: int
    candidate_visitors: int
    mixed: int
    evidence: Evidence
    call: Call
    why: str

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        plain = asdict(self)
        for name, value in plain["evidence"].items():
            if isinstance(value, float):
                plain["evidence"][name] = round(min(value, 1e12), 6)
        return plain


def verdict(params: Params, joined: Joined, on: Entry, now: int) -> Verdict:
    """Of the canary that began with the line `on`; `now`: microseconds since 1970 UTC.

    It becomes champion where its visitors have refuted that it is worse by more than `margin`, and is stopped where
    they have refuted that it is no worse: each at the level `alpha`, however often one looks; and, whatever they say,
    after `max_days`. Both wait for `min_visitors` of each group.
    """
    metric = metrics.metric_of(params, on.model)
    groups = {
        number: group.arm == log.CANARY
        for number, group in enumerate(joined.groups)
        if group.model == on.model and group.test == on.number and group.arm in (log.CHAMPION, log.CANARY)
    }
    seen = metrics.visitors(params, joined, on.model, groups, metric, now) if metric and groups else metrics.NOBODY
    evidence = sequential.evidence(
        sequential.by_turns(seen.candidate, seen.value), margin=params.live.margin, alpha=params.live.alpha
    )
    own = int(seen.candidate.sum())
    call, why = _call(params, metric, own, len(seen.value) - own, evidence, (now - of_iso(on.time)) / DAY)
    if call == "wait" and any(seen.waiting):
        why += f"; {seen.waiting[0]:,} and {seen.waiting[1]:,} more wait until nothing can be added to their visits"
    return Verdict(
        model=on.model,
        version=on.version,
        champion=on.champion,
        test=on.number,
        metric=metric,
        visitors=len(seen.value),
        candidate_visitors=own,
        mixed=seen.mixed,
        evidence=evidence,
        call=call,
        why=why,
    )


def _call(
    params: Params, metric: str | None, own: int, others: int, evidence: Evidence, days: float
) -> tuple[Call, str]:
    live, enough = params.live, 1 / params.live.alpha
    if metric is None:
        return "wait", "no head of it has a metric that versions can be compared by: name one in live.metric"
    shown = ""
    if evidence.mean is not None:
        shown = f"{metric} {evidence.mean:+.4f} [{evidence.low:+.3f}, {evidence.high:+.3f}]"
    if min(own, others) >= live.min_visitors:
        if evidence.worse >= enough:
            return "stop", f"worse: {shown}, e-value {evidence.worse:,.0f} of {enough:,.0f}"
        if evidence.better >= enough:
            return "promote", f"not worse by {live.margin:g}: {shown}, e-value {evidence.better:,.0f} of {enough:,.0f}"
    if days >= live.max_days:
        return "stop", f"not decided in {live.max_days:g} days: {shown or 'nobody has come'}"
    if min(own, others) < live.min_visitors:
        return "wait", f"{own:,} and {others:,} visitors, {live.min_visitors:,} of each are needed"
    return "wait", f"not decided: {shown}, e-values {evidence.better:,.1f} and {evidence.worse:,.1f} of {enough:,.0f}"
