"""Leftovers of killed processes: damaged lock files and half-written outputs. Removed here: nothing depends on them."""

import fcntl
import json
from pathlib import Path

from clickflow.doctor.finding import Finding, warning, well
from clickflow.system import files
from clickflow.system.paths import Paths


def dvc(paths: Paths) -> list[Finding]:
    """DVC's list of who works on what: one cut short stops every later command of DVC's, and is removed."""
    file = paths.root / ".dvc/tmp/rwlock"
    if not file.is_file() or _readable(file):
        return [well("dvc lock", "none is left behind")]
    guard = file.with_name("rwlock.lock")
    with guard.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return [well("dvc lock", "a DVC is at work")]
        if not _readable(file):
            file.unlink(missing_ok=True)
    return [
        warning("dvc lock", f"{file} was left damaged by a killed process, and stopped every DVC command: removed", "")
    ]


def left(paths: Paths) -> list[Finding]:
    """Half-made outputs of processes that have ended: removed; each would also go when its output is made again."""
    places = [paths.home, *(paths.root / name for name in ("data", "models", "reports"))]
    inside = [each for place in places if place.is_dir() for each in (place, *place.glob("*/"), *place.glob("*/*/"))]
    leftovers = [path for folder in inside if not folder.name.startswith(".") for path in files.left_behind(folder)]
    for path in leftovers:
        files.tidy(path)
    if not leftovers:
        return [well("leftovers", "none of killed processes")]
    more = f" and {len(leftovers) - 1} more" if len(leftovers) > 1 else ""
    return [warning("leftovers", f"{leftovers[0]}{more}, half-written by processes that were killed: removed", "")]


def _readable(file: Path) -> bool:
    try:
        return isinstance(json.loads(file.read_text(encoding="utf-8")), dict)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
