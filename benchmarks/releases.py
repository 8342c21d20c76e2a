"""What becomes of a champion over many releases of candidates whose truth is known; `benchmarks/gate.py` runs it.

A model is a share of right answers: all models share most answers, a row is lost to the worse of two first, and each
has a few answers of its own. Every release is judged by the gate's own rules, tries and best champion included, on a
test window of its own, unless it is a try more on the last one.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.evaluation.answers import ranking
from clickflow.evaluation.systems import BEST, CANDIDATE, CHAMPION
from clickflow.gate import paired, rules, verdicts
from clickflow.gate.evidence import Evidence, Rows
from clickflow.heads import outputs
from clickflow.params.gate import ChampionRule, Gate

Ranks = NDArray[np.int32]
OWN = 0.03
"""Share of the answers that two models of one quality do not have in common."""
MARGIN, CONFIDENCE, RESAMPLES = 0.01, 0.95, 400
KINDS = ("better", "equal", "worse", "leaking", "sabotaged", "miscalibrated", "slow", "creeping")
TRUE = {"better": 1.02, "worse": 0.98, "leaking": 0.97, "creeping": 0.993, "repeated": 0.99}
"""What a candidate's quality is, in shares of the champion's; 1 for the others."""
BAD = ("worse", "leaking", "sabotaged", "miscalibrated", "slow")


@dataclass
class Window:
    """The rows of one test window: whose they are, how hard, and what every model would answer."""

    customers: int
    seed: int

    def __post_init__(self) -> None:
        rng = self.rng = np.random.default_rng(self.seed)
        visits = np.minimum(rng.geometric(0.6, self.customers), 8)
        self.sequence = np.repeat(np.arange(visits.sum()), rng.integers(1, 8, visits.sum()))
        self.customer = np.repeat(np.arange(self.customers), visits)[self.sequence].astype(np.int32)
        ease = rng.normal(0, 0.5, self.customers)[self.customer]
        position = np.exp(rng.exponential(1.0, len(ease)) * 2.2 - ease)
        self.shared: Ranks = np.where(position <= 20, np.maximum(np.ceil(position), 1), 0).astype(np.int32)
        self.chance = rng.random(len(ease))
        self.tied = rng.random(len(ease)) < 0.2
        self.hour = rng.integers(0, 8, visits.sum())[self.sequence]

    def answers(self, quality: float) -> Ranks:
        """Of a model that keeps the share `quality` of what it could know."""
        lost = np.where(self.rng.random(len(self.chance)) < OWN, self.rng.random(len(self.chance)), self.chance)
        return np.where(lost < quality, self.shared, 0).astype(np.int32)


def gate_of(rule: Any) -> Gate:
    """The gate of params.yaml, in what matters here."""
    margin = MARGIN if rule == "non_inferior" else 0.0
    return Gate(
        primary="mrr@20",
        floors={"recall@20": 0.05},
        beat_baselines={"mrr@20": "reject"},
        champion=ChampionRule(rule=rule, margin=margin, confidence=CONFIDENCE),
    )


@dataclass
class Shop:
    """A shop that releases: the champion, the best one so far, and what was tried on the last window."""

    gate: Gate
    customers: int
    seed: int
    quality: float = 0.6
    best: float = 0.6
    peak: float = 0.6
    fell: float = 0.0
    same: bool = True
    tried: int = 0
    window: Window | None = None
    released: Counter[str] = field(default_factory=Counter)
    promoted: Counter[str] = field(default_factory=Counter)

    def release(self, kind: str, *, again: bool = False) -> bool:
        """Whether the gate lets a candidate of this kind become champion; `again`: on the last test window."""
        number = sum(self.released.values())
        if not again or self.window is None:
            self.window, self.tried = Window(self.customers, self.seed * 10_000 + number), 0
        self.tried += 1
        quality = min(self.quality * TRUE.get(kind, 1.0), 0.999)
        evidence = self.evidence(kind, quality, self.window)
        judged = rules.judge(self.gate, evidence, number)
        self.released[kind] += 1
        if verdicts.decide(judged) != "promote":
            return False
        self.promoted[kind] += 1
        stays = next((rule.evidence["best_champion"] for rule in judged if "best_champion" in rule.evidence), 0)
        self.quality = quality
        self.best, self.same = (self.best, False) if stays else (quality, True)
        self.peak = max(self.peak, quality)
        self.fell = max(self.fell, 1 - quality / self.peak)
        return True

    def evidence(self, kind: str, quality: float, window: Window) -> Evidence:
        """What an evaluation of such a candidate would have found."""
        ranks = {
            CANDIDATE: window.answers(quality),
            CHAMPION: window.answers(self.quality),
            "popularity": window.answers(0.2),
        }
        if not self.same:
            ranks[BEST] = window.answers(self.best)
        if kind == "leaking":
            ranks[CANDIDATE] = np.where(window.tied, 1, ranks[CANDIDATE]).astype(np.int32)
        if kind == "sabotaged":
            hit = (window.hour == 0) & (window.rng.random(len(window.hour)) < 0.5)
            ranks[CANDIDATE] = np.where(hit, 0, ranks[CANDIDATE]).astype(np.int32)
        n, nobody = len(window.sequence), np.zeros(len(window.sequence), np.bool_)
        error = 0.3 if kind == "miscalibrated" else 0.02
        measured = {
            system: dict(zip(ranking.names([20]), ranking.gains(each, [20]).mean(axis=0), strict=True))
            for system, each in ranks.items()
        }
        return Evidence(
            rows={
                "next_item": Rows(
                    output=outputs.named("next_item"),
                    sequence=window.sequence,
                    customer=window.customer,
                    target=window.sequence,
                    answers=ranks,
                    missing=dict.fromkeys(ranks, 0),
                    known=np.ones(n, np.bool_),
                    slices={"hour": (window.hour, [str(hour) for hour in range(8)])},
                    seen=dict.fromkeys((CHAMPION, BEST), nobody),
                    tied=window.tied,
                )
            },
            metrics={
                "next_item": {
                    name: {key: {"value": float(v)} for key, v in each.items()} for name, each in measured.items()
                },
                "next_action": {CANDIDATE: {"ece": {"value": error}}},
                "best_version": 2 if self.same else 1,
                "champion_fit": {
                    "items_here": 1.0,
                    "targets_known": 1.0,
                    "same_key": True,
                    "answered": {system: {"next_item": 1} for system in (CANDIDATE, CHAMPION)},
                },
            },
            champion_version=2,
            artefact_sha256="",
            model_sha256="",
            data_sha256=None,
            size_mb=1.0,
            latency_ms=200.0 if kind == "slow" else 2.0,
            tries=self.tried,
        )

    def said(self) -> dict[str, Any]:
        """For the JSON."""
        return {
            "rule": self.gate.champion.rule,
            "customers": self.customers,
            "released": dict(self.released),
            "promoted": dict(self.promoted),
            "largest_fall_below_best": round(self.fell, 5),
            "quality_at_the_end": round(self.quality / 0.6, 5),
        }


def run(customers: int, seed: int, releases: int) -> Iterator[dict[str, Any]]:
    """One line a scenario."""
    paired.RESAMPLES = RESAMPLES
    for rule in ("non_inferior", "better"):
        mixed = Shop(gate_of(rule), customers, seed)
        draw = np.random.default_rng(seed)
        for kind in draw.permutation(np.resize(KINDS, releases)):
            mixed.release(str(kind))
        yield {"scenario": "mixed", **mixed.said()}
        for kind, count in (("equal", releases // 2), ("better", releases // 4)):
            shops = Counter[str]()
            for number in range(count):
                shops[kind] += Shop(gate_of(rule), customers, seed + 1 + number).release(kind)
            yield {"scenario": kind, "rule": rule, "customers": customers, "released": count, "promoted": shops[kind]}
        windows = releases // 20
        passed = 0
        for number in range(windows):
            shop = Shop(gate_of(rule), customers, seed + 500 + number)
            passed += any(shop.release("repeated", again=attempt > 0) for attempt in range(20))
        yield {
            "scenario": "20 tries, each 1% worse",
            "rule": rule,
            "windows": windows,
            "windows_that_let_one_in": passed,
        }
    creeping = Shop(gate_of("non_inferior"), customers, seed)
    for _ in range(releases // 2):
        creeping.release("creeping")
    yield {"scenario": "creeping", **creeping.said()}
