"""What it costs to hold bytes against their recorded hashes, and what becomes of bytes that were changed on purpose.

python benchmarks/integrity.py [--events 10000000] [--flips 120] [--seed 0] [--json FILE]

`cost`: CPU seconds of ingest, validate and sequences on a simulated log, as processes of their own, and of what is
hashed meanwhile: sealing what was made, the first check, and a check of what was seen before. 0 events: not taken.

`flips`: a small shop from ingest to decision. Again and again a file of it is spoilt (a bit flipped, the end cut off,
bytes of another file of its folder put in its place, removed), its times set back in half of the cases, and whoever
reads it is run. `noticed`: an error in three parts that names the file; `harmless`: the same outputs as before;
`mended`: said, and the same outputs; `silent`: other outputs and exit code 0; `traceback`: anything else.
"""

import argparse
import contextlib
import io
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from outcome import hand_out, versions

from clickflow.params.file import check
from clickflow.params.schema import Params
from clickflow.system import integrity
from clickflow.system.errors import ClickflowError
from clickflow.system.files import sha256_folder
from clickflow.system.paths import Paths

ROOT = Path(__file__).resolve().parents[1]
MODEL = "next_step"


def workspace(folder: Path, events: int) -> tuple[Paths, Params]:
    """A workspace for a simulated log, with a small model that any gate lets through or holds, quickly."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    raw["simulator"]["events"] = events
    raw["units"], raw["models"] = ["session"], {MODEL: raw["models"][MODEL]}
    raw["champion"] = {MODEL: raw["champion"][MODEL]}
    raw["source"]["as_of"] = "2027-01-01T00:00:00"
    if events < 1_000_000:
        raw["simulator"] |= {"items": 60, "days": 10, "dirt": 0.01}
        model = raw["models"][MODEL]
        model["encoder"]["units"] = 8
        model["budget"] = {"epochs": 1}
        raw["evaluation"] |= {"bootstrap": 20, "baselines": ["popularity"], "action_baselines": ["majority"]}
        raw["gate"]["max_latency_ms"] = 10_000
    shutil.copytree(ROOT / "expectations", folder / "expectations", ignore=shutil.ignore_patterns("uncommitted"))
    shutil.copy(ROOT / "dvc.yaml", folder)
    (folder / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    return Paths(folder), check(raw)


def cpu(work: Callable[[], object], who: int = resource.RUSAGE_SELF) -> float:
    """CPU seconds of this process, or of the children that `work` waits for."""
    before = resource.getrusage(who)
    work()
    after = resource.getrusage(who)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cost(folder: Path, events: int) -> dict[str, Any]:
    """The stages' CPU seconds, and those of the check."""
    paths, _ = workspace(folder, events)
    stages = {}
    for words in (["ingest"], ["validate"], ["sequences", "session"]):
        command = [sys.executable, "-m", "clickflow.cli", *words]
        run = partial(subprocess.run, command, cwd=folder, check=True, capture_output=True)
        stages[words[0]] = cpu(run, resource.RUSAGE_CHILDREN)
    folders = [paths.events, paths.quarantine, paths.truth, paths.sequences("session")]
    time.sleep(0.1)  # what is younger is not remembered
    home = folder / "another home"
    sealing = sum(cpu(partial(integrity.seal, each)) for each in folders)
    first = cpu(lambda: integrity.verify(paths.events, home=home))
    again = cpu(lambda: integrity.verify(paths.events, home=home))
    total = sum(stages.values())
    hashed = sealing + first + again  # ingest and sequences seal; validate checks first, sequences again
    return {
        "events": events,
        "megabytes": {each.name: round(size(each) / 1e6, 1) for each in folders},
        "cpu_seconds": {name: round(value, 2) for name, value in stages.items()},
        "check_cpu_seconds": {"seal": round(sealing, 3), "first": round(first, 3), "again": round(again, 4)},
        "share_of_the_run": round(hashed / total, 4),
    }


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def readers(params: Params, paths: Paths) -> dict[str, tuple[Path, Callable[[], object]]]:
    """What is spoilt, and who reads it."""
    from clickflow.artefact import export
    from clickflow.evaluation import evaluate
    from clickflow.events import ingest, replay
    from clickflow.gate import stage as gate
    from clickflow.quality import validate
    from clickflow.registry import try_log
    from clickflow.sequences import prepare
    from clickflow.training import stage as train

    return {
        "events, by ingest": (paths.events, lambda: ingest.run(params, paths)),
        "events, by validate": (paths.events, lambda: validate.run(params, paths)),
        "events, by sequences": (paths.events, lambda: prepare.run(params, paths, "session")),
        "quarantine, by replay": (paths.quarantine, lambda: replay.run(params, paths, as_json=True)),
        "store, by train": (paths.sequences("session"), lambda: train.run(params, paths, MODEL)),
        "trained, by export": (paths.trained(MODEL), lambda: export.run(params, paths, MODEL)),
        "exported, by evaluate": (paths.exported(MODEL), lambda: evaluate.run(params, paths, MODEL)),
        "truth, by evaluate": (paths.truth, lambda: evaluate.run(params, paths, MODEL)),
        "evaluation, by gate": (paths.evaluation(MODEL), lambda: gate.run(params, paths, MODEL, try_log.record)),
        "decision, by its seal": (paths.gate(MODEL), lambda: integrity.verify(paths.gate(MODEL), home=paths.home)),
    }


def spoil(path: Path, how: str, rng: random.Random) -> None:
    """Change a file as a bad disk, a cut copy, or a wrong hand would."""
    data = bytearray(path.read_bytes())
    stat = path.stat()
    if how == "removed":
        path.unlink()
        return
    if how == "flipped" and data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif how == "cut":
        del data[rng.randrange(max(1, len(data))) :]
    else:
        others = [each for each in path.parent.iterdir() if each.is_file() and each != path]
        data = bytearray(rng.choice(others).read_bytes()) if others else data + b"\0"
    with path.open("r+b") as file:  # the same inode
        file.write(data)
        file.truncate()
    if rng.random() < 0.5:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def outcome(path: Path, run: Callable[[], object], paths: Paths, before: str) -> tuple[str, str]:
    """What became of it, and the first line said."""
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            run()
    except ClickflowError as error:
        named = path.name in str(error) and bool(error.kept and error.next_step)
        return ("noticed" if named else "unclear"), error.what
    except BaseException as error:  # whatever escapes is what a person would see
        return "traceback", repr(error)
    same = sha256_folder(paths.root / "data") + sha256_folder(paths.root / "models") == before
    if not same:
        return "silent", ""
    return ("mended", "") if "is missing" in output.getvalue() else ("harmless", "")


def flips(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """The campaign."""
    paths, params = workspace(folder, 6000)
    from clickflow.gate import stage
    from clickflow.registry import try_log

    every = readers(params, paths)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for name in ("events, by ingest", "events, by validate", "events, by sequences", "store, by train"):
            every[name][1]()
        for name in ("trained, by export", "exported, by evaluate"):
            every[name][1]()
        stage.run(params, paths, MODEL, try_log.record)
    kept = folder.with_name("kept")
    shutil.copytree(folder, kept)
    rng = random.Random(seed)
    table: dict[str, Counter[str]] = {name: Counter() for name in every}
    by_way: Counter[str] = Counter()
    examples: list[dict[str, str]] = []
    before = sha256_folder(paths.root / "data") + sha256_folder(paths.root / "models")
    for number in range(count):
        name = list(every)[number % len(every)]
        where, run = every[name]
        path = rng.choice(sorted(each for each in where.rglob("*") if each.is_file() and each.suffix != ".png"))
        how = rng.choices(["flipped", "cut", "swapped", "removed"], [6, 2, 1, 1])[0]
        spoil(path, how, rng)
        came, words = outcome(path, run, paths, before)
        table[name][came] += 1
        by_way[f"{how}: {came}"] += 1
        if came not in ("noticed", "mended"):
            examples.append({"file": str(path.relative_to(folder)), "how": how, "came": came, "words": words[:200]})
        for part in ("data", "models", "reports"):
            shutil.rmtree(folder / part)
            shutil.copytree(kept / part, folder / part)
    return {
        "count": count,
        "seed": seed,
        "outcomes": dict(sum(table.values(), Counter())),
        "by_kind": {name: dict(counts) for name, counts in table.items()},
        "by_way": dict(sorted(by_way.items())),
        "not_noticed": examples,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--flips", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result here, too")
    args = parser.parse_args()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["CLICKFLOW_HOME"] = f"{scratch}/home"
        os.environ["GX_ANALYTICS_ENABLED"] = "false"
        for name in ("cost", "flips"):
            Path(scratch, name).mkdir()
        if args.flips:
            result["flips"] = flips(Path(scratch, "flips"), args.flips, args.seed)
        if args.events:
            result["cost"] = cost(Path(scratch, "cost"), args.events)
    result |= {
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "versions": versions("duckdb", "numpy", "pyarrow"),
    }
    hand_out(result, args.json)


if __name__ == "__main__":
    main()
