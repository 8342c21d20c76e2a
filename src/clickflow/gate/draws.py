"""The metrics of all systems on the same rows, as measured and after each draw of customers."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.evaluation import bootstrap, customers, ranking
from clickflow.evaluation.systems import BEST, CANDIDATE, CHAMPION, ORACLE
from clickflow.gate import paired
from clickflow.gate.evidence import Answers, Predictions
from clickflow.params.gate import Gate, place_of

Array = NDArray[Any]

RANKED = re.compile(r"(recall|mrr|ndcg)@(\d+)(_known)?")
"""Metrics that follow from ranks; `_known` counts only what the candidate's vocabulary holds."""
LESS_IS_BETTER = frozenset({"log_loss"})

UNTIED, KNOWN_TRUTH = ", of rows that do not tie", ", of rows that the truth knows"
"""Behind the name of a metric: over those rows alone."""

MIN_CUSTOMERS = 50
"""Fewer customers (sessions, where nobody is known) tell nothing: their bootstrap is no bound (benchmarks/gate.py)."""
MIN_WORTH = 20.0
"""Nor do customers of whom a few have most of the rows: what they are worth must be so many of equal size."""


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


class Drawn:
    """Metrics that are means over the rows of a head, by system: sums per customer, and those of every draw.

    `customer` [rows], codes of `customers`. `sequences`: how many there are. `gains`: by system and metric what each
    row adds, float64 [rows]. `counts`: by metric what each row counts. `missing`: by system, the rows it has no answer
    for. `also`: other sums per customer to be drawn.
    """

    def __init__(
        self,
        customer: Array,
        sequences: int,
        gains: Mapping[tuple[str, str], Array],
        counts: Mapping[str, Array],
        missing: Mapping[str, int],
        seed: int,
        *,
        also: Mapping[Any, Array] | None = None,
    ) -> None:
        owner = np.unique(customer, return_inverse=True)[1]
        self.owners, self.sequences = customers.count(customer), sequences
        self.n = sum(self.owners.values())
        self.rows = len(owner)
        self.missing = missing
        self.measures = list(gains)
        columns: dict[Any, Array] = {("count", name): paired.per_owner(owner, each) for name, each in counts.items()}
        columns |= {key: paired.per_owner(owner, each) for key, each in gains.items()}
        columns |= also or {}
        self.sums = columns
        self.drawn: dict[Any, Array] = {}
        self.too_few = too_few(customer)
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
        if self.too_few:
            return self.too_few
        for system in systems:
            if system not in self.missing:
                return f"{system} was not evaluated"
            if self.missing[system]:
                return f"{system} has no answer for {self.missing[system]:,} of {self.rows:,} predictions"
        return None

    @property
    def baselines(self) -> list[str]:
        """The systems that are neither the candidate nor an earlier version."""
        return sorted(set(self.missing) - {CANDIDATE, CHAMPION, BEST})

    @property
    def size(self) -> dict[str, int]:
        """n, for the evidence."""
        return {**self.owners, "sequences": self.sequences, "predictions": self.rows}


class Draws(Drawn):
    """Those of next_item that `gate` speaks of; slices of the primary too."""

    def __init__(self, gate: Gate, predictions: Predictions, seed: int) -> None:
        self.predictions = predictions
        beaten = (name for name in gate.beat_baselines if place_of(name)[0] == "next_item")
        ranked = sorted({gate.primary, *beaten, *(m for m in gate.floors if RANKED.fullmatch(m))})
        gains, counts = _of_ranks(predictions.ranks, predictions.known, ranked)
        self.fair: dict[str, str] = {}
        """By earlier version, the name of the primary over the rows that it has not seen: what it is compared by."""

        def on(name: str, rows: Array, *systems: str) -> None:
            counts[name] = counts[gate.primary] * rows
            for system in systems:
                gains[system, name] = gains[system, gate.primary] * rows

        for system in {CHAMPION, BEST} & predictions.ranks.keys():
            self.fair[system] = f"{gate.primary}, of rows that the {system} has not seen"
            on(self.fair[system], unseen(predictions, system), CANDIDATE, system)
        if predictions.tied is not None:
            on(gate.primary + UNTIED, (~predictions.tied).astype(np.float64), *predictions.ranks)
        if (best := predictions.oracle) is not None:
            gains[ORACLE, gate.primary] = counts[gate.primary] * values(gate.primary, best)
            on(gate.primary + KNOWN_TRUTH, (best > 0).astype(np.float64), CANDIDATE, ORACLE)
        super().__init__(
            predictions.customer,
            predictions.sequences,
            gains,
            counts,
            predictions.missing,
            seed,
            also=self._slices(gate, predictions),
        )

    @staticmethod
    def _slices(gate: Gate, predictions: Predictions) -> dict[Any, Array]:
        """Sums per customer and level of the primary, candidate and champion."""
        columns: dict[Any, Array] = {}
        if CHAMPION not in predictions.ranks:
            return columns
        ones, owner = np.ones(len(predictions.sequence)), np.unique(predictions.customer, return_inverse=True)[1]
        counted = unseen(predictions, CHAMPION) * (predictions.known if parts(gate.primary)[2] else ones)
        for dimension, (level, names) in predictions.slices.items():
            for what, summed in {
                "count": counted,
                CANDIDATE: counted * values(gate.primary, predictions.ranks[CANDIDATE]),
                CHAMPION: counted * values(gate.primary, predictions.ranks[CHAMPION]),
            }.items():
                columns["slice", dimension, what] = paired.per_owner(owner, summed, level, len(names))
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


def unseen(predictions: Predictions, system: str) -> Array:
    """1 for the rows that this version cannot have learned from, else 0, float64 [n]; all 1 where it is not known."""
    seen = predictions.seen.get(system)
    return np.ones(len(predictions.sequence)) if seen is None else (~seen).astype(np.float64)


def of_answers(answers: Answers, metrics: Iterable[str], seed: int) -> Drawn:
    """Those of another head; `metrics` as its evidence has them."""
    ones = np.ones(len(answers.sequence))
    wanted = sorted(set(metrics))
    if answers.ranks:
        gains, counts = _of_ranks(answers.ranks, answers.known, wanted)
    else:
        gains = {(system, name): answers.rows[name][system] for name in wanted for system in answers.rows[name]}
        counts = dict.fromkeys(wanted, ones)
    systems = answers.ranks or next(iter(answers.rows.values()))
    sequences = len(np.unique(answers.sequence))
    return Drawn(answers.customer, sequences, gains, counts, dict.fromkeys(systems, 0), seed)


def _of_ranks(
    ranks: Mapping[str, Array], known: Array, wanted: Iterable[str]
) -> tuple[dict[tuple[str, str], Array], dict[str, Array]]:
    counts = {name: known.astype(np.float64) if parts(name)[2] else np.ones(len(known)) for name in wanted}
    return {
        (system, name): counts[name] * values(name, found) for name in counts for system, found in ranks.items()
    }, counts
