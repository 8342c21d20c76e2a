"""Which items occur in sessions together: a table counted on the training part, mixed into the answer.

Rare items are where a network knows least and a look into past sessions most, which is why nearest neighbours are so
hard to beat. Two different items of a session count for each other by 1 / distance, up to `REACH` steps apart, in
either order: association rules with the weights of sequential rules (Ludewig & Jannach 2018, doi
10.1007/s11257-018-9209-6).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clickflow.models.attention import NEVER, CausalAttention

REACH = 10
"""Steps between two items that still count, and steps of a session that are looked up."""
MOST, ENTRIES = 100, 1 << 23
"""Neighbours kept for an item: so many, fewer where all items together would have more entries."""
DOUBT = 5.0
"""First value of the count that speaks against a neighbour, beside those that speak for it."""


@dataclass(frozen=True)
class Table:
    """`items` [known, M] the neighbours of each item, most frequent first, 0 for none; `counts` [known, M] how often,
    by 1 / distance; `support` [known] the sum of an item's counts, of neighbours that were not kept too.
    """

    items: NDArray[np.int32]
    counts: NDArray[np.float32]
    support: NDArray[np.float32]


class Associations(nn.Module):
    """A distribution over items for every step: an attention over the last steps, of each step's neighbours.

    A step with item i says j with probability c(i, j) / (c(i) + doubt): what its support leaves open is not said.
    """

    def __init__(self, units: int, max_length: int, table: Table) -> None:
        super().__init__()
        self.know(table)
        self.attention = CausalAttention(units, max_length, REACH)
        self.trust = nn.Parameter(torch.zeros(()))
        self.doubt = nn.Parameter(torch.tensor(math.log(DOUBT)))

    def know(self, table: Table) -> None:
        """Have the counts of `table` from now on."""
        device = self.get_buffer("items").device if "items" in self._buffers else None
        # not among the weights: nothing of it is trained, so no checkpoint needs to hold it
        for name in ("items", "counts", "support"):
            self.register_buffer(name, torch.from_numpy(getattr(table, name)).to(device), persistent=False)

    def forward(self, readouts: Tensor, states: Tensor, items: Tensor, support: Tensor | None) -> tuple[Tensor, Tensor]:
        """What a count of 1 is worth, [B, T, T], at step t of the neighbours of step u; and how much of the answer is
        said at all, [B, T], from 0 to 1.

        `readouts`, `states` [B, T, D]; `items` [B, T]; `support` [B, T]: as it was before each session, None: as it is.
        """
        left = self.get_buffer("support")[items] if support is None else support
        logits = self.attention(readouts, states) + (self.trust * torch.log1p(left)).unsqueeze(1)
        logits = logits.masked_fill((left <= 0).unsqueeze(1), NEVER)
        # where no step has neighbours, steps to come must not be looked at either
        weights = logits.softmax(-1) * (logits > NEVER / 2)
        worth = weights / (left + self.doubt.exp()).unsqueeze(1)
        kept = left if support is not None else self.get_buffer("counts").sum(-1)[items]
        return worth, (worth * kept.unsqueeze(1)).sum(-1)

    @property
    def table(self) -> dict[str, Tensor]:
        """The table by the names of its parts."""
        return {name: self.get_buffer(name) for name in ("items", "counts", "support")}

    def neighbours(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Of items [...]: their neighbours and counts, [..., M]."""
        return self.get_buffer("items")[items].long(), self.get_buffer("counts")[items]
