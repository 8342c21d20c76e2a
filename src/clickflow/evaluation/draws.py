"""The ranked metrics of all systems on the same sequences, as measured and after each draw of sequences."""

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.evaluation import bootstrap, paired, ranking
from clickflow.evaluation.evidence import CANDIDATE, CHAMPION, Predictions
from clickflow.params import Gate

Array = NDArray[Any]

RANKED = re.compile(r"(recall|mrr|ndcg)@(\d+)(_known)?")
"""Metrics that follow from ranks; `_known` counts only what the candidate's vocabulary holds."""

MIN_SEQUENCES = 50
"""Fewer sequences tell nothing: a percentile of their bootstrap is no bound (benchmarks/gate.py)."""


def values(metric: str, ranks: Array) -> Array:
    """What each prediction [n] adds to a metric, float64 [n], from the rank of the true item (0: none)."""
    kind, cutoff, _ = parts(metric)
    gained: Array = ranking.gains(ranks, [cutoff])[:, ranking.names([cutoff]).index(f"{kind}@{cutoff}")]
    return gained


def parts(metric: str) -> tuple[str, int, bool]:
    """The kind, the cutoff and whether only known items count, of a name that `RANKED` matches."""
    match = RANKED.fullmatch(metric)
    assert match is not None
    return match[1], int(match[2]), bool(match[3])


class Draws:
    """The ranked metrics of all systems, as measured and after each draw of sequences; slices of the primary too."""

    def __init__(self, gate: Gate, predictions: Predictions, seed: int) -> None:
        self.predictions = predictions
        self.n = predictions.sequences
        ranked = {gate.primary, *gate.beat_baselines, *(m for m in gate.floors if RANKED.fullmatch(m))}
        sequence, ones = predictions.sequence, np.ones(len(predictions.sequence))
        columns: dict[Any, Array] = {"all": paired.per_sequence(sequence, ones)}
        columns["known"] = paired.per_sequence(sequence, predictions.known)
        for metric in sorted(ranked):
            counted = predictions.known if parts(metric)[2] else ones
            for system, ranks in predictions.ranks.items():
                columns[system, metric] = paired.per_sequence(sequence, counted * values(metric, ranks))
        if CHAMPION in predictions.ranks:
            counted = predictions.known if parts(gate.primary)[2] else ones
            for dimension, (level, names) in predictions.slices.items():
                for what, summed in {
                    "count": counted,
                    CANDIDATE: counted * values(gate.primary, predictions.ranks[CANDIDATE]),
                    CHAMPION: counted * values(gate.primary, predictions.ranks[CHAMPION]),
                }.items():
                    columns["slice", dimension, what] = paired.per_sequence(sequence, summed, level, len(names))
        self.sums = columns
        self.measures = [(system, metric) for metric in sorted(ranked) for system in predictions.ranks]
        self.drawn: dict[Any, Array] = {}
        if self.n >= MIN_SEQUENCES:
            totals = bootstrap.resampled(np.hstack(list(columns.values())), paired.RESAMPLES, seed)
            ends = np.cumsum([block.shape[1] for block in columns.values()])
            self.drawn = dict(zip(columns, np.split(totals, ends[:-1], axis=1), strict=True))

    def measured(self, system: str, metric: str) -> float:
        """The metric on all predictions; NaN where there are none."""
        count = self.sums["known" if parts(metric)[2] else "all"].sum()
        return float(self.sums[system, metric].sum() / count) if count else math.nan

    def redrawn(self, system: str, metric: str) -> Array:
        """The metric after each draw, [resamples]."""
        count = self.drawn["known" if parts(metric)[2] else "all"][:, 0]
        drawn: Array = self.drawn[system, metric][:, 0] / np.maximum(count, 1)
        return drawn

    def compare(self, metric: str, reference: str, margin: float, confidence: float) -> paired.Comparison:
        """Candidate against `reference`."""
        return paired.compare(
            self.measured(CANDIDATE, metric),
            self.measured(reference, metric),
            self.redrawn(CANDIDATE, metric),
            self.redrawn(reference, metric),
            margin=margin,
            confidence=confidence,
        )

    def why_not(self, *systems: str) -> str | None:
        """Why nothing can be told of these systems; None where it can."""
        if self.n < MIN_SEQUENCES:
            return f"{self.n} test sequences are too few, {MIN_SEQUENCES} are needed"
        for system in systems:
            if system not in self.predictions.ranks:
                return f"{system} was not evaluated"
            if self.predictions.missing[system]:
                total = len(self.predictions.sequence)
                return f"{system} has no answer for {self.predictions.missing[system]:,} of {total:,} predictions"
        return None

    @property
    def size(self) -> dict[str, int]:
        """n, for the evidence."""
        return {"sequences": self.n, "predictions": len(self.predictions.sequence)}
