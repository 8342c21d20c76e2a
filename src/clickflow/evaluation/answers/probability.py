"""Answers that say how likely yes is: average precision, ROC-AUC, log-loss, Brier score, calibration, and what is found
among the likeliest rows.

Log-probabilities [n, 2] of no and yes. Metrics that order rows read the probability as the evidence has it, with seven
decimals; of equal ones none stands before another: where a budget ends among them it has its share of their answers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.evaluation import bootstrap, calibration, lengths
from clickflow.evaluation.answers import answering
from clickflow.evaluation.answers.answering import Answers
from clickflow.evaluation.bootstrap import Interval, Resampling, Values
from clickflow.heads import metrics
from clickflow.params.evaluation import Evaluation

COUNTED = "questions"
SHOWN = ("log_loss", "brier")
DECIMALS = 7
"""Of a probability in the evidence."""
DECILES = 10
STEPS = (1, 2, 3, 4, 6, 11)
"""Where classes of a number of steps begin."""
POINTS = 200
"""Of a curve, at most."""
MEANS = ("log_loss", "brier")
ORDERED = ("average_precision", "roc_auc")
Logs = npt.NDArray[np.float32]
Ints = npt.NDArray[np.integer]

known, answered = answering.known, answering.answered
next_step, unanswered = answering.next_step, answering.unanswered


@dataclass(frozen=True)
class Probabilities:
    """What the rows [n] of the evidence say of one system: the probability of yes, and -ln p of the true answer."""

    probability: Values
    loss: Values

    def __len__(self) -> int:
        return len(self.loss)


def recorded(answers: Any, target: npt.NDArray[Any]) -> Probabilities:
    """Answers as the evidence has them."""
    if isinstance(answers, Probabilities):
        return answers
    loss = -answers[np.arange(len(target)), target]
    return Probabilities(np.exp(answers[:, 1].astype(np.float64)).round(DECIMALS), loss.astype(np.float64))


def shown(_: Evaluation) -> list[str]:
    """Log-loss and Brier score."""
    return list(SHOWN)


def values(metric: str, answers: Any, target: npt.NDArray[Any]) -> Values:
    """What each row [n] adds to log-loss or Brier score (Brier 1950, of yes: the squared distance from 0 or 1)."""
    own = recorded(answers, target)
    return own.loss if metric == "log_loss" else (own.probability - target) ** 2


def summary(answered: Answers, customer: Ints, settings: Evaluation, how: Resampling) -> dict[str, dict[str, Interval]]:
    """Every metric of the kind."""
    own = {system: recorded(each, answered.target) for system, each in answered.systems.items()}
    return {system: _intervals(each, answered.target, customer, settings.budgets, how) for system, each in own.items()}


def _intervals(
    own: Probabilities, target: npt.NDArray[Any], customer: Ints, budgets: Sequence[float], how: Resampling
) -> dict[str, Interval]:
    """{metric: {value, low, high}}: values from the rows; intervals of ordered metrics from classes of probability,
    moved by what these take from the value.
    """
    exact = measures(own, target, budgets)
    names = list(exact)
    if not len(target) or not how.resamples:
        return {name: bootstrap.interval_of(exact[name], None, how.confidence) for name in names}
    index = np.unique(customer, return_inverse=True)[1]
    size, truth = int(index.max()) + 1, target.astype(np.float64)
    group = bootstrap.classes(own.probability)
    groups, bins = int(group.max()) + 1, calibration.bin_of(own.probability)
    # yes and no by class of probability, the sums of the means, then calibration: a customer's cells are few of many
    width = 2 * groups + len(MEANS) + 2 * calibration.BINS
    sums = bootstrap.sparse_cells(
        [
            (index, 2 * group + target, np.ones(len(target))),
            *((index, 2 * groups + k, values(name, own, target)) for k, name in enumerate(MEANS)),
            (index, 2 * groups + len(MEANS) + bins, own.probability),
            (index, 2 * groups + len(MEANS) + calibration.BINS + bins, truth),
        ],
        size,
        width,
    )
    totals = bootstrap.resampled(sums, how.resamples, how.seed)
    every = np.asarray(sums.sum(axis=0)).reshape(1, -1)
    drawn, rough = (_of_totals(each, groups, budgets) for each in (totals, every))
    return {
        name: bootstrap.interval_of(exact[name], drawn[:, k] - rough[0, k] + exact[name], how.confidence)
        for k, name in enumerate(names)
    }


def _of_totals(totals: Values, groups: int, budgets: Sequence[float]) -> Values:
    """The metrics [R, …] of totals, in the order of `measures`."""
    counts = totals[:, : 2 * groups].reshape(len(totals), groups, 2)
    no, yes = counts[:, :, 0], counts[:, :, 1]
    total = counts.sum(axis=(1, 2))
    means = totals[:, 2 * groups : 2 * groups + len(MEANS)] / total[:, None]
    error = calibration.error(total, totals[:, 2 * groups + len(MEANS) :])
    return np.column_stack([*_ordered(no, yes), *means.T, error, *_budgeted(no, yes, budgets)])


def measures(own: Probabilities, target: npt.NDArray[Any], budgets: Sequence[float]) -> dict[str, float]:
    """Every metric of the rows, by name, in the order of `heads.metrics`; NaN where there is nothing to divide by."""
    no, yes = _counts(own.probability, target)
    truth, bins = target.astype(np.float64), calibration.bin_of(own.probability)
    totals = [np.bincount(bins, each, calibration.BINS).astype(np.float64) for each in (own.probability, truth)]
    error = calibration.error(np.array([len(target)], np.float64), np.concatenate(totals)[None])
    with np.errstate(all="ignore"):
        means = [np.array([values(name, own, target).sum()]) / len(target) for name in MEANS]
    measured = np.concatenate([*_ordered(no, yes), *means, error, *_budgeted(no, yes, budgets)])
    names = [*ORDERED, *MEANS, metrics.CALIBRATION]
    names += [metrics.at_budget(name, share) for share in budgets for name in ("precision", "recall", "lift")]
    return dict(zip(names, measured.tolist(), strict=True))


def _counts(probability: Values, target: npt.NDArray[Any]) -> tuple[Values, Values]:
    """How many no and yes have each probability, the largest first, [1, values]."""
    _, place = np.unique(-probability, return_inverse=True)
    size = int(place.max(initial=-1)) + 1
    no, yes = (np.bincount(place, target == answer, size).astype(np.float64)[None] for answer in (0, 1))
    return no, yes


def _ordered(no: Values, yes: Values) -> tuple[Values, Values]:
    """Average precision and the area under the ROC curve, [R] each, of counts [R, G] by falling probability.

    Average precision is the sum over G of the gain in recall times the precision (as in scikit-learn); in the area a
    pair of equal ones counts half.
    """
    hits, seen = yes.cumsum(axis=1), (no + yes).cumsum(axis=1)
    with np.errstate(all="ignore"):
        precision = np.where(seen > 0, hits / seen, 0.0)
        average = (yes * precision).sum(axis=1) / hits[:, -1] if yes.shape[1] else np.full(len(yes), np.nan)
        pairs = (no * (hits - yes / 2)).sum(axis=1)
        area = pairs / (yes.sum(axis=1) * no.sum(axis=1))
    return average, area


def captured(no: Values, yes: Values, shares: Sequence[float]) -> Values:
    """How many yes are among the likeliest rows, such shares of them, [R, shares]."""
    zero = np.zeros((len(yes), 1))
    seen = np.concatenate([zero, (no + yes).cumsum(axis=1)], axis=1)
    yes_seen = np.concatenate([zero, yes.cumsum(axis=1)], axis=1)
    at = np.asarray(shares, np.float64)
    return np.stack([np.interp(at * rows[-1], rows, hits) for rows, hits in zip(seen, yes_seen, strict=True)])


def _budgeted(no: Values, yes: Values, budgets: Sequence[float]) -> list[Values]:
    """Precision, recall and lift at each budget, [R] each. Lift is the precision over that of all rows."""
    if not len(budgets):
        return []
    hits, rows, all_yes = captured(no, yes, budgets), (no + yes).sum(axis=1), yes.sum(axis=1)
    columns: list[Values] = []
    with np.errstate(all="ignore"):
        for k, share in enumerate(budgets):
            precision = hits[:, k] / (share * rows)
            columns += [precision, hits[:, k] / all_yes, precision * rows / all_yes]
    return columns


def details(answered: Answers, system: str) -> Mapping[str, Any]:
    """How many said yes, the reliability curve, the deciles, and the precision-recall curve of every system."""
    target = answered.target
    own = {name: recorded(each, target) for name, each in answered.systems.items()}
    return {
        "questions": len(target),
        "share_of_yes": round(float(target.mean()), 6) if len(target) else None,
        "reliability": calibration.curve(own[system].probability, target == 1),
        "deciles": deciles(own[system].probability, target),
        "precision_recall": {name: curve(each.probability, target) for name, each in own.items()},
        "by_steps_seen": None if answered.seen is None else by_steps_seen(own, target, answered.seen),
        "by_lead": None if answered.lead is None else by_lead(own, target, answered.lead),
    }


def by_steps_seen(own: Mapping[str, Probabilities], target: npt.NDArray[Any], seen: npt.NDArray[Any]) -> dict[str, Any]:
    """By how many steps had been seen: how many questions, the share of yes, and the metrics of every system."""
    cells: dict[str, Any] = {}
    for name, rows in _steps(seen):
        cell: dict[str, Any] = {COUNTED: len(rows), "share_of_yes": round(float(target[rows].mean()), 6)}
        for system, each in own.items():
            part = Probabilities(each.probability[rows], each.loss[rows])
            values_ = measures(part, target[rows], ())
            cell[system] = {metric: bootstrap.number(value) for metric, value in values_.items()}
        cells[name] = cell
    return cells


def by_lead(own: Mapping[str, Probabilities], target: npt.NDArray[Any], lead: npt.NDArray[Any]) -> dict[str, Any]:
    """By how many steps before it came yes was asked for: how many, and of every system the mean probability and the
    part that is among the likeliest tenth of all rows.
    """
    yes = np.flatnonzero((target == 1) & (lead > 0))
    bounds = {system: np.quantile(each.probability, 0.9) if len(target) else 0.0 for system, each in own.items()}
    cells: dict[str, Any] = {}
    for name, rows in _steps(lead[yes]):
        cell: dict[str, Any] = {COUNTED: len(rows)}
        for system, each in own.items():
            own_rows = each.probability[yes[rows]]
            cell[system] = {
                "probability": round(float(own_rows.mean()), 6),
                "found": round(float((own_rows >= bounds[system]).mean()), 6),
            }
        cells[name] = cell
    return cells


def _steps(number: npt.NDArray[Any]) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """The rows of each class of a number of steps, and its name; a class without rows is left out."""
    place = np.searchsorted(STEPS, number, side="right") - 1
    for k, name in enumerate(lengths.names(STEPS)):
        if len(rows := np.flatnonzero(place == k)):
            yield name, rows


def deciles(probability: Values, target: npt.NDArray[Any]) -> list[dict[str, Any]]:
    """Tenths of the rows, the likeliest first: the mean probability, the share of yes, their lift over all rows, and
    the part of all yes up to there. Empty where no row says yes, or there are fewer rows than tenths.
    """
    if len(target) < DECILES or not target.any():
        return []
    no, yes = _counts(probability, target)
    edges = np.linspace(0, 1, DECILES + 1)
    hits = captured(no, yes, edges.tolist())[0]
    # the sum of the probabilities up to an edge, as the hits up to it
    values_, place = np.unique(-probability, return_inverse=True)
    seen = np.concatenate([[0], np.bincount(place).cumsum()])
    expected = np.interp(edges * len(target), seen, np.concatenate([[0], (np.bincount(place) * -values_).cumsum()]))
    rows, base = len(target) / DECILES, hits[-1] / len(target)
    return [
        {
            "decile": k + 1,
            "probability": round(float((expected[k + 1] - expected[k]) / rows), 6),
            "share": round(float((hits[k + 1] - hits[k]) / rows), 6),
            "lift": round(float((hits[k + 1] - hits[k]) / rows / base), 6),
            "found": round(float(hits[k + 1] / hits[-1]), 6),
        }
        for k in range(DECILES)
    ]


def curve(probability: Values, target: npt.NDArray[Any]) -> dict[str, list[float]]:
    """Precision against recall, at most `POINTS` of them, by falling probability; empty where no row says yes."""
    no, yes = _counts(probability, target)
    hits, seen = yes[0].cumsum(), (no + yes)[0].cumsum()
    if not len(hits) or not hits[-1]:
        return {"recall": [], "precision": []}
    at = np.unique(np.linspace(0, len(hits) - 1, POINTS).astype(np.int64))
    return {
        "recall": (hits[at] / hits[-1]).round(6).tolist(),
        "precision": (hits[at] / seen[at]).round(6).tolist(),
    }


def written(system: str, answers: Logs, target: npt.NDArray[Any]) -> dict[str, Any]:
    """The probability of yes, and the loss, -ln p of the true answer."""
    own = recorded(answers, target)
    return {f"probability_{system}": own.probability, f"loss_{system}": own.loss.round(6)}


def columns(system: str) -> list[str]:
    """What the evidence must hold of a system."""
    return [f"{what}_{system}" for what in ("probability", "loss")]


def read(table: Any) -> tuple[dict[str, Probabilities], dict[str, int]]:
    """By system; every row has an answer."""
    answers = {}
    for name in table.column_names:
        if (system := name.removeprefix("loss_")) != name:
            loss = table[name].to_numpy().astype(np.float64)
            answers[system] = Probabilities(table[f"probability_{system}"].to_numpy().astype(np.float64), loss)
    return answers, dict.fromkeys(answers, 0)


def measured(
    answers: Probabilities, target: npt.NDArray[Any], _: npt.NDArray[Any], names: Sequence[str]
) -> tuple[dict[str, float], Mapping[str, float]]:
    """What follows from the rows."""
    budgets = sorted({share for name in names if (share := metrics.budget_of(name)) is not None})
    return (measures(answers, target.astype(np.int64), budgets) if len(target) else {}), {}
