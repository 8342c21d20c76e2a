"""An ingest as the tests run it: raw bytes and params in, events and quarantine out."""

import copy
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clickflow.events.ingest import ingest
from clickflow.events.quarantine import raw_bytes
from clickflow.params.file import check
from clickflow.params.schema import Params
from clickflow.system.paths import Paths

HEADER = b"event_time,event_type,user_id,session_id,item_id,category,brand,price,quantity,campaign\n"


KINDS_OF_ROWS = ("accepted", "quarantined", "ignored", "forgotten")
"""What becomes of a row that is read."""


def row(
    time: str = "2026-01-05 10:00:00",
    kind: str = "view",
    user: str = "u1",
    session: str = "s1",
    item: str = "i1",
    category: str = "",
    brand: str = "",
    price: str = "",
    quantity: str = "",
    campaign: str = "",
) -> bytes:
    return ",".join([time, kind, user, session, item, category, brand, price, quantity, campaign]).encode() + b"\n"


def rows(count: int, first: int = 0, day: int = 5) -> bytes:
    return b"".join(
        row(
            f"2026-01-{day:02} {(n // 3600) % 24:02}:{(n // 60) % 60:02}:{n % 60:02}",
            item=f"i{n % 7}",
            user=f"u{n % 5}",
        )
        for n in range(first, first + count)
    )


def set_params(raw_params: dict[str, object], **changes: object) -> Params:
    """`source__preset="rees46"` sets source.preset."""
    raw: dict[str, Any] = copy.deepcopy(raw_params)
    raw["source"]["as_of"] = "2026-06-01T00:00:00"
    for name, value in changes.items():
        at = raw
        *outer, last = name.split("__")
        for part in outer:
            at = at[part]
        assert last in at, name
        at[last] = value
    return check(raw)


@dataclass(frozen=True)
class Outcome:
    card: dict[str, Any]
    paths: Paths

    @property
    def events(self) -> pa.Table:
        files = sorted(self.paths.events.glob("day=*/events.parquet"))
        return pa.concat_tables([pq.read_table(path, partitioning=None) for path in files])

    @property
    def quarantine(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = pq.read_table(self.paths.quarantine / "quarantine.parquet").to_pylist()
        return entries

    def reasons(self) -> dict[int, list[str]]:
        return {entry["line"]: entry["reasons"] for entry in self.quarantine}

    def raw(self) -> dict[int, bytes]:
        return {entry["line"]: raw_bytes(entry["raw"], entry["reasons"]) for entry in self.quarantine}


def counted(card: dict[str, Any], paths: Paths) -> Outcome:
    """What an ingest has left, after a look at whether the counts of its card agree with each other and with it."""
    outcome = Outcome(card, paths)
    assert card["read"] == sum(card[name] for name in KINDS_OF_ROWS)
    for source in card["sources"]:
        assert source["read"] == sum(source[name] for name in KINDS_OF_ROWS)
    for name in ("read", *KINDS_OF_ROWS):
        assert card[name] == sum(source[name] for source in card["sources"])
    assert len(outcome.quarantine) == card["quarantined"]
    assert outcome.events.num_rows == card["accepted"]
    return outcome


class Desk:
    """A workspace with a folder of raw files."""

    def __init__(self, root: Path, raw_params: dict[str, object]) -> None:
        self.paths = Paths(root)
        self.raw_params = raw_params
        self.log = root / "log"
        self.log.mkdir(parents=True)

    def put(self, name: str, data: bytes) -> Path:
        path = self.log / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def params(self, **changes: object) -> Params:
        given = {"source__kind": "files", "source__path": "log", "ingest__missing_sources": "drop"}
        return set_params(self.raw_params, **given | changes)

    def ingest(self, **changes: object) -> Outcome:
        return counted(ingest(self.params(**changes), self.paths), self.paths)

    def bytes(self) -> dict[str, str]:
        """A hash of every output file."""
        digests = {}
        for folder in (self.paths.root / "data", self.paths.root / "reports"):
            for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".ingest.lock"):
                name = path.relative_to(self.paths.root).as_posix()
                digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return digests
