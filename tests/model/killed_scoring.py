"""Scores again and again, each time in a process that is killed at the next place: files touched, statements sent."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import forks
from clickflow.artefact.artefact import load
from clickflow.params.score import Score
from clickflow.serving import batch, folder, score_database, tables
from killing import killed

SIZE = 64
"""Sequences of a partition: seven of them."""
MODEL = "next_step"
WHO = {"model": MODEL, "version": 1}
ITEMS, ACTIONS = "clickflow_next_step_items", "clickflow_next_step_actions"
LINES, CURRENT = "clickflow_score_partitions", "clickflow_score_current"


def scoring(artefact: Path, store: Path, out: Path | None, *, sql: bool, top: int = 5) -> dict[str, Any]:
    """To `out`, to the tables of CLICKFLOW_SCORE_URL, or both."""
    opening: list[batch.Opening] = []
    if out is not None:
        opening.append(lambda each: folder.Folder(out, each))
    if sql:
        engine = score_database.connect(Score())
        opening.append(lambda each: tables.Tables(engine, Score(), each))
    batch.PARTITION = SIZE
    return batch.write(load(artefact, threads=1), store, opening, who=WHO, top=top, since_hours=None)


def into(url: str, artefact: Path, store: Path) -> None:
    """To the tables of a database: for a process of its own."""
    os.environ["CLICKFLOW_SCORE_URL"] = url
    scoring(artefact, store, None, sql=True)


def together(url: str, artefact: Path, store: Path) -> None:
    """Two processes that write to one database at once."""
    started = [forks.context().Process(target=into, args=(url, artefact, store)) for _ in range(2)]
    for each in started:
        each.start()
    for each in started:
        each.join()
    assert [each.exitcode for each in started] == [0, 0]


def statements(one_more: Callable[..., None]) -> None:
    """Let it be called at each statement that is sent to a database, and at each commit."""
    import sqlalchemy as sa

    for name in ("before_cursor_execute", "commit"):
        sa.event.listen(sa.Engine, name, one_more)


def main(artefact: Path, store: Path, work: Path, count: int, kind: str = "sqlite") -> None:
    """Kill at `count` places, each in a folder of its own, and go on once; prints how many places there are. `kind`: of
    the database, a file.

    Once is scored before, so that no process that is forked has a library to import.
    """
    (work / "first").mkdir()
    os.environ["CLICKFLOW_SCORE_URL"] = f"{kind}:///{work}/first/scores.{kind}"
    scoring(artefact, store, work / "first/predictions", sql=True)

    def scored(at: int, name: str = "") -> int:
        here = work / (name or f"at-{at}")
        here.mkdir(exist_ok=True)
        os.environ["CLICKFLOW_SCORE_URL"] = f"{kind}:///{here}/scores.{kind}"
        return killed(at, lambda: scoring(artefact, store, here / "predictions", sql=True), f"{here.name}/", statements)

    places = scored(0)
    for k in range(count):
        at = 1 + k * (places - 1) // (count - 1)
        assert not scored(at), "it was killed"
        assert scored(0, f"at-{at}")
    sys.stdout.write(f"{places}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])
