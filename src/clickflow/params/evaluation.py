"""Section `evaluation` of params.yaml: what is measured."""

from dataclasses import dataclass
from typing import Literal

Baseline = Literal["popularity", "decayed_popularity", "repeat", "markov", "itemknn", "vsknn", "vstan", "vstan_returns"]
ActionBaseline = Literal["majority", "markov", "logistic", "forest", "boosting"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is measured."""

    cutoffs: tuple[int, ...]
    bootstrap: int
    confidence: float
    max_sequences: int
    baselines: tuple[Baseline, ...]
    action_baselines: tuple[ActionBaseline, ...]
