"""Losses against plain formulas."""

import numpy as np
import pytest
import torch
from markov_log import KNOWN, log, model, sizes
from torch import Tensor

from clickflow.models import losses
from clickflow.models.directions import UnitVectors, unit
from clickflow.models.network import build
from clickflow.training.batches import NO_ACTION, gather, windows
from clickflow.training.objective import AUXILIARY, Sampler, everything, loss, prepare

N, D, K = 7, 5, 11
NOTHING = (torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))


def vectors(seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    queries = torch.randn(N, D, generator=draw, dtype=torch.float64, requires_grad=True)
    return queries, torch.randn(K, D, generator=draw, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("block", [1 << 24, 3 * K], ids=["in one", "in blocks"])
def test_with_every_item_as_a_candidate_the_loss_is_the_full_softmax(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "BLOCK", block)
    queries, table = vectors()
    targets = torch.tensor([0, 3, 3, 10, 5, 1, 9])
    hits = (torch.arange(N), targets)
    found = losses.generated(queries, table[targets], table, torch.zeros(K, dtype=torch.float64), hits)
    plain = (queries @ table.t()).log_softmax(1)[torch.arange(N), targets]
    torch.testing.assert_close(found, plain)
    ours = torch.autograd.grad(found.sum(), (queries, table))
    theirs = torch.autograd.grad(plain.sum(), (queries, table))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("block", [1 << 24, 2 * K], ids=["in one", "in blocks"])
def test_the_normaliser_has_the_gradient_of_its_formula(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "BLOCK", block)
    queries, table = vectors(1)
    bias = torch.randn(K, dtype=torch.float64)
    without = (torch.tensor([0, 4, 6]), torch.tensor([2, 2, 10]))

    def plain(queries: Tensor, table: Tensor) -> Tensor:
        scores = queries @ table.t() + bias
        mask = torch.zeros(N, K, dtype=torch.bool)
        mask[without] = True
        return scores.masked_fill(mask, -torch.inf).logsumexp(1)

    def ours(queries: Tensor, table: Tensor) -> Tensor:
        found: Tensor = losses.LogNormaliser.apply(queries, table, bias, without)
        return found

    torch.testing.assert_close(ours(queries, table), plain(queries, table))
    assert torch.autograd.gradcheck(ours, (queries, table))


def test_drawn_candidates_estimate_the_sum_over_all_without_bias() -> None:
    counts = np.concatenate([[0, 0], np.random.default_rng(0).integers(1, 400, 50)])
    sampler = Sampler.of_counts(counts, 16)
    scores = np.random.default_rng(1).normal(size=52)
    drawn = [sampler.draw(np.random.default_rng([2, i])) for i in range(4000)]
    assert all(items.min() >= 2 and len(np.unique(items)) == len(items) for items, _ in drawn)
    estimates = [np.exp(scores[items] + bias).sum() for items, bias in drawn]
    exact = np.exp(scores[2:]).sum()
    assert abs(np.mean(estimates) - exact) < 4 * np.std(estimates) / len(estimates) ** 0.5


def test_candidates_are_drawn_by_the_root_of_their_count() -> None:
    sampler = Sampler.of_counts(np.array([0, 0, 100, 400, 0]), 10)
    np.testing.assert_allclose(sampler.probability, np.array([0, 0, 10, 20, 1]) / 31)


def test_the_correction_is_log_of_times_drawn_over_times_expected() -> None:
    sampler = Sampler.of_counts(np.array([0, 0, 9, 9]), 5)
    items, bias = sampler.draw(np.random.default_rng(0))
    times = np.exp(bias) * 2.5
    assert items.tolist() == [2, 3]
    np.testing.assert_allclose(times.sum(), 5, rtol=1e-6)
    np.testing.assert_allclose(times, np.round(times), atol=1e-5)


def test_a_mixture_is_the_log_of_its_formula() -> None:
    p, g, c = (torch.rand(20, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in range(3))
    c[3], g[4] = 0.0, 0.0
    torch.testing.assert_close(losses.mixed(p.log(), g, c), ((1 - g) * p + g * c).log())


def test_unit_vectors_and_their_gradient_are_torchs() -> None:
    vectors = torch.randn(4, 3, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    torch.testing.assert_close(unit(vectors, training=True), unit(vectors, training=False))
    assert torch.autograd.gradcheck(UnitVectors.apply, (vectors,))
    nothing = torch.zeros(2, D, requires_grad=True)
    unit(nothing, training=True).sum().backward()
    assert nothing.grad is not None
    assert torch.isfinite(nothing.grad).all()


@pytest.mark.parametrize("copy", [True, False])
def test_what_is_trained_is_minus_the_log_probability_that_the_network_answers(copy: bool) -> None:
    split = log(30, 0)
    torch.manual_seed(0)
    network = build(model(copy=copy), sizes(split)).eval()
    cut = windows(split.offsets, 8, to_the_end=True)
    batch = gather(split, cut, network.inputs, KNOWN, len(network.sizes.actions))
    step = prepare(batch, everything(KNOWN), np.random.default_rng(0), "cpu")
    found = loss(network, step, network.items[step.rows])
    inputs = {name: torch.from_numpy(values) for name, values in batch.inputs.items()}
    row, column = (torch.from_numpy(i) for i in np.nonzero(batch.next_action != NO_ACTION))
    answers = network(inputs, row, column)
    item, action = (torch.from_numpy(t)[row, column] for t in (batch.next_item, batch.next_action))
    action_loss = -answers["next_action"].gather(1, action.unsqueeze(1)).mean()
    item_loss = -answers["next_item"][item > 0].gather(1, item[item > 0].unsqueeze(1)).mean()
    torch.testing.assert_close(found.heads["next_item"][0], item_loss)
    torch.testing.assert_close(found.heads["next_action"][0], action_loss)
    assert found.heads["next_item"][1] == int((item > 0).sum())
    if not copy:
        torch.testing.assert_close(found.total, item_loss + 0.2 * action_loss)
    else:
        assert found.total > item_loss + 0.2 * action_loss + AUXILIARY * 0.1
