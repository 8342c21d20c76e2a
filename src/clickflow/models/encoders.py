"""What reads a sequence: step features, a recurrent network, an attention readout over its states.

Shapes: B sequences, T steps (right-padded), D units. Every part is causal: what stands at step t depends on the steps
0 to t alone, so padding on the right changes nothing before it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from clickflow.params import Encoder as EncoderSpec

CLASSES = {"action": 16, "hour": 8, "weekday": 4, "category": 16}
"""Features that are classes, and the width of their embeddings."""
SECONDS = ("gap", "since_start")
"""Features that are durations in seconds, read as standardised log(1 + x)."""


class StepFeatures(nn.Module):
    """What is known of a step beside its item, as one vector.

    Classes are embedded; durations and prices are standardised on the log scale, a price of 0 means that there is
    none and has a flag of its own.
    """

    def __init__(
        self, names: tuple[str, ...], classes: Mapping[str, int], statistics: Mapping[str, tuple[float, float]]
    ) -> None:
        super().__init__()
        self.names = names
        self.classes = {name: classes[name] for name in CLASSES if name in names}
        self.embeddings = nn.ModuleDict(
            {name: nn.Embedding(classes[name], width) for name, width in CLASSES.items() if name in names}
        )
        for table in self.embeddings.parameters():
            nn.init.normal_(table, std=0.1)
        self.statistics = {name: statistics[name] for name in (*SECONDS, "price") if name in names}
        self.width = sum(CLASSES.get(name, 2 if name == "price" else 1) for name in names)

    def forward(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Raw features [B, T] to parts [B, T, width], in the order of `names`."""
        parts = []
        for name in self.names:
            value = inputs[name]
            if name in CLASSES:
                # a class that the training data did not have is read as class 0
                known = (value >= 0) & (value < self.classes[name])
                parts.append(self.embeddings[name](torch.where(known, value, torch.zeros_like(value))))
                continue
            mean, std = self.statistics[name]
            scaled = (torch.log1p(value.clamp(min=0)) - mean) / std
            if name == "price":
                priced = (value > 0).to(scaled.dtype)
                parts += [(scaled * priced).unsqueeze(-1), priced.unsqueeze(-1)]
            else:
                parts.append(scaled.unsqueeze(-1))
        return parts


class CausalAttention(nn.Module):
    """Weights over the steps 0 to t for every step t: a learned bilinear form of two states, and a bias by distance.

    The bilinear attention of Luong et al. 2015; the bias lets the last steps count more.
    """

    def __init__(self, units: int, max_length: int) -> None:
        super().__init__()
        self.query = nn.Linear(units, units, bias=False)
        self.distance = nn.Parameter(torch.zeros(max_length))
        self.scale = units**-0.5

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """[B, T, D], [B, T, D] to logits [B, T, T]; the last index is the step looked at, later steps have -1e9."""
        logits: Tensor = self.query(queries) @ keys.transpose(1, 2) * self.scale
        steps = torch.arange(queries.shape[1], device=queries.device)
        back = steps.unsqueeze(1) - steps.unsqueeze(0)
        logits = logits + self.distance[back.clamp(0, self.distance.shape[0] - 1)]
        return logits.masked_fill(back < 0, -1e9)


class Encoder(nn.Module):
    """GRU (Cho et al. 2014) or LSTM (Hochreiter & Schmidhuber 1997) over item embeddings and step features.

    With attention, each state is joined to a weighted mean of the states up to it (as in NARM, Li et al. 2017).
    """

    def __init__(self, spec: EncoderSpec, features: StepFeatures, max_length: int) -> None:
        super().__init__()
        self.features = features
        recurrent = {"gru": nn.GRU, "lstm": nn.LSTM}[spec.kind]
        self.recurrent = recurrent(
            spec.units + features.width,
            spec.units,
            num_layers=spec.layers,
            dropout=spec.dropout if spec.layers > 1 else 0.0,
            batch_first=True,
        )
        self.dropout = nn.Dropout(spec.dropout)
        self.attention = CausalAttention(spec.units, max_length) if spec.attention else None
        self.readout = nn.Linear((2 if spec.attention else 1) * spec.units, spec.units)

    def forward(self, items: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Item embeddings [B, T, D] and raw features [B, T] to states and what is read off them, both [B, T, D]."""
        steps = torch.cat([items, *self.features(inputs)], dim=-1)
        states, _ = self.recurrent(self.dropout(steps))
        states = self.dropout(states)
        read = states
        if self.attention is not None:
            weights = self.attention(states, states).softmax(-1)
            read = torch.cat([states, weights @ states], dim=-1)
        return states, self.readout(read)
