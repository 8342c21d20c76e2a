"""Several networks that answer together: the mean of their probabilities.

Networks that differ by their seed, or by the kind of their encoder, are wrong about different things.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from clickflow.heads import named
from clickflow.models.answers.answer import Answer
from clickflow.models.network import Network
from clickflow.models.sizes import Sizes
from clickflow.params.models import Distillation, Model


class Ensemble(nn.Module):
    """Answers as a `Network` does, from its `members`, which read the same inputs and have the same heads."""

    def __init__(self, spec: Model, sizes: Sizes, members: Sequence[Network]) -> None:
        super().__init__()
        self.spec, self.sizes = spec, sizes
        self.members = nn.ModuleList(members)

    @property
    def networks(self) -> list[Network]:
        """The members."""
        return [member for member in self.members if isinstance(member, Network)]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the tensors that `forward` reads."""
        return self.networks[0].inputs

    @property
    def answers(self) -> list[str]:
        """The names of what `forward` answers, in order."""
        return self.networks[0].answers

    @property
    def heads(self) -> dict[str, Answer]:
        """The heads of the first member, by name."""
        return self.networks[0].heads

    def forward(
        self, inputs: Mapping[str, Tensor], row: Tensor, column: Tensor, features: Tensor | None = None
    ) -> dict[str, Tensor]:
        """As `Network.forward`."""
        return self._mean([member(inputs, row, column, features) for member in self.members])

    def ready(self) -> list[Tensor]:
        """As `Network.ready`, of each member."""
        return [member.ready() for member in self.networks]

    def read(self, inputs: Mapping[str, Tensor], tables: list[Tensor]) -> list[dict[str, Any]]:
        """As `Network.read`, of each member."""
        return [member.read(inputs, table) for member, table in zip(self.networks, tables, strict=True)]

    def ask(self, readings: list[dict[str, Any]], row: Tensor, column: Tensor) -> dict[str, Tensor]:
        """As `Network.ask`."""
        pairs = zip(self.networks, readings, strict=True)
        return self._mean([member.ask(reading, row, column) for member, reading in pairs])

    def _mean(self, answers: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The log of the mean of probabilities that are given as logs; of amounts their mean."""
        amounts = {name for name in self.spec.heads if named(name).kind == "amount"}
        every = {name: torch.stack([each[name] for each in answers]) for name in answers[0]}
        return {
            name: stacked.mean(0) if name in amounts else stacked.logsumexp(0) - math.log(len(answers))
            for name, stacked in every.items()
        }


def members(spec: Model) -> list[Model]:
    """The specs of the networks that `spec` asks for: itself, or one for each of its `ensemble`."""
    if not spec.ensemble:
        return [spec]
    return [replace(spec, encoder=replace(spec.encoder, kind=kind), ensemble=()) for kind in spec.ensemble]


def teacher(spec: Model) -> Model | None:
    """The spec of the ensemble that teaches the network of `spec`, of the same heads; None where none does."""
    taught = spec.distillation
    if not taught.teacher:
        return None
    encoder = replace(spec.encoder, units=taught.units or spec.encoder.units)
    return replace(spec, encoder=encoder, ensemble=taught.teacher, distillation=Distillation())


def build(spec: Model, sizes: Sizes) -> Network | Ensemble:
    """A fresh network, or several; their first weights follow from torch's random state."""
    if not spec.ensemble:
        return Network(spec, sizes)
    return Ensemble(spec, sizes, [Network(member, sizes) for member in members(spec)])


def parameters(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in network.parameters())
