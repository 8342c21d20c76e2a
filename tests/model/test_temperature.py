"""Scores of losses that are no likelihoods become probabilities that hold."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from markov_log import CPU, log, model, sizes

from clickflow.models.ensemble import build
from clickflow.models.network import Network
from clickflow.training.batches import windows
from clickflow.training.loop import train
from clickflow.training.temperature import fit_temperature
from clickflow.training.validation import answer


def loss_at(network: Network, sharpness: float) -> float:
    """The mean negative log-likelihood of other sessions."""
    assert network.next_item.sharpness is not None
    network.next_item.sharpness.data.fill_(sharpness)
    split = log(60, 1)
    return answer(network, split, windows(split.offsets, 8, to_the_end=False)).loss({"next_item": 1.0})


@pytest.mark.parametrize("copy", [True, False])
def test_the_sharpness_found_is_the_likeliest_one(copy: bool) -> None:
    split, other = log(300, 0), log(60, 1)
    spec = model(epochs=2, copy=copy, heads=("next_item",), item={"loss": "bpr_max", "regularisation": 0.1})
    network = train(spec, sizes(split), split, seed=0, settings=CPU).network
    assert network.next_item.sharpness is not None
    network.next_item.sharpness.data.fill_(1.5)
    fit_temperature(network, other, windows(other.offsets, 8, to_the_end=False))
    fitted = float(network.next_item.sharpness.detach())
    at = {shift: loss_at(network, fitted + shift) for shift in (-0.2, -0.02, 0.0, 0.02, 0.2)}
    assert at[0.0] <= min(at.values()) + 1e-5
    assert at[-0.2] > at[0.0]


@pytest.mark.parametrize("item", [{"loss": "bpr_max", "regularisation": 0.0}, {"loss": "bce"}], ids=str)
def test_after_training_no_other_sharpness_is_much_likelier_and_items_are_still_found(item: dict[str, object]) -> None:
    split, valid = log(1200, 0), log(150, 1)
    spec = model(
        epochs=6,
        tokens=512,
        features=(),
        heads=("next_item",),
        item={**item, "associations": False},
        copy=False,
        dropout=0.0,
    )
    trained = train(spec, sizes(split), split, valid, seed=0, settings=CPU)
    network = trained.network
    test = log(200, 5)
    answers = answer(network, test, windows(test.offsets, 8, to_the_end=False))
    assert answers.heads["next_item"].recall(1) > 0.6, "the successor is right in 80 of 100 cases"
    assert network.next_item.sharpness is not None
    fitted = float(network.next_item.sharpness.detach())
    here = answers.loss({"next_item": 1.0})
    assert here < np.log(60) * 0.75
    for shift in (-1.0, -0.5, 0.5, 1.0):
        network.next_item.sharpness.data.fill_(fitted + shift)
        assert answer(network, test, windows(test.offsets, 8, to_the_end=False)).loss({"next_item": 1.0}) > here


def test_it_leaves_likelihoods_alone_and_does_without_questions() -> None:
    split = log(10, 0)
    for item in ({"loss": "sampled"}, {"loss": "bce"}):
        network = build(model(item=item), sizes(split))
        before = {name: value.clone() for name, value in network.state_dict().items()}
        cut = windows(split.offsets, 8, to_the_end=True)
        fit_temperature(network, split, cut if item["loss"] == "sampled" else cut.take(slice(0, 0)))
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_without_a_valid_part_it_is_fitted_on_what_was_trained_on() -> None:
    split = log(100, 0)
    spec = model(epochs=1, item={"loss": "bce"})
    trained = train(spec, sizes(split), split, seed=0, settings=replace(CPU))
    assert trained.network.next_item.sharpness is not None
    fitted = trained.network.next_item.sharpness.detach().clone()
    fit_temperature(trained.network, split, windows(split.offsets, 8, to_the_end=True))
    torch.testing.assert_close(trained.network.next_item.sharpness.detach(), fitted)
