"""From the steps of a sequence to hidden states: one module per kind of encoder, all with the same interface.

`backbone(spec, width, max_length)` makes one; it reads steps [B, T, width] and gives states [B, T, D], of which the
state at t depends on the steps 0 to t alone (torch's own recurrent networks give the last state beside). B sequences,
T steps, D units.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from clickflow.models.attention import CausalAttention, SelfAttention
from clickflow.params.models import Encoder as EncoderSpec

WIDER = 4
"""The Transformer's inner layer is so many times wider than its states."""


def recurrent(spec: EncoderSpec, width: int, _: int) -> nn.Module:
    """torch's own: tanh (Elman 1990), GRU (Cho et al. 2014) and LSTM (Hochreiter & Schmidhuber 1997), stacked."""
    kinds: dict[str, Callable[..., nn.Module]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
    dropout = spec.dropout if spec.layers > 1 else 0.0
    return kinds[spec.kind](width, spec.units, num_layers=spec.layers, dropout=dropout, batch_first=True)


def scan(keep: Tensor, add: Tensor, reach: int) -> Tensor:
    """h_t = keep_t h_(t-1) + add_t from h_(-1) = 0, all [B, T, D], in log2(reach) steps over all t at once.

    Two neighbouring steps are one step with (keep_2 keep_1, keep_2 add_1 + add_2): each round joins every step with
    the one that lies a power of two before it (Hillis & Steele 1986; Martin & Cundy 2018). `reach` >= T.
    """
    steps, back = add.shape[1], 1
    while back < reach:
        # a pad in front and a cut behind: right for every T, also one that is shorter than the shift
        before = functional.pad(add, (0, 0, back, 0))[:, :steps]
        add = keep * before + add
        if 2 * back < reach:
            keep = keep * functional.pad(keep, (0, 0, back, 0))[:, :steps]
        back *= 2
    return add


class MinGru(nn.Module):
    """h_t = (1 - z_t) h_(t-1) + z_t c_t, where gate z and candidate c depend on the step alone (Feng et al. 2024).

    Without the state in its gates it needs no loop over the steps. It stands in a residual block behind a norm, with an
    output gate as in the gated linear recurrences that language models use (De et al. 2024).
    """

    def __init__(self, units: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(units)
        self.parts = nn.Linear(units, 3 * units)
        self.out = nn.Linear(units, units)
        self.dropout = nn.Dropout(dropout)
        self.max_length = max_length

    def forward(self, steps: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        # in float32 whatever the products are in: many factors near 1 lose their way in bfloat16
        gate, candidate, output = self.parts(self.norm(steps)).float().chunk(3, dim=-1)
        # the graph that is exported must hold for every length
        reach = self.max_length if torch.onnx.is_in_onnx_export() else steps.shape[1]
        states = scan(torch.sigmoid(-gate), torch.sigmoid(gate) * candidate, reach)
        added: Tensor = self.dropout(self.out(states * functional.silu(output)))
        return steps + added


class Block(nn.Module):
    """A layer of a Transformer: self attention, then two linear layers with GELU; each behind a norm, each residual.

    The norm stands before (Xiong et al. 2020), which trains without a long warm-up.
    """

    def __init__(self, units: int, heads: int, dropout: float, max_length: int, *, relative: bool) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(units), nn.LayerNorm(units)
        self.attention = SelfAttention(units, heads, max_length, relative=relative)
        self.wide, self.narrow = nn.Linear(units, WIDER * units), nn.Linear(WIDER * units, units)
        self.dropout = nn.Dropout(dropout)

    def forward(self, steps: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        steps = steps + self.dropout(self.attention(self.first(steps)))
        inner = self.dropout(functional.gelu(self.wide(self.second(steps))))
        added: Tensor = self.dropout(self.narrow(inner))
        return steps + added


class Stack(nn.Module):
    """Steps projected to D units, residual layers over them, a norm at the end; with `positions` a vector a place."""

    def __init__(self, width: int, units: int, layers: list[nn.Module], positions: int | None) -> None:
        super().__init__()
        self.project = nn.Linear(width, units)
        self.positions = nn.Embedding(positions, units) if positions else None
        if self.positions is not None:
            nn.init.normal_(self.positions.weight, std=0.1)
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(units)

    def forward(self, steps: Tensor) -> Tensor:
        """[B, T, width] to [B, T, D]."""
        states: Tensor = self.project(steps)
        if self.positions is not None:
            place = torch.arange(states.shape[1], device=states.device)
            states = states + self.positions(place.clamp(max=self.positions.num_embeddings - 1))
        for layer in self.layers:
            states = layer(states)
        normed: Tensor = self.norm(states)
        return normed


class OverItems(nn.Module):
    """A state is the step's vector and the mean of those so far, weighted by one bilinear attention: no layers.

    The lightest there is, after STAMP (Liu et al. 2018) and CORE (Hou et al. 2022), whose states stay sums of item
    vectors. Step features, where there are any, are mixed in by a linear layer first.
    """

    def __init__(self, width: int, units: int, max_length: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, units) if width != units else None
        self.attention = CausalAttention(units, max_length)

    def forward(self, steps: Tensor) -> Tensor:
        """[B, T, width] to [B, T, D]."""
        if self.project is not None:
            steps = self.project(steps)
        weights: Tensor = self.attention(steps, steps).softmax(-1)
        return steps + weights @ steps


def mingru(spec: EncoderSpec, width: int, max_length: int) -> nn.Module:
    """Stacked minGRU."""
    layers: list[nn.Module] = [MinGru(spec.units, spec.dropout, max_length) for _ in range(spec.layers)]
    return Stack(width, spec.units, layers, None)


def transformer(spec: EncoderSpec, width: int, max_length: int) -> nn.Module:
    """A causal Transformer, for sessions as SASRec (Kang & McAuley 2018)."""
    relative = spec.positions != "learned"
    layers: list[nn.Module] = [
        Block(spec.units, heads(spec), spec.dropout, max_length, relative=relative) for _ in range(spec.layers)
    ]
    return Stack(width, spec.units, layers, None if relative else max_length)


def over_items(spec: EncoderSpec, width: int, max_length: int) -> nn.Module:
    """One attention, nothing else."""
    return OverItems(width, spec.units, max_length)


def heads(spec: EncoderSpec) -> int:
    """Of self attention; if not given, two where they divide the units."""
    return spec.attention_heads or (1 if spec.units % 2 else 2)


BODIES: dict[str, Callable[[EncoderSpec, int, int], nn.Module]] = {
    "rnn": recurrent,
    "gru": recurrent,
    "lstm": recurrent,
    "mingru": mingru,
    "transformer": transformer,
    "attention": over_items,
}
"""By `encoder.kind`: what makes the backbone from the spec, the width of a step, and the longest sequence."""


def backbone(spec: EncoderSpec, width: int, max_length: int) -> nn.Module:
    """The backbone that `spec.kind` names."""
    return BODIES[spec.kind](spec, width, max_length)
