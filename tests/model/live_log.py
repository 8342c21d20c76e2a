"""A log of answers for tests: a clock that is moved by hand, and a row of an answer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from clickflow.online.live import log
from clickflow.params.file import load
from clickflow.params.schema import Params

MINUTE = 60_000_000
START = 1_790_000_000_000_000


class Clock:
    """Nanoseconds, moved by hand."""

    def __init__(self) -> None:
        self.now = START * 1000

    def __call__(self) -> int:
        return self.now

    def forward(self, microseconds: int) -> None:
        self.now += microseconds * 1000


def params_of(root: Path) -> Params:
    """The shipped params, with intervals that are quick."""
    given = load(root / "params.yaml", lambda _: None)
    return replace(given, evaluation=replace(given.evaluation, bootstrap=50))


def answer(request: str, **more: Any) -> dict[str, Any]:
    """A row of an answer that ranks."""
    row = {"model": "next_step", "version": 1, "arm": log.CHAMPION, "test": 0, "output": "next_item", "kind": "ranking"}
    return {**row, "steps": 1, "labels": ["a", "b"], "scores": [0.6, 0.4], "plain": True, "request": request, **more}
