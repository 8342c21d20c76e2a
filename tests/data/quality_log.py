"""A small clean log, written as ingest writes one, and a run of `validate` on it."""

import copy
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clickflow.events.contract import SCHEMA
from clickflow.params.file import check
from clickflow.quality import validate
from clickflow.system import integrity
from clickflow.system.errors import DataError
from clickflow.system.paths import Paths

START = datetime(2026, 1, 5, tzinfo=UTC)
DAYS, A_DAY = 5, 300

Rows = list[dict[str, Any]]


def clean_rows() -> Rows:
    """Five days of 300 events, in order: sessions of four, one user in four a guest."""
    rng = np.random.default_rng(0)
    rows: Rows = []
    for day in range(DAYS):
        for i in range(A_DAY):
            visit = (day * A_DAY + i) // 4
            item = int(rng.integers(50))
            kind = ["view", "view", "cart", "purchase"][i % 4]
            rows.append(
                {
                    "event_time": START + timedelta(days=day, seconds=i * 287),
                    "event_type": kind,
                    "user_id": None if visit % 4 == 0 else f"u{visit % 90:03d}",
                    "session_id": f"s{visit:05d}",
                    "item_id": f"i{item:03d}",
                    "category": "home.kitchen",
                    "brand": "acme" if item % 2 else None,
                    "price": 1.0 + item,
                    "quantity": 1 if kind == "purchase" else None,
                    "campaign": None,
                }
            )
    return rows


def write(root: Path, rows: Rows, *, card: dict[str, Any] | None = None, schema: pa.Schema = SCHEMA) -> Paths:
    """A workspace at `root` with these events, each in the folder of its day (`day`, or its time's)."""
    for name in ("params.yaml", "dvc.yaml"):
        (root / name).touch()
    paths = Paths(root)
    days: dict[str, Rows] = {}
    for row in rows:
        days.setdefault(row.get("day") or row["event_time"].date().isoformat(), []).append(row)
    for day, some in days.items():
        folder = paths.events / f"day={day}"
        folder.mkdir(parents=True)
        table = pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in some], schema=schema)
        pq.write_table(table, folder / "events.parquet")
    paths.ingest_card.parent.mkdir(exist_ok=True)
    counts = {"read": len(rows), "accepted": len(rows), "quarantined": 0, "reasons": {}}
    paths.ingest_card.write_text(json.dumps(counts | (card or {})), encoding="utf-8")
    integrity.seal(paths.events)
    return paths


def run(paths: Paths, raw: dict[str, Any], **quality: Any) -> dict[str, Any]:
    """Validate; reports/validation.json, whatever the verdict. `as_of` is source.as_of, the rest params.quality."""
    raw = copy.deepcopy(raw)
    raw["source"]["as_of"] = quality.pop("as_of", None)
    raw["quality"] |= quality
    integrity.seal(paths.events)  # as an ingest leaves them, whatever a test has made of them
    try:
        validate.run(check(raw), paths)
    except DataError as error:
        verdict: dict[str, Any] = json.loads(paths.validation.read_text(encoding="utf-8"))
        return verdict | {"said": str(error)}
    return dict(json.loads(paths.validation.read_text(encoding="utf-8")))


def broken(verdict: dict[str, Any]) -> dict[str, list[str]]:
    return {kind: [finding["rule"] for finding in verdict[kind]] for kind in ("critical", "warnings")}
