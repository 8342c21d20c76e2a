"""Trials side by side, each a process of its own, until the time is over."""

import contextlib
import json
import math
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clickflow.params.models import own
from clickflow.params.schema import Params
from clickflow.system import console, process
from clickflow.system.errors import ClickflowError
from clickflow.system.files import write_json
from clickflow.tracking.experiment import flat_metrics, flat_params
from clickflow.tuning import MARK
from clickflow.tuning import study as studies
from clickflow.tuning.runs import Runs
from clickflow.tuning.space import Setting, current
from clickflow.tuning.study import Study

if TYPE_CHECKING:
    import optuna

PROGRAM = (sys.executable, "-m", "clickflow.tuning.trial")
"""One trial."""
FRUITLESS = 3
"""Trials that fail, and none that succeeds, before the whole is given up: the fault is not in what was drawn."""


@dataclass
class _Running:
    """A trial at work. `outcome`: what it has been stopped for, or how it has ended, as far as that is known."""

    trial: "optuna.Trial"
    setting: Setting
    present: bool
    stop: Path
    log: Path
    thread: threading.Thread
    epochs: int = 0
    """At most, as it says itself at its beginning."""
    began: float = field(default_factory=time.monotonic)
    outcome: str = ""
    why: str = ""
    done: dict[str, Any] = field(default_factory=dict)


@dataclass
class Search:
    """One call of `clickflow tune`: how many trials it has started, and how they went."""

    study: Study
    raw: Mapping[str, Any]
    store: Path
    root: Path
    runs: Runs
    jobs: int
    most: int | None
    deadline: float
    running: dict[int, _Running] = field(default_factory=dict)
    events: "queue.SimpleQueue[tuple[int, str, Any]]" = field(default_factory=queue.SimpleQueue)
    started: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    exhausted: bool = False
    quickest: float = 0.0
    first_fault: str = ""

    def __post_init__(self) -> None:
        seconds = [trial.user_attrs["seconds"] for trial in self.study.best()]
        self.quickest = min(seconds, default=0.0)


def run(search: Search, advance: Callable[..., None]) -> None:
    """Start trials and listen to them until the deadline, the number of trials, or an exhausted space ends it.

    Whatever ends it, no process is left, and what was cut short is noted to be tried again. Raises ClickflowError where
    trials fail and none succeeds.
    """
    looked = time.monotonic()
    try:
        while True:
            _fill(search)
            if not search.running:
                return
            with contextlib.suppress(queue.Empty):
                number, kind, value = search.events.get(timeout=0.5)
                _HEARD[kind](search, number, value)
            now = time.monotonic()
            advance(now - looked, _note(search))
            looked = now
            if now >= search.deadline:
                console.say(f"the time is over; {len(search.running)} unfinished trials will be tried again next time")
                return
            _give_up(search)
    finally:
        _stop(search)


def _fill(search: Search) -> None:
    """Start trials as long as there is a free place, and time for one."""
    while len(search.running) < search.jobs and not search.exhausted:
        if search.most is not None and search.started >= search.most:
            return
        if time.monotonic() + search.quickest >= search.deadline:
            if not search.running:
                console.say("what is left of the time is too short for another trial")
            return
        question = studies.ask(search.study)
        if question is None:
            search.exhausted = True
            console.say("the space is exhausted: what it still has was tried before, or is refused")
            return
        _start(search, *question)


def _start(search: Search, trial: "optuna.Trial", setting: Setting, params: Params) -> None:
    """Write the trial's job and start its process; a thread passes on what it says."""
    number, name = trial.number, search.study.space.model
    model = params.model(name)
    if params.tuning.epochs is not None and "budget" in own(model):
        model = replace(model, budget=replace(model.budget, epochs=params.tuning.epochs))
    folder = search.study.folder / "trials"
    folder.mkdir(parents=True, exist_ok=True)
    job, stop, log = (folder / f"{number:04d}.{kind}" for kind in ("json", "stop", "log"))
    raw = {**search.raw, "models": {**search.raw["models"], name: asdict(model)}}
    write_json(job, {"params": raw, "model": name, "store": str(search.store), "stop": str(stop)})
    thread = threading.Thread(target=_listen, args=[search, number, job, log], name=f"trial {number}", daemon=True)
    present = setting == current(search.study.params, search.study.space)
    search.running[number] = _Running(trial, setting, present, stop, log, thread)
    search.started += 1
    thread.start()
    search.runs.begin(number, name, {**flat_params(own(model)), "seed": params.seed})


def _listen(search: Search, number: int, job: Path, log: Path) -> None:
    """Run the process of a trial to its end, and put what it says into the queue; the rest goes to its log."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with log.open("w", encoding="utf-8") as file:

        def say(line: str) -> None:
            if line.startswith(MARK):
                message = json.loads(line.removeprefix(MARK))
                search.events.put((number, next(iter(message)), message))
            else:
                file.write(f"{line}\n")

        try:
            code = process.run([*PROGRAM, str(job)], cwd=search.root, env=env, say=say).code
        except Exception as error:  # a thread's error would be lost
            file.write(f"{error}\n")
            code = 1
    search.events.put((number, "end", code))


def _epoch(search: Search, number: int, message: Mapping[str, Any]) -> None:
    """An epoch of a trial: note it, and stop the trial where others were better at that point."""
    one = search.running[number]
    record = message["record"]
    search.runs.epoch(number, flat_metrics(record), message["epoch"])
    value = record.get("valid", {}).get(search.study.params.tuning.objective)
    if value is None or not math.isfinite(value) or one.outcome:
        return
    one.trial.report(value, message["epoch"])
    surpassed = one.trial.should_prune()  # it also notes how far this one has come, for others to be held against
    if surpassed and message["epoch"] < one.epochs and not one.present:  # all are held against the present params
        one.outcome, one.why = "pruned", f"after epoch {message['epoch']}, at {value:.4f}"
        one.stop.touch()


def _done(search: Search, number: int, message: Mapping[str, Any]) -> None:
    one = search.running[number]
    if one.outcome != "pruned":  # one that was too quick to be stopped is pruned all the same: time decides nothing
        one.outcome, one.done = "finished", dict(message)


def _failed(search: Search, number: int, message: Mapping[str, Any]) -> None:
    one = search.running[number]
    one.outcome, one.why = "failed", str(message["failed"])


def _ended(search: Search, number: int, code: int) -> None:
    """The process of a trial is gone: what came of it goes to the storage, MLflow and the person watching."""
    one = search.running.pop(number)
    one.stop.unlink(missing_ok=True)
    seconds = time.monotonic() - one.began
    one.trial.set_user_attr("seconds", round(seconds, 1))
    objective = search.study.params.tuning.objective
    value = one.done.get("valid", {}).get(objective, math.nan)
    if one.outcome == "finished" and not math.isfinite(value):
        one.outcome, one.why = "failed", f"the validation part gives no {objective}"
    elif not one.outcome:
        one.outcome, one.why = "failed", process.killed(code) or f"ended with exit code {code}"
    if one.outcome == "finished":
        one.trial.set_user_attr("valid", one.done["valid"])
        one.trial.set_user_attr("epoch", one.done["done"])
        studies.complete(search.study, one.trial, value)
        search.quickest = min(search.quickest or seconds, seconds)
        best = search.study.best()[0]
        text = f"{objective} {value:.4f}" + (", the present params" if one.present else "")
        text += ", the best so far" if best.number == number and len(search.study.best()) > 1 else ""
    elif one.outcome == "pruned":
        one.trial.set_user_attr("pruned", one.why)
        studies.prune(search.study, one.trial)
        text = f"pruned {one.why}"
    else:
        studies.fail(search.study, one.trial, one.why)
        search.first_fault = search.first_fault or f"trial {number}: {one.why}; its log: {one.log}"
        text = f"failed: {one.why}"
    search.outcomes[one.outcome] = search.outcomes.get(one.outcome, 0) + 1
    console.say(f"trial {number}: {text}, {seconds:.0f} s")
    search.runs.end(number, one.outcome, {"clickflow.why": one.why} if one.why else {})


def _begun(search: Search, number: int, message: Mapping[str, Any]) -> None:
    search.running[number].epochs = message["epochs"]


_HEARD: Mapping[str, Callable[[Search, int, Any], None]] = {
    "parameters": _begun,
    "epoch": _epoch,
    "done": _done,
    "failed": _failed,
    "end": _ended,
}


def _give_up(search: Search) -> None:
    if search.outcomes.get("failed", 0) >= FRUITLESS and not search.study.best():
        raise ClickflowError(
            f"{search.outcomes['failed']} trials failed and none succeeded; {search.first_fault}",
            kept=f"the study, {search.study.folder}",
            next_step=f"see whether `clickflow train {search.study.space.model}` works",
        )


def _note(search: Search) -> str:
    """The end of the line of progress."""
    best, present = search.study.best()[:1], search.study.present()
    parts = [f"{len(search.running)} at work", *(f"{count} {word}" for word, count in search.outcomes.items())]
    parts += [f"best {trial.value:.4f}" for trial in best]
    parts += [f"present {present.value:.4f}"] if present else []
    return ", ".join(parts)


def _stop(search: Search) -> None:
    """End what is at work, and let it be tried again."""
    if not search.running:
        return
    for one in search.running.values():
        one.stop.touch()  # seen within a step, where a signal would need a process that is up already
    process.stop_all()
    for one in search.running.values():
        one.thread.join(30)
        one.stop.unlink(missing_ok=True)
    while not search.events.empty():  # one may have ended by itself just then
        number, kind, value = search.events.get()
        if kind != "end" or search.running[number].outcome in ("finished", "pruned"):
            _HEARD[kind](search, number, value)
    for number, one in search.running.items():
        studies.again(search.study, one.trial)
        search.runs.end(number, "stopped", {})
    search.running.clear()
