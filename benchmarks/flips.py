"""Is a spoilt file ever answered from? Every verb that reads what was kept, by hand, with a bit of it flipped.

python benchmarks/flips.py [--flips 100] [--seed 0] --json FILE

A shop with a champion of visits and one of customers. Again and again a file of what a verb reads is spoilt as
`integrity.spoil` does it (flipped, cut, swapped, removed; its times set back in half of the cases), the verb is run,
and the shop put back. `noticed`: exit code above 0, three parts, no traceback, the file or its folder named;
`unclear`: such an error that names neither; `same`: exit code 0 and the answer of the whole shop (nothing depended on
it, or it was made again); `another`: exit code 0 and another answer; `traceback`: any other end. Every fifth file is
any of the shop's.
"""

import argparse
import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from integrity import spoil
from kills import MODEL, Shop, made, somebody
from outcome import hand_out, versions

VERBS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "demand": (("demand", "--json"), ("data/events",)),
    "score": (("score", MODEL, "--limit", "3", "--json"), ("data/sequences/session", "champion")),
    "score --all": (
        ("score", MODEL, "--all", "--out", "predictions", "--json"),
        ("data/sequences/session", "predictions"),
    ),
    "explain": (("explain", MODEL, "--json"), ("data/sequences/session", "champion")),
    "anomalies": (("anomalies", MODEL, "--json"), ("data/sequences/session", "champion")),
    "profiles": (("profiles", "--json"), ("data/sequences/customer",)),
    "score customers": (("score", "customers", "--limit", "3", "--json"), ("data/sequences/customer", "champion")),
    "watch": (("watch", "--json"), ("data/sequences/session", "data/sequences/customer")),
    "status": (("status", "--json"), ("reports/ingest.json", "home/ledger.jsonl", "data/events")),
    "promote --dry-run": (
        ("promote", MODEL, "--dry-run", "--json"),
        (f"reports/{MODEL}/evaluation", f"reports/{MODEL}/gate", f"models/{MODEL}/exported"),
    ),
    "who": (("who", "--user", "SOMEBODY", "--json"), ("data/events", "home/pseudonym.key")),
    "replay": (("replay", "--json"), ("data/quarantine", "data/events")),
    "live": (("live", "--json"), ("home/ledger.jsonl",)),
}
"""By name the words, and what it reads: `home/…`, `champion` (its files in the registry), else below the checkout."""
CHANGING = re.compile(
    r'("(time|at|as_of|seconds|checked|age_\w+|took|log|path|home|report)":\s*("[^"]*"|[\d.e+-]+))|\d+\.\d s\b'
)
"""Values that no two answers share."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbs", nargs="+", default=list(VERBS), choices=VERBS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    started, rng = time.monotonic(), random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="flips") as scratch:
        shop = made(Path(scratch), given.seed, customers=True)
        shop.run("dvc", "repro", "--quiet")
        shop.run("clickflow", "promote", "--json")
        found = campaign(shop, given.verbs, given.flips, rng)
    result = {
        "flips": len(found),
        "seed": given.seed,
        "outcomes": dict(Counter(line["came"] for line in found)),
        "by_verb": {
            name: dict(Counter(line["came"] for line in found if line["verb"] == name)) for name in given.verbs
        },
        "not_plain": [line for line in found if line["came"] not in ("noticed", "same")],
        "seconds": round(time.monotonic() - started),
        "cores": len(os.sched_getaffinity(0)),
        "versions": versions("duckdb", "mlflow", "numpy", "pyarrow"),
    }
    hand_out(result, given.json)


def campaign(shop: Shop, verbs: list[str], count: int, rng: random.Random) -> list[dict[str, Any]]:
    """Each flip, and what came of it."""
    whole = {}
    customer = somebody(shop)
    words = {name: tuple(customer if word == "SOMEBODY" else word for word in VERBS[name][0]) for name in verbs}
    for name in verbs:  # each once, so that what a verb leaves is there; then the answer that counts
        ask(shop, words[name])
        code, whole[name] = ask(shop, words[name])
        if code not in (0, 1):
            raise RuntimeError(f"{name}: {whole[name][-900:]}")
    shop.keep("whole")
    found = []
    for number in range(count):
        name = verbs[number % len(verbs)]
        path = chosen(shop, VERBS[name][1], rng)
        how = rng.choices(["flipped", "cut", "swapped", "removed"], [6, 2, 1, 1])[0]
        spoil(path, how, rng)
        code, said = ask(shop, words[name])
        came = outcome(path, code, said, whole[name])
        line = {"verb": name, "file": str(path.relative_to(shop.folder)), "how": how, "came": came}
        found.append(line | ({} if came in ("noticed", "same") else {"words": said[-500:]}))
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)
        shop.put_back("whole")
    return found


def chosen(shop: Shop, places: tuple[str, ...], rng: random.Random) -> Path:
    """A file of what is read; every fifth time any file that was made."""
    place = rng.choice(places) if rng.random() < 0.8 else "any"
    if place == "any":
        folders = [shop.root / name for name in ("data", "models", "reports")] + [shop.home]
    elif place == "champion":
        folders = [folder for folder in shop.home.rglob("exported") if folder.is_dir()] or [shop.home / "mlartifacts"]
    elif place.startswith("home/"):
        return shop.home / place.removeprefix("home/")
    else:
        folders = [shop.root / place]
    files = sorted(
        path
        for folder in folders
        for path in ([folder] if folder.is_file() else folder.rglob("*"))
        if path.is_file() and path.suffix not in (".png", ".lock", ".html", ".log") and path.stat().st_size
    )
    return rng.choice(files)


def ask(shop: Shop, words: tuple[str, ...]) -> tuple[int, str]:
    """Exit code and what was said."""
    process = shop.start(("clickflow", *words))
    said, _ = process.communicate(timeout=600)
    return process.returncode, said


def outcome(path: Path, code: int, said: str, whole: str) -> str:
    """What became of it."""
    if "Traceback" in said or code not in (0, 1, 2, 3):
        return "traceback"
    if code and "error:" in said:
        parts = "kept:" in said and "next:" in said
        named = any(name in said for name in (path.name, f"{path.parent.name}", "ledger"))
        return "noticed" if parts and named else "unclear"
    return "same" if CHANGING.sub("", said) == CHANGING.sub("", whole) else "another"


if __name__ == "__main__":
    main()
