"""A workspace: a clone of the repository at a run's commit, with the run's params, for one task alone."""

import configparser
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

from clickflow.errors import ClickflowError, UsageError
from clickflow.files import write_text
from clickflow.orchestration import fragments, graph, overrides
from clickflow.orchestration.process import Say, dvc, git
from clickflow.orchestration.variables import parse_yaml, read_yaml

REMOTE = "clickflow"
"""The DVC remote of runs where the repository names none: a folder in the home."""

IDENTITY = ("-c", "user.name=clickflow", "-c", "user.email=clickflow@localhost")


@dataclass(frozen=True)
class Run:
    """What every task of a run must know; plain values, so that it travels as JSON."""

    id: str
    commit: str
    repository: str
    home: str
    overrides: Mapping[str, Any]
    dag_run: str = ""
    note: str = ""

    @property
    def folder(self) -> Path:
        """Where the results lie when the run is recorded."""
        return Path(self.home) / "runs" / self.id

    @property
    def workspaces(self) -> Path:
        """Where the tasks work; a task that failed leaves its workspace there."""
        return Path(self.home) / "workspaces" / self.id

    @property
    def reference(self) -> str:
        """The git reference under which the run is kept."""
        return f"refs/runs/{self.id}"


def create(run: Run, name: str, entries: fragments.Fragments) -> Path:
    """A fresh workspace called `name`, with the params and the lock entries given; what lay there before is removed."""
    folder = run.workspaces / name
    remove(folder)
    clone(Path(run.repository), folder, run.commit)
    configure(folder, Path(run.repository), Path(run.home))
    set_params(folder, run.overrides)
    fragments.write(folder, entries, graph.load(folder).stages)
    return folder


def clone(repository: Path, folder: Path, commit: str) -> None:
    """A clone at a commit that borrows the repository's objects: no copy of history, and no branch."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    git(
        repository,
        "clone",
        "--quiet",
        "--shared",
        "--no-checkout",
        "--no-tags",
        str(repository.absolute()),
        str(folder),
    )
    git(folder, "checkout", "--quiet", "--detach", commit)


def remove(folder: Path) -> None:
    """Remove a workspace, and its run's folder when that is empty then."""
    if folder.exists():
        # Renamed first: a process that still works in it cannot fill the name again while it is being removed.
        doomed = folder.with_name(f".{folder.name}.{os.getpid()}.{time.monotonic_ns()}.old")
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    with contextlib.suppress(OSError):  # other tasks of the run are still there
        folder.parent.rmdir()


def set_params(folder: Path, values: overrides.Overrides) -> None:
    """Write a run's values into the params.yaml of a workspace."""
    path = folder / graph.PARAMS
    text = path.read_text(encoding="utf-8")
    changed = overrides.apply(text, values)
    if changed != text:
        write_text(path, changed)


def environment(run: Run, folder: Path) -> dict[str, str]:
    """What a stage's process sees: the workspace's own code first, and where the run's state lies."""
    left_out = {"PYTHONDONTWRITEBYTECODE", "DVC_ROOT", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"}
    env = {name: value for name, value in os.environ.items() if name not in left_out}
    paths = [str(folder / "src"), *filter(None, [env.get("PYTHONPATH")])]
    return {
        **env,
        "PATH": os.pathsep.join([str(Path(sys.prefix) / "bin"), env.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "CLICKFLOW_HOME": run.home,
        "CLICKFLOW_RUN_ID": run.id,
        "CLICKFLOW_DAG_RUN": run.dag_run,
        "CLICKFLOW_COMMIT": run.commit,
        "DVC_NO_ANALYTICS": "1",
        "GX_ANALYTICS_ENABLED": "false",
    }


def configure(folder: Path, repository: Path, home: Path, *, link_types: str = "") -> None:
    """Write .dvc/config.local: the cache of the repository, and a remote by absolute name.

    The cache is shared because its objects are named by their content: what one task has made, the next finds without
    a copy, and a stage done before, here or by hand, is not done again. What is lost there comes from the remote. The
    repository's own settings count; relative folders in them are meant from the repository, not from the clone.
    """
    config = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    config.read([folder / ".dvc/config", repository / ".dvc/config.local"], encoding="utf-8")

    def absolute(path: str) -> str:
        path = path.strip("\"'")
        remote = "://" in path
        return path if remote else str((repository / ".dvc" / Path(path).expanduser()).resolve())

    for section in ("core", "cache"):
        if not config.has_section(section):
            config.add_section(section)
    for section in config.sections():
        if "remote " in section and config.has_option(section, "url"):
            config.set(section, "url", absolute(config.get(section, "url")))
    config.set("cache", "dir", absolute(config.get("cache", "dir", fallback="cache")))
    if link_types:
        config.set("cache", "type", link_types)
    config.set("core", "analytics", "false")
    config.set("core", "autostage", "false")
    if not config.has_option("core", "remote"):
        config.set("core", "remote", REMOTE)
        section = f"'remote \"{REMOTE}\"'"
        if not config.has_section(section):
            config.add_section(section)
            config.set(section, "url", str(home / "dvc-remote"))
    with (folder / ".dvc/config.local").open("w", encoding="utf-8") as file:
        config.write(file)


def source_path(folder: Path) -> str | None:
    """`source.path` of a workspace where it is relative; None where it is absolute or not there."""
    path = (parse_yaml((folder / graph.PARAMS).read_text(encoding="utf-8")).get("source") or {}).get("path")
    return None if not path or Path(path).is_absolute() else normpath(path)


def check_source(folder: Path) -> None:
    """Raises UsageError where `source.path` leads out of the repository: a clone lies elsewhere."""
    path = source_path(folder)
    if path and PurePosixPath(path).parts[:1] == ("..",):
        raise UsageError(
            f"source.path: {path} is relative and leads out of the repository, where a run's clones cannot follow",
            kept="nothing was run",
            next_step="give it as an absolute path, or put the files below the repository",
        )


def bring_source(run: Run, folder: Path, env: Mapping[str, str], say: Say) -> None:
    """Lay the raw files below a relative `source.path` into a workspace.

    What git keeps is there already; what a `.dvc` file keeps is pulled, the commit's bytes; every other file is a
    link to the one in the repository, so that the stage reads, and dvc.lock records, the same bytes as by hand.
    """
    path = source_path(folder)
    if path is None:
        return
    kept = {out: file for file, out in _dvc_files(folder) if overlap(out, path)}
    if kept:
        done = dvc(["pull", "--quiet", *sorted(set(kept.values()))], cwd=folder, env=env, say=say)
        if done.code:
            raise ClickflowError(
                f"raw files of {', '.join(sorted(set(kept.values())))} are neither in the cache nor in the remote",
                kept=f"the workspace {folder}",
                next_step="`dvc push` where they are, then run again",
            )
    repository = Path(run.repository)
    for name in git(repository, "ls-files", "-z", "--others", "--", path).split("\0"):
        target = folder / name
        if not name or name.endswith("/") or target.exists() or any(overlap(out, name) for out in kept):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to((repository / name).resolve())


def _dvc_files(folder: Path) -> Iterator[tuple[str, str]]:
    """(`.dvc` file, path it keeps) of a workspace."""
    for file in filter(None, git(folder, "ls-files", "-z", "--", "*.dvc").split("\0")):
        for out in (read_yaml(folder / file) or {}).get("outs") or []:
            yield file, normpath(str(PurePosixPath(file).parent / out["path"]))


def overlap(one: str, other: str) -> bool:
    """Whether two relative paths are the same or one lies within the other."""
    first, second = PurePosixPath(one), PurePosixPath(other)
    return first.is_relative_to(second) or second.is_relative_to(first)
