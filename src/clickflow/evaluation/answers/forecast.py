"""Answers that are a forecast: a row for each step ahead of a question, an expected value and its quantiles.

Answers [n, 5]: expected, quantiles of levels .1, .5 and .9, and last what MASE divides by, which is of the question and
the same for all systems. Metrics read them as the evidence has them, with six decimals.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.evaluation import bootstrap
from clickflow.evaluation.answers import amount
from clickflow.evaluation.answers.answering import Answers
from clickflow.evaluation.bootstrap import Interval, Resampling, Values
from clickflow.heads.head import LEVELS
from clickflow.params.evaluation import Evaluation

COUNTED = "values"
SHOWN = ("weighted_quantile_loss", "mase")
NAMES = ("weighted_quantile_loss", "mase", "rmse", "coverage_80")
PARTS = (*amount.PARTS, "scale")
"""The columns of answers, as the evidence calls them."""
Ints = npt.NDArray[np.integer]

known, answered, next_step, recorded = amount.known, amount.answered, amount.next_step, amount.recorded
unanswered, written = amount.unanswered, partial(amount.written, parts=PARTS)
columns, read = partial(amount.columns, parts=PARTS), partial(amount.read, parts=PARTS)


def shown(_: Evaluation) -> list[str]:
    """The weighted quantile loss and MASE."""
    return list(SHOWN)


def values(metric: str, answers: Any, target: npt.NDArray[Any]) -> Values:
    """What each row [n] adds to a mean. `weighted_quantile_loss`: twice the quantile loss, a mean over the levels, over
    the mean of all values of these rows, so that the mean over rows is the loss over what was sold (Gasthaus et al.
    2019); in a part of the rows it is over the mean of all of them. `mase`: the absolute error of the median over the
    scale (Hyndman and Koehler 2006).
    """
    own = recorded(answers)
    if metric == "mase":
        error: Values = np.abs(own[:, 2] - target) / own[:, -1]
        return error
    if metric == "coverage_80":
        return ((own[:, 1] <= target) & (target <= own[:, 3])).astype(np.float64)
    with np.errstate(all="ignore"):
        loss: Values = 2 * amount.pinball(own[:, 1:4], target) / np.abs(target).mean()
    return loss


def summary(answered: Answers, customer: Ints, _: Evaluation, how: Resampling) -> dict[str, dict[str, Interval]]:
    """Every metric of the kind; what is drawn again is the series, with all its origins and steps."""
    target = answered.target.astype(np.float64)
    index = np.unique(customer, return_inverse=True)[1]
    return {
        system: bootstrap.summaries(
            NAMES,
            np.hstack([bootstrap.cells(index, 0, each, 1) for each in _added(recorded(own), target)]),
            _of_totals,
            resamples=how.resamples,
            confidence=how.confidence,
            seed=how.seed,
        )
        for system, own in answered.systems.items()
    }


def _added(own: Values, target: Values) -> list[Values]:
    """What each row adds to the totals that metrics are made of."""
    squares: Values = (own[:, 0] - target) ** 2
    return [
        2 * amount.pinball(own[:, 1:4], target),
        np.abs(target),
        values("mase", own, target),
        squares,
        values("coverage_80", own, target),
        np.ones(len(target)),
    ]


def _of_totals(totals: Values) -> Values:
    """The metrics [R, names] of totals [R, 6]."""
    loss, sold, error, square, covered, count = totals.T
    with np.errstate(all="ignore"):
        return np.stack([loss / sold, error / count, np.sqrt(square / count), covered / count], axis=1)


def measures(own: Values, target: Values) -> dict[str, float]:
    """Every metric of the rows, by name."""
    totals = np.array([[each.sum() for each in _added(own, target)]])
    return dict(zip(NAMES, map(float, _of_totals(totals)[0]), strict=True))


def details(answered: Answers, system: str) -> Mapping[str, Any]:
    """How many values are above 0, their mean, and of every system how many lie below each quantile, and of one how the
    metrics are by step ahead.
    """
    target = answered.target.astype(np.float64)
    own, step = recorded(answered.systems[system]), np.ones(len(target)) if answered.step is None else answered.step
    return {
        "values": len(target),
        "share_above_0": round(float((target > 0).mean()), 6) if len(target) else None,
        "mean": round(float(target.mean()), 6) if len(target) else None,
        "below": {name: _below(recorded(each), target) for name, each in answered.systems.items() if len(target)},
        "by_step": [
            {
                "step": int(k),
                **{name: bootstrap.number(each) for name, each in measures(own[rows], target[rows]).items()},
            }
            for k in np.unique(step)
            for rows in [np.flatnonzero(step == k)]
        ],
    }


def _below(own: Values, target: Values) -> dict[str, dict[str, float]]:
    """Of each level, the share of values below its quantile, and below or at it: where many values are equal the level
    lies between both if the quantile is right.
    """
    return {
        f"{level:g}": {
            "below": round(float((target < own[:, k]).mean()), 6),
            "at_most": round(float((target <= own[:, k]).mean()), 6),
        }
        for k, level in enumerate(LEVELS, 1)
    }


def measured(
    answers: Values, target: npt.NDArray[Any], _: npt.NDArray[Any], __: Sequence[str]
) -> tuple[dict[str, float], Mapping[str, float]]:
    """What follows from the rows."""
    return (measures(recorded(answers), target.astype(np.float64)) if len(target) else {}), {}
