"""A whole model: item embedding, encoder and heads, built from its spec."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from clickflow.models.associations import Table
from clickflow.models.encoders import Encoder, StepFeatures
from clickflow.models.heads import NEVER, Mixture, NextAction, NextItem
from clickflow.models.item_features import Codes, ItemFeatures
from clickflow.models.normalize import unit
from clickflow.params.models import Model, RankingHead
from clickflow.sequences.features import class_sizes


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the data says about a model's size.

    `known`: item indexes below are the model's items (0 padding, 1 unknown); `actions`: the event types in the order
    of their codes, without exit; `categories`: number of category indexes; `statistics`: mean and standard deviation
    of log(1 + x) of each feature that is a number, in the training part; `item_codes`: see `item_features.codes`,
    needed where the spec asks for item features; `associations`: needed where the spec asks for them.
    """

    known: int
    actions: tuple[str, ...]
    categories: int
    statistics: Mapping[str, tuple[float, float]]
    item_codes: Codes | None = field(default=None, compare=False)
    associations: Table | None = field(default=None, compare=False)


class Network(nn.Module):
    """Raw sequences in, log-probabilities out.

    Attributes: `spec`, `sizes`, `inputs` (the names of the tensors that `forward` reads), `items` (the item embedding,
    of which only the direction counts: [known, D] where items are read and answered by the same vectors, [2 known, D]
    where those of the answers are separate and stand behind), `outputs` (the row where they begin), `features` (of
    items), `encoder`, `next_item` and `next_action` (None where the model has no such head).
    """

    def __init__(self, spec: Model, sizes: Sizes) -> None:
        super().__init__()
        self.spec, self.sizes = spec, sizes
        units, longest = spec.encoder.units, spec.budget.max_length
        features = tuple(spec.encoder.features)
        self.inputs = ("item", *features)
        item, action = cast("RankingHead | None", spec.heads.get("next_item")), spec.heads.get("next_action")
        self.outputs = sizes.known if item and item.output == "separate" else 0
        self.items = nn.Parameter(torch.randn(self.outputs + sizes.known, units) * units**-0.5)
        classes = class_sizes(actions=len(sizes.actions), categories=sizes.categories)
        self.encoder = Encoder(spec.encoder, StepFeatures(features, classes, sizes.statistics), longest)
        self.next_item = NextItem(units, longest, item, sizes.known, sizes.associations) if item else None
        recent = "action" in features
        self.next_action = NextAction(units, len(sizes.actions) + 1, recent=recent) if action else None
        self.features: ItemFeatures | None = None
        if spec.encoder.item_features:
            if sizes.item_codes is None:
                raise TypeError("the spec asks for item features, and the sizes hold no codes of items")
            codes = sizes.item_codes
            self.features = ItemFeatures(codes, int(codes.max(initial=0)) + 1, units)

    def directions(self, rows: Tensor, which: Tensor | None = None) -> Tensor:
        """Embedding rows [n, D] as unit vectors: the scale of an item's embedding carries no meaning.

        `which` [n]: where in the embedding they stand, for what is known of their items to be joined; None: all rows.
        """
        if self.features is not None:
            place = torch.arange(len(self.items), device=rows.device) if which is None else which
            rows = rows + self.features(place % self.sizes.known)
        return unit(rows, training=self.training)

    def encode(self, vectors: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Unit item vectors [B, T, D] and raw features [B, T] to states and readouts, both [B, T, D]."""
        # unit vectors have entries of about 1 / sqrt(D); a recurrent network wants them near 1
        states, readouts = self.encoder(vectors * vectors.shape[-1] ** 0.5, inputs)
        return states, readouts

    @property
    def answers(self) -> list[str]:
        """The names of what `forward` answers, in order."""
        item = self.next_item
        there = {"next_item": item, "next_items": item and item.decoder, "next_action": self.next_action}
        return [name for name, head in there.items() if head is not None]

    def forward(self, inputs: Mapping[str, Tensor], row: Tensor, column: Tensor) -> dict[str, Tensor]:
        """Answer questions: given the steps 0 to column[k] of sequence row[k], what comes next.

        `inputs`: the tensors named in `self.inputs`, [B, T], right-padded with 0, of the types that
        `sequences.features.FEATURES` gives; an optional number that is missing is 0. Item indexes from `known` on are
        read as unknown. `row`, `column`: int64 [N].
        Returns `next_item` [N, known] and `next_action` [N, actions + 1] (the last is exit), log-probabilities, as
        the model has heads; with a horizon above 1 also `next_items` [N, known], which item stands at a step picked
        evenly from the next ones up to the horizon. Index 0 and 1 are no items and have -1e9.
        """
        return self.ask(self.read(inputs, self.ready(), ahead=True), row, column)

    def ready(self) -> Tensor:
        """What `read` needs of all items: their directions."""
        return self.directions(self.items)

    def read(self, inputs: Mapping[str, Tensor], table: Tensor, *, ahead: bool = False) -> "Reading":
        """What `ask` needs of sequences; `table` is what `ready` gave, `ahead` also what `next_items` needs."""
        items = inputs["item"]
        items = torch.where(items < self.sizes.known, items, torch.ones_like(items))
        states, readouts = self.encode(table[items], inputs)
        head, reads = self.next_item, [readouts]
        seen = head.seen(items) if head else None
        if head is not None and ahead:
            flat = readouts.reshape(-1, readouts.shape[-1])
            reads += [read.view(readouts.shape) for read in head.ahead(flat)]
        found = [
            Read(read, head.mixture(read, states, items, seen, later=ahead > 0) if head else None)
            for ahead, read in enumerate(reads)
        ]
        bias = head.returning(seen) if head else None
        beside = self.next_action.beside(inputs["action"]) if self.next_action and "action" in inputs else None
        return Reading(table[self.outputs :] if self.outputs else table, items, bias, beside, found)

    def ask(self, reading: "Reading", row: Tensor, column: Tensor) -> dict[str, Tensor]:
        """The answers of `forward` to some of the questions about what was read."""
        answers = {}
        if self.next_item is not None:
            steps = [self._item_at(self.next_item, reading, read, row, column) for read in reading.steps]
            answers["next_item"] = steps[0]
            if len(steps) > 1:
                mean = torch.stack([step.exp() for step in steps]).mean(0).clamp(min=1e-30).log()
                answers["next_items"] = torch.where(steps[0] > NEVER / 2, mean, steps[0])
        if self.next_action is not None:
            logits = self.next_action(reading.steps[0].readouts[row, column])
            if reading.beside is not None:
                logits = logits + reading.beside[row, column]
            answers["next_action"] = logits.log_softmax(-1)
        return answers

    def _item_at(self, head: NextItem, reading: "Reading", read: "Read", row: Tensor, column: Tensor) -> Tensor:
        """Log-probabilities [N, known] of the items at one of the steps ahead."""
        scores = head.sharpened(head.query(read.readouts[row, column])) @ reading.table.t()
        if reading.bias is not None:
            scores = scores.scatter_add(1, reading.items[row], reading.bias[row, column])
        if read.mixture is None:
            return head.log_probabilities(scores)
        added = head.added(read.mixture, reading.items, row, column)
        return head.log_probabilities(scores, read.mixture.softmax[row, column], *added)


@dataclass(frozen=True)
class Read:
    """What is read for a step ahead: `readouts` [B, T, D], and what is mixed with the softmax."""

    readouts: Tensor
    mixture: Mixture | None


@dataclass(frozen=True)
class Reading:
    """Sequences as a network has read them: `table` [known, D] of the answers' unit vectors, `items` [B, T], `bias`
    [B, T, T] see `NextItem.returning`, `beside` [B, T, actions] see `NextAction.beside`, and what is read for the next
    step, then for those after it if they are asked for.
    """

    table: Tensor
    items: Tensor
    bias: Tensor | None
    beside: Tensor | None
    steps: list[Read]
