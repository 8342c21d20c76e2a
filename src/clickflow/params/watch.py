"""Section `watch` of params.yaml: when retraining is called for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from clickflow.params.meta import Meta


@dataclass(frozen=True, kw_only=True)
class MaxDrift:
    """How far a window may lie from the champion's training data, beyond sampling noise; null: not judged."""

    event_types: Annotated[
        float | None,
        Meta("distance of the shares of steps by event type from those in training; null: not judged", "share"),
    ] = 0.05
    popularity: Annotated[
        float | None, Meta("likewise by groups of items that were equally frequent in training", "share")
    ] = 0.15
    unknown_items: Annotated[
        float | None,
        Meta("steps on items that the champion does not know, above those in training", "share"),
    ] = 0.1
    session_length: Annotated[float | None, Meta("distance of the shares of sequences by their steps", "share")] = 0.1
    hour: Annotated[float | None, Meta("distance of the shares of steps by the hour of the day", "share")] = 0.15
    price: Annotated[float | None, Meta("distance of the shares of steps by the price ranges of training", "share")] = (
        0.1
    )


@dataclass(frozen=True, kw_only=True)
class Watch:
    """When `clickflow watch` calls for retraining: docs/reference/monitoring.md."""

    window_days: Annotated[float, Meta("length of a window", "days", gt=0)] = 1.0
    windows: Annotated[int, Meta("so many, the last one ending at the newest event")] = 5
    breaches: Annotated[
        int, Meta("retrain where so many of them breach, the latest among them; at most windows", ge=1)
    ] = 2
    min_sequences: Annotated[
        int,
        Meta("a window with fewer is not judged; noise cannot be told from fewer than 2", ge=2),
    ] = 100
    confidence: Annotated[
        float,
        Meta("a window in which nothing has moved passes at least this often, all bounds together", ge=0.5, lt=1),
    ] = 0.95
    max_age_hours: Annotated[
        float | None,
        Meta("of the newest event, against source.as_of or the clock; null: not judged", "hours", gt=0),
    ] = None
    max_drift: MaxDrift = field(default_factory=MaxDrift)
    max_metric_drop: Annotated[
        float | Mapping[str, float],
        Meta(
            "relative, below what the champion had at its evaluation, beyond sampling noise: of the primary of each of "
            "its heads; or by metric, of those alone; {}: none",
            "share",
        ),
    ] = 0.15
    max_live_drop: Annotated[
        float | None,
        Meta(
            "relative, of what versions are compared by live (params live), below the days before the windows, beyond "
            "sampling noise; of models that `clickflow serve` has answered for; null: not judged",
            "share",
        ),
    ] = 0.15
