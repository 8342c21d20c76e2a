"""Is every malformed file read, or refused in words: never a traceback, a hang, a lost row or half an output?

python benchmarks/fuzz.py --seeds 0:1000 [--formats csv parquet …] [--jobs 2] --json FILE

Each file of `malformed.py` is ingested in a workspace of its own by a worker process (memory and time limited); what is
wrong is listed with format and seed, and seen again by `python benchmarks/fuzz.py --formats csv --seeds 7:8`.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from malformed import FORMATS, good, malformed, params
from outcome import hand_out, versions

ROOT = Path(__file__).resolve().parents[1]
BATCH = 200
SECONDS = 20.0
"""Of processor time for one file; longer is a hang."""
WAIT = 300.0
"""Likewise of waiting for a worker."""
MEMORY = 6 << 30
"""Bytes of address space a worker has."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0:100", help="FIRST:LAST, for each format")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=FORMATS)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    first, last = map(int, args.seeds.split(":"))
    if args.worker:
        work(args.formats[0], first, last)
        return
    started = time.monotonic()
    tasks = [(kind, at, min(at + BATCH, last)) for at in range(first, last, BATCH) for kind in args.formats]
    lines: list[dict[str, Any]] = []
    lock = threading.Lock()

    def drain() -> None:
        while True:
            with lock:
                if not tasks:
                    return
                task = tasks.pop(0)
            for line in batch(*task):
                with lock:
                    lines.append(line)
                    if line["outcome"] not in ("read", "refused"):
                        print(json.dumps(line), file=sys.stderr, flush=True)

    threads = [threading.Thread(target=drain) for _ in range(args.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hand_out(summary(lines, args.seeds, time.monotonic() - started), args.json)


def summary(lines: list[dict[str, Any]], seeds: str, seconds: float) -> dict[str, Any]:
    """Counts by format, and all that is wrong."""
    formats = {
        kind: dict(sorted(Counter(line["outcome"] for line in lines if line["format"] == kind).items()))
        for kind in dict.fromkeys(line["format"] for line in lines)
    }
    return {
        "files": len(lines),
        "seeds": seeds,
        "formats": formats,
        "slowest_seconds": round(max((line.get("seconds", 0.0) for line in lines), default=0), 2),
        "wrong": [line for line in lines if line["outcome"] not in ("read", "refused")],
        "seconds": round(seconds, 1),
        "versions": versions("pyarrow", "duckdb", "orjson"),
    }


def batch(kind: str, first: int, last: int) -> Iterator[dict[str, Any]]:
    """The outcomes of some seeds; a worker that hangs or crashes is replaced, and goes on with the next seed."""
    while first < last:
        command = [sys.executable, __file__, "--worker", "--formats", kind, "--seeds", f"{first}:{last}"]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
        assert worker.stdout is not None
        assert worker.stderr is not None
        lines: list[str] = []
        listener = threading.Thread(target=lambda stream=worker.stderr, to=lines: to.extend(stream))
        listener.start()
        hung = threading.Event()
        while True:
            timer = threading.Timer(WAIT, end, [worker, hung])
            timer.start()
            line = worker.stdout.readline()
            timer.cancel()
            if not line:
                break
            yield json.loads(line)
            first += 1
        code = worker.wait()
        listener.join()
        if first < last:
            outcome = "hang" if hung.is_set() else "crash"
            yield {"format": kind, "seed": first, "outcome": outcome, "code": code, "why": "".join(lines[-3:])[-400:]}
            first += 1


def end(worker: "subprocess.Popen[str]", hung: threading.Event) -> None:
    """A worker said nothing for too long."""
    hung.set()
    worker.kill()


def work(kind: str, first: int, last: int) -> None:
    """Ingest files, one line of JSON for each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        os.environ["CLICKFLOW_HOME"] = str(Path(folder) / "home")
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115, as long as the process
        for seed in range(first, last):
            started = time.process_time()
            line = attempt(kind, seed, Path(folder) / "w")
            seconds = time.process_time() - started
            if seconds > SECONDS:
                line["outcome"] = "hang"
            print(json.dumps({"format": kind, "seed": seed, "seconds": round(seconds, 3), **line}), flush=True)


def attempt(kind: str, seed: int, root: Path) -> dict[str, Any]:
    """What becomes of one file."""
    from clickflow.events.ingest import ingest
    from clickflow.params.file import check, load
    from clickflow.system import faults
    from clickflow.system.errors import ClickflowError
    from clickflow.system.paths import Paths

    shutil.rmtree(root, ignore_errors=True)
    (root / "log").mkdir(parents=True)
    paths = Paths(root)
    if kind == "params":
        file, file_path = params(_params(), seed), paths.params
        (root / "log/log.csv").write_bytes(good())
    else:
        file = malformed(kind, seed)
        file_path = root / "log" / file.name
    file_path.write_bytes(file.data)
    before = listing(root)
    try:
        card = ingest(load(paths.params) if kind == "params" else check(_raw(file.source)), paths)
    except ClickflowError as error:
        wrong = refusal(error, file_path) or ("outputs were left" if listing(root) != before else "")
        return {"outcome": wrong or "refused", "done": file.done, "why": error.what[:300]}
    except BaseException as error:
        known = faults.as_error(error)
        where = "".join(traceback.format_exception(error)[-6:])[-1500:]
        return {"outcome": "traceback" if known is None else "no file named", "done": file.done, "why": where}
    wrong = balance(card, paths) or ("a file that is cut off was read" if file.must_fail else "")
    return {"outcome": wrong or "read", "done": file.done, "why": json.dumps(card["reasons"]) if wrong else ""}


@cache
def _params() -> str:
    """The repository's params.yaml, for a folder of files."""
    from clickflow.params.patch import apply

    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    changes = {"kind": "files", "path": "log", "as_of": "2026-06-01T00:00:00"}
    return apply(text, {f"source.{name}": value for name, value in changes.items()})


@cache
def _parsed() -> Any:
    import yaml

    return yaml.safe_load(_params())


def _raw(source: Mapping[str, Any]) -> dict[str, Any]:
    """Those params with another `source`."""
    return {**_parsed(), "source": {**_parsed()["source"], **source}}


def listing(root: Path) -> dict[str, int]:
    """Every file below a folder with its size, locks left out."""
    return {str(p): p.stat().st_size for p in root.rglob("*") if p.is_file() and not p.name.endswith(".lock")}


def refusal(error: Any, path: Path) -> str:
    """What an error lacks."""
    text = "\n".join(error.lines())
    if not error.kept or not error.next_step:
        return "an error without what was kept, or what to do"
    if not any(name in text for name in (path.name, "source.", "the 1 files", "files of source.path")):
        return "an error that names no file"
    return "" if len(text) < 20_000 and "Traceback" not in text else "an error without end"


def balance(card: dict[str, Any], paths: Any) -> str:
    """What does not add up in what was written."""
    import pyarrow.parquet as pq

    if card["read"] != card["accepted"] + card["quarantined"] + card["ignored"]:
        return "rows are lost"
    days = [pq.read_metadata(path).num_rows for path in paths.events.glob("day=*/events.parquet")]
    if sum(days) != card["accepted"]:
        return "accepted rows are not there"
    kept = pq.read_metadata(paths.quarantine / "quarantine.parquet").num_rows
    return "" if kept == card["quarantined"] else "quarantined rows are not there"


if __name__ == "__main__":
    main()
