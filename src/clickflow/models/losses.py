"""Loss functions.

Shapes: N questions, D units, K items that stand for all (sampled, or simply all).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 1 << 24
"""How many scores are held for the backward pass; beyond, they are computed again, a block of rows at a time."""
GRAIN = 256
"""Sizes of the big products are rounded up to this: for every new shape oneDNN makes a kernel, which takes longer."""
SMALL = 1e-24
"""Keeps the log of BPR-max finite, as in the authors' code."""


class LogNormaliser(torch.autograd.Function):
    """log sum_k exp(query . vector_k + bias_k), without some pairs, keeping one [N, K] matrix at most.

    Written out because autograd would keep four of them, which is most of a training step's time on a CPU. Scores are
    bounded (cosines times a temperature), so no maximum is subtracted. The matrix and the products with it are in
    `dtype` (None: in that of the queries); in bfloat16 a sum of a thousand is off by 0.1%.
    """

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        vectors: Tensor,
        bias: Tensor,
        without: tuple[Tensor, Tensor],
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Queries [N, D], vectors [K, D], bias [K], `without` (rows, columns) of the pairs left out, to [N]."""
        ctx.exact, ctx.dtype, ctx.sizes = queries.dtype, dtype or queries.dtype, (len(queries), len(vectors))
        # the bias is a factor of the sum: that spares a pass over the matrix; what is added to round up has factor 0
        queries, vectors, factors = (_rounded(each.to(ctx.dtype)) for each in (queries, vectors, bias.exp()))
        rows = max(1, BLOCK // max(1, vectors.shape[0]))
        if queries.shape[0] <= rows:
            scores = _exponentials(queries, vectors, without, 0, queries.shape[0])
            total = scores @ factors
        else:
            scores = queries.new_empty(0)
            total = torch.cat(
                [
                    _exponentials(queries, vectors, without, start, start + rows) @ factors
                    for start in range(0, queries.shape[0], rows)
                ]
            )
        # where every pair is left out the sum is 0: a floor keeps the log finite
        total = total[: ctx.sizes[0]].to(ctx.exact).clamp(min=1e-30)
        ctx.save_for_backward(queries, vectors, factors, *without, scores, total)
        return total.log()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        """Gradients of queries and vectors; the bias is data."""
        queries, vectors, factors, *without, scores, total = ctx.saved_tensors
        weight, factors = _rounded(grads[0] / total).unsqueeze(1), factors.unsqueeze(1)
        weighted = (queries * weight).to(ctx.dtype)
        size, given = ctx.sizes
        if scores.numel():
            of_queries = scores @ (vectors * factors)
            of_vectors = weighted.t() @ scores if ctx.needs_input_grad[1] else None
        else:
            of_queries, of_vectors = torch.empty_like(queries), torch.zeros_like(vectors.t())
            rows = max(1, BLOCK // max(1, vectors.shape[0]))
            for start in range(0, queries.shape[0], rows):
                part = slice(start, start + rows)
                scores = _exponentials(queries, vectors, (without[0], without[1]), start, start + rows)
                of_queries[part] = scores @ (vectors * factors)
                of_vectors.addmm_(weighted[part].t(), scores)
        of_queries = of_queries[:size].to(ctx.exact).mul_(weight[:size])
        if of_vectors is not None:
            of_vectors = of_vectors.t()[:given].to(ctx.exact) * factors[:given]
        return of_queries, of_vectors, None, None, None


def _rounded(rows: Tensor) -> Tensor:
    """[n, …] with rows of 0 up to the next multiple of `GRAIN`."""
    more = -len(rows) % GRAIN
    return functional.pad(rows, (0, 0, 0, more) if rows.dim() > 1 else (0, more)) if more else rows


def _exponentials(queries: Tensor, vectors: Tensor, without: tuple[Tensor, Tensor], start: int, stop: int) -> Tensor:
    """exp(scores) of the rows start to stop, 0 where a pair is left out."""
    scores = (queries[start:stop] @ vectors.t()).exp_()
    rows, columns = without
    if stop - start < queries.shape[0]:
        inside = (rows >= start) & (rows < stop)
        rows, columns = rows[inside] - start, columns[inside]
    scores[rows, columns] = 0.0
    return scores


class Own(NamedTuple):
    """Of the session's own items, [N] each: `total` the sum of their exponentiated scores; whether the `target` is one
    of them, and the `bias` that its score then has.
    """

    total: Tensor
    bias: Tensor
    target: Tensor


def generated(
    queries: Tensor,
    targets: Tensor,
    vectors: Tensor,
    bias: Tensor,
    without: tuple[Tensor, Tensor],
    own: Own | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """log softmax of the target's score, [N].

    `targets` [N, D] are the targets' vectors, `vectors` [K, D] stand for all items: `bias` [K] is minus the log of
    how often each was to be expected among the draws (the logQ correction, Bengio & Senécal 2008; Yi et al. 2019), 0
    for a full softmax; `without` are the accidental hits, where a vector is the target itself; `own`: the session's
    items, which are then none of the `vectors` either; `dtype` of the products.
    """
    score = (queries * targets).sum(-1)
    rest: Tensor = LogNormaliser.apply(queries, vectors, bias, without, dtype)  # type: ignore[no-untyped-call]
    if own is None:
        return score - torch.logaddexp(score, rest)
    score, rest = score + own.bias, torch.logaddexp(rest, own.total.clamp(min=1e-30).log())
    return score - torch.where(own.target, rest, torch.logaddexp(score, rest))


def mixed(generated: Tensor, share: Tensor, added: Tensor) -> Tensor:
    """log(s p + a), all [N]: `generated` log p, `share` s of the softmax, `added` a what is said beside it."""
    return torch.logaddexp(generated + share.clamp(min=1e-6).log(), added.clamp(min=1e-30).log())


def smoothed(
    likelihood: Tensor, queries: Tensor, targets: Tensor, vectors: Tensor, bias: Tensor, share: float, items: int
) -> Tensor:
    """(1 - e) log p of the target + e mean of log p over all `items`, [N]: label smoothing (Szegedy et al. 2016).

    `likelihood` is what `generated` gave for the same arguments. The mean over the draws estimates the one over all.
    """
    mean = queries @ (bias.exp() @ vectors) / items
    return likelihood + share * (mean - (queries * targets).sum(-1))


class BprMax(torch.autograd.Function):
    """`bpr_max` with its gradient written out, which takes half the passes over [N, K] that autograd would."""

    @staticmethod
    def forward(
        ctx: Any, score: Tensor, scores: Tensor, times: Tensor, without: tuple[Tensor, Tensor], regularisation: float
    ) -> Tensor:
        """See `bpr_max`."""
        logits = scores + times
        logits[without] = -1e9
        weights = logits.softmax(-1)
        above = (score.unsqueeze(1) - scores).sigmoid_()
        mean = torch.linalg.vecdot(weights, above)
        size = torch.linalg.vecdot(weights, scores.square())
        ctx.save_for_backward(scores, weights, above, mean, size)
        ctx.regularisation = regularisation
        loss: Tensor = regularisation * size - torch.log(mean + SMALL)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        """Gradients of the targets' and the negatives' scores."""
        scores, weights, above, mean, size = ctx.saved_tensors
        above = above.square()
        of_score = (torch.linalg.vecdot(weights, above) - mean) / (mean + SMALL)
        of_scores = (mean.unsqueeze(1) - above).div_((mean + SMALL).unsqueeze(1))
        if ctx.regularisation:
            of_scores.add_((scores + 2).mul_(scores).sub_(size.unsqueeze(1)), alpha=ctx.regularisation)
        return grads[0] * of_score, of_scores.mul_(weights).mul_(grads[0].unsqueeze(1)), None, None, None


def bpr_max(
    score: Tensor, scores: Tensor, times: Tensor, without: tuple[Tensor, Tensor], regularisation: float
) -> Tensor:
    """BPR-max with score regularisation (Hidasi & Karatzoglou 2018), [N]: the target should stand above the negatives,
    those with high scores first.

    -log sum_j w_j sigmoid(r - r_j) + regularisation * sum_j w_j r_j^2, where w is the softmax of the negatives' scores.
    `score` [N] is the target's r, `scores` [N, K] the negatives'; `times` [K] the log of how often each was drawn.
    """
    losses: Tensor = BprMax.apply(score, scores, times, without, regularisation)  # type: ignore[no-untyped-call]
    return losses


def bce(
    score: Tensor, scores: Tensor, times: Tensor, without: tuple[Tensor, Tensor], calibration: float, items: int
) -> Tensor:
    """Binary cross-entropy of the target against negatives, [N], calibrated as in gSASRec (Petrov & Macdonald 2023).

    -beta log sigmoid(r) - sum_j log(1 - sigmoid(r_j)), beta = 1 - t (1 - a): a is the share of the other items that
    was drawn (evenly), t `calibration`. With t = 1 sigmoid(r) tends to the item's probability whatever a is, with
    t = 0 it is too high by as much as negatives are too few. As a sum, not a mean: so it weighs like a likelihood.
    """
    drawn = (times.exp().sum() / max(1, items - 1)).clamp(max=1.0)
    negative = (functional.softplus(scores) * times.exp()).index_put(without, scores.new_tensor(0.0))
    return (1 - calibration * (1 - drawn)) * functional.softplus(-score) + negative.sum(-1)
