"""How answers of each kind are computed: by an artefact in blocks, and by a baseline fitted on the training part."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact.artefact import Artefact
from clickflow.artefact.windows import Translation, recent
from clickflow.baselines import RANKING
from clickflow.baselines.forecasts import FORECAST
from clickflow.evaluation import vocabularies
from clickflow.evaluation.answers.classes import Logs
from clickflow.evaluation.answers.ranking import Ranks, ranks
from clickflow.evaluation.groups import Groups
from clickflow.evaluation.held_out import HeldOut, Question, Training
from clickflow.forecasting import forecaster
from clickflow.heads.head import LEVELS, Kind
from clickflow.system.console import Advance

BLOCK_BYTES = 1 << 25
"""Bytes of one block of scores (questions x items)."""
BLOCK_QUESTIONS = 1024
"""Questions in one block at most."""

PARTS = 1 + len(LEVELS)
"""Numbers of an amount, or of one step of a forecast."""
Take = Callable[[npt.NDArray[Any], npt.NDArray[Any]], None]
"""`take(rows, scores)`: what an artefact answers to some of a head's questions."""


@dataclass(frozen=True)
class Asking:
    """How one kind is asked."""

    artefact: Callable[[Question, Artefact, Translation], tuple[Any, Take]]
    """Where the answers of an artefact to all of a head's questions go, and how they get there."""
    baseline: Callable[[str, Question, HeldOut, Training, Advance], tuple[Any, bool]]
    """The answers of a baseline, and whether its fit converged."""


def size(known: int) -> int:
    """Questions in one block, each with a score for so many items."""
    return max(1, min(BLOCK_QUESTIONS, BLOCK_BYTES // (4 * known)))


def _ranks(question: Question, _: Artefact, translation: Translation) -> tuple[Ranks, Take]:
    """Ranks [n, horizon] among the artefact's own items."""
    target = question.target
    wanted = np.where(target >= 0, translation.item[np.maximum(target, 0)], 0)
    answers = np.zeros(wanted.shape, np.int32)

    def take(rows: npt.NDArray[Any], scores: npt.NDArray[Any]) -> None:
        answers[rows] = _several(scores, wanted[rows])

    return answers, take


def by_group(question: Question, artefact: Artefact) -> tuple[Ranks, Take]:
    """As `_ranks`, of the groups of the items: their log-probabilities are summed as probabilities."""
    groups = question.groups
    assert groups is not None
    code, answers = groups.of(artefact), np.zeros(groups.target.shape, np.int32)

    def take(rows: npt.NDArray[Any], scores: npt.NDArray[Any]) -> None:
        answers[rows] = _several(groups.summed(np.exp(scores), code), groups.target[rows])

    return answers, take


def baseline_by_group(name: str, question: Question, test: HeldOut, training: Training) -> Ranks:
    """Ranks [n, most] of the groups of the items by a baseline: its scores of a group's items together."""
    return _baseline_ranks(name, question, test, training, lambda *_: None, question.groups)[0]


def _baseline_ranks(
    name: str,
    question: Question,
    test: HeldOut,
    training: Training,
    advance: Advance,
    groups: Groups | None = None,
) -> tuple[Ranks, bool]:
    """Ranks [n, horizon] of a baseline that reads the items so far; `groups`: of these."""
    past = training.history
    target = question.target if groups is None else groups.target
    scores = RANKING[name](past)
    items = np.where(np.asarray(test.split.item) < past.known, test.split.item, 1)
    longest = int(test.questions.window.max(initial=1))
    answers = np.zeros(target.shape, np.int32)
    for place in _blocks(len(answers), size(2 * past.known)):
        chosen = question.at[place]
        scored = scores(recent(items, test.questions, chosen, longest))
        if groups is not None:
            scored = groups.summed(scored, groups.code[: past.known])
        answers[place] = _several(scored, target[place])
        advance(len(chosen))
    return answers, True


def _logs(question: Question, artefact: Artefact, _: Translation) -> tuple[Logs, Take]:
    """Log-probabilities [n, classes] in the order of the store's classes."""
    own = artefact.heads[question.head.name].classes
    place = [own.index(name) if name in own else -1 for name in question.classes]
    here = np.array([code for code, at in enumerate(place) if at >= 0], np.int64)
    answers = np.full((len(question), len(place)), vocabularies.NEVER, np.float32)

    def take(rows: npt.NDArray[Any], scores: npt.NDArray[Any]) -> None:
        answers[np.ix_(rows, here)] = scores[:, np.array(place)[here]]

    return answers, take


def _amounts(question: Question, _: Artefact, __: Translation) -> tuple[npt.NDArray[np.float32], Take]:
    """The expected value and its quantiles [n, 4]."""
    answers = np.zeros((len(question), 1 + len(LEVELS)), np.float32)

    def take(rows: npt.NDArray[Any], values: npt.NDArray[Any]) -> None:
        answers[rows] = values

    return answers, take


def _forecasts(question: Question, _: Artefact, __: Translation) -> tuple[npt.NDArray[np.float64], Take]:
    """A row for each step ahead: expected value, quantiles and scale [n, 5]. A model that forecasts fewer steps than
    are asked says of the others what it says of its last.
    """
    answers = np.empty((len(question), PARTS + 1))
    answers[:, -1] = question.scale

    def take(rows: npt.NDArray[Any], values: npt.NDArray[Any]) -> None:
        steps = np.arange(question.ahead)
        forecast = values.reshape(len(values), -1, PARTS)
        answers[(rows[:, None] + steps).ravel(), :PARTS] = forecast[
            :, np.minimum(steps, forecast.shape[1] - 1)
        ].reshape(-1, PARTS)

    return answers, take


def _baseline_forecasts(
    name: str, question: Question, test: HeldOut, training: Training, advance: Advance
) -> tuple[npt.NDArray[np.float64], bool]:
    """The same of a baseline, which reads each origin's series of the test part together, as a model does."""
    column, step = question.head.column, test.card.own_settings.get("step", "day")
    answers, take = _forecasts(question, None, None)  # type: ignore[arg-type]
    sequence = test.questions.sequence[question.at[question.begins]]
    known = forecaster.whole(training.split, column, step).panel
    fitted = FORECAST[name]((known, question.ahead))
    for each in forecaster.origins(test.split, column, step, sequence):
        forecast = fitted(each.panel)
        rows = np.flatnonzero(np.isin(sequence, each.sequences))
        take(question.begins[rows], forecast[np.searchsorted(each.sequences, sequence[rows])])
        advance(len(rows))
    return answers, True


def _baseline_logs(
    name: str, question: Question, test: HeldOut, training: Training, advance: Advance
) -> tuple[Logs, bool]:
    """Log-probabilities [n, classes], or amounts [n, 4], of a baseline that reads the positions."""
    train, questions = training.positions(question.head), test.questions
    wanted = replace(
        train,
        split=test.split,
        event=questions.event[question.at],
        first=questions.first[question.at],
        begin=questions.begin[question.at],
        now=questions.now(test.split)[question.at],
        target=np.zeros(0, np.int64),
    )
    fitted, converged = training.fitted(question.head, name)
    answers = fitted(wanted).astype(np.float32)
    advance(len(wanted))
    return answers, converged


def _several(scores: npt.NDArray[np.floating], targets: npt.NDArray[np.integer]) -> Ranks:
    """`ranks` of several targets a row, [N, horizon]."""
    return np.stack([ranks(scores, column) for column in targets.T], axis=1)


def _blocks(total: int, size: int) -> Iterator[slice]:
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


ASKING: Mapping[Kind, Asking] = {
    "ranking": Asking(_ranks, _baseline_ranks),
    "classes": Asking(_logs, _baseline_logs),
    "probability": Asking(_logs, _baseline_logs),
    "amount": Asking(_amounts, _baseline_logs),
    "forecast": Asking(_forecasts, _baseline_forecasts),
}
"""By kind of answer."""
