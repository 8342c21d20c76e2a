"""Answers that rank the items: ranks, and recall, MRR and NDCG from them.

A rank is 1 for the best-placed item. Ties count against the system: every item whose score is not below the target's
stands before it. 0 says that the target cannot be ranked because the system does not know it: a miss.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.evaluation import bootstrap
from clickflow.evaluation.answers.answering import Answers
from clickflow.evaluation.bootstrap import Interval, Resampling, Values
from clickflow.evaluation.systems import CHAMPION
from clickflow.params.evaluation import Evaluation
from clickflow.sequences.indexes import FIRST_ITEM

COUNTED = "predictions"
SHOWN = ("recall@{k}", "mrr@{k}")
AREA = "roc_auc"
Ranks = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]


def ranks(scores: npt.NDArray[np.floating], targets: npt.NDArray[np.integer]) -> Ranks:
    """The rank of each target [N] among the items of its row of scores [N, known].

    Targets outside 2..known-1 have rank 0. A score that is no number counts against the target too.
    """
    known = scores.shape[1]
    rankable = (targets >= FIRST_ITEM) & (targets < known)
    column = np.where(rankable, targets, 0)
    own = scores[np.arange(len(targets)), column][:, None]
    below = np.count_nonzero(scores[:, FIRST_ITEM:] < own, axis=1)
    return np.where(rankable, known - FIRST_ITEM - below, 0).astype(np.int32)


def names(cutoffs: Sequence[int]) -> list[str]:
    """The metrics of `gains`, in the order of its columns."""
    return [f"{kind}@{k}" for k in cutoffs for kind in ("recall", "mrr", "ndcg")]


def gains(answers: Ranks, cutoffs: Sequence[int]) -> Values:
    """What each prediction adds to each metric, [N, 3 x cutoffs]; a metric is the mean over predictions.

    With one right answer, recall@k is 1 within the first k; MRR@k is 1 / rank there (Voorhees 1999), NDCG@k
    1 / log2(1 + rank) (Järvelin & Kekäläinen 2002); each 0 beyond.
    """
    rank = np.maximum(answers, 1).astype(np.float64)
    columns = []
    for k in cutoffs:
        hit = (answers >= 1) & (answers <= k)
        columns += [hit.astype(np.float64), np.where(hit, 1 / rank, 0), np.where(hit, 1 / np.log2(1 + rank), 0)]
    return np.stack(columns, axis=1) if columns else np.zeros((len(answers), 0))


def recall_curve(answers: Ranks) -> Values:
    """Recall at 1 to 100, for the figure; zeros where there are no predictions."""
    counts = np.bincount(answers[(answers >= 1) & (answers <= 100)], minlength=101)[1:]
    curve: Values = np.cumsum(counts) / max(len(answers), 1)
    return curve


def known(target: npt.NDArray[np.integer], known: int) -> Bools:
    """Whether each target is an item of a model that knows indexes below `known`."""
    return (target >= FIRST_ITEM) & (target < known)


def answered(answers: Ranks) -> Bools:
    """Where a system has an answer."""
    return answers > 0


def next_step(answers: Ranks) -> Ranks:
    """The ranks [n] of the next item."""
    return answers[:, 0]


def summary(
    answered: Answers, customer: npt.NDArray[np.integer], settings: Evaluation, how: Resampling
) -> dict[str, dict[str, Interval]]:
    """Of every cutoff, over all predictions and over known items alone; and the areas of questions with several right
    answers.
    """
    by_system = intervals(answered.systems, customer, answered.known, settings.cutoffs, how)
    areas = _areas(answered, customer, how) if answered.ranked else {}
    return {system: of | areas.get(system, {}) for system, of in by_system.items()}


def area(answers: Ranks, question: npt.NDArray[np.integer], ranked: int) -> tuple[Values, Values]:
    """Of right answers with ranks [n] among so many, each to a `question` [n], what each adds to the ROC-AUC of its
    question, and the part of the question that it is: a mean over questions is the sum of one over that of the other.

    The ROC-AUC is the share of pairs of a right answer and a wrong one in which the right one stands first (Hanley &
    McNeil 1982); ties count against the system, as in a rank. What a system does not know is in no pair.
    """
    order = np.lexsort((answers, question))
    own, rank = question[order], answers[order].astype(np.float64)
    known = rank > 0
    begins = np.searchsorted(own, own)
    before: Values = np.cumsum(known) - known
    right_before: Values = before - before[begins]
    number = np.unique(own, return_inverse=True)[1]
    right = np.bincount(number, known)[number]
    wrong = ranked - right
    part = np.where(known & (wrong > 0), 1 / np.maximum(right, 1), 0.0)
    value = part * (1 - (rank - 1 - right_before) / np.maximum(wrong, 1))
    areas = np.zeros((2, len(order)))
    areas[:, order] = value, part
    return areas[0], areas[1]


def _areas(answered: Answers, customer: npt.NDArray[np.integer], how: Resampling) -> dict[str, dict[str, Interval]]:
    """{system: {roc_auc}}: the mean over questions."""
    systems = [system for system in answered.systems if system in answered.ranked]
    columns = [each for s in systems for each in area(answered.systems[s], answered.at, answered.ranked[s])]
    sums, _ = bootstrap.per_sequence(customer, np.stack(columns, axis=1))

    def metric(totals: Values) -> Values:
        with np.errstate(all="ignore"):
            ratio: Values = totals[:, 0::2] / totals[:, 1::2]
        return ratio

    return bootstrap.by_system([f"{system} {AREA}" for system in systems], sums, metric, how)


def intervals(
    answers: Mapping[str, Ranks],
    sequence: npt.NDArray[np.integer],
    known: Bools,
    cutoffs: Sequence[int],
    how: Resampling,
) -> dict[str, dict[str, Interval]]:
    """{system: {metric: {value, low, high}}} of each system's ranks [N]; prediction i belongs to sequence[i].

    `known` [N] marks the targets that the candidate's vocabulary has; metrics over these alone end in `_known`. All
    systems are resampled together, so their intervals come from the same draws.
    """
    gained = names(cutoffs)
    columns = [np.stack([np.ones(len(known)), known.astype(np.float64)], axis=1)]
    for each in answers.values():
        gain = gains(each, cutoffs)
        columns += [gain, gain * known[:, None]]
    sums, _ = bootstrap.per_sequence(sequence, np.concatenate(columns, axis=1))
    width = len(gained)

    def metric(totals: Values) -> Values:
        by = totals[:, 2:].reshape(len(totals), len(answers), 2, width)
        with np.errstate(all="ignore"):
            ratio: Values = by / totals[:, None, :2, None]
        return ratio.reshape(len(totals), -1)

    named = [f"{system} {name}{suffix}" for system in answers for suffix in ("", "_known") for name in gained]
    return bootstrap.by_system(named, sums, metric, how)


def details(_: Answers, __: str) -> Mapping[str, Any]:
    """Nothing besides."""
    return {}


def shown(settings: Evaluation) -> list[str]:
    """Recall and MRR at the largest cutoff."""
    return [name.format(k=max(settings.cutoffs)) for name in SHOWN]


def values(metric: str, answers: Ranks, target: npt.NDArray[Any]) -> Values:  # noqa: ARG001  ranks know it
    """What each prediction [n] adds to a metric, known or not."""
    kind, cutoff, _ = parts(metric)
    gained: Values = gains(answers, [cutoff])[:, names([cutoff]).index(f"{kind}@{cutoff}")]
    return gained


def parts(metric: str) -> tuple[str, int, bool]:
    """The kind, the cutoff and whether only known items count, of the name of a metric."""
    match = re.fullmatch(r"([a-z]+)@(\d+)(_known)?", metric)
    assert match is not None, metric
    return match[1], int(match[2]), bool(match[3])


def written(system: str, answers: Ranks, target: npt.NDArray[Any]) -> dict[str, Any]:  # noqa: ARG001
    """The rank of the true item."""
    return {f"rank_{system}": answers}


def unanswered(system: str, rows: int) -> dict[str, Any]:
    """A champion that was not asked has an empty column."""
    import pyarrow as pa

    return {f"rank_{system}": pa.nulls(rows, pa.int32())} if system == CHAMPION else {}


def columns(system: str) -> list[str]:
    """What the evidence must hold of a system."""
    return [f"rank_{system}"]


def read(table: Any) -> tuple[dict[str, Ranks], dict[str, int]]:
    """Ranks by system; 0 where it left none. A champion without any rank is not there."""
    answers, without = {}, {}
    for name in table.column_names:
        system, column = name.removeprefix("rank_"), table[name]
        if system == name or (system == CHAMPION and column.null_count == len(column)):
            continue
        answers[system], without[system] = column.fill_null(0).to_numpy(), column.null_count
    return answers, without


def measured(
    answers: Ranks, target: npt.NDArray[Any], known: Bools, metrics: Sequence[str]
) -> tuple[dict[str, float], Mapping[str, float]]:
    """The means over the rows, or over the known ones. Of areas, which need what was ranked too, nothing."""
    metrics = [name for name in metrics if name != AREA]
    gained = {name: values(name, answers, target) for name in {name.removesuffix("_known") for name in metrics}}
    figures = {}
    for name in metrics:
        counted = known if parts(name)[2] else np.ones(len(known), np.bool_)
        gain = gained[name.removesuffix("_known")][counted]
        figures[name] = float(gain.mean()) if len(gain) else math.nan
    return figures, {}
