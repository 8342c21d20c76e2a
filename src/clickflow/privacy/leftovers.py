"""What was made of a person's events and lies as files: packed stores, evaluations, predictions, results, logs."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clickflow.events import forgotten
from clickflow.events.pseudonyms import RETIRED
from clickflow.orchestration import journal, workspace
from clickflow.params.schema import Params
from clickflow.privacy.canonical import without
from clickflow.privacy.people import People
from clickflow.privacy.search import UNREADABLE, holds, looked_into
from clickflow.serving.partitions import CARD, KIND
from clickflow.system.errors import DataError
from clickflow.system.files import SUM, read_json, sha256, write_bytes, write_json, write_record
from clickflow.system.integrity import SEAL, damaged, seal
from clickflow.system.paths import Paths
from clickflow.system.process import git

OWN = ("pseudonym.key", RETIRED, forgotten.NAME, "forget.json")
"""Files of the home that are not looked into: secrets, and what is removed when all is done."""
TEXT = (".log", ".jsonl", ".txt", ".json", ".md", ".csv", ".html", ".out", ".err", ".yaml")
CLOSED = "it is damaged, or packed as nothing here unpacks it: whether it names them is not known"
PASSED_OVER = (".git", ".venv", ".dvc", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache")


@dataclass(frozen=True)
class Removed:
    """What was done to one thing: `rewritten` (its hash before and after) or `removed`, with the rows that went."""

    place: str
    thing: str
    how: str
    rows: int = 0
    before: str = ""
    after: str = ""


def in_checkout(params: Params, paths: Paths, people: People, tested: set[str], *, dry: bool) -> Iterator[Removed]:
    """The checkout's own stores, reports and predictions; `tested`: units whose test part they are in.

    Stores, and evaluations that show them, are removed: `dvc repro` makes them again. Raw files, events, quarantine and
    truth are not this function's.
    """
    for folder in sorted((paths.root / "data/sequences").glob("*")):
        if folder.is_dir() and any(holds(file, people) for file in folder.rglob("*")):
            yield from _drop(folder, "packed store", paths.root, dry=dry)
    for model, spec in params.models.items():
        if spec.unit in tested:
            for folder in (paths.evaluation(model), paths.gate(model)):
                if folder.is_dir():
                    yield from _drop(folder, "evaluation that shows visits of theirs", paths.root, dry=dry)
    for file in _of_checkout(params, paths):
        if holds(file, people):
            yield from _mend(file, people, paths.root, "checkout", dry=dry)


def in_home(paths: Paths, people: People, *, dry: bool) -> Iterator[Removed]:
    """What lies in the home beside DVC's objects and MLflow's database: workspaces, results, logs, records."""
    home = paths.home
    for folder in sorted((home / "workspaces").glob("*/*")):
        if folder.is_dir() and any(
            holds(file, people, raw=file.is_relative_to(folder / "data")) for file in _files(folder)
        ):
            yield Removed("workspaces", _shown(folder, home), "removed")
            if not dry:
                workspace.remove(folder)
    for folder in sorted((home / "runs").glob("*/data/sequences/*")):
        if any(holds(file, people) for file in folder.rglob("*")):
            yield from _drop(folder, "packed store", home, dry=dry)
    for file in _of_home(home):
        if holds(file, people):
            yield from _mend(file, people, home, "home", dry=dry)


def remaining(params: Params, paths: Paths, people: People) -> dict[Path, str]:
    """What names them still of the files that were searched, or may, and why: a database, what was written meanwhile,
    what cannot be opened.
    """
    every = ((file, looked_into(file, people)) for file in (*_of_checkout(params, paths), *_of_home(paths.home)))
    return {file: CLOSED if named is None else _still(file) for file, named in every if named is not False}


def _still(file: Path) -> str:
    return f"{'a database that' if is_database(file) else 'it'} names them still"


def _of_checkout(params: Params, paths: Paths) -> Iterator[Path]:
    ours = [paths.events, paths.quarantine, paths.truth, paths.root / "data/sequences", paths.home]
    committed = _committed(paths.root)
    for file in _files(paths.root):
        elsewhere = _is_raw(params, paths, file) or any(file.is_relative_to(folder) for folder in ours)
        if not elsewhere and file not in committed:
            yield file


def _of_home(home: Path) -> Iterator[Path]:
    ours = [home / name for name in ("dvc-cache", "dvc-remote", "repository.git", "workspaces", "forgotten")]
    for file in _files(home):
        if file.name not in OWN and not any(file.is_relative_to(folder) for folder in ours):
            yield file


def busy(home: Path) -> list[str]:
    """Runs that a process works on: what they make now would hold the person again."""
    names = [folder.name for folder in (home / "workspaces").glob("*") if folder.is_dir()]
    return [name for name in sorted(names) if any(journal.workspaces(home, name).values())]


def _mend(file: Path, people: People, root: Path, place: str, *, dry: bool) -> Iterator[Removed]:
    """One file without them: rows of a table, names in a text; anything else is removed, but never a database."""
    name, before = _shown(file, root), sha256(file)
    if is_database(file):
        yield Removed(place, name, "left: a database; see `unreached`", before=before)
        return
    if dry:
        yield Removed(place, name, "rewritten or removed", before=before)
        return
    sealed = _sealed(file)
    yield from _without(file, people, name, place, before)
    for folder in sealed:
        seal(folder)


def is_database(file: Path) -> bool:
    """Whether it is one of SQLite."""
    with file.open("rb") as opened:
        return opened.read(16).startswith(b"SQLite format 3")


def _without(file: Path, people: People, name: str, place: str, before: str) -> Iterator[Removed]:
    from pyarrow import ArrowException

    with file.open("rb") as opened:
        head = opened.read(16)
    checksums = place == "home"  # those of the log of answers
    if head[:4] == b"PAR1":
        with suppress(ArrowException, *UNREADABLE):  # one that is damaged is removed
            if (rows := without(file, people, checksums=checksums)) and not holds(file, people):
                _predictions(file, rows)
                yield Removed(place, name, "rewritten", rows, before, sha256(file))
                return
    if file.suffix in TEXT and b"\0" not in head:
        text, mode = file.read_bytes(), file.stat().st_mode & 0o777
        write_bytes(file, people.hidden(text), mode=mode)
        file.chmod(mode)
        _own_hash(file, mode)
        if not holds(file, people):
            yield Removed(place, name, "rewritten", len(people.needles.findall(text)), before, sha256(file))
            return
    file.unlink(missing_ok=True)
    yield Removed(place, name, "removed", before=before)


def _own_hash(file: Path, mode: int) -> None:
    """A record that held its own hash holds that of what stands in it now."""
    with suppress(OSError, ValueError):
        content = read_json(file) if file.suffix == ".json" else None
        if isinstance(content, dict) and content.pop(SUM, None):
            write_record(file, content, mode=mode)
            file.chmod(mode)


def _predictions(file: Path, rows: int) -> None:
    """The card beside predictions goes on to be true; of unfinished ones the manifest finds the file changed."""
    table, folder = file.parent.name, file.parent.parent
    name = f"{table}/{file.name}"
    try:
        content = read_json(folder / CARD)
    except (OSError, ValueError):
        content = None
    if isinstance(content, dict) and content.get("kind") == KIND and name in content.get("files", {}):
        content["files"][name] = sha256(file)
        content["rows"][table] -= rows
        for part in content["done"]:
            if name in part["files"]:
                part["rows"][table] -= rows
        content["forgotten"] = True
        write_json(folder / CARD, content)


def _sealed(file: Path) -> list[Path]:
    """The sealed folders that a file lies in. One that is damaged is not among them: a new seal would hide it."""
    return [folder for folder in (file.parent, file.parent.parent) if (folder / SEAL).is_file() and _whole(folder)]


def _whole(folder: Path) -> bool:
    try:
        return not damaged(folder, None)
    except DataError:
        return False


def unvacuumed(home: Path, people: People) -> list[Path]:
    """Databases of the home that name them, their free pages too."""
    files = []
    for file in sorted([*home.glob("*.db"), *home.glob("airflow/*.db")]):
        try:
            with sqlite3.connect(file) as database:
                database.execute("VACUUM")
        except sqlite3.Error:
            pass
        if holds(file, people):
            files.append(file)
    return files


def _drop(folder: Path, what: str, root: Path, *, dry: bool) -> Iterator[Removed]:
    yield Removed(what, _shown(folder, root), "removed")
    if not dry:
        shutil.rmtree(folder)


def _committed(root: Path) -> set[Path]:
    """The files that git keeps: who writes them is not this program, and to change them here removes nothing."""
    if not (root / ".git").exists():
        return set()
    return {root / name for name in git(root, "ls-files", "-z").split("\0") if name}


def _is_raw(params: Params, paths: Paths, file: Path) -> bool:
    source = Path(params.source.path).expanduser()
    return params.source.kind == "files" and file.is_relative_to(
        source if source.is_absolute() else paths.root / source
    )


def _files(root: Path) -> Iterator[Path]:
    """The files below a folder that this program may have written, in order."""
    todo = [root]
    while todo:
        with_files = sorted(todo.pop().iterdir())
        for path in with_files:
            if path.is_symlink():
                continue
            if path.is_dir():
                if path.name not in PASSED_OVER:
                    todo.append(path)
            elif path.is_file():
                yield path


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
