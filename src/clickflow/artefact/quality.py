"""How well an artefact answers questions of the validation part: one figure a head, to hold its variants side by side.

The evaluation measures what ships, on the test part, with intervals; here the same questions are asked of each variant.
"""

import re
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from clickflow.artefact import asking
from clickflow.artefact.artefact import Artefact
from clickflow.artefact.windows import Questions, Translation, blocks
from clickflow.heads import outputs
from clickflow.heads.head import NOTHING
from clickflow.heads.metrics import sign
from clickflow.params.gate import Gate
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import Card, PackedSplit

SCORES, LEAST, MOST = 200_000_000, 2_000, 20_000
"""As many questions are asked as give so many scores, between these bounds."""
BLOCK_BYTES = 1 << 25
"""Of one block of scores."""

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def most_questions(known: int) -> int:
    """How many are asked of a model that knows so many items."""
    return min(MOST, max(LEAST, SCORES // known))


def metrics(names: tuple[str, ...], gate: Gate) -> dict[str, str]:
    """What each head is measured by: its primary, where that is a mean over rows which is taken here; else its log
    loss, of an amount its mean absolute error.
    """
    metric_of = {}
    for output in outputs.of(names):
        if output.ahead:
            continue
        _, metric = outputs.place_of(outputs.primary(gate, output.head, names), names)
        if output.kind == "ranking":
            metric_of[output.name] = metric if re.fullmatch(r"(recall|mrr|ndcg)@\d+", metric) else output.head.primary
        elif output.kind in ("classes", "probability"):
            metric_of[output.name] = "accuracy" if metric == "accuracy" else "log_loss"
        else:
            metric_of[output.name] = "mae"
    return metric_of


def measure(
    artefact: Artefact,
    split: PackedSplit,
    questions: Questions,
    card: Card,
    translation: Translation,
    wanted: Mapping[str, str],
) -> dict[str, float]:
    """By head the mean of its metric over the questions with an answer: one about an item that is not known is a miss,
    and ties count against the model. `wanted`: see `metrics`.
    """
    targets = {}
    for name in wanted:
        head = outputs.head(name)
        if head.all_targets is None:
            targets[name] = head.targets(split, questions.event, questions.until, card)[:, None]
        else:
            targets[name] = head.all_targets(split, questions.event, questions.until, card)
    sums, counts = dict.fromkeys(wanted, 0.0), dict.fromkeys(wanted, 0)
    there = np.flatnonzero(np.logical_or.reduce([(each != NOTHING).any(axis=1) for each in targets.values()]))
    size = max(1, min(512, BLOCK_BYTES // (4 * card.known)))
    for block in blocks(_some(questions, there), size):
        chosen = there[block]
        answers = asking.answers(artefact, split, questions, chosen, translation)
        for name, metric in wanted.items():
            row, place = np.nonzero(targets[name][chosen] != NOTHING)
            gains = _gains(metric, answers[name][row], targets[name][chosen][row, place])
            sums[name] += float(gains.sum())
            counts[name] += len(gains)
    return {name: sums[name] / counts[name] for name in wanted if counts[name]}


def _some(questions: Questions, chosen: Ints) -> Questions:
    return Questions(**{name: getattr(questions, name)[chosen] for name in Questions.__dataclass_fields__})


def _gains(metric: str, answers: Floats, target: Ints) -> npt.NDArray[np.float64]:
    """What each question adds to a metric, [n], of answers [n, A]."""
    if metric == "mae":
        return np.asarray(np.abs(answers[:, 0].astype(np.float64) - target))
    if metric == "accuracy":
        return np.asarray(answers.argmax(axis=1) == target, np.float64)
    if metric == "log_loss":
        return np.asarray(-answers[np.arange(len(target)), target].astype(np.float64))
    kind, _, cutoff = metric.partition("@")
    known = (target >= FIRST_ITEM) & (target < answers.shape[1])
    own = answers[np.arange(len(target)), np.where(known, target, 0)][:, None]
    rank = np.where(known, (answers[:, FIRST_ITEM:] >= own).sum(axis=1), 1)
    gain: npt.NDArray[np.float64] = {"recall": np.ones(len(rank)), "mrr": 1 / rank, "ndcg": 1 / np.log2(1 + rank)}[kind]
    gain[~known | (rank > int(cutoff))] = 0.0
    return gain


def main(heads: tuple[str, ...], gate: Gate) -> str:
    """The head of the gate's primary; where the model lacks it, its first."""
    named = "" if isinstance(gate.primary, Mapping) else outputs.place_of(gate.primary, heads)[0]
    return named if named in heads else heads[0]


def loss(before: Mapping[str, float], after: Mapping[str, float], wanted: Mapping[str, str]) -> float:
    """How much worse `after` is than `before`, relative, at that of the heads `wanted` that lost most; negative where
    all are better.
    """
    losses = []
    for name, metric in wanted.items():
        if name in before:
            better = sign(outputs.head(name).kind, metric)
            losses.append(better * (before[name] - after[name]) / max(abs(before[name]), 1e-12))
    return max(losses, default=0.0)
