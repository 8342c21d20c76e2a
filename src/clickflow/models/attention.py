"""Attention over the steps so far: for step t, over the steps 0 to t alone.

Shapes: B sequences, T steps, D units, H heads. Every form adds a learned bias by distance, so that the last steps can
count more, and gives later steps -1e9.
"""

import torch
from torch import Tensor, nn

NEVER = -1e9
"""The logit of a step that may not be looked at."""


def distances(steps: int, device: torch.device) -> Tensor:
    """How far step s lies before step t, [T, T]; negative where it comes later."""
    step = torch.arange(steps, device=device)
    return step.unsqueeze(1) - step.unsqueeze(0)


class CausalAttention(nn.Module):
    """Weights over the steps 0 to t for every step t: a learned bilinear form of two states, and a bias by distance.

    The bilinear attention of Luong et al. 2015. With `reach` only that many steps are looked at, t among them.
    """

    def __init__(self, units: int, max_length: int, reach: int | None = None) -> None:
        super().__init__()
        self.query = nn.Linear(units, units, bias=False)
        self.distance = nn.Parameter(torch.zeros(max_length if reach is None else min(reach, max_length)))
        self.scale, self.reach = units**-0.5, reach

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """[B, T, D], [B, T, D] to logits [B, T, T]; the last index is the step looked at, later steps have -1e9."""
        logits: Tensor = self.query(queries) @ keys.transpose(1, 2) * self.scale
        back = distances(queries.shape[1], queries.device)
        logits = logits + self.distance[back.clamp(0, self.distance.shape[0] - 1)]
        away = back < 0 if self.reach is None else (back < 0) | (back >= self.reach)
        return logits.masked_fill(away, NEVER)


class AdditiveAttention(nn.Module):
    """v . tanh(A query + B key), and a bias by distance: Bahdanau et al. 2015, for sessions NARM (Li et al. 2017).

    It holds B x T x T x D numbers at once, where the bilinear form holds B x T x T.
    """

    def __init__(self, units: int, max_length: int) -> None:
        super().__init__()
        self.query = nn.Linear(units, units, bias=False)
        self.key = nn.Linear(units, units)
        self.score = nn.Linear(units, 1, bias=False)
        self.distance = nn.Parameter(torch.zeros(max_length))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """As `CausalAttention`."""
        joined = self.query(queries).unsqueeze(2) + self.key(keys).unsqueeze(1)
        logits: Tensor = self.score(torch.tanh(joined)).squeeze(-1)
        back = distances(queries.shape[1], queries.device)
        logits = logits + self.distance[back.clamp(0, self.distance.shape[0] - 1)]
        return logits.masked_fill(back < 0, NEVER)


class SelfAttention(nn.Module):
    """Multi-head attention of the steps to those before (Vaswani et al. 2017).

    With `relative`, each head has a bias by distance (Raffel et al. 2020, one number a distance); without, the order
    must stand in the steps themselves.
    """

    def __init__(self, units: int, heads: int, max_length: int, *, relative: bool) -> None:
        super().__init__()
        self.heads, self.scale = heads, (units // heads) ** -0.5
        self.project = nn.Linear(units, 3 * units)
        self.out = nn.Linear(units, units)
        self.distance = nn.Parameter(torch.zeros(heads, max_length)) if relative else None

    def forward(self, steps: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        rows, length, units = steps.shape
        parts = self.project(steps).view(rows, length, 3, self.heads, units // self.heads).permute(2, 0, 3, 1, 4)
        queries, keys, values = parts[0], parts[1], parts[2]
        logits = queries @ keys.transpose(-1, -2) * self.scale
        back = distances(length, steps.device)
        if self.distance is not None:
            logits = logits + self.distance[:, back.clamp(0, self.distance.shape[1] - 1)]
        weights = logits.masked_fill(back < 0, NEVER).softmax(-1)
        joined: Tensor = self.out((weights @ values).transpose(1, 2).reshape(rows, length, units))
        return joined
