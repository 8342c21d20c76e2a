"""The git repository of the runs: a checkout on this machine, or a mirror of one elsewhere.

A worker needs a path to clone from. Where `CLICKFLOW_REPOSITORY` is a checkout, that is it. Where it is a URL (or a
bare repository), `<home>/repository.git` mirrors its branches and runs; the clones borrow from the mirror, and what is
recorded goes to the URL first.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.process import git

MIRROR = "repository.git"

RUNS = "refs/runs/"
"""Where git keeps the runs."""
OPENED = "refs/opened/"
"""Where git keeps how a run was opened, and what people answered."""

_HEAD = "refs/clickflow/head"
_FETCHED = (f"+HEAD:{_HEAD}", "+refs/heads/*:refs/heads/*", f"+{RUNS}*:{RUNS}*")
_SILENT = ("-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0")


def is_checkout(repository: str) -> bool:
    """Whether it is a folder of this machine with files to work on, not a URL and not a bare repository."""
    path = Path(repository)
    return path.is_dir() and not ((path / "objects").is_dir() and (path / "HEAD").is_file())


def shown(repository: str) -> str:
    """The repository's name for people: without a password."""
    return re.sub(r"(?<=://)[^/@]*@", "", repository)


def at(repository: str, home: Path) -> Path:
    """The folder to clone from and to ask about commits: the checkout, or the mirror, made where it is missing."""
    if is_checkout(repository):
        return Path(repository)
    folder = home / MIRROR
    if not (folder / "HEAD").is_file():
        fetch(repository, home)
    return folder


def fetch(repository: str, home: Path) -> None:
    """Bring the mirror up to date; nothing to do for a checkout. Raises UsageError where there is nothing to mirror."""
    if is_checkout(repository):
        return
    with _changing(home):
        folder = home / MIRROR
        if not (folder / "HEAD").is_file():
            shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was killed
            folder.mkdir(parents=True)
            git(folder, "init", "--quiet", "--bare")
        try:
            git(folder, *_SILENT, "fetch", "--quiet", "--prune", "--no-tags", "--force", repository, *_FETCHED)
        except ClickflowError as error:
            raise ClickflowError(
                f"the repository {shown(repository)} cannot be fetched: {shown(error.what)}",
                kept=f"the mirror {folder} is as it was",
                next_step="see that `git ls-remote` answers there; CLICKFLOW_REPOSITORY names it",
            ) from None


def head(repository: str, home: Path) -> str:
    """The commit that a run opened now is of. Raises UsageError where there is none."""
    fetch(repository, home)
    name = "HEAD" if is_checkout(repository) else _HEAD
    try:
        return git(at(repository, home), "rev-parse", "--verify", f"{name}^{{commit}}").strip()
    except ClickflowError as error:
        raise UsageError(
            f"{shown(repository)} has no git commit to run: {error.what}",
            kept="nothing was run",
            next_step="runs work on commits: `git init`, `git add`, `git commit`, or clone the repository",
        ) from error


def having(repository: str, home: Path, commit: str) -> Path:
    """As `at`, with that commit in it. Raises ClickflowError where the repository has lost it."""
    folder = at(repository, home)
    for again in (True, False):
        try:
            git(folder, "cat-file", "-e", f"{commit}^{{commit}}")
            return folder
        except ClickflowError as error:
            if not again:
                raise ClickflowError(
                    f"commit {commit} is not in {shown(repository)}",
                    kept="nothing was changed",
                    next_step="push it there, on a branch; a run keeps to the commit it was opened with",
                ) from error
            fetch(repository, home)
    return folder


def recorded(repository: str, home: Path, reference: str) -> str:
    """The commit that a run is recorded as now. Raises UsageError where no such run is recorded."""
    fetch(repository, home)  # another worker may have recorded it anew
    try:
        return git(at(repository, home), "rev-parse", "--verify", f"{reference}^{{commit}}").strip()
    except ClickflowError as error:
        raise UsageError(
            f"{shown(repository)} has no run {reference.removeprefix(RUNS)}",
            next_step="`clickflow runs` lists those that there are",
        ) from error


def publish(repository: str, home: Path, folder: Path, commit: str, reference: str) -> None:
    """Point a reference at a commit of a workspace: in the checkout, or at the URL and then in the mirror."""
    pushed = ("push", "--quiet", "--force")
    if is_checkout(repository):
        git(folder, *_SILENT, *pushed, str(Path(repository).absolute()), f"{commit}:{reference}")
        return
    try:
        git(folder, *_SILENT, *pushed, repository, f"{commit}:{reference}")
    except ClickflowError as error:
        raise ClickflowError(
            f"{reference} did not reach {shown(repository)}: {shown(error.what)}",
            kept="results of all stages are in the cache and the remote",
            next_step="give this worker the right to push there, then clear the task",
        ) from None
    with _changing(home):
        git(folder, *_SILENT, *pushed, str((home / MIRROR).absolute()), f"{commit}:{reference}")


def keep(repository: str, home: Path, file: Path, reference: str) -> None:
    """Keep a file's bytes under a reference: in the checkout, or at the URL and in the mirror."""
    folder = at(repository, home)
    blob = git(folder, "hash-object", "-w", "--no-filters", str(file.absolute())).strip()
    if not is_checkout(repository):
        git(folder, *_SILENT, "push", "--quiet", "--force", repository, f"{blob}:{reference}")
    git(folder, "update-ref", reference, blob)


def kept(repository: str, home: Path, reference: str) -> str:
    """What `keep` has kept there, by any machine; empty where that is nothing."""
    folder = at(repository, home)
    source = str(folder) if is_checkout(repository) else repository
    listed = git(folder, *_SILENT, "ls-remote", source, reference).split()
    if not listed:
        return ""
    if not is_checkout(repository):
        git(folder, *_SILENT, "fetch", "--quiet", "--no-tags", source, f"+{reference}:{reference}")
    return git(folder, "cat-file", "blob", listed[0])


def withdraw(repository: str, home: Path, references: Sequence[str]) -> None:
    """Delete references: in the checkout, or at the URL and in the mirror. One that is gone already is no fault; one
    that ends with a slash means all below it.
    """
    if not references:
        return
    folder = at(repository, home)
    exact, below = set(references), tuple(name for name in references if name.endswith("/"))
    with _changing(home):
        for place in [str(folder)] if is_checkout(repository) else [repository, str(folder)]:
            listed = git(folder, "ls-remote", place, f"{RUNS}*", f"{OPENED}*").splitlines()
            there = [
                name for name in (line.split("\t")[1] for line in listed) if name in exact or name.startswith(below)
            ]
            if place == repository != str(folder):
                for start in range(0, len(there), 200):
                    doomed = [f":{name}" for name in there[start : start + 200]]
                    git(folder, *_SILENT, "push", "--quiet", repository, *doomed)
                continue
            for name in there:
                git(folder, "update-ref", "-d", name)


@contextmanager
def _changing(home: Path) -> Iterator[None]:
    """One process at a time; the operating system frees the lock when the process ends, however it ends."""
    from filelock import FileLock

    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "repository.lock"):
        yield
