"""The encoder of a sequence: step features, a backbone (`backbones`), an attention readout over its states.

Shapes: B sequences, T steps (right-padded), D units. Every part is causal: what stands at step t depends on the steps
0 to t alone, so padding on the right changes nothing before it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from clickflow.models.attention import AdditiveAttention, CausalAttention, SelfAttention
from clickflow.models.backbones import backbone, heads
from clickflow.params.models import Encoder as EncoderSpec
from clickflow.sequences.features import FEATURES


class StepFeatures(nn.Module):
    """What is known of a step beside its item, as one vector.

    `sequences.features.FEATURES` says of each whether it is a class, which is embedded, or a number, which is
    standardised on the log scale; 0 of an optional number means that there is none and has a flag of its own.
    """

    def __init__(
        self, names: tuple[str, ...], classes: Mapping[str, int], statistics: Mapping[str, tuple[float, float]]
    ) -> None:
        super().__init__()
        self.names = names
        # embeddings are drawn in the order of the table, whatever that of the names
        named = {name: feature for name, feature in FEATURES.items() if name in names}
        self.classes = {name: classes[name] for name, feature in named.items() if feature.kind == "class"}
        self.embeddings = nn.ModuleDict(
            {name: nn.Embedding(number, named[name].width) for name, number in self.classes.items()}
        )
        for table in self.embeddings.parameters():
            nn.init.normal_(table, std=0.1)
        self.statistics = {name: statistics[name] for name, feature in named.items() if feature.kind == "number"}
        self.width = sum(feature.width or 1 + feature.optional for feature in named.values())

    def forward(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Raw features [B, T] to parts [B, T, width], in the order of `names`."""
        parts = []
        for name in self.names:
            value = inputs[name]
            if name in self.classes:
                # a class that the training data did not have is read as class 0
                known = (value >= 0) & (value < self.classes[name])
                parts.append(self.embeddings[name](torch.where(known, value, torch.zeros_like(value))))
                continue
            mean, std = self.statistics[name]
            scaled = (_log1p(value.clamp(min=0)) - mean) / std
            if FEATURES[name].optional:
                there = (value > 0).to(scaled.dtype)
                parts += [(scaled * there).unsqueeze(-1), there.unsqueeze(-1)]
            else:
                parts.append(scaled.unsqueeze(-1))
        return parts


def _log1p(value: Tensor) -> Tensor:
    """log(1 + x) of x >= 0 to the last digits, in operations that ONNX has too: of log1p it makes log(1 + x), which
    knows a gap of a microsecond to one digit (the correction is Kahan's, as in Goldberg 1991, theorem 4).
    """
    one_more = 1 + value
    rounded = one_more - 1
    exact = one_more.log() * (value / torch.where(rounded == 0, torch.ones_like(rounded), rounded))
    return torch.where(rounded == 0, value, exact)


def read_by(spec: EncoderSpec, max_length: int) -> nn.Module | None:
    """The attention that reads the states so far, beside the last one: [B, T, D] to [B, T, D]; None for none."""
    if spec.attention == "self":
        return SelfAttention(spec.units, heads(spec), max_length, relative=True)
    kinds = {"bilinear": CausalAttention, "additive": AdditiveAttention}
    return kinds[spec.attention](spec.units, max_length) if spec.attention in kinds else None


class Encoder(nn.Module):
    """Item vectors and step features to states, by `encoder.kind`, and to readouts.

    With attention, each state is joined to what an attention reads of the states up to it (as in NARM, Li et al. 2017).
    """

    def __init__(self, spec: EncoderSpec, features: StepFeatures, max_length: int) -> None:
        super().__init__()
        self.features = features
        # of every kind; the name is that of the first ones, and stands in their files of weights
        self.recurrent = backbone(spec, spec.units + features.width, max_length)
        self.dropout = nn.Dropout(spec.dropout)
        self.attention = read_by(spec, max_length)
        self.readout = nn.Linear((1 if self.attention is None else 2) * spec.units, spec.units)

    def forward(self, items: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Item vectors [B, T, D] and raw features [B, T] to states and what is read off them, both [B, T, D]."""
        steps = torch.cat([items, *self.features(inputs)], dim=-1)
        output = self.recurrent(self.dropout(steps))
        states = self.dropout(output[0] if isinstance(output, tuple) else output)
        read = states
        if self.attention is not None:
            read = torch.cat([states, attended(self.attention, states)], dim=-1)
        return states, self.readout(read)


def attended(attention: nn.Module, states: Tensor) -> Tensor:
    """What `attention` makes of the states so far, [B, T, D]: itself, or their mean by its weights."""
    if isinstance(attention, SelfAttention):
        context: Tensor = attention(states)
        return context
    weights: Tensor = attention(states, states).softmax(-1)
    return weights @ states
