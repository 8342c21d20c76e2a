"""Made-up logs of purchases, of known kinds of shops, and what `benchmarks/customer.py` says of each.

    python benchmarks/purchase_logs.py --to logs [--kinds cohort,gifts] [--seed 0] [--small]
    python benchmarks/purchase_logs.py --to logs --judge [--json all.json]

Writes KIND.csv (`customer_id,time,amount`) a kind; with `--judge` runs the preset and all baselines on each, one after
the other, at the horizons of the kind, keeps each result as KIND_H.json, and prints by how much the preset is ahead of
the best baseline (ROC-AUC, log loss, Gini), its calibration error and what its interval holds. `--small`: a third of
the customers. What is written depends on the kind, the seed and the size alone.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.cli import guarded

Array = NDArray[Any]
Random = np.random.Generator
START = np.datetime64("2023-01-01T00:00:00")
YEAR = 365.25


@dataclass(frozen=True)
class Shop:
    """A kind of shop: who comes when, how often and how regularly they buy, who leaves, and what they spend."""

    days: int
    customers: int
    horizons: tuple[int, ...]
    arrivals: Callable[[Random, int, int], Array]
    """First purchases, in days since the start, of so many customers over so many days."""
    gap: tuple[float, float]
    """Median of the customers' mean gaps between purchases, in days, and the spread of its log."""
    regular: float = 1.0
    """Shape of a gap's gamma distribution: 1 is chance alone, 20 nearly a calendar."""
    leave: tuple[float, float] = (0.8, 8.0)
    """Of the beta distribution of the chance to leave after a purchase."""
    level: Callable[[Array], Array] = np.ones_like
    """How busy the shop is at a time, at most 1: of purchases that might be, so many are."""
    amount: tuple[float, float, float] = (3.2, 0.6, 0.5)
    """Mean of the log of amounts, its spread over customers and over purchases."""
    odd: float = 0.0
    """Share of purchases whose amount is 0; as many are returned: the same amount, below 0, days later."""
    own_days: bool = False
    """Whether each customer buys around two days of the year of their own."""


def evenly(random: Random, n: int, days: int) -> Array:
    """As many a day; a third are customers from before, who come within the first weeks."""
    return np.where(random.random(n) < 1 / 3, random.uniform(0, min(60, days), n), random.uniform(0, days, n))


def cohort(random: Random, n: int, _: int) -> Array:
    """All within a quarter."""
    return random.uniform(0, 90, n)


def growing(random: Random, n: int, days: int) -> Array:
    """Four times as many at the end as in the beginning."""
    return np.asarray(days * np.log1p(random.random(n) * 3) / np.log(4))


def shrinking(random: Random, n: int, days: int) -> Array:
    """The reverse of it."""
    return days - growing(random, n, days)


def christmas(t: Array) -> Array:
    """Three to four times as busy before Christmas as in summer."""
    phase = (t - 345) / YEAR * 2 * np.pi
    return np.asarray(0.22 + 0.18 * (1 + np.cos(phase)) / 2 + 0.6 * np.exp(4 * (np.cos(phase) - 1)))


SHOPS: dict[str, Shop] = {
    "cohort": Shop(546, 7500, (90, 180), cohort, gap=(70, 1.1), leave=(0.8, 2.4)),
    "groceries": Shop(400, 2600, (14, 30), evenly, gap=(11, 0.7), regular=3, leave=(0.5, 25), amount=(3.6, 0.5, 0.4)),
    "gifts": Shop(800, 8000, (30, 60), evenly, gap=(150, 0.4), leave=(0.5, 6), own_days=True),
    "subscriptions": Shop(
        430, 3000, (30, 60), evenly, gap=(30, 0.02), regular=400, leave=(0.6, 9), amount=(2.7, 0.5, 0.05)
    ),
    "growing": Shop(400, 6000, (30, 90), growing, gap=(45, 0.9), leave=(0.8, 6)),
    "shrinking": Shop(500, 6000, (30, 90), shrinking, gap=(45, 0.9), leave=(0.8, 6), level=lambda t: 1 - 0.6 * t / 500),
    "odd_amounts": Shop(400, 3000, (30, 60), evenly, gap=(35, 0.9), leave=(0.8, 8), odd=0.05),
    "season": Shop(548, 5000, (30, 60, 90), evenly, gap=(14, 0.9), leave=(0.5, 20), level=christmas),
    "wholesale": Shop(375, 3500, (30, 90, 120), evenly, gap=(40, 0.9), leave=(0.8, 10), amount=(5.5, 1.0, 0.9)),
    "large": Shop(420, 20000, (30,), evenly, gap=(50, 1.0), leave=(0.8, 7)),
}


def purchases(shop: Shop, random: Random) -> tuple[Array, Array, Array]:
    """Whose, when (days since the start) and for how much, sorted by time."""
    begin = shop.arrivals(random, shop.customers, shop.days)
    mean_gap = shop.gap[0] * np.exp(shop.gap[1] * random.standard_normal(shop.customers))
    leave = random.beta(*shop.leave, shop.customers)
    own = shop.amount[0] + shop.amount[1] * random.standard_normal(shop.customers)
    feasts = random.uniform(0, YEAR, (shop.customers, 2))
    who, when = [], []
    here = np.arange(shop.customers)
    at = begin.copy()
    while len(here):
        kept = (shop.level(at) > random.random(len(here))) | (at == begin[here])
        who.append(here[kept])
        when.append(at[kept])
        stays = ~kept | (random.random(len(here)) > leave[here])
        here, at = here[stays], at[stays]
        at = at + mean_gap[here] * random.gamma(shop.regular, 1 / shop.regular, len(here))
        if shop.own_days:
            at = near(at, feasts[here], random)
        early = at < shop.days
        here, at = here[early], at[early]
    whose, times = np.concatenate(who), np.concatenate(when)
    amounts = np.exp(own[whose] + shop.amount[2] * random.standard_normal(len(whose)))
    if shop.odd:
        amounts[random.random(len(amounts)) < shop.odd] = 0
        returned = np.flatnonzero(random.random(len(amounts)) < shop.odd)
        later = times[returned] + random.uniform(0.5, 14, len(returned))
        whose, times = np.append(whose, whose[returned]), np.append(times, later)
        amounts = np.append(amounts, -amounts[returned])
    inside = np.flatnonzero(times < shop.days)
    order = inside[np.argsort(times[inside], kind="stable")]
    return whose[order], times[order], np.round(amounts[order], 2)


def near(at: Array, feasts: Array, random: Random) -> Array:
    """Seven of ten are moved on to a few days before the next of the days of one's own."""
    ahead = np.min((feasts - at[:, None]) % YEAR, axis=1)
    moved = at + np.maximum(ahead - random.gamma(2, 4, len(at)), 0.1)
    return np.where(random.random(len(at)) < 0.7, moved, at)


def write(path: Path, shop: Shop, seed: int) -> int:
    """Write the log; how many purchases."""
    whose, times, amounts = purchases(shop, np.random.default_rng(seed))
    stamps = np.datetime_as_string(START + (times * 86400).astype("timedelta64[s]"))
    lines = [f"c{who},{stamp},{amount:.2f}" for who, stamp, amount in zip(whose, stamps, amounts, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["customer_id,time,amount", *lines]) + "\n", encoding="utf-8")
    return len(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--kinds", default=",".join(SHOPS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--judge", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    kinds = [kind for kind in args.kinds.split(",") if kind]
    if unknown := [kind for kind in kinds if kind not in SHOPS]:
        parser.error(f"there is no kind {', '.join(unknown)}; there is {', '.join(SHOPS)}")
    results: dict[str, Any] = {}
    for kind in kinds:
        shop = SHOPS[kind]
        if args.small:
            shop = replace(shop, customers=shop.customers // 3)
        log = args.to / f"{kind}.csv"
        count = write(log, shop, args.seed)
        sys.stdout.write(f"{log}: {shop.customers:,} customers, {count:,} lines, {shop.days} days\n")
        for horizon in shop.horizons if args.judge else ():
            result = judged(log, horizon)
            results[f"{kind} {horizon}"] = result
            sys.stdout.write(f"  {horizon} days: {summary(result)}\n")
            sys.stdout.flush()
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def judged(log: Path, horizon: int) -> dict[str, Any]:
    """What `benchmarks/customer.py` says of a log, and under `stderr` and `cpu` what it wrote there and took."""
    to = log.with_name(f"{log.stem}_{horizon}.json")
    words = [sys.executable, str(Path(__file__).with_name("customer.py")), "--log", str(log)]
    words += ["--horizon-days", str(horizon), "--json", str(to)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    if ended.returncode:
        return {"stderr": ended.stderr, "exit": ended.returncode}
    result: dict[str, Any] = json.loads(to.read_text(encoding="utf-8"))
    return result | {"stderr": ended.stderr}


LOWER = ("log_loss",)
RANKED = (("churn", "roc_auc"), ("churn", "log_loss"), ("spend", "gini"))


def summary(result: dict[str, Any]) -> str:
    """Each measure of the preset and how far it is ahead of the best baseline; below 0 is behind."""
    if "exit" in result:
        return f"exit {result['exit']}: {result['stderr'].strip()}"
    parts = []
    for what, measure in RANKED:
        own, rest = result[what]["preset"][measure], {k: v[measure] for k, v in result[what].items() if k != "preset"}
        sign = -1 if measure in LOWER else 1
        best = max(rest, key=lambda name: sign * rest[name])
        parts.append(f"{measure} {own:.4f} ({sign * (own - rest[best]):+.4f} to {best})")
    churn, spend = result["churn"]["preset"], result["spend"]["preset"]
    parts.append(f"ece {churn['ece']:.3f} (by chance {churn['ece_by_chance']:.3f})")
    parts.append(f"coverage {spend['coverage_80']:.3f}, sum {spend['sum_ratio']:.2f}, {result['seconds']:.0f} s")
    return ", ".join(parts) + (f"; {result['stderr'].strip()}" if result["stderr"] else "")


if __name__ == "__main__":
    guarded(main)
