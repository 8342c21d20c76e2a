"""Ingests again and again, each time in a process that is killed at a later place: `… BEFORE WORK COUNT`."""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from clickflow.events.ingest import ingest
from clickflow.params.file import load
from clickflow.system.paths import Paths
from killing import killed


def main(before: Path, work: Path, count: int) -> None:
    """Kill at `count` places from the first to the last, each in a copy of the workspace `before`.

    Once is ingested before, so that no process that is forked has anything to import or to prepare.
    """
    first = shutil.copytree(before, work / "first")
    ingest(load(first / "params.yaml"), Paths(first))
    shutil.rmtree(first)

    def ingested(at: int) -> int:
        here = shutil.copytree(before, work / f"at-{at}")
        return killed(at, lambda: ingest(load(here / "params.yaml"), Paths(here)), f"/{here.name}/")

    places = ingested(0)
    for k in range(count):
        assert not ingested(1 + k * (places - 1) // (count - 1)), "it was killed"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
