"""Section `tuning` of params.yaml: what `clickflow tune` tries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What one param of a model may be in a trial: a number from `low` to `high`, or one of `choices`."""

    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    choices: tuple[Any, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What `clickflow tune` tries, and how it judges."""

    objective: Literal["next_item", "next_action", "loss", "mrr@20", "recall@20"]
    pruning: Literal["median", "halving", "none"]
    epochs: int | None
    max_sequences: int | None
    space: Mapping[str, Mapping[str, Tuned]]
