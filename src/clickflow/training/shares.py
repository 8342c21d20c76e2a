"""Mixture weights, fitted again to held-out sessions: how far a head trusts its softmax, its copy and its associations,
and how it ranks the session's own items.

In training the softmax answers about sessions that it has read several times, so the other parts seem to be worth less,
and returns rarer, than they are for sessions to come. So once the weights are chosen, a hundred numbers that say how
the parts are mixed (`Ranking.weighing`) are fitted to the likelihood of the held-out part; encoder and items stay.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.optim import LBFGS

from clickflow.heads import HEADS
from clickflow.heads.head import NOTHING
from clickflow.models.answers.answer import Encoded
from clickflow.models.answers.ranking import LIKELIHOODS, NEVER, Ranking
from clickflow.models.network import Network
from clickflow.models.sights import Sights
from clickflow.params.models import Model, RankingHead
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.training.answers import objectives
from clickflow.training.batches import Windows, gather, plan, random
from clickflow.training.hand_made import reader

if TYPE_CHECKING:
    from clickflow.sequences.store import PackedSplit

PULL = 1.0
"""What it costs, in nats of all questions together, to move a number by 1 from what training gave."""
LEAST = 1000
"""With fewer questions than this nothing is fitted: of 280 it learned as much chance as truth (docs/experiments.md)."""
ROUNDS = 30
"""Of L-BFGS, a look at all questions each; with 12 it has not come to rest, 60 gain little more."""
TOKENS, SCORES = 1024, 1 << 22
"""Steps of a batch, and how many scores are computed at once."""


@dataclass(frozen=True)
class _Questions:
    """Sequences as the encoder has read them, and the questions [N] at their steps (`row`, `column`).

    `rest` [N]: the log of the sum of exp(score) over all items but the session's own; `own` [N, T] the scores of
    these, `score` [N] that of the target, all without bias; `beside` [N, T] how often the target stood beside
    each step's item.
    """

    encoded: Encoded
    seen: Sights | None
    row: Tensor
    column: Tensor
    target: Tensor
    rest: Tensor
    own: Tensor
    score: Tensor
    beside: Tensor


def fit_shares(network: Network, split: "PackedSplit", windows: Windows) -> None:
    """Set the numbers of each head of kind ranking that say how its answer is mixed to the likeliest for the questions
    of `windows`; none where the loss is no likelihood, there is nothing to mix, a question has several right answers,
    or hardly anything is asked.
    """
    was_training = network.training
    network.eval()
    for name, head in network.heads.items():
        if isinstance(head, Ranking) and head.gate is not None and _is_likelihood(name, network.spec):
            with torch.no_grad():
                questions = list(_read(network, name, head, split, windows))
            if sum(len(each.row) for each in questions) >= LEAST:
                _fit(head, questions)
    network.train(was_training)


def _is_likelihood(name: str, spec: Model) -> bool:
    params = spec.heads[name]
    return isinstance(params, RankingHead) and params.loss in LIKELIHOODS and HEADS[name].all_targets is None


def _fit(head: Ranking, questions: list[_Questions]) -> None:
    weights = head.weighing()
    first = [weight.detach().clone() for weight in weights]
    trained = [parameter for parameter in head.parameters() if parameter.requires_grad]
    count = sum(len(each.row) for each in questions)
    for parameter in trained:
        parameter.requires_grad_(False)
    for weight in weights:
        weight.requires_grad_(True)
        weight.grad = None
    optimiser = LBFGS(weights, max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        for weight in weights:
            weight.grad = None
        pull = sum(((weight - before) ** 2).sum() for weight, before in zip(weights, first, strict=True))
        total = torch.as_tensor(PULL * pull / count)
        total.backward()  # type: ignore[no-untyped-call]
        for each in questions:
            part = -_likelihood(head, each).sum() / count
            part.backward()  # type: ignore[no-untyped-call]
            total = total.detach() + part.detach()
        if head.habit is not None and head.habit.weight.grad is not None:
            # how long a visit is: visits longer than those held out are asked about too
            head.habit.weight.grad[:, 1] = 0.0
        return total

    with torch.no_grad():
        inspect.unwrap(LBFGS.step)(optimiser, loss)
    for weight in weights:
        weight.grad = None
    for parameter in trained:
        parameter.requires_grad_(True)


def _likelihood(head: Ranking, questions: _Questions) -> Tensor:
    """The log-probability of each target, [N], as `Ranking.ask` has it."""
    encoded, row, column = questions.encoded, questions.row, questions.column
    bias = head.returning(questions.seen)
    score, rest = questions.score, questions.rest
    if bias is not None and questions.seen is not None:
        latest = questions.seen.latest[row, column]
        own = (questions.own + bias[row, column]).masked_fill(~latest, NEVER)
        same = latest & (encoded.items[row] == questions.target.unsqueeze(1))
        score = torch.where(same.any(1), (own * same).sum(1), score)
        rest = torch.logaddexp(rest, own.logsumexp(1))
    mixture = head.mixture(encoded.readouts, encoded.states, encoded.items, questions.seen)
    assert mixture is not None
    answer = mixture.softmax[row, column] * (score - rest).exp()
    if mixture.copied is not None:
        answer = answer + (mixture.copied[row, column] * (encoded.items[row] == questions.target.unsqueeze(1))).sum(1)
    if mixture.worth is not None:
        answer = answer + (mixture.worth[row, column] * questions.beside).sum(1)
    return answer.clamp(min=1e-30).log()


def _read(network: Network, name: str, head: Ranking, split: "PackedSplit", windows: Windows) -> Iterator[_Questions]:
    """The questions of `windows` to the head of that name, batch by batch."""
    known, device = network.sizes.known, network.items.device
    asking = {name: objectives(network.spec, network.sizes)[name]}
    ready = network.ready()
    table = head.own(ready)
    at_once = max(1, SCORES // known)
    for chosen in plan(windows.length, TOKENS, random(0, 0)):
        batch = gather(split, windows.take(chosen), network.inputs, asking, known, reader(network))
        inputs = {key: torch.from_numpy(values).to(device) for key, values in batch.inputs.items()}
        wanted = batch.targets[name][0]
        row, column = (torch.from_numpy(each).to(device) for each in np.nonzero(wanted != NOTHING))
        if not len(row):
            continue
        target = torch.from_numpy(wanted).to(device)[row, column]
        items = torch.where(inputs["item"] < known, inputs["item"], torch.ones_like(inputs["item"]))
        encoded = Encoded(inputs, items, *network.encode(ready[items], inputs))
        seen = head.seen(items)
        apart = seen.latest if seen is not None and head.returns is not None else None
        parts = []
        for start in range(0, len(row), at_once):
            part = slice(start, start + at_once)
            rows, columns, read = row[part], column[part], items[row[part]]
            scores = head.scaled(head.query(encoded.readouts[rows, columns])) @ table.t()
            scores[:, :FIRST_ITEM] = NEVER
            own, score = scores.gather(1, read), scores.gather(1, target[part].unsqueeze(1)).squeeze(1)
            if apart is not None:
                scores.scatter_(1, torch.where(apart[rows, columns], read, torch.zeros_like(read)), NEVER)
            beside = torch.zeros_like(own)
            if head.associations is not None:
                neighbours, counts = head.associations.neighbours(read)
                beside = ((neighbours == target[part].view(-1, 1, 1)) * counts).sum(-1)
            parts.append((scores.logsumexp(1), own, score, beside))
        rest, own, score, beside = (torch.cat(each) for each in zip(*parts, strict=True))
        yield _Questions(encoded, seen, row, column, target, rest, own, score, beside)
