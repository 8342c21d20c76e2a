"""Section `gate` of params.yaml: what a candidate must reach."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from clickflow.params.meta import Meta

Severity = Literal["reject", "hold", "warn"]
"""What a rule that fails leads to."""
OTHERS = "*"
"""Every baseline that `gate.beat_baselines` does not name for a metric."""
ACCURACY = "next_action.accuracy"
"""The metric of next_action that watching speaks of."""
ROW_METRICS = (ACCURACY, "next_action.log_loss")
"""Metrics of next_action that are means over rows, which two systems can be compared by."""
OTHER_HEADS = ("next_items", "next_action")
"""The heads whose metrics carry their name."""


@dataclass(frozen=True, kw_only=True)
class ChampionRule:
    """How a candidate is held against the champion."""

    rule: Annotated[Literal["non_inferior", "better"], Meta("what is to be shown")] = "non_inferior"
    margin: Annotated[float, Meta("relative: non_inferior: the loss allowed; better: the gain asked for")] = 0.01
    confidence: Annotated[float, Meta("one-sided", ge=0.5, lt=1)] = 0.95


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a candidate must reach."""

    primary: Annotated[str, Meta("the metric that is held against the champion, overall and in slices")] = "mrr@20"
    floors: Annotated[
        Mapping[str, float],
        Meta("the least a metric may be; next_action.accuracy and the like too", ge=-1e12),
    ] = field(default_factory=lambda: {"recall@20": 0.05})
    beat_baselines: Annotated[
        Mapping[str, Severity | Mapping[str, Severity]],
        Meta(
            "metrics in which every baseline of the head is to be beaten, and what it leads to if not; or that by "
            'baseline; "*": every other one'
        ),
    ] = field(
        default_factory=lambda: {
            "recall@20": "reject",
            "mrr@20": "reject",
            "next_action.log_loss": {"majority": "hold", OTHERS: "warn"},
            "next_action.accuracy": "warn",
        }
    )
    champion: ChampionRule = field(default_factory=ChampionRule)
    max_slice_drop: Annotated[
        float, Meta("relative, against the champion, in any slice of at least min_slice predictions")
    ] = 0.1
    min_coverage: Annotated[
        float, Meta("next items that stood in the training part often enough to be known", "share")
    ] = 0.5
    min_slice: Annotated[int, Meta("predictions, without which a slice is not judged")] = 500
    max_calibration_error: Annotated[float, Meta("expected calibration error of next_action")] = 0.1
    max_latency_ms: Annotated[float, Meta("95th percentile, one request on the CPU")] = 50.0
    max_size_mb: Annotated[float, Meta("of the artefact")] = 200.0


def place_of(metric: str) -> tuple[str, str]:
    """The head that a metric is of, and its name there: `recall@20` is of next_item, `next_action.accuracy` is not."""
    head, _, key = metric.partition(".")
    return (head, key) if head in OTHER_HEADS else ("next_item", metric)
