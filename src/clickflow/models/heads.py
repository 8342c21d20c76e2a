"""The questions a model answers, as modules that score what an encoder read.

Shapes: N positions, D units, T steps, K items.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clickflow.models.associations import REACH, Associations, Table
from clickflow.models.attention import CausalAttention, distances
from clickflow.models.normalize import unit
from clickflow.models.sights import FEATURES, HABITS, Sights, sights
from clickflow.params.models import RankingHead
from clickflow.sequences.indexes import FIRST_ITEM

TEMPERATURE = 10.0
"""Scores are cosines times this: the sharpest softmax they can give."""
NEVER = -1e9
"""The log-probability of what cannot be an answer."""
RECENT = 4
"""Actions that the next one is read off, each by a table of its own."""
QUICK = 5.0
"""How much faster than other weights those of few classes are learned: they must go far, and are seen in every step."""
LIKELIHOODS = ("sampled", "full")
"""Losses whose scores are log-probabilities but for a constant; those of the others are sharpened into such."""
SHARPEST = 2.0
"""The most that the log of a sharpness may be: exp(scores) must stay a float32."""


@dataclass(frozen=True)
class Mixture:
    """Of what the answer at each step consists, B sequences of T steps: `softmax` [B, T] the share of the softmax over
    all items; `copied` [B, T, T] the share of the item of each step; `worth` [B, T, T] the share of a neighbour of the
    item of each step, for each count of it.
    """

    softmax: Tensor
    copied: Tensor | None
    worth: Tensor | None


class NextItem(nn.Module):
    """Which item comes next: cosine scores against the tied item embedding, mixed with what need not be generated.

    p = (1 - g - h) softmax(scores) + g copy + h associations, the shares read off the same state. `copy` is an
    attention over the steps so far, as in pointer and copy networks (See et al. 2017; for sessions RepeatNet, Ren et
    al. 2019), which also knows how often and how early an item was seen, as the shares know how often this visitor went
    back (`models.sights`). With it the scores of the session's own items have a learned bias, by the same and by the
    steps since they were seen: in one shop visitors go back to what they just saw, in another no item is ever seen
    twice. `associations` are the neighbours of the last steps' items in other sessions (`models.associations`); what
    these leave unsaid falls to the softmax.

    A loss that is no likelihood (`bpr_max`, `bce`) says nothing of how far apart scores should be: then the softmax
    is of scores times a sharpness, one number, which is fitted by likelihood (Platt 1999; temperature scaling, Guo et
    al. 2017). `bce` has an offset besides, for a score to be the log-odds of its item.

    With a horizon above 1, a decoder goes on from the readout, a step at a time, to the readouts of the items after
    the next one (encoder and decoder: Cho et al. 2014; every step of the horizon at once, no answer is fed back).
    """

    def __init__(self, units: int, max_length: int, spec: RankingHead, known: int, table: Table | None = None) -> None:
        super().__init__()
        self.pointer = CausalAttention(units, max_length) if spec.copy else None
        if spec.associations and table is None:
            raise TypeError("the spec asks for associations, and the sizes hold no table of them")
        self.associations = Associations(units, max_length, table) if spec.associations and table else None
        sources = spec.copy + spec.associations
        self.gate = nn.Linear(units, sources) if sources else None
        self.sharpness = None if spec.loss in LIKELIHOODS else nn.Parameter(torch.zeros(()))
        self.offset = nn.Parameter(torch.tensor(-math.log(known))) if spec.loss == "bce" else None
        returns = spec.copy and spec.loss in LIKELIHOODS and spec.output == "tied"
        self.returns = nn.Parameter(torch.zeros(max_length)) if returns else None
        self.familiar = nn.Parameter(torch.zeros(FEATURES)) if returns else None
        self.sight = nn.Linear(units, FEATURES) if spec.copy else None
        self.habit = nn.Linear(HABITS, sources, bias=False) if spec.copy else None
        for layer in (self.sight, self.habit):
            if layer is not None:
                for parameter in layer.parameters():
                    nn.init.zeros_(parameter)
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

    def seen(self, items: Tensor) -> Sights | None:
        """How items [B, T] were seen so far; None where the head copies nothing."""
        return None if self.pointer is None else sights(items, FIRST_ITEM)

    def returning(self, seen: Sights | None) -> Tensor | None:
        """The bias, [B, T, T], that the score of the item of step u has at step t, where u is the latest step with it;
        0 elsewhere. None where the head has no such bias.
        """
        if self.returns is None or self.familiar is None or seen is None:
            return None
        back = distances(seen.latest.shape[1], seen.latest.device)
        bias = self.returns[back.clamp(0, len(self.returns) - 1)] + seen.weighed(self.familiar)
        return TEMPERATURE * bias * seen.latest

    def mixture(
        self,
        readouts: Tensor,
        states: Tensor,
        items: Tensor,
        seen: Sights | None,
        *,
        support: Tensor | None = None,
        later: bool = False,
    ) -> Mixture | None:
        """What the answer consists of, None where it is the softmax alone.

        Readouts and states are [B, T, D], items [B, T], `seen` what is known of them; `support` [B, T] see
        `Associations`; `later`: of a step after the next one, for which nothing was counted. Nothing is copied where no
        step so far has a known item.
        """
        if self.gate is None:
            return None
        logits, known = self.gate(readouts), (items >= FIRST_ITEM).unsqueeze(1)
        copied = worth = weights = said = None
        if self.pointer is not None and self.sight is not None and self.habit is not None and seen is not None:
            attended = self.pointer(readouts, states) + seen.weighed(self.sight(readouts))
            attended = attended.masked_fill(~known, NEVER)
            logits = logits + self.habit(seen.habits)
            # what is masked has weight 0 exactly, also where all of it is
            weights = attended.softmax(-1) * (attended > NEVER / 2)
            none = weights.sum(-1, keepdim=True) == 0
            logits = torch.cat([logits[..., :1].masked_fill(none, NEVER), logits[..., 1:]], -1)
        if self.associations is not None:
            worth, said = self.associations(readouts, states, items, support)
            if later:
                logits = torch.cat([logits[..., :-1], torch.full_like(logits[..., -1:], NEVER)], -1)
        shares = torch.cat([torch.zeros_like(logits[..., :1]), logits], -1).softmax(-1)
        softmax = shares[..., 0]
        if weights is not None:
            copied = shares[..., 1:2] * weights
        if worth is not None and said is not None:
            softmax = softmax + shares[..., -1] * (1 - said)
            worth = shares[..., -1:] * worth
        return Mixture(softmax, copied, worth)

    def added(self, mixture: Mixture, items: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        """What the mixture adds to the softmax at the steps (row, column), [N]: items and their shares, both [N, S].

        An item may stand there several times, and 0 where there is nothing.
        """
        named: list[Tensor] = []
        shares: list[Tensor] = []
        if mixture.copied is not None:
            named, shares = [items[row]], [mixture.copied[row, column]]
        if mixture.worth is not None and self.associations is not None:
            back = torch.arange(REACH, device=items.device)
            at = column.unsqueeze(1) - back
            worth = mixture.worth[row.unsqueeze(1), column.unsqueeze(1), at.clamp(min=0)] * (at >= 0)
            found, counts = self.associations.neighbours(items[row.unsqueeze(1), at.clamp(min=0)])
            named, shares = [*named, found.flatten(1)], [*shares, (worth.unsqueeze(-1) * counts).flatten(1)]
        return torch.cat(named, 1), torch.cat(shares, 1)

    def log_probabilities(self, scores: Tensor, softmax: Tensor | None = None, *added: Tensor) -> Tensor:
        """Scores [N, K], and if there is a mixture the softmax's share [N] and what is `added`, to [N, K].

        Little is added and a shop has many items: as little as possible is done to all K.
        """
        answers = torch.arange(scores.shape[1], device=scores.device) >= FIRST_ITEM
        generated = scores.masked_fill(~answers, NEVER).log_softmax(-1)
        if softmax is None:
            return generated
        generated = generated + softmax.clamp(min=1e-6).log().unsqueeze(-1)
        items, shares = added
        more = torch.zeros_like(generated).scatter_add(1, items, shares).gather(1, items)
        kept = generated.gather(1, items)
        mixed = torch.where(more > 0, torch.log(kept.exp() + more.clamp(min=1e-30)), kept)
        return generated.scatter(1, items, mixed)


class NextAction(nn.Module):
    """What the visitor does next: one of the event types, or leaves.

    A linear reading of the encoder, and beside it tables of the last actions, each for itself: what a logistic
    regression on them knows needs no sequences to learn by heart (wide and deep: Cheng et al. 2016).
    """

    def __init__(self, units: int, actions: int, *, recent: bool) -> None:
        super().__init__()
        self.score = nn.Linear(units, actions)
        nn.init.zeros_(self.score.bias)
        self.recent = nn.Embedding(RECENT * actions, actions) if recent else None
        if self.recent is not None:
            nn.init.zeros_(self.recent.weight)

    def forward(self, readouts: Tensor) -> Tensor:
        """Readouts [..., D] to logits [..., actions]."""
        return nn.functional.linear(readouts, self.score.weight, QUICK * self.score.bias)

    def beside(self, actions: Tensor) -> Tensor | None:
        """What the last actions [B, T] add to the logits, [B, T, actions]; None where the head has no table of them."""
        if self.recent is None:
            return None
        # exit is no action of a step: here it stands before the first one; what is not known is read as class 0
        steps, classes = actions.shape[1], self.score.out_features
        actions = torch.where(actions < classes - 1, actions, torch.zeros_like(actions))
        added = torch.zeros((), device=actions.device)
        for back in range(RECENT):
            then = nn.functional.pad(actions, (back, 0), value=classes - 1)[:, :steps]
            added = added + self.recent(then + back * classes)
        return QUICK * added
