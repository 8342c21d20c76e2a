"""Answers of kind ranking: the items, the likeliest first.

Shapes: B sequences, N positions, D units, T steps, K items.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clickflow.heads.head import Head, several
from clickflow.models.answers.answer import Answer, Encoded
from clickflow.models.associations import REACH, Associations, Table
from clickflow.models.attention import CausalAttention, distances
from clickflow.models.normalize import normalize
from clickflow.models.sights import FEATURES, HABITS, Sights, sights
from clickflow.params.models import HeadParams, Model, RankingHead
from clickflow.sequences.indexes import FIRST_ITEM

if TYPE_CHECKING:
    from clickflow.models.sizes import Sizes

TEMPERATURE = 10.0
"""Scores are cosines times this: the sharpest softmax they can give."""
NEVER = -1e9
"""The log-probability of what cannot be an answer."""
LIKELIHOODS = ("sampled", "full")
"""Losses whose scores are log-probabilities but for a constant; those of the others are scaled into such."""
SHARPEST = 2.0
"""The most that the log of an inverse temperature may be: exp(scores) must stay a float32."""


@dataclass(frozen=True)
class Mixture:
    """Of what the answer at each step consists, B sequences of T steps: `softmax` [B, T] the share of the softmax over
    all items; `copied` [B, T, T] the share of the item of each step; `worth` [B, T, T] the share of a neighbour of the
    item of each step, for each count of it.
    """

    softmax: Tensor
    copied: Tensor | None
    worth: Tensor | None


@dataclass(frozen=True)
class Read:
    """What is read for a step ahead: `readouts` [B, T, D], and what is mixed with the softmax."""

    readouts: Tensor
    mixture: Mixture | None


@dataclass(frozen=True)
class Reading:
    """Sequences as a head has read them: `table` [rows, D] of all unit vectors, `items` [B, T], `bias` [B, T, T] see
    `Ranking.returning`, and what is read for the next step, then for those after it if they are asked for.
    """

    table: Tensor
    items: Tensor
    bias: Tensor | None
    steps: list[Read]


def separate(heads: Mapping[str, HeadParams]) -> list[str]:
    """The heads that answer by item vectors of their own, in the order in which these stand in the embedding, behind
    those that are read.
    """
    return [name for name, head in heads.items() if isinstance(head, RankingHead) and head.output == "separate"]


def counts_own(head: RankingHead) -> bool:
    """Whether the session's own items have a bias of their own, and their scores are counted apart."""
    return head.copy and head.loss in LIKELIHOODS and head.output == "tied"


class Ranking(Answer):
    """Which item: cosine scores against the item embedding, mixed with what need not be generated.

    p = (1 - g - h) softmax(scores) + g copy + h associations, the shares read off the same state. `copy` is an
    attention over the steps so far, as in pointer and copy networks (See et al. 2017; for sessions RepeatNet, Ren et
    al. 2019), which also knows how often and how early an item was seen, as the shares know how often this visitor went
    back (`models.sights`). With it the scores of the session's own items have a learned bias, by the same and by the
    steps since they were seen: in one shop visitors go back to what they just saw, in another no item is ever seen
    twice. `associations` are the neighbours of the last steps' items in other sessions (`models.associations`); what
    these leave unsaid falls to the softmax.

    A loss that is no likelihood (`bpr_max`, `bce`) says nothing of how far apart scores should be: then the softmax
    is of scores times `sharpness`, an inverse temperature fitted by likelihood (Platt 1999; temperature scaling, Guo
    et al. 2017). `bce` has an offset besides, for a score to be the log-odds of its item.

    With a horizon above 1, a decoder goes on from the readout, a step at a time, to the readouts of the items after
    the next one (encoder and decoder: Cho et al. 2014; every step of the horizon at once, no answer is fed back).
    """

    def __init__(
        self,
        units: int,
        max_length: int,
        spec: RankingHead,
        known: int,
        table: Table | None = None,
        rows: slice = slice(None),
    ) -> None:
        super().__init__()
        self.rows = rows
        self.pointer = CausalAttention(units, max_length) if spec.copy else None
        if spec.associations and table is None:
            raise TypeError("the spec asks for associations, and the sizes hold no table of them")
        self.associations = Associations(units, max_length, table) if spec.associations and table else None
        sources = spec.copy + spec.associations
        self.gate = nn.Linear(units, sources) if sources else None
        self.sharpness = None if spec.loss in LIKELIHOODS else nn.Parameter(torch.zeros(()))
        self.offset = nn.Parameter(torch.tensor(-math.log(known))) if spec.loss == "bce" else None
        self.returns = nn.Parameter(torch.zeros(max_length)) if counts_own(spec) else None
        self.familiar = nn.Parameter(torch.zeros(FEATURES)) if counts_own(spec) else None
        self.sight = nn.Linear(units, FEATURES) if spec.copy else None
        self.habit = nn.Linear(HABITS, sources, bias=False) if spec.copy else None
        for layer in (self.sight, self.habit):
            if layer is not None:
                for parameter in layer.parameters():
                    nn.init.zeros_(parameter)
        self.items, self.horizon = known - FIRST_ITEM, spec.horizon
        self.decoder = nn.GRUCell(units, units) if spec.horizon > 1 else None

    @classmethod
    def of(cls, head: Head, params: RankingHead, spec: Model, sizes: "Sizes") -> "Ranking":
        """The module of a head of this kind."""
        own = separate(spec.heads)
        rows = slice(None)
        if own:
            place = own.index(head.name) + 1 if head.name in own else 0
            rows = slice(place * sizes.known, (place + 1) * sizes.known if place < len(own) else None)
        return cls(spec.encoder.units, spec.budget.max_length, params, sizes.known, sizes.associations, rows)

    def outputs(self, name: str) -> list[str]:
        """Its name, and with a horizon the items of several steps."""
        return [name] if self.decoder is None else [name, several(name)]

    def read(self, encoded: Encoded, table: Tensor, *, ahead: bool) -> Reading:
        """As `Answer.read`; `ahead`: also what is asked of the steps after the next."""
        items, readouts = encoded.items, encoded.readouts
        reads, seen = [readouts], self.seen(items)
        if ahead:
            flat = readouts.reshape(-1, readouts.shape[-1])
            reads += [read.view(readouts.shape) for read in self.ahead(flat)]
        reads_ahead = [
            Read(read, self.mixture(read, encoded.states, items, seen, later=back > 0))
            for back, read in enumerate(reads)
        ]
        return Reading(table, items, self.returning(seen), reads_ahead)

    def ask(self, name: str, reading: Reading, row: Tensor, column: Tensor) -> dict[str, Tensor]:
        """Log-probabilities [N, K] of the next item, and with a horizon of one that is picked evenly from the next
        ones; index 0 and 1 are no items and have -1e9.
        """
        table = self.own(reading.table)
        steps = [self._item_at(reading, table, read, row, column) for read in reading.steps]
        if len(steps) == 1:
            return {name: steps[0]}
        mean = torch.stack([step.exp() for step in steps]).mean(0).clamp(min=1e-30).log()
        return {name: steps[0], several(name): torch.where(steps[0] > NEVER / 2, mean, steps[0])}

    def own(self, table: Tensor) -> Tensor:
        """Of the unit vectors of the whole embedding, those that this head answers by."""
        return table if self.rows == slice(None) else table[self.rows]

    def _item_at(self, reading: Reading, table: Tensor, read: Read, row: Tensor, column: Tensor) -> Tensor:
        """Log-probabilities [N, known] of the items at one of the steps ahead."""
        scores = self.scaled(self.query(read.readouts[row, column])) @ table.t()
        if reading.bias is not None:
            scores = scores.scatter_add(1, reading.items[row], reading.bias[row, column])
        if read.mixture is None:
            return self.log_probabilities(scores)
        added = self.added(read.mixture, reading.items, row, column)
        return self.log_probabilities(scores, read.mixture.softmax[row, column], *added)

    def query(self, readouts: Tensor) -> Tensor:
        """Readouts [..., D] to vectors [..., D] whose product with a normalised item embedding is the item's score."""
        return normalize(readouts, training=self.training) * TEMPERATURE

    def ahead(self, readouts: Tensor) -> list[Tensor]:
        """Readouts [n, D] to those of the items 2, 3 … steps ahead, up to the horizon, each [n, D]."""
        reads = [readouts]
        while self.decoder is not None and len(reads) < self.horizon:
            reads.append(self.decoder(readouts, reads[-1]))
        return reads[1:]

    def weighing(self) -> list[Tensor]:
        """What the parts of the answer are weighed by apart from what was read: a number each, or one by how many steps
        ago; their weights by readout stay out.
        """
        weights: list[Tensor] = [self.gate.bias] if self.gate is not None else []
        weights += [each for each in (self.returns, self.familiar) if each is not None]
        if self.pointer is not None and self.sight is not None and self.habit is not None:
            weights += [self.pointer.distance, self.sight.bias, self.habit.weight]
        if self.associations is not None:
            weights += [self.associations.attention.distance, self.associations.trust, self.associations.doubt]
        return weights

    def scaled(self, queries: Tensor) -> Tensor:
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
            neighbours, counts = self.associations.neighbours(items[row.unsqueeze(1), at.clamp(min=0)])
            named, shares = [*named, neighbours.flatten(1)], [*shares, (worth.unsqueeze(-1) * counts).flatten(1)]
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
