"""A whole model: item embedding, encoder and heads, built from its spec."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from clickflow.models import hand_made
from clickflow.models.answers import modules
from clickflow.models.answers.answer import Answer, Encoded
from clickflow.models.answers.ranking import separate
from clickflow.models.encoders import Encoder, StepFeatures
from clickflow.models.item_features import ItemFeatures
from clickflow.models.normalize import normalize
from clickflow.models.sizes import Sizes
from clickflow.params.models import Model
from clickflow.sequences.features import class_sizes
from clickflow.system.errors import UsageError


class Network(nn.Module):
    """Raw sequences in, log-probabilities out.

    Attributes: `spec`, `sizes`, `inputs` (the names of the tensors that `forward` reads), `items` (the item embedding,
    of which only the direction counts: [known, D] where items are read and answered by the same vectors; those of heads
    whose output is separate stand behind, [known, D] each), `features` (of items), `encoder`, and each head as a module
    by its name, `heads` all of them.
    """

    def __init__(self, spec: Model, sizes: Sizes) -> None:
        super().__init__()
        self.spec, self.sizes = spec, sizes
        units, longest = spec.encoder.units, spec.budget.max_length
        features = tuple(spec.encoder.features)
        self.inputs = ("item", *features)
        rows = (1 + len(separate(spec.heads))) * sizes.known
        self.items = nn.Parameter(torch.randn(rows, units) * units**-0.5)
        classes = class_sizes(actions=len(sizes.actions), categories=sizes.categories)
        self.encoder = Encoder(spec.encoder, StepFeatures(features, classes, sizes.statistics), longest)
        self.features: ItemFeatures | None = None
        for name, head in modules(spec, sizes).items():
            if hasattr(self, name):
                raise UsageError(f"no head can be called {name!r}: so is a part of every network")
            self.add_module(name, head)
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
        return normalize(rows, training=self.training)

    def encode(self, vectors: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Unit item vectors [B, T, D] and raw features [B, T] to states and readouts, both [B, T, D]."""
        # unit vectors have entries of about 1 / sqrt(D); a recurrent network wants them near 1
        states, readouts = self.encoder(vectors * vectors.shape[-1] ** 0.5, inputs)
        return states, readouts

    @property
    def heads(self) -> dict[str, Answer]:
        """The heads by name, in the order of their answers."""
        return {name: cast("Answer", self.get_submodule(name)) for name in self.spec.heads}

    @property
    def answers(self) -> list[str]:
        """The names of what `forward` answers, in order."""
        return [output for name, head in self.heads.items() for output in head.outputs(name)]

    def forward(
        self, inputs: Mapping[str, Tensor], row: Tensor, column: Tensor, features: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Answer questions: given the steps 0 to column[k] of sequence row[k], what comes next.

        `inputs`: the tensors named in `self.inputs`, [B, T], right-padded with 0, of the types that
        `sequences.features.FEATURES` gives; an optional number that is missing is 0. Item indexes from `known` on are
        read as unknown. `row`, `column`: int64 [N]. `features` float32 [N, F]: of each question, where
        the network reads hand-made features.
        Returns log-probabilities by the names of `answers`: of a head of kind ranking [N, known] (index 0 and 1 are no
        items and have -1e9), with a horizon above 1 a second one, which item stands at a step picked evenly from the
        next ones up to the horizon; of kind classes [N, classes].
        """
        if features is not None:
            inputs = {**inputs, hand_made.NAME: hand_made.placed(features, row, column, inputs["item"].shape)}
        return self.ask(self.read(inputs, self.ready(), ahead=True), row, column)

    def ready(self) -> Tensor:
        """What `read` needs of all items: their directions."""
        return self.directions(self.items)

    def read(self, inputs: Mapping[str, Tensor], table: Tensor, *, ahead: bool = False) -> dict[str, Any]:
        """What `ask` needs of sequences, by head; `table` is what `ready` gave, `ahead`: what every output needs."""
        items = inputs["item"]
        items = torch.where(items < self.sizes.known, items, torch.ones_like(items))
        encoded = Encoded(inputs, items, *self.encode(table[items], inputs))
        return {name: head.read(encoded, table, ahead=ahead) for name, head in self.heads.items()}

    def ask(self, reading: Mapping[str, Any], row: Tensor, column: Tensor) -> dict[str, Tensor]:
        """The answers of `forward` to some of the questions about what was read."""
        answers: dict[str, Tensor] = {}
        for name, head in self.heads.items():
            answers |= head.ask(name, reading[name], row, column)
        return answers
