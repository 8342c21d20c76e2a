"""Sequences changed while training: cropped, masked, reordered, items substituted by near ones.

After CL4SRec (Xie et al. 2022) and CoSeRec (Liu et al. 2021), here for the questions themselves. What a step asks stays
what was really clicked next, save where items changed places. Validation and answers never see any of it.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clickflow.heads.head import NOTHING
from clickflow.models.associations import Table
from clickflow.params.models import Augmentation
from clickflow.sequences.features import FEATURES
from clickflow.sequences.indexes import FIRST_ITEM, UNKNOWN
from clickflow.training.batches import Batch, Ints, Windows

if TYPE_CHECKING:
    from collections.abc import Sequence

NEAREST = 10
"""An item is substituted by one of so many neighbours."""


@dataclass(frozen=True)
class Near:
    """For each item [known] the ones near it [known, M], best first, 0 for none, and how many there are [known]."""

    items: Ints
    there: Ints

    @classmethod
    def of(cls, table: Table) -> "Near":
        """The nearest of a table of associations."""
        items = table.items[:, :NEAREST].astype(np.int64)
        return cls(items, (items > 0).sum(1))


def cropped(windows: Windows, share: float, draw: np.random.Generator) -> Windows:
    """Of this share of the windows only an end is read: the first steps, up to half, fall away with their questions."""
    most = np.where(draw.random(len(windows)) < share, windows.length // 2, 0)
    away = draw.integers(0, most + 1)
    first = np.maximum(windows.first - away, 0)
    return replace(windows, start=windows.start + away, length=windows.length - away, first=first)


def changed(batch: Batch, wanted: Augmentation, near: Near | None, draw: np.random.Generator) -> Batch:
    """The batch with items masked, substituted and reordered, each step with the share that is wanted."""
    inputs, item = dict(batch.inputs), batch.inputs["item"].copy()
    real = item > 0
    if wanted.mask:
        item[real & (draw.random(item.shape) < wanted.mask)] = UNKNOWN
    if wanted.substitute and near is not None:
        count = near.there[item]
        place = (draw.random(item.shape) * count).astype(np.int64)
        chosen = (draw.random(item.shape) < wanted.substitute) & (item >= FIRST_ITEM) & (count > 0)
        item = np.where(chosen, near.items[item, place], item)
    inputs["item"] = item
    batch = replace(batch, inputs=inputs)
    return _reordered(batch, wanted.reorder, draw) if wanted.reorder and item.shape[1] > 1 else batch


def _reordered(batch: Batch, share: float, draw: np.random.Generator) -> Batch:
    """Steps t and t + 1 change places, and the question about t + 1 at step t - 1 then is about the other."""
    item, length = batch.inputs["item"], batch.inputs["item"].shape[1]
    # pairs begin at every second step, first or second: none overlap
    pair = np.arange(length - 1) % 2 == draw.integers(0, 2, (len(item), 1))
    swap = pair & (draw.random((len(item), length - 1)) < share) & (item[:, 1:] > 0)
    order = np.tile(np.arange(length), (len(item), 1))
    order[:, :-1] += swap
    order[:, 1:] -= swap
    inputs: dict[str, NDArray[Any]] = dict(batch.inputs)
    for name in inputs:
        if FEATURES[name].derive is None:  # what follows from times stays where it is
            inputs[name] = np.take_along_axis(inputs[name], order, 1)
    # what step t is asked is what the step before the one that stands at t + 1 now was asked; the last keeps its own
    behind = np.concatenate([order[:, 1:] - 1, np.full((len(item), 1), length - 1)], axis=1)

    def moved(target: Ints) -> Ints:
        return np.where(behind < 0, NOTHING, np.take_along_axis(target, np.maximum(behind, 0), 1))

    still = ~swap.any(1, keepdims=True)
    targets = {
        name: (moved(first), *(np.where(still, each, NOTHING) for each in later))
        for name, (first, *later) in batch.targets.items()
    }
    return replace(batch, inputs=inputs, targets=targets)


def unsaid(
    before: "Sequence[NDArray[np.float32]]", batch: Batch, was: Batch, head: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the sessions before say, without what they said of steps that are no longer what they were; `head` asks
    about the item of the next step.
    """
    beside, support = before
    same = batch.inputs["item"] == was.inputs["item"]
    same_target = batch.targets[head][0] == was.targets[head][0]
    return beside * same[:, None, :] * same_target[:, :, None], support * same
