"""Where the files of a run's source may lie: below folders that its commit names, and never in the platform's own.

Links are followed before a path is judged, and every file is: a link inside a folder may lead out of it. A hard link is
the file itself, and cannot be recognised. Whoever starts `clickflow ingest` by hand reads what they may read anyway:
there nothing is refused.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from clickflow.system.errors import UsageError

VARIABLE = "CLICKFLOW_SOURCE_ROOTS"
"""In the environment of a run's stages: the folders, as a JSON list. Not set: a person works by hand."""

_OWN = ("CLICKFLOW_HOME", "AIRFLOW_HOME")
_HIDDEN = ((".git",), (".dvc",))


@dataclass(frozen=True)
class Roots:
    """`folders` below which a file may lie; `workspace`: where the commit's own files are, though it is in the home."""

    folders: tuple[Path, ...]
    own: tuple[Path, ...]
    workspace: Path

    def check(self, path: Path) -> None:
        """Raises UsageError where a file or folder, all links followed, lies elsewhere."""
        real = Path(os.path.realpath(path))
        here = real.is_relative_to(self.workspace)
        hidden = here and real.relative_to(self.workspace).parts[:1] in _HIDDEN
        if hidden or (not here and any(real.is_relative_to(own) for own in self.own)):
            raise UsageError(
                f"source.path: {path} lies in the platform's own folder, which no run reads",
                kept="nothing was read of it",
                next_step="put the log into a folder of its own, and name that in source.path",
            )
        # a folder around the home does not open the workspaces in it
        folders = [folder for folder in self.folders if folder.is_relative_to(self.workspace)] if here else self.folders
        if not any(real.is_relative_to(folder) for folder in folders):
            how = "leads" if real != Path(os.path.normpath(path)) else "lies"
            raise UsageError(
                f"source.path: {path} {how} outside the folders that a run of this commit may read: "
                + ", ".join(sorted({str(folder) for folder in self.folders})),
                kept="nothing was read of it",
                next_step="name its folder in runs.sources of params.yaml, and commit that",
            )

    def check_tree(self, path: Path) -> None:
        """As `check`, of a file or of a folder with every link in it. Raises UsageError."""
        self.check(path)
        for place, folders, names in os.walk(path):
            for name in (*folders, *names):
                if (one := Path(place, name)).is_symlink():
                    self.check(one)


def roots(named: Iterable[str], bases: Iterable[Path], workspace: Path, env: Mapping[str, str] = os.environ) -> Roots:
    """The folders `named`, those that are relative being meant from each of `bases`."""
    bases = list(bases)
    folders = {Path(os.path.realpath(base / Path(name).expanduser())) for name in named for base in bases}
    own = tuple(Path(os.path.realpath(env[name])) for name in _OWN if env.get(name))
    return Roots(tuple(folders), own, Path(os.path.realpath(workspace)))


def of_run(workspace: Path) -> Roots | None:
    """What the run that this process works for may read; None where it works for a person."""
    said = os.environ.get(VARIABLE)
    return None if said is None else roots(json.loads(said), [workspace], workspace)
