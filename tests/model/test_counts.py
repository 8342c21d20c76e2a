"""Models that rank items by counts: fitted, exported, asked online, and in the words of params.yaml."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clickflow.artefact import asking, export
from clickflow.artefact.artefact import load
from clickflow.artefact.windows import Translation, of_split
from clickflow.heads import HEADS
from clickflow.models import counts
from clickflow.online import likeness
from clickflow.online.history import Question, Step
from clickflow.online.served import Served
from clickflow.online.why.explain import explain
from clickflow.params.file import check
from clickflow.params.file import load as load_params
from clickflow.params.models import Model
from clickflow.sequences.from_arrays import write_store
from clickflow.sequences.store import open_split, read_card
from clickflow.serving import score
from clickflow.system.errors import DataError, UsageError
from clickflow.system.moments import DAY
from clickflow.system.paths import Paths
from clickflow.training import counts as training
from clickflow.training import stage

PEOPLE, ITEMS, HORIZON = 80, 30, 10
CUT_OFFS: Mapping[str, tuple[int, ...]] = {"train": (40, 50, 60), "valid": (80,), "test": (100,)}
SPEC = Model(unit="customer", kind="counts", heads={"propensity": HEADS["propensity"].params()})
VIEW, PURCHASE = 0, 4


def log() -> list[dict[str, np.ndarray]]:
    """What each person did in 110 days: bought one of three items of their own, mostly, and looked at it before."""
    draw, people = np.random.default_rng(0), []
    for _ in range(PEOPLE):
        own = draw.integers(2, 2 + ITEMS, 3)
        days = np.sort(draw.choice(110, 14, replace=False))
        item = np.where(draw.random(14) < 0.85, own[draw.integers(0, 3, 14)], draw.integers(2, 2 + ITEMS, 14))
        time = np.concatenate([days * DAY + DAY // 2, days * DAY + DAY // 3])
        action = np.repeat([PURCHASE, VIEW], 14)
        order = np.argsort(time, kind="stable")
        people.append({"time": time[order], "action": action[order], "item": np.concatenate([item, item])[order]})
    return people


def part(people: list[dict[str, np.ndarray]], cut_offs: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The steps up to the last answers, and a sequence a person and cut-off."""
    last = (max(cut_offs) + HORIZON) * DAY
    kept = [{name: values[own["time"] < last] for name, values in own.items()} for own in people]
    offsets = np.concatenate([[0], np.cumsum([len(own["time"]) for own in kept])])
    bounds: dict[str, list[int]] = {name: [] for name in ("begin", "end", "until", "cut_off")}
    for cut_off in cut_offs:
        for begin, own in zip(offsets, kept, strict=False):
            ends = np.searchsorted(own["time"], [cut_off * DAY, (cut_off + HORIZON) * DAY]) + begin
            row = (begin, *ends, cut_off * DAY)
            for name, value in zip(bounds, row if ends[0] > begin else (), strict=False):
                bounds[name].append(int(value))
    columns = {name: np.concatenate([own[name] for own in kept]) for name in ("time", "action", "item")}
    return columns | {"offsets": offsets} | {name: np.array(values) for name, values in bounds.items()}


def store(folder: Path, **parts: tuple[int, ...]) -> Path:
    """A packed store of customers."""
    people = log()
    settings = {"horizon_days": HORIZON}
    category = 2 + np.arange(ITEMS) % 3
    content = {name: part(people, cut_offs) for name, cut_offs in (parts or CUT_OFFS).items()}
    write_store(folder, content, known=2 + ITEMS, settings=settings, of_category=category)
    return folder


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Paths:
    """A workspace with a trained and exported model."""
    paths = Paths(tmp_path_factory.mktemp("counts"))
    store(paths.sequences("customer"))
    params = replace(load_params(root / "params.yaml"), models={"taste": SPEC}, champion={"taste": 0})
    stage.run(params, paths, "taste")
    export.run(params, paths, "taste")
    return paths


def answers(paths: Paths, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of all items, by the artefact, to all questions about a part that have an answer; and these."""
    artefact, card = load(paths.exported("taste")), read_card(paths.sequences("customer"))
    split = open_split(paths.sequences("customer"), name)
    rows, target = training.questions_of(HEADS["propensity"], split, card)
    positions = of_split(split, rows, artefact.max_length)
    same = Translation(np.arange(2 + ITEMS), np.arange(256), np.arange(9), card)
    return asking.answers(artefact, split, positions, np.arange(len(positions)), same)["propensity"], target


def test_what_people_buy_again_is_what_it_learns_first(shop: Paths) -> None:
    logs, target = answers(shop, "test")
    own = np.take_along_axis(logs, np.maximum(target, 0), axis=1)
    rank = (logs[:, None, :] >= own[:, :, None]).sum(-1)[target >= 0]
    assert (rank <= 3).mean() > 0.5, "of 30 items"
    assert np.exp(logs.astype(np.float64)).sum(1) == pytest.approx(1, abs=1e-5)
    weights = counts.load(shop.trained("taste")).weights[0]
    named = dict(zip(counts.load(shop.trained("taste")).names, weights.tolist(), strict=True))
    assert sum(value for name, value in named.items() if name.startswith("own_")) > 1


def test_no_other_weights_are_likelier(shop: Paths) -> None:
    folder = shop.sequences("customer")
    trained = training.train(SPEC, folder, 0)
    card, split = read_card(folder), open_split(folder, "valid")
    category = training._categories(folder)
    model = trained.model
    model.know(training.tables(open_split(folder, "train"), card, category, 80 * DAY))
    positions, target = training.questions_of(HEADS["propensity"], split, card)

    def cost(weights: torch.Tensor) -> float:
        total = training.PRIOR * float(weights.square().sum()) / 2
        for numbers, right in training._blocks(model, split, card, positions, target):
            own = (numbers @ weights).log_softmax(1).gather(1, right.clamp(min=0))
            total -= float((own * (right >= 0)).sum())
        return total

    with torch.no_grad():
        best = cost(model.weights[0])
        for step in (0.2 * torch.eye(len(model.names)))[::3]:
            assert cost(model.weights[0] + step) > best < cost(model.weights[0] - step)


def test_tables_say_nothing_of_later_steps(tmp_path: Path) -> None:
    folder = store(tmp_path / "customer")
    card, split, category = read_card(folder), open_split(folder, "train"), training._categories(folder)
    later = np.asarray(split.time) >= 60 * DAY
    changed = split.with_columns(
        item=np.where(later, 2, split.item).astype(np.int32),
        action=np.where(later, VIEW, split.action).astype(np.uint8),
    )
    one, other = (training.tables(each, card, category, 60 * DAY) for each in (split, changed))
    assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))
    whole = training.tables(split, card, category, 999 * DAY)
    assert not np.array_equal(one.popular, whole.popular)


def test_the_same_store_gives_the_same_weights_and_the_seed_only_draws(tmp_path: Path) -> None:
    folder = store(tmp_path / "customer")
    one, other = (training.train(SPEC, folder, seed) for seed in (0, 1))
    assert all(torch.equal(values, other.model.state_dict()[name]) for name, values in one.model.state_dict().items())
    assert one.record == other.record


def test_without_a_valid_part_the_latest_cut_offs_of_training_stand_for_it(tmp_path: Path) -> None:
    trained = training.train(SPEC, store(tmp_path / "customer", train=(40, 50, 60, 70, 80)), 0)
    assert 0 < trained.questions <= PEOPLE
    with pytest.raises(DataError, match="holds no question to learn from"):
        training.train(SPEC, store(tmp_path / "empty" / "customer", train=(0,)), 0)


def test_a_history_online_is_answered_as_in_the_store_and_explained(shop: Paths) -> None:
    served = Served.of("taste", 1, shop.exported("taste"))
    logs, _ = answers(shop, "test")
    split, card = open_split(shop.sequences("customer"), "test"), read_card(shop.sequences("customer"))
    assert split.cut_off is not None
    row = int(training.questions_of(HEADS["propensity"], split, card)[0][0])
    steps = tuple(
        Step(str(split.item[at]), card.actions[split.action[at]], int(split.time[at]))
        for at in range(int(split.begin[row]), int(split.end[row]))
    )
    question = Question(steps, int(split.cut_off[row]))
    assert served.answers([question])["propensity"][0] == pytest.approx(logs[0], abs=1e-4)
    assert likeness.vectors(served) is None, "no table of its graph is taken for item vectors"
    latest = score.score(load(shop.exported("taste")), shop.sequences("customer"), 3)
    assert [set(each.answers) for each in latest] == 3 * [{"propensity", "propensity_categories"}]
    explanation = explain(served, question, "propensity")
    assert explanation.target == str(int(logs[0, 2:].argmax()) + 2)
    assert any(each.effect for each in explanation.effects)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (
            {"unit": "session", "heads": {"next_item": {}}},
            "counts the days before a cut-off, and the unit session has none",
        ),
        ({"heads": {"churn": {}}}, "kind counts gives no answer of kind probability"),
        ({"heads": {"propensity": {"negatives": 9}}}, "heads.propensity: its params are of kind network"),
        ({"encoder": {"units": 9}}, "encoder: is a param of kind network; this model is of kind counts"),
    ],
)
def test_what_makes_no_sense_is_refused(raw_params: Any, model: dict[str, Any], says: str) -> None:
    taste = {"unit": "customer", "kind": "counts", "heads": {"propensity": {}}}
    raw_params["models"]["taste"] = taste | model
    raw_params["champion"]["taste"] = 0
    with pytest.raises(UsageError, match=says):
        check(raw_params)
