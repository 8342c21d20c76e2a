"""Objects that were removed because they held people: which locks name them, and what that means for a run."""

from collections.abc import Iterable
from pathlib import Path

from clickflow.orchestration.fragments import Fragments
from clickflow.system import files

NAME = "forgotten-objects.json"
"""In the home: hashes of objects that `clickflow forget` removed, with the day."""


def removed(home: Path) -> dict[str, str]:
    """Hash to day; none where nobody was forgotten."""
    what = "the list of objects that `clickflow forget` removed"
    return files.read_record(home / NAME, what, kept="everything", why="it says which runs cannot be brought back")


def note(home: Path, objects: Iterable[str], day: str) -> None:
    """Remember what is removed."""
    files.write_record(home / NAME, {**dict.fromkeys(objects, day), **removed(home)})


def among(lock: Fragments, home: Path) -> dict[str, str]:
    """Outputs that a lock names and that are gone for good: path to the day."""
    gone = removed(home)
    outs = [out for entry in lock.values() for out in entry.get("outs") or []] if gone else []
    return {str(out["path"]): gone[out["md5"]] for out in outs if out.get("md5") in gone}
