"""Tries on one test window are counted: the more it has judged, the higher the confidence that the next one needs.

Of many candidates that are no better, one looks better by chance on a window that is used often. The k-th try on a
window is tested at the level alpha / (k (k + 1)), which sums to alpha over all tries, however they depend on each
other: alpha spending, an online control of the family-wise error rate (Tian & Ramdas 2021).
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from clickflow.gate.resolved import ResolvedGate
from clickflow.params.gate import Gate


def of(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What makes an evaluation (metrics.json) a try of its own: the model, and the window it was tested on."""
    return {
        "model_sha256": (metrics.get("artefact") or {}).get("model_sha256"),
        "window": metrics.get("window"),
        "data_sha256": metrics.get("data_sha256"),
    }


def number(recorded: Iterable[Mapping[str, Any]], mine: Mapping[str, Any]) -> int:
    """Which try on its window this one is, from 1, among those recorded, in their order.

    One that is recorded keeps its number, whatever came after it: the same evidence gives the same decision.
    """
    before = 0
    for each in recorded:
        if each == mine:
            break
        before += overlap(each, mine)
    return before + 1


def overlap(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two tries were tested on the same data, or on times that both windows hold."""
    if one["data_sha256"] == other["data_sha256"] or not (one["window"] and other["window"]):
        return bool(one["data_sha256"] == other["data_sha256"])
    return bool(one["window"]["from"] <= other["window"]["to"] and other["window"]["from"] <= one["window"]["to"])


def confidence(wanted: float, tries: int) -> float:
    """What the confidence of params.yaml comes to on the k-th try."""
    return 1 - (1 - wanted) / (tries * (tries + 1))


def paid(gate: ResolvedGate, tries: int) -> ResolvedGate:
    """The gate with that confidence, for what a candidate has to show."""
    return replace(gate, champion=replace(gate.champion, confidence=confidence(gate.champion.confidence, tries)))


def note(gate: Gate, tries: int) -> str:
    """What a try costs, to be put behind a sentence; empty for the first."""
    sure = confidence(gate.champion.confidence, tries)
    return f"; it is try {tries} on this test window, so shown means at {sure:.6g}" if tries > 1 else ""
