"""Answers that give every class a probability: accuracy, log-loss, calibration, and the confusion matrix."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.evaluation import bootstrap, calibration
from clickflow.evaluation.answers import answering
from clickflow.evaluation.answers.answering import Answers
from clickflow.evaluation.bootstrap import Interval, Resampling, Values
from clickflow.params.evaluation import Evaluation

COUNTED = "positions"
SHOWN = ("accuracy", "log_loss")
SUMMED = ("accuracy", "precision", "recall", "f1", "log_loss", "ece")
"""Metrics that have an interval; `roc_auc` stands beside them with its value alone."""
Logs = npt.NDArray[np.float32]
Ints = npt.NDArray[np.integer]

known, answered = answering.known, answering.answered
next_step, unanswered = answering.next_step, answering.unanswered


@dataclass(frozen=True)
class Chosen:
    """What the rows [n] of the evidence say of one system: the class predicted, -ln p of the true one, and how sure it
    was of the one predicted, where that is written.
    """

    predicted: npt.NDArray[Any]
    loss: npt.NDArray[Any]
    confidence: npt.NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.loss)


def summary(
    answered: Answers,
    customer: Ints,
    _: Evaluation,
    how: Resampling,
) -> dict[str, dict[str, Interval]]:
    """Every metric of the kind."""
    return intervals(answered.systems, answered.target, customer, how)


def intervals(
    answers: Mapping[str, npt.NDArray[np.floating]], target: Ints, sequence: Ints, how: Resampling
) -> dict[str, dict[str, Interval]]:
    """{system: {metric: {value, low, high}}} of each system's log-probabilities [N, A] for targets [N].

    precision, recall and F1 are means over the classes that occur as target or as prediction (scikit-learn's
    `macro`); log-loss is in nats. The area under the ROC curve has no interval.
    """
    classes = next(iter(answers.values())).shape[1]
    _, index = np.unique(sequence, return_inverse=True)
    rows, bins = np.arange(len(target)), calibration.BINS
    parts = [bootstrap.cells(index, np.zeros(len(index), np.int64), np.ones(len(index)), 1)]
    for logs in answers.values():
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
        by = totals[:, 1:].reshape(len(totals), len(answers), 1 + 2 * bins + classes**2)
        columns = [_of_totals(count, by[:, system], classes) for system in range(len(answers))]
        return np.concatenate(columns, axis=1)

    names = [f"{system} {name}" for system in answers for name in SUMMED]
    result = bootstrap.by_system(names, np.concatenate(parts, axis=1), metric, how)
    for system, logs in answers.items():
        areas = [area for area in roc_auc(logs, target) if area is not None]
        value = round(float(np.mean(areas)), 6) if areas else None
        result[system]["roc_auc"] = {"value": value, "low": None, "high": None}
    return result


def details(answered: Answers, system: str) -> Mapping[str, Any]:
    """Class by class, and the reliability curve."""
    logs, target = answered.systems[system], answered.target
    right = logs.argmax(axis=1) == target
    return {
        "per_action": per_class(logs, target, answered.classes),
        "reliability": calibration.curve(np.exp(logs.max(axis=1)).astype(np.float64), right),
    }


def shown(_: Evaluation) -> list[str]:
    """Accuracy and log-loss."""
    return list(SHOWN)


def values(metric: str, answers: Any, target: npt.NDArray[Any]) -> Values:
    """What each row [n] adds to accuracy or log-loss."""
    if isinstance(answers, Chosen):
        chosen, loss = answers.predicted, answers.loss
    else:
        chosen, loss = answers.argmax(axis=1), -answers[np.arange(len(target)), target]
    return ((chosen == target) if metric == "accuracy" else loss).astype(np.float64)


def written(system: str, answers: Logs, target: npt.NDArray[Any]) -> dict[str, Any]:
    """The class predicted, the loss, -ln p of the true one, and the confidence."""
    rows = np.arange(len(target))
    return {
        f"predicted_{system}": answers.argmax(axis=1).astype(np.int8 if answers.shape[1] < 128 else np.int32),
        f"loss_{system}": (-answers[rows, target]).round(6),
        f"confidence_{system}": np.exp(answers.max(axis=1)).round(6),
    }


def columns(system: str) -> list[str]:
    """What the evidence must hold of a system."""
    return [f"{what}_{system}" for what in ("predicted", "loss", "confidence")]


def read(table: Any) -> tuple[dict[str, Chosen], dict[str, int]]:
    """By system; every row has an answer."""
    answers = {}
    for name in table.column_names:
        if (system := name.removeprefix("loss_")) != name:
            sure = f"confidence_{system}"
            answers[system] = Chosen(
                table[f"predicted_{system}"].to_numpy(),
                table[name].to_numpy(),
                table[sure].to_numpy() if sure in table.column_names else None,
            )
    return answers, dict.fromkeys(answers, 0)


def measured(
    answers: Chosen,
    target: npt.NDArray[Any],
    _: npt.NDArray[Any],
    __: Sequence[str],
) -> tuple[dict[str, float], Mapping[str, float]]:
    """What follows from the rows; a confidence on the edge of a bin may stand on its other side when it is rounded."""
    truth, count = target.astype(np.int64), np.array([len(target)], np.float64)
    if not len(truth):
        return {}, {}
    classes = int(max(truth.max(), answers.predicted.max())) + 1
    sure = np.full(len(truth), math.nan) if answers.confidence is None else answers.confidence.astype(np.float64)
    bins = np.zeros(len(truth), np.int64) if answers.confidence is None else calibration.bin_of(sure)
    totals = [
        np.array([answers.loss.astype(np.float64).sum()]),
        np.bincount(bins, sure, calibration.BINS),
        np.bincount(bins, (answers.predicted == truth).astype(np.float64), calibration.BINS),
        np.bincount(truth * classes + answers.predicted.astype(np.int64), minlength=classes**2).astype(np.float64),
    ]
    figures = _of_totals(count, np.concatenate(totals)[None, :], classes)[0]
    return dict(zip(SUMMED, figures.tolist(), strict=True)), {"ece": 4 / len(truth)}


def per_class(logs: npt.NDArray[np.floating], target: Ints, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """{class: {n, predicted, precision, recall, f1, roc_auc}} for the classes that occur as target or prediction."""
    classes = len(names)
    chosen = logs.argmax(axis=1)
    table = np.bincount(target * classes + chosen, minlength=classes**2).reshape(1, classes, classes)
    precision, recall, f1, occurs = _of_confusion(table.astype(np.float64))
    auc = roc_auc(logs, target)
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


def roc_auc(scores: npt.NDArray[np.floating], target: Ints) -> list[float | None]:
    """The area under the ROC curve of each class against the rest; None for a class of no target, or of every one."""
    from sklearn.metrics import roc_auc_score

    classes = [target == i for i in range(scores.shape[1])]
    return [
        float(roc_auc_score(own, scores[:, i])) if own.any() and not own.all() else None
        for i, own in enumerate(classes)
    ]


def _of_totals(count: Values, totals: Values, classes: int) -> Values:
    """`SUMMED` [R, 6] of one system's totals: loss, calibration, confusion table."""
    table = totals[:, 1 + 2 * calibration.BINS :].reshape(-1, classes, classes)
    precision, recall, f1, occurs = _of_confusion(table)
    with np.errstate(all="ignore"):
        means = [np.where(occurs, each, 0).sum(axis=1) / occurs.sum(axis=1) for each in (precision, recall, f1)]
        accuracy = np.trace(table, axis1=1, axis2=2) / count
        loss = totals[:, 0] / count
    error = calibration.error(count, totals[:, 1 : 1 + 2 * calibration.BINS])
    return np.stack([accuracy, *means, loss, error], axis=1)


def _of_confusion(table: Values) -> tuple[Values, Values, Values, npt.NDArray[np.bool_]]:
    """Precision, recall, F1 and whether the class occurs, each [R, A], of confusion tables [R, target, predicted]."""
    right = np.diagonal(table, axis1=1, axis2=2)
    actual, predicted = table.sum(axis=2), table.sum(axis=1)
    occurs = (actual + predicted) > 0
    return _share(right, predicted), _share(right, actual), _share(2 * right, actual + predicted), occurs


def _share(part: Values, whole: Values) -> Values:
    """part / whole, and 0 where there is nothing to divide by, as in scikit-learn."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
