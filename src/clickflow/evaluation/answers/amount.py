"""Answers that are an amount: an expected value and its quantiles of levels .1, .5 and .9.

Answers [n, 4]. Metrics read them as the evidence has them, with six decimals. Rows of equal expected value have no
order: where a share of the rows ends among them it has its share of their amounts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.evaluation import bootstrap
from clickflow.evaluation.answers import answering
from clickflow.evaluation.answers.answering import Answers
from clickflow.evaluation.bootstrap import Interval, Resampling, Values
from clickflow.heads.head import LEVELS
from clickflow.params.evaluation import Evaluation

COUNTED = "questions"
SHOWN = ("mae", "pinball")
NAMES = ("mae", "pinball", "coverage_80", "sum_ratio", "spearman", "gini")
PARTS = ("expected", *(f"quantile_{100 * level:g}" for level in LEVELS))
"""The columns of answers, as the evidence calls them."""
DECILES = 10
DECIMALS = 6
Ints = npt.NDArray[np.integer]

known, answered = answering.known, answering.answered
next_step, unanswered = answering.next_step, answering.unanswered


def recorded(answers: Any) -> Values:
    """Answers [n, 4] as the evidence has them."""
    return np.asarray(answers, np.float64).round(DECIMALS)


def shown(_: Evaluation) -> list[str]:
    """The absolute error and the pinball loss."""
    return list(SHOWN)


def values(metric: str, answers: Any, target: npt.NDArray[Any]) -> Values:
    """What each row [n] adds to a mean: the absolute error of the expected value; the pinball loss, a mean over the
    quantiles (Koenker & Bassett 1978); whether the amount lies between the outer quantiles.
    """
    own = recorded(answers)
    if metric == "mae":
        away: Values = np.abs(own[:, 0] - target)
        return away
    quantiles = own[:, 1:]
    if metric == "coverage_80":
        return ((quantiles[:, 0] <= target) & (target <= quantiles[:, -1])).astype(np.float64)
    return pinball(quantiles, target)


def pinball(quantiles: Values, target: npt.NDArray[Any]) -> Values:
    """The pinball loss of each row [n], a mean over its quantiles [n, levels]."""
    above = target[:, None] - quantiles
    levels = np.array(LEVELS)
    loss: Values = np.maximum(levels * above, (levels - 1) * above).mean(axis=1)
    return loss


def summary(answered: Answers, customer: Ints, _: Evaluation, how: Resampling) -> dict[str, dict[str, Interval]]:
    """Every metric of the kind."""
    target = answered.target.astype(np.float64)
    return {system: _intervals(recorded(each), target, customer, how) for system, each in answered.systems.items()}


def _intervals(own: Values, target: Values, customer: Ints, how: Resampling) -> dict[str, Interval]:
    """{metric: {value, low, high}}; in resamples the Gini is of classes of rows, and ranks are those of all."""
    exact = measures(own, target)
    drawn: dict[str, Values] = {}
    if len(target) and how.resamples:
        index = np.unique(customer, return_inverse=True)[1]
        count = np.ones(len(target))
        ranks = [_ranks(each) for each in (own[:, 0], target)]
        columns = [
            *(values(name, own, target) for name in NAMES[:3]),
            own[:, 0],
            target,
            count,
            *ranks,
            ranks[0] * ranks[1],
            ranks[0] ** 2,
            ranks[1] ** 2,
        ]
        groups = [bootstrap.classes(each) for each in (own[:, 0], target)]
        sizes = [int(group.max()) + 1 for group in groups]
        parts = [(index, np.full(len(index), k), each) for k, each in enumerate(columns)]
        first = len(columns)
        for group, size in zip(groups, sizes, strict=True):
            parts += [(index, first + group, count), (index, first + size + group, target)]
            first += 2 * size
        sums = bootstrap.sparse_cells(parts, int(index.max()) + 1, first)
        rough = _of_totals(np.asarray(sums.sum(axis=0)).reshape(1, -1), sizes, len(columns))
        drawn = _of_totals(bootstrap.resampled(sums, how.resamples, how.seed), sizes, len(columns))
        with np.errstate(invalid="ignore"):  # where all amounts are 0 there is nothing to divide by
            drawn = {name: each - rough[name] + exact[name] for name, each in drawn.items()}
    return {name: bootstrap.interval_of(exact[name], drawn.get(name), how.confidence) for name in NAMES}


def _of_totals(totals: Values, sizes: Sequence[int], first: int) -> dict[str, Values]:
    """The metrics [R] of totals."""
    expected, amount, count = totals[:, 3], totals[:, 4], totals[:, 5]
    with np.errstate(all="ignore"):
        metrics = {name: totals[:, k] / count for k, name in enumerate(NAMES[:3])}
        metrics["sum_ratio"] = expected / amount
        means = totals[:, 6:11] / count[:, None]
        shared = means[:, 2] - means[:, 0] * means[:, 1]
        spread = np.sqrt((means[:, 3] - means[:, 0] ** 2) * (means[:, 4] - means[:, 1] ** 2))
        metrics["spearman"] = shared / spread
        ginis = []
        for size in sizes:
            ginis.append(_gini(totals[:, first : first + size], totals[:, first + size : first + 2 * size]))
            first += 2 * size
        metrics["gini"] = ginis[0] / ginis[1]
    return metrics


def measures(own: Values, target: Values) -> dict[str, float]:
    """Every metric of the rows, by name; NaN where there is nothing to divide by."""
    if not len(target):
        return dict.fromkeys(NAMES, float("nan"))
    with np.errstate(all="ignore"):
        metrics = {name: float(values(name, own, target).mean()) for name in NAMES[:3]}
        metrics["sum_ratio"] = float(own[:, 0].sum() / target.sum()) if target.sum() else float("nan")
        ranks = np.stack([_ranks(own[:, 0]), _ranks(target)])
        centred = ranks - ranks.mean(axis=1, keepdims=True)
        spread = float(np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
        # the same for all is no order, which is as good as guessing
        metrics["spearman"] = float((centred[0] * centred[1]).sum() / spread) if spread else 0.0
        ginis = [_gini(*_totals(each, target))[0] for each in (own[:, 0], target)]
        metrics["gini"] = float(ginis[0] / ginis[1]) if ginis[1] else float("nan")
    return {name: metrics[name] for name in NAMES}


def _ranks(values_: Values) -> Values:
    """[n] ranks from 1, of equal ones their mean."""
    _, place, count = np.unique(values_, return_inverse=True, return_counts=True)
    last = count.cumsum()
    mean: Values = (last - (count - 1) / 2)[place]
    return mean


def _totals(by: Values, target: Values) -> tuple[Values, Values]:
    """How many rows, and how much, there is at each value of `by`, the largest first, [1, values] each."""
    _, place = np.unique(-by, return_inverse=True)
    size = int(place.max()) + 1
    return tuple(np.bincount(place, each, size)[None] for each in (np.ones(len(by)), target))  # type: ignore[return-value]


def _gini(rows: Values, amounts: Values) -> Values:
    """Twice the area between the curve of amounts found, as rows are taken, and the diagonal, [R] of [R, G]."""
    with np.errstate(all="ignore"):
        share = rows / rows.sum(axis=1, keepdims=True)
        captured = amounts / amounts.sum(axis=1, keepdims=True)
    area: Values = (share * (captured.cumsum(axis=1) - captured / 2)).sum(axis=1)
    return 2 * area - 1


def details(answered: Answers, system: str) -> Mapping[str, Any]:  # noqa: ARG001
    """How many amounts are above 0, their mean, and the deciles of every system."""
    target = answered.target.astype(np.float64)
    return {
        "questions": len(target),
        "share_above_0": round(float((target > 0).mean()), 6) if len(target) else None,
        "mean": round(float(target.mean()), 6) if len(target) else None,
        "deciles": {name: deciles(recorded(each), target) for name, each in answered.systems.items()},
    }


def deciles(own: Values, target: Values) -> list[dict[str, Any]]:
    """Tenths of the rows, the largest expected value first: its mean, the mean amount, and the part of all amounts up
    to there. Empty where there are fewer rows than tenths, or all amounts are 0.
    """
    if len(target) < DECILES or not target.any():
        return []
    rows, amounts = (each[0] for each in _totals(own[:, 0], target))
    _, expected = (each[0] for each in _totals(own[:, 0], own[:, 0]))
    edges, seen = np.linspace(0, 1, DECILES + 1) * len(target), np.concatenate([[0], rows.cumsum()])
    size = len(target) / DECILES
    expected_sums, amount_sums = (
        np.interp(edges, seen, np.concatenate([[0], each.cumsum()])) for each in (expected, amounts)
    )
    return [
        {
            "decile": k + 1,
            "expected": round(float((expected_sums[k + 1] - expected_sums[k]) / size), 6),
            "amount": round(float((amount_sums[k + 1] - amount_sums[k]) / size), 6),
            "found": round(float(amount_sums[k + 1] / amount_sums[-1]), 6),
        }
        for k in range(DECILES)
    ]


def written(
    system: str,
    answers: npt.NDArray[Any],
    target: npt.NDArray[Any],  # noqa: ARG001
    parts: Sequence[str] = PARTS,
) -> dict[str, Any]:
    """The `parts` of the answers, a column each."""
    own = recorded(answers)
    return {f"{part}_{system}": own[:, k] for k, part in enumerate(parts)}


def columns(system: str, parts: Sequence[str] = PARTS) -> list[str]:
    """What the evidence must hold of a system."""
    return [f"{part}_{system}" for part in parts]


def read(table: Any, parts: Sequence[str] = PARTS) -> tuple[dict[str, Values], dict[str, int]]:
    """By system; every row has an answer."""
    answers = {}
    for name in table.column_names:
        if (system := name.removeprefix("expected_")) != name:
            answers[system] = np.stack([table[column].to_numpy() for column in columns(system, parts)], axis=1)
    return answers, dict.fromkeys(answers, 0)


def measured(
    answers: Values, target: npt.NDArray[Any], _: npt.NDArray[Any], __: Sequence[str]
) -> tuple[dict[str, float], Mapping[str, float]]:
    """What follows from the rows."""
    return (measures(recorded(answers), target.astype(np.float64)) if len(target) else {}), {}
