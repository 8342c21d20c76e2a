"""Events, quarantine and truth without the forgotten people, as an ingest that has them on its list would write them.

Days that hold none of them keep their bytes, the others are written again; the manifest is updated, so that appending,
replay and counts stay right: read = accepted + quarantined + ignored + forgotten.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clickflow.events import basis, days, encryption, manifest, outputs, quarantine, recheck
from clickflow.events.commit import commit
from clickflow.events.engine import Engine, started
from clickflow.events.manifest import Ingested
from clickflow.events.origins import as_read
from clickflow.events.presets import layout_of
from clickflow.events.rules import rules_for
from clickflow.params.schema import Params
from clickflow.privacy.people import People
from clickflow.system import console, files, integrity
from clickflow.system.paths import Paths

if TYPE_CHECKING:
    from pyarrow import parquet


@dataclass(frozen=True)
class Rewritten:
    """A raw file that is written again: its bytes then, the rows gone that were counted, and the lines left blank.

    `sha256` is empty where only a new reading tells what the counts are.
    """

    size: int
    sha256: str
    rows: int
    blanked: int


def counts(params: Params, paths: Paths, people: People) -> tuple[dict[str, int], dict[str, int]]:
    """How many rows of theirs there are: by day, and in quarantine by source."""
    by_day = {}
    for path in sorted(paths.events.glob("day=*/events.parquet")):
        table = _read(path)
        if here := int(people.rows(table).sum().as_py() or 0):
            by_day[path.parent.name] = here
    refused: dict[str, int] = {}
    if (paths.quarantine / quarantine.FILE).is_file():
        with started(params.ingest.memory_gb) as engine:
            for table, theirs in _refused(params, paths, people, engine):
                for source in table["source"].filter(pa.array(theirs)).to_pylist():
                    refused[source] = refused.get(source, 0) + 1
    return by_day, refused


def remove(
    params: Params,
    paths: Paths,
    people: People,
    folder: Path,
    engine: Engine,
    *,
    rows_of: Mapping[str, int],
    rewritten: Mapping[str, Rewritten],
) -> tuple[int, int]:
    """Put events, quarantine, truth and card without them in place; how many rows went of events and quarantine.

    `folder`: an ingest's scratch folder, held. `rows_of`: by source, the rows of theirs that an ingest would count.
    `rewritten`: raw files that are written again, by name.
    """
    previous = basis.load(paths)
    changed_days, gone = _days(paths, people, folder)
    path, refused, reasons = _quarantine(params, paths, people, folder, engine)
    _truth(paths, people, folder)
    ready = {"quarantine": paths.quarantine, "truth": paths.truth, "events": paths.events}
    if previous is None:
        if (paths.events / manifest.NAME).is_file():
            shutil.copy2(paths.events / manifest.NAME, folder / "events" / manifest.NAME)
    else:
        sources = tuple(
            replace(
                _counted(source, refused.get(source.name, 0), here, rewritten.get(source.name)),
                reasons=dict(sorted(reasons.get(source.name, {}).items())),
            )
            for source, here in zip(previous.sources, _spread(previous.sources, gone, refused, rows_of), strict=True)
        )
        kept = {
            day: {**counts, **changed_days.get(day, {})}
            for day, counts in previous.days.items()
            if changed_days.get(day) != {}
        }
        held = {"rows": previous.quarantine["rows"] - sum(refused.values()), "sha256": files.sha256(path)}
        updated = replace(previous, sources=sources, days=kept, quarantine={**previous.quarantine, **held})
        manifest.save(updated, folder / "events")
        files.write_json(folder / "ingest.json", outputs.card_of(updated, folder / "events", engine))
        ready["ingest.json"] = paths.ingest_card
        outputs.seal(folder, paths)
    commit(folder, paths, {name: final for name, final in ready.items() if (folder / name).exists()})
    return gone, sum(refused.values())


def _days(paths: Paths, people: People, folder: Path) -> tuple[dict[str, dict[str, int]], int]:
    """Every day in `folder`; of those that changed rows and bytes ({}: nothing is left), and how many rows went."""
    changed_days: dict[str, dict[str, int]] = {}
    total = 0
    every = sorted(paths.events.glob("day=*/events.parquet"))
    (folder / "events").mkdir()
    with console.progress("events", len(every)) as advance:
        for path in every:
            day = path.parent.name
            target = folder / "events" / day / path.name
            left, gone = days.write_without(path, target, people.rows)
            total += gone
            if not gone:
                target.parent.mkdir()
                _link(path.resolve(), target)
            else:
                changed_days[day] = {"rows": left, "bytes": target.stat().st_size} if left else {}
            advance(1, day)
    return changed_days, total


def _refused(params: Params, paths: Paths, people: People, engine: Engine) -> Iterator[tuple[pa.Table, Any]]:
    """The tables of quarantine, and which rows are theirs; where nothing tells how they were read, any word counts."""
    previous, con = manifest.read(paths.events), engine.cursor()
    for table in quarantine.read(paths.quarantine, people.key):
        if previous is None:
            yield table, people.listed.in_texts(table["raw"].to_pylist(), np.ones(table.num_rows, bool))
        else:
            yield (
                table,
                recheck.forgotten(
                    table,
                    previous,
                    lambda name: layout_of(as_read(params.source), name),
                    rules_for(params, people.key, people.listed),
                    con,
                ),
            )


def _quarantine(
    params: Params, paths: Paths, people: People, folder: Path, engine: Engine
) -> tuple[Path, dict[str, int], dict[str, Counter[str]]]:
    """The file in `folder`; by source, how many rows went, and the reasons of those that stay."""
    path = folder / "quarantine" / quarantine.FILE
    refused: dict[str, int] = {}
    reasons: dict[str, Counter[str]] = {}

    def left() -> Iterator[pa.Table]:
        for table, theirs in _refused(params, paths, people, engine):
            for source in table["source"].filter(pa.array(theirs)).to_pylist():
                refused[source] = refused.get(source, 0) + 1
            stay = table.filter(pa.array(~theirs))
            for source, why in zip(stay["source"].to_pylist(), stay["reasons"].to_pylist(), strict=True):
                reasons.setdefault(source, Counter()).update(why)
            yield stay

    if (paths.quarantine / quarantine.FILE).is_file():
        sealed = encryption.is_encrypted(paths.quarantine / quarantine.FILE)
        quarantine.write(left(), path, people.key if sealed else None)
    return path, refused, reasons


def _truth(paths: Paths, people: People, folder: Path) -> None:
    if not paths.truth.is_dir():
        return
    shutil.copytree(paths.truth, folder / "truth")
    for path in sorted((folder / "truth").glob("*.parquet")):
        without(path, people)
    if (folder / "truth" / integrity.SEAL).is_file():
        integrity.seal(folder / "truth", paths.home)


def packing(file: "parquet.ParquetFile") -> str:
    """The compression of a Parquet file's columns, by the name that a writer takes."""
    if not file.metadata.num_row_groups:
        return "none"
    name: str = file.metadata.row_group(0).column(0).compression
    return "none" if name == "UNCOMPRESSED" else name


def without(path: Path, people: People, *, checksums: bool = False) -> int:
    """Write a Parquet file again without the rows that name them in `user_id` or `session_id`; how many they were."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        named = sorted({"user_id", "session_id"} & set(file.schema_arrow.names))
        groups = range(file.num_row_groups if named else 0)
        gone: int = sum(people.rows(file.read_row_group(number, named)).sum().as_py() or 0 for number in groups)
        if not gone:
            return 0
        with files.whole(path) as fresh:
            with parquet.ParquetWriter(
                fresh, file.schema_arrow, compression=packing(file), write_page_checksum=checksums
            ) as writer:
                for number in groups:
                    table = file.read_row_group(number)
                    writer.write_table(table.filter(pc.invert(people.rows(table))))
            shutil.copymode(path, fresh)
    return gone


def _spread(
    sources: tuple[Ingested, ...], gone: int, refused: Mapping[str, int], rows_of: Mapping[str, int]
) -> list[int]:
    """How many of the `gone` accepted rows each source had: as its raw file says, the rest by what it has accepted.

    Events do not say which file they came from; of files that are no longer there it is not known, and the last ones
    are taken to have had them.
    """
    shares = [
        max(0, min(rows_of.get(source.name, 0) - refused.get(source.name, 0), source.accepted)) for source in sources
    ]
    over = sum(shares) - gone
    for at in range(len(shares) - 1, -1, -1):
        step = min(shares[at], over) if over > 0 else -min(sources[at].accepted - shares[at], -over)
        shares[at] -= step
        over -= step
    return shares


def _counted(source: Ingested, refused: int, accepted: int, rewritten: Rewritten | None) -> Ingested:
    """A source with its counts as they are now."""
    updated = replace(
        source,
        accepted=source.accepted - accepted,
        quarantined=source.quarantined - refused,
        forgotten=source.forgotten + accepted + refused,
    )
    if rewritten is None:
        return updated
    cut = min(rewritten.rows, updated.forgotten)
    return replace(
        updated,
        size=rewritten.size,
        sha256=rewritten.sha256,
        read=updated.read - cut,
        forgotten=updated.forgotten - cut,
        blank_lines=updated.blank_lines + rewritten.blanked,
    )


def _read(path: Path) -> pa.Table:
    from pyarrow import parquet

    return parquet.read_table(path, columns=["user_id", "session_id"], partitioning=None)


def _link(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError:
        shutil.copy2(old, new)
