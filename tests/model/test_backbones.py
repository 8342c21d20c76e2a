"""What carries steps into states, held against torch's own layers and against formulas written out."""

import pytest
import torch
from small_models import MAX_LENGTH, spec
from torch import Tensor, nn

from clickflow.models.attention import AdditiveAttention, SelfAttention
from clickflow.models.backbones import Block, MinGru, OverItems, Stack, backbone, heads, scan

B, T, D = 3, 7, 12


def steps(width: int = D, seed: int = 0) -> Tensor:
    return torch.randn(B, T, width, generator=torch.Generator().manual_seed(seed))


def shaken(module: nn.Module) -> nn.Module:
    """No weight of it is 0 or 1, so that each has a say."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return module.eval()


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_recurrent_networks_are_torchs_with_dropout_between_layers(kind: str) -> None:
    one, two = backbone(spec(kind).encoder, 15, 8), backbone(spec(kind, 2).encoder, 15, 8)
    assert isinstance(two, {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[kind])
    assert (two.num_layers, two.dropout, two.input_size, two.hidden_size) == (2, 0.2, 15, 12)  # type: ignore[comparison-overlap]
    assert one.dropout == 0.0


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 13])
def test_the_scan_is_the_recurrence_step_by_step(length: int) -> None:
    draw = torch.Generator().manual_seed(length)
    keep, add = torch.rand(2, B, length, D, generator=draw, dtype=torch.float64).unbind(0)
    state, expected = torch.zeros(B, D, dtype=torch.float64), []
    for t in range(length):
        state = keep[:, t] * state + add[:, t]
        expected.append(state)
    for reach in (length, length + 1, 64):
        torch.testing.assert_close(scan(keep, add, reach), torch.stack(expected, 1))


def test_the_scan_has_the_recurrences_gradient() -> None:
    draw = torch.Generator().manual_seed(0)
    keep, add = (torch.rand(1, 5, 2, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda k, a: scan(k, a, 5), (keep, add))


def test_mingru_is_its_formula() -> None:
    layer = MinGru(D, 0.0, MAX_LENGTH)
    shaken(layer)
    given = steps()
    gate, candidate, output = layer.parts(layer.norm(given)).chunk(3, -1)
    state, states = torch.zeros(B, D), layer(given)
    for t in range(T):
        z = torch.sigmoid(gate[:, t])
        state = (1 - z) * state + z * candidate[:, t]
        expected = given[:, t] + layer.out(state * output[:, t] * torch.sigmoid(output[:, t]))
        torch.testing.assert_close(states[:, t], expected)


@pytest.mark.parametrize("relative", [True, False])
def test_a_block_of_the_transformer_is_torchs_layer(relative: bool) -> None:
    block = Block(D, 3, 0.3, MAX_LENGTH, relative=relative)
    shaken(block)
    torchs = nn.TransformerEncoderLayer(D, 3, 4 * D, dropout=0.3, activation="gelu", batch_first=True, norm_first=True)
    attention = block.attention
    torchs.load_state_dict(
        {
            "self_attn.in_proj_weight": attention.project.weight,
            "self_attn.in_proj_bias": attention.project.bias,
            "self_attn.out_proj.weight": attention.out.weight,
            "self_attn.out_proj.bias": attention.out.bias,
            "linear1.weight": block.wide.weight,
            "linear1.bias": block.wide.bias,
            "linear2.weight": block.narrow.weight,
            "linear2.bias": block.narrow.bias,
            **{f"norm1.{name}": value for name, value in block.first.state_dict().items()},
            **{f"norm2.{name}": value for name, value in block.second.state_dict().items()},
        }
    )
    back = torch.arange(T).unsqueeze(1) - torch.arange(T)
    mask = torch.where(back < 0, -torch.inf, 0.0).expand(B * 3, T, T)
    if attention.distance is not None:
        mask = mask + attention.distance[:, back.clamp(min=0)].repeat(B, 1, 1)
    torch.testing.assert_close(block(steps()), torchs.eval()(steps(), src_mask=mask), atol=1e-5, rtol=1e-5)


def test_learned_positions_are_added_once_and_relative_ones_are_not() -> None:
    learned = backbone(spec("transformer", positions="learned").encoder, 15, MAX_LENGTH)
    relative = backbone(spec("transformer").encoder, 15, MAX_LENGTH)
    assert isinstance(learned, Stack)
    assert isinstance(relative, Stack)
    assert relative.positions is None
    assert learned.positions is not None
    assert learned.positions.weight.shape == (MAX_LENGTH, D)
    assert "layers.0.attention.distance" in relative.state_dict()
    assert "layers.0.attention.distance" not in learned.state_dict()
    shaken(learned)
    given = steps(15)
    states = learned.project(given) + learned.positions.weight[:T]
    torch.testing.assert_close(learned(given), learned.norm(learned.layers[0](states)))


def test_order_matters_to_a_transformer_by_its_positions_alone() -> None:
    """The last state, of a sequence whose first two steps have changed places."""
    turned = steps(15)[:, [1, 0, *range(2, T)]]
    for positions in ("learned", "relative"):
        encoder = shaken(backbone(spec("transformer", positions=positions).encoder, 15, MAX_LENGTH))
        assert not torch.allclose(encoder(steps(15))[:, -1], encoder(turned)[:, -1], atol=1e-4), positions
    blind = shaken(Stack(15, D, [Block(D, 3, 0.0, MAX_LENGTH, relative=False)], None))
    torch.testing.assert_close(blind(steps(15))[:, -1], blind(turned)[:, -1])


def test_attention_over_items_is_a_weighted_mean_and_the_item_itself() -> None:
    light = backbone(spec("attention").encoder, D, MAX_LENGTH)
    assert isinstance(light, OverItems)
    assert light.project is None, "item vectors alone are not mixed"
    shaken(light)
    given, states = steps(), light(steps())
    for t in range(T):
        scores = [
            (light.attention.query(given[:, t]) * given[:, s]).sum(-1) / D**0.5 + light.attention.distance[t - s]
            for s in range(t + 1)
        ]
        weights = torch.stack(scores, -1).softmax(-1)
        mean = (weights.unsqueeze(-1) * given[:, : t + 1]).sum(1)
        torch.testing.assert_close(states[:, t], given[:, t] + mean)


def test_additive_attention_is_its_formula() -> None:
    attention = AdditiveAttention(D, MAX_LENGTH)
    shaken(attention)
    queries, keys = steps(), steps(seed=1)
    logits = attention(queries, keys)
    for t, s in [(0, 0), (4, 0), (4, 4), (6, 3)]:
        inner = torch.tanh(attention.query(queries[:, t]) + attention.key(keys[:, s]))
        expected = inner @ attention.score.weight[0] + attention.distance[t - s]
        torch.testing.assert_close(logits[:, t, s], expected)
    assert (logits[:, 2, 3:] == -1e9).all()


def test_self_attention_with_distances_beyond_the_longest_reads_them_as_the_longest() -> None:
    attention = SelfAttention(D, 2, 3, relative=True)
    shaken(attention)
    assert torch.isfinite(attention(steps())).all()


@pytest.mark.parametrize(("units", "given", "number"), [(12, None, 2), (12, 4, 4), (9, None, 1)])
def test_heads_follow_from_the_units_where_they_are_not_given(units: int, given: int | None, number: int) -> None:
    assert heads(spec("transformer", units=units, attention_heads=given).encoder) == number
