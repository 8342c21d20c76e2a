"""Whether a log is long and dense enough for a model to be judged on it, in figures and in sentences."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np

from clickflow.params.sequences import Sequences
from clickflow.sequences.card import Part
from clickflow.sequences.features import Array
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.numbering import KEPT
from clickflow.sequences.pack import Support
from clickflow.sequences.vocabulary import Vocabulary
from clickflow.system.errors import DataError

LATER = ("valid", "test")
SHORT = timedelta(days=2)
"""A shorter log has no day that could be held against another."""


def measure(parts: Mapping[str, Part], held: Mapping[str, Support], items: Vocabulary) -> dict[str, Any]:
    """`span_days` from the first step to the last; `known_share` of the steps of each later part that are on an item
    that the model knows (None where the part is empty).
    """
    known = items.index < items.known
    ends = [(part.first, part.last) for part in parts.values() if part.first is not None and part.last is not None]
    span = max(last for _, last in ends) - min(first for first, _ in ends)
    return {
        "span_days": round(span / timedelta(days=1).total_seconds() / 1e6, 4),
        "known_share": {
            name: round(int(held[name].items[known].sum()) / held[name].events, 6) if held[name].events else None
            for name in LATER
        },
    }


def notes(
    measured: Mapping[str, Any], held: Mapping[str, Support], items: Vocabulary, settings: Sequences, *, clock: bool
) -> list[str]:
    """What a person must know before believing a figure measured on this store, a sentence each.

    Raises DataError where no step of a later part is on a known item, so that nothing could be measured.
    """
    said = []
    shares = {name: share for name, share in measured["known_share"].items() if share is not None}
    bound = settings.min_known_share
    if bound is not None:
        total, n = len(items.order), items.known - FIRST_ITEM
        for name, share in shares.items():
            if not share:
                raise DataError(
                    f"no step of the {name} part is on one of the {n:,} items (of {total:,}) that have "
                    f"{_steps(settings)} in the training part: no model can be judged on this log",
                    kept=KEPT,
                    next_step="ingest more days, or lower sequences.min_item_count in params.yaml",
                )
        low = {name: share for name, share in shares.items() if share < bound}
        if low:
            times = max(_times(held["train"].items, held[name].items, settings.min_item_count, bound) for name in low)
            steps = " and ".join(f"{share:.1%} of the {name} steps" for name, share in low.items())
            said.append(
                f"the log is too short or too thin: {n:,} of {total:,} items are known (have "
                f"{_steps(settings)} in training), and {steps} are on one: too few to judge a model. "
                + _wanted(times, measured, held, f"to know the items of {bound:.0%} of the steps", clock=clock)
            )
    few = settings.min_part_sequences
    thin = [name for name in shares if few is not None and held[name].sequences < few]
    if thin:
        least = min(held[name].sequences for name in thin)
        parts = " and ".join(f"the {name} part has {held[name].sequences:,} sequences" for name in thin)
        said.append(
            f"{parts}: a share measured on {least:,} is known to ±{0.98 / least**0.5:.2f} at best. "
            + _wanted((few or 0) / least, measured, held, f"for {few:,} sequences in each", clock=clock)
        )
    if clock and measured["span_days"] < SHORT.days:
        said.append(
            f"the log spans {measured['span_days'] * 24:.1f} hours: nothing is learned of days, and nothing shows "
            "whether a model holds on the next one; at least a week is wanted"
        )
    return said


def _times(train: Array, later: Array, least: int, bound: float) -> float:
    """How many times as long the training part must be until items of `bound` of the later steps have `least` steps,
    if all items grow alike; those that are not in it count as half a step.
    """
    needed = np.maximum(1.0, least / np.maximum(train, 0.5))
    order = np.argsort(needed, kind="stable")
    reached = np.cumsum(later[order]) >= bound * later.sum()
    return float(needed[order][int(np.argmax(reached))])


def _steps(settings: Sequences) -> str:
    return "a step" if settings.min_item_count == 1 else f"{settings.min_item_count} steps"


def _wanted(times: float, measured: Mapping[str, Any], held: Mapping[str, Support], what: str, *, clock: bool) -> str:
    """So much of such a log is wanted."""
    sequences = _up(times * sum(part.sequences for part in held.values()))
    days = times * measured["span_days"]
    span = (f"{_up(days):,} days" if days >= 2 else f"{_up(days * 24):,} hours") + " or " if clock else ""
    return f"About {span}{sequences:,} sequences of this kind are wanted {what}"


def _up(number: float) -> int:
    """Rounded up to two digits."""
    unit = 10 ** max(0, len(str(int(number))) - 2)
    return int(-(-number // unit) * unit)
