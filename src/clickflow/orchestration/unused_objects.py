"""Bytes that no run needs any more, in a DVC cache and remote that are this home's and this checkout's alone.

An object is needed while a commit that git still reaches names it (branches, tags, runs), or a dvc.lock or .dvc file of
the checkout as it lies there. What a run at work has made is named by no commit yet: what is younger than a day stays.
"""

import configparser
import json
import re
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from clickflow.orchestration import fragments, repository
from clickflow.system.process import git

YOUNG = timedelta(days=1)
"""What is younger stays in any case."""

_HASH = re.compile(r"\bmd5: ([0-9a-f]{32}(?:\.dir)?)\b")


def unneeded(origin: str, home: Path, *, without: Collection[str], old: datetime, now: datetime) -> list[Path]:
    """The files of objects last changed before `old` that nothing needs; `without`: references that are to go.

    Remotes of other kinds, and folders that others may share, are left alone: what is needed there is not known here.
    """
    stores = [folder for folder in _stores(origin, home) if folder.is_dir()]
    if not stores:
        return []
    needed = _named(origin, home, without)
    needed |= {part for name in needed if name.endswith(".dir") for part in _parts(stores, name)}
    limit = min(old, now - YOUNG).timestamp()
    return [
        file
        for store in stores
        for file in sorted(store.glob("??/*"))
        if file.parent.name + file.name not in needed and file.lstat().st_mtime < limit
    ]


def _stores(origin: str, home: Path) -> Iterator[Path]:
    yield home / "dvc-remote/files/md5"
    yield home / "dvc-cache/files/md5"
    if repository.is_checkout(origin):
        config = configparser.ConfigParser(interpolation=None, delimiters=("=",), strict=False)
        config.read([Path(origin) / ".dvc/config", Path(origin) / ".dvc/config.local"], encoding="utf-8")
        if not config.has_option("cache", "dir"):  # else other checkouts may use it too
            yield Path(origin) / ".dvc/cache/files/md5"


def _named(origin: str, home: Path, without: Collection[str]) -> set[str]:
    """The hashes that commits and the checkout name."""
    folder = repository.at(origin, home)
    left_out = [f"--exclude={name}" for name in without]
    head = ["HEAD"] if repository.is_checkout(origin) else []
    hashes: set[str] = set()
    seen: set[str] = set()
    for line in git(folder, "rev-list", "--objects", *left_out, "--all", *head).splitlines():
        blob, _, path = line.partition(" ")
        if (path.endswith((f"/{fragments.FILE}", ".dvc")) or path == fragments.FILE) and blob not in seen:
            seen.add(blob)
            if git(folder, "cat-file", "-t", blob).strip() == "blob":
                hashes |= set(_HASH.findall(git(folder, "cat-file", "blob", blob)))
    if repository.is_checkout(origin):
        for line in git(folder, "ls-files", "--cached", "--others", "-z", "--", "*.dvc", f"*{fragments.FILE}").split(
            "\0"
        ):
            file = folder / line
            if line and file.is_file():
                hashes |= set(_HASH.findall(file.read_text(encoding="utf-8", errors="replace")))
    return hashes


def _parts(stores: list[Path], name: str) -> set[str]:
    """The hashes in an object that stands for a folder; none where no store has it."""
    for store in stores:
        try:
            listed = json.loads((store / name[:2] / name[2:]).read_text(encoding="utf-8"))
            return {str(entry["md5"]) for entry in listed}
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return set()
