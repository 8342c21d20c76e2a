"""Encoders and heads: equal to plain formulas, causal, blind to padding."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import EVERY_FEATURE, KNOWN, spec
from torch import Tensor, nn

from clickflow.models.answers.classes import QUICK
from clickflow.models.associations import Table
from clickflow.models.ensemble import build
from clickflow.models.network import Network
from clickflow.models.saved import load_trained, save, spec_from
from clickflow.models.sights import sights
from clickflow.models.sizes import Sizes

ACTIONS = tuple("abcdefghi")
DRAW = np.random.default_rng(5)
NEIGHBOURS = DRAW.integers(2, KNOWN, (KNOWN, 5)) * (DRAW.random((KNOWN, 5)) < 0.7)
COUNTS = DRAW.random((KNOWN, 5)) * 9 * (NEIGHBOURS > 0) * (np.arange(KNOWN) > 2)[:, None]
"""Of the items 0 to 2 no neighbours are known; an item may name a neighbour twice."""
TABLE = Table(NEIGHBOURS.astype(np.int32), COUNTS.astype(np.float32), (COUNTS.sum(1) * 1.2).astype(np.float32))
SIZES = Sizes(
    known=KNOWN,
    actions=ACTIONS,
    categories=6,
    statistics={"gap": (2.0, 1.5), "since_start": (4.0, 2.0), "price": (3.0, 1.0)},
    item_codes=np.concatenate([np.zeros((2, 2), np.int64), 1 + np.arange(2 * (KNOWN - 2)).reshape(-1, 2) % 7]),
    associations=TABLE,
)


def network(kind: str = "gru", layers: int = 1, **choices: object) -> Network:
    torch.manual_seed(0)
    built = build(spec(kind, layers, **choices), SIZES)  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if name.startswith("features") or "recent" in name or parameter.dim() == 0:
                parameter.add_(torch.randn_like(parameter) * 0.3)  # what begins at 0 must have a say
    return built.eval()  # type: ignore[return-value]


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
        torch.testing.assert_close(readouts[:, t], encoder.readout(torch.cat([state, mean], -1)))  # type: ignore[list-item]


ARCHITECTURES = [
    {"kind": "gru"},
    {"kind": "lstm", "layers": 2},
    {"kind": "gru", "attention": "none"},
    {"kind": "lstm", "copy": False},
    {"kind": "gru", "attention": "none", "copy": False, "features": ()},
    {"kind": "gru", "item": {"associations": False}},
    {"kind": "gru", "copy": False, "item": {"associations": False}},
    {"kind": "rnn", "layers": 2, "attention": "additive"},
    {"kind": "gru", "attention": "self", "attention_heads": 3},
    {"kind": "mingru", "layers": 2},
    {"kind": "mingru", "attention": "none", "features": ()},
    {"kind": "transformer", "layers": 2, "attention": "none"},
    {"kind": "transformer", "positions": "learned", "attention_heads": 4},
    {"kind": "attention", "attention": "none", "features": ()},
    {"kind": "attention", "attention": "self"},
    {"kind": "gru", "item_features": ("category", "price"), "item": {"output": "separate"}},
    {"kind": "gru", "item": {"loss": "bpr_max"}},
    {"kind": "gru", "item": {"horizon": 3}},
    {"kind": "gru", "ensemble": ("gru", "lstm")},
    {"kind": "mingru", "copy": False, "item": {"horizon": 2, "output": "separate"}},
    {"kind": "gru", "item": {"loss": "bce", "output": "separate"}, "item_features": ("popularity",)},
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
    for name in answers.keys() - {"next_action"}:
        assert (answers[name][:, :2] <= -1e8).all()
        assert torch.isfinite(answers[name]).all()


@given(st.lists(st.lists(st.integers(0, 5), min_size=7, max_size=7), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_what_is_known_of_a_sessions_items_agrees_with_a_plain_count(rows: list[list[int]]) -> None:
    seen = sights(torch.tensor(rows), 2)
    for row, session in enumerate(rows):
        for t in range(7):
            known = [item >= 2 for item in session[: t + 1]]
            back = sum(session[u] in session[:u] for u in range(t + 1) if known[u])
            expected = [back / max(1, t), math.log1p(t)]
            torch.testing.assert_close(seen.habits[row, t], torch.tensor(expected))
            for u in range(t + 1):
                upto = session[: t + 1]
                assert bool(seen.latest[row, t, u]) == (known[u] and upto[u] not in upto[u + 1 :])
                if known[u]:
                    first = upto.index(upto[u])
                    plain = [math.log(upto.count(upto[u])), math.log1p(first), float(first == 0), math.log1p(t - u)]
                    counts = [feature.expand(len(rows), 7, 7)[row, t, u] for feature in seen.features]
                    torch.testing.assert_close(torch.stack(counts), torch.tensor(plain))
            assert not seen.latest[row, t, t + 1 :].any(), "what comes later is not seen yet"


def test_counts_and_first_sights_move_the_copy_and_the_scores() -> None:
    model = network(features=(), item={"associations": False}).eval()
    head = model.next_item
    assert head is not None
    items = {"item": torch.tensor([[5, 7, 5, 9]])}
    ask = (torch.tensor([0]), torch.tensor([3]))
    before = model(items, *ask)["next_item"][0].exp()
    head.sight.bias.data = torch.tensor([3.0, 0.0, 0.0, 0.0])
    often = model(items, *ask)["next_item"][0].exp()
    assert often[5] > before[5], "seen twice"
    assert often[9] < before[9]
    head.sight.bias.data.zero_()
    head.familiar.data = torch.tensor([0.0, 0.0, 0.5, 0.0])
    first = model(items, *ask)["next_item"][0].exp()
    assert first[5] > before[5]
    assert first[7] < before[7]
    head.familiar.data.zero_()
    head.habit.weight.data.fill_(2.0)
    gone_back = model(items, *ask)["next_item"][0].exp()
    assert gone_back[[5, 7, 9]].sum() > before[[5, 7, 9]].sum()


def test_an_answer_is_the_mixture_of_softmax_copy_and_associations() -> None:
    model = network(features=())
    head = model.next_item
    assert head is not None
    inputs = sequences(1, 4)
    items = torch.tensor([[5, 1, 5, 9]])
    head.returns.data = torch.tensor([-0.2, 0.1, 0.05, 0.3, 0.0, 0.0, 0.0, 0.0])
    answers = model({**inputs, "item": items}, torch.tensor([0]), torch.tensor([3]))["next_item"][0].exp()
    table = nn.functional.normalize(model.items, dim=-1)
    states, readouts = model.encode(table[items], inputs)
    last = readouts[0, 3]
    softmax, copy, associations = torch.cat([torch.zeros(1), head.gate(last)]).softmax(-1)
    copied = head.pointer(readouts, states)[0, 3, [0, 2, 3]].softmax(-1)  # an unknown item is not copied
    module = head.associations
    support = torch.from_numpy(TABLE.support)[items[0]]
    logits = module.attention(readouts, states)[0, 3] + module.trust * torch.log1p(support)
    associated = torch.zeros(KNOWN)
    for weight, item in zip(logits[[0, 2, 3]].softmax(-1), (5, 5, 9), strict=True):
        for neighbour, count in zip(TABLE.items[item], TABLE.counts[item], strict=True):
            associated[neighbour] += weight * count / (TABLE.support[item] + module.doubt.exp())
    scores = head.query(last) @ table.t()
    scores[5], scores[9] = scores[5] + 1.0, scores[9] - 2.0  # one step back, and none
    generated = scores[2:].softmax(-1)
    left = softmax + associations * (1 - associated.sum())
    expected = torch.cat([torch.zeros(2), left * generated]) + associations * associated
    expected[5] += copy * (copied[0] + copied[1])
    expected[9] += copy * copied[2]
    torch.testing.assert_close(answers, expected, atol=1e-6, rtol=1e-5)


WITH_ITEM_FEATURES = {"item_features": ("category",), "item": {"output": "separate", "loss": "bce"}}


@pytest.mark.parametrize("heads", [("next_item",), ("next_action",), ("next_item", "next_action")])
@pytest.mark.parametrize("choices", [{}, WITH_ITEM_FEATURES], ids=str)
def test_saved_and_loaded_answers_the_same(tmp_path: Path, heads: tuple[str, ...], choices: dict[str, object]) -> None:
    model = network("lstm", 2, heads=heads, **choices)
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


@pytest.mark.parametrize("choices", ARCHITECTURES, ids=str)
def test_the_order_of_a_batch_does_not_matter(choices: dict[str, object]) -> None:
    model = network(**choices)  # type: ignore[arg-type]
    inputs, order = sequences(5, 6), torch.tensor([3, 0, 4, 1, 2])
    row, column = torch.tensor([0, 1, 2, 3, 4]), torch.tensor([5, 0, 3, 2, 4])
    with torch.no_grad():
        expected = model(inputs, row, column)
        turned = model({name: value[order] for name, value in inputs.items()}, order.argsort(), column)
    for name, answers in turned.items():
        torch.testing.assert_close(answers, expected[name], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("choices", ARCHITECTURES, ids=str)
def test_gradients_are_finite_where_no_item_is_known(choices: dict[str, object]) -> None:
    model = network(**choices).train()  # type: ignore[arg-type]
    inputs = {**sequences(3, 5), "item": torch.tensor([[1] * 5, [KNOWN + 4] * 5, [0] * 5])}
    row, column = torch.nonzero(torch.ones(3, 5)).unbind(1)
    answers = model(inputs, row, column)
    (answers["next_item"][:, 2].sum() + answers["next_action"][:, 0].sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("choices", ARCHITECTURES, ids=str)
def test_every_weight_has_a_part_in_the_answers(choices: dict[str, object]) -> None:
    model = network(**choices).train()  # type: ignore[arg-type]
    inputs = sequences(6, 7)
    row, column = torch.nonzero(torch.ones(6, 7)).unbind(1)
    answers = model(inputs, row, column)
    sum(answer[:, 2:].square().sum() for answer in answers.values()).backward()
    idle = {name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()}
    # the same number added to all scores changes no probability
    assert idle <= {"next_item.offset"}


def test_separate_vectors_answer_and_are_not_read() -> None:
    model = network(features=(), copy=False, item={"output": "separate", "associations": False})
    assert model.items.shape == (2 * KNOWN, 12)
    inputs = {"item": torch.tensor([[5, 7, 9]])}
    ask = (torch.tensor([0]), torch.tensor([2]))
    before = model(inputs, *ask)
    with torch.no_grad():
        model.items[KNOWN + 5] += 1.0
        changed = model(inputs, *ask)
        torch.testing.assert_close(changed["next_action"], before["next_action"])
        assert not torch.allclose(changed["next_item"], before["next_item"])
        readouts = model.encode(nn.functional.normalize(model.items[inputs["item"]], dim=-1), inputs)[1]
        table = nn.functional.normalize(model.items[KNOWN + 2 :], dim=-1)
        scores = 10 * nn.functional.normalize(readouts[0, 2], dim=-1) @ table.t()
    torch.testing.assert_close(changed["next_item"][0, 2:], scores.log_softmax(-1), atol=1e-5, rtol=1e-5)


def test_a_card_of_before_these_choices_is_read_as_what_it_was(tmp_path: Path) -> None:
    model = network("lstm", 2, item={"associations": False})
    save(model, tmp_path, {})
    card = json.loads((tmp_path / "model.json").read_text())
    for name in ("attention_heads", "positions", "item_features"):
        del card["spec"]["encoder"][name]
    for name in ("output", "label_smoothing", "regularisation", "calibration", "horizon", "associations"):
        del card["spec"]["heads"]["next_item"][name]
    for written, read in ((True, "bilinear"), (False, "none")):
        card["spec"]["encoder"]["attention"] = written
        assert spec_from(card["spec"]).encoder.attention == read
    card["spec"]["encoder"]["attention"] = True
    (tmp_path / "model.json").write_text(json.dumps(card))
    assert load_trained(tmp_path).spec == model.spec


def test_the_next_items_are_the_mean_of_what_a_decoder_answers_step_by_step() -> None:
    model = network(features=(), item={"horizon": 3})
    head = model.next_item
    assert head is not None
    head.returns.data.normal_(std=0.1)
    items = torch.tensor([[5, 7, 1, 5]])
    ask = (torch.tensor([0]), torch.tensor([3]))
    answers = model({"item": items}, *ask)
    table = nn.functional.normalize(model.items, dim=-1)
    states, readouts = model.encode(table[items], {"item": items})
    cell = nn.GRUCell(12, 12)
    cell.load_state_dict(head.decoder.state_dict())
    state, steps = readouts[0], []
    for step in range(3):
        # nothing was counted of what stands two steps behind an item
        mixture = head.mixture(state.unsqueeze(0), states, items, head.seen(items), later=step > 0)
        scores = head.query(state[3]) @ table.t()
        scores = scores.index_add(0, torch.tensor([5, 7]), 10 * head.returns[[0, 2]])
        added = head.added(mixture, items, *ask)
        steps.append(head.log_probabilities(scores.unsqueeze(0), mixture.softmax[:, 3], *added).exp())
        if step > 0:
            assert not mixture.worth.any()
        if step == 0:
            torch.testing.assert_close(answers["next_item"].exp(), steps[0])
        state = cell(readouts[0], state)
    torch.testing.assert_close(answers["next_items"].exp(), torch.stack(steps).mean(0), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(steps[0], steps[1], atol=1e-3)


def test_the_next_action_is_read_off_the_last_ones_too() -> None:
    head = network().next_action
    assert head is not None
    assert head.recent is not None
    table = head.recent.weight.view(-1, len(ACTIONS) + 1, len(ACTIONS) + 1)

    def read(*actions: int) -> torch.Tensor:
        added: torch.Tensor | None = head.beside({"action": torch.tensor([actions])})
        assert added is not None
        return added

    actions = torch.tensor([[3, 0, 8, 2, 2, 5]])
    state = read(3, 0, 8, 2, 2, 5)
    for step in range(6):
        before = [int(actions[0, step - back]) if back <= step else len(ACTIONS) for back in range(len(table))]
        wanted = QUICK * sum(table[back, action] for back, action in enumerate(before))
        torch.testing.assert_close(state[0, step], wanted)
    assert torch.equal(read(3, 99), read(3, 0)), "unknown: class 0"
    assert network(features=("gap",)).next_action.beside({"action": actions}) is None
