"""Files of a source that were refused as a whole or in large part, and files that lack something.

An exact repeat does not count as refused: a file that is delivered twice is not broken.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from clickflow.events import encryption, quarantine
from clickflow.system import files

SHOWN = 10
"""At most so many files are named."""
"""Characters of a row that is shown."""

Source = Mapping[str, Any]
"""One of `sources` of reports/ingest.json."""


def refused(source: Source) -> int:
    """How many rows of a file were refused."""
    return int(source["quarantined"]) - int(source["reasons"].get("duplicate", 0))


def wanted(source: Source) -> int:
    """How many rows of a file were to become events: not those of ignored types, nor those of forgotten people."""
    return int(source["read"]) - int(source.get("ignored", 0)) - int(source.get("forgotten", 0))


def share(source: Source) -> float:
    """Which part of a file's rows was refused; 0 of a file without rows."""
    rows = wanted(source)
    return refused(source) / rows if rows else 0.0


def above(sources: Sequence[Source], bound: float) -> list[Source]:
    """The files of which more than `bound` was refused, those refused whole first, then the newest by name first."""
    return sorted(
        (source for source in reversed(sources) if share(source) > bound), key=lambda source: share(source) < 1
    )


def refused_files(path: Path) -> list[str]:
    """The files of which every row was refused, by reports/ingest.json; none where there is no such card."""
    try:
        card = files.read_json(path)
        return [source["source"] for source in card["sources"] if share(source) == 1]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def lines(card: Mapping[str, Any], folder: Path, bound: float, key: bytes) -> Iterator[str]:
    """What a person should know of single files; `folder` holds the quarantine, which `key` opens."""
    sources = card["sources"]
    broken = above(sources, bound)
    newest = sources[-1]["source"] if len(sources) > 1 else None
    for source in broken[:SHOWN]:
        counts = sorted(source["reasons"].items(), key=lambda item: (-item[1], item[0]))
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts)
        last = " (the newest file)" if source["source"] == newest else ""
        yield (
            f"{source['source']}{last}: {refused(source):,} of {source['read']:,} rows refused: {reasons}"
            f"{_example(folder, source['source'], key)}"
        )
    if len(broken) > SHOWN:
        yield f"and {len(broken) - SHOWN} more files of which over {bound:.0%} was refused"
    empty = [source["source"] for source in sources if not source["read"]]
    if empty:
        yield f"no row in {named(empty)}"
    missing: dict[str, list[str]] = {}
    for source in sources:
        for column in source["lacks"]:
            missing.setdefault(column, []).append(source["source"])
    for column, names in missing.items():
        yield f"no {column} in {len(names)} of {len(sources)} files, where it is null: {named(names)}"


def named(names: Sequence[str]) -> str:
    """Some names in a line."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _example(folder: Path, name: str, key: bytes) -> str:
    """Where the first row of a file stands that was refused; its text is for those who may read quarantine."""
    with encryption.reading(folder / quarantine.FILE, key) as file:
        table = pq.read_table(file, columns=["line"], filters=[("source", "=", name)])
    for row in table.slice(0, 1).to_pylist():
        return f" (e.g. line {row['line']})"
    return ""
