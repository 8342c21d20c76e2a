"""Objects of the DVC caches and remotes that hold a person: every version that was ever kept, here and elsewhere.

An object goes when its bytes name one of them; of a packed store all objects go that nothing else names, for the steps
of a visit lie in other files than its name. The list of a folder goes too, unless a `.dvc` file names it: then what is
left of that folder can still be had. What was removed is noted in the home, so that `checkout` can say why a run is no
longer whole.
"""

import configparser
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickflow.heads import outputs
from clickflow.orchestration import dvc_storage, fragments, history, repository
from clickflow.privacy.people import People
from clickflow.privacy.search import holds
from clickflow.system import console
from clickflow.system.errors import ClickflowError
from clickflow.system.process import git

HASH = re.compile(r"\bmd5: ([0-9a-f]{32}(?:\.dir)?)\b")
STORE = "train/sequences.parquet"
"""The file by which a folder is known for a packed store, as it is for an evaluation by its rows."""


@dataclass(frozen=True)
class Store:
    """A cache or remote: a folder here (`fs` None), or one that a file system of DVC's reaches."""

    name: str
    place: str
    fs: Any = None

    def names(self) -> list[str]:
        """The hashes of its objects."""
        if self.fs is None:
            return [path.parent.name + path.name for path in sorted(Path(self.place).glob("??/*"))]
        pairs = [path.split("/")[-2:] for path in self.fs.find(self.place)] if self.fs.exists(self.place) else []
        return sorted("".join(parts) for parts in pairs if len(parts[0]) == 2)

    def path(self, name: str) -> Path:
        """Where an object lies; of a store here."""
        return Path(self.place) / name[:2] / name[2:]

    def fetch(self, name: str, into: Path) -> Path:
        """An object as a file of this machine."""
        if self.fs is None:
            return self.path(name)
        target = into / name
        self.fs.get_file(f"{self.place}/{name[:2]}/{name[2:]}", str(target))
        return target

    def remove(self, name: str) -> bool:
        """Remove an object; whether it was there."""
        if self.fs is None:
            there = self.path(name).is_file()
            self.path(name).unlink(missing_ok=True)
            return there
        at = f"{self.place}/{name[:2]}/{name[2:]}"
        there = bool(self.fs.exists(at))
        if there:
            self.fs.remove(at)
        return there


def stores(origin: str, home: Path) -> tuple[list[Store], list[str]]:
    """Every cache and remote that runs of this repository and home use; and remotes that cannot be reached, and why."""
    by_place = {str(home / name / "files/md5"): Store(name, str(home / name / "files/md5")) for name in _OWN}
    unreached = []
    checkout = Path(origin) if repository.is_checkout(origin) else None
    config = configparser.ConfigParser(interpolation=None, delimiters=("=",), strict=False)
    if checkout:
        config.read([checkout / ".dvc/config", checkout / ".dvc/config.local"], encoding="utf-8")
        said = config.get("cache", "dir", fallback="cache").strip("\"'")
        cache = (checkout / ".dvc" / Path(said).expanduser() / "files/md5").resolve()
        by_place[str(cache)] = Store("DVC cache", str(cache))
    for name, url in _remotes(config):
        if "://" in url:
            try:
                by_place[url] = _elsewhere(checkout, name, url)
            except Exception as error:  # whatever a network or a missing package raises
                unreached.append(f"the DVC remote {repository.shown(url)}: {_first(error)}")
        else:
            folder = (checkout / ".dvc" / Path(url).expanduser() if checkout else Path(url)).resolve() / "files/md5"
            by_place.setdefault(str(folder), Store(f"DVC remote {name}", str(folder)))
    return [store for store in by_place.values() if store.fs is not None or Path(store.place).is_dir()], unreached


_OWN = ("dvc-cache", "dvc-remote")


def _remotes(config: configparser.ConfigParser) -> Iterator[tuple[str, str]]:
    import os

    for section in config.sections():
        match = re.fullmatch(r"'?remote \"(.+?)\"'?", section)
        if match and config.has_option(section, "url"):
            yield match[1], config.get(section, "url").strip("\"'")
    if said := os.environ.get(dvc_storage.VARIABLE, "").strip():
        yield dvc_storage.VARIABLE, said


def _elsewhere(checkout: Path | None, name: str, url: str) -> Store:
    """A remote behind a URL, through DVC's own file systems and settings."""
    from dvc.fs import get_cloud_fs

    settings: Any = None
    if checkout and name != dvc_storage.VARIABLE:
        from dvc.repo import Repo

        with Repo(str(checkout)) as repo:
            settings = repo.config
        kind, config, path = get_cloud_fs(settings, name=name)
    else:
        kind, config, path = get_cloud_fs(settings, url=url)
    fs = kind(**config)
    place = fs.join(path, "files", "md5")
    fs.exists(place)
    return Store(f"DVC remote {repository.shown(url)}", place, fs)


def search(places: list[Store], people: People, origin: str, home: Path) -> tuple[dict[str, str], list[str]]:
    """Hash to reason of every object that is to go; and what could not be looked into."""
    seen: dict[str, bool] = {}
    lists: dict[str, list[dict[str, str]]] = {}
    unread: list[str] = []
    todo = [(store, name) for store in sorted(places, key=lambda store: store.fs is not None) for name in store.names()]
    with (
        console.progress("DVC objects", max(1, len(todo))) as advance,
        tempfile.TemporaryDirectory(prefix=".forget-", dir=home) as folder,
    ):
        for store, name in todo:
            if name not in seen:
                try:
                    path = store.fetch(name, Path(folder))
                    seen[name] = holds(path, people, raw=not name.endswith(".dir"))
                    if name.endswith(".dir"):
                        lists[name] = json.loads(path.read_text(encoding="utf-8"))
                    if store.fs is not None:
                        path.unlink()
                except (OSError, ValueError, ClickflowError) as error:
                    unread.append(f"{store.name}, object {name}: {_first(error)}")
            advance(1, store.name)
    dirty = {name: "names a person" for name, hit in seen.items() if hit}
    return _with_folders(dirty, lists, origin, home), unread


def _with_folders(
    dirty: dict[str, str], lists: dict[str, list[dict[str, str]]], origin: str, home: Path
) -> dict[str, str]:
    doomed = dict(dirty)
    touched = {name: parts for name, parts in lists.items() if any(part["md5"] in dirty for part in parts)}
    if not touched:
        return doomed
    tracked, locks = _named(origin, home)
    touched |= _evaluations(lists, dirty, locks)
    named = tracked | {name for lock in locks for name in HASH.findall(lock)}
    kept = {part["md5"] for name, parts in lists.items() if name not in touched for part in parts} | named
    for name, parts in touched.items():
        whole = any(part["relpath"] in (STORE, *outputs.evidence()) for part in parts)
        gone = [part["md5"] for part in parts if whole and part["md5"] not in kept]
        for part in gone:
            doomed.setdefault(part, "belongs to a folder that shows what a person did")
        if name not in tracked:
            doomed.setdefault(name, "lists a folder that held a person")
    return doomed


def _evaluations(
    lists: dict[str, list[dict[str, str]]], dirty: dict[str, str], locks: list[str]
) -> dict[str, list[dict[str, str]]]:
    """The folders of evaluations whose test part a person was in: rows and examples of their visits."""
    tested = {
        name
        for name, parts in lists.items()
        if any(part["relpath"] == "test/sequences.parquet" and part["md5"] in dirty for part in parts)
    }
    by_name: dict[str, list[dict[str, str]]] = {}
    for lock in locks:
        outs = [out for entry in fragments.parse(lock).values() for out in entry.get("outs") or []]
        if tested & {str(out.get("md5")) for out in outs}:
            names = [str(out.get("md5")) for out in outs if str(out["path"]).endswith("/evaluation")]
            by_name |= {name: lists[name] for name in names if name in lists}
    return by_name


def _named(origin: str, home: Path) -> tuple[set[str], list[str]]:
    """The hashes that `.dvc` files name in any commit or here, and the text of every dvc.lock."""
    tracked, locks = set[str](), list[str]()
    folder = _repository(origin, home)
    if folder is None:
        return tracked, locks
    texts: list[tuple[str, str]] = []
    head = ["HEAD"] if repository.is_checkout(origin) else []
    for line in git(folder, "rev-list", "--objects", "--all", *head).splitlines():
        blob, _, path = line.partition(" ")
        if path.endswith((".dvc", fragments.FILE)) and git(folder, "cat-file", "-t", blob).strip() == "blob":
            texts.append((path, git(folder, "cat-file", "blob", blob)))
    if repository.is_checkout(origin):
        here = [*(folder / line for line in git(folder, "ls-files", "-co", "-z", "--", "*.dvc").split("\0") if line)]
        here = [file for file in [*here, folder / fragments.FILE] if file.is_file()]
        texts += [(file.name, file.read_text(encoding="utf-8", errors="replace")) for file in here]
    for path, text in texts:
        if path.endswith(".dvc"):
            tracked |= set(HASH.findall(text))
        else:
            locks.append(text)
    return tracked, locks


def _repository(origin: str, home: Path) -> Path | None:
    """Where git can be asked; None where there is none."""
    try:
        folder = repository.at(origin, home)
        git(folder, "rev-parse", "--git-dir")
    except ClickflowError:
        return None
    return folder


def runs_without(origin: str, home: Path, removed: set[str]) -> list[str]:
    """Recorded runs whose lock names a removed object: they can no longer be brought back whole."""
    folder = _repository(origin, home)
    return [
        run.id
        for run in (history.recorded(folder) if folder and removed else ())
        if folder
        and removed
        & {
            str(out.get("md5"))
            for entry in history.lock_of(folder, run.commit).values()
            for out in entry.get("outs") or []
        }
    ]


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
