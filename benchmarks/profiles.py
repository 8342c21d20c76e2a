"""Does the embedding of customers say more than hand-made features do? And what are its segments worth?

    python benchmarks/profiles.py --uci ../shared/data/uci_online_retail --json FILE
    python benchmarks/profiles.py [--events 400000] [--days 180] [--log-seed 0] --json FILE
    python benchmarks/profiles.py --store data/sequences/customer --json FILE

`segments`: what `clickflow profiles --json` says of the comparison with RFM and of stability. `gain`: churn, spend, and
the purchase of each of the ten most bought categories (items, where the log has fewer than eleven categories) are
learned by one kind of model of hand-made features, and of the same with the embedding; the embedding is learned on the
training part alone, and the model of a category also reads how often and how long ago the customer bought of it. Of
both, on the test part: log loss (of the amount pinball loss and absolute error), and the difference with a 95% interval
by customer, mean of the seeds; ROC-AUC, or Gini. Works in a clone of HEAD in a temporary folder; --keep leaves it.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from anomaly import Shop
from customer import gini
from outcome import hand_out, versions
from sklearn.metrics import roc_auc_score

from clickflow import features
from clickflow.evaluation import bootstrap
from clickflow.features import customer
from clickflow.forecasting import scores
from clickflow.models import estimators
from clickflow.orchestration.overrides import parse
from clickflow.profiles import embedding, verb, worth
from clickflow.sequences.store import open_split, read_card
from clickflow.system.moments import DAY

THINGS = 10
RESAMPLES = 500
LEAST = 20
"""Customers of the training part who buy of a thing later, or it is left out."""


class Rows:
    """Customers of a part as of some of its cut-offs."""

    def __init__(self, store: Path, part: str, every_days: int) -> None:
        self.card, self.split = read_card(store), open_split(store, part)
        everybody = embedding.read(store, self.card, part)
        cut_off = np.asarray(self.split.cut_off)
        rows = np.flatnonzero((cut_off.max() - cut_off) % (every_days * DAY) == 0)
        self.customers = everybody.take(rows)
        self.begin, self.end, self.until = (
            np.asarray(each)[rows] for each in (self.split.begin, self.split.end, self.split.until)
        )
        self.cut_off = cut_off[rows]
        self.owner = worth.owners(self.customers.user)
        self.later = worth.later(store, self.card, self.customers)
        self.bought = np.asarray(self.split.action) == self.card.actions.index("purchase")

    def of(self, column: str, thing: int) -> tuple[Any, Any]:
        """How often and how many days ago somebody bought of a thing [N, 2], and whether they do later [N]."""
        hit = self.bought & (np.asarray(getattr(self.split, column)) == thing)
        before = np.concatenate([[0], np.cumsum(hit)])
        count = before[self.end] - before[self.begin]
        place = np.append(np.flatnonzero(hit), 0)
        last = np.asarray(self.split.time)[place[np.maximum(before[self.end] - 1, 0)]]
        ago = np.where(count > 0, (self.cut_off - last) / DAY, np.nan)
        return np.stack([count, ago], axis=1), (before[self.until] > before[self.end]).astype(np.float64)


def things(rows: Rows) -> tuple[str, list[int]]:
    """The column and the codes that most customers of the last training cut-off bought of."""
    column = "category" if rows.card.categories > THINGS + 2 else "item"
    most = rows.card.categories if column == "category" else rows.card.known
    row, step = customer.expanded(rows.begin, rows.end)
    step, row = step[rows.bought[step]], row[rows.bought[step]]
    code = np.asarray(getattr(rows.split, column))[step]
    some = (code > 1) & (code < most)
    pairs = np.unique(rows.owner[row[some]] * most + code[some]) % most
    return column, np.argsort(-np.bincount(pairs, minlength=most), kind="stable")[:THINGS].tolist()


LOSSES = {"probability": ("log_loss",), "amount": ("pinball", "mae")}
RANKS = {"probability": "roc_auc", "amount": "gini"}


def judged(answer: str, predicted: Any, truth: Any) -> tuple[Any, float]:
    """Losses by row [N, L], as LOSSES names them, and the rank measure."""
    if answer == "probability":
        own = -predicted[np.arange(len(truth)), truth.astype(int)]
        return own[:, None], float(roc_auc_score(truth, predicted[:, 1]))
    losses = np.stack([scores.pinball(truth, predicted).mean(axis=1), np.abs(predicted[:, 0] - truth)], axis=1)
    return losses, gini(truth, predicted[:, 0]) or np.nan


def learned_by(args: argparse.Namespace, answer: str, train: Rows, ways: Any, target: Any, truth: Any) -> Any:
    """Of each way the losses [N, L], mean of the seeds, and the rank measure by seed."""
    results = {}
    for name, (x, x_test) in ways.items():
        both = []
        for seed in map(int, args.seeds.split(",")):
            fitted = estimators.fit(
                args.kind,
                x,
                target,
                kind_of_answer=answer,
                groups=train.owner,
                weights=estimators.recency(train.cut_off),
                seed=seed,
            )
            both.append(judged(answer, fitted.predict(x_test).astype(np.float64), truth))
        losses, ranks = zip(*both, strict=True)
        results[name] = (np.mean(losses, axis=0), np.array(ranks))
    return results


def compared(ways: Any, answer: str, owner: Any) -> dict[str, Any]:
    """Both ways, and the difference of their losses with an interval by customer."""
    result: dict[str, Any] = {}
    for name, (losses, ranks) in ways.items():
        result[name] = dict(zip(LOSSES[answer], losses.mean(axis=0).round(5).tolist(), strict=True))
        result[name] |= {RANKS[answer]: round(float(ranks.mean()), 5), "by_seed": ranks.round(5).tolist()}
    less = ways["with_embedding"][0] - ways["hand_made"][0]
    sums, _ = bootstrap.per_sequence(owner, np.hstack([less, np.ones((len(less), 1))]))
    drawn = bootstrap.resampled(sums, RESAMPLES, 0)
    low, high = bootstrap.interval(drawn[:, :-1] / drawn[:, -1:], 0.95)
    for k, name in enumerate(LOSSES[answer]):
        result[f"{name}_difference"] = [round(float(v), 5) for v in (less[:, k].mean(), low[k], high[k])]
    return result


def gain(store: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Of three heads."""
    train, test = (Rows(store, part, args.every_days) for part in ("train", "test"))
    card = read_card(store)
    learned = embedding.learn(embedding.read(store, card, "train", last=True), 0)
    plain = [each.customers.values.astype(np.float32) for each in (train, test)]
    more = [learned.of(each.customers).astype(np.float32) for each in (train, test)]
    joined = [np.hstack(pair) for pair in zip(plain, more, strict=True)]

    def ways(*beside: Any) -> dict[str, Any]:
        """Tables of both parts, [N, F]."""
        tables = {"hand_made": plain, "with_embedding": joined}
        if not beside:
            return tables
        return {
            name: [np.hstack([x, own]).astype(np.float32) for x, own in zip(pair, beside, strict=True)]
            for name, pair in tables.items()
        }

    def head(answer: str, tables: Any, target: Any, truth: Any) -> Any:
        return learned_by(args, answer, train, tables, target, truth)

    churn = head("probability", ways(), 1 - train.later.back, 1 - test.later.back)
    spend = head("amount", ways(), train.later.value, test.later.value)
    result: dict[str, Any] = {
        "rows": {"train": len(train.owner), "test": len(test.owner)},
        "churn": compared(churn, "probability", test.owner),
        "spend": compared(spend, "amount", test.owner),
    }
    column, codes = things(train)
    parts: list[Any] = []
    for code in codes:
        (own, target), (own_test, truth) = (rows.of(column, code) for rows in (train, test))
        if target.sum() >= LEAST and 0 < truth.sum() < len(truth):
            parts.append(head("probability", ways(own, own_test), target, truth))
    if parts:
        mean = {name: tuple(np.mean([part[name][k] for part in parts], axis=0) for k in (0, 1)) for name in parts[0]}
        better = sum(part["with_embedding"][1].mean() > part["hand_made"][1].mean() for part in parts)
        result["purchase"] = compared(mean, "probability", test.owner)
        result["purchase"] |= {"of": column, "count": len(parts), "better_roc_auc": int(better)}
    return result


def store_of(args: argparse.Namespace, folder: Path) -> Path:
    """The packed store of customers."""
    if args.store is not None:
        return Path(args.store)
    customers = {"sequences.customer.horizon_days": args.horizon_days, "sequences.customer.every_days": 7}
    if args.uci is not None:
        source: dict[str, Any] = {
            "source.kind": "files",
            "source.preset": "uci_retail",
            "source.path": str(args.uci.resolve()),
        }
    else:
        source = {
            "simulator.events": args.events,
            "simulator.days": args.days,
            "seed": args.log_seed,
        }
    shop = Shop(folder, customers | source | parse(args.set))
    shop.run("ingest", "validate", "sequences customer")
    return shop.folder / "data/sequences/customer"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uci", type=Path, help="the folder of UCI Online Retail, in place of a simulated log")
    parser.add_argument("--store", type=Path, help="a store of customers that was made before")
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--log-seed", type=int, default=0)
    parser.add_argument("--horizon-days", type=int, default=30)
    parser.add_argument("--every-days", type=int, default=28, help="between the cut-offs that models are learned of")
    parser.add_argument("--segments", type=int, default=7)
    parser.add_argument("--kind", default="boosting", choices=sorted(estimators.KINDS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("-S", "--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it")
    parser.add_argument("--json", type=Path, help="write the result there too")
    args = parser.parse_args()
    # rows are in the order of pseudonyms, and folds and resamples follow it
    os.environ.setdefault("CLICKFLOW_PSEUDONYM_KEY", "one key for a benchmark, whose people are nobody's")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="clickflow-profile-") as scratch:
        store = store_of(args, args.keep or Path(scratch) / "shop")
        card = read_card(store)
        profile = verb.find(store, card, args.segments, 0)
        result = {
            "benchmark": "profile",
            "customers": len(profile.customers),
            "features": len(features.names("customer")),
            "embedding": len(profile.learned.names),
            "segments": {"compared": profile.compared, "stability": profile.stability},
            "gain": gain(store, args),
        }
    settings = {name: str(getattr(args, name)) for name in ("kind", "seeds", "segments", "every_days", "set")}
    seconds = round(time.perf_counter() - began, 1)
    hand_out({**result, "settings": settings, "seconds": seconds, "versions": versions("numpy", "lightgbm")}, args.json)


if __name__ == "__main__":
    main()
