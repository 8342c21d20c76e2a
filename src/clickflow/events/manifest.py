"""What the events were made of: `data/events/_manifest.json`."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from clickflow.events.contract import VERSION
from clickflow.events.unread import Unread
from clickflow.system import files

NAME = "_manifest.json"
ORDER = "order"
"""The `source.time_format` of a log that knows an order and no clock."""


@dataclass(frozen=True)
class Ingested:
    """One source file: its bytes, what a replay must know of it, and its counts."""

    name: str
    size: int
    sha256: str
    described: Mapping[str, Any]
    read: int
    accepted: int
    quarantined: int
    blank_lines: int
    reasons: Mapping[str, int]
    ignored: Mapping[str, int] = field(default_factory=dict)
    """Rows of types that `source.event_types` maps to `ignore`, by type; "*": of the rest."""
    unread: Unread = field(default_factory=dict)
    """Optional values of rows that passed the checks, left empty."""
    currencies: Mapping[str, int] = field(default_factory=dict)
    """Prices of these rows, read or left empty, by the currency that is written beside them."""
    forgotten: int = 0
    """Rows of people who were forgotten: they are kept nowhere."""


@dataclass(frozen=True)
class Manifest:
    """The sources in their order, the settings they were read with, and the files that came out."""

    settings: Mapping[str, Any]
    sources: tuple[Ingested, ...]
    days: Mapping[str, Mapping[str, int]]
    quarantine: Mapping[str, Any]
    origin: Mapping[str, Any] = field(default_factory=dict)
    """`source.path` and `source.pattern`, where the sources are files that lie there."""

    def total(self, what: str) -> int:
        """The sum of a count over the sources."""
        return sum(getattr(source, what) for source in self.sources)

    def ignored(self) -> dict[str, int]:
        """How many rows of each ignored type there were."""
        counts: Counter[str] = Counter()
        for source in self.sources:
            counts.update(source.ignored)
        return dict(sorted(counts.items()))

    def currencies(self) -> dict[str, int]:
        """How many prices are written with each currency."""
        counts: Counter[str] = Counter()
        for source in self.sources:
            counts.update(source.currencies)
        return dict(sorted(counts.items()))

    def unread(self) -> Unread:
        """The optional values that were left empty; the example's `line` is followed by its `source`."""
        totals: dict[str, dict[str, dict[str, Any]]] = {}
        for source in self.sources:
            for column, reasons in source.unread.items():
                for reason, seen in reasons.items():
                    total = totals.setdefault(column, {}).setdefault(
                        reason, {"count": 0, "source": source.name, "line": seen["line"], "text": seen["text"]}
                    )
                    total["count"] += seen["count"]
        return totals

    def reasons(self) -> dict[str, int]:
        """How often each reason was given."""
        counts: dict[str, int] = {}
        for source in self.sources:
            for reason, count in source.reasons.items():
                counts[reason] = counts.get(reason, 0) + count
        return counts


def save(manifest: Manifest, folder: Path) -> None:
    """Write the manifest into the folder of the events."""
    files.write_json(folder / NAME, {"version": VERSION, **asdict(manifest)})


def read(events: Path) -> Manifest | None:
    """The manifest in the folder of the events; None where there is none, or one of another version."""
    try:
        raw = files.read_json(events / NAME)
        if raw.pop("version") != VERSION:
            return None
        return replace(Manifest(**raw), sources=tuple(Ingested(**source) for source in raw["sources"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def clock(events: Path) -> bool:
    """Whether the times of the events below `events` are a clock's, and not an order alone (`time_format: order`).

    Events that no ingest wrote a manifest for are taken to have one.
    """
    try:
        return bool(files.read_json(events / NAME)["settings"]["time_format"] != ORDER)
    except FileNotFoundError:
        return True
