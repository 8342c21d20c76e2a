"""What each kind of answer is measured by: the metrics' names, and which way is better.

How a metric is taken stands in `clickflow.evaluation.answers`. One that is a mean over rows can be compared between two
systems on the same rows; the others have a value and an interval alone.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from clickflow.heads.head import Kind


@dataclass(frozen=True)
class Metric:
    """A metric, or one for every cutoff."""

    name: str
    by_row: bool = True
    """Whether it is a mean over rows."""
    less_is_better: bool = False
    cutoffs: bool = False
    """Whether it is of the first k answers, and is called name@k; `name@k_known` counts only known answers."""
    budgets: bool = False
    """Whether it is of the likeliest rows, so many of a hundred, and is called name@k%."""

    def matches(self, name: str) -> bool:
        """Whether that is its name."""
        if self.budgets:
            return re.fullmatch(rf"{self.name}@\d+(\.\d+)?%", name) is not None
        return re.fullmatch(rf"{self.name}@\d+(_known)?" if self.cutoffs else self.name, name) is not None


METRICS: Mapping[Kind, tuple[Metric, ...]] = {
    "ranking": (
        *(Metric(name, cutoffs=True) for name in ("recall", "mrr", "ndcg")),
        Metric("roc_auc", by_row=False),  # where a question has several right answers
    ),
    "classes": (
        Metric("accuracy"),
        Metric("precision", by_row=False),
        Metric("recall", by_row=False),
        Metric("f1", by_row=False),
        Metric("roc_auc", by_row=False),
        Metric("log_loss", less_is_better=True),
        Metric("ece", by_row=False, less_is_better=True),
    ),
    "probability": (
        Metric("average_precision", by_row=False),
        Metric("roc_auc", by_row=False),
        Metric("log_loss", less_is_better=True),
        Metric("brier", less_is_better=True),
        Metric("ece", by_row=False, less_is_better=True),
        Metric("precision", by_row=False, budgets=True),
        Metric("recall", by_row=False, budgets=True),
        Metric("lift", by_row=False, budgets=True),
    ),
    "amount": (
        Metric("mae", less_is_better=True),
        Metric("pinball", less_is_better=True),
        Metric("spearman", by_row=False),
        Metric("gini", by_row=False),
        Metric("sum_ratio", by_row=False),
        Metric("coverage_80", by_row=False),
    ),
    "forecast": (
        Metric("weighted_quantile_loss", less_is_better=True),
        Metric("mase", less_is_better=True),
        Metric("rmse", by_row=False, less_is_better=True),
        Metric("coverage_80", by_row=False),
    ),
}
"""By kind of answer."""
CALIBRATION = "ece"
"""The expected calibration error, of the kinds that have it."""


def of(kind: Kind, name: str) -> Metric | None:
    """The metric of that name; None where the kind has none."""
    return next((metric for metric in METRICS[kind] if metric.matches(name)), None)


def by_row(kind: Kind, name: str) -> bool:
    """Whether the kind has such a metric, and it is a mean over rows."""
    metric = of(kind, name)
    return metric is not None and metric.by_row


def sign(kind: Kind, name: str) -> int:
    """1 where more is better, -1 where less is."""
    metric = of(kind, name)
    return -1 if metric is not None and metric.less_is_better else 1


def names(kind: Kind, cutoffs: Sequence[int], budgets: Sequence[float] = (), *, rows: bool = False) -> Iterator[str]:
    """What is measured at these cutoffs and budgets; `rows`: only means over rows."""
    plain = [metric for metric in METRICS[kind] if metric.by_row or not rows]
    yield from (metric.name for metric in plain if not (metric.cutoffs or metric.budgets))
    yield from (f"{metric.name}@{k}" for k in cutoffs for metric in plain if metric.cutoffs)
    yield from (at_budget(metric.name, share) for share in budgets for metric in plain if metric.budgets)


def at_budget(name: str, share: float) -> str:
    """A metric of the likeliest rows, such a share of them: precision@10%."""
    return f"{name}@{100 * share:.6g}%"


def budget_of(name: str) -> float | None:
    """The share of the rows that a metric is of; None where it is of all."""
    match = re.fullmatch(r"\w+@(\d+(?:\.\d+)?)%", name)
    return float(match[1]) / 100 if match else None
