"""The files of a source, and the columns that their folders' names give (`day=2026-03-01`)."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from clickflow.events.listing import matching
from clickflow.events.storage import SUFFIXES, UNTOUCHED, members
from clickflow.params.source import Source
from clickflow.system.errors import UsageError

FORMATS = {
    "csv": "csv",
    "dat": "csv",
    "txt": "csv",
    "tsv": "tsv",
    "tab": "tsv",
    "inter": "tsv",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "json": "jsonl",
    "parquet": "parquet",
    "pq": "parquet",
}
"""The ending of a name: its format."""
IGNORED = (".md", ".dvc", ".gitignore", ".gitkeep", ".crc")

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def find_files(source: Source, root: Path) -> list[tuple[str, Path]]:
    """The files of `source.path` and `source.pattern` in the order of their names; paths are relative to `root`.

    A zip archive of several files is as many, named `archive.zip/member`. Hidden files and the marks that other tools
    leave (`_SUCCESS`, `_delta_log/`) are passed over. Raises UsageError where there is none, DataError where one
    cannot be listed or read.
    """
    try:
        base = Path(source.path).expanduser()
    except RuntimeError as error:  # ~nobody
        raise UsageError(
            f"source.path: {source.path!r} names a user that this machine does not have",
            kept=UNTOUCHED,
            next_step="set source.path in params.yaml",
        ) from error
    base = base if base.is_absolute() else root / base
    if base.is_file():
        return _with_members(base.name, base)
    if not base.is_dir():
        raise UsageError(
            f"source.path: {base} is a pipe, socket or device"
            if base.exists()
            else f"source.path: there is no file or folder {base}",
            kept=UNTOUCHED,
            next_step="set source.path in params.yaml",
        )
    files = [
        file
        for path in matching(base, source.pattern, passed_over)
        for file in _with_members(path.relative_to(base).as_posix(), path)
    ]
    if not files:
        raise UsageError(
            f"source.path: no file in {base} matches {source.pattern!r}",
            kept=UNTOUCHED,
            next_step="put the log there, or set source.path and source.pattern in params.yaml",
        )
    return sorted(files)


def passed_over(parts: tuple[str, ...]) -> bool:
    """Whether a file is hidden, a mark, or a note beside the data, by the parts of its name."""
    *folders, name = parts
    return (
        any(part.startswith(".") for part in parts)
        or any(folder.startswith("_") and "=" not in folder for folder in folders)
        or (name.startswith("_") and format_of(name) is None)
        or name.endswith(IGNORED)
    )


def format_of(name: str) -> str | None:
    """The format that a file's name tells, whatever packed it; None where it tells none."""
    name = name.lower()
    while name.endswith(SUFFIXES):
        name = name.rpartition(".")[0]
    return FORMATS.get(name.rpartition(".")[2])


def member_of(name: str, path: Path) -> str | None:
    """Which member of a zip archive the source `name` is; "" where the file is none, None where it holds no file."""
    inside = members(path)
    if inside is None:
        return ""
    if len(inside) <= 1:
        return inside[0] if inside else None
    return name.partition(f"{path.name}/")[2]


def partitions(name: str) -> Mapping[str, str | None]:
    """What the folders of a file's name say: `day=2026-03-01/country=de/part-0.csv` has a day and a country."""
    values: dict[str, str | None] = {}
    for folder in name.split("/")[:-1]:
        key, mark, value = folder.partition("=")
        if key and mark:
            values[key] = None if value == NO_VALUE else unquote(value)
    return values


def _with_members(name: str, path: Path) -> list[tuple[str, Path]]:
    inside = members(path)
    if inside is None or len(inside) <= 1:
        return [(name, path)]
    return [(f"{name}/{member}", path) for member in inside if not passed_over(tuple(member.split("/")))]
