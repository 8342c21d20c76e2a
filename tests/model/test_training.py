"""Training: it learns, it is deterministic, and every choice of params.yaml does something."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from markov_log import CPU, KNOWN, log, model, packed, popularity_recall, sizes

from clickflow.heads import HEADS
from clickflow.models.answers.classes import Classes
from clickflow.params.models import ClassesHead, Model, Optimiser
from clickflow.sequences.store import PackedSplit
from clickflow.system.errors import DataError, UsageError
from clickflow.training import last_pass, optimisers
from clickflow.training.answers import classes
from clickflow.training.batches import windows
from clickflow.training.budget import OPEN, by_size, looks
from clickflow.training.device import Device, learning
from clickflow.training.loop import Trained, train
from clickflow.training.validation import answer

KINDS = ["adamw", "adam", "sgd", "adagrad"]
RATES = {"adamw": (0.003, 0.01), "adam": (0.003, 0.01), "sgd": (0.2, 2.0), "adagrad": (0.02, 0.05)}


def fit(spec: Model, sessions: int = 300, valid: bool = False, **choices: Any) -> Trained:
    split = log(sessions, 0)
    given = {"seed": 0, "settings": CPU, **choices}
    return train(spec, sizes(split), split, log(60, 1) if valid else None, **given)


def weights(trained: Trained) -> list[torch.Tensor]:
    return list(trained.network.state_dict().values())


def with_optimiser(spec: Model, **choices: Any) -> Model:
    return replace(spec, optimiser=replace(spec.optimiser, **choices))


def hasty(spec: Model) -> Model:
    """Of three times the rates: a batch is known by heart in a third of the steps."""
    network, embedding = spec.optimiser.learning_rate, spec.optimiser.embedding_learning_rate
    return with_optimiser(spec, learning_rate=3 * network, embedding_learning_rate=3 * embedding)


def test_it_overfits_one_batch() -> None:
    spec = hasty(model(epochs=18, tokens=64))
    both = {name: replace(head, weight=1.0) for name, head in spec.heads.items()}
    trained = fit(replace(spec, heads=both), sessions=60, overfit=True)
    last = trained.history[-1]["train"]
    assert last["next_item"] < 0.1
    assert last["next_action"] < 0.1
    assert last["loss"] < 0.05 * trained.history[0]["train"]["loss"]


@pytest.mark.parametrize(
    "choices",
    [
        {"kind": "rnn", "attention": "additive"},
        {"kind": "lstm", "attention": "self"},
        {"kind": "mingru", "layers": 2},
        {"kind": "transformer", "attention": "none"},
        {"kind": "transformer", "positions": "learned"},
        {"kind": "attention", "attention": "none"},
        {"item": {"output": "separate"}},
        {"item": {"loss": "bpr_max", "regularisation": 0.0}},
        {"item": {"loss": "bce"}},
        {"item": {"loss": "bce", "output": "separate"}, "item_features": ("category",)},
    ],
    ids=str,
)
def test_every_choice_overfits_one_batch(choices: dict[str, Any]) -> None:
    spec = model(epochs=10, tokens=64, heads=("next_item",), **{"dropout": 0.0, "copy": False, **choices})
    trained = fit(hasty(spec), sessions=60, overfit=True)
    assert trained.history[-1]["train"]["next_item"] < 0.1 < trained.history[0]["train"]["next_item"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_optimiser_brings_the_loss_down(kind: str) -> None:
    network, embedding = RATES[kind]
    spec = with_optimiser(
        model(epochs=4), kind=kind, learning_rate=network, embedding_learning_rate=embedding, weight_decay=0.0
    )
    losses = [record["train"]["next_item"] for record in fit(spec).history]
    assert losses[-1] < 0.85 * losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_always_touched_move_as_with_torchs_optimiser(kind: str) -> None:
    draw = torch.Generator().manual_seed(0)
    table = torch.randn(6, 4, generator=draw)
    spec = Optimiser(
        kind=kind,  # type: ignore[arg-type]
        learning_rate=0.05,
        embedding_learning_rate=0.05,
        weight_decay=0.0,
        warmup_share=0.0,
        clip_norm=0.0,
    )
    dense = torch.nn.Parameter(table.clone())
    theirs = optimisers.for_network(spec, [dense])
    ours = optimisers.RowOptimiser(kind, table)
    rows = torch.tensor([3, 0, 1, 5, 4, 2])
    for step in range(1, 9):
        gradient = torch.randn(6, 4, generator=draw)
        dense.grad = gradient.clone()
        theirs.step()
        ours.update(table, rows, table[rows], gradient[rows], 0.05, step)
        torch.testing.assert_close(table, dense.data, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_not_touched_do_not_move(kind: str) -> None:
    table = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    before = table.clone()
    ours = optimisers.RowOptimiser(kind, table)
    for step in (1, 2, 3):
        rows = torch.tensor([1, 4])
        ours.update(table, rows, table[rows], torch.ones(2, 3), 0.1, step)
    assert torch.equal(table[[0, 2, 3]], before[[0, 2, 3]])
    assert (table[[1, 4]] < before[[1, 4]]).all()


def test_lazy_adagrad_is_torchs_adagrad_whichever_rows_are_touched() -> None:
    """Its rule leaves a row with gradient 0 where it is, so laziness changes nothing."""
    draw = torch.Generator().manual_seed(0)
    table = torch.randn(6, 4, generator=draw)
    dense = torch.nn.Parameter(table.clone())
    theirs = torch.optim.Adagrad([dense], lr=0.1)
    ours = optimisers.RowOptimiser("adagrad", table)
    for step, rows in enumerate(([0, 1], [1, 5, 2], [3], [0, 5]), 1):
        gradient = torch.zeros(6, 4)
        gradient[rows] = torch.randn(len(rows), 4, generator=draw)
        dense.grad = gradient
        theirs.step()
        ours.update(table, torch.tensor(rows), table[rows], gradient[rows], 0.1, step)
    torch.testing.assert_close(table, dense.data)


def test_the_learning_rate_rises_then_falls_to_almost_nothing() -> None:
    shares = [optimisers.learning_rate(step, 100, 0.1) for step in range(100)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == pytest.approx(1.0)
    assert np.argmax(shares) in (9, 10)
    assert 0 < shares[-1] < 0.02
    assert all(a > b for a, b in pairwise(shares[10:]))


@pytest.mark.parametrize(
    ("kind", "layers", "loss"),
    [
        *(("gru", 1, "sampled"), ("lstm", 2, "sampled"), ("gru", 1, "full")),
        *(("mingru", 2, "bce"), ("transformer", 1, "bpr_max")),
    ],
)
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(kind: str, layers: int, loss: str) -> None:
    spec = model(epochs=1, kind=kind, layers=layers)
    spec = replace(spec, heads={**spec.heads, "next_item": replace(spec.heads["next_item"], loss=loss)})  # type: ignore[call-arg]
    first, second, other = (fit(spec, sessions=120, valid=True, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))
    assert first.history == second.history
    assert not torch.equal(first.network.items, other.network.items)


def test_what_was_drawn_before_training_does_not_matter() -> None:
    spec = model(epochs=1)
    first = fit(spec)
    torch.rand(7)
    before = torch.random.get_rng_state()
    assert torch.equal(first.network.items, fit(spec).network.items)
    assert torch.equal(before, torch.random.get_rng_state()), "training leaves torch's random state alone"


def test_it_beats_popularity_and_comes_near_the_truth() -> None:
    spec = model(epochs=6, tokens=512, features=(), heads=("next_item",), negatives=40)
    training, test = log(1500, 0), log(200, 5)
    trained = train(spec, sizes(training), training, seed=0, settings=CPU)
    answers = answer(trained.network, test, windows(test.offsets, 8, to_the_end=False)).heads["next_item"]
    assert len(answers.ranks) == test.n_events - test.n_sequences
    assert answers.recall(1) > 0.7, "the successor is right in 80 of 100 cases"
    assert answers.recall(5) > 2 * popularity_recall(training, test, 5)
    assert answers.recall(1) <= answers.mrr(20) <= answers.recall(20)


@pytest.mark.parametrize("heads", [("next_item",), ("next_action",), ("next_item", "next_action")])
def test_heads_are_trained_alone_and_together(heads: tuple[str, ...]) -> None:
    trained = fit(model(epochs=3, heads=heads), valid=True)
    for head in heads:
        assert trained.history[-1]["train"][head] < trained.history[0]["train"][head]
        assert head in trained.history[-1]["valid"]
    assert {name for name in ("next_item", "next_action") if name in trained.history[0]["train"]} == set(heads)
    assert ("recall@20" in trained.history[0]["valid"]) == ("next_item" in heads)


def test_items_two_steps_ahead_are_learned_beside_the_next_one() -> None:
    """The successor follows in 80 of 100 cases, and its successor after it in 64."""
    spec = model(epochs=6, tokens=512, features=(), heads=("next_item",), item={"horizon": 2}, copy=False, dropout=0.0)
    network = fit(spec, sessions=1500).network
    items = torch.arange(60)
    with torch.no_grad():
        answers = network({"item": 2 + items.unsqueeze(1)}, items, torch.zeros_like(items))
    first = (items * 7 + 3) % 60
    second = (first * 7 + 3) % 60
    chances = {
        name: [float(p[items, 2 + wanted].exp().mean()) for wanted in (first, second)] for name, p in answers.items()
    }
    (next_first, next_second), (either_first, either_second) = chances["next_item"], chances["next_items"]
    assert next_first > 3 * next_second
    assert min(either_first, either_second) > 0.2
    assert either_second > 1.5 * next_second, "the decoder knows what the next item alone does not say"


def test_the_next_action_is_learned_where_it_follows() -> None:
    trained = fit(model(epochs=8, tokens=512, heads=("next_action",)), sessions=600)
    inputs = {"item": torch.full((1, 2), 5), "action": torch.tensor([[0, 1]]), "gap": torch.tensor([[0.0, 60.0]])}
    after_view, after_cart = trained.network(inputs, torch.tensor([0, 0]), torch.tensor([0, 1]))["next_action"].exp()
    assert after_cart[2] > 0.6, "a purchase follows a cart, unless the session ends"
    assert after_view[2] < 0.1


def test_it_stops_early_and_keeps_the_best_weights() -> None:
    """The validation part contradicts the training part, so every epoch makes it worse."""
    training = packed([[2 + i % 30, 3 + i % 30] for i in range(400)])
    contrary = packed([[2 + i % 30, 2 + (i + 15) % 30] for i in range(40)])
    spec = model(epochs=12, patience=2, features=(), heads=("next_item",), copy=False)
    trained = train(spec, sizes(training), training, contrary, seed=0, settings=CPU)
    losses = [record["valid"]["loss"] for record in trained.history]
    assert len(losses) == trained.best_epoch + 2 < 12
    assert np.argmin(losses) == trained.best_epoch - 1
    cut = windows(contrary.offsets, 8, to_the_end=False)
    assert answer(trained.network, contrary, cut).loss({"next_item": 1.0}) == pytest.approx(min(losses))


def test_without_a_valid_part_all_epochs_are_run_and_the_last_weights_kept() -> None:
    trained = fit(model(epochs=3, patience=1))
    assert trained.best_epoch == 3
    assert all("valid" not in record for record in trained.history)


def test_unknown_items_and_sessions_of_one_step_do_no_harm() -> None:
    split = packed([[2], [1, 1], [KNOWN + 3], [3, KNOWN + 5, 4], [5, 6]] * 20)
    for heads in (("next_item",), ("next_item", "next_action")):
        trained = train(model(epochs=1, heads=heads), sizes(split), split, split, seed=0, settings=CPU)
        assert np.isfinite(trained.history[0]["train"]["loss"])


@pytest.mark.parametrize("sessions", [[], [[2], [3]], [[2, 1], [3, KNOWN + 1]]])
def test_nothing_to_learn_is_an_error_that_says_so(sessions: list[list[int]]) -> None:
    split = packed(sessions)
    with pytest.raises(DataError, match="nothing to learn"):
        train(model(heads=("next_item",)), sizes(log(5, 0)), split, seed=0, settings=CPU)


def test_a_training_that_goes_astray_is_an_error_that_says_what_to_do() -> None:
    spec = with_optimiser(
        model(), kind="sgd", learning_rate=1e30, embedding_learning_rate=1e30, clip_norm=0.0, warmup_share=0.0
    )
    with pytest.raises(UsageError, match="learning_rate"):
        fit(spec)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_asking_for_a_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(UsageError, match="cuda"):
        fit(model(), settings=replace(CPU, device="cuda"))


def test_bfloat16_learns_too() -> None:
    full = fit(model(epochs=2))
    half = fit(model(epochs=2), settings=replace(CPU, precision="bfloat16"))
    assert half.network.items.dtype == torch.float32
    assert half.history[-1]["train"]["loss"] == pytest.approx(full.history[-1]["train"]["loss"], rel=0.05)
    assert not torch.equal(half.network.items, full.network.items)


def test_rounding_ends_with_the_steps_of_training() -> None:
    before = torch.get_float32_matmul_precision()
    rounding = Device("cpu", bfloat16=False, scores=torch.bfloat16, rounded=True, why="")
    with pytest.raises(KeyboardInterrupt), learning(rounding):
        assert torch.get_float32_matmul_precision() == "medium"
        raise KeyboardInterrupt
    assert torch.get_float32_matmul_precision() == before


def test_training_needs_torch_and_numpy_alone() -> None:
    """So that it also runs on a bare GPU machine; seen in a process where nothing else is there."""
    script = """
import sys
for name in "safetensors pyarrow pandas duckdb yaml pydantic rich typer mlflow matplotlib".split():
    sys.modules[name] = None  # as if it were not installed
import numpy as np
from clickflow.models.sizes import Sizes
from clickflow.params.models import Augmentation, Budget, ClassesHead, Encoder, Model, Optimiser, RankingHead
from clickflow.params.training import Training
from clickflow.sequences.store import PackedSplit
from clickflow.training.loop import train
n = 400
split = PackedSplit(
    offsets=np.arange(0, n + 1, 4), item=np.arange(n, dtype=np.int32) % 30 + 2, action=np.zeros(n, np.uint8),
    **{name: np.zeros(n) for name in ("time", "hour", "weekday", "gap", "since_start", "price", "category")},
)
spec = Model(
    unit="session",
    encoder=Encoder(
        kind="gru", units=8, layers=1, dropout=0.0, attention="bilinear", attention_heads=None, positions=None,
        features=("action",), item_features=(),
    ),
    heads={
        "next_item": RankingHead(
            weight=1.0, loss="sampled", negatives=9, label_smoothing=0.0, regularisation=None, calibration=None,
            output="tied", copy=True, associations=True, horizon=1,
        ),
        "next_action": ClassesHead(weight=1.0),
    },
    optimiser=Optimiser(
        kind="adamw", learning_rate=0.003, embedding_learning_rate=0.01, weight_decay=0.0,
        warmup_share=0.0, clip_norm=1.0,
    ),
    augmentation=Augmentation(crop=0.0, mask=0.0, reorder=0.0, substitute=0.0, adversarial=0.0),
    budget=Budget(epochs=1, batch_tokens=64, patience=1, max_length=8, checkpoint_seconds=60),
    ensemble=(),
)
sizes = Sizes(known=32, actions=("view",), categories=1, statistics={})
settings = Training(device="cpu", precision="float32", threads=1, processes=1)
print(len(train(spec, sizes, split, split, seed=0, settings=settings).history))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "1\n", done.stderr


def unplanned(**choices: Any) -> Model:
    spec = model(**choices)
    return replace(spec, budget=replace(spec.budget, epochs=None))


def test_without_a_valid_part_larger_logs_are_read_less_often() -> None:
    epochs = [by_size(events) for events in (0, 1, 1_000, 200_000, 700_000, 3_000_000, 10**9)]
    assert epochs[:4] == [6] * 4
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[-1] == 2
    assert len(fit(unplanned(), sessions=40).history) == 6


def test_the_valid_part_decides_how_long_training_goes_on() -> None:
    """What may be learned for long is, what contradicts is soon left; the weights kept are those that were measured."""
    test = log(60, 1)
    trained = fit(unplanned(tokens=512, patience=1, dropout=0.0), sessions=300, valid=True)
    assert trained.best_epoch > 6, "it goes on as long as it gets better"
    training = packed([[2 + i % 30, 3 + i % 30] for i in range(400)])
    contrary = packed([[2 + i % 30, 2 + (i + 15) % 30] for i in range(40)])
    spec = unplanned(patience=1, features=(), heads=("next_item",), copy=False)
    soon = train(spec, sizes(training), training, contrary, seed=0, settings=CPU)
    assert len(soon.history) < 4 < OPEN
    for result, part in ((trained, test), (soon, contrary)):
        best = result.history[result.best_epoch - 1]["valid"]
        assert best["loss"] == min(record["valid"]["loss"] for record in result.history if "valid" in record)
        assert result.best_epoch - 1 < best["after_epochs"] <= result.best_epoch
        heads = result.network.spec.heads
        cut = windows(part.offsets, 8, to_the_end="next_action" in heads)
        weights = {name: head.weight for name, head in heads.items()}
        assert answer(result.network, part, cut).loss(weights) == pytest.approx(best["loss"])


def test_a_gain_that_is_next_to_nothing_does_not_prolong_training() -> None:
    """A loss that falls on, by less than a thousandth a look, would otherwise be followed for twelve epochs."""
    spec = unplanned(tokens=512, patience=1, dropout=0.0)
    slow = replace(spec, optimiser=replace(spec.optimiser, learning_rate=1e-6, embedding_learning_rate=1e-6))
    trained = fit(slow, sessions=300, valid=True)
    losses = [record["valid"]["loss"] for record in trained.history]
    assert losses == sorted(losses, reverse=True), "it gets better all the time"
    assert len(losses) == trained.best_epoch <= 3 < OPEN


def test_what_chose_the_length_is_learned_last() -> None:
    """What the held-out sessions alone have is known in the end, what the others have still is, and the choice is the
    same as without.
    """
    training = packed([[2 + i % 30, 3 + i % 30] for i in range(400)])
    held_out = packed([[2 + i % 30, 3 + i % 30] for i in range(40)] + [[40, 50]] * 8)
    held_out = held_out.with_columns(time=held_out.time + training.time[-1] + 1)
    spec = unplanned(patience=1, features=(), heads=("next_item",))
    choices: dict[str, Any] = {"seed": 0, "settings": CPU}
    without, trained = (
        train(spec, sizes(training), training, held_out, **choices, last_pass=last) for last in (False, True)
    )
    assert trained.history == without.history
    assert trained.best_epoch == without.best_epoch
    assert trained.steps > without.steps
    new, old = (packed([items]) for items in ([40, 50], [5, 6]))

    def chance(of: Trained, part: PackedSplit) -> float:
        (loss,) = answer(of.network, part, windows(part.offsets, 8, to_the_end=False)).heads["next_item"].losses
        return float(np.exp(-loss))

    assert chance(trained, new) > 2 * chance(without, new)
    assert chance(trained, old) > 0.9 * chance(without, old)


def test_the_last_pass_reads_what_was_held_out_as_often_as_the_rest_was_and_the_latest_of_it() -> None:
    both = last_pass.joined(log(100, 0), log(20, 1))
    assert both.n_sequences == 120
    assert both.offsets[-1] == both.n_events
    time = np.concatenate([np.arange(100)[::-1].repeat(3), np.arange(60) + 100])  # the first ends last
    every = windows(np.arange(0, 361, 3), 8, to_the_end=True)
    times = np.bincount(last_pass.chosen(time, every, 20, 4), minlength=120)
    assert (times[100:] == 4).all()
    latest = round(last_pass.LATEST * 100)
    assert (times[:latest] == 1).all()
    assert not times[latest:100].any()


def test_long_epochs_are_looked_at_more_often() -> None:
    assert looks(1) == [1]
    assert looks(7) == [4, 7]
    assert looks(2000) == [500, 1000, 1500, 2000]


def test_items_that_are_not_known_are_misses_in_validation_too() -> None:
    training = packed([[2 + i % 30, 3 + i % 30] for i in range(400)])
    known = packed([[2 + i % 30, 3 + i % 30] for i in range(30)])
    half = packed([session for i in range(30) for session in ([2 + i, 3 + i % 29], [2 + i, KNOWN + 3])])
    spec = model(epochs=8, features=(), heads=("next_item",))
    for part, coverage in ((known, 1.0), (half, 0.5)):
        valid = train(spec, sizes(training), training, part, seed=0, settings=CPU).history[-1]["valid"]
        assert valid["coverage"] == coverage
        for name in ("recall@20", "mrr@20"):
            assert valid[name] == pytest.approx(coverage * valid[f"{name}_known"])
            assert valid[name] > 0


def test_what_is_called_the_loss_is_one_quantity() -> None:
    """The last loss told within an epoch of one step is that of the epoch's record."""

    class Watcher:
        def __init__(self) -> None:
            self.losses: list[float] = []
            self.records: list[dict[str, Any]] = []

        def start(self, *_: Any) -> None: ...

        def step(self, _steps: int, _questions: int, loss: float) -> None:
            self.losses.append(loss)

        def epoch(self, record: dict[str, Any]) -> None:
            self.records.append(record)

    watcher = Watcher()
    fit(model(epochs=2, tokens=100_000), sessions=40, watcher=watcher)
    assert watcher.losses == pytest.approx([record["train"]["loss"] for record in watcher.records])


def test_what_follows_by_chance_alone_is_learned_as_that_chance() -> None:
    """Batches hold sequences of one length, so each of them is wrong about how often visitors leave."""
    draw = np.random.default_rng(0)
    leaves, kinds = 0.2, np.array([0.8, 0.15, 0.05])

    def drawn(sessions: int) -> Any:
        lengths = np.minimum(draw.geometric(leaves, sessions), 30)
        items = [draw.integers(2, KNOWN, length).tolist() for length in lengths]
        return packed(items, [draw.choice(3, length, p=kinds).tolist() for length in lengths])

    training, test = drawn(3000), drawn(1500)
    spec = model(epochs=2, tokens=256, features=("action",))
    came = np.append(test.action[1:], 3)
    came[test.offsets[1:] - 1] = 3
    best = -np.log([*(1 - leaves) * kinds, leaves])[came].mean()

    trained = train(spec, sizes(training), training, seed=0, settings=CPU)
    cut = windows(test.offsets, spec.budget.max_length, to_the_end=True)
    losses = answer(trained.network, test, cut).heads["next_action"].losses
    assert losses.mean() < best + 0.009, "with gradients bounded to 1 it is .012"


@pytest.mark.parametrize("chunk", [1, 7, 1 << 22])
def test_the_next_action_begins_at_what_followed_the_last_one(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(classes, "CHUNK", chunk)
    training = log(80, 3)
    head = Classes(6, 4, 4, recent=True)
    classes.ClassesObjective(HEADS["next_action"], ClassesHead(weight=1.0), sizes(training)).begin(head, training)
    counts = np.ones((4, 4))
    for start, end in pairwise(training.offsets):
        steps = [*training.action[start:end].tolist(), 3]
        for now, then in pairwise(steps):
            counts[now, then] += 1
    with torch.no_grad():
        beside = head.beside({"action": torch.arange(3)[:, None]})
        shares = (head(torch.zeros(3, 1, 6)) + beside).softmax(-1)[:, 0].numpy()
    assert shares == pytest.approx(counts[:3] / counts[:3].sum(1, keepdims=True), abs=1e-6)
