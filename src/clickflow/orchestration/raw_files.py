"""The raw files that a run reads: how they come into a workspace, and where a relative path cannot lead."""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from posixpath import normpath

from clickflow.errors import ClickflowError, UsageError
from clickflow.orchestration import graph, repository
from clickflow.orchestration.process import Say, dvc, git
from clickflow.orchestration.variables import parse_yaml, read_yaml
from clickflow.orchestration.workspace import Run

_NO_DATA = (".md", ".dvc", ".gitignore", ".gitkeep")


def source_path(folder: Path) -> str | None:
    """`source.path` of a workspace where it is relative; None where it is absolute, a URL, or not there."""
    path = _source(folder).get("path")
    return None if not path or "://" in path or Path(path).is_absolute() else normpath(path)


def check(run: Run, folder: Path) -> None:
    """Raises UsageError where `source.path` leads out of the repository, or to files that only some checkout has."""
    path = source_path(folder)
    if path is None:
        return
    if PurePosixPath(path).parts[:1] == ("..",):
        raise UsageError(
            f"source.path: {path} is relative and leads out of the repository, where a run's clones cannot follow",
            kept="nothing was run",
            next_step="give it as an absolute path, or put the files below the repository",
        )
    if repository.is_checkout(run.repository) or _source(folder).get("kind") != "files":
        return
    tracked = [name for name in git(folder, "ls-files", "-z", "--", path).split("\0") if name]
    if any(not name.endswith(_NO_DATA) for name in tracked) or any(overlap(out, path) for _, out in _dvc_files(folder)):
        return
    raise UsageError(
        f"source.path: {path} is relative, and {repository.shown(run.repository)} holds no file below it",
        kept="nothing was run",
        next_step="give an absolute path or a URL that every worker can read, or `dvc add` the files and push them",
    )


def bring(run: Run, folder: Path, env: Mapping[str, str], say: Say) -> None:
    """Lay the raw files below a relative `source.path` into a workspace.

    What git keeps is there already; what a `.dvc` file keeps is pulled, the commit's bytes; every other file is a
    link to the one in the checkout, so that the stage reads, and dvc.lock records, the same bytes as by hand.
    """
    path = source_path(folder)
    if path is None:
        return
    kept = {out: file for file, out in _dvc_files(folder) if overlap(out, path)}
    if kept:
        done = dvc(["pull", *sorted(set(kept.values()))], cwd=folder, env=env, say=say)
        if done.code:
            raise ClickflowError(
                f"raw files of {', '.join(sorted(set(kept.values())))} are neither in the cache nor in the remote",
                kept=f"the workspace {folder}",
                next_step="`dvc push` where they are, then run again",
            )
    if not repository.is_checkout(run.repository):
        return
    checkout = Path(run.repository)
    for name in git(checkout, "ls-files", "-z", "--others", "--", path).split("\0"):
        target = folder / name
        if not name or name.endswith("/") or target.exists() or any(overlap(out, name) for out in kept):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to((checkout / name).resolve())


def overlap(one: str, other: str) -> bool:
    """Whether two relative paths are the same or one lies within the other."""
    first, second = PurePosixPath(one), PurePosixPath(other)
    return first.is_relative_to(second) or second.is_relative_to(first)


def _source(folder: Path) -> Mapping[str, str]:
    return parse_yaml((folder / graph.PARAMS).read_text(encoding="utf-8")).get("source") or {}


def _dvc_files(folder: Path) -> Iterator[tuple[str, str]]:
    """(`.dvc` file, path it keeps) of a workspace."""
    for file in filter(None, git(folder, "ls-files", "-z", "--", "*.dvc").split("\0")):
        for out in (read_yaml(folder / file) or {}).get("outs") or []:
            yield file, normpath(str(PurePosixPath(file).parent / out["path"]))
