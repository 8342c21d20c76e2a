"""Section `tuning` of params.yaml: what `clickflow tune` tries, and how it judges; no stage reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from clickflow.params.meta import Meta


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What one param of a model may be in a trial: a number from `low` to `high`, or one of `choices`."""

    low: Annotated[float | None, Meta("the smallest number", ge=-1e12)] = None
    high: Annotated[float | None, Meta("the largest number", ge=-1e12)] = None
    step: Annotated[float | None, Meta("between numbers; null: any", gt=0)] = None
    log: Annotated[bool, Meta("numbers are drawn by their logarithm")] = False
    choices: Annotated[tuple[Any, ...] | None, Meta("values, in place of a range", ge=-1e12)] = None


def _space() -> dict[str, dict[str, Tuned]]:
    return {
        "*": {
            "encoder.units": Tuned(low=48.0, high=200.0, log=True),
            "encoder.layers": Tuned(choices=(1, 2)),
            "encoder.dropout": Tuned(low=0.0, high=0.4),
            "encoder.attention": Tuned(choices=("none", "bilinear", "additive")),
            "heads.next_item.negatives": Tuned(choices=(512, 1024, 2048)),
            "heads.next_item.label_smoothing": Tuned(choices=(0.0, 0.03, 0.1)),
            "optimiser.learning_rate": Tuned(low=0.0005, high=0.02, log=True),
            "optimiser.embedding_learning_rate": Tuned(low=0.002, high=0.05, log=True),
            "optimiser.weight_decay": Tuned(low=0.001, high=0.3, log=True),
            "budget.batch_tokens": Tuned(choices=(512, 1024, 2048)),
            "boosting.leaves": Tuned(choices=(4, 8, 15, 31)),
            "boosting.learning_rate": Tuned(low=0.01, high=0.2, log=True),
            "boosting.min_rows": Tuned(low=10.0, high=200.0, log=True),
            "logistic.l2": Tuned(low=0.0001, high=0.1, log=True),
        }
    }


METRICS = ("mrr@20", "recall@20")
"""Of heads of kind ranking, on the validation part."""


def is_loss(objective: str) -> bool:
    """Whether less of it is better: of a loss, and of no metric."""
    return not objective.endswith(METRICS)


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What `clickflow tune` tries, and how it judges; no stage reads it."""

    objective: Annotated[
        str,
        Meta(
            "of the validation part: a head (its log loss), loss (of all heads; nats, less is better), or a metric: "
            "mrr@20, recall@20; of a second ranking head <head>.mrr@20"
        ),
    ] = "next_item"
    pruning: Annotated[
        Literal["median", "halving", "none"],
        Meta("which trials are stopped early, after the second epoch or later"),
    ] = "median"
    epochs: Annotated[int | None, Meta("of a trial; null: the model's own budget.epochs", ge=1)] = None
    max_sequences: Annotated[
        int | None, Meta("of the training part, the latest, that a trial learns from; null: all", ge=1)
    ] = None
    space: Annotated[
        Mapping[str, Mapping[str, Tuned]],
        Meta(
            'a model, or "*": every model without one, as far as its kind reads it; {low, high, log, step} or '
            "{choices: […]} a param"
        ),
    ] = field(default_factory=_space)
