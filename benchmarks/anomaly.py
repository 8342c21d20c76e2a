"""Are planted robots and fraud found by the surprise of a sequence model, and do two trainings find the same visits?

    python benchmarks/anomaly.py [--events 400000] [--planted 0.02] [--log-seeds 0,1] [--epochs 3] --json FILE
    python benchmarks/anomaly.py --uci ../shared/data/uci_online_retail --json FILE

Of each simulated log (`simulator.planted`) a next-step model is trained on twice, with different seeds, and the visits
and customers of the test part are scored: PR-AUC (average precision) against the planted cases, all and by kind, share
of planted ones among the top 1%, beside the surprise without times, rate rules and an isolation forest fitted on the
training part; Spearman's correlation and the common part of the top 1% of the two trainings. Robots above the bounds
of sequences.robots are not in the store, and count nowhere. `--uci`: visits are invoices, and odd is one of which a
line is cancelled within 30 days: what such data can show. Works in a clone of HEAD in a temporary folder; --keep
leaves it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from outcome import hand_out, versions

from clickflow.orchestration.overrides import apply, parse

ROOT = Path(__file__).resolve().parents[1]
TOP = 0.01
DAYS = 30
UCI = {
    "source.kind": "files",
    "source.preset": "uci_retail",
    "sequences.session.baskets": True,
    "sequences.robots.max_log_share": None,
}


class Shop:
    """A clone with params of its own."""

    def __init__(self, folder: Path, values: Mapping[str, Any]) -> None:
        self.folder = folder
        if not folder.exists():
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        self.original = (ROOT / "params.yaml").read_text(encoding="utf-8")
        self.values = dict(values)

    def run(self, *verbs: str, **more: Any) -> float:
        """Verbs of the pipeline, one after the other; seconds."""
        text = apply(self.original, self.values | more)
        (self.folder / "params.yaml").write_text(text, encoding="utf-8")
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder / "src"),
            "CLICKFLOW_HOME": str(self.folder / ".clickflow"),
        }
        began = time.perf_counter()
        for verb in verbs:
            command = [str(Path(sys.executable).parent / "clickflow"), *verb.split()]
            subprocess.run(command, cwd=self.folder, env=environment, check=True, stdout=sys.stderr)
        return round(time.perf_counter() - began, 1)


def scored(shop: Shop) -> Any:
    """The test part, judged by what was exported last."""
    from clickflow.anomalies import search
    from clickflow.artefact import artefact

    model = artefact.load(shop.folder / "models/next_step/exported", threads=1)
    return search.find(model, shop.folder / "data/sequences/session", ("test",))


def ruled(shop: Shop) -> dict[str, Any]:
    """The scores of the rules."""
    from clickflow.anomalies import rules
    from clickflow.sequences.store import open_split, read_card

    store = shop.folder / "data/sequences/session"
    card = read_card(store)
    train, test = (
        rules.table(split, card, np.arange(split.n_sequences))
        for split in (open_split(store, p) for p in ("train", "test"))
    )
    return {name: rule(train, test) for name, rule in rules.RULES.items()}


def without_times(findings: Any) -> Any:
    """The score of the sequence model alone."""
    from clickflow.anomalies.signs import EVENNESS
    from clickflow.anomalies.surprise import PACE

    kept = [k for k, name in enumerate(findings.signs.names) if name not in (PACE, EVENNESS)]
    return (findings.signs.value[:, kept] ** 2).sum(axis=1)


def worth(score: Any, kind: Any) -> dict[str, Any]:
    """PR-AUC in all and of each kind against what is genuine (""), and the share of planted ones in the top 1%."""
    from sklearn.metrics import average_precision_score

    odd = kind != ""
    top = np.argsort(-score, kind="stable")[: max(1, round(TOP * len(score)))]
    by_kind = {}
    for name in sorted(set(kind.tolist()) - {""}):
        rows = (kind == name) | ~odd
        by_kind[name] = round(float(average_precision_score((kind == name)[rows], score[rows])), 4)
    return {
        "pr_auc": round(float(average_precision_score(odd, score)), 4),
        "top_1%": round(float(odd[top].mean()), 4),
        "by_kind": by_kind,
    }


def agreement(one: Any, other: Any) -> dict[str, float]:
    """Of two rankings: Spearman's correlation, and the common part of their top 1%."""
    from scipy.stats import spearmanr

    count = max(1, round(TOP * len(one)))
    tops = [set(np.argsort(-score, kind="stable")[:count].tolist()) for score in (one, other)]
    return {
        "spearman": round(float(spearmanr(one, other).statistic), 4),
        "common_top_1%": round(len(tops[0] & tops[1]) / count, 4),
    }


def by_customer(score: Any, users: list[str | None], names: list[str]) -> Any:
    """The largest score of each customer's visits."""
    place = {name: k for k, name in enumerate(names)}
    best = np.full(len(names), -np.inf)
    rows = [k for k, name in enumerate(users) if name is not None]
    np.maximum.at(best, [place[users[k]] for k in rows], score[rows])  # type: ignore[index]
    return best


def simulated(folder: Path, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """One log, two trainings."""
    from clickflow.sources.simulator import truth

    values = {
        "simulator.events": args.events,
        "simulator.planted": args.planted,
        "models.next_step.budget.epochs": args.epochs,
        "seed": seed,
    } | parse(args.set)
    shop = Shop(folder, values)
    seconds = {"data": shop.run("ingest", "validate", "sequences session")}
    models = []
    for training in (seed, seed + 100):
        seconds[f"train_{training}"] = shop.run("train next_step", "export next_step", seed=training)
        began = time.perf_counter()
        models.append(scored(shop))
        seconds[f"judge_{training}"] = round(time.perf_counter() - began, 1)
    planted = truth.planted(shop.folder / "data/truth")
    kinds = dict(zip(planted.session_id, planted.kind, strict=True))
    own = models[0]
    kind = np.array([kinds.get(name, "") for name in own.session])
    names, score, _, _ = own.customers()
    theirs = dict.fromkeys(names, "")
    for name, what in zip(own.user, kind.tolist(), strict=True):
        if name is not None and what:
            theirs[name] = what
    of_customer = np.array([theirs[name] for name in names])
    scores = {"surprise": own.signs.score, "surprise_without_times": without_times(own)} | ruled(shop)
    return {
        "seed": seed,
        "visits": len(kind),
        "planted": {name: int((kind == name).sum()) for name in sorted(set(kind.tolist()) - {""})},
        "session": {name: worth(each, kind) for name, each in scores.items()},
        "customer": {
            "customers": len(names),
            "planted": int((of_customer != "").sum()),
            "surprise": worth(score, of_customer),
            **{n: worth(by_customer(each, own.user, names), of_customer) for n, each in list(scores.items())[2:]},
        },
        "stability": {
            "session": agreement(own.signs.score, models[1].signs.score),
            "customer": agreement(score, models[1].customers()[1]),
        },
        "seconds": seconds,
    }


def uci(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Invoices of which a line is cancelled soon, against all others."""
    import duckdb

    values = UCI | {"source.path": str(args.uci.resolve()), "models.next_step.budget.epochs": args.epochs}
    shop = Shop(folder, values | parse(args.set))
    seconds = shop.run("ingest", "validate", "sequences session", "train next_step", "export next_step")
    own = scored(shop)
    events = f"read_parquet('{shop.folder}/data/events/**/*.parquet')"
    rows = duckdb.sql(
        f"""SELECT DISTINCT p.session_id FROM {events} p JOIN {events} c USING (user_id, item_id)
            WHERE p.event_type = 'purchase' AND c.event_type = 'cancel' AND p.quantity = abs(c.quantity)
            AND c.event_time BETWEEN p.event_time AND p.event_time + INTERVAL {DAYS} DAY"""
    ).fetchall()
    cancelled = {name for (name,) in rows}
    kind = np.array(["cancelled" if name in cancelled else "" for name in own.session])
    scores = {"surprise": own.signs.score, "surprise_without_times": without_times(own)} | ruled(shop)
    return {
        "visits": len(kind),
        "cancelled": int((kind != "").sum()),
        "session": {name: worth(each, kind) for name, each in scores.items()},
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--planted", type=float, default=0.02)
    parser.add_argument("--log-seeds", default="0,1")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--uci", type=Path, help="the folder of UCI Online Retail, in place of simulated logs")
    parser.add_argument("-S", "--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it")
    parser.add_argument("--json", type=Path, help="write the result there too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clickflow-anomaly-") as scratch:
        base = args.keep or Path(scratch)
        base.mkdir(parents=True, exist_ok=True)
        if args.uci is not None:
            results: Any = uci(base / "uci", args)
        else:
            results = [simulated(base / f"log-{s}", int(s), args) for s in args.log_seeds.split(",")]
    settings = {name: getattr(args, name) for name in ("events", "planted", "epochs", "set")}
    report = {"benchmark": "anomaly", "settings": settings, "results": results}
    hand_out(report | {"versions": versions("numpy", "torch", "onnxruntime")}, args.json)


if __name__ == "__main__":
    main()
