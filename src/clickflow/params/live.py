"""Section `live` of params.yaml: the log of answers, and versions that answer beside the champion."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from clickflow.params.meta import Meta


@dataclass(frozen=True, kw_only=True)
class Live:
    """Answers, what became of them, shadow and canary: docs/howto/live.md."""

    log: Annotated[bool, Meta("keep answers and what became of them, under pseudonyms")] = True
    flush_seconds: Annotated[
        float, Meta("between two writes of the log; a crash loses no more", "seconds", gt=0, le=600)
    ] = 5
    queue: Annotated[int, Meta("rows that wait to be written; of more, the new ones are dropped and counted", ge=1)] = (
        100_000
    )
    keep_days: Annotated[float, Meta("that the log is kept", "days", gt=0)] = 90
    window_days: Annotated[float, Meta("latest answers that live metrics are of", "days", gt=0)] = 7
    shadow: Annotated[
        float, Meta("requests that the candidate answers too, unseen, as far as it keeps up; 0: none", "share")
    ] = 0.0
    canary: Annotated[
        tuple[str, ...],
        Meta("models whose candidate, let through by the gate, first answers `share` of the visitors"),
    ] = ()
    share: Annotated[float, Meta("visitors that a canary answers; who is in at less stays in at more", "share")] = 0.05
    metric: Annotated[
        Mapping[str, str],
        Meta("by model, what versions are compared by: ctr, conversion, or output.metric; none: the head's own"),
    ] = field(default_factory=dict)
    alpha: Annotated[float, Meta("how often chance alone may end a canary, however often one looks", gt=0, le=0.5)] = (
        0.05
    )
    margin: Annotated[float, Meta("so much worse, of a metric from 0 to 1, is not worse", "share")] = 0.01
    min_visitors: Annotated[int, Meta("of each group before a canary is ended", ge=1)] = 100
    visitor_hours: Annotated[float, Meta("of a visitor, from the first answer on, that count", "hours", gt=0)] = 24
    max_days: Annotated[float, Meta("after which a canary is stopped, shown to be better or not", "days", gt=0)] = 14
    report_minutes: Annotated[
        float | None,
        Meta("between two reports of `clickflow live` that a server makes itself; null: none", "minutes", gt=0),
    ] = None
    judge: Annotated[
        bool,
        Meta("a server, with each of its reports, and the DAG watch end canaries by the rule; false: a person does"),
    ] = False
