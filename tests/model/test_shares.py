"""How answers are mixed is fitted to held-out sessions, and nothing else is."""

from dataclasses import replace

import pytest
import torch
from markov_log import CPU, log, model, sizes

from clickflow.models.answers.ranking import Ranking
from clickflow.models.ensemble import build
from clickflow.models.network import Network
from clickflow.training.batches import windows
from clickflow.training.loop import train
from clickflow.training.shares import fit_shares
from clickflow.training.validation import answer

HELD_OUT = log(220, 1)
CUT = windows(HELD_OUT.offsets, 8, to_the_end=False)


def loss(network: Network) -> float:
    """The mean negative log-likelihood of the held-out sessions."""
    return answer(network, HELD_OUT, CUT).loss({"next_item": 1.0})


def trained(**choices: object) -> Network:
    split = log(300, 0)
    spec = model(epochs=2, heads=("next_item",), **choices)  # type: ignore[arg-type]
    network = train(spec, sizes(split), split, seed=0, settings=CPU).network
    assert isinstance(network, Network)
    return network


@pytest.mark.parametrize(
    "item", [{}, {"associations": False}, {"copy": False}, {"output": "separate"}, {"horizon": 2}], ids=str
)
def test_no_other_mixture_is_likelier_and_all_else_stays(item: dict[str, object]) -> None:
    copy = bool(item.get("copy", True))
    network = trained(item={key: value for key, value in item.items() if key != "copy"}, copy=copy)
    head = network.next_item
    assert isinstance(head, Ranking)
    for weight in head.weighing():
        weight.data += 0.7
    before, first = {name: value.clone() for name, value in network.state_dict().items()}, loss(network)
    fit_shares(network, HELD_OUT, CUT)
    fitted = loss(network)
    assert fitted < first - 0.005
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    allowed = {id(weight) for weight in head.weighing()}
    assert moved <= {name for name, parameter in network.named_parameters() if id(parameter) in allowed}
    if head.habit is not None:
        assert torch.equal(head.habit.weight[:, 1], before["next_item.habit.weight"][:, 1])
    assert all(parameter.requires_grad and parameter.grad is None for parameter in head.weighing())
    for shift in (-0.3, 0.3):
        for weight in head.weighing():
            weight.data += shift
            # what a number is pulled back with may cost as much
            assert loss(network) > fitted - 0.01
            weight.data -= shift


def test_what_chose_the_length_of_training_is_fitted_to_in_the_end() -> None:
    split = log(300, 0)
    spec = model(heads=("next_item",), tokens=1024)
    gains = []
    for epochs in (None, 3):
        chosen = replace(spec, budget=replace(spec.budget, epochs=epochs, patience=2))
        network = train(chosen, sizes(split), split, HELD_OUT, seed=0, settings=CPU).network
        assert isinstance(network, Network)
        before = loss(network)
        fit_shares(network, HELD_OUT, CUT)
        gains.append(before - loss(network))
    assert gains[0] < gains[1] / 2


def test_what_is_no_likelihood_or_hardly_asked_is_left_alone() -> None:
    split = log(30, 0)
    few = windows(split.offsets, 8, to_the_end=False).take(slice(0, 5))
    for item, part, cut in (({"loss": "bpr_max"}, HELD_OUT, CUT), ({}, split, few)):
        network = build(model(item=item), sizes(split))
        assert isinstance(network, Network)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        fit_shares(network, part, cut)
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
