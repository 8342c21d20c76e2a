"""Section `gate` of params.yaml: what a candidate must reach."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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

    rule: Literal["non_inferior", "better"]
    margin: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a candidate must reach; `beat_baselines`: by metric what failing leads to, for all baselines or by name."""

    primary: str
    floors: Mapping[str, float]
    beat_baselines: Mapping[str, Severity | Mapping[str, Severity]]
    champion: ChampionRule
    max_slice_drop: float
    min_coverage: float
    min_slice: int
    max_calibration_error: float
    max_latency_ms: float
    max_size_mb: float


def place_of(metric: str) -> tuple[str, str]:
    """The head that a metric is of, and its name there: `recall@20` is of next_item, `next_action.accuracy` is not."""
    head, _, key = metric.partition(".")
    return (head, key) if head in OTHER_HEADS else ("next_item", metric)
