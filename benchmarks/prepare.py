"""How long raw events take to become packed arrays, and how much memory.

python benchmarks/prepare.py --events 1000000 --events 10000000 [--unit session] [--horizon-days 7] [--memory-gb 2]
                             [--scratch DIR] [--json FILE]

For each size: `clickflow simulate` (CSV; kept in the scratch folder for the next time, and not counted), then
`clickflow ingest` and `clickflow sequences UNIT`, each a process of its own, as the pipeline runs them. Seconds are
those of the whole command, its imports among them; memory is the process's largest resident set, mapped files included.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from outcome import hand_out, versions

from clickflow.sequences.store import read_card

ROOT = Path(__file__).resolve().parents[1]
PREPARE = ("ingest", "sequences")


def simulated(scratch: Path, events: int, seed: int) -> Path:
    """A raw log of that size, made unless it is there; a folder appears only when it is whole."""
    folder = scratch / f"raw-{events}-{seed}"
    if not folder.is_dir():
        measured(scratch, "simulate", "--events", str(events), "--seed", str(seed), "--out", str(folder))
    return folder


def workspace(scratch: Path, raw: Path, events: int, args: argparse.Namespace) -> Path:
    """A fresh workspace whose params.yaml reads `raw`."""
    folder = scratch / f"workspace-{events}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(ROOT / "dvc.yaml", folder)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["source"] |= {"kind": "files", "path": str(raw), "pattern": "events-*"}
    params["ingest"]["memory_gb"] = params["sequences"]["memory_gb"] = args.memory_gb
    params["sequences"]["customer"] = {"horizon_days": args.horizon_days, "every_days": 1}
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    return folder


def measured(folder: Path, *verb: str) -> dict[str, float]:
    """Run `clickflow VERB` in `folder`: seconds on the clock and on the processors, and the largest resident set."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "clickflow.cli", *verb],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"CLICKFLOW_HOME": str(folder / "home"), "CLICKFLOW_PSEUDONYM_KEY": "00" * 32},
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"clickflow {' '.join(verb)} ended with {process.returncode}")
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_rss_mb": used.ru_maxrss // 1024,
    }


def measure(scratch: Path, events: int, args: argparse.Namespace) -> dict[str, Any]:
    """All phases of one size."""
    raw = simulated(scratch, events, args.seed)
    folder = workspace(scratch, raw, events, args)
    phases = {"ingest": measured(folder, "ingest"), "sequences": measured(folder, "sequences", args.unit)}
    ingested = json.loads((folder / "reports/ingest.json").read_text(encoding="utf-8"))
    store = folder / "data/sequences" / args.unit
    card = read_card(store)
    seconds = sum(phases[name]["seconds"] for name in PREPARE)
    result = {
        "events": ingested["read"],
        "raw_mb": round(size_mb(raw, "events-*"), 1),
        "parquet_mb": round(size_mb(folder / "data/events", "**/*.parquet"), 1),
        "store_mb": round(size_mb(store, "**/*.npy"), 1),
        "phases": phases,
        "prepare_seconds": round(seconds, 2),
        "events_per_second": round(ingested["read"] / seconds),
        "peak_rss_mb": max(phases[name]["peak_rss_mb"] for name in PREPARE),
        "accepted": ingested["accepted"],
        "quarantined": ingested["quarantined"],
        "packed": card.packed,
        "steps": {name: part.events for name, part in card.splits.items()},
        "sequences": sum(part.sequences for part in card.splits.values()),
        "left_out": {name: reason["events"] for name, reason in card.left_out.items()},
        "store_sha256": card.sha256,
    }
    shutil.rmtree(folder)
    return result


def size_mb(folder: Path, pattern: str) -> float:
    return sum(file.stat().st_size for file in folder.glob(pattern)) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--events", type=int, action="append", help="a size; repeatable (1M and 10M where none is given)"
    )
    parser.add_argument("--unit", default="session", help="of the store: session or customer")
    parser.add_argument("--horizon-days", type=int, default=7, help="of customers, a cut-off every day")
    parser.add_argument("--memory-gb", type=float, default=2.0, help="ingest.memory_gb and sequences.memory_gb")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "clickflow-prepare")
    parser.add_argument("--json", type=Path, help="write the result here, too")
    args = parser.parse_args()
    args.scratch.mkdir(parents=True, exist_ok=True)
    sizes = []
    for events in args.events or [1_000_000, 10_000_000]:
        sizes.append(measure(args.scratch.resolve(), events, args))
        print(json.dumps(sizes[-1]), file=sys.stderr)
    result = {
        "sizes": sizes,
        "unit": args.unit,
        "memory_gb": args.memory_gb,
        "seed": args.seed,
        "cores": len(os.sched_getaffinity(0)),
        "load_after": os.getloadavg(),
        "versions": versions("duckdb", "ibis-framework", "numpy", "pyarrow"),
    }
    hand_out(result, args.json)


if __name__ == "__main__":
    main()
