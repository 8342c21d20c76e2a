"""Scores again and again, each time in a process that is killed at the next place: files touched, statements sent."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clickflow.artefact.artefact import load
from clickflow.params.score import Score
from clickflow.serving import batch, folder, tables

SIZE = 64
"""Sequences of a partition: seven of them."""
WHO = {"model": "next_step", "version": 1}


def scoring(artefact: Path, store: Path, out: Path | None, *, sql: bool, top: int = 5) -> dict[str, Any]:
    """To `out`, to the tables of CLICKFLOW_SCORE_URL, or both."""
    opening: list[batch.Opening] = []
    if out is not None:
        opening.append(lambda each: folder.Folder(out, each))
    if sql:
        engine = tables.connect(Score())
        opening.append(lambda each: tables.Tables(engine, Score(), each))
    batch.PARTITION = SIZE
    return batch.write(load(artefact, threads=1), store, opening, who=WHO, top=top, since_hours=None)


def _killing(at: int, near: str) -> Callable[[], int]:
    """End this process at the `at`-th touch of what is called `near`, or statement; returns how many there were."""
    import sqlalchemy as sa

    seen = 0

    def one_more(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def touched(event: str, values: tuple[Any, ...]) -> None:
        if event.startswith(("open", "os.", "shutil.")) and any(near in str(value) for value in values):
            one_more()

    sys.addaudithook(touched)
    for name in ("before_cursor_execute", "commit"):
        sa.event.listen(sa.Engine, name, one_more)
    return lambda: seen


def killed(at: int, run: Callable[[], object], near: str) -> int:
    """Let a process run that is killed at that place; how many places there were where it ended before, else 0."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        counted = _killing(at, near)
        try:
            run()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os.write(writing, str(counted()).encode())
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as said:
        places = int(said.read() or 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"failed when it was to be killed at {at}"
    return places


def main(artefact: Path, store: Path, work: Path, count: int) -> None:
    """Kill at `count` places, each in a folder of its own, and go on once; prints how many places there are."""

    def scored(at: int, name: str = "") -> int:
        here = work / (name or f"at-{at}")
        here.mkdir(exist_ok=True)
        os.environ["CLICKFLOW_SCORE_URL"] = f"sqlite:///{here}/scores.sqlite"
        return killed(at, lambda: scoring(artefact, store, here / "predictions", sql=True), f"{here.name}/")

    places = scored(0)
    for k in range(count):
        at = 1 + k * (places - 1) // (count - 1)
        assert not scored(at), "it was killed"
        assert scored(0, f"at-{at}")
    sys.stdout.write(f"{places}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
