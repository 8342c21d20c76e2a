"""One version of a model, ready to answer: histories become the columns that training saw, and go through its artefact.

Nothing is read but the artefact's own folder; numpy and onnxruntime alone are needed once it is loaded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact import asking, popularity
from clickflow.artefact.artefact import OF_RANKINGS, Artefact, load
from clickflow.artefact.windows import Ints, Translation, last
from clickflow.evaluation import groups
from clickflow.heads import outputs
from clickflow.heads.outputs import Output
from clickflow.online import cut, laid, merchandising
from clickflow.online.cut import Alike, Cut, Ranked
from clickflow.online.history import Question, Step
from clickflow.online.merchandising import Boost, Weights
from clickflow.online.near import Quality
from clickflow.sequences import features
from clickflow.sequences.features import FEATURES
from clickflow.sequences.indexes import FIRST_ITEM, PADDING, UNKNOWN
from clickflow.sequences.plan import Plan
from clickflow.sequences.store import Bounds, PackedSplit
from clickflow.sequences.units import UNITS

MEASURED, HOUR_OF_DRAWN = 128, 1_700_000_000_000_000
"""Questions by which an index is measured, and when they are asked."""
SAID = 1 << 16
"""Items of which what is said of them is kept."""
PIECE = 1 << 12
"""Texts that are made of a column at once."""
FEW, WITHINS, WEIGHTS = 4096, 32, 8
"""Items that are all scored where no others are allowed; rules on categories and prices of which the items are kept."""
NO_CATEGORY = 0
"""The index of a step without one."""


@dataclass(frozen=True, slots=True)
class Within:
    """The items that a rule on categories and prices allows."""

    allowed: npt.NDArray[np.bool_]
    """By index."""
    count: int
    few: Ints | None
    """Their indexes, where they are at most `FEW`."""


@dataclass(frozen=True)
class Items:
    """The items that a model knows, by index; 0 (padding) and 1 (unknown) are none. The most frequent come first."""

    ids: Sequence[str]
    index_of: Mapping[str, int]
    count: Ints
    """Steps in the training part."""
    category: Ints
    """Index of `categories`; 0: none."""
    price: npt.NDArray[np.float64]
    """Median; NaN: none."""
    categories: Sequence[str]
    category_of: Mapping[str, int]
    _texts: Any = field(repr=False)
    _by_hour: Any = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def about(self, index: int) -> dict[str, str | None]:
        """Name, brand and category of an item."""
        return _about(self._texts, self.category, self.categories, index)

    # what is kept refers to columns, never to `self`: a version that is swapped out has to go without the collector
    @cached_property
    def said(self) -> Callable[[int], Mapping[str, Any]]:
        """From the index of an item to what is known of it, its price too; kept of those asked latest."""
        of, prices = partial(_about, self._texts, self.category, self.categories), self.price

        @lru_cache(maxsize=SAID)
        def about_of(index: int) -> Mapping[str, Any]:
            about: dict[str, Any] = {name: text for name, text in of(index).items() if text}
            price = round(float(prices[index]), 4)  # it is kept in 32 bits: 33.51, not 33.5099983215332
            return about if np.isnan(price) else about | {"price": price}

        return about_of

    @cached_property
    def popular(self) -> Ints:
        """Indexes, the most frequent first."""
        return np.argsort(-self.count[FIRST_ITEM:], kind="stable") + FIRST_ITEM

    @cached_property
    def within(self) -> Callable[[frozenset[str] | None, float | None, float | None], "Within"]:
        """From categories (None: all), a least and a most price (None: none) to the items of these; kept of those asked
        latest.
        """
        category, of, price = self.category, self.category_of, self.price
        items, named = len(self), len(self.categories)

        @lru_cache(maxsize=WITHINS)
        def kept(categories: frozenset[str] | None, least: float | None, most: float | None) -> Within:
            allowed = np.ones(items, bool)
            if categories is not None:
                wanted = np.zeros(max(named, FIRST_ITEM), bool)
                wanted[[of[name] for name in categories if name in of]] = True
                allowed = wanted[category]
            if least is not None:
                allowed &= price >= least
            if most is not None:
                allowed &= price <= most
            allowed[:FIRST_ITEM] = False
            count = int(allowed.sum())
            return Within(allowed, count, np.flatnonzero(allowed) if count <= FEW else None)

        return kept

    @cached_property
    def weights(self) -> Callable[[tuple[Boost, ...]], Weights]:
        """From boosts to what they come to, by item; kept of those asked latest."""
        make = partial(
            merchandising.weights,
            index_of=self.index_of,
            category=self.category,
            category_of=self.category_of,
            brand=self._texts["brand"],
            first=FIRST_ITEM,
            most=FEW,
        )
        return lru_cache(maxsize=WEIGHTS)(make)

    @cached_property
    def brands(self) -> frozenset[str]:
        """Those that any item has."""
        return frozenset(filter(None, self._texts["brand"].unique().to_pylist()))

    @property
    def hourly(self) -> bool:
        """Whether it is known how often they were met at each hour."""
        return self._by_hour is not None

    @cached_property
    def shares(self) -> Callable[[int | None], npt.NDArray[np.float32]]:
        """From an hour of the day (UTC; None: all) to the share [known] of each item in the steps of training."""
        count, by_hour = self.count, self._by_hour

        @lru_cache(maxsize=3)
        def share_of(hour: int | None) -> npt.NDArray[np.float32]:
            return popularity.shares(count, by_hour, hour).astype(np.float32)

        return share_of

    @classmethod
    def read(cls, artefact: Artefact, *, hourly: bool | None = None) -> "Items":
        """Those of an artefact; `hourly`: with popularity by hour, None: where it has it. Raises DataError where its
        tables are not those of its card.
        """
        hourly = OF_RANKINGS.keys() <= artefact.card.keys() if hourly is None else hourly
        table, named = artefact.tables()
        ids, categories = ["", "", *_texts(table["item_id"])], ["", "", *named["category"].to_pylist()]

        def numbers(name: str, kind: Any, before: float) -> Any:
            return np.concatenate([np.full(FIRST_ITEM, before, kind), table[name].to_numpy().astype(kind)])

        return cls(
            ids,
            {name: index for index, name in enumerate(ids) if index >= FIRST_ITEM},
            numbers("count", np.int64, 0),
            numbers("category", np.int64, 0),
            numbers("price", np.float64, np.nan),
            categories,
            {name: index for index, name in enumerate(categories) if index >= FIRST_ITEM},
            {name: table[name].combine_chunks() for name in ("name", "brand")},
            artefact.by_hour() if hourly else None,
        )


def _texts(column: Any) -> Iterator[str]:
    """A piece at a time: Arrow holds Python's lock while it makes texts, .1 s of a million, and somebody answers."""
    for at in range(0, len(column), PIECE):
        yield from column.slice(at, PIECE).to_pylist()


def _about(texts: Any, category: Ints, categories: Sequence[str], index: int) -> dict[str, str | None]:
    said = {name: texts[name][index - FIRST_ITEM].as_py() for name in ("name", "brand")}
    return {**said, "category": categories[int(category[index])] or None}


@dataclass(frozen=True)
class _Names:
    """What hand-made features ask of a store's card."""

    known: int
    actions: tuple[str, ...]
    categories: int


@dataclass(frozen=True)
class Served:
    """One version of a model."""

    model: str
    version: int
    artefact: Artefact
    items: Items

    @classmethod
    def of(cls, model: str, version: int, folder: Path, *, threads: int = 1, recall: float | None = None) -> "Served":
        """That of the artefact in `folder`; with a `recall` items are found by an index that finds so much of the best,
        where there is one (`near`). Raises DataError where its files are not those of its card.
        """
        opened = partial(cut.opened, threads=threads, scan=recall is None)
        artefact = load(folder, threads=threads, opened=opened)
        served = cls(model, version, artefact, Items.read(artefact))
        if recall is not None and isinstance(artefact.session, Cut):
            name = f".near-{str(artefact.card['model_sha256'])[:16]}.faiss"
            artefact.session.approximated(served._feed(served._drawn()), recall, folder.parent / name)
        return served

    @property
    def index(self) -> Quality | None:
        """What was measured of the index of items, where one was made; it answers only if `approximate`."""
        return self.artefact.session.index if isinstance(self.artefact.session, Cut) else None

    @property
    def approximate(self) -> bool:
        """Whether items are found by an index."""
        return isinstance(self.artefact.session, Cut) and self.artefact.session.approximate

    @property
    def unshared(self) -> bool:
        """Whether a table that is large enough to be shared with other processes is not (`online.laid`)."""
        tables = self.artefact.session.tables if isinstance(self.artefact.session, Cut) else []
        return any(table.nbytes >= 2 * laid.LEAST and not isinstance(table, np.memmap) for table in tables)

    def _drawn(self) -> list[Question]:
        """Questions by which an index is measured: histories of items as often as training met them."""
        draw, items = np.random.default_rng(0), self.items
        weight = items.count[FIRST_ITEM:] + 1.0
        action = next(iter(self.action_of))
        drawn = []
        for length in draw.integers(1, 11, MEASURED).tolist():
            own = FIRST_ITEM + draw.choice(len(weight), length, p=weight / weight.sum())
            steps = [
                Step(items.ids[at], action, None, items.categories[items.category[at]], float(items.price[at]))
                for at in own.tolist()
            ]
            drawn.append(Question(tuple(steps), HOUR_OF_DRAWN))
        return drawn

    @cached_property
    def unit(self) -> str:
        """What one history is."""
        return self.artefact.unit

    @cached_property
    def outputs(self) -> list[Output]:
        """What it answers."""
        return outputs.of(self.artefact.outputs)

    @cached_property
    def shown_outputs(self) -> list[Output]:
        """What it answers, and what is made of it for categories."""
        return outputs.of((*self.artefact.outputs, *self.groups.of))

    @cached_property
    def groups(self) -> groups.Own:
        """The categories, where it ranks several right items: each as likely as its items together."""
        return groups.Own.by(self.artefact)

    @cached_property
    def classes(self) -> Mapping[str, Sequence[str]]:
        """By head the names of its classes; none of one of another kind."""
        return {name: head.classes for name, head in self.artefact.heads.items()}

    @cached_property
    def ranking(self) -> str:
        """Its main ranking, or the name of the first that there could be."""
        return outputs.main(self.artefact.outputs, "ranking")

    @cached_property
    def action_of(self) -> dict[str, int]:
        """The code of each type of event that is a step."""
        actions = self.artefact.card["actions"]
        own = self._how.get("event_types", actions)
        return {name: code for code, name in enumerate(actions) if name in own}

    def steps(self, question: Question) -> list[Step]:
        """The steps of a history that the model reads: of types that are steps to it, before the time of asking of a
        unit that has one, and where training read only the first of repeated steps, that.
        """
        own = self.action_of
        steps = [step for step in question.steps if step.action in own]
        if self._as_of and question.now is not None:
            steps = [step for step in steps if step.time is None or step.time < question.now]
        if self._how.get("drop_repeats"):
            steps = [
                step
                for place, step in enumerate(steps)
                if not place or (step.item, step.action) != (steps[place - 1].item, steps[place - 1].action)
            ]
        return steps

    @property
    def _how(self) -> Mapping[str, Any]:
        """How training made steps, as the card says; of a card from before it did, nothing."""
        said: Mapping[str, Any] = self.artefact.card.get("steps") or {}
        return said

    @property
    def _as_of(self) -> bool:
        return UNITS[self.unit].as_of is not None

    def split(self, questions: Sequence[Question]) -> PackedSplit:
        """The histories of some questions, none of which may be empty, as the packed store would hold them: a sequence
        each, with the same columns in the same types.

        An item that the model does not know has an index from `artefact.known` on, the same for all its steps. A step
        without a time has that of the step before; where no step has one, it is the time of asking.
        """
        return self._packed([self.steps(question) for question in questions], questions)

    def _packed(self, read: Sequence[Sequence[Step]], questions: Sequence[Question]) -> PackedSplit:
        steps = [step for each in read for step in each]
        offsets = np.concatenate([[0], np.cumsum([len(each) for each in read])]).astype(np.int64)
        others: dict[str, int] = {}
        index, known = self.items.index_of, self.artefact.known
        item = [
            code if (code := index.get(step.item)) is not None else others.setdefault(step.item, known + len(others))
            for step in steps
        ]
        columns: dict[str, Any] = {
            "action": [self.action_of[step.action] for step in steps],
            "time": [time for each, question in zip(read, questions, strict=True) for time in _times(each, question)],
            "item": item,
            "category": [
                self.items.category_of.get(step.category, UNKNOWN) if step.category else NO_CATEGORY for step in steps
            ],
            "price": [np.nan if step.price is None else step.price for step in steps],
        }
        if "quantity" in UNITS[self.unit].columns:
            columns["quantity"] = [np.nan if step.quantity is None else step.quantity for step in steps]
        columns = {name: np.array(values, FEATURES[name].stored) for name, values in columns.items()}
        columns |= features.derived(columns, offsets, clock=bool(self._how.get("clock", True)))
        asks = UNITS[self.unit].asks
        if not self._as_of:
            return PackedSplit(None, asks, offsets=offsets, **columns)
        ends = columns["time"][offsets[1:] - 1] + 1
        now = np.array(
            [end if question.now is None else question.now for end, question in zip(ends, questions, strict=True)]
        )
        return PackedSplit(Bounds(offsets[:-1], offsets[1:], offsets[1:], now), asks, **columns)

    def answers(self, questions: Sequence[Question], plan: Plan | None = None) -> dict[str, npt.NDArray[np.float32]]:
        """By output the answers [N, A] to N questions, as `Artefact.scores` gives them. NaN where nothing of a history
        is read: there is no answer, see `empty`. `plan`: what is planned of the series asked about, of each its
        `asked`.
        """
        read = [self.steps(question) for question in questions]
        there = [place for place, steps in enumerate(read) if steps]
        own = [questions[place] for place in there]
        if plan is not None and plan.asked is not None:
            plan = plan.of(plan.asked[there])
        answers = self._answered([read[place] for place in there], own, plan) if there else {}
        if len(there) == len(questions):
            return answers
        whole = {}
        for output in self.outputs:
            width = answers[output.name].shape[1] if answers else self.width(output)
            whole[output.name] = np.full((len(questions), width), np.nan, np.float32)
            if answers:
                whole[output.name][there] = answers[output.name]
        return whole

    def quick(self, outputs: Sequence[str]) -> bool:
        """Whether `best` and `alike` answer these rankings."""
        session = self.artefact.session
        return isinstance(session, Cut) and all(session.quick(output) for output in outputs)

    def best(
        self,
        questions: Sequence[Question],
        most: Mapping[str, Sequence[int]],
        also: Sequence[Ints],
        read: Sequence[Sequence[Step]] | None = None,
    ) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, list[Ranked]]]:
        """By output that is no ranking the answers [N, A] to N questions, of each of which the model reads something;
        and of the rankings in `most`, which are `quick`, the best: see `Cut.best`. `read`: their `steps`, if known.
        """
        feed = self._feed(questions, read)
        others = [output.name for output in self.outputs if output.kind != "ranking"]
        session: Cut = self.artefact.session
        return session.best(others, feed, most, also)

    def alike(self, questions: Sequence[Question], output: str, also: Sequence[int] = ()) -> Alike:
        """Of a ranking that is `quick`, see `Cut.alike`; of each of the questions the model reads something."""
        session: Cut = self.artefact.session
        return session.alike(output, self._feed(questions), np.array(also, np.int64))

    def _feed(self, questions: Sequence[Question], read: Sequence[Sequence[Step]] | None = None) -> dict[str, Any]:
        read = [self.steps(question) for question in questions] if read is None else read
        split, every = self._packed(read, questions), np.arange(len(questions))
        positions = last(split, every, self.artefact.max_length)
        return asking.feed(self.artefact, split, positions, every, self._translation(split))

    def features(self, questions: Sequence[Question]) -> npt.NDArray[np.float32]:
        """The hand-made features [N, F] that the model reads of N histories, none of which may be empty."""
        split, every = self.split(questions), np.arange(len(questions))
        positions, store = last(split, every, self.artefact.max_length), self._translation(split).store
        assert store is not None
        return asking.hand_made(self.unit, self.artefact.features, split, positions, every, store)

    def empty(self, question: Question) -> bool:
        """Whether the model reads nothing of a history."""
        return not self.steps(question)

    def width(self, output: Output) -> int:
        """How many numbers an answer has."""
        if self.artefact.forecasts:
            return 4 * int(self.artefact.card["horizon"]) if output.kind == "forecast" else 2
        (shape,) = (each.shape for each in self.artefact.session.get_outputs() if each.name == output.name)
        return shape[1] if isinstance(shape[1], int) else self.artefact.known

    def _answered(
        self, read: Sequence[Sequence[Step]], questions: Sequence[Question], plan: Plan | None
    ) -> dict[str, npt.NDArray[np.float32]]:
        split, every = self._packed(read, questions), np.arange(len(questions))
        split = split if plan is None else split.planned(plan)
        positions = last(split, every, self.artefact.max_length)
        return asking.answers(self.artefact, split, positions, every, self._translation(split))

    @cached_property
    def _own(self) -> Ints:
        """Every item by its own index."""
        return np.arange(self.artefact.known)

    def _translation(self, split: PackedSplit) -> Translation:
        known, most = self.artefact.known, int(split.item.max(initial=PADDING)) + 1
        item = self._own[:most] if most <= known else np.concatenate([self._own, np.full(most - known, UNKNOWN)])
        actions = tuple(self.artefact.card["actions"])
        categories = len(self.items.categories)
        return Translation(item, np.arange(len(actions)), np.arange(categories), _Names(known, actions, categories))


def _times(steps: Sequence[Step], question: Question) -> list[int]:
    """A time for each step: its own, or that of the nearest before it, or after it, that has one."""
    first = next((step.time for step in steps if step.time is not None), question.now or 0)
    times, before = [], first
    for step in steps:
        before = before if step.time is None else step.time
        times.append(before)
    return times
