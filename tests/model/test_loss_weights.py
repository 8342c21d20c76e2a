"""The weights of several heads' losses, learned beside them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from markov_log import CPU, log, model, sizes

from clickflow.models.saved import load_trained, save
from clickflow.params.file import check
from clickflow.params.models import own
from clickflow.system.errors import UsageError
from clickflow.training.checkpoints import Checkpoints
from clickflow.training.loop import Trained, train

LEARNED = replace(model(), loss_weights="learned")


def go(spec: Any, checkpoints: Checkpoints | None = None, limit: int | None = None) -> Trained:
    split = log(150, 0)
    along: dict[str, Any] = {"seed": 0, "settings": CPU, "checkpoints": checkpoints, "max_steps": limit}
    return train(spec, sizes(split), split, log(30, 1), **along)


def test_a_head_counts_as_much_as_it_is_sure() -> None:
    """At rest a weight is 1 / (2 loss): of a quick optimiser it comes near that, whatever the scale of the loss."""
    quick = replace(LEARNED, optimiser=replace(LEARNED.optimiser, learning_rate=0.05), budget=replace(
        LEARNED.budget, epochs=12))  # fmt: skip
    record = go(quick).history[-1]
    assert set(record["loss_weights"]) == {"next_item", "next_action"}
    assert record["loss_weights"]["next_action"] == pytest.approx(1 / (2 * record["train"]["next_action"]), rel=0.25)
    assert record["loss_weights"]["next_item"] < 0.5 < record["loss_weights"]["next_action"]


def test_stopped_and_continued_they_are_the_same(tmp_path: Path) -> None:
    whole = go(LEARNED)
    go(LEARNED, Checkpoints(tmp_path, 0.0), 7)
    continued = go(LEARNED, Checkpoints(tmp_path, 0.0))
    assert continued.history == whole.history
    expected = whole.network.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in continued.network.state_dict().items())


def test_what_ships_holds_none_of_them_and_the_card_says_so(tmp_path: Path) -> None:
    trained = go(LEARNED)
    assert trained.network.state_dict().keys() == go(model()).network.state_dict().keys()
    save(trained.network, tmp_path, {})
    assert load_trained(tmp_path).spec.loss_weights == "learned"


def test_who_does_not_learn_them_has_the_model_of_before() -> None:
    assert "loss_weights" not in own(model())
    assert own(LEARNED)["loss_weights"] == "learned"


def test_one_head_has_nothing_to_be_weighed_against(raw_params: Any) -> None:
    raw_params["models"]["next_step"] |= {"loss_weights": "learned", "heads": {"next_item": {}}}
    with pytest.raises(UsageError, match="loss_weights: weighs several heads"):
        check(raw_params)
