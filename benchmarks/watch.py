"""How often does a window breach in which nothing has moved, and how far must the data move to be seen?

A simulated log's sequences are put in one pot, so that nothing moves in them. Half of them are the training data; each
window is drawn from the other half. Prints one JSON, for each size of window: how often each bound of drift breaches
where the bound is 0 (so that noise alone decides) and with the bounds of params.yaml, how often any of them does, and
so how often the rule calls for retraining; how often each is seen where a share of the steps was changed; and how often
a metric breaches whose true value is what it was at the evaluation (ranks as in benchmarks/gate.py).

    python benchmarks/watch.py [--events 60000] [--trials 200] [--sizes 100,300,1000] [--json FILE]
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from gate import ranks
from outcome import hand_out, versions

from clickflow.evaluation import bootstrap, distributions
from clickflow.evaluation.answers import ranking
from clickflow.evaluation.distributions import Cells, Values
from clickflow.evaluation.reference import Reference
from clickflow.monitoring import drift, rule
from clickflow.monitoring.live import Live
from clickflow.params.file import load
from clickflow.params.watch import Watch
from clickflow.sequences.features import derived
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import PackedSplit
from clickflow.sources.simulator import simulate

ROOT = Path(__file__).resolve().parents[1]
METRIC = "mrr@20"
DROPS = {METRIC: 0.15, "recall@20": 0.15, "next_action.accuracy": 0.1}
"""The metrics that are watched."""
MOVED = (0.05, 0.1, 0.2, 0.4)
"""Shares of steps that are changed, to see how far the data must move."""
EVALUATED = 2000
"""Sequences of the evaluation that a metric is held against."""


def log(events: int, items: int) -> PackedSplit:
    """The simulator's sessions as one split, items numbered by how frequent they are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        simulate.simulate(replace(simulate.DEFAULTS, events=events, items=items), folder, fmt="parquet", truth=False)
        table = pa.concat_tables(
            pq.read_table(file, columns=["session_id", "item_id", "event_type", "event_time", "price"])
            for file in sorted(folder.glob("*.parquet"))
        )
    table = table.filter(table["item_id"].is_valid())
    session, item, action = (table[name].combine_chunks().dictionary_encode() for name in table.column_names[:3])
    when = np.asarray(table["event_time"].cast(pa.timestamp("us")).cast(pa.int64()))
    owner, number = session.indices.to_numpy(), item.indices.to_numpy()
    order = np.lexsort((when, owner))
    frequent = np.argsort(np.argsort(-np.bincount(number), kind="stable"), kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owner))]).astype(np.int64)
    return PackedSplit(
        offsets=offsets,
        item=(2 + frequent[number[order]]).astype(np.int32),
        action=action.indices.to_numpy()[order].astype(np.uint8),
        time=when[order],
        price=table["price"].to_numpy()[order].astype(np.float32),
        category=np.zeros(len(order), np.int32),
        **derived({"time": when[order]}, offsets),
    )


def counts(split: PackedSplit, cells: Cells) -> Values:
    """Every sequence in cells."""
    size = len(cells.group)
    return cells.counts(split, np.arange(split.n_sequences), np.arange(size), np.arange(len(cells.actions)))


def quiet(pot: Values, cells: Cells, watch: Watch, size: int, trials: int, seed: int) -> dict[str, Any]:
    """Windows in which nothing has moved."""
    train, rest = np.array_split(np.random.default_rng(seed).permutation(len(pot)), 2)
    reference, draw = cells.shares(pot[train].sum(axis=0)), np.random.default_rng(seed + 1)
    level = rule.alpha(watch, {rule.DRIFT: list(cells.sizes), rule.METRIC: list(DROPS)})
    allowed = asdict(watch.max_drift)
    alone, bounded = dict.fromkeys(cells.sizes, 0), dict.fromkeys(cells.sizes, 0)
    any_alone = any_bounded = 0
    for trial in range(trials):
        window = pot[draw.choice(rest, size, replace=False)]
        distances = drift.distances(cells, window, reference, sequences=len(train), alpha=level, seed=trial)
        noisy = {name for name, each in distances.items() if each.value > each.noise}
        broken = {name for name, each in distances.items() if each.value > (allowed[name] or 0) + each.noise}
        for name in noisy:
            alone[name] += 1
        for name in broken:
            bounded[name] += 1
        any_alone, any_bounded = any_alone + bool(noisy), any_bounded + bool(broken)
    return {
        "sequences": size,
        "trials": trials,
        "promised": round(1 - watch.confidence, 4),
        "bound_0": {name: round(number / trials, 4) for name, number in alone.items()},
        "bound_0_any": round(any_alone / trials, 4),
        "bounds_of_params": {name: round(number / trials, 4) for name, number in bounded.items()},
        "bounds_of_params_any": round(any_bounded / trials, 4),
        "retrain_at_bound_0": round(called(any_alone / trials, watch), 5),
    }


def called(breach: float, watch: Watch) -> float:
    """How often the rule calls, where windows breach independently: the latest, and enough of the others."""
    from math import comb

    others, needed = watch.windows - 1, watch.breaches - 1
    enough = sum(comb(others, k) * breach**k * (1 - breach) ** (others - k) for k in range(needed, others + 1))
    return breach * enough


def moved(split: PackedSplit, cells: Cells, watch: Watch, size: int, trials: int, seed: int) -> list[dict[str, Any]]:
    """Windows in which a share of the steps is of other items, types, hours and prices."""
    pot = counts(split, cells)
    train, rest = np.array_split(np.random.default_rng(seed).permutation(len(pot)), 2)
    reference = cells.shares(pot[train].sum(axis=0))
    level = rule.alpha(watch, {rule.DRIFT: list(cells.sizes), rule.METRIC: list(DROPS)})
    allowed, most, rows = asdict(watch.max_drift), int(split.item.max()), []
    for share in MOVED:
        draw = np.random.default_rng(seed + 2)
        chosen = draw.random(split.n_events) < share
        other = split.with_columns(
            item=np.where(chosen, most + FIRST_ITEM - split.item, split.item).astype(np.int32),
            action=np.where(chosen, (split.action + 1) % len(cells.actions), split.action).astype(np.uint8),
            hour=np.where(chosen, (split.hour + 12) % 24, split.hour).astype(np.uint8),
            price=np.where(chosen, split.price * 3, split.price).astype(np.float32),
        )
        changed, seen = counts(other, cells), dict.fromkeys(cells.sizes, 0)
        true = {
            name: float(drift.distance(name, cells.shares(changed.sum(axis=0))[name], shares))
            for name, shares in cells.shares(pot.sum(axis=0)).items()
        }
        for trial in range(trials):
            window = changed[draw.choice(rest, size, replace=False)]
            distances = drift.distances(cells, window, reference, sequences=len(train), alpha=level, seed=trial)
            for name, each in distances.items():
                seen[name] += each.value > (allowed[name] or 0) + each.noise
        kept = ("event_types", "popularity", "hour", "price")
        rows.append(
            {
                "sequences": size,
                "share_changed": share,
                "distance": {name: round(true[name], 4) for name in kept},
                "seen": {name: round(seen[name] / trials, 4) for name in kept},
            }
        )
    return rows


def metric(watch: Watch, size: int, trials: int, drop: float, seed: int) -> dict[str, Any]:
    """Windows whose true metric is (1 - `drop`) of the evaluation's; up to the drop allowed none should breach."""
    rng = np.random.default_rng(seed)
    names = {rule.DRIFT: list(asdict(watch.max_drift)), rule.METRIC: list(DROPS)}
    level, breaches = rule.alpha(watch, names), 0
    for trial in range(trials):
        at, live = _measured(rng, EVALUATED, 0.0, trial), _measured(rng, size, drop, trial)
        cells = Cells((), np.zeros(0, np.int64), np.zeros(0))
        reference = Reference("", "", 0, 0, 0, {}, cells, {}, {METRIC: vars(at)}, 0.95)
        (bound,) = rule.metrics({METRIC: DROPS[METRIC]}, {METRIC: live}, reference, level, "")
        breaches += bound.breach
    return {"sequences": size, "true_drop": drop, "trials": trials, "breach": round(breaches / trials, 4)}


def _measured(rng: np.random.Generator, size: int, drop: float, seed: int) -> Live:
    sequence = np.repeat(np.arange(size), rng.geometric(0.25, size))
    rank = ranks(rng, rng.normal(0, 0.7, size)[sequence])
    rank = np.where(rng.random(len(rank)) < drop, 0, rank).astype(np.int32)
    gain = ranking.gains(rank, [20])[:, ranking.names([20]).index(METRIC)]
    sums, _ = bootstrap.per_sequence(sequence, np.stack([gain, np.ones(len(gain))], axis=1))
    drawn = bootstrap.resampled(sums, 400, seed)
    samples = (drawn[:, :1] / drawn[:, 1:])[:, 0]
    low, high = bootstrap.interval(samples, 0.95)
    return Live(float(gain.mean()), float(low), float(high), float(samples.std()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--sizes", default="100,300,1000")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result here, too")
    args = parser.parse_args()
    started, watch = time.perf_counter(), load(ROOT / "params.yaml").watch
    split = log(args.events, args.items)
    group = distributions.groups(np.bincount(split.item, minlength=int(split.item.max()) + 1)[FIRST_ITEM:])
    cells = Cells(tuple(map(str, range(int(split.action.max()) + 1))), group, distributions.price_edges(split.price))
    pot, sizes = counts(split, cells), [int(size) for size in args.sizes.split(",")]
    result: dict[str, Any] = {"quiet": [], "moved": [], "metric": []}
    for size in sizes:
        result["quiet"].append(quiet(pot, cells, watch, size, args.trials, args.seed))
        print(result["quiet"][-1], file=sys.stderr)
        result["moved"] += moved(split, cells, watch, size, max(10, args.trials // 5), args.seed)
        allowed = DROPS[METRIC]
        result["metric"] += [metric(watch, size, args.trials, d, args.seed) for d in (0.0, allowed, 0.3, 0.5)]
    result |= {
        "watch": asdict(watch),
        "events": args.events,
        "sequences": split.n_sequences,
        "seed": args.seed,
        "seconds": round(time.perf_counter() - started, 1),
        "cores": len(os.sched_getaffinity(0)),
        "versions": versions("numpy"),
    }
    hand_out(result, args.json)


if __name__ == "__main__":
    main()
