"""What becomes of a flipped bit, in any file that a verb reads?

python benchmarks/flips.py [--flips 200] [--verbs status promote …] [--only home/mlflow.db …] [--seed 0] --json FILE

A small shop of sessions, customers and series (`kills.bare_shop`), every stage run, champions, predictions in files and
tables, a log of answers, a forgotten person. Which files a verb reads is what strace sees it open. Again and again one
bit of one of these is flipped, its times set back, the verb run, and all put back. `noticed`: an error in three parts
that names the file, or its folder; `said`: the same results, and a word of the file; `harmless`: the same results;
`unclear`: an error that names no file; `traceback`: an error of this program; `silent`: other results, exit code 0, and
nothing said of the file; `long`: no end within two minutes.
"""

import argparse
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import import_module
from pathlib import Path

import kills
from outcome import hand_out, versions

from clickflow.system import integrity

MODELS = (kills.MODEL, *kills.OTHERS.values())
LONGEST = 120
VERBS: dict[str, tuple[str, ...]] = {
    "status": ("status", "--json"),
    "promote": ("promote", "--json"),
    "rollback": ("rollback", kills.MODEL, "--to", "0", "--reason", "a trial", "--json"),
    "open": ("open", "--json"),
    **{f"score {model}": ("score", model, "--json") for model in MODELS},
    "score, files": ("score", kills.MODEL, "--all", "--out", "predictions"),
    "score, tables": ("score", kills.MODEL, "--all", "--sql"),
    "explain": ("explain", kills.MODEL, "--json"),
    "watch": ("watch", "--json"),
    "live": ("live", "--json"),
    "anomalies": ("anomalies", kills.MODEL, "--out", "anomalies"),
    "profiles": ("profiles", "--out", "profiles", "--segments", "3"),
    "demand": ("demand", "--level", "shop", "--horizon", "3", "--lead-time", "1", "--every", "2", "--out", "demand"),
    "runs": ("runs", "--json"),
    "prune": ("prune", "--dry-run", "--json"),
    "ingest": ("ingest",),
    "replay": ("replay", "--json"),
    "validate": ("validate",),
    **{f"sequences {unit}": ("sequences", unit) for unit in ("session", *kills.OTHERS)},
    **{f"{verb} {model}": (verb, model) for model in MODELS for verb in ("train", "export", "evaluate", "gate")},
}
VOLATILE = re.compile(
    r"(^|/)(\.git|\.dvc|faults|verified|tensorboard|__pycache__)(/|$)|\.lock$|hashes\.sqlite|-(wal|shm|journal)$"
)


@dataclass
class Verb:
    """What it reads, and what undisturbed runs leave and say, all of them the same."""

    reads: list[Path] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def finished(shop: kills.Shop) -> None:
    """All stages, and what verbs leave."""
    shop.run("dvc", "repro", "--quiet")
    shop.run("clickflow", "promote")
    shop.run("clickflow", "open")
    for name in ("score, files", "score, tables", "watch", "anomalies", "profiles", "demand"):
        shop.run("clickflow", *VERBS[name])
    shop.run(sys.executable, "-c", LIVE.format(home=str(shop.home)))


LIVE = """
from pathlib import Path
from clickflow.online.live.log import Log, place
log = Log(place(Path({home!r})))
for at in range(200):
    log.put("answers", request=f"r{{at}}", session_id=f"s{{at % 9}}", model="next_step", version=1, arm="champion",
            test=0, output="next_item", kind="ranking", steps=3, labels=[f"i{{at % 7}}", "i9"], scores=[0.5, 0.25],
            plain=True, seconds=0.01)
    log.put("outcomes", kind="step", session_id=f"s{{at % 9}}", item=f"i{{at % 5}}", action="view", time=at)
log.stop()
"""


def forked(shop: kills.Shop, words: tuple[str, ...], env: Mapping[str, str]) -> tuple[int | None, str, str]:
    """A verb in a child of this process, which has the libraries: exit code (None: no end), stdout, stderr."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            code = 1
            try:
                os.setsid()
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                os.environ.update(env)
                os.chdir(shop.root)
                sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), "utf-8", line_buffering=True)
                sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), "utf-8", line_buffering=True)
                sys.argv = ["clickflow", *words]
                from clickflow import cli

                cli.main()
                code = 0
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        began, status = time.monotonic(), None
        while status is None and time.monotonic() - began < LONGEST:
            pid, waited = os.waitpid(child, os.WNOHANG)
            status = waited if pid else None
            time.sleep(0.01)
        if status is None:
            os.killpg(child, 9)
            os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        output = (out.read().decode("utf-8", "replace"), err.read().decode("utf-8", "replace"))
        return (None if status is None else os.waitstatus_to_exitcode(status)), *output


HASHED: dict[integrity.Marks, str] = {}


def listing(shop: kills.Shop) -> dict[str, str]:
    """The hash of every file that is to be the same after the same command."""
    digests = {}
    for path in shop.folder.rglob("*"):
        name = str(path.relative_to(shop.folder))
        if path.is_file() and not path.is_symlink() and not VOLATILE.search(name):
            marks = integrity.marks(path)
            digests[name] = HASHED.setdefault(marks, "") or sha256(path.read_bytes()).hexdigest()
            HASHED[marks] = digests[name]
    return digests


def put_back(shop: kills.Shop, kept: Path) -> None:
    """What differs from what was kept, and nothing else, so that this takes no time."""
    for path in sorted(shop.folder.rglob("*"), reverse=True):
        twin = kept / path.relative_to(shop.folder)
        if not os.path.lexists(twin):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    for twin in sorted(kept.rglob("*")):
        path = shop.folder / twin.relative_to(kept)
        if twin.is_dir() and not twin.is_symlink():
            path.mkdir(exist_ok=True)
            continue
        was, now = twin.lstat(), path.lstat() if os.path.lexists(path) else None
        if now is None or (was.st_size, was.st_mtime_ns) != (now.st_size, now.st_mtime_ns):
            path.unlink(missing_ok=True)
            shutil.copy2(twin, path, follow_symlinks=False)


def read_by(shop: kills.Shop, words: tuple[str, ...]) -> list[Path]:
    """The files below the shop's folder that a verb opens, and that were there before."""
    before = {path for path in shop.folder.rglob("*") if path.is_file()}
    trace = shop.folder.with_name("trace")
    strace = ("strace", "-f", "-qq", "-y", "-e", "trace=openat", "-e", "signal=none", "-o", str(trace))
    subprocess.run((*strace, "clickflow", *words), cwd=shop.root, env=shop.env(), capture_output=True, check=False)
    opened = {Path(name) for name in re.findall(r"= \d+<(/[^>]*)>", trace.read_text("utf-8", "replace"))}
    code = re.compile(r"/src/|/\.git/|\.pyc?$|\.lock$")
    return sorted(path for path in opened & before if path.stat().st_size and not code.search(str(path)))


def undisturbed(shop: kills.Shop, kept: Path, name: str, env: Mapping[str, str]) -> Verb:
    """Run twice."""
    verb = Verb(read_by(shop, VERBS[name]))
    runs = []
    for _ in range(2):
        put_back(shop, kept)
        code, out, _ = forked(shop, VERBS[name], env)
        runs.append((listing(shop), out.splitlines()))
        if code:
            print(f"{name}: exit code {code} undisturbed: {out[-300:]} {_[-500:]}", file=sys.stderr, flush=True)
    put_back(shop, kept)
    (left, lines), (again, lines_again) = runs
    verb.left = {each: digest for each, digest in left.items() if again.get(each) == digest}
    verb.lines = [line for line in lines if line in lines_again]
    return verb


def flip(path: Path, rng: random.Random) -> tuple[int, int]:
    """One bit, at a byte that is not 0, for pages without content are the larger part of a database; where it was."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    for _ in range(50):
        at = rng.randrange(len(data))
        if data[at]:
            break
    bit = rng.randrange(8)
    data[at] ^= 1 << bit
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return at, bit


def outcome(shop: kills.Shop, name: str, verb: Verb, spoilt: Path, env: Mapping[str, str]) -> tuple[str, str]:
    """What became of it, and what was said."""
    damaged = sha256(spoilt.read_bytes()).hexdigest()
    code, out, err = forked(shop, VERBS[name], env)
    every = err + out
    own = str(spoilt.relative_to(shop.folder))
    named = spoilt.name in every or f"{spoilt.parent.name}/" in err or str(spoilt.parent) in err or spoilt.stem in err
    if code is None:
        return "long", every[-600:]
    if "Traceback (most" in every or "error of clickflow itself" in every:
        return "traceback", every[-900:]
    if code:
        return ("noticed" if named and "next:" in err else "unclear"), err[-900:]
    now, lines = listing(shop), out.splitlines()
    differ = sorted(each for each, digest in verb.left.items() if now.get(each) != digest)
    if now.get(own) == damaged:  # it was left as it is
        differ = [each for each in differ if each != own]
    lacking = [line for line in verb.lines if line not in lines]
    if not differ and not lacking:
        return ("said" if named and spoilt.name in err else "harmless"), ""
    return ("said, another" if named else "silent"), f"{differ[:6]} {lacking[:3]} {err[-300:]}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--verbs", nargs="+", default=list(VERBS), choices=list(VERBS))
    parser.add_argument("--only", nargs="+", default=[""], help="files whose path has one of these in it")
    parser.add_argument("--seconds", type=float, default=1e9, help="end after so many")
    parser.add_argument("--shop", type=Path, help="keep the finished shop here, and use it again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rng, lines = random.Random(args.seed), []
    with tempfile.TemporaryDirectory(prefix="flips") as scratch:
        folder = args.shop or Path(scratch)
        shop = kills.Shop(folder / "at", folder / "kept")
        if not shop.folder.is_dir():
            folder.mkdir(exist_ok=True)
            kills.bare_shop(folder, args.seed, wide=True)
            finished(shop)
            shop.keep("finished")
        kept = shop.kept / "finished"
        put_back(shop, kept)
        for library in ("clickflow.cli", "clickflow.registry.promote", "clickflow.training.stage"):
            import_module(library)

        env = {**shop.env(), "CUDA_VISIBLE_DEVICES": "", "MLFLOW_DISABLE_TELEMETRY": "true"}
        verbs = {name: undisturbed(shop, kept, name, env) for name in args.verbs}
        pairs = [
            (name, path)
            for name, verb in verbs.items()
            for path in verb.reads
            if any(part in str(path.relative_to(shop.folder)) for part in args.only)
        ]
        by_file = {path: [name for name, each in pairs if each == path] for _, path in pairs}
        print(
            json.dumps({"verbs": len(verbs), "files": len(by_file), "pairs": len(pairs)}), file=sys.stderr, flush=True
        )
        started = time.monotonic()
        for _ in range(args.flips):
            if time.monotonic() - started > args.seconds:
                break
            path = rng.choice(sorted(by_file))
            name = rng.choice(by_file[path])
            at, bit = flip(path, rng)
            came, words = outcome(shop, name, verbs[name], path, env)
            file = str(path.relative_to(shop.folder))
            lines.append({"verb": name, "file": file, "byte": at, "bit": bit, "outcome": came, "words": words})
            if came not in ("noticed", "harmless"):
                print(json.dumps(lines[-1]), file=sys.stderr, flush=True)
            shutil.copy2(kept / path.relative_to(shop.folder), path)  # its size and time are as they were
            put_back(shop, kept)
    table = {name: dict(Counter(each["outcome"] for each in lines if each["verb"] == name)) for name in args.verbs}
    result = {
        "flips": len(lines),
        "seed": args.seed,
        "files": len(by_file),
        "outcomes": dict(Counter(each["outcome"] for each in lines)),
        "by_verb": table,
        "not_plain": [each for each in lines if each["outcome"] not in ("noticed", "harmless", "said")],
        "seconds": round(time.monotonic() - started),
        "cores": len(os.sched_getaffinity(0)),
        "versions": versions("dvc", "mlflow", "torch", "pyarrow", "duckdb"),
    }
    hand_out(result, args.json)


if __name__ == "__main__":
    main()
