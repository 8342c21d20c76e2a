"""The raw files of kind `files`: those below `source.path` that fit its pattern."""

from pathlib import Path

from clickflow.events import roots
from clickflow.events.folders import find_files
from clickflow.params.schema import Params
from clickflow.system.paths import Paths


def fetch(params: Params, paths: Paths, _scratch: Path) -> list[tuple[str, Path]]:
    """Name and path of each, sorted. Raises UsageError where there is none, or a run may not read it."""
    files = find_files(params.source, paths.root)
    if allowed := roots.of_run(paths.root):
        for _, path in files:
            allowed.check(path)
    return files
