"""Remarks on single files of a source, for people to read after an ingest."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from clickflow.events import encryption, quarantine
from clickflow.events.refusals import SHOWN, above, named, refused


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
    if apart := card.get("apart"):
        yield (
            f"few events are of {named(apart)}, more than a year before all others: what a source writes where it "
            "knows no time? sequences.since leaves them out"
        )
    if len(card["currencies"]) > 1:
        counted = ", ".join(f"{name} {count:,}" for name, count in card["currencies"].items())
        yield f"prices are in several currencies ({counted}): they are not converted, and those read are read as one"
    missing: dict[str, list[str]] = {}
    for source in sources:
        for column in source["lacks"]:
            missing.setdefault(column, []).append(source["source"])
    for column, names in missing.items():
        yield f"no {column} in {len(names)} of {len(sources)} files, where it is null: {named(names)}"


def _example(folder: Path, name: str, key: bytes) -> str:
    """Where the first row of a file stands that was refused; its text is for those who may read quarantine."""
    with encryption.reading(folder / quarantine.FILE, key) as file:
        table = pq.read_table(file, columns=["line"], filters=[("source", "=", name)])
    for row in table.slice(0, 1).to_pylist():
        return f" (e.g. line {row['line']})"
    return ""
