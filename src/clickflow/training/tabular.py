"""Training of the kinds of model that read hand-made features: boosting, logistic, blend.

An estimator a head, all on the same questions: every step of a unit that asks at every step, the last one before the
cut-off of a unit that asks there. Of more than `max_questions`, so many are drawn, evenly over the part, so that memory
is bounded whatever the log's size.

Of a blend, heads of purchases may learn both halves of each answer too, the second one as of half a horizon later
(`questions.halves`), and answer the mean (docs/decisions/0026).

What ships is fitted to both parts, for the newest days say most about the next ones: how many trees, and which weights
of a blend, is decided by folds over people (`models.estimators`): all that is asked of one, in either part, is in one
fold, and so is a visit of nobody known. `clickflow tune` fits to the training part alone, and asks the validation part,
which comes after it.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clickflow import features
from clickflow.heads import named
from clickflow.heads.head import NOTHING
from clickflow.models import estimators, tabular
from clickflow.models.estimators import Estimator, Rows
from clickflow.models.tabular import Tabular
from clickflow.params.models import Model, own
from clickflow.params.schema import Params
from clickflow.sequences.features import Array
from clickflow.sequences.store import Card, open_split, owners, read_card
from clickflow.system import console
from clickflow.system.console import Advance
from clickflow.system.errors import DataError
from clickflow.system.paths import Paths
from clickflow.training.questions import Drawn, drawn, half_of, halves
from clickflow.training.tracker import Tracker, in_one_go

CHUNK = 1 << 15
"""Questions whose features are computed at a time."""
PARTS = ("train", "valid")
"""What is learned from."""
MANY = 20_000
"""Questions, from which on chance decides little: fewer folds, and one booster in the place of a mean of several."""


def train_tabular(params: Params, paths: Paths, name: str, track: Callable[..., Tracker] | None) -> None:
    """Train the model of that name, of a kind that reads hand-made features; write its folder.

    Raises DataError where the store has nothing to learn from.
    """
    spec = params.model(name)

    def write(trained: TrainedTabular, fresh: Path, card: Card) -> None:
        sizes = {"known": card.known, "actions": list(card.actions), "categories": card.categories}
        extra = {"spec": own(spec), "seed": params.seed, "data_sha256": card.sha256, "questions": trained.questions}
        tabular.save(trained.model, fresh, sizes | extra)

    with convergence(name):
        trained, seconds = in_one_go(
            params, paths, name, track, lambda folder, _: train(name, spec, folder, params.seed), write
        )
    losses = ", ".join(f"{head} {loss:.4f}" for head, loss in trained.record["train"].items() if head != "loss")
    about = f"{spec.kind} on {len(trained.model.features)} features of {sum(trained.questions.values()):,} questions"
    console.say(f"{name}: {about}, trained in {seconds:,.0f} s; loss of what was learned: {losses}")


@contextmanager
def convergence(name: str) -> Iterator[None]:
    """Say where a fit of a model ends before it has converged; other warnings are shown as ever."""
    shown, early = warnings.showwarning, 0

    def show(message: Any, category: Any, *more: Any, **rest: Any) -> None:
        nonlocal early
        if category.__name__ != "ConvergenceWarning":
            shown(message, category, *more, **rest)
        early += category.__name__ == "ConvergenceWarning"

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
    if early:
        console.say(
            f"[bold yellow]note[/] {name}: a regression ended before it had converged: it may be weaker than it could "
            "be"
        )


@dataclass(frozen=True)
class TrainedTabular:
    """A fitted model, its line of the history, and how many questions of each part it learned from."""

    model: Tabular
    record: dict[str, Any]
    questions: dict[str, int]


def train(name: str, spec: Model, folder: Path, seed: int, *, final: bool = True) -> TrainedTabular:
    """Fit `spec` to the training and the validation part of the store in `folder`; not `final`: to the training part
    alone, and say how it answers the validation part.

    Raises DataError where there is nothing to learn from, or a head's answer is always the same.
    """
    card = read_card(folder)
    chosen = features.names(spec.unit) if spec.features == "all" else tuple(spec.features)
    if not card.clock:
        chosen = _of_no_times(name, spec.unit, chosen)
    whose = owners(folder, PARTS)
    parts = {part: drawn(open_split(folder, part), spec, seed, whose[part]) for part in PARTS}
    if not len(parts["train"].spans):
        raise DataError(
            f"the training part of {folder} holds no question to learn from",
            next_step=f"run `clickflow sequences {spec.unit}`",
        )
    total = sum(len(part.spans) for part in parts.values())
    of = sum(part.of for part in parts.values())
    if total < of:
        console.say(f"{name}: {total:,} of {of:,} questions are drawn and learned from (models.{name}.max_questions)")
    learned = ("train", "valid") if final and len(parts["valid"].spans) else ("train",)
    half = half_of(spec, card, chosen, [parts[part] for part in learned])
    split = [(part, *halves(parts[part], half, card)) for part in learned] if half else []
    with console.progress(f"features of {name}", total + sum(len(second.spans) for *_, second in split)) as advance:
        tables = {part: table(rows, spec.unit, card, chosen, advance) for part, rows in parts.items()}
        of_halves = [(first, tables[part]) for part, first, _ in split]
        of_halves += [(second, table(second, spec.unit, card, chosen, advance)) for *_, second in split]
    with console.progress(f"train {name}", len(spec.heads)) as advance:
        heads, losses = {}, {}
        for head in spec.heads:
            fitting = _Fitting(spec, head, card, chosen, parts, tables, half, of_halves, seed)
            heads[head] = fitting.fit(learned)
            losses[head] = {"train": fitting.loss(heads[head], learned)}
            if not final:
                losses[head]["valid"] = fitting.loss(heads[head], ("valid",))
            advance(1)
    record: dict[str, Any] = {"epoch": 1}
    for part in ("train",) if final else ("train", "valid"):
        each = {head: loss[part] for head, loss in losses.items()}
        record[part] = {"loss": sum(each.values()), **each}
    return TrainedTabular(
        Tabular(spec.unit, chosen, heads), record, {part: len(rows.spans) for part, rows in parts.items()}
    )


def _of_no_times(name: str, unit: str, chosen: tuple[str, ...]) -> tuple[str, ...]:
    """The chosen features that a log with an order and no clock has. Raises DataError where there are none."""
    there = features.names(unit, clock=False)
    left = tuple(each for each in chosen if each in there)
    if not left:
        raise DataError(
            f"the log has an order and no clock, and all features of models.{name} are of times: {', '.join(chosen)}",
            next_step="name others of docs/reference/features.md, or all",
        )
    if len(left) < len(chosen):
        console.say(f"{name}: the log has an order and no clock: it is trained without hand-made features of times")
    return left


def table(rows: Drawn, unit: str, card: Card, chosen: tuple[str, ...], advance: Advance) -> Array:
    """The features of drawn questions, float32 [N, F]."""
    values = np.empty((len(rows.spans), len(chosen)), np.float32)
    for first in range(0, len(values), CHUNK):
        last = min(first + CHUNK, len(values))
        values[first:last] = features.compute(unit, rows.split, rows.spans.part(first, last), card, chosen)
        advance(last - first)
    return values


@dataclass(frozen=True)
class _Fitting:
    """What fitting one head needs."""

    spec: Model
    head: str
    card: Card
    features: tuple[str, ...]
    parts: Mapping[str, Drawn]
    tables: Mapping[str, Array]
    half: int
    """Days of half the horizon, whose questions and features `of_halves` are; 0: none."""
    of_halves: Sequence[tuple[Drawn, Array]]
    seed: int

    def rows(self, parts: tuple[str, ...]) -> Rows:
        """The questions of some parts that the head asks."""
        horizon = self.card.own_settings.get("horizon_days", 0)
        return self._rows([(self.parts[part], self.tables[part]) for part in parts], horizon)

    def _rows(self, questions: Sequence[tuple[Drawn, Array]], days: float) -> Rows:
        x, target, group, now = [], [], [], []
        for part, values in questions:
            answer = part.targets(self.head, self.card)
            asks = np.flatnonzero(answer != NOTHING)
            x.append(values[asks])
            target.append(answer[asks])
            group.append(part.owner[asks])
            now.append(part.spans.now[asks])
        # cut-offs months back are of another season; visits of a few days are all alike
        aged = self.parts["train"].split.cut_off is not None
        times = np.concatenate(now) if aged else None
        weights = np.ones(sum(map(len, target))) if times is None else estimators.recency(times)
        return Rows(np.concatenate(x), np.concatenate(target), np.concatenate(group), weights, days, times)

    def fit(self, parts: tuple[str, ...]) -> Estimator:
        """An estimator of the head, fitted to some parts."""
        head, rows, half = named(self.head), self.rows(parts), None
        horizon, target = rows.days, rows.target
        if head.of_purchases and self.half:
            half = self._rows(self.of_halves, self.half)
        if head.kind == "amount" and (huge := int((target > (most := estimators.ceiling(target))).sum())):
            console.say(
                f"{head.name}: {huge:,} of {len(target):,} amounts are above {most:,.0f}, {estimators.HUGE} times the "
                f"99th percentile of those above 0, and are learned from as that; the largest is {target.max():,.0f}"
            )
        params = {
            "most_rows": 2 * self.spec.max_questions,
            "classes": len(head.names(self.card)),
        }
        try:
            estimator = estimators.fit_horizons(
                self.spec.kind,
                rows,
                half,
                horizon=horizon,
                kind_of_answer=head.kind,
                names=self.features,
                seed=self.seed,
                params=params | _settings(self.spec) | ({"folds": 2, "boosters": 1} if len(target) > MANY else {}),
            )
        except DataError as error:
            raise DataError(
                f"{head.name}: {error.what}",
                kept="the last trained model",
                next_step=error.next_step
                or "take the head out of the model's heads, ask about other days, or ingest more of the log",
            ) from error
        if half and not estimator.nearer:
            console.say(f"{head.name}: answers of half the horizon teach nothing, and are left out")
        return estimator

    def loss(self, estimator: Estimator, parts: tuple[str, ...]) -> float:
        """The mean loss of an estimator's answers to some parts."""
        rows = self.rows(parts)
        loss = LOSSES[named(self.head).kind]
        return loss(estimator.predict(rows.x), rows.target) if len(rows.target) else float("nan")


def _settings(spec: Model) -> dict[str, Any]:
    """The params of a model, as `estimators.fit` calls them."""
    return {
        "most_rounds": spec.boosting.trees,
        "leaves": spec.boosting.leaves,
        "learning_rate": spec.boosting.learning_rate,
        "min_rows": spec.boosting.min_rows,
        "l2": spec.logistic.l2,
    }


def _log_loss(answers: Array, target: Array) -> float:
    return float(-answers[np.arange(len(target)), target.astype(np.int64)].mean(dtype=np.float64))


def _absolute_error(answers: Array, target: Array) -> float:
    return float(np.abs(answers[:, 0] - target).mean(dtype=np.float64))


LOSSES: Mapping[str, Callable[[Array, Array], float]] = {
    "classes": _log_loss,
    "probability": _log_loss,
    "amount": _absolute_error,
}
"""By kind of answer, what the history says: nats a question; of amounts the mean error, in the unit of money."""
