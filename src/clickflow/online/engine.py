"""The engine: which version of each model answers, and how questions get to it."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from msgspec import structs

from clickflow.online.history import Question
from clickflow.online.ranking import NONE, Ranking, Rules, few, lacking, needed, recommend
from clickflow.online.served import Served
from clickflow.online.waiting import Waiting
from clickflow.system.errors import ClickflowError, UsageError, nearest

TOGETHER = 32
"""Questions that are answered at once, at most; a second thread comes in where so many wait."""
MOST = 512
"""Questions that wait for a model, at most."""
LONGEST = 1.0
"""Seconds that they wait: where the first has waited longer, no more are taken in, whatever an answer takes here."""
WIDE = 512
"""Who asks for more items than so many is answered apart from those who do not."""
THREADS = 2
"""Threads that answer for a model, where there are so many cores, under more than one of them can answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one version answered to one question."""

    model: str
    version: int
    values: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """By output that is no ranking, float32 [A]: log-probabilities, or an amount; NaN where the history is empty."""
    rankings: Mapping[str, Ranking] = field(default_factory=dict)
    """By output that is a ranking."""
    groups: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """By ranking of categories, float32 [categories] log-probabilities, if `Rules.groups` asks; none of a fallback."""
    fallback: Literal["no_history"] | None = None
    """`no_history`: nothing of the history is read by the model, and values are NaN."""
    served: Served | None = field(default=None, repr=False, compare=False)
    """Who answered, whatever has been swapped in since."""


class Busy(ClickflowError):
    """Too many questions wait for a model."""


class Engine:
    """The versions that answer, by model; for many threads."""

    def __init__(self, served: Mapping[str, Served], order: Iterable[str] = (), *, most: int = MOST) -> None:
        """`order`: that of `models`, whichever was loaded first; `most`: questions that wait for a model."""
        self._place = {name: place for place, name in enumerate(order)}
        self._served = dict(served)
        self._most = most
        self._queues: dict[str, Waiting[_Pending]] = {}
        self._one = threading.Lock()
        self.together: Callable[[int], object] = lambda _: None
        """Told how many questions were answered at once."""

    @property
    def models(self) -> tuple[str, ...]:
        """Their names, canaries (`next_step@canary`) left out."""
        return tuple(name for name in self._served if "@" not in name)

    def current(self, model: str) -> Served:
        """The version of `model` that answers now. Raises UsageError where there is none."""
        try:
            return self._served[model]
        except KeyError:
            known = ", ".join(self._served) or "none"
            raise UsageError(
                f"no model {model!r} answers here; there is: {known}{nearest(model, self._served)}"
            ) from None

    def swap(self, served: Served) -> None:
        """Let this version answer from now on; questions under way are answered by the one before."""
        every = {**self._served, served.model: served}
        last = len(self._place)
        self._served = {name: every[name] for name in sorted(every, key=lambda name: self._place.get(name, last))}

    def withdraw(self, model: str) -> None:
        """Let `model` answer no more."""
        self._served = {name: served for name, served in self._served.items() if name != model}

    def answer(self, model: str, question: Question, rules: Rules | None = None) -> Answer:
        """What the current version answers; rankings as `rules` say, only that of `rules.output` if it is given."""
        (answer,) = answers(self.current(model), [(question, rules or Rules())])
        return answer

    async def ask(self, model: str, question: Question, rules: Rules | None = None) -> Answer:
        """As `answer`, together with what others ask at the same time: whatever waits when the model is free. Raises
        Busy where too many wait, or the first of them for too long.
        """
        served, loop = self.current(model), asyncio.get_running_loop()
        pending = _Pending(served, question, rules or Rules(), loop, loop.create_future())
        queue = self._queues.get(model) or self._queue(model)
        if not queue.put(pending):
            raise Busy(
                f"too many questions wait for {model} already", kept="none of them is lost", next_step="try again"
            )
        return await pending.future

    def _queue(self, model: str) -> "Waiting[_Pending]":
        """What is asked of a model; the threads that answer it are started with it."""
        with self._one:
            if model not in self._queues:
                queue: Waiting[_Pending] = Waiting(together=TOGETHER, most=self._most, seconds=LONGEST)
                for _ in range(min(THREADS, os.cpu_count() or 1)):
                    threading.Thread(target=self._run, args=(queue,), name=f"answers of {model}", daemon=True).start()
                self._queues[model] = queue
            return self._queues[model]

    def _run(self, queue: "Waiting[_Pending]") -> None:
        while True:
            waiting = [each for each in queue.take() if not each.future.cancelled()]
            by_version: dict[int, list[_Pending]] = {}
            for each in waiting:
                by_version.setdefault(id(each.served), []).append(each)
            for group in by_version.values():
                self.together(len(group))
                _tell(group, _tried(group))
            waiting, by_version, group = [], {}, []  # a version that is swapped out does not stay for who waits here
            queue.done()


@dataclass(slots=True)
class _Pending:
    """A question that waits."""

    served: Served
    question: Question
    rules: Rules
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Answer]"


def _tried(pending: Sequence[_Pending]) -> Sequence[Answer | BaseException]:
    """The answers to some questions to one version; where that fails, each by itself, for its own error."""
    try:
        return answers(pending[0].served, [(each.question, each.rules) for each in pending])
    except BaseException as error:
        return [error] if len(pending) == 1 else [_tried([each])[0] for each in pending]


def _tell(pending: Sequence[_Pending], replies: Sequence[Answer | BaseException]) -> None:
    def tell(pairs: Sequence[tuple[_Pending, Answer | BaseException]]) -> None:
        for each, answer in pairs:
            if each.future.done():
                continue
            if isinstance(answer, BaseException):
                each.future.set_exception(answer)
            else:
                each.future.set_result(answer)

    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Pending, Answer | BaseException]]] = {}
    for each, answer in zip(pending, replies, strict=True):
        by_loop.setdefault(each.loop, []).append((each, answer))
    for loop, pairs in by_loop.items():
        with contextlib.suppress(RuntimeError):  # it is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, pairs)


def answers(served: Served, questions: Sequence[tuple[Question, Rules]]) -> list[Answer]:
    """What a version answers to some questions at once."""
    ranked = [output.name for output in served.outputs if output.kind == "ranking"]
    wanted = [[rules.output] if rules.output else ranked for _, rules in questions]
    read = [served.steps(question) for question, _ in questions]
    values: list[dict[str, Any]] = [{} for _ in questions]
    rankings: list[dict[str, Ranking]] = [{} for _ in questions]
    quick: list[int] = []
    if served.quick(ranked):
        needs = [needed(served, question, rules) for question, rules in questions]
        quick = [place for place, need in enumerate(needs) if read[place] and (need or not wanted[place])]
    wide = [place for place in quick if (need := needs[place]) and max(need[0], len(need[1])) > WIDE]
    for part in (wide, [place for place in quick if place not in wide]):
        if not part:
            continue
        most = {
            name: [need[0] if (need := needs[place]) and name in wanted[place] else 0 for place in part]
            for name in ranked
            if any(name in wanted[place] for place in part)
        }
        also = [need[1] if (need := needs[place]) else NONE for place in part]
        histories = [questions[place][0] for place in part]
        numbers, best = served.best(histories, most, also, [read[place] for place in part])
        for at, place in enumerate(part):
            question, rules = questions[place]
            values[place] = {name: row[at] for name, row in numbers.items()}
            if lacking(served, question, read[place]) is None:
                lists = {name: few(served, question, _of(rules, name), best[name][at]) for name in wanted[place]}
                rankings[place] = {name: ranking for name, ranking in lists.items() if ranking is not None}
    slow = [place for place in range(len(questions)) if place not in quick]
    dense = served.answers([questions[place][0] for place in slow]) if any(read[place] for place in slow) else {}
    for at, place in enumerate(slow):
        for output in served.outputs:
            if output.kind != "ranking":
                width = served.width(output)
                values[place][output.name] = dense[output.name][at] if dense else np.full(width, np.nan, np.float32)
    grouped: list[dict[str, Any]] = [{} for _ in questions]
    for place, (question, rules) in enumerate(questions):
        if rules.groups and dense and lacking(served, question) is None:
            at = slow.index(place)
            own = served.groups.added({name: dense[name][at : at + 1] for name in served.groups.of.values()})
            grouped[place] = {name: own[name][0] for name in served.groups.of}
        for name in wanted[place]:
            if name not in rankings[place]:
                logs = dense[name][slow.index(place)] if dense and place in slow else None
                rankings[place][name] = recommend(served, question, _of(rules, name), logs)
    return [
        Answer(
            served.model, served.version, values[k], rankings[k], grouped[k], None if read[k] else "no_history", served
        )
        for k in range(len(questions))
    ]


def _of(rules: Rules, output: str) -> Rules:
    return rules if rules.output == output else structs.replace(rules, output=output)
