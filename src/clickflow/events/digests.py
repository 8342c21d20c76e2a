"""Hashes of raw files; those of files that have not changed since the last time are remembered in the home."""

from collections.abc import Sequence
from pathlib import Path

from clickflow import files
from clickflow.errors import DataError
from clickflow.events.storage import UNTOUCHED

NAME = "raw_hashes.json"


def digests(found: Sequence[tuple[str, Path]], home: Path) -> list[tuple[int, str]]:
    """Size and SHA-256 of every file; a file is read only if its size, time or inode is not the remembered one."""
    try:
        known = files.read_json(home / NAME)
    except (OSError, ValueError):
        known = {}
    seen = {}
    hashes = []
    for name, path in found:
        try:
            stat = path.stat()
            mark = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
            at = str(path.absolute())
            entry = known.get(at) or {}
            digest = entry["sha256"] if entry.get("mark") == mark else files.sha256(path)
        except OSError as error:
            raise DataError(f"{name} cannot be read: {error}", kept=UNTOUCHED) from error
        seen[at] = {"mark": mark, "sha256": digest}
        hashes.append((stat.st_size, digest))
    files.write_json(home / NAME, {**known, **seen} if len(known) < 10_000 else seen)
    return hashes
