"""Section `evaluation` of params.yaml: what is measured."""

from dataclasses import dataclass
from typing import Annotated, Literal

from clickflow.params.meta import Meta

Baseline = Literal["popularity", "decayed_popularity", "repeat", "markov", "itemknn", "vsknn", "vstan", "vstan_returns"]
ActionBaseline = Literal["majority", "markov", "logistic", "forest", "boosting"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is measured."""

    cutoffs: Annotated[tuple[int, ...], Meta("the k of recall@k, mrr@k and ndcg@k", ge=1, le=1e6)] = (1, 5, 10, 20)
    bootstrap: Annotated[int, Meta("resamples of the confidence intervals, by sequence", le=1e6)] = 1000
    confidence: Annotated[float, Meta("of the intervals", "share")] = 0.95
    max_sequences: Annotated[int, Meta("of the test part, the latest; baselines and champion see the same", ge=1)] = (
        20_000
    )
    baselines: Annotated[tuple[Baseline, ...], Meta("of next_item; the gate asks that all of them are beaten")] = (
        "popularity",
        "repeat",
        "markov",
        "vsknn",
    )
    action_baselines: Annotated[tuple[ActionBaseline, ...], Meta("of next_action")] = (
        *("majority", "markov", "logistic", "boosting"),
    )
