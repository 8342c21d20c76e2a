"""Losses against plain formulas."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from markov_log import KNOWN, log, model, sizes
from torch import Tensor
from torch.nn import functional

from clickflow.models import losses
from clickflow.models.ensemble import build
from clickflow.models.normalize import UnitVectors, normalize
from clickflow.params.models import RankingHead
from clickflow.training.answers import objectives
from clickflow.training.answers.ranking import AUXILIARY
from clickflow.training.batch_loss import loss, prepare
from clickflow.training.batches import gather, windows
from clickflow.training.negatives import Sampler, negatives_of

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
    value = losses.generated(queries, table[targets], table, torch.zeros(K, dtype=torch.float64), hits)
    plain = (queries @ table.t()).log_softmax(1)[torch.arange(N), targets]
    torch.testing.assert_close(value, plain)
    ours = torch.autograd.grad(value.sum(), (queries, table))
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
        value: Tensor = losses.LogNormaliser.apply(queries, table, bias, without)
        return value

    torch.testing.assert_close(ours(queries, table), plain(queries, table))
    assert torch.autograd.gradcheck(ours, (queries, table))


def test_in_bfloat16_the_normaliser_and_its_gradient_are_nearly_the_same() -> None:
    draw = torch.Generator().manual_seed(0)
    queries = (10 * normalize(torch.randn(60, 32, generator=draw), training=False)).requires_grad_()
    table = normalize(torch.randn(500, 32, generator=draw), training=False).requires_grad_()
    bias = torch.rand(500, generator=draw)
    values = []
    for dtype in (torch.float32, torch.bfloat16):
        value = losses.LogNormaliser.apply(queries, table, bias, NOTHING, dtype)
        values.append((value, *torch.autograd.grad(value.mean(), (queries, table))))
    for exact, near in zip(*values, strict=True):
        assert near.dtype == torch.float32
        assert (near - exact).norm() < 0.01 * exact.norm()
        assert not torch.equal(near, exact)


def test_drawn_candidates_estimate_the_sum_over_all_without_bias() -> None:
    counts = np.concatenate([[0, 0], np.random.default_rng(0).integers(1, 400, 50)])
    sampler = Sampler.of_counts(counts, 16, 0.5)
    scores = np.random.default_rng(1).normal(size=52)
    drawn = [sampler.draw(np.random.default_rng([2, i])) for i in range(4000)]
    assert all(items.min() >= 2 and len(np.unique(items)) == len(items) for items, _, _ in drawn)
    estimates = [np.exp(scores[items] + bias).sum() for items, bias, _ in drawn]
    exact = np.exp(scores[2:]).sum()
    assert abs(np.mean(estimates) - exact) < 4 * np.std(estimates) / len(estimates) ** 0.5


def test_candidates_are_drawn_by_the_root_of_their_count() -> None:
    sampler = Sampler.of_counts(np.array([0, 0, 100, 400, 0]), 10, 0.5)
    np.testing.assert_allclose(sampler.probability, np.array([0, 0, 10, 20, 1]) / 31)


def test_the_correction_is_log_of_times_drawn_over_times_expected() -> None:
    sampler = Sampler.of_counts(np.array([0, 0, 9, 9]), 5, 0.5)
    items, bias, _ = sampler.draw(np.random.default_rng(0))
    times = np.exp(bias) * 2.5
    assert items.tolist() == [2, 3]
    np.testing.assert_allclose(times.sum(), 5, rtol=1e-6)
    np.testing.assert_allclose(times, np.round(times), atol=1e-5)


def test_a_mixture_is_the_log_of_its_formula() -> None:
    p, g, c = (torch.rand(20, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in range(3))
    c[3], g[4] = 0.0, 0.0
    torch.testing.assert_close(losses.mixed(p.log(), 1 - g, g * c), ((1 - g) * p + g * c).log())


def test_unit_vectors_and_their_gradient_are_torchs() -> None:
    vectors = torch.randn(4, 3, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    torch.testing.assert_close(normalize(vectors, training=True), normalize(vectors, training=False))
    assert torch.autograd.gradcheck(UnitVectors.apply, (vectors,))
    nothing = torch.zeros(2, D, requires_grad=True)
    normalize(nothing, training=True).sum().backward()
    assert nothing.grad is not None
    assert torch.isfinite(nothing.grad).all()


def test_smoothing_shares_the_label_among_all_items_as_torch_does() -> None:
    queries, table = vectors(2)
    targets, none = torch.tensor([0, 3, 3, 10, 5, 1, 9]), torch.zeros(K, dtype=torch.float64)
    likelihood = losses.generated(queries, table[targets], table, none, (torch.arange(N), targets))
    value = losses.smoothed(likelihood, queries, table[targets], table, none, 0.1, K)
    plain = functional.cross_entropy(queries @ table.t(), targets, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(-value, plain)
    ours, theirs = (torch.autograd.grad(loss.sum(), (queries, table)) for loss in (-value, plain))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def negatives() -> tuple[Tensor, Tensor, Tensor, list[list[int]]]:
    """Scores of targets and of negatives, how often each was drawn, and which of them are not the target."""
    draw = torch.Generator().manual_seed(3)
    score, scores = (torch.randn(*shape, generator=draw, dtype=torch.float64) * 3 for shape in ((N,), (N, K)))
    times = torch.randint(1, 4, (K,), generator=draw).double()
    return score, scores, times, [[k for k in range(K) if (n, k) not in {(0, 2), (4, 2), (6, 10)}] for n in range(N)]


WITHOUT = (torch.tensor([0, 4, 6]), torch.tensor([2, 2, 10]))


@pytest.mark.parametrize("strength", [0.0, 0.7])
def test_bpr_max_is_its_formula(strength: float) -> None:
    score, scores, times, others = negatives()
    value = losses.bpr_max(score, scores, times.log(), WITHOUT, strength)
    for n, drawn in enumerate(others):
        total = sum(times[k] * scores[n, k].exp() for k in drawn)
        above = sum(times[k] * scores[n, k].exp() / total * torch.sigmoid(score[n] - scores[n, k]) for k in drawn)
        size = sum(times[k] * scores[n, k].exp() / total * scores[n, k] ** 2 for k in drawn)
        torch.testing.assert_close(value[n], -torch.log(torch.as_tensor(above)) + strength * size)


@pytest.mark.parametrize("strength", [0.0, 0.7])
def test_bpr_max_has_the_gradient_of_its_formula(strength: float) -> None:
    score, scores, times, _ = negatives()
    given = score.requires_grad_(), scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda r, rs: losses.bpr_max(r, rs, times.log(), WITHOUT, strength), given)


@pytest.mark.parametrize("calibration", [0.0, 0.75, 1.0])
def test_bce_is_its_formula(calibration: float) -> None:
    score, scores, times, others = negatives()
    value = losses.bce(score, scores, times.log(), WITHOUT, calibration, items=101)
    share = times.sum() / 100
    # the exponent as it stands in the article
    beta = share * (calibration * (1 - 1 / share) + 1 / share)
    for n, drawn in enumerate(others):
        negative = sum(times[k] * torch.log(1 - torch.sigmoid(scores[n, k])) for k in drawn)
        torch.testing.assert_close(value[n], -beta * torch.log(torch.sigmoid(score[n])) - negative)


def test_calibrated_bce_finds_the_probability_whatever_share_is_drawn_and_plain_bce_does_not() -> None:
    """One item is right in 30 of 100 cases: where is the expected loss least?"""
    candidates = torch.linspace(-6, 6, 2401, dtype=torch.float64)
    for share in (0.01, 0.2, 1.0):
        chances = {}
        for calibration in (0.0, 1.0):
            beta = 1 - calibration * (1 - share)
            # as in `bce`, in expectation: drawn as a negative by the share where another item is right
            expected = 0.3 * beta * functional.softplus(-candidates) + 0.7 * share * functional.softplus(candidates)
            chances[calibration] = float(torch.sigmoid(candidates[expected.argmin()]))
        assert chances[1.0] == pytest.approx(0.3, abs=0.01)
        assert chances[0.0] == pytest.approx(0.3 / (0.3 + 0.7 * share), abs=0.01)


@pytest.mark.parametrize("loss", ["bpr_max", "bce"])
def test_nothing_but_the_target_was_drawn_and_the_loss_is_finite(loss: str) -> None:
    score, scores = torch.zeros(1, requires_grad=True), torch.full((1, 1), 9.0, requires_grad=True)
    target = (torch.tensor([0]), torch.tensor([0]))
    times = torch.zeros(1)
    value = (
        losses.bpr_max(score, scores, times, target, 1.0)
        if loss == "bpr_max"
        else losses.bce(score, scores, times, target, 0.75, 2)
    )
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(scores.grad).all()


def test_what_a_loss_draws_by_is_its_own() -> None:
    steps = np.repeat([2, 3, 4], [400, 100, 1])
    head = model().heads["next_item"]
    assert isinstance(head, RankingHead)
    seen = {}
    for name in ("sampled", "bce"):
        draw = negatives_of(replace(head, loss=name, negatives=2), 5, steps)
        drawn = [draw(np.random.default_rng(i)) for i in range(3000)]
        seen[name] = np.bincount(
            np.concatenate([np.repeat(sample.items, np.exp(sample.times).round().astype(int)) for sample in drawn])
        )[2:]
        assert seen[name].sum() == 6000
    np.testing.assert_allclose(seen["sampled"] / 6000, np.array([20, 10, 1]) / 31, atol=0.02)
    np.testing.assert_allclose(seen["bce"] / 6000, np.ones(3) / 3, atol=0.02)
    for name, negatives in (("full", 1), ("bce", 3), ("bpr_max", 99)):
        sample = negatives_of(replace(head, loss=name, negatives=negatives), 5, steps)(np.random.default_rng(0))
        assert (sample.items.tolist(), sample.bias.tolist(), sample.times.tolist()) == ([2, 3, 4], [0.0] * 3, [0.0] * 3)


@pytest.mark.parametrize("item", [{"loss": "bpr_max"}, {"loss": "bce", "output": "separate"}], ids=str)
def test_only_the_sharpness_learns_by_likelihood_where_the_loss_is_none(item: dict[str, object]) -> None:
    split = log(30, 0)
    torch.manual_seed(0)
    network = build(
        model(copy=False, heads=("next_item",), item={"associations": False, **item}, dropout=0.0), sizes(split)
    )
    cut = windows(split.offsets, 8, to_the_end=False)
    asking = objectives(network.spec, network.sizes)
    batch = gather(split, cut, network.inputs, asking, KNOWN)
    step = prepare(batch, asking, np.random.default_rng(0), "cpu")
    (target,) = batch.targets["next_item"]
    gradients = []
    for sharpness in (0.0, 0.5):
        assert network.next_item.sharpness is not None
        network.next_item.sharpness.data.fill_(sharpness)
        network.zero_grad()
        step_loss = loss(network, asking, step, network.items[step.rows])
        step_loss.total.backward()
        assert network.next_item.sharpness.grad
        gradients.append(network.encoder.readout.weight.grad.clone())
        inputs = {name: torch.from_numpy(values) for name, values in batch.inputs.items()}
        row, column = (torch.from_numpy(i) for i in np.nonzero(target > 0))
        answers = network(inputs, row, column)["next_item"]
        own = answers.gather(1, torch.from_numpy(target)[row, column].unsqueeze(1))
        torch.testing.assert_close(step_loss.heads["next_item"][0], -own.mean(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("associations", [True, False])
def test_what_is_trained_is_minus_the_log_probability_that_the_network_answers(copy: bool, associations: bool) -> None:
    split = log(30, 0)
    torch.manual_seed(0)
    network = build(model(copy=copy, item={"associations": associations}), sizes(split)).eval()
    cut = windows(split.offsets, 8, to_the_end=True)
    asking = objectives(network.spec, network.sizes)
    batch = gather(split, cut, network.inputs, asking, KNOWN)
    next_item, next_action = batch.targets["next_item"][0], batch.targets["next_action"][0]
    # as if the sessions before each had held what all hold, which is what the network takes with it
    table = sizes(split).associations
    counts = np.zeros((KNOWN, KNOWN), np.float32)
    np.add.at(counts, (np.arange(KNOWN)[:, None], table.items), table.counts)
    items = batch.inputs["item"]
    before = counts[next_item[:, :, None], items[:, None, :]], table.support[items]
    if copy:
        network.next_item.returns.data.normal_(std=0.1)
    step = prepare(batch, asking, np.random.default_rng(0), "cpu", before)
    step_loss = loss(network, asking, step, network.items[step.rows])
    inputs = {name: torch.from_numpy(values) for name, values in batch.inputs.items()}
    row, column = (torch.from_numpy(i) for i in np.nonzero(next_action >= 0))
    answers = network(inputs, row, column)
    item, action = (torch.from_numpy(t)[row, column] for t in (next_item, next_action))
    action_loss = -answers["next_action"].gather(1, action.unsqueeze(1)).mean()
    item_loss = -answers["next_item"][item > 0].gather(1, item[item > 0].unsqueeze(1)).mean()
    torch.testing.assert_close(step_loss.heads["next_item"][0], item_loss)
    torch.testing.assert_close(step_loss.heads["next_action"][0], action_loss)
    assert step_loss.heads["next_item"][1] == int((item > 0).sum())
    share = network.spec.heads["next_action"].weight
    if not copy and not associations:
        torch.testing.assert_close(step_loss.total, item_loss + share * action_loss)
    else:
        assert step_loss.total > item_loss + share * action_loss + AUXILIARY * 0.1
