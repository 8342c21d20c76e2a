"""The ledger's newest line, kept a second time: as a reference in the repository of the runs.

A ledger that was cut back to an earlier state is whole in itself, every hash and every signature. What was its newest
line stands under `refs/clickflow/ledger/KEY` in git, where whoever reaches the home, or MLflow, need not reach too.
"""

import hashlib
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from clickflow.system.console import say
from clickflow.system.paths import Paths

REFERENCES = "refs/clickflow/ledger/"
PATIENCE = 30
"""Seconds for a repository elsewhere."""


def place(paths: Paths) -> str:
    """The repository of the runs: `CLICKFLOW_REPOSITORY`, else the checkout."""
    return os.environ.get("CLICKFLOW_REPOSITORY", "").strip() or str(paths.root)


def keep(paths: Paths, line: bytes, key: str) -> None:
    """Note `line`, signed by `key`, as the newest. What hinders it is said: the line is in the ledger already."""
    repository = place(paths)
    local = _is_local(repository)
    try:
        folder = Path(repository) if local else paths.root
        blob = _git(folder, "hash-object", "-w", "--stdin", given=line).decode().strip()
        if local:
            _git(folder, "update-ref", f"{REFERENCES}{key}", blob)
        else:
            _git(folder, "push", "--quiet", "--force", repository, f"{blob}:{REFERENCES}{key}")
    except (OSError, subprocess.SubprocessError):
        if _is_repository(repository):
            say(f"warning: the ledger's newest line could not be kept in git as well ({REFERENCES}{key})")


def newest(paths: Paths, keys: Iterable[str]) -> dict[str, str]:
    """The blob that git has for the newest line, by reference, of those keys; none where there is no repository."""
    wanted = {f"{REFERENCES}{key}" for key in keys}
    if not wanted:
        return {}
    repository = place(paths)
    try:
        listed = _git(paths.root, "ls-remote", repository, f"{REFERENCES}*").decode()
    except (OSError, subprocess.SubprocessError):
        if _is_repository(repository):
            say("warning: the repository does not answer: whether the ledger is complete was not asked there")
        return {}
    rows = [line.partition("\t") for line in listed.splitlines()]
    return {reference: blob for blob, _, reference in rows if reference in wanted}


def content(paths: Paths, reference: str, blob: str) -> bytes:
    """The bytes of a line that git keeps; empty where they cannot be had."""
    repository = place(paths)
    try:
        if _is_local(repository):
            return _git(Path(repository), "cat-file", "blob", blob)
        _git(paths.root, "fetch", "--quiet", "--no-tags", repository, reference)
        return _git(paths.root, "cat-file", "blob", blob)
    except (OSError, subprocess.SubprocessError):
        return b""


def blob_of(line: bytes, like: str) -> str:
    """The name that git gives to `line`, in a repository where names look like `like`."""
    algorithm = "sha1" if len(like) == 40 else "sha256"
    return hashlib.new(algorithm, b"blob %d\0" % len(line) + line).hexdigest()


def _is_local(repository: str) -> bool:
    return Path(repository).is_dir()


def _is_repository(repository: str) -> bool:
    return not _is_local(repository) or any((Path(repository) / name).exists() for name in (".git", "HEAD"))


def _git(folder: Path, *words: str, given: bytes | None = None) -> bytes:
    env = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE} | {"GIT_TERMINAL_PROMPT": "0"}
    return subprocess.run(
        ["git", "-C", str(folder), *words], input=given, env=env, capture_output=True, check=True, timeout=PATIENCE
    ).stdout


_ELSEWHERE = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"}
"""Variables that would lead git to another repository."""
