"""Section `gate` of params.yaml: what a candidate must reach."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from clickflow.params.meta import Meta

Severity = Literal["reject", "hold", "warn"]
"""What a rule that fails leads to."""
OTHERS = "*"
"""Every baseline that `gate.beat_baselines` does not name for a metric."""


@dataclass(frozen=True, kw_only=True)
class ChampionRule:
    """How a candidate is held against the champion."""

    rule: Annotated[Literal["non_inferior", "better"], Meta("what is to be shown")] = "non_inferior"
    margin: Annotated[float, Meta("relative: non_inferior: the loss allowed; better: the gain asked for")] = 0.01
    confidence: Annotated[float, Meta("one-sided", ge=0.5, lt=1)] = 0.95


@dataclass(frozen=True, kw_only=True)
class ProfilesRule:
    """What the segments of customers must reach to be handed out."""

    min_stability: Annotated[
        float | None,
        Meta(
            "mean adjusted Rand index of three trainings on other samples, 1: the same segments, 0: as by chance; "
            "null: not judged",
            ge=-1,
            le=1,
        ),
    ] = None
    worse_than_rfm: Annotated[
        Literal["warn", "hold"],
        Meta("what follows where RFM segments are shown to say more of who comes back"),
    ] = "warn"


@dataclass(frozen=True, kw_only=True)
class AnomaliesRule:
    """What the list of odd visits must reach to be handed out."""

    min_stability: Annotated[
        float | None,
        Meta(
            "Spearman's correlation of the visits' scores with those by another version of the model, 1: the same "
            "ranking; null: not judged",
            ge=-1,
            le=1,
        ),
    ] = None
    worse_than_rules: Annotated[
        Literal["warn", "hold"],
        Meta("what follows where a rate rule or an isolation forest is shown to find planted cases better"),
    ] = "warn"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a candidate must reach."""

    primary: Annotated[
        str | Mapping[str, str],
        Meta(
            "the metric that is held against the champion, overall and in slices; or that by head; a head that is not "
            "named has its own"
        ),
    ] = field(default_factory=dict)
    floors: Annotated[
        Mapping[str, float] | None,
        Meta(
            "the least a metric may be, or the most where less is better; of heads other than the first that ranks it "
            "is head.metric, such as next_action.accuracy; a metric that is not named has its head's own floor",
            ge=-1e12,
        ),
    ] = None
    beat_baselines: Annotated[
        Mapping[str, Severity | Mapping[str, Severity]] | None,
        Meta(
            "metrics in which every baseline of the head is to be beaten, and what it leads to if not; or that by "
            'baseline; "*": every other one; a head that is not named has its own; {}: none are to be beaten'
        ),
    ] = None
    champion: ChampionRule = field(default_factory=ChampionRule)
    may_drop: Annotated[
        tuple[str, ...],
        Meta("outputs, such as next_action, that a candidate need not answer although the champion does"),
    ] = ()
    max_slice_drop: Annotated[
        float, Meta("relative, against the champion, in any slice of at least min_slice predictions")
    ] = 0.1
    max_group_gap: Annotated[
        float | None,
        Meta(
            "relative: how much worse the primary of a head may be in one group of people (new, returning; "
            "country, device where the log says them) than over all of them; null: shown in the report, not judged"
        ),
    ] = None
    profiles: ProfilesRule = field(default_factory=ProfilesRule)
    anomalies: AnomaliesRule = field(default_factory=AnomaliesRule)
    min_coverage: Annotated[
        float, Meta("next items that stood in the training part often enough to be known", "share")
    ] = 0.5
    min_slice: Annotated[int, Meta("predictions, without which a slice is not judged")] = 500
    max_calibration_error: Annotated[
        float, Meta("expected calibration error of every head of classes or probability")
    ] = 0.1
    max_latency_ms: Annotated[float, Meta("95th percentile, one request on the CPU")] = 50.0
    max_size_mb: Annotated[float, Meta("of the artefact")] = 200.0
