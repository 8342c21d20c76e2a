"""Whether metrics.json says of every head and every system what the rows beside it give."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.evaluation import calibration, metrics
from clickflow.evaluation.systems import ACTIONS, AHEAD, ONE_STEP, ORACLE, PREDICTIONS
from clickflow.gate.draws import RANKED, parts, values
from clickflow.gate.evidence import Answers, Evidence
from clickflow.system.errors import DataError

Array = NDArray[Any]

TOLERANCE = 1e-5
"""Metrics, and the losses and confidences in the rows, are written with six decimals."""


def check(evidence: Evidence) -> None:
    """Raise DataError where a metric differs from its rows, or metrics.json has a system that the rows lack."""
    heads: list[tuple[str, str, Mapping[str, Mapping[str, float]]]] = []
    if (predictions := evidence.predictions) is not None:
        heads.append(("next_item", PREDICTIONS, _ranked(evidence, "next_item", predictions.ranks, predictions.known)))
    for head, answers in evidence.answers.items():
        if answers.ranks:
            heads.append((head, AHEAD, _ranked(evidence, head, answers.ranks, answers.known)))
        else:
            heads.append((head, ACTIONS, _of_actions(answers)))
    for head, file, measured in heads:
        for system, metric, said in _said(evidence, head):
            if system not in measured:
                raise _differ(f"metrics.json has {head} of {system}, {file} has no answer of it")
            found = measured[system].get(metric, math.nan)
            slack = TOLERANCE
            if metric == "ece":  # a confidence on the edge of a bin may stand on its other side when it is rounded
                slack += 4 / max(len(evidence.answers[head].target), 1)
            if math.isfinite(found) and abs(said - found) > slack * max(1.0, abs(found)):
                name = metric if head == "next_item" else f"{head}.{metric}"
                raise _differ(f"metrics.json says {name} of {system} is {said:.6f}, {file} gives {found:.6f}")


def _said(evidence: Evidence, head: str) -> Iterator[tuple[str, str, float]]:
    """System, metric and value, of a head of metrics.json, of those that are judged; what is no number says nothing."""
    for system, measured in (evidence.metrics.get(head) or {}).items():
        if system in (ORACLE, ONE_STEP):
            continue
        for metric, entry in (measured or {}).items():
            value = entry.get("value") if isinstance(entry, Mapping) else entry
            if isinstance(value, int | float) and math.isfinite(value):
                yield system, metric, float(value)


def _ranked(evidence: Evidence, head: str, ranks: Mapping[str, Array], known: Array) -> dict[str, dict[str, float]]:
    """Every metric that follows from ranks and that metrics.json names, by system."""
    wanted = {metric for _, metric, _ in _said(evidence, head) if RANKED.fullmatch(metric)}
    found: dict[str, dict[str, float]] = {}
    for system, each in ranks.items():
        gains = {name: values(name, each) for name in {name.removesuffix("_known") for name in wanted}}
        found[system] = {}
        for name in wanted:
            counted = known if parts(name)[2] else np.ones(len(known), np.bool_)
            gain = gains[name.removesuffix("_known")][counted]
            found[system][name] = float(gain.mean()) if len(gain) else math.nan
    return found


def _of_actions(answers: Answers) -> dict[str, dict[str, float]]:
    """The metrics of next_action, by system."""
    target, count = answers.target.astype(np.int64), np.array([len(answers.target)], np.float64)
    if not len(target):
        return {system: {} for system in answers.predicted}
    found = {}
    for system, chosen in answers.predicted.items():
        classes = int(max(target.max(), chosen.max())) + 1
        confidence = answers.confidence.get(system)
        sure = np.full(len(target), math.nan) if confidence is None else confidence.astype(np.float64)
        bins = np.zeros(len(target), np.int64) if confidence is None else calibration.bin_of(sure)
        totals = [
            np.array([answers.rows["log_loss"][system].sum()]),
            np.bincount(bins, sure, calibration.BINS),
            np.bincount(bins, (chosen == target).astype(np.float64), calibration.BINS),
            np.bincount(target * classes + chosen.astype(np.int64), minlength=classes**2).astype(np.float64),
        ]
        measured = metrics.of_actions(count, np.concatenate(totals)[None, :], classes)[0]
        found[system] = dict(zip(metrics.ACTION_METRICS, measured.tolist(), strict=True))
    return found


def _differ(what: str) -> DataError:
    return DataError(
        what,
        kept="no decision was written",
        next_step="run `clickflow evaluate` again: the two were not made together",
    )
