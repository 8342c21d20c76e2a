"""Section `watch` of params.yaml: when retraining is called for."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MaxDrift:
    """How far a window may lie from the champion's training data, by what is compared."""

    event_types: float | None
    popularity: float | None
    unknown_items: float | None
    session_length: float | None
    hour: float | None
    price: float | None


@dataclass(frozen=True, kw_only=True)
class Watch:
    """When retraining is called for."""

    window_days: float
    windows: int
    breaches: int
    min_sequences: int
    confidence: float
    max_age_hours: float | None
    max_drift: MaxDrift
    max_metric_drop: Mapping[str, float]
