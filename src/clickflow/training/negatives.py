"""The items that stand for all others in a batch: all of them, or draws shared by the batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clickflow.params.models import RankingHead
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.training.batches import Ints

POPULARITY = {"sampled": 0.5, "bpr_max": 0.5, "bce": 0.0}
"""Negatives are drawn by the power of an item's count; of bce evenly, as its calibration supposes."""


class Negatives(NamedTuple):
    """The items that stand for all others in a batch, [K]: index; log of times drawn over times expected; log of times
    drawn.
    """

    items: Ints
    bias: NDArray[np.float32]
    times: NDArray[np.float32]


Draw = Callable[[np.random.Generator], Negatives]


@dataclass(frozen=True)
class Sampler:
    """Draws the items that stand for all others in a loss that samples."""

    cumulative: NDArray[np.float64]
    probability: NDArray[np.float64]
    negatives: int

    @classmethod
    def of_counts(cls, counts: NDArray[np.int64], negatives: int, power: float) -> "Sampler":
        """`counts` [known]: how often the training part holds each index; 0 and 1 are never drawn."""
        weight = np.maximum(counts, 1).astype(np.float64) ** power
        weight[:FIRST_ITEM] = 0.0
        probability = weight / weight.sum()
        return cls(np.cumsum(probability), probability, negatives)

    def draw(self, random: np.random.Generator) -> Negatives:
        """So many draws, each item that was drawn once."""
        drawn = np.searchsorted(self.cumulative, random.random(self.negatives) * self.cumulative[-1], side="right")
        items, times = np.unique(drawn, return_counts=True)
        expected = self.probability[items] * self.negatives
        bias = (np.log(times) - np.log(expected)).astype(np.float32)
        return Negatives(items.astype(np.int64), bias, np.log(times).astype(np.float32))


def everything(known: int) -> Draw:
    """All items stand for themselves: the full softmax."""
    none = np.zeros(known - FIRST_ITEM, np.float32)
    items = Negatives(np.arange(FIRST_ITEM, known), none, none)
    return lambda _: items


def negatives_of(head: RankingHead, known: int, items: NDArray[np.integer]) -> Draw:
    """Who stands for all items in the loss of `head`; `items` are the steps of the training part."""
    # as many draws as there are items: then all of them cost less, and are exact
    if head.loss == "full" or head.negatives >= known - FIRST_ITEM:
        return everything(known)
    counts = np.bincount(items, minlength=known)[:known]
    return Sampler.of_counts(counts, head.negatives, POPULARITY[head.loss]).draw
