"""How far the list of odd visits may be trusted: does it find planted cases, and does a second training agree?

A log does not say who was a robot, so cases are planted among visits of its own test part, in memory: they take items,
prices and lengths from the shop and behave as in `KINDS`. Average precision is asked of the surprise and of both rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.anomalies import rules, surprise
from clickflow.anomalies import signs as judged
from clickflow.artefact.artefact import Artefact
from clickflow.evaluation import vocabularies
from clickflow.params.gate import AnomaliesRule
from clickflow.sequences import features
from clickflow.sequences.card import Card
from clickflow.sequences.features import FEATURES
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import PackedSplit, open_split, read_card
from clickflow.system.errors import UsageError
from clickflow.system.moments import SECOND

VISITS, REFERENCE = 2_000, 20_000
"""Visits of the test part that are judged, and of the training part that the rules are fitted to, at most."""
SHARE, LEAST = 0.03, 12
"""Planted cases by what is judged, and at least so many."""
STEPS = (8, 25)
"""Of a planted visit, from and below."""
RESAMPLES = 100
TOP = 0.05
"""Whose part in common is told of two trainings."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Kind:
    """How a planted visit behaves: actions in turn, the first of them that the shop has, seconds between two steps and
    their spread, and the share of the items by price that it takes, the cheapest first.
    """

    actions: tuple[tuple[str, ...], ...]
    seconds: float
    spread: float
    cheapest: float


KINDS: Mapping[str, Kind] = {
    "scraper": Kind((("view", "click", "purchase"),), 16.0, 0.1, 1.0),
    "card_testing": Kind((("cart", "purchase", "view"), ("purchase", "cart", "view")), 9.0, 0.2, 0.2),
    "stitched": Kind((), 0.0, 0.0, 1.0),
}
"""`stitched`: a visit goes on with the steps of another, as where an account is taken over; paces are their own."""


@dataclass(frozen=True)
class Cases:
    """Visits of the test part and planted ones behind them; `kind` [N], "" for what is genuine."""

    split: PackedSplit
    kind: npt.NDArray[np.str_]


def plant(train: PackedSplit, test: PackedSplit, card: Card, seed: int) -> Cases:
    """Cases among a draw of the test part's visits. Raises UsageError where a part is empty."""
    draw = np.random.default_rng(seed)
    if not test.n_sequences or not train.n_sequences:
        raise UsageError("the training or the test part of the store is empty", kept="nothing was judged")
    genuine = np.sort(draw.permutation(test.n_sequences)[:VISITS])
    wanted = max(LEAST, round(SHARE * len(genuine)))
    kinds = [list(KINDS)[k % len(KINDS)] for k in range(wanted)]
    last = np.full(int(max(np.max(train.item), np.max(test.item))) + 1, -1, np.int64)
    last[np.asarray(train.item)] = np.arange(train.n_events)  # the last step of each item
    sold = last[(last >= 0) & (np.arange(len(last)) >= FIRST_ITEM) & (np.arange(len(last)) < card.known)]
    if not len(sold):
        raise UsageError("no item of the training part is known", kept="nothing was judged")
    price = np.nan_to_num(np.asarray(train.price[sold], np.float64), nan=np.inf)
    by_price = sold[np.argsort(price, kind="stable")]
    own = {name for name, feature in FEATURES.items() if not feature.derive}
    base = [name for name in test.columns if name in own]
    parts = [_steps(test, base, genuine, np.asarray(test.offsets, np.int64))]
    for name in kinds:
        start = int(test.time[int(test.offsets[draw.choice(genuine)])])
        parts.append(
            _stitched(test, base, genuine, draw)
            if not KINDS[name].actions
            else _behaving(KINDS[name], train, base, by_price, card, start, draw)
        )
    columns = {name: np.concatenate([part[0][name] for part in parts]) for name in base}
    offsets = np.concatenate([[0], np.cumsum(np.concatenate([part[1] for part in parts]))])
    columns |= features.derived(columns, offsets, clock=card.clock)
    kind = np.array([""] * len(genuine) + kinds)
    return Cases(PackedSplit(None, test.asks, offsets=offsets, **{name: columns[name] for name in test.columns}), kind)


Part = tuple[dict[str, npt.NDArray[Any]], Ints]
"""Columns of some visits, one after the other, and their lengths."""


def _steps(split: PackedSplit, base: list[str], chosen: Ints, offsets: Ints) -> Part:
    lengths = offsets[chosen + 1] - offsets[chosen]
    at = np.repeat(offsets[chosen] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
    return {name: np.asarray(split.columns[name])[at] for name in base}, lengths


def _stitched(split: PackedSplit, base: list[str], genuine: Ints, draw: np.random.Generator) -> Part:
    """A visit, and behind it another's steps, a minute later."""
    two = draw.choice(genuine, 2, replace=len(genuine) < 2)
    columns, lengths = _steps(split, base, two, np.asarray(split.offsets, np.int64))
    first = int(lengths[0])
    time = columns["time"].copy()
    time[first:] += time[first - 1] + 60 * SECOND - time[first]
    return columns | {"time": time}, np.array([len(time)])


def _behaving(
    kind: Kind, train: PackedSplit, base: list[str], by_price: Ints, card: Card, start: int, draw: np.random.Generator
) -> Part:
    steps = int(draw.integers(*STEPS))
    among = by_price[: max(1, round(kind.cheapest * len(by_price)))]
    at = draw.choice(among, steps, replace=len(among) < steps)
    columns = {name: np.asarray(train.columns[name])[at] for name in base}
    turn = [next((card.actions.index(each) for each in choice if each in card.actions), 0) for choice in kind.actions]
    gaps = kind.seconds * (1 + kind.spread * draw.uniform(-1, 1, steps))
    columns["action"] = np.resize(np.array(turn, columns["action"].dtype), steps)
    columns["time"] = start + np.cumsum(np.round(gaps).astype(np.int64) * SECOND)
    return columns, np.array([steps])


def judge(artefact: Artefact, store: Path, seed: int, other: Artefact | None) -> dict[str, Any]:
    """What the gate asks of a list: average precision of the planted cases by the surprise and by each rule, with an
    interval of what it is more than the best rule; and how far `other`, another training of the model, ranks the
    genuine visits alike (None: there is none).
    """
    from sklearn.metrics import average_precision_score

    card, train, test = read_card(store), open_split(store, "train"), open_split(store, "test")
    cases = plant(train, test, card, seed)
    odd, everybody = cases.kind != "", np.arange(len(cases.kind))
    pace = surprise.pace(train, len(card.actions)) if card.clock else None

    def surprised(by: Artefact) -> Floats:
        seen = surprise.of(by, cases.split, card, vocabularies.translation(store, card, by), everybody, lambda _: None)
        return judged.of(seen, pace, cases.split).score

    draw = np.random.default_rng(seed)
    known = rules.table(train, card, np.sort(draw.permutation(train.n_sequences)[:REFERENCE]))
    planted_rows = rules.table(cases.split, card, everybody)
    own = surprised(artefact)
    scores = {"surprise": own} | {name: rule(known, planted_rows) for name, rule in rules.RULES.items()}
    precision = {name: float(average_precision_score(odd, score)) for name, score in scores.items()}
    best = max(rules.RULES, key=lambda name: precision[name])
    both = [np.flatnonzero(odd), np.flatnonzero(~odd)]
    rows = [np.concatenate([draw.choice(each, len(each)) for each in both]) for _ in range(RESAMPLES)]
    more = [
        float(np.subtract(*(average_precision_score(odd[at], scores[name][at]) for name in ("surprise", best))))
        for at in rows
    ]
    low, high = np.quantile(more, (0.025, 0.975))
    return {
        "visits": int((~odd).sum()),
        "planted": int(odd.sum()),
        "average_precision": {name: round(value, 4) for name, value in precision.items()},
        "best_rule": best,
        "more_than_best_rule": {"low": round(float(low), 4), "high": round(float(high), 4)},
        "stability": None if other is None else agreement(own[~odd], surprised(other)[~odd]),
    }


def agreement(one: Floats, other: Floats) -> dict[str, float]:
    """Of two rankings: Spearman's correlation, and the common part of their top."""
    from scipy.stats import spearmanr

    count = max(1, round(TOP * len(one)))
    tops = [set(np.argsort(-score, kind="stable")[:count].tolist()) for score in (one, other)]
    alike = float(spearmanr(one, other).statistic) if np.ptp(one) and np.ptp(other) else 0.0
    return {"spearman": round(alike, 4), "common_top": round(len(tops[0] & tops[1]) / count, 4)}


def worse(judgement: Mapping[str, Any]) -> bool:
    """Whether a rule is shown to find the planted cases better: the whole interval is below 0."""
    return float(judgement["more_than_best_rule"]["high"]) < 0


def refused(rule: AnomaliesRule, judgement: Mapping[str, Any]) -> list[str]:
    """Why the rule of the gate keeps the list from being handed out, a phrase a reason; none: it may be."""
    why, stable = [], judgement["stability"]
    if rule.min_stability is not None and stable is not None and stable["spearman"] < rule.min_stability:
        why.append(
            f"another training ranks the visits otherwise, Spearman {stable['spearman']:.2f}, "
            f"gate.anomalies.min_stability {rule.min_stability:g}"
        )
    if rule.worse_than_rules == "hold" and worse(judgement):
        why.append(f"{_less(judgement)} (gate.anomalies.worse_than_rules)")
    return why


def notes(rule: AnomaliesRule, judgement: Mapping[str, Any]) -> list[str]:
    """What is to be known of a list that is not held."""
    said = [f"{_less(judgement)}: look at the rates first"] if worse(judgement) else []
    if rule.min_stability is not None and judgement["stability"] is None:
        said.append("no other version of the model is there, so whether another training ranks alike is not judged")
    return said


def _less(judgement: Mapping[str, Any]) -> str:
    own, best = judgement["average_precision"], judgement["best_rule"]
    return (
        f"{best.replace('_', ' ')} finds planted cases better than the model, average precision "
        f"{own[best]:.3f} and {own['surprise']:.3f}"
    )


def credibility(judgement: Mapping[str, Any]) -> str:
    """How far the list may be believed, in a sentence."""
    own = judgement["average_precision"]
    others = ", ".join(f"{name.replace('_', ' ')} {own[name]:.3f}" for name in rules.RULES)
    stable = judgement["stability"]
    alike = (
        "" if stable is None else f"; another training ranks the visits alike to {stable['spearman']:.2f} (Spearman)"
    )
    return (
        f"checked with {judgement['planted']} cases that were planted, in memory, among {judgement['visits']:,} visits "
        f"of the test part: average precision {own['surprise']:.3f} "
        f"({others}){alike}"
    )
