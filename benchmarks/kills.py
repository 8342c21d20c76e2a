"""What is left when a stage or a verb is killed, and does the next run end where an undisturbed one does?

python benchmarks/kills.py [--kills 5] [--kinds ingest promote train@stock …] [--shop FOLDER] [--seed 0] --json FILE

A small shop in a clone of this repository, with a home of its own; where a stage of customers or series is among the
kinds, it has a model of each, and a verb is asked of all of them. Each stage (`dvc repro STAGE`) and each verb that
changes what is kept is started as a person starts it, its whole process group killed with SIGKILL at a random moment,
and run again as a person would. `equal`: the second run ends well, and what counts is as in the undisturbed run: of a
stage dvc.lock, byte by byte; of promote and rollback the ledger's lines and the champion; of forget the events, and no
byte of the person anywhere; of rotate-key the metrics of a model trained anew; of score the files, or the rows of the
tables. `left`: files that the undisturbed run does not leave. Where DVC's own lock was cut short, `clickflow doctor`
is run first (`mended by`). `--shop`: a finished shop that benchmarks/flips.py has kept, from which a stage is taken
back before it is killed, in place of one that is made. A kill that came after the end is made again, earlier.
"""

import argparse
import difflib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from outcome import hand_out, versions

ROOT = Path(__file__).resolve().parents[1]
MODEL = "next_step"
STAGES = ("ingest", "validate", "sequences", "train", "export", "evaluate", "gate")
OF = {"sequences": "session", **dict.fromkeys(STAGES[3:], MODEL)}
OTHERS = {"customer": "customers", "series": "stock"}
"""By unit, its model."""
WIDE = tuple(
    f"{stage}@{unit if stage == 'sequences' else model}" for unit, model in OTHERS.items() for stage in STAGES[2:]
)
LOAD = "from clickflow.events.pseudonyms import load_key"
EARLIEST = 0.15
"""Of the time that the undisturbed run takes: before it nothing but Python has started."""
SCRATCH = re.compile(
    r"(^|/)(\.git|cache|tmp|mlruns|mlartifacts|tensorboard|__pycache__)(/|$)|\.lock$|/verified|\.db-(wal|shm)$"
)
"""Where names differ from run to run."""


@dataclass(frozen=True)
class Shop:
    """`folder` with the clone `shop` and its `home`; `kept` holds it as it was before each kind."""

    folder: Path
    kept: Path

    @property
    def root(self) -> Path:
        """The checkout."""
        return self.folder / "shop"

    @property
    def home(self) -> Path:
        """CLICKFLOW_HOME."""
        return self.folder / "home"

    def env(self) -> dict[str, str]:
        """Nothing of this leaves the folder."""
        own = {
            "CLICKFLOW_HOME": str(self.home),
            "DVC_SITE_CACHE_DIR": str(self.folder.with_name("dvc")),
            "CLICKFLOW_SCORE_URL": f"sqlite:///{self.folder}/predictions.sqlite",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "GX_ANALYTICS_ENABLED": "false",
            "OMP_NUM_THREADS": "1",
        }
        return {**os.environ, **own}

    def keep(self, name: str) -> None:
        """As it is now, under a name."""
        shutil.rmtree(self.kept / name, ignore_errors=True)
        self.kept.mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", self.folder, self.kept / name], check=True)

    def put_back(self, name: str) -> None:
        """As it was then, where it was."""
        shutil.rmtree(self.folder)
        subprocess.run(["cp", "-a", self.kept / name, self.folder], check=True)

    def start(self, words: tuple[str, ...]) -> "subprocess.Popen[str]":
        """A command in a process group of its own, which can be killed whole."""
        say = subprocess.PIPE
        return subprocess.Popen(
            words,
            cwd=self.root,
            env=self.env(),
            stdout=say,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str) -> str:
        """A command that must end well: what it said. Raises RuntimeError with it."""
        process = self.start(words)
        output, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{' '.join(words)}: exit code {process.returncode}\n{output[-1500:]}")
        return output

    def listing(self) -> set[str]:
        """Every file, but those whose names are no two runs' same."""
        every = (str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())
        return {
            re.sub(r"[0-9a-f]{16,}|\d{8}T?\d+|\d{4}-\d\d-\d\d\S*", "*", name)
            for name in every
            if not SCRATCH.search(name)
        }


class Finished(Shop):
    """One of which a state before a stage is had by taking that stage back: outputs, lock, checkpoints, run cache."""

    def put_back(self, name: str) -> None:
        """As `Shop`."""
        super().put_back("finished")
        # what DVC remembers of files by inode and time is of copies that are gone
        shutil.rmtree(self.folder.with_name("dvc"), ignore_errors=True)
        stage = name.removeprefix("before ")
        if stage == name:
            return
        stage = f"{stage}@{OF[stage]}" if stage in OF else stage
        lock = self.root / "dvc.lock"
        content = yaml.safe_load(lock.read_text(encoding="utf-8"))
        for out in content["stages"].pop(stage)["outs"]:
            path = self.root / out["path"]
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        lock.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        for folder in (self.root / ".dvc/cache/runs", self.home / "checkpoints"):
            shutil.rmtree(folder, ignore_errors=True)


def bare_shop(folder: Path, seed: int, *, wide: bool = False) -> Shop:
    """The clone, its params and raw files, nothing run. `wide`: with models of customers and of series."""
    shop = Shop(folder / "at", folder / "kept")
    shop.folder.mkdir()
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(shop.root)], check=True)
    raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    raw["source"] = {"kind": "files", "path": "data/raw", "as_of": "2027-01-01T00:00:00"}
    raw["units"], raw["models"], raw["champion"] = ["session"], {MODEL: raw["models"][MODEL]}, {MODEL: 0}
    raw["models"][MODEL]["encoder"]["units"] = 16
    raw["models"][MODEL]["budget"] = {"epochs": 2, "checkpoint_seconds": 1}
    raw["evaluation"] |= {"bootstrap": 100, "baselines": ["popularity"], "action_baselines": ["majority"]}
    raw["gate"] |= {"floors": {}, "max_latency_ms": 10_000, "beat_baselines": {}, "min_slice": 5}
    raw["quality"] |= {"max_quarantine_share": 0.5}
    if wide:
        raw["units"] += list(OTHERS)
        raw["models"]["customers"] = {"unit": "customer", "kind": "logistic", "heads": {"churn": {}}}
        raw["models"]["stock"] = {"unit": "series", "kind": "forecast", "heads": {"demand": {}}}
        raw["champion"] |= dict.fromkeys(OTHERS.values(), 0)
        raw["sequences"]["customer"] = {"horizon_days": 3, "every_days": 2}
        raw["sequences"]["series"] = {"level": "category", "horizon": 3, "every": 2, "least_sales": 2}
    (shop.root / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    days = "40" if wide else "10"
    shop.run("clickflow", "simulate", "--events", "12000", "--seed", str(seed), "--days", days, "--out", "../log")
    for file in (shop.folder / "log").glob("*.csv"):
        shutil.copy(file, shop.root / "data/raw")
    shutil.rmtree(shop.folder / "log")
    # each ingest of a home without a key makes another one
    shop.run(sys.executable, "-c", f"from pathlib import Path; {LOAD}; load_key(Path({str(shop.home)!r}))")
    git = ("git", "-c", "user.name=shop", "-c", "user.email=shop@localhost")
    shop.run(*git, "commit", "--quiet", "--all", "--message", "the shop")
    return shop


def somebody(shop: Shop) -> str:
    """A customer of the raw files, of a long name."""
    import csv

    with sorted((shop.root / "data/raw").glob("*.csv"))[0].open(encoding="utf-8", newline="") as file:
        names = Counter(row["user_id"] for row in csv.DictReader(file) if row.get("user_id"))
    return max((name for name, count in names.items() if 3 < count < 60), key=len)


def parsed(shop: Shop, *words: str) -> Any:
    """The JSON that a verb prints, whatever it says before."""
    text = shop.run("clickflow", *words, "--json")
    return json.loads(text[text.index("{") :])


def lock(shop: Shop) -> Any:
    """dvc.lock, byte by byte."""
    return (shop.root / "dvc.lock").read_text(encoding="utf-8")


def ledger(shop: Shop) -> Any:
    """What the ledger's lines did, and who is champion by status, which checks hashes, signatures, git and MLflow."""
    lines = [json.loads(line) for line in (shop.home / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]
    names = ("action", "model", "version", "champion", "previous")
    models = parsed(shop, "status")["models"]
    standing = {model: (each["champion"] or {}).get("version") for model, each in models.items()}
    return [[line[name] for name in names] for line in lines], standing


def events(shop: Shop) -> Any:
    """The hash of each day's events, and of the raw files; and where a byte of the person is left."""
    days = sorted((shop.root / "data/events").glob("day=*/*"))
    raw = sorted((shop.root / "data/raw").glob("*.csv"))
    name = (shop.folder / "somebody").read_text(encoding="utf-8").encode()
    every = [path for path in shop.folder.rglob("*") if path.is_file() and path.name != "somebody"]
    left = [str(path.relative_to(shop.folder)) for path in every if name in path.read_bytes()]
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in (*days, *raw)}, left


def metrics(shop: Shop) -> Any:
    """Of a model trained anew on what is there now: another key gives the same metrics; and the rows by day."""
    shop.run("dvc", "repro", "--quiet", f"evaluate@{MODEL}")
    counts = json.loads((shop.root / "reports/ingest.json").read_text(encoding="utf-8"))
    return (shop.root / f"reports/{MODEL}/metrics.json").read_text(encoding="utf-8"), counts["accepted"]


def files(shop: Shop) -> Any:
    """The hash of each file of predictions."""
    folder = shop.root / "predictions"
    every = [path for path in folder.rglob("*.parquet") if path.is_file()]
    parts = {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in every}
    assert parts, "nothing was scored"
    return parts


def rows(shop: Shop) -> Any:
    """The rows of each table of predictions, and how many lines tell of them."""
    with closing(sqlite3.connect(shop.folder / "predictions.sqlite")) as con:
        contents = {}
        for (name,) in con.execute("select name from sqlite_master where type = 'table' order by 1").fetchall():
            every = con.execute(f'select * from "{name}"').fetchall()
            plain = "score_" in name  # lines carry the time
            contents[name] = len(every) if plain else sha256(repr(sorted(map(repr, every))).encode()).hexdigest()
    return contents


@dataclass(frozen=True)
class Kind:
    """A command, the state it starts from, and what is compared afterwards."""

    words: tuple[str, ...]
    before: str
    seen: Callable[[Shop], Any]


def kinds(somebody: str, *, wide: bool = False) -> dict[str, Kind]:
    """By name. `wide`: of a shop with all its models, of which verbs are then asked."""
    stages = {
        name: Kind(("dvc", "repro", f"{name}@{OF[name]}" if name in OF else name), f"before {name}", lock)
        for name in (*STAGES, *(WIDE if wide else ()))
    }
    score = ("clickflow", "score", MODEL, "--all")
    verbs = {
        "promote": Kind(("clickflow", "promote", *(() if wide else (MODEL,))), "judged", ledger),
        "rollback": Kind(("clickflow", "rollback", MODEL, "--to", "0", "--reason", "a trial"), "promoted", ledger),
        "forget": Kind(("clickflow", "forget", "--", somebody), "promoted", events),
        "rotate-key": Kind(("clickflow", "rotate-key"), "judged", metrics),
        "score, files": Kind((*score, "--out", "predictions"), "promoted", files),
        "score, tables": Kind((*score, "--sql"), "promoted", rows),
    }
    return {**stages, **verbs}


def undisturbed(shop: Shop, every: Mapping[str, Kind], chosen: list[str]) -> dict[str, dict[str, Any]]:
    """Each kind once, and the states kept: what is seen then, the files, the seconds."""
    outcomes: dict[str, dict[str, Any]] = {}
    if isinstance(shop, Finished):
        for name in chosen:
            shop.put_back(every[name].before)
            started = time.monotonic()
            shop.run(*every[name].words)
            outcomes[name] = {"seconds": time.monotonic() - started, "files": shop.listing()}
            outcomes[name]["seen"] = every[name].seen(shop)
        return outcomes

    def once(name: str) -> None:
        started = time.monotonic()
        shop.run(*every[name].words)
        seconds = time.monotonic() - started
        here = shop.listing()
        if name in chosen:
            shop.keep("meanwhile")
            outcomes[name] = {"seen": every[name].seen(shop), "files": here, "seconds": seconds}
            shop.put_back("meanwhile")

    stages = [name for name in every if every[name].words[0] == "dvc"]
    for name in stages:
        shop.keep(f"before {name}")
        once(name)
    shop.keep("judged")
    once("promote")
    shop.keep("promoted")
    for name in every:
        if name not in (*stages, "promote") and name in chosen:
            shop.put_back(every[name].before)
            once(name)
    return outcomes


def kill(shop: Shop, name: str, kind: Kind, whole: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    """Killed, run again, compared."""
    line: dict[str, Any] = {"kind": name}
    share = 1.0
    while True:
        shop.put_back(kind.before)
        after = whole["seconds"] * rng.uniform(EARLIEST, share)
        process = shop.start(kind.words)
        try:
            process.communicate(timeout=after)
            share = max(share * 0.9, 2 * EARLIEST)  # it had ended
            line["too late"] = line.get("too late", 0) + 1
            continue
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        line["after seconds"] = round(after, 2)
        break
    try:
        shop.run(*kind.words)
    except RuntimeError as error:
        # what a kill after the last effect leaves is done: a verb may say so, and refuse
        line["again"] = str(error)[-600:]
        if "rwlock" in str(error):  # DVC's own, written in place: `clickflow doctor` removes it
            shop.start(("clickflow", "doctor")).communicate()
            shop.run(*kind.words)
            line["mended by"] = "clickflow doctor"
    left = sorted(shop.listing() - whole["files"])
    line |= {"left": left} if left else {}
    try:
        seen = kind.seen(shop)
        equal = seen == whole["seen"]
        if not equal and isinstance(seen, str):
            line["differs"] = list(difflib.unified_diff(whole["seen"].splitlines(), seen.splitlines(), n=0))
    except (RuntimeError, OSError, ValueError, KeyError, AssertionError) as error:
        return {**line, "outcome": "broken", "why": str(error)[-600:]}
    return {**line, "outcome": "equal" if equal else "another"}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(kinds("", wide=True))
    parser.add_argument("--kills", type=int, default=5, help="of each kind")
    narrow = [name for name in names if name not in WIDE]
    parser.add_argument("--kinds", nargs="+", default=narrow, choices=names)
    parser.add_argument("--seconds", type=float, default=1e9, help="no kill is begun after so many")
    parser.add_argument("--shop", type=Path, help="a finished one, that flips.py --shop has kept")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rng, started, lines = random.Random(args.seed), time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="kills") as scratch:
        wide = args.shop is not None or any(kind in WIDE for kind in args.kinds)
        if args.shop:
            shop: Shop = Finished(args.shop / "at", args.shop / "kept")
            shop.put_back("finished")
        else:
            shop = bare_shop(Path(scratch), args.seed, wide=wide)
        name = somebody(shop)
        for folder in [shop.folder, *([shop.kept / "finished"] if args.shop else [])]:
            (folder / "somebody").write_text(name, encoding="utf-8")
        every = kinds(name, wide=wide)
        whole = undisturbed(shop, every, args.kinds)
        for _ in range(args.kills):
            for kind in args.kinds:
                if time.monotonic() - started > args.seconds:
                    break
                lines.append(kill(shop, kind, every[kind], whole[kind], rng))
                print(json.dumps(lines[-1]), file=sys.stderr, flush=True)
    table = {kind: dict(Counter(line["outcome"] for line in lines if line["kind"] == kind)) for kind in args.kinds}
    result = {
        "kills": len(lines),
        "seed": args.seed,
        "undisturbed_seconds": {kind: round(whole[kind]["seconds"], 1) for kind in args.kinds},
        "outcomes": table,
        "left": sum("left" in line for line in lines),
        "not_plain": [line for line in lines if line["outcome"] != "equal" or "left" in line or "again" in line],
        "seconds": round(time.monotonic() - started),
        "cores": len(os.sched_getaffinity(0)),
        "versions": versions("dvc", "mlflow", "torch"),
    }
    hand_out(result, args.json)


if __name__ == "__main__":
    main()
