"""The metrics of all systems on the same rows, as measured and in each bootstrap resample of customers."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.evaluation import bootstrap, customers
from clickflow.evaluation.systems import BEST, CANDIDATE, CHAMPION, ORACLE
from clickflow.gate import paired
from clickflow.gate.evidence import Rows
from clickflow.gate.resolved import ResolvedGate
from clickflow.heads import metrics

Array = NDArray[Any]

UNTIED, KNOWN_TRUTH = ", of rows that do not tie", ", of rows that the truth knows"
"""Behind the name of a metric: over those rows alone."""

MIN_CUSTOMERS = 50
"""Fewer customers (sessions, where nobody is known) tell nothing: their bootstrap is no bound (benchmarks/gate.py)."""
MIN_WORTH = 20.0
"""Nor do customers of whom a few have most of the rows: what they are worth must be so many of equal size."""


class Drawn:
    """Metrics that are means over the rows of a head, by system: sums per customer, and those of every draw.

    `gains`: by system and metric what each row adds, float64 [rows]. `counts`: by metric what each row counts. `also`:
    other sums per customer to be drawn.
    """

    def __init__(
        self,
        rows: Rows,
        gains: Mapping[tuple[str, str], Array],
        counts: Mapping[str, Array],
        seed: int,
        *,
        also: Mapping[Any, Array] | None = None,
    ) -> None:
        owner = np.unique(rows.customer, return_inverse=True)[1]
        self.rows = rows
        self.owners = customers.count(rows.customer)
        self.missing = rows.missing
        added: dict[Any, Array] = {("count", name): each for name, each in counts.items()} | dict(gains)
        columns = {key: bootstrap.cells(owner, 0, each, 1) for key, each in added.items()}
        columns |= also or {}
        self.sums = columns
        self.drawn: dict[Any, Array] = {}
        self.too_few = too_few(rows.customer)
        if self.too_few is None:
            totals = bootstrap.resampled(np.hstack(list(columns.values())), paired.RESAMPLES, seed)
            ends = np.cumsum([block.shape[1] for block in columns.values()])
            self.drawn = dict(zip(columns, np.split(totals, ends[:-1], axis=1), strict=True))

    def measured(self, system: str, metric: str) -> float:
        """The metric on all rows; NaN where there are none."""
        count = self.sums["count", metric].sum()
        return float(self.sums[system, metric].sum() / count) if count else math.nan

    def redrawn(self, system: str, metric: str) -> Array:
        """The metric after each draw, [resamples]."""
        count = self.drawn["count", metric][:, 0]
        drawn: Array = self.drawn[system, metric][:, 0] / np.maximum(count, 1)
        return drawn

    def compare(self, metric: str, reference: str, margin: float, confidence: float) -> paired.Comparison:
        """Candidate against `reference`; proven: better, whichever way that is."""
        return paired.compare(
            self.measured(CANDIDATE, metric),
            self.measured(reference, metric),
            self.redrawn(CANDIDATE, metric),
            self.redrawn(reference, metric),
            margin=margin,
            confidence=confidence,
            sign=self.sign(metric),
        )

    def sign(self, metric: str) -> int:
        """1 where more of a metric is better, -1 where less is; it may be over some of the rows alone."""
        return metrics.sign(self.rows.output.kind, metric.partition(",")[0])

    def why_not(self, *systems: str) -> str | None:
        """Why nothing can be told of these systems; None where it can."""
        if self.too_few:
            return self.too_few
        for system in systems:
            if system not in self.missing:
                return f"{system} was not evaluated"
            if self.missing[system]:
                return f"{system} has no answer for {self.missing[system]:,} of {len(self.rows):,} predictions"
        return None

    @property
    def baselines(self) -> list[str]:
        """The systems that are neither the candidate nor an earlier version."""
        return sorted(set(self.missing) - {CANDIDATE, CHAMPION, BEST})

    @property
    def size(self) -> dict[str, int]:
        """n, for the evidence."""
        return {**self.owners, "sequences": self.rows.sequences, "predictions": len(self.rows)}


class Draws(Drawn):
    """Those of the output that the primary is a metric of, as far as `gate` names them; slices of the primary too."""

    def __init__(self, gate: ResolvedGate, rows: Rows, seed: int) -> None:
        self.primary = primary = gate.key
        spoken = [gate.place_of(name) for name in (*gate.beat_baselines, *gate.floors)]
        wanted = {key for output, key in spoken if output == gate.output and metrics.by_row(rows.output.kind, key)}
        gains, counts = _of_rows(rows, {primary, *wanted})
        self.fair: dict[str, str] = {}
        """By earlier version, the name of the primary over the rows that it has not seen: what it is compared by."""

        def on(name: str, some: Array, *systems: str) -> None:
            counts[name] = counts[primary] * some
            for system in systems:
                gains[system, name] = gains[system, primary] * some

        for system in sorted({CHAMPION, BEST} & rows.answers.keys()):
            self.fair[system] = f"{primary}, of rows that the {system} has not seen"
            on(self.fair[system], unseen(rows, system), CANDIDATE, system)
        if rows.tied is not None:
            on(primary + UNTIED, (~rows.tied).astype(np.float64), *rows.answers)
        if rows.oracle is not None:
            gains[ORACLE, primary] = rows.values(primary, rows.oracle)
            on(primary + KNOWN_TRUTH, rows.of_truth(), CANDIDATE, ORACLE)
        super().__init__(rows, gains, counts, seed, also=self._slices(primary, rows))

    @staticmethod
    def _slices(primary: str, rows: Rows) -> dict[Any, Array]:
        """Sums per customer and level of the primary, candidate and champion."""
        columns: dict[Any, Array] = {}
        if CHAMPION not in rows.answers:
            return columns
        owner = np.unique(rows.customer, return_inverse=True)[1]
        fair = unseen(rows, CHAMPION)
        for dimension, (level, names) in rows.slices.items():
            for what, summed in {
                "count": fair * rows.counted(primary),
                CANDIDATE: fair * rows.values(primary, rows.answers[CANDIDATE]),
                CHAMPION: fair * rows.values(primary, rows.answers[CHAMPION]),
            }.items():
                columns["slice", dimension, what] = bootstrap.cells(owner, level, summed, len(names))
        return columns


def too_few(customer: Array) -> str | None:
    """Why rows of these customers [n] tell nothing; None where they tell something.

    k customers with n_i rows are worth (sum n_i)^2 / sum n_i^2 of equal size (Kish 1965), at most k.
    """
    counts = customers.count(customer)
    rows = np.unique(customer, return_counts=True)[1].astype(np.float64)
    if len(rows) < MIN_CUSTOMERS:
        return f"{customers.named(counts)} in the test part are too few, {MIN_CUSTOMERS} are needed"
    worth = float(rows.sum() ** 2 / (rows**2).sum())
    if worth < MIN_WORTH:
        return (
            f"a few of the {customers.named(counts)} have most of the test rows, one of them "
            f"{rows.max() / rows.sum():.0%}: they tell as much as {worth:.0f} of equal size would, {MIN_WORTH:.0f} are "
            f"needed"
        )
    return None


def unseen(rows: Rows, system: str) -> Array:
    """1 for the rows that this version cannot have learned from, else 0, float64 [n]; all 1 where it is not known."""
    seen = rows.seen.get(system)
    return np.ones(len(rows)) if seen is None else (~seen).astype(np.float64)


def of_rows(rows: Rows, wanted: Iterable[str], seed: int) -> Drawn:
    """Those of another output."""
    return Drawn(rows, *_of_rows(rows, wanted), seed)


def _of_rows(rows: Rows, wanted: Iterable[str]) -> tuple[dict[tuple[str, str], Array], dict[str, Array]]:
    """What each row adds to some metrics, by system, and what it counts."""
    counts = {name: rows.counted(name) for name in sorted(set(wanted))}
    gains = {(system, name): rows.values(name, answers) for name in counts for system, answers in rows.answers.items()}
    return gains, counts
