"""The raw files of a run: how they get into a workspace, which a relative path cannot reach; and which are refused."""

import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from posixpath import normpath

from clickflow.events import roots
from clickflow.orchestration import graph, repository
from clickflow.orchestration.variables import parse_yaml, read_yaml
from clickflow.orchestration.workspace import Run
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.process import Say, dvc, git

_NO_DATA = (".md", ".dvc", ".gitignore", ".gitkeep")


def source_path(folder: Path) -> str | None:
    """`source.path` of a workspace where it is relative; None where it is absolute, a URL, or not there."""
    path = _source(folder).get("path")
    return None if not path or "://" in path or Path(path).is_absolute() else normpath(path)


def check(run: Run, folder: Path) -> None:
    """Raises UsageError where `source.path` leads out of the repository, to files that only some checkout has, or to
    where the commit lets no run read.
    """
    path = source_path(folder)
    if path is not None and PurePosixPath(path).parts[:1] == ("..",):
        raise UsageError(
            f"source.path: {path} is relative and leads out of the repository, where a run's clones cannot follow",
            kept="nothing was run",
            next_step="give it as an absolute path, or put the files below the repository",
        )
    check_roots(run, folder)
    if path is not None and repository.is_checkout(run.repository) and not _kept(folder, path):
        check_there(folder, _bases(run, folder))
    if path is None or repository.is_checkout(run.repository) or _source(folder).get("kind") != "files":
        return
    tracked = [name for name in git(folder, "ls-files", "-z", "--", path).split("\0") if name]
    if any(not name.endswith(_NO_DATA) for name in tracked) or _kept(folder, path):
        return
    raise UsageError(
        f"source.path: {path} is relative, and {repository.shown(run.repository)} holds no file below it",
        kept="nothing was run",
        next_step="give an absolute path or a URL that every worker can read, or `dvc add` the files and push them",
    )


def check_there(folder: Path, bases: Iterable[Path]) -> None:
    """Raises UsageError where `source.path` is below none of `bases`: DVC would speak of its own stages then."""
    source = _source(folder)
    path = str(source.get("path") or "")
    if source.get("kind") != "files" or not path or "://" in path:
        return
    if not any((base / Path(path).expanduser()).exists() for base in bases):
        raise UsageError(
            f"source.path: {path} is not there, on {platform.node() or 'this machine'}",
            kept="nothing was read",
            next_step="`clickflow inspect FOLDER --write` names the files that are; commit params.yaml then",
        )


def _kept(folder: Path, path: str) -> bool:
    """Whether DVC keeps some of the files at a relative path."""
    return any(overlap(out, path) for _, out in _dvc_files(folder))


def check_roots(run: Run, folder: Path) -> None:
    """Raises UsageError where `source.path`, or a link below it, leads to where the commit lets no run read.

    Asked before DVC looks at the files, and of each file once more by the stage that reads them.
    """
    if said := _source(folder).get("path"):
        base = folder / Path(said).expanduser()
        env = {**os.environ, "CLICKFLOW_HOME": run.home}
        roots.roots(_named(run, folder), _bases(run, folder), folder, env).check_tree(base)


def environment(run: Run, folder: Path) -> dict[str, str]:
    """What tells a stage's process which files it may read."""
    folders = [str(base / Path(name).expanduser()) for name in _named(run, folder) for base in _bases(run, folder)]
    return {roots.VARIABLE: json.dumps(folders)}


def _named(run: Run, folder: Path) -> list[str]:
    """The folders that the commit names: its own source and `runs.sources`."""
    params = parse_yaml(git(folder, "show", f"{run.commit}:{graph.PARAMS}")) or {}
    named = [(params.get("source") or {}).get("path"), *((params.get("runs") or {}).get("sources") or [])]
    return [str(name) for name in named if name]


def _bases(run: Run, folder: Path) -> list[Path]:
    """From where a relative folder is meant: the commit's files, and beside them those that only the checkout has."""
    return [folder, *([Path(run.repository)] if repository.is_checkout(run.repository) else [])]


def reads(folder: Path, stage: graph.Stage) -> bool:
    """Whether a stage reads the raw files."""
    path = source_path(folder)
    said = str(_source(folder).get("path"))
    return any(dep == said if path is None else overlap(dep, path) for dep in stage.deps)


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
