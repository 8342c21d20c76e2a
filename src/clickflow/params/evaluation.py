"""Section `evaluation` of params.yaml: what is measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from clickflow.params.meta import Meta

Baseline = Literal["popularity", "decayed_popularity", "repeat", "markov", "itemknn", "vsknn", "vstan", "vstan_returns"]
"""Of heads that rank items."""
ClassBaseline = Literal["majority", "markov", "item_rate", "logistic", "forest", "boosting"]
"""Of heads that give classes, or yes and no, a probability."""
AmountBaseline = Literal["mean", "rfm", "boosting"]
"""Of heads that answer an amount."""
ForecastBaseline = Literal["seasonal_naive", "ets", "sarima", "croston_sba", "tsb", "theta", "boosting"]
"""Of heads that forecast."""
NAMES = {
    "ranking": get_args(Baseline),
    "classes": get_args(ClassBaseline),
    "probability": (*get_args(ClassBaseline), "moving_average"),
    "amount": get_args(AmountBaseline),
    "forecast": get_args(ForecastBaseline),
}
"""By kind of answer."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What acting on the answers of one head costs and brings: the threshold follows from it."""

    act_on: Annotated[
        Literal["yes", "no"],
        Meta("of kind probability: whom one acts on: of churn yes, who would leave; of purchase no, who would not buy"),
    ]
    value: Annotated[
        float,
        Meta(
            "what is won where acting works: a kept customer, a margin; of kind amount: a unit of it, the margin rate"
        ),
    ]
    response: Annotated[float, Meta("of those whom one acts on for a reason, on how many it works", "share")] = 1.0
    contact: Annotated[float, Meta("of acting on anybody: a message, a call")] = 0.0
    coupon: Annotated[float, Meta("given to those on whom it works, and taken by others who needed none")] = 0.0
    redeemed: Annotated[float, Meta("of those others, how many take the coupon", "share")] = 1.0


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is measured."""

    cutoffs: Annotated[tuple[int, ...], Meta("the k of recall@k, mrr@k and ndcg@k", ge=1, le=1e6, most=20)] = (
        1,
        5,
        10,
        20,
    )
    budgets: Annotated[
        tuple[float, ...],
        Meta(
            "of kind probability: shares of the rows, the likeliest first, at which precision, recall and lift "
            "are taken",
            "share",
            gt=0,
            le=1,
        ),
    ] = (0.05, 0.1, 0.2)
    bootstrap: Annotated[int, Meta("resamples of the confidence intervals, by sequence", le=1e6)] = 1000
    confidence: Annotated[float, Meta("of the intervals", "share")] = 0.95
    costs: Annotated[
        Mapping[str, Costs], Meta("by head of kind probability or amount, in money: docs/reference/metrics.md")
    ] = field(default_factory=dict)
    currency: Annotated[str, Meta("written before sums of money, such as £")] = ""
    language: Annotated[Literal["en", "zh"], Meta("of the report's first paragraph")] = "en"
    max_sequences: Annotated[int, Meta("of the test part, the latest; baselines and champion see the same", ge=1)] = (
        20_000
    )
    baselines: Annotated[
        Mapping[str, tuple[str, ...]] | tuple[Baseline, ...],
        Meta(
            "by head, what it is held against; a head that is not named has its own; a list is of the first that ranks"
        ),
    ] = field(default_factory=dict)
    action_baselines: Annotated[
        tuple[ClassBaseline, ...] | None, Meta("as before baselines were by head: those of the first head of classes")
    ] = None

    def baselines_of(self, head: str) -> tuple[str, ...] | None:
        """Those of a head that is named; None: it is not."""
        return self.baselines.get(head) if isinstance(self.baselines, Mapping) else None

    def of_old_form(self, kind: str) -> tuple[str, ...] | None:
        """Those of the first head of a kind, as params.yaml had them before; None: it says nothing."""
        if kind == "ranking":
            return None if isinstance(self.baselines, Mapping) else self.baselines
        return self.action_baselines if kind == "classes" else None
