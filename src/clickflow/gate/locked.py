"""The hash of a file or folder as DVC computes it, to compare with dvc.lock without loading DVC."""

import hashlib
import json
from pathlib import Path


def md5(path: Path) -> str:
    """MD5 of a file's bytes; of a folder that of the list of its files, ending in `.dir`. Empty: there is neither."""
    if path.is_dir():
        listed = [{"md5": hashed, "relpath": name} for name, hashed in sorted(files(path).items())]
        return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
    return _of_file(path) if path.is_file() else ""


def files(folder: Path) -> dict[str, str]:
    """MD5 of every file below a folder, by its path there."""
    return {p.relative_to(folder).as_posix(): _of_file(p) for p in folder.rglob("*") if p.is_file()}


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
