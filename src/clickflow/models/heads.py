"""The questions a model answers, as modules that score what an encoder read.

Shapes: N positions, D units, T steps, K items.
"""

import math

import torch
from torch import Tensor, nn

from clickflow.models.attention import CausalAttention
from clickflow.models.directions import unit
from clickflow.params import NextItemHead

TEMPERATURE = 10.0
"""Scores are cosines times this: the sharpest softmax they can give."""
FIRST_ITEM = 2
"""Item indexes below are no items: 0 is padding, 1 stands for every item the model does not know."""
NEVER = -1e9
"""The log-probability of what cannot be an answer."""
LIKELIHOODS = ("sampled", "full")
"""Losses whose scores are log-probabilities but for a constant; those of the others are sharpened into such."""
SHARPEST = 2.0
"""The most that the log of a sharpness may be: exp(scores) must stay a float32."""


class NextItem(nn.Module):
    """Which item comes next: cosine scores against the tied item embedding, mixed with a copy of the session's items.

    With `copy`, p = (1 - g) softmax(scores) + g attention over the steps so far, as in pointer and copy networks
    (See et al. 2017; for sessions RepeatNet, Ren et al. 2019); g is read off the same state.

    A loss that is no likelihood (`bpr_max`, `bce`) says nothing of how far apart scores should be: then the softmax
    is of scores times a sharpness, one number, which is fitted by likelihood (Platt 1999; temperature scaling, Guo et
    al. 2017). `bce` has an offset besides, for a score to be the log-odds of its item.

    With a horizon above 1, a decoder goes on from the readout, a step at a time, to the readouts of the items after
    the next one (encoder and decoder: Cho et al. 2014; every step of the horizon at once, no answer is fed back).
    """

    def __init__(self, units: int, max_length: int, spec: NextItemHead, known: int) -> None:
        super().__init__()
        self.pointer = CausalAttention(units, max_length) if spec.copy else None
        self.gate = nn.Linear(units, 1) if spec.copy else None
        self.sharpness = None if spec.loss in LIKELIHOODS else nn.Parameter(torch.zeros(()))
        self.offset = nn.Parameter(torch.tensor(-math.log(known))) if spec.loss == "bce" else None
        self.items, self.horizon = known - FIRST_ITEM, spec.horizon
        self.decoder = nn.GRUCell(units, units) if spec.horizon > 1 else None

    def query(self, readouts: Tensor) -> Tensor:
        """Readouts [..., D] to vectors [..., D] whose product with a normalised item embedding is the item's score."""
        return unit(readouts, training=self.training) * TEMPERATURE

    def ahead(self, readouts: Tensor) -> list[Tensor]:
        """Readouts [n, D] to those of the items 2, 3 … steps ahead, up to the horizon, each [n, D]."""
        found = [readouts]
        while self.decoder is not None and len(found) < self.horizon:
            found.append(self.decoder(readouts, found[-1]))
        return found[1:]

    def sharpened(self, queries: Tensor) -> Tensor:
        """Queries [..., D] whose products are log-probabilities, but for a constant."""
        return queries if self.sharpness is None else queries * self.sharpness.clamp(max=SHARPEST).exp()

    def copied(self, readouts: Tensor, states: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """How the copy answers: the share g [B, T] and weights [B, T, T] over the steps, 0 where a step has no item.

        Readouts and states are [B, T, D], items [B, T]. Where no step so far has a known item, g is 0.
        """
        if self.pointer is None or self.gate is None:
            raise TypeError("this head was built without a copy")
        known = (items >= FIRST_ITEM).unsqueeze(1)
        logits = self.pointer(readouts, states)
        logits = logits.masked_fill(~known, NEVER)
        # what is masked has weight 0 exactly, also where all of it is
        weights = logits.softmax(-1) * (logits > NEVER / 2)
        some = weights.sum(-1) > 0
        return torch.sigmoid(self.gate(readouts).squeeze(-1)) * some, weights

    def log_probabilities(self, scores: Tensor, share: Tensor | None, weights: Tensor | None, items: Tensor) -> Tensor:
        """Scores [N, K], and where there is a copy its share [N] and weights [N, T] over items [N, T], to [N, K].

        A session has few items and a shop many: as little as possible is done to all K.
        """
        answers = torch.arange(scores.shape[1], device=scores.device) >= FIRST_ITEM
        generated = scores.masked_fill(~answers, NEVER).log_softmax(-1)
        if share is None or weights is None:
            return generated
        share = share.unsqueeze(-1)
        generated = generated + torch.log1p(-share.clamp(max=1 - 1e-6))
        # an item that stands at several steps is copied from all of them
        copied = share * ((items.unsqueeze(2) == items.unsqueeze(1)) * weights.unsqueeze(1)).sum(-1)
        kept = generated.gather(1, items)
        mixed = torch.where(copied > 0, torch.log(kept.exp() + copied.clamp(min=1e-30)), kept)
        return generated.scatter(1, items, mixed)


class NextAction(nn.Module):
    """What the visitor does next: one of the event types, or leaves."""

    def __init__(self, units: int, actions: int) -> None:
        super().__init__()
        self.score = nn.Linear(units, actions)

    def forward(self, readouts: Tensor) -> Tensor:
        """Readouts [..., D] to logits [..., actions]."""
        logits: Tensor = self.score(readouts)
        return logits
