"""What does scoring by partition cost, beside one file a head, and beside loading that file into a database by pandas?

    python benchmarks/score.py [--sequences 100000] [--items 1000] [--top 20] --json FILE

A random network (its answers cost what a trained one's do) scores a random store. Each way is a process of its own, on
one thread: `one_file` writes as clickflow did before (one Parquet file a head, 8,192 sequences at a time), `files` by
partition, `again` finds them there, `resumed` is killed with -9 in the middle and gone on with (its seconds: both
together), `sqlite` and `postgresql` write tables, `pandas_*` load `one_file` by `DataFrame.to_sql` as a shop's own
script would. Of each: seconds, those of the processor (with imports, without a server's), sequences and rows a second,
the largest memory; of `resumed` whether the bytes are
those of `files`. PostgreSQL is started on loopback where its binaries are; its fsync is off, as SQLite's is not.
"""

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/model"), str(ROOT / "tests/platform")]

WHO = {"model": "next_step", "version": 1}
URL = "CLICKFLOW_SCORE_URL"
OLD = 1 << 13
"""Sequences of a chunk, before."""


def prepare(folder: Path, sequences: int, items: int) -> None:
    """A store and an exported network in `folder`."""
    import small_models as small

    from clickflow.artefact import export
    from clickflow.params.file import load
    from clickflow.system.paths import Paths

    small.ITEMS, small.KNOWN = items, items - 4
    paths = Paths(folder)
    small.shop(paths.sequences("session"), test=sequences - 340)
    small.trained(paths.trained("next_step"), paths.sequences("session"), small.spec())
    export.run(load(ROOT / "params.yaml"), paths, "next_step")


def one_file(artefact: Any, store: Path, out: Path, top: int) -> None:
    """The way before: chunk by chunk into one file a head."""
    from pyarrow import parquet

    from clickflow.sequences.store import read_card
    from clickflow.serving import batch

    out.mkdir()
    card = read_card(store)
    answering = batch._Answering.of(artefact, store, card, top)
    with contextlib.ExitStack() as held:
        writers = {
            name: held.enter_context(parquet.ParquetWriter(out / name, schema, compression="zstd"))
            for name, schema in answering.schemas().items()
        }
        every = set(range(sum(-(-part.sequences // OLD) for part in card.splits.values())))
        for chunk in batch._chunks(store, None, OLD, every):
            assert chunk is not None
            for name, table in answering.tables(chunk).items():
                writers[name].write_table(table, row_group_size=len(table) or None)


def by_pandas(file: Path, url: str) -> None:
    """A file into a table, 10,000 rows at a time."""
    import pandas as pd
    import sqlalchemy as sa

    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    for path in sorted(file.glob("*.parquet")):
        pd.read_parquet(path).to_sql(path.stem, engine, if_exists="replace", index=False, chunksize=10_000)


def one(way: str, folder: Path, top: int) -> dict[str, Any]:
    """A way, in this process."""
    from clickflow.artefact.artefact import load
    from clickflow.params.score import Score
    from clickflow.serving import batch, score_database, tables
    from clickflow.serving.folder import Folder
    from clickflow.system.paths import Paths

    paths = Paths(folder)
    artefact, store = load(paths.exported("next_step"), threads=1), paths.sequences("session")
    started = time.perf_counter()
    if way == "one_file":
        one_file(artefact, store, folder / "one_file", top)
    elif way.startswith("pandas"):
        by_pandas(folder / "one_file", os.environ[URL])
    else:
        out = folder / ("files" if way == "again" else way)
        sql = way in ("sqlite", "postgresql")
        engine = score_database.connect(Score()) if sql else None
        opening: list[Any] = [lambda b: tables.Tables(engine, Score(), b)] if engine else [lambda b: Folder(out, b)]
        batch.write(artefact, store, opening, who=WHO, top=top, since_hours=None)
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    cpu = used.ru_utime + used.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu, "memory_mb": int(peak.split()[1]) / 1024}


def process(way: str, folder: Path, top: int, env: dict[str, str], kill: float = 0) -> dict[str, Any]:
    """A way, in a process of its own; `kill`: after so many seconds of work."""
    words = [sys.executable, __file__, "--way", way, "--folder", str(folder), "--top", str(top)]
    child = subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1", **env}, stdout=subprocess.PIPE)
    if kill:
        manifest = folder / f".{way}.partial/manifest.jsonl"
        while not manifest.exists() and child.poll() is None:
            time.sleep(0.01)
        time.sleep(kill)
        child.send_signal(signal.SIGKILL)
        child.wait()
        if not manifest.exists():
            raise SystemExit(f"{way} was done before it was killed: ask for more --sequences")
        done = len(manifest.read_text().splitlines()) - 1
        return {"seconds": kill, "partitions": done}
    output, _ = child.communicate()
    if child.returncode:
        raise SystemExit(f"{way} ended with {child.returncode}")
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


@contextlib.contextmanager
def databases(folder: Path) -> Iterator[dict[str, str]]:
    """URLs by kind."""
    import postgres_server

    urls = {"sqlite": f"sqlite:///{folder}/scores.sqlite"}
    if not sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        yield urls
        return
    with postgres_server.running() as server:
        yield {**urls, "postgresql": server.url}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--top", type=int, default=20)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        sys.stdout.write(json.dumps(one(args.way, args.folder, args.top)) + "\n")
        return
    from clickflow.system.files import sha256_folder

    with tempfile.TemporaryDirectory() as name, databases(Path(name)) as urls:
        folder, ways = Path(name), dict[str, dict[str, Any]]()
        prepare(folder, args.sequences, args.items)
        for way in ("one_file", "files", "again"):
            ways[way] = process(way, folder, args.top, {})
        first = process("resumed", folder, args.top, {}, kill=ways["files"]["seconds"] / 2)
        ways["resumed"] = process("resumed", folder, args.top, {})
        ways["resumed"] |= {
            "seconds": ways["resumed"]["seconds"] + first["seconds"],
            "partitions_kept": first["partitions"],
            "same_bytes": sha256_folder(folder / "resumed") == sha256_folder(folder / "files"),
        }
        for kind, url in urls.items():
            ways[kind] = process(kind, folder, args.top, {URL: url})
            ways[f"pandas_{kind}"] = process(f"pandas_{kind}", folder, args.top, {URL: url})
    rows = args.sequences * (args.top + 1)
    for values in ways.values():
        values |= {
            "sequences_per_second": args.sequences / values["seconds"],
            "rows_per_second": rows / values["seconds"],
        }
    result = {"sequences": args.sequences, "items": args.items, "top": args.top, "rows": rows, "ways": ways}
    text = json.dumps(result, indent=2)
    if args.json:
        args.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
