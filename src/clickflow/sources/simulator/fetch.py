"""The raw files of kind `simulator`: a log of params `simulator`, and the truth beside it."""

from pathlib import Path

from clickflow.params.schema import Params
from clickflow.sources.simulator.simulate import simulate
from clickflow.system import console
from clickflow.system.paths import Paths


def fetch(params: Params, _paths: Paths, scratch: Path) -> list[tuple[str, Path]]:
    """Name and path of each, sorted; they are made in `scratch`/raw, the truth in its folder `truth`."""
    folder = scratch / "raw"
    folder.mkdir()
    with console.progress("simulating", params.simulator.events) as progress:
        simulate(params.simulator, folder, seed=params.seed, fmt="csv", progress=progress)
    return sorted((path.name, path) for path in folder.glob("events-*"))
