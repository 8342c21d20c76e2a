"""Answers and what became of them: for each question that a head asked the answer that came, or that none came.

Steps of a visitor, in the order in which the server had them, are one sequence as the unit of the model says; an answer
stands after the steps that were there before it. What is true is the head's own definition (`Head.targets`) on that
sequence, so it is what the evaluation asks, and no head is known by name. A longer silence than `gap_minutes` ends
every visit here, one that has a name too: what is judged once stays as it is. An answer is judged when nothing can be
added to it any more: after that silence, or after the days ahead that a customer is asked about; younger ones wait.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from clickflow.events.contract import EVENT_TYPES
from clickflow.heads import outputs
from clickflow.heads.head import LEVELS, NOTHING, Head
from clickflow.heads.outputs import Output
from clickflow.online.live import log
from clickflow.params.schema import Params
from clickflow.sequences import features
from clickflow.sequences.indexes import FIRST_ITEM, UNKNOWN
from clickflow.sequences.store import PackedSplit
from clickflow.sequences.units import UNITS
from clickflow.sequences.units.unit import Unit

if TYPE_CHECKING:
    import pyarrow as pa

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[Any]
MINUTE, DAY = 60_000_000, 86_400_000_000
"""Microseconds."""


@dataclass(frozen=True)
class Names:
    """What targets ask of a store (`heads.head.Store`): all items of the log are known."""

    known: int
    categories: int
    actions: tuple[str, ...] = EVENT_TYPES


@dataclass(frozen=True)
class Judged:
    """Questions of one output of one model with the true answers; a row each [n]. `answers` and `target` are in the
    form of the kind of answer: ranks, or log-probabilities by class, or amounts.
    """

    output: Output
    answers: Array
    target: Array
    row: Ints
    """Rows of the table of answers."""
    length: Ints
    """How many items, or classes, an answer has."""
    waiting: int
    """Answers whose window is not over."""


def window(params: Params, unit: Unit) -> int:
    """How long after an answer what it is about is over, microseconds."""
    own = getattr(params.sequences, unit.section)
    if unit.as_of is not None:
        return round(unit.as_of(own).horizon_days * DAY)
    return round(getattr(own, "gap_minutes", 30.0) * MINUTE)


def judged(params: Params, answers: "pa.Table", outcomes: "pa.Table", now: int) -> Iterator[Judged]:
    """Every output of every model of params with answers in the log; `now`: microseconds since 1970 UTC."""
    import pyarrow.compute as pc

    steps = outcomes.filter(pc.equal(outcomes["kind"], log.STEP))
    for model, spec in params.models.items():
        of_model = np.flatnonzero(pc.equal(answers["model"], model).to_numpy())
        if not len(of_model) or UNITS[spec.unit].rules is None:
            continue  # nobody's: there is no one to come back
        sequences = None
        named = answers["output"].take(of_model).combine_chunks().dictionary_encode()
        for code, name in enumerate(named.dictionary.to_pylist()):
            row = of_model[np.flatnonzero(named.indices.to_numpy() == code)]
            found = outputs.of([name])
            if not found or found[0].ahead or found[0].kind not in FORMS:
                continue
            sequences = sequences or Sequences.of(params, UNITS[spec.unit], answers.take(of_model), steps, of_model)
            yield sequences.judge(found[0], answers, row, now)


@dataclass(frozen=True)
class Sequences:
    """The steps of all who were answered, packed, and where each answer stands in them."""

    split: PackedSplit
    names: Names
    item_of: Mapping[str, int]
    place: Mapping[int, tuple[int, int, int]]
    """By row of the answers: the step read last, the index after the last step that its answer may come from, and when
    that is certain.
    """

    @classmethod
    def of(cls, params: Params, unit: Unit, answers: "pa.Table", steps: "pa.Table", rows: Ints) -> "Sequences":
        """Steps and answers, one after the other by who they are of and when the server had them."""
        section = getattr(params.sequences, unit.section)
        assert unit.rules is not None
        kept, horizon = unit.rules(section), window(params, unit)
        events = sorted([*_steps(unit, steps, kept.event_types), *_asked(unit, answers, rows)], key=lambda e: e[:3])
        packed = _Packing(kept, horizon, unit.as_of is not None)
        for event in events:
            packed.add(*event)
        return packed.done()

    def judge(self, output: Output, answers: "pa.Table", row: Ints, now: int) -> Judged:
        """An output's questions: asked where its head asks, judged where their window is over."""
        known = np.array([each in self.place for each in row.tolist()], bool)
        places = np.array([self.place[each] for each in row[known].tolist()], np.int64).reshape(-1, 3)
        over = places[:, 2] < now
        asked, (event, end, _) = row[known][over], places[over].T
        head = output.head
        target = np.asarray((head.all_targets or head.targets)(self.split, event, end, self.names))
        many = target.reshape(len(target), int(np.prod(target.shape[1:])))  # of no question at all, too
        if head.kind != "amount":
            which, column = np.nonzero(many != NOTHING)
            asked, many = asked[which], many[which, column][:, None]
        found, length = _answered(output, answers.take(asked), many[:, 0], self)
        return Judged(output, *found, asked, length, int((~over).sum()))


def _steps(unit: Unit, steps: "pa.Table", kept: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """(who, when, 0, row, step) of each step of a type that the unit reads."""
    for number, step in enumerate(steps.to_pylist()):
        who = _who(unit, step)
        if who and step["action"] in kept and step["item"] is not None:
            at = _micros(step["at"])
            yield who, at, 0, number, {**step, "at": at}


def _asked(unit: Unit, answers: "pa.Table", rows: Ints) -> Iterator[tuple[Any, ...]]:
    """(who, when, 1, row, answer) of each answer."""
    names = ["at", "user_id", "session_id", "request", "last_item", "last_action", "steps"]
    for row, answer in zip(rows.tolist(), answers.select(names).to_pylist(), strict=True):
        # who nobody knows has no sequence: nothing that is in the log came after
        if who := _who(unit, answer):
            at = _micros(answer["at"])
            yield who, at, 1, row, {**answer, "at": at}


def _who(unit: Unit, row: Mapping[str, Any]) -> str:
    """Whose sequence a row is of: a visit's, else a person's; of units as of a time a person's."""
    user, session = row["user_id"], row["session_id"]
    if unit.as_of is not None:
        return f"u{user}" if user else ""
    return f"s{session}" if session else f"u{user}" if user else ""


def _micros(time: Any) -> int:
    return round(float(time.timestamp()) * 1e6)


class _Packing:
    """Sorted steps and answers become flat columns, bounds, and the place of each answer."""

    def __init__(self, rules: Any, horizon: int, as_of: bool) -> None:
        self.rules, self.horizon, self.as_of = rules, horizon, as_of
        self.columns: dict[str, list[Any]] = {
            name: [] for name in ("item", "action", "time", "category", "price", "quantity")
        }
        self.at: list[int] = []
        self.offsets: list[int] = [0]
        self.item_of: dict[str, int] = {}
        self.category_of: dict[str, int] = {}
        self.places: dict[int, tuple[int, int, int]] = {}
        self.who, self.last = "", 0
        self.before: tuple[str | None, str | None] | None = None

    def add(self, who: str, at: int, asked: int, row: int, what: Mapping[str, Any]) -> None:
        """The next step or answer."""
        new = who != self.who
        if not new and not self.as_of:
            new = at - self.last > self.horizon
        if new and len(self.at) > self.offsets[-1]:
            self.offsets.append(len(self.at))
        self.who, self.last = who, at
        if asked:
            if len(self.at) == self.offsets[-1]:  # the client sent the history: its last step stands for it
                self._step(what["last_item"], what["last_action"], at, {})
            self.places[row] = (len(self.at) - 1, len(self.offsets) - 1, at)
            return
        own = (what["item"], what["action"])
        if self.rules.drop_repeats and own == self.before and len(self.at) > self.offsets[-1]:
            return
        self._step(*own, at, what)

    def _step(self, item: str | None, action: str | None, at: int, what: Mapping[str, Any]) -> None:
        def code(names: dict[str, int], name: str | None, missing: int) -> int:
            return missing if name is None else names.setdefault(name, FIRST_ITEM + len(names))

        values = {
            "item": code(self.item_of, item, UNKNOWN),
            "action": EVENT_TYPES.index(action) if action in EVENT_TYPES else len(EVENT_TYPES),
            "time": at,
            "category": code(self.category_of, what.get("category"), 0),
            "price": np.nan if what.get("price") is None else what["price"],
            "quantity": np.nan if what.get("quantity") is None else what["quantity"],
        }
        for name, value in values.items():
            self.columns[name].append(value)
        self.at.append(at)
        self.before = (item, action)

    def done(self) -> Sequences:
        """What was packed."""
        if len(self.at) > self.offsets[-1]:
            self.offsets.append(len(self.at))
        columns = {
            name: np.array(values, features.FEATURES[name].stored if name != "item" else np.int32)
            for name, values in self.columns.items()
        }
        at, offsets = np.array(self.at, np.int64), np.array(self.offsets, np.int64)
        place = {}
        for row, (event, sequence, asked) in self.places.items():
            end = int(offsets[sequence + 1])
            if self.as_of:
                end = int(event + 1 + np.searchsorted(at[event + 1 : end], asked + self.horizon, side="right"))
            last = asked if self.as_of else max(asked, int(at[end - 1]))
            place[row] = (event, end, last + self.horizon)
        names = Names(FIRST_ITEM + len(self.item_of), FIRST_ITEM + len(self.category_of))
        return Sequences(PackedSplit(None, offsets=offsets, **columns), names, self.item_of, place)


def _answered(
    output: Output, answers: "pa.Table", target: Array, sequences: Sequences
) -> tuple[tuple[Array, Array], Ints]:
    """Answers and true answers in the form of the kind, and how long each answer is."""
    labels, scores = answers["labels"].to_pylist(), answers["scores"].to_pylist()
    length = np.array([len(each) for each in labels], np.int64)
    return FORMS[output.kind](output.head, labels, scores, target, sequences), length


def _ranking(_: Head, labels: Any, __: Any, target: Array, sequences: Sequences) -> tuple[Array, Array]:
    item_of = sequences.item_of
    ranks = [
        next((place for place, item in enumerate(own, 1) if item_of.get(item) == true), 0)
        for own, true in zip(labels, target.tolist(), strict=True)
    ]
    return np.array(ranks, np.int32), target.astype(np.int64)


def _classes(head: Head, labels: Any, scores: Any, target: Array, sequences: Sequences) -> tuple[Array, Array]:
    """Log-probabilities of the classes of all answers; a true class that an answer has not is worth next to nothing."""
    names = head.names(sequences.names)
    column = {name: place for place, name in enumerate(names)}
    logs = np.full((len(labels), len(names)), np.log(1e-9), np.float32)
    for row, (own, given) in enumerate(zip(labels, scores, strict=True)):
        for name, score in zip(own, given, strict=True):
            if name in column:
                logs[row, column[name]] = np.log(max(score, 1e-9))
    return logs, target.astype(np.int64)


def _amount(_: Head, __: Any, scores: Any, target: Array, ___: Sequences) -> tuple[Array, Array]:
    return np.array(scores, np.float32).reshape(len(target), 1 + len(LEVELS)), target.astype(np.float64)


FORMS = {"ranking": _ranking, "classes": _classes, "probability": _classes, "amount": _amount}
"""By kind of answer."""
