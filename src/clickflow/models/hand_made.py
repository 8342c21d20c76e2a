"""Hand-made features of a question (`clickflow.features`), beside what heads of few classes read of the steps."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clickflow import features
from clickflow.heads import named

if TYPE_CHECKING:
    from clickflow.params.models import Model

NAME = "hand_made"
"""Of their input, float32 [B, T, F], NaN where a value does not exist."""
LIMIT = 4.0
"""Standardised values are cut off there."""
LEVELS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 0.95)
"""Of the quantiles."""
QUANTILES_OF = 20_000
"""Rows of which they are, at most about."""
SPREAD = 1e-4
"""A feature that varies less says nothing."""


def read_by(spec: "Model", *, clock: bool = True) -> tuple[str, ...]:
    """The features that a network of these params reads of a log with a `clock` or without: none where no head of it
    would.
    """
    reads = spec.encoder.hand_made and any(named(name).kind in ("classes", "probability") for name in spec.heads)
    return features.names(spec.unit, clock=clock) if reads else ()


class HandMade(nn.Module):
    """F features to what is added to the logits of C classes: a linear reading, at first nothing.

    It reads the log of the size of each, standardised by the training part, a flag where it does not exist, and of each
    of a few quantiles of the training part whether it is above: so what rises and falls again is learned too.
    """

    mean: Tensor
    std: Tensor
    edges: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.register_buffer("edges", torch.zeros(len(LEVELS), features))
        self.score = nn.Linear((2 + len(LEVELS)) * features, classes, bias=False)
        nn.init.zeros_(self.score.weight)

    def learn_scale(self, values: Tensor) -> None:
        """Take mean and deviation of each feature from values [n, F] of the training part."""
        missing, logs = _logs(values)
        count = (~missing).sum(0).clamp(min=1)
        mean = logs.sum(0) / count
        spread = (((logs - mean) * ~missing).square().sum(0) / count).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(spread > SPREAD, spread, torch.full_like(spread, torch.inf)))
        levels = torch.tensor(LEVELS, dtype=values.dtype, device=values.device)
        few = values[:: max(1, len(values) // QUANTILES_OF)]
        self.edges.copy_(torch.nanquantile(few, levels, dim=0).nan_to_num())

    def scaled(self, values: Tensor) -> Tensor:
        """[..., F] to what is read linearly, [..., (2 + levels) F]."""
        missing, logs = _logs(values)
        there = (~missing).to(logs.dtype)
        size = ((logs - self.mean) / self.std).clamp(-LIMIT, LIMIT) * there
        # no arithmetic before the comparison: the exported graph finds the same side; NaN is above nothing
        above = [(values > edge).to(logs.dtype) for edge in self.edges]
        return torch.cat([size, 1 - there, *above], dim=-1)

    def forward(self, values: Tensor) -> Tensor:
        """[..., F] to [..., C]."""
        added: Tensor = self.score(self.scaled(values))
        return added


def _logs(values: Tensor) -> tuple[Tensor, Tensor]:
    """Where a value does not exist; sign(x) log(1 + |x|), 0 there."""
    missing = torch.isnan(values)
    there = torch.where(missing, torch.zeros_like(values), values)
    return missing, there.sign() * (1 + there.abs()).log()


def placed(values: Tensor, row: Tensor, column: Tensor, shape: torch.Size) -> Tensor:
    """Features [N, F] of questions about step `column` of sequence `row`, as an input [B, T, F]; 0 elsewhere."""
    empty = values.new_zeros((*shape, values.shape[-1]))
    return empty.index_put((row, column), values)
