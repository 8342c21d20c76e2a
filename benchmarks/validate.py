"""How long a log of a given size takes to validate, and how much memory.

python benchmarks/validate.py --events 10000000 [--days 28] [--json FILE]

Writes synthetic canonical events (no dirt, so every expectation holds) to a temporary folder, then runs `clickflow
validate` on them as a process of its own. Seconds are those of the whole command, its imports among them; where other
work shares the cores (see `load`), cpu_seconds / cores says what it would take alone, at best.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from outcome import hand_out, versions

from clickflow.system.integrity import seal
from clickflow.system.moments import DAY

ROOT = Path(__file__).resolve().parents[1]
FIRST_DAY = 1_767_225_600_000_000
"""2026-01-01, in microseconds since 1970."""


def write_events(folder: Path, events: int, days: int) -> int:
    """`days` files of events in order of time: sessions of six, one in five without a user, 20,000 items."""
    connection = duckdb.connect()
    a_day, users = events // days, max(events // 60, 10)
    for day in range(days):
        start = FIRST_DAY + day * DAY
        target = folder / f"day={datetime.fromtimestamp(start / 1e6, UTC).date()}"
        target.mkdir(parents=True)
        first = day * a_day
        connection.execute(
            f"""
            COPY (
              SELECT
                make_timestamptz({start} + (i - {first}) * {DAY} // {a_day}) AS event_time,
                ['view', 'view', 'view', 'cart', 'favourite', 'purchase'][1 + (hash(i) % 6)::INT] AS event_type,
                CASE WHEN hash(i // 6) % 5 > 0 THEN printf('u%016x', (hash(i // 6 + 1) % {users})::BIGINT) END user_id,
                printf('s%016x', i // 6) AS session_id,
                printf('i%06d', (hash(i + 3) % 20000)::BIGINT) AS item_id,
                ['electronics.audio', 'home.kitchen', 'apparel.shoes'][1 + (hash(i + 3) % 3)::INT] AS category,
                ['acme', 'bolt', 'cord', NULL][1 + (hash(i + 3) % 4)::INT] AS brand,
                round((hash(i + 3) % 50000) / 100.0, 2)::DOUBLE AS price,
                CASE WHEN hash(i) % 6 = 5 THEN 1 END::BIGINT AS quantity,
                NULL::VARCHAR AS campaign, NULL::VARCHAR AS item_name, NULL::VARCHAR AS country,
                NULL::VARCHAR AS device, NULL::BIGINT AS "order"
              FROM range({first}, {first + a_day}) AS t(i)
            ) TO '{target}/events.parquet' (FORMAT parquet, COMPRESSION zstd)
            """
        )
    return a_day * days


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=28)
    parser.add_argument("--json", type=Path, help="write the result here, too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        workspace = Path(scratch)
        for name in ("params.yaml", "dvc.yaml"):
            shutil.copy(ROOT / name, workspace)
        shutil.copytree(ROOT / "expectations", workspace / "expectations")
        rows = write_events(workspace / "data/events", args.events, args.days)
        seal(workspace / "data/events")
        size = sum(file.stat().st_size for file in workspace.rglob("*.parquet"))
        (workspace / "reports").mkdir()
        counts = {"read": rows, "accepted": rows, "quarantined": 0, "reasons": {}}
        (workspace / "reports/ingest.json").write_text(json.dumps(counts), encoding="utf-8")
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "clickflow.cli", "validate"], cwd=workspace, check=True)
        seconds = time.perf_counter() - started
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        verdict = json.loads((workspace / "reports/validation.json").read_text(encoding="utf-8"))
    result = {
        "rows": rows,
        "days": args.days,
        "parquet_mb": round(size / 1e6, 1),
        "seconds": round(seconds, 2),
        "rows_per_second": round(rows / seconds),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_rss_mb": used.ru_maxrss // 1024,
        "expectations": verdict["expectations"],
        "success": verdict["success"],
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "versions": versions("duckdb", "great-expectations", "pandas", "pyarrow"),
    }
    hand_out(result, args.json)


if __name__ == "__main__":
    main()
