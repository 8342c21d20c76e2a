"""How well parts of the traffic are served: by session length, item popularity, day and hour (UTC)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.evaluation import customers
from clickflow.evaluation.lengths import COARSE, names
from clickflow.events import contract
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.system.moments import DAY

HEAD, TORSO = 0.5, 0.8
"""Head: the most popular items that together make half of the training events; torso: up to 80%; tail: the rest."""
LENGTHS = ("1", *names(COARSE))
"""Sessions by their number of steps."""
UNKNOWN = "unknown"
"""The popularity of an item that the candidate's vocabulary lacks."""
ALWAYS = "visitor"
"""The group of people that every log says: new or returning."""
GROUPS = (ALWAYS, *contract.GROUPS)
"""Groups of people, who are to fare alike; what the log does not say of anybody is not told apart."""
DIMENSIONS = ("length", "day", "hour", "popularity", "pace", *GROUPS)
"""What rows are cut by, as the evidence has it; a log without a clock has neither day nor hour."""
PACES = ("fast", "intermittent", "new")
"""Of a series: seldom without a sale; often without; too young to say (`forecasting.groups`)."""


@dataclass(frozen=True)
class Slicing:
    """What slice each row is in: per dimension a label [N]."""

    labels: Mapping[str, npt.NDArray[np.str_]]
    order: Mapping[str, Sequence[str]]
    """Per dimension, the labels in the order in which they are shown."""


def popularity(counts: npt.NDArray[np.integer], targets: npt.NDArray[np.integer]) -> npt.NDArray[np.str_]:
    """head, torso, tail or unknown for each target [N]; `counts` [known] are training counts by index."""
    order = np.argsort(-counts[FIRST_ITEM:], kind="stable") + FIRST_ITEM
    before = np.cumsum(counts[order]) - counts[order]
    label = np.full(len(counts), UNKNOWN, dtype="<U7")
    total = max(int(counts[FIRST_ITEM:].sum()), 1)
    label[order] = np.where(before < HEAD * total, "head", np.where(before < TORSO * total, "torso", "tail"))
    inside = (targets >= FIRST_ITEM) & (targets < len(counts))
    return np.where(inside, label[np.where(inside, targets, 0)], UNKNOWN)


def days(time: npt.NDArray[np.integer]) -> npt.NDArray[np.str_]:
    """The day of each time (microseconds since 1970) as YYYY-MM-DD, UTC."""
    return (np.asarray(time) // DAY).astype("datetime64[D]").astype(str)


def lengths(length: npt.NDArray[np.integer]) -> npt.NDArray[np.str_]:
    """The bucket of each session length."""
    return np.array(LENGTHS)[np.searchsorted(COARSE, length, side="right")]


def slicing(
    length: npt.NDArray[np.integer],
    time: npt.NDArray[np.integer],
    hour: npt.NDArray[np.integer] | None,
    popular: npt.NDArray[np.str_] | None,
    *,
    clock: bool = True,
    visitor: npt.NDArray[np.str_] | None = None,
    more: Mapping[str, npt.NDArray[np.str_]] | None = None,
) -> Slicing:
    """The slices of rows [N]; hours are two digits, and none of what is asked at midnight. Without a `clock` there are
    neither days nor hours.
    """
    labels = {"length": lengths(length)}
    order: dict[str, Sequence[str]] = {"length": LENGTHS}
    if clock:
        labels["day"] = days(time)
        if hour is not None:
            labels["hour"] = np.char.zfill(np.asarray(hour).astype(str), 2)
        order |= {name: sorted(set(labels[name].tolist())) for name in ("day", "hour") if name in labels}
    if popular is not None:
        labels["popularity"] = popular
        order["popularity"] = ["head", "torso", "tail", UNKNOWN]
    for name, own in (more or {}).items():
        labels[name] = own
        order[name] = PACES if name == "pace" else _by_size(own)
    if visitor is not None:
        labels["visitor"] = visitor
        order["visitor"] = customers.GROUPS
    return Slicing(labels, order)


def _by_size(labels: npt.NDArray[np.str_]) -> list[str]:
    """The labels, the most frequent first, and what is no group last."""
    names, count = np.unique(labels, return_counts=True)
    last = (customers.OTHER, customers.NOBODY)
    return sorted(names.tolist(), key=lambda each: (each in last, -count[names.tolist().index(each)], each))


def cells(
    groups: Slicing, counted: str, values: Mapping[str, Mapping[str, npt.NDArray[np.float64]]]
) -> dict[str, dict[str, Any]]:
    """{dimension: {slice: {counted, system: {metric}}}} of values [N] by system and metric; a slice without rows is
    left out.
    """
    result: dict[str, dict[str, Any]] = {}
    stacked = {system: np.stack(list(by.values()), axis=1) for system, by in values.items()}
    for dimension, labels in groups.labels.items():
        result[dimension] = {}
        for label in groups.order[dimension]:
            rows = np.flatnonzero(labels == label)
            if not len(rows):
                continue
            cell: dict[str, Any] = {counted: len(rows)}
            for system, by in values.items():
                means = stacked[system][rows].mean(axis=0)
                cell[system] = {name: round(float(mean), 6) for name, mean in zip(by, means, strict=True)}
            result[dimension][label] = cell
    return result
