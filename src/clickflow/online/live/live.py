"""What a server keeps of its answers: it logs them, has a shadow answer them too, and says who is answered by whom.

`Live` is made once a process and handed to the application: `observe` is one of its observers, `choose` its choice.
"""

import hashlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from clickflow.monitoring import gauges as watched
from clickflow.online.champions import fetched
from clickflow.online.engine import Answer, Engine
from clickflow.online.history import Step
from clickflow.online.live import gauges, log, report
from clickflow.online.live.arms import Arms, arm_of, place
from clickflow.online.live.log import Log
from clickflow.online.live.regular import Regular
from clickflow.online.ranking import Ranking, Rules
from clickflow.online.served import Served
from clickflow.params.live import Live as Section
from clickflow.params.schema import Params
from clickflow.system.console import say_seldom
from clickflow.system.paths import Paths

WAITING = 64
"""Requests that may wait for the shadow; of more it answers none: it is a sample."""
PARTS = ("expected", "quantile_10", "quantile_50", "quantile_90")


def rows(answer: Answer, served: Served) -> Iterator[dict[str, Any]]:
    """Of each answer: its output, kind, labels, scores and fallback, as the log has them: in tuples, which Python's
    search for garbage, while which everybody waits, passes by.
    """
    for output in served.outputs:
        row: dict[str, Any] = {"output": output.name, "kind": output.kind, "fallback": answer.fallback}
        if output.kind == "ranking":
            if (ranking := answer.rankings.get(output.name)) is not None:
                row |= {"labels": ranking.items, "scores": ranking.scores, "fallback": ranking.fallback}
                yield row | _own(ranking) if ranking.pinned else row
            continue
        values = answer.values.get(output.name)
        if values is None or output.kind not in ("classes", "probability", "amount"):
            continue
        amount = output.kind == "amount"
        scores = tuple((values if amount else np.exp(values)).tolist())
        if not any(map(isnan, scores)):
            yield row | {"labels": PARTS if amount else served.classes[output.name], "scores": scores}


def _own(ranking: Ranking) -> dict[str, Any]:
    """Of a list with pins what is the model's, and what is not."""
    pairs = zip(ranking.items, ranking.scores, strict=True)
    own = [(item, score) for item, score in pairs if item not in ranking.pinned]
    return {
        "labels": tuple(item for item, _ in own),
        "scores": tuple(score for _, score in own),
        "pinned": tuple(item for item in ranking.items if item in ranking.pinned),
    }


def plain(rules: Rules | None) -> bool:
    """Whether no rule of the shop had a say: only then are the items what the evaluation would have asked."""
    return rules is None or rules == Rules(k=rules.k, output=rules.output, groups=rules.groups)


class Live:
    """Log, shadow and arms of one process."""

    def __init__(self, params: Params, paths: Paths, engine: Engine) -> None:
        section: Section = params.live
        self.section, self.engine, self.paths = section, engine, paths
        self.log = Log(log.place(paths.home), section.flush_seconds, section.queue, section.keep_days)
        self.arms = Arms(
            engine,
            paths.home,
            lambda model, version: fetched(paths, model, version),
            section.shadow > 0,
            params.serve.least_recall,
        )
        self.regular = Regular(section, paths)
        self.unseen = 0
        """Requests that the shadow had no time for."""
        self.failed: Callable[[], object] = lambda: None
        """Told of a request that the shadow could not answer."""
        self._watched: tuple[tuple[Path, float] | None, dict[str, Any]] = (None, {})
        self._read: tuple[tuple[int, int] | None, dict[str, Any]] = (None, {})
        self._shadow: queue.Queue[tuple[Any, int] | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, name="live-shadow", daemon=True)

    def start(self) -> "Live":
        """Begin."""
        if self.section.log:
            self.log.start()
        self.arms.start()
        self.regular.start()
        self._thread.start()
        return self

    def close(self) -> None:
        """Write what waits."""
        self.arms.stop()
        self.regular.stop()
        self._shadow.put(None)
        self._thread.join(timeout=5)
        if self.section.log:
            self.log.stop()

    def choose(self, model: str, subject: str | None) -> str:
        """The engine's name of what answers."""
        return self.arms.choose(model, subject)

    def report(self) -> dict[str, Any]:
        """The last report of `clickflow live`; empty where none was made."""
        return report.last(self.paths)

    def gauges(self) -> dict[str, dict[tuple[str, ...], float]]:
        """What Prometheus is shown, by gauge and labels."""
        if (stamp := gauges.seen(self.paths)) != self._read[0]:
            self._read = (stamp, self.report())
        on = {model: self.arms.canaries.get(model) for model in self.engine.models}
        serving = {model: self.engine.current(model).version for model in self.engine.models}
        return {
            "clickflow_live_queue": {(): float(self.log.waiting)},
            "clickflow_live_unseen": {(): float(self.unseen)},
            **self._of_watch(watched.last(self.paths)),
            **gauges.of(self._read[1], on, serving, self.section.max_days),
        }

    def _of_watch(self, last: tuple[Path, float] | None) -> dict[str, dict[tuple[str, ...], float]]:
        if last is None:
            return watched.of({}, 0)
        if last != self._watched[0]:
            self._watched = (last, watched.of(watched.read(last[0]), last[1]))
        return self._watched[1]

    def wrong(self) -> dict[str, str]:
        """What is wrong, for health."""
        said = {f"live {name}": what for name, what in self.arms.wrong.items()} | self.regular.wrong
        said |= {"live log": self.log.wrong} if self.log.wrong else {}
        if (last := watched.last(self.paths)) is not None and not self._of_watch(last)[watched.WRITTEN][()]:
            said |= {"watch": f"{last[0]} is no report that can be read: no alert says whether data moved"}
        return said

    def observe(self, answered: Any) -> None:
        """An observer of the application (`http.settings.Answered`): logs, and hands on to the shadow."""
        if answered.reply is None:
            return
        model, arm = arm_of(answered.name)
        # who could not have been in the canary is not compared with who is
        subject = answered.customer or answered.session
        test = self.arms.test(model) if subject and self.choose(model, subject) == answered.name else 0
        if test and answered.reply.version != self.arms.compared(model, arm):
            test = 0  # the canary became champion, or another did, and the ledger was not read again yet
        self._put(answered, answered.reply, answered.reply.served, arm, test)
        shadow = self.arms.shadows.get(model)
        if shadow is None or arm != log.CHAMPION or self.section.shadow <= 0:
            return
        if place(answered.request, "shadow", 0) < self.section.shadow:
            try:
                self._shadow.put_nowait((answered, test))
            except queue.Full:
                self.unseen += 1

    def happened(
        self, session: str | None, customer: str | None, steps: Sequence[Step], name: str | None = None
    ) -> None:
        """Steps that were told (`POST /v1/events`); pseudonyms. `name`: of these, as of `feedback`."""
        own = hashlib.blake2b(f"{session}\0{customer}\0{name}".encode(), digest_size=16).hexdigest()
        for number, step in enumerate(steps if self.section.log else ()):
            self.log.put(
                "outcomes",
                id=None if name is None else f"{own}-{number}",
                kind=log.STEP,
                session_id=session,
                user_id=customer,
                item=step.item,
                action=step.action,
                time=step.time,
                category=step.category or None,
                price=None if step.price is None or isnan(step.price) else step.price,
                quantity=step.quantity,
            )

    def feedback(self, request: str, said: Mapping[str, Sequence[str]], value: float | None, name: str | None) -> int:
        """A word of feedback on an answer (`POST /v1/feedback`): the items by kind; how many rows were kept. `name`: of
        this word on this answer, so that one that is sent twice counts once.
        """
        kept, word = 0, hashlib.blake2b(f"{request}\0{name}".encode(), digest_size=16).hexdigest()
        for kind, items in said.items() if self.section.log else ():
            for number, item in enumerate(items or [None] if kind == log.SHOWN else items):
                money = value if kind == log.BOUGHT and number == 0 else None
                own = None if name is None else f"{word}-{kind}-{number}"
                kept += self.log.put("outcomes", id=own, kind=kind, request=request, item=item, value=money)
        return kept

    def _put(self, answered: Any, answer: Answer, served: Served, arm: str, test: int) -> None:
        if not self.section.log:
            return
        last = answered.question.steps[-1] if answered.question.steps else None
        same = {
            "request": answered.request,
            "user_id": answered.customer,
            "session_id": answered.session,
            "model": arm_of(answer.model)[0],
            "version": answer.version,
            "arm": arm,
            "test": test,
            "steps": len(answered.question.steps),
            "last_item": last.item if last else None,
            "last_action": last.action if last else None,
            "plain": plain(answered.rules),
            "seconds": answered.seconds,
        }
        for row in rows(answer, served):
            self.log.put("answers", **row, **same)

    def _work(self) -> None:
        while (each := self._shadow.get()) is not None:
            answered, test = each
            served = self.arms.shadows.get(arm_of(answered.name)[0])
            try:
                if served is not None:
                    answer = Engine({served.model: served}).answer(served.model, answered.question, answered.rules)
                    self._put(answered, answer, served, log.SHADOW, test)
            except Exception as error:
                self.failed()
                say_seldom(f"warning: the shadow could not answer: {type(error).__name__}: {error}")
