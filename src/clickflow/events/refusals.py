"""Files of a source that were refused as a whole or in large part, and files that lack something.

An exact repeat does not count as refused: a file that is delivered twice is not broken.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clickflow.system import files

SHOWN = 10
"""At most so many files are named."""

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


def named(names: Sequence[str]) -> str:
    """Some names in a line."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
