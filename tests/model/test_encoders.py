"""Encoders and heads: equal to plain formulas, causal, blind to padding."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import EVERY_FEATURE, KNOWN, spec
from torch import Tensor, nn

from clickflow.models.network import Network, Sizes, build, load_trained, save

ACTIONS = tuple("abcdefghi")
SIZES = Sizes(
    known=KNOWN,
    actions=ACTIONS,
    categories=6,
    statistics={"gap": (2.0, 1.5), "since_start": (4.0, 2.0), "price": (3.0, 1.0)},
)


def network(kind: str = "gru", layers: int = 1, **choices: object) -> Network:
    torch.manual_seed(0)
    return build(spec(kind, layers, **choices), SIZES).eval()  # type: ignore[arg-type]


def sequences(rows: int, steps: int, seed: int = 0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)

    def whole(high: int) -> Tensor:
        return torch.randint(0, high, (rows, steps), generator=draw)

    def number(high: float) -> Tensor:
        return torch.rand(rows, steps, generator=draw) * high

    return {
        "item": whole(KNOWN + 8) + 1,
        "action": whole(len(ACTIONS)),
        "hour": whole(24),
        "weekday": whole(7),
        "category": whole(9),
        "gap": number(900.0),
        "since_start": number(5000.0),
        "price": number(100.0) * (number(1.0) > 0.3),
    }


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_the_encoder_is_torchs_cell_step_by_step_and_a_mean_by_attention(kind: str) -> None:
    model = network(kind, features=("gap",))
    encoder, units = model.encoder, model.spec.encoder.units
    inputs = sequences(3, 6)
    vectors = torch.randn(3, 6, units)
    states, readouts = encoder(vectors, inputs)
    layer = encoder.recurrent
    cell = (nn.GRUCell if kind == "gru" else nn.LSTMCell)(layer.input_size, units)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    steps = torch.cat([vectors, ((torch.log1p(inputs["gap"]) - 2.0) / 1.5).unsqueeze(-1)], -1)
    state = torch.zeros(3, units)
    memory = torch.zeros(3, units)
    seen: list[Tensor] = []
    for t in range(6):
        if kind == "gru":
            state = cell(steps[:, t], state)
        else:
            state, memory = cell(steps[:, t], (state, memory))
        seen.append(state)
        torch.testing.assert_close(states[:, t], state)
        scores = torch.stack(
            [
                (encoder.attention.query(state) * old).sum(-1) / units**0.5 + encoder.attention.distance[t - s]
                for s, old in enumerate(seen)
            ],
            -1,
        )
        mean = sum(w.unsqueeze(-1) * old for w, old in zip(scores.softmax(-1).unbind(-1), seen, strict=True))
        torch.testing.assert_close(readouts[:, t], encoder.readout(torch.cat([state, mean], -1)))


ARCHITECTURES = [
    {"kind": "gru"},
    {"kind": "lstm", "layers": 2},
    {"kind": "gru", "attention": False},
    {"kind": "lstm", "copy": False},
    {"kind": "gru", "attention": False, "copy": False, "features": ()},
]


@pytest.mark.parametrize("choices", ARCHITECTURES, ids=str)
def test_an_answer_does_not_depend_on_later_steps_nor_on_padding(choices: dict[str, object]) -> None:
    model = network(**choices)  # type: ignore[arg-type]
    inputs = sequences(4, 7)
    row, column = torch.arange(4), torch.tensor([0, 2, 4, 6])
    with torch.no_grad():
        expected = model(inputs, row, column)
        other = sequences(4, 9, seed=1)
        later = torch.arange(9) > column.unsqueeze(1)
        for fill in (other, {name: torch.zeros_like(value) for name, value in other.items()}):
            longer = {name: torch.cat([value, value[:, :2]], 1) for name, value in inputs.items()}
            changed = {name: torch.where(later, fill[name], value) for name, value in longer.items()}
            for name, answers in model(changed, row, column).items():
                torch.testing.assert_close(answers, expected[name], atol=2e-6, rtol=1e-5)
        for i in range(4):
            alone = {name: value[i : i + 1, : int(column[i]) + 1] for name, value in inputs.items()}
            for name, answers in model(alone, torch.tensor([0]), column[i : i + 1]).items():
                torch.testing.assert_close(answers[0], expected[name][i], atol=2e-6, rtol=1e-5)


def test_an_earlier_step_does_matter() -> None:
    model = network()
    inputs = sequences(1, 5)
    ask = (torch.tensor([0]), torch.tensor([4]))
    before = model(inputs, *ask)
    for name in EVERY_FEATURE:
        changed = {**inputs, name: inputs[name].clone()}
        changed[name][0, 2] = 3 if changed[name].dtype == torch.int64 else 55.5
        changed[name][0, 2] += inputs[name][0, 2] == changed[name][0, 2]
        after = model(changed, *ask)
        assert not torch.equal(before["next_action"], after["next_action"]), name


@pytest.mark.parametrize("choices", ARCHITECTURES, ids=str)
def test_answers_are_probabilities_and_padding_and_unknown_are_never_answers(choices: dict[str, object]) -> None:
    model = network(**choices)  # type: ignore[arg-type]
    inputs = sequences(6, 7)
    inputs["item"][0] = 1  # nothing in this session can be copied
    row, column = torch.nonzero(torch.ones(6, 7)).unbind(1)
    answers = model(inputs, row, column)
    assert answers["next_item"].shape == (42, KNOWN)
    assert answers["next_action"].shape == (42, len(ACTIONS) + 1)
    for log_probabilities in answers.values():
        torch.testing.assert_close(log_probabilities.exp().sum(1), torch.ones(42), atol=1e-5, rtol=0)
    assert (answers["next_item"][:, :2] <= -1e8).all()
    assert torch.isfinite(answers["next_item"]).all()


def test_the_copy_is_a_mixture_of_the_generator_and_the_steps_so_far() -> None:
    model = network(features=())
    head = model.next_item
    assert head is not None
    inputs = sequences(1, 4)
    items = torch.tensor([[5, 1, 5, 9]])
    answers = model({**inputs, "item": items}, torch.tensor([0]), torch.tensor([3]))["next_item"][0].exp()
    table = nn.functional.normalize(model.items, dim=-1)
    states, readouts = model.encode(table[items], inputs)
    share, weights = head.copied(readouts, states, items)
    assert weights[0, 3, 1] == 0
    torch.testing.assert_close(weights[0, 3].sum(), torch.tensor(1.0))
    generated = (head.query(readouts[0, 3]) @ table[2:].t()).softmax(-1)
    expected = torch.cat([torch.zeros(2), (1 - share[0, 3]) * generated])
    expected[5] += share[0, 3] * (weights[0, 3, 0] + weights[0, 3, 2])
    expected[9] += share[0, 3] * weights[0, 3, 3]
    torch.testing.assert_close(answers, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("heads", [("next_item",), ("next_action",), ("next_item", "next_action")])
def test_saved_and_loaded_answers_the_same(tmp_path: Path, heads: tuple[str, ...]) -> None:
    model = network("lstm", 2, heads=heads)
    save(model, tmp_path, {"seed": 3})
    again = load_trained(tmp_path)
    assert again.spec == model.spec
    assert again.sizes == model.sizes
    inputs = {name: value for name, value in sequences(2, 5).items() if name in model.inputs}
    ask = (torch.tensor([0, 1]), torch.tensor([4, 1]))
    before, after = model(inputs, *ask), again(inputs, *ask)
    assert sorted(after) == sorted(heads)
    assert all(torch.equal(before[name], after[name]) for name in heads)


def test_a_class_that_training_did_not_have_is_read_and_answers_are_finite() -> None:
    model = network()
    inputs = {**sequences(1, 3), "category": torch.tensor([[999, -1, 2]]), "item": torch.tensor([[10**6, 3, 4]])}
    assert all(
        np.isfinite(a.detach().numpy()).all() for a in model(inputs, torch.tensor([0]), torch.tensor([2])).values()
    )
