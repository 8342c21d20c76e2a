"""Hand-made features joined to a network: learned from, exported, asked, and refused where they mean nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
import torch
import yaml

from clickflow import features
from clickflow.artefact import asking, checks, export
from clickflow.artefact.alone import alone, by_features
from clickflow.artefact.artefact import load
from clickflow.artefact.windows import batch, of_split
from clickflow.models.hand_made import HandMade, placed, read_by
from clickflow.models.saved import load_trained
from clickflow.params.file import check
from clickflow.sequences.store import open_split, read_card
from clickflow.system.errors import DataError, UsageError
from clickflow.system.paths import Paths
from clickflow.training import stage
from clickflow.training.answers.classes import regression

MODEL = "next_step"


@pytest.fixture
def raw(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    model = content["models"][MODEL]
    model["heads"] = {"next_item": {}, "exit": {}}
    model["encoder"] |= {"units": 8, "hand_made": True}
    model["budget"] = {"epochs": 2, "batch_tokens": 128, "max_length": 8}
    return content


def test_what_is_missing_is_told_apart_and_nothing_is_added_at_first() -> None:
    module = HandMade(3, 4)
    values = torch.tensor([[1.0, torch.nan, 7.0], [100.0, 2.0, 7.0], [0.0, -5.0, 7.0]])
    module.learn_scale(values)
    assert (module(values) == 0).all()
    torch.nn.init.ones_(module.score.weight)
    output = module(values)
    assert torch.isfinite(output).all()
    same = values.clone()
    same[:, 2] = 6.0
    assert torch.equal(module(same), output), "what does not vary in training says nothing"
    put = placed(values, torch.tensor([0, 1, 1]), torch.tensor([2, 0, 1]), torch.Size([2, 3]))
    assert put.shape == (2, 3, 3)
    assert torch.equal(put[1, 0], values[1])
    assert (put[0, :2] == 0).all()


def test_a_column_that_is_the_same_in_all_rows_has_no_weight_and_moves_no_other() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(400, 3, generator=draw)
    target = (x[:, 0] + torch.randn(400, generator=draw) > 0).long()
    weight, bias = regression(x, target, 2)
    constant = torch.cat([torch.ones(400, 1), x, torch.zeros(400, 2)], dim=1)
    beside, same = regression(constant, target, 2)
    torch.testing.assert_close(beside[:, 1:4], weight)
    torch.testing.assert_close(same, bias)
    assert not beside[:, [0, 4, 5]].any()
    assert float((x @ weight.t() + bias).argmax(1).eq(target).float().mean()) > 0.7


def test_a_network_that_reads_them_ships(raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLICKFLOW_HOME", str(tmp_path / "home"))
    paths, store = Paths(tmp_path), Paths(tmp_path).sequences("session")
    small_models.shop(store)
    params = check(raw)
    stage.run(params, paths, MODEL)
    network = load_trained(paths.trained(MODEL))
    assert network.sizes.hand_made == features.names("session")
    export.run(params, paths, MODEL)  # holds the artefact against the network, and looks for what is later
    artefact = load(paths.exported(MODEL))
    assert artefact.features == features.names("session")
    split, card = open_split(store, "test"), read_card(store)
    positions = of_split(split, np.arange(20), artefact.max_length)
    one_to_one = checks.identity(split, card)
    every = np.arange(len(positions))
    answers = asking.answers(artefact, split, positions, every, one_to_one)["exit"]
    dearer = split.with_columns(price=np.asarray(split.price) * 50)
    others = asking.answers(artefact, dearer, positions, every, one_to_one)["exit"]
    assert not np.allclose(answers, others), "prices are read by hand-made features alone"
    np.testing.assert_allclose(np.exp(answers).sum(1), 1, atol=1e-5)
    ranking, ending = (alone(artefact, name) for name in ("next_item", "exit"))
    assert (ranking.features, ending.features) == ((), artefact.features), "rankings read no hand-made features"
    whole = asking.answers(artefact, split, positions, every, one_to_one)
    for part in (ranking, ending):
        (name,) = part.outputs
        own = asking.answers(part, split, positions, every, one_to_one)
        assert own.keys() == {name}
        np.testing.assert_array_equal(own[name], whole[name])
    inputs, row, column = batch(split, positions, every, ending.inputs, one_to_one)
    table = asking.hand_made("session", ending.features, split, positions, every, read_card(store))
    answer = by_features(ending, "exit", ending.feed(inputs, row, column, features=table))
    for values in (table, table[::-1].copy()):
        np.testing.assert_array_equal(answer(values), ending.scores(inputs, row, column, features=values)["exit"])
    model = paths.exported(MODEL) / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    with pytest.raises(DataError, match="has changed since it was loaded"):
        alone(artefact, "exit")


def test_questions_that_augmentation_moves_are_an_error(raw: dict[str, Any]) -> None:
    raw["models"][MODEL]["augmentation"] = {"crop": 0.1, "mask": 0.1, "substitute": 0.1, "adversarial": 0.1}
    check(raw)
    raw["models"][MODEL]["augmentation"] = {"reorder": 0.1}
    with pytest.raises(UsageError, match=r"encoder\.hand_made: augmentation\.reorder moves questions"):
        check(raw)


def test_a_network_none_of_whose_heads_reads_them_has_none(raw: dict[str, Any]) -> None:
    assert read_by(check(raw).models[MODEL]) == features.names("session")
    raw["models"][MODEL]["heads"] = {"next_item": {}}
    assert read_by(check(raw).models[MODEL]) == ()
