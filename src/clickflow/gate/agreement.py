"""Whether metrics.json agrees with the rows beside it: the metrics of every head and system are computed again."""

import math
from collections.abc import Iterator, Mapping

from clickflow.evaluation.answers import KINDS
from clickflow.evaluation.systems import ONE_STEP, ORACLE
from clickflow.gate.evidence import Evidence
from clickflow.heads import metrics, outputs
from clickflow.system.errors import DataError

TOLERANCE = 1e-5
"""Metrics, and the losses and confidences in the rows, are written with six decimals."""


def check(evidence: Evidence) -> None:
    """Raise DataError where a metric differs from its rows, or metrics.json has a system that the rows lack."""
    for head, rows in evidence.rows.items():
        reported = list(_reported(evidence, head))
        kind, file = KINDS[rows.output.kind], rows.output.evidence
        known = sorted({metric for _, metric, _ in reported if metrics.of(rows.output.kind, metric)})
        measured = {
            system: kind.measured(recomputed, rows.target, rows.known, known)
            for system, recomputed in rows.answers.items()
        }
        for system, metric, value in reported:
            if system not in measured:
                raise _differ(f"metrics.json has {head} of {system}, {file} has no answer of it")
            recomputed, loose = measured[system]
            own, slack = recomputed.get(metric, math.nan), TOLERANCE + loose.get(metric, 0.0)
            if math.isfinite(own) and abs(value - own) > slack * max(1.0, abs(own)):
                name = outputs.full(head, metric, evidence.rows)
                raise _differ(f"metrics.json says {name} of {system} is {value:.6f}, {file} gives {own:.6f}")


def _reported(evidence: Evidence, head: str) -> Iterator[tuple[str, str, float]]:
    """System, metric and value, of a head of metrics.json, of those that are judged; what is no number says nothing."""
    for system, measured in (evidence.metrics.get(head) or {}).items():
        if system in (ORACLE, ONE_STEP):
            continue
        for metric, entry in (measured or {}).items():
            value = entry.get("value") if isinstance(entry, Mapping) else entry
            if isinstance(value, int | float) and math.isfinite(value):
                yield system, metric, float(value)


def _differ(what: str) -> DataError:
    return DataError(
        what,
        kept="no decision was written",
        next_step="run `clickflow evaluate` again: the two were not made together",
    )
