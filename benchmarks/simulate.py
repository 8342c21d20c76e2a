"""How many events a second does the simulator write on one core, and in how much memory?

Each measurement is a process of its own, bound to one core, writing log and truth into a fresh folder; import and start
of Python are not counted, building the shop and all writing are. Prints one JSON: for every size, format and with or
without truth, events/s by the clock and by the core's time (they differ where the core was shared), and the peak of
resident memory.

    python benchmarks/simulate.py --json FILE [--sizes 1000000,10000000] [--formats csv,parquet] [--repeat 3] [--core 0]
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from outcome import hand_out, versions

PROGRAM = """
import json, os, resource, sys, time
os.sched_setaffinity(0, {int(sys.argv[5])})
from dataclasses import replace
from pathlib import Path
import pyarrow
from clickflow.sources.simulator import simulate
pyarrow.set_cpu_count(1)
out = Path(sys.argv[1])
settings = replace(simulate.DEFAULTS, events=int(sys.argv[2]))
wall, core = time.perf_counter(), time.process_time()
card = simulate.simulate(settings, out, fmt=sys.argv[3], truth=sys.argv[4] == "truth")
wall, core = time.perf_counter() - wall, time.process_time() - core
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
print(json.dumps({"events": card["events"], "wall": wall, "core": core, "peak": peak, "bytes": size}))
"""


def measure(events: int, fmt: str, truth: bool, core: int) -> dict[str, Any]:
    """One run in a process of its own."""
    folder = Path(tempfile.mkdtemp(prefix="simulate-"))
    try:
        arguments = [str(folder), str(events), fmt, "truth" if truth else "bare", str(core)]
        done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], check=True, capture_output=True, text=True)
    finally:
        shutil.rmtree(folder)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The median and the best of some runs."""
    by_clock = [run["events"] / run["wall"] for run in runs]
    by_core = [run["events"] / run["core"] for run in runs]
    return {
        "events": runs[0]["events"],
        "events_per_second": round(median(by_clock)),
        "events_per_second_best": round(max(by_clock)),
        "events_per_core_second": round(median(by_core)),
        "events_per_core_second_best": round(max(by_core)),
        "peak_memory_mb": round(max(run["peak"] for run in runs) / 1e6),
        "bytes_per_event": round(runs[0]["bytes"] / runs[0]["events"], 1),
        "runs": len(runs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--sizes", default="1000000,10000000")
    parser.add_argument("--formats", default="csv,parquet")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)))
    args = parser.parse_args()

    results = []
    for events in (int(size) for size in args.sizes.split(",")):
        for fmt in args.formats.split(","):
            for truth in (True, False):
                runs = [measure(events, fmt, truth, args.core) for _ in range(args.repeat)]
                results.append({"format": fmt, "truth": truth, **summary(runs)})
                print(json.dumps(results[-1]), file=sys.stderr)
    report = {
        "benchmark": "simulate",
        "versions": versions("numpy", "pyarrow"),
        "hardware": {"processor": platform.processor() or platform.machine(), "cores_used": 1},
        "load_before": round(os.getloadavg()[0], 1),
        "results": results,
    }
    hand_out(report, args.json)


if __name__ == "__main__":
    main()
