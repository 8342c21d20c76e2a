"""Answers and what became of them: for each question that a head asked the answer that came, or that none came.

Steps of a visitor, in the order in which the server had them, are one sequence as the unit of the model says; an answer
stands after the steps that were there before it. What is true is the head's own definition (`Head.targets`) on that
sequence, so it is what the evaluation asks, and no head is known by name. A longer silence than `gap_minutes` ends
every visit here, one that has a name too: what is judged once stays as it is. An answer is judged when nothing can be
added to it any more: after that silence, or after the days ahead that a customer is asked about; younger ones wait.
"""

from collections.abc import Iterator
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
from clickflow.system.moments import DAY, MINUTE

if TYPE_CHECKING:
    import pyarrow as pa

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


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
            named_outputs = outputs.of([name])
            if not named_outputs or named_outputs[0].ahead or named_outputs[0].kind not in FORMS:
                continue
            sequences = sequences or Sequences.of(params, UNITS[spec.unit], answers.take(of_model), steps, of_model)
            yield sequences.judge(named_outputs[0], answers, row, now)


@dataclass(frozen=True)
class Sequences:
    """The steps of all who were answered, packed, and where each answer stands in them."""

    split: PackedSplit
    names: Names
    items: "pa.Array"
    """By index, from `FIRST_ITEM` on."""
    place: Ints
    """[rows of the answers, 3]: the step read last, the index after the last step that its answer may come from, and
    when that is certain; -1 where nobody is known.
    """

    @classmethod
    def of(cls, params: Params, unit: Unit, answers: "pa.Table", steps: "pa.Table", rows: Ints) -> "Sequences":
        """Steps and answers, one after the other by who they are of and when the server had them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        section = getattr(params.sequences, unit.section)
        assert unit.rules is not None
        kept, horizon, as_of = unit.rules(section), window(params, unit), unit.as_of is not None
        read = pc.and_(pc.is_in(steps["action"], pa.array(kept.event_types)), pc.is_valid(steps["item"]))
        asking = answers.select(["at", "user_id", "session_id", "last_item", "last_action"])
        asking = asking.rename_columns(["at", "user_id", "session_id", "item", "action"])
        named = ["at", "user_id", "session_id", "item", "action", "category", "price", "quantity"]
        table = pa.concat_tables(
            [
                steps.select(named).filter(read),  # of no row
                asking.append_column("row", pa.array(rows, pa.int64())),
            ],
            promote_options="default",
        )
        who = _who(unit, table)
        # who nobody knows has no sequence: nothing that is in the log came after
        known = pc.not_equal(who, "")
        table, person = table.filter(known), _rank(who.filter(known))
        at, row = table["at"].cast(pa.int64()).to_numpy(), table["row"].fill_null(-1).to_numpy()
        order = np.lexsort((row >= 0, at, person))
        table, person, at, is_question = table.take(pa.array(order)), person[order], at[order], row[order] >= 0
        new = np.diff(person, prepend=-1) != 0
        if not as_of:
            new |= np.diff(at, prepend=0) > horizon
        # the client sent the history of who is asked about first: its last step stands for it
        packed = ~is_question | new
        if kept.drop_repeats:
            place = np.flatnonzero(packed)
            own = [_codes(table[name].take(pa.array(place)))[0] for name in ("item", "action")]
            same = (np.diff(own[0], prepend=-2) == 0) & (np.diff(own[1], prepend=-2) == 0)
            packed[place[same & ~new[place]]] = False
        return cls._packed(table, at, row[order], np.cumsum(new) - 1, packed, horizon if as_of else None, horizon)

    @classmethod
    def _packed(
        cls, table: "pa.Table", at: Ints, row: Ints, sequence: Ints, packed: Array, ahead: int | None, horizon: int
    ) -> "Sequences":
        """Flat columns, bounds, and the place of each answer, of sorted steps and answers; `ahead`: how long after it
        what an answer is about happens, None: in the whole sequence.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        steps = table.filter(pa.array(packed))
        (item, items), (category, categories) = _codes(steps["item"]), _codes(steps["category"])
        action = pc.index_in(steps["action"], value_set=pa.array(EVENT_TYPES)).fill_null(len(EVENT_TYPES))
        values = {
            "item": np.where(item < 0, UNKNOWN, item + FIRST_ITEM),
            "action": action.to_numpy(),
            "time": at[packed],
            "category": np.where(category < 0, 0, category + FIRST_ITEM),
            **{name: steps[name].cast(pa.float64()).fill_null(np.nan).to_numpy() for name in ("price", "quantity")},
        }
        columns = {
            name: each.astype(features.FEATURES[name].stored if name != "item" else np.int32)
            for name, each in values.items()
        }
        own, time = sequence[packed], at[packed]
        offsets = np.searchsorted(own, np.arange(own.max(initial=-1) + 2))
        asks = row >= 0
        event, moments, of = np.cumsum(packed)[asks] - 1, at[asks], sequence[asks]
        end = offsets[of + 1]
        if ahead is not None:
            end = np.maximum(event + 1, _until((own, time), (of, moments + ahead)))
        last = moments if ahead is not None else np.maximum(moments, time[end - 1])
        place = np.full((int(row.max(initial=-1)) + 1, 3), -1, np.int64)
        place[row[asks]] = np.stack([event, end, last + horizon], axis=1)
        names = Names(FIRST_ITEM + len(items), FIRST_ITEM + len(categories))
        return cls(PackedSplit(None, offsets=offsets.astype(np.int64), **columns), names, items, place)

    def judge(self, output: Output, answers: "pa.Table", row: Ints, now: int) -> Judged:
        """An output's questions: asked where its head asks, judged where their window is over."""
        row = row[row < len(self.place)]
        row = row[self.place[row, 0] >= 0]
        places = self.place[row]
        over = places[:, 2] < now
        question, (event, end, _) = row[over], places[over].T
        head = output.head
        target = np.asarray((head.all_targets or head.targets)(self.split, event, end, self.names))
        many = target.reshape(len(target), int(np.prod(target.shape[1:])))  # of no question at all, too
        if head.kind == "ranking" and len(question):
            shown = _shown_as_pinned(answers.take(question), many, self)
            many = np.where(shown, NOTHING, many)
        if head.kind != "amount":
            which, column = np.nonzero(many != NOTHING)
            question, many = question[which], many[which, column][:, None]
        pair, length = _answered(output, answers.take(question), many[:, 0], self)
        return Judged(output, *pair, question, length, int((~over).sum()))


def _shown_as_pinned(answers: "pa.Table", items: Ints, sequences: Sequences) -> Array:
    """Whether each of the items that came after an answer [n, m] was shown beside it as a pinned one: the model, which
    was not to name it, has neither hit nor missed it.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    pinned = answers["pinned"].combine_chunks()
    length = pc.fill_null(pc.list_value_length(pinned), 0).to_numpy()
    code = pc.index_in(pinned.flatten(), value_set=sequences.items.cast(pa.string())).fill_null(-FIRST_ITEM).to_numpy()
    row = np.repeat(np.arange(len(length)), length)
    shown = np.zeros(items.shape, bool)
    for each, index in zip(row.tolist(), (code + FIRST_ITEM).tolist(), strict=True):
        shown[each] |= (items[each] == index) & (index >= FIRST_ITEM)
    return shown


def _who(unit: Unit, table: "pa.Table") -> "pa.ChunkedArray":
    """Whose sequence a row is of: a visit's, else a person's; of units as of a time a person's; empty: nobody's."""
    import pyarrow.compute as pc

    names = []
    for mark, column in (("s", "session_id"), ("u", "user_id")):
        plain = table[column].fill_null("")
        names.append(pc.if_else(pc.equal(plain, ""), "", pc.binary_join_element_wise(mark, plain, "")))
    session, user = names
    return user if unit.as_of is not None else pc.if_else(pc.equal(session, ""), user, session)


def _rank(names: "pa.ChunkedArray") -> Ints:
    """The place of each text among all of them, in the order of the alphabet."""
    import pyarrow.compute as pc

    code, texts = _codes(names)
    place = np.empty(len(texts), np.int64)
    place[pc.sort_indices(texts).to_numpy()] = np.arange(len(texts))
    return place[code]


def _codes(column: "pa.ChunkedArray") -> tuple[Ints, "pa.Array"]:
    """Codes by first appearance, -1 of null, and the texts that they stand for."""
    coded = column.combine_chunks().dictionary_encode()
    return coded.indices.fill_null(-1).to_numpy().astype(np.int64), coded.dictionary


def _until(steps: tuple[Ints, Ints], questions: tuple[Ints, Ints]) -> Ints:
    """How many of the steps, sorted by sequence and time, come not after each (sequence, time) asked."""
    sequence, time = (np.concatenate(pair) for pair in zip(steps, questions, strict=True))
    late = np.repeat([False, True], [len(steps[0]), len(questions[0])])
    order = np.lexsort((late, time, sequence))
    count = np.empty(len(order), np.int64)
    count[order] = np.cumsum(~late[order])
    steps_until: Ints = count[late]
    return steps_until


def _answered(
    output: Output, answers: "pa.Table", target: Array, sequences: Sequences
) -> tuple[tuple[Array, Array], Ints]:
    """Answers and true answers in the form of the kind, and how long each answer is."""
    labels, scores = answers["labels"].combine_chunks(), answers["scores"].combine_chunks()
    length = labels.value_lengths().to_numpy().astype(np.int64)
    row = np.repeat(np.arange(len(length)), length)
    flat = scores.flatten().to_numpy().astype(np.float64)
    return FORMS[output.kind](output.head, (row, labels.flatten()), flat, target, sequences), length


def _ranking(_: Head, labels: Any, __: Any, target: Array, sequences: Sequences) -> tuple[Array, Array]:
    import pyarrow.compute as pc

    row, names = labels
    code = pc.index_in(names, value_set=sequences.items).fill_null(-FIRST_ITEM - 2).to_numpy() + FIRST_ITEM
    first = np.searchsorted(row, np.arange(len(target)))
    hit = np.flatnonzero(code == target[row])
    own, at = np.unique(row[hit], return_index=True)
    ranks = np.zeros(len(target), np.int32)
    ranks[own] = hit[at] - first[own] + 1
    return ranks, target.astype(np.int64)


def _classes(head: Head, labels: Any, scores: Array, target: Array, sequences: Sequences) -> tuple[Array, Array]:
    """Log-probabilities of the classes of all answers; a true class that an answer has not is worth next to nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    row, given = labels
    names = head.names(sequences.names)
    column = pc.index_in(given, value_set=pa.array(names, pa.string())).fill_null(-1).to_numpy()
    logs = np.full((len(target), len(names)), np.log(1e-9), np.float32)
    there = column >= 0
    logs[row[there], column[there]] = np.log(np.maximum(scores[there], 1e-9))
    return logs, target.astype(np.int64)


def _amount(_: Head, __: Any, scores: Array, target: Array, ___: Sequences) -> tuple[Array, Array]:
    return scores.astype(np.float32).reshape(len(target), 1 + len(LEVELS)), target.astype(np.float64)


FORMS = {"ranking": _ranking, "classes": _classes, "probability": _classes, "amount": _amount}
"""By kind of answer."""
