"""Metrics of both heads, each with its interval. Formulas and choices stand in docs/reference/metrics.md."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.evaluation import bootstrap, calibration, ranking

Values = npt.NDArray[np.float64]
Interval = dict[str, float | None]
ACTION_METRICS = ("accuracy", "precision", "recall", "f1", "log_loss", "ece")
"""Metrics of next_action that have an interval; `roc_auc` stands beside them with its value alone."""


@dataclass(frozen=True)
class Resampling:
    """How intervals are made: resamples of whole customers, the confidence, the seed."""

    resamples: int
    confidence: float
    seed: int


def next_item(
    found: Mapping[str, ranking.Ranks],
    sequence: npt.NDArray[np.integer],
    known: npt.NDArray[np.bool_],
    cutoffs: Sequence[int],
    how: Resampling,
) -> dict[str, dict[str, Interval]]:
    """{system: {metric: {value, low, high}}} of each system's ranks [N]; prediction i belongs to sequence[i].

    `known` [N] marks the targets that the candidate's vocabulary has; metrics over these alone end in `_known`. All
    systems are resampled together, so their intervals come from the same draws.
    """
    gained = ranking.names(cutoffs)
    columns = [np.stack([np.ones(len(known)), known.astype(np.float64)], axis=1)]
    for each in found.values():
        gain = ranking.gains(each, cutoffs)
        columns += [gain, gain * known[:, None]]
    sums, _ = bootstrap.per_sequence(sequence, np.concatenate(columns, axis=1))
    width = len(gained)

    def metric(totals: Values) -> Values:
        by = totals[:, 2:].reshape(len(totals), len(found), 2, width)
        with np.errstate(all="ignore"):
            ratio: Values = by / totals[:, None, :2, None]
        return ratio.reshape(len(totals), -1)

    names = [f"{system} {name}{suffix}" for system in found for suffix in ("", "_known") for name in gained]
    return _by_system(_summaries(names, sums, metric, how))


def next_action(
    found: Mapping[str, npt.NDArray[np.floating]],
    target: npt.NDArray[np.integer],
    sequence: npt.NDArray[np.integer],
    how: Resampling,
) -> dict[str, dict[str, Interval]]:
    """{system: {metric: {value, low, high}}} of each system's log-probabilities [N, A] for targets [N].

    precision, recall and F1 are means over the actions that occur as target or as prediction (scikit-learn's
    `macro`); log-loss is in nats. The area under the ROC curve has no interval.
    """
    classes = next(iter(found.values())).shape[1]
    _, index = np.unique(sequence, return_inverse=True)
    rows, bins = np.arange(len(target)), calibration.BINS
    parts = [bootstrap.cells(index, np.zeros(len(index), np.int64), np.ones(len(index)), 1)]
    for logs in found.values():
        chosen, confidence = logs.argmax(axis=1), np.exp(logs.max(axis=1)).astype(np.float64)
        own = calibration.bin_of(confidence)
        parts += [
            bootstrap.cells(index, np.zeros(len(index), np.int64), -logs[rows, target].astype(np.float64), 1),
            bootstrap.cells(index, own, confidence, bins),
            bootstrap.cells(index, own, (chosen == target).astype(np.float64), bins),
            bootstrap.cells(index, target * classes + chosen, np.ones(len(index)), classes**2),
        ]

    def metric(totals: Values) -> Values:
        count = totals[:, 0]
        by = totals[:, 1:].reshape(len(totals), len(found), 1 + 2 * bins + classes**2)
        columns = [of_actions(count, by[:, system], classes) for system in range(len(found))]
        return np.concatenate(columns, axis=1)

    names = [f"{system} {name}" for system in found for name in ACTION_METRICS]
    result = _by_system(_summaries(names, np.concatenate(parts, axis=1), metric, how))
    for system, logs in found.items():
        areas = [area for area in roc_auc(logs, target) if area is not None]
        value = round(float(np.mean(areas)), 6) if areas else None
        result[system]["roc_auc"] = {"value": value, "low": None, "high": None}
    return result


def of_actions(count: Values, totals: Values, classes: int) -> Values:
    """`ACTION_METRICS` [R, 6] of one system's totals: loss, calibration, confusion table."""
    table = totals[:, 1 + 2 * calibration.BINS :].reshape(-1, classes, classes)
    precision, recall, f1, occurs = _of_confusion(table)
    with np.errstate(all="ignore"):
        means = [np.where(occurs, each, 0).sum(axis=1) / occurs.sum(axis=1) for each in (precision, recall, f1)]
        accuracy = np.trace(table, axis1=1, axis2=2) / count
        loss = totals[:, 0] / count
    error = calibration.error(count, totals[:, 1 : 1 + 2 * calibration.BINS])
    return np.stack([accuracy, *means, loss, error], axis=1)


def _summaries(names: list[str], sums: Values, metric: Callable[[Values], Values], how: Resampling) -> Any:
    return bootstrap.summaries(names, sums, metric, resamples=how.resamples, confidence=how.confidence, seed=how.seed)


def _by_system(flat: Mapping[str, Interval]) -> dict[str, dict[str, Interval]]:
    result: dict[str, dict[str, Interval]] = {}
    for name, interval in flat.items():
        system, metric = name.split(" ")
        result.setdefault(system, {})[metric] = interval
    return result


def per_action(
    log_probabilities: npt.NDArray[np.floating], target: npt.NDArray[np.integer], names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """{action: {n, predicted, precision, recall, f1, roc_auc}} for the actions that occur as target or prediction."""
    classes = len(names)
    chosen = log_probabilities.argmax(axis=1)
    table = np.bincount(target * classes + chosen, minlength=classes**2).reshape(1, classes, classes)
    precision, recall, f1, occurs = _of_confusion(table.astype(np.float64))
    auc = roc_auc(log_probabilities, target)
    return {
        names[i]: {
            "n": int(table[0, i].sum()),
            "predicted": int(table[0, :, i].sum()),
            "precision": round(float(precision[0, i]), 6),
            "recall": round(float(recall[0, i]), 6),
            "f1": round(float(f1[0, i]), 6),
            "roc_auc": None if (area := auc[i]) is None else round(area, 6),
        }
        for i in range(classes)
        if occurs[0, i]
    }


def roc_auc(scores: npt.NDArray[np.floating], target: npt.NDArray[np.integer]) -> list[float | None]:
    """The area under the ROC curve of each class against the rest, by ranks (Hanley & McNeil 1982), ties half.

    None for a class that no target has, or every target.
    """
    areas: list[float | None] = []
    for i in range(scores.shape[1]):
        positive = target == i
        n, rest = int(positive.sum()), int((~positive).sum())
        if not n or not rest:
            areas.append(None)
            continue
        area = (_middle_ranks(scores[:, i])[positive].sum() - n * (n + 1) / 2) / (n * rest)
        areas.append(float(area))
    return areas


def _middle_ranks(values: npt.NDArray[np.floating]) -> Values:
    """Ranks from 1 on, ascending; equal values share the mean of theirs."""
    _, index, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Values = (np.cumsum(count) - (count - 1) / 2)[index]
    return ranks


def _of_confusion(table: Values) -> tuple[Values, Values, Values, npt.NDArray[np.bool_]]:
    """Precision, recall, F1 and whether the class occurs, each [R, A], of confusion tables [R, target, predicted]."""
    right = np.diagonal(table, axis1=1, axis2=2)
    actual, predicted = table.sum(axis=2), table.sum(axis=1)
    occurs = (actual + predicted) > 0
    return _share(right, predicted), _share(right, actual), _share(2 * right, actual + predicted), occurs


def _share(part: Values, whole: Values) -> Values:
    """part / whole, and 0 where there is nothing to divide by, as in scikit-learn."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
