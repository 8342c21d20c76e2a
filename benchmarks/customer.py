"""How well the repository's own preset predicts who comes back, and what they spend, on a log of purchases.

    python benchmarks/customer.py --log purchases.csv --horizon-days 30 --json result.json

Reads a CSV `customer_id,time,amount[,item_id]` (gzip or not; times in UTC unless they say otherwise; lines of one
customer and one time are one purchase, an amount below 0 is a return). Asked is every customer with a purchase in the
365 days before the as-of day; the answers are churn (no purchase in the H days from then on) and spend (the value of
those). The preset is trained on what lies before the as-of day alone, and so are the baselines: `mean`, `rfm`
(logistic, or log-linear Tweedie, on recency, frequency, money), `boosting` (LightGBM on all features, as it comes) and
`bgnbd` (BG/NBD and Gamma-Gamma). `differences` of the JSON: the preset less each of them, with 95% intervals by
customer.

Where the log before the as-of day is shorter than 2.5 horizons, the preset learns from answers within half of one.

    --as-of 2011-11-01                   another day than H days before the end of the log
    --half-horizon                       where it is shorter than 6 horizons, learn from answers within half of one too
    --predictions answers.csv            customer_id,churn,spend of the preset
    --importance                         and by how much the log loss of churn rises as a feature's values are shuffled
                                         over customers: at the latest cut-off of training, by a model of those before
"""

import argparse
import csv
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import by_customer
import numpy as np
from numpy.typing import NDArray

from clickflow import features
from clickflow.cli import guarded
from clickflow.evaluation import calibration
from clickflow.features import Spans
from clickflow.models import estimators
from clickflow.models.estimators.lifetime import READS, fit_lifetime
from clickflow.sequences.store import PackedSplit
from clickflow.system.console import finite
from clickflow.system.errors import DataError, UsageError
from clickflow.system.moments import DAY

Array = NDArray[Any]

ACTIVE_DAYS = 365
"""Asked are those who bought in so many days before."""
STORE = SimpleNamespace(actions=("purchase", "cancel"))
COLUMNS = ("customer_id", "time", "amount")
UNIT = "customer"


@dataclass(frozen=True)
class Log:
    """Purchases, sorted by customer and time; customer i has the steps [offsets[i], offsets[i + 1])."""

    split: PackedSplit
    customers: list[str]
    first: int
    """The day of the first and, exclusive, of the last purchase, in microseconds since 1970 UTC."""
    last: int


@dataclass(frozen=True)
class Rows:
    """Customers as of a day each: features [N, F], the answers, whose and when."""

    x: Array
    churn: Array
    spend: Array
    customer: Array
    cut_off: Array

    def __len__(self) -> int:
        return len(self.churn)

    def part(self, which: Array) -> "Rows":
        """These rows of it."""
        return Rows(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--horizon-days", type=int, required=True)
    parser.add_argument("--as-of", help="YYYY-MM-DD; none: the horizon before the end of the log")
    parser.add_argument("--preset", default="default", choices=["default", "logistic", "boosting"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--predictions", type=Path)
    parser.add_argument("--importance", action="store_true")
    parser.add_argument("--half-horizon", action="store_true")
    args = parser.parse_args()
    started = time.perf_counter()
    log = read(args.log)
    as_of = day_of(args.as_of, log, args.horizon_days)
    train, test = rows_of(log, args.horizon_days, as_of)
    learned = learned_rows(log, args.horizon_days, as_of, train, both=args.half_horizon)
    for rows in learned.values():
        enough("before that, to learn from,", rows)
    if args.horizon_days not in learned:
        sys.stderr.write(
            f"{(as_of - log.first) // DAY:,} days of log are few for a horizon of {args.horizon_days}: the preset "
            f"learns from answers of {min(learned)} days, and BG/NBD says how much more comes within the others\n"
        )
    fitting = time.perf_counter()
    own = preset(learned, test, args.horizon_days, args.seed, PRESETS[args.preset])
    fitting = time.perf_counter() - fitting
    if lacking := teaches_nothing(train):
        sys.stderr.write(f"of whole horizons of {args.horizon_days} days {lacking}: there is BG/NBD to compare with\n")
    compared = {"bgnbd": bgnbd} if lacking else BASELINES
    answers = {"preset": own, **{name: each(train, test, args.horizon_days) for name, each in compared.items()}}
    result = {
        "churn": {name: measured_churn(test.churn, each["churn"]) for name, each in answers.items()},
        "spend": {name: measured_spend(test.spend, each) for name, each in answers.items()},
        "differences": by_customer.differences({"churn": test.churn, "spend": test.spend}, answers, seed=args.seed),
        "customers": len(test),
        "churned": float(test.churn.mean()),
        "largest_share": float(test.spend.max() / test.spend.sum()) if test.spend.any() else None,
        "training_rows": {days: len(rows) for days, rows in learned.items()},
        "cut_offs": {days: len(np.unique(rows.cut_off)) for days, rows in learned.items()},
        "as_of": str(np.datetime64(as_of, "us").astype("datetime64[D]")),
        "horizon_days": args.horizon_days,
        "preset": args.preset,
        "seed": args.seed,
        "seconds": round(time.perf_counter() - started, 1),
        "preset_seconds": round(fitting, 1),
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }
    if args.importance:
        days = max(learned)
        result["importance"] = importance(learned[days], days, args.seed, PRESETS[args.preset])
    text = json.dumps(finite(result), indent=2, allow_nan=False)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")
    if args.predictions:
        write_predictions(args.predictions, [log.customers[i] for i in test.customer], answers["preset"])


def read(path: Path) -> Log:
    """The log of a CSV file; DataError names what cannot be read."""
    import pandas as pd

    if not path.is_file():
        raise UsageError(f"there is no file {path}", kept="nothing was run")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, OSError, pd.errors.ParserError) as error:
        raise DataError(f"{path} is no CSV: {error}") from error
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing or not len(table):
        raise DataError(
            f"{path} has no {'column ' + ', '.join(missing) if missing else 'rows'}",
            next_step="give a CSV with the columns customer_id, time, amount and, where there is one, item_id",
        )
    when = pd.to_datetime(table["time"], utc=True, format="ISO8601", errors="coerce")
    amount = pd.to_numeric(table["amount"], errors="coerce").to_numpy(np.float64)
    for name, wrong in (
        ("time", when.isna().to_numpy()),
        ("amount", ~np.isfinite(amount)),
        ("customer_id", (table["customer_id"] == "").to_numpy()),
    ):
        if wrong.any():
            line = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"{path}: {int(wrong.sum()):,} of {len(table):,} rows have no {name} that can be read; the first is "
                f"line {line + 2}: {table[name].iloc[line]!r}",
                kept="nothing was run",
                next_step="times are ISO 8601, as 2011-12-09 12:50:00; amounts are numbers",
            )
    stamps = when.dt.as_unit("us").astype("int64").to_numpy()
    codes, customers = pd.factorize(table["customer_id"], sort=True)
    item = pd.factorize(table["item_id"], sort=True)[0] + 2 if "item_id" in table.columns else np.zeros(len(table), int)
    order = np.lexsort((item, stamps, codes))
    split = PackedSplit(
        offsets=np.searchsorted(codes[order], np.arange(len(customers) + 1)),
        time=stamps[order],
        action=(amount < 0).astype(np.uint8)[order],
        item=item[order].astype(np.int32),
        category=np.zeros(len(table), np.int32),
        price=np.abs(amount).astype(np.float32)[order],
    )
    bought = split.time[split.action == 0]
    if not len(bought):
        raise DataError(f"{path} has no purchase: every amount is below 0")
    return Log(split, list(customers), int(bought.min() // DAY * DAY), int((bought.max() // DAY + 1) * DAY))


def day_of(as_of: str | None, log: Log, horizon: int) -> int:
    """The as-of day, as its first microsecond; UsageError where the log does not hold its answers, or no past."""
    if horizon < 1:
        raise UsageError(f"a horizon of {horizon} days: it is at least 1")
    days = (log.last - log.first) // DAY
    try:
        day = (
            log.last - horizon * DAY
            if as_of is None
            else int(np.datetime64(as_of, "D").astype("datetime64[us]").astype(int))
        )
    except ValueError as error:
        raise UsageError(f"--as-of {as_of!r} is no day; write it as 2011-11-01") from error
    if day + horizon * DAY > log.last or day - horizon * DAY <= log.first:
        raise UsageError(
            f"the log has {days:,} days: before the as-of day there must be more than the horizon of {horizon}, "
            f"to learn from, and from it on as many, to be judged by",
            kept="nothing was run",
            next_step=f"take a horizon of at most {max((days - 1) // 2, 1):,} days, or a longer log",
        )
    return day


def cut_offs(log: Log, horizon: int, as_of: int) -> Array:
    """Days as of which training asks, latest first: all answers lie before the as-of day. Those of a year before are
    among them where the log has them.
    """
    step = max(EVERY, horizon // 3) * DAY
    earliest = log.first + min(LEAST_PAST * DAY, (as_of - horizon * DAY - log.first) // 2)
    latest = np.arange(as_of - horizon * DAY, earliest, -step)[:MOST_CUT_OFFS]
    year = as_of - YEAR * DAY + step * np.array([1, 0, -1])
    return np.concatenate([latest, year[(year > earliest) & (year < latest.min(initial=as_of))]])


EVERY, LEAST_PAST, MOST_CUT_OFFS = 7, 30, 26
"""Days between cut-offs of training, at least; days of log before the first of them; how many there are at most."""
YEAR = 365


def learned_rows(log: Log, horizon: int, as_of: int, whole: Rows, *, both: bool) -> dict[int, Rows]:
    """What the preset learns from, by the days of the answers: the horizon that is asked about, of which the rows are
    given, and, for `both`, half of it where the log is few horizons long; half of it alone where the log before the
    as-of day is shorter than `WHOLE` horizons: answers of whole ones are then of the log's first days alone.
    """
    half, span = horizon // 2, (as_of - log.first) / DAY
    learned = {horizon: whole} if not half or span >= WHOLE * horizon else {}
    if half and (not learned or (both and estimators.few_answers(span, horizon))):
        learned[half] = together([rows_at(log, half, int(day)) for day in cut_offs(log, half, as_of)])
    return learned


WHOLE = 2.5


def together(parts: list[Rows]) -> Rows:
    """The rows of several days."""
    return Rows(*(np.concatenate([getattr(p, name) for p in parts]) for name in Rows.__dataclass_fields__))


def rows_of(log: Log, horizon: int, as_of: int) -> tuple[Rows, Rows]:
    """The rows of training and those that are asked."""
    parts = [rows_at(log, horizon, int(day)) for day in (*cut_offs(log, horizon, as_of), as_of)]
    enough(f"as of {np.datetime64(as_of, 'us').astype('datetime64[D]')}", parts[-1])
    return together(parts[:-1]), parts[-1]


LEAST_CUSTOMERS = 20


def enough(what: str, rows: Rows) -> None:
    """DataError where rows are of fewer than `LEAST_CUSTOMERS`."""
    customers = len(np.unique(rows.customer))
    if customers < LEAST_CUSTOMERS:
        raise DataError(
            f"{what} {customers:,} customers had bought in the {ACTIVE_DAYS} days before: too few",
            kept="nothing was run",
            next_step=f"take another as-of day, or a log of at least {LEAST_CUSTOMERS} customers",
        )


def teaches_nothing(train: Rows) -> str:
    """Why no baseline can learn from rows; empty where they can: a log that is hardly longer than two horizons has
    whole answers of its first days alone, of few customers or of none.
    """
    customers = len(np.unique(train.customer))
    if customers < LEAST_CUSTOMERS:
        return f"there are answers of {customers:,} customers"
    return "" if len(np.unique(train.churn)) > 1 else "all answers are the same"


def rows_at(log: Log, horizon: int, now: int) -> Rows:
    """Who bought in the days before, what can be said of them then, and what came of it."""
    split = log.split
    bought = split.action == 0
    owner = np.repeat(np.arange(len(log.customers)), np.diff(split.offsets))
    active = np.zeros(len(log.customers), bool)
    active[owner[bought & (split.time < now) & (split.time >= now - ACTIVE_DAYS * DAY)]] = True
    customer = np.flatnonzero(active)
    past = np.bincount(owner[split.time < now], minlength=len(log.customers))[customer]
    begin = split.offsets[:-1][customer]
    spans = Spans(begin, begin + past, np.full(len(customer), now - 1))
    later = bought & (split.time >= now) & (split.time < now + horizon * DAY)
    times = np.bincount(owner[later], minlength=len(log.customers))[customer]
    spent = np.bincount(owner[later], split.price[later], minlength=len(log.customers))[customer]
    x = features.compute(UNIT, split, spans, STORE)
    return Rows(x, (times == 0).astype(np.float64), spent, customer, np.full(len(customer), now))


Answers = dict[str, Array]
"""`churn` [N] probabilities, `spend` [N] money, and `low`, `high` [N]: an interval that holds 80% of the amounts."""


PRESETS = {"default": "blend", "logistic": "logistic", "boosting": "boosting"}
"""By name, the kind of model."""


MOST_ROWS = 100_000
"""Learned from, of more drawn by chance: as many as the graph learns from (`max_questions` of two parts)."""


def preset(learned: dict[int, Rows], test: Rows, horizon: int, seed: int, kind: str) -> Answers:
    """What the graph ships for churn and spend within the horizon, of answers of so many days."""

    def fitted(what: str, kind_of_answer: str) -> estimators.Estimator:
        first, *second = (
            estimators.Rows(
                each.x, getattr(each, what), each.customer, estimators.recency(each.cut_off), days, each.cut_off
            )
            for days, each in learned.items()
        )
        estimator = estimators.fit_horizons(
            kind,
            first,
            second[0] if second else None,
            horizon=horizon,
            kind_of_answer=kind_of_answer,
            names=features.names(UNIT),
            seed=seed,
            params={"most_rows": MOST_ROWS},
        )
        if estimator.other_days is False:
            sys.stderr.write(f"{what}: {estimator.rows:,} rows are too few to weigh members on other days too\n")
        return estimator

    churn = fitted("churn", "probability").predict(test.x)
    spender = fitted("spend", "amount")
    low, high = spender.interval(test.x).T
    return {"churn": np.exp(churn[:, 1]), "spend": spender.predict(test.x)[:, 0], "low": low, "high": high}


def importance(train: Rows, horizon: int, seed: int, kind: str) -> dict[str, float]:
    """By feature, the rise in log loss at the latest cut-off when its values are shuffled; the largest first."""
    latest = train.cut_off.max()
    earlier, last = train.part(train.cut_off + horizon * DAY <= latest), train.part(train.cut_off == latest)
    if not len(earlier):
        raise UsageError(
            f"no cut-off lies {horizon} days before the latest: there is nothing to judge features by",
            next_step="take a shorter horizon, or leave --importance out",
        )
    estimator = estimators.fit(
        kind,
        earlier.x,
        earlier.churn,
        kind_of_answer="probability",
        groups=earlier.customer,
        weights=estimators.recency(earlier.cut_off),
        names=features.names(UNIT),
        seed=seed,
        params={"horizon_days": horizon},
    )
    random = np.random.default_rng(seed)

    def loss(x: Array) -> float:
        return float(-estimator.predict(x)[np.arange(len(last)), last.churn.astype(int)].mean(dtype=np.float64))

    whole, rises = loss(last.x), {}
    for column, name in enumerate(features.names(UNIT)):
        if np.isnan(last.x[:, column]).all():
            continue
        shuffled = last.x.copy()
        shuffled[:, column] = random.permutation(shuffled[:, column])
        rises[name] = loss(shuffled) - whole
    return dict(sorted(rises.items(), key=lambda each: -each[1]))


def mean(train: Rows, test: Rows, _: int) -> Answers:
    """The mean of training for everybody."""
    return {"churn": np.full(len(test), train.churn.mean()), "spend": np.full(len(test), train.spend.mean())}


RFM = (
    "recency_days",
    "tenure_days",
    "purchases",
    "amount",
    "amount_mean",
    "purchases_30d",
    "purchases_90d",
    "purchases_180d",
)


def rfm(train: Rows, test: Rows, _: int) -> Answers:
    """Logistic and log-linear Tweedie regression on the logs of recency, frequency, money and windows."""
    from sklearn.linear_model import LogisticRegression, TweedieRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    columns = [features.names(UNIT).index(name) for name in RFM]
    x, x_test = (np.nan_to_num(rows.x[:, columns].astype(np.float64)) for rows in (train, test))

    def logs(model: Any) -> Any:
        return make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), model)

    scale = train.spend.mean() or 1.0
    churn = logs(LogisticRegression(max_iter=1000)).fit(x, train.churn).predict_proba(x_test)[:, 1]
    tweedie = TweedieRegressor(power=1.5, link="log", alpha=0.01, max_iter=1000)
    return {"churn": churn, "spend": logs(tweedie).fit(x, train.spend / scale).predict(x_test) * scale}


def boosting(train: Rows, test: Rows, _: int) -> Answers:
    """LightGBM on all features, as it comes, with a lower rate of learning."""
    import lightgbm

    settings = {"n_estimators": 200, "learning_rate": 0.03, "num_leaves": 15, "verbosity": -1, "n_jobs": 1}
    churn = lightgbm.LGBMClassifier(**settings).fit(train.x, train.churn).predict_proba(test.x)[:, 1]
    spend = lightgbm.LGBMRegressor(objective="tweedie", **settings).fit(train.x, train.spend).predict(test.x)
    return {"churn": np.asarray(churn), "spend": np.asarray(spend)}


def bgnbd(_: Rows, test: Rows, horizon: int) -> Answers:
    """BG/NBD and Gamma-Gamma of the histories as of the as-of day."""
    history = test.x[:, [features.names(UNIT).index(name) for name in READS]].astype(np.float64)
    fitted = fit_lifetime(history, horizon)
    log_odds, _, _, log_value, _ = fitted.columns(*history.T).T
    spend = fitted.purchases(*history.T[:3]) * np.exp(log_value)
    return {"churn": 1 / (1 + np.exp(log_odds)), "spend": spend}


BASELINES: dict[str, Callable[[Rows, Rows, int], Answers]] = {
    "mean": mean,
    "rfm": rfm,
    "boosting": boosting,
    "bgnbd": bgnbd,
}


def measured_churn(truth: Array, probability: Array) -> dict[str, float | None]:
    """ROC-AUC, average precision, log loss and calibration error of a probability, and the error that so few customers
    would have by chance if each were as likely as is said: the mean of `DRAWS` times that answers are drawn.
    """
    from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

    both = len(np.unique(truth)) > 1
    drawn = np.random.default_rng(0).random((DRAWS, len(truth))) < probability
    return {
        "roc_auc": float(roc_auc_score(truth, probability)) if both else None,
        "average_precision": float(average_precision_score(truth, probability)) if both else None,
        "log_loss": float(log_loss(truth, np.clip(probability, 1e-7, 1 - 1e-7), labels=[0, 1])),
        "ece": calibration_error(truth, probability),
        "ece_by_chance": float(np.mean([calibration_error(each, probability) for each in drawn])),
    }


DRAWS = 50


def calibration_error(truth: Array, probability: Array) -> float:
    """The expected calibration error of a probability [N]."""
    bins = calibration.bin_of(probability)
    totals = np.concatenate([np.bincount(bins, weights, calibration.BINS) for weights in (probability, truth)])
    return float(calibration.error(np.array([len(truth)]), totals[None])[0])


def measured_spend(truth: Array, answers: Answers) -> dict[str, float | None]:
    """Mean absolute error, rank correlation, normalised Gini, of all and of all but the one who spent most (a single
    order may decide the first), sum over sum, and of an interval what it holds.
    """
    from scipy.stats import spearmanr

    spend = answers["spend"]
    varied = len(np.unique(spend)) > 1 and len(np.unique(truth)) > 1
    metrics: dict[str, float | None] = {
        "mae": float(np.abs(truth - spend).mean()),
        "spearman": float(spearmanr(truth, spend).statistic) if varied else None,
        "gini": gini(truth, spend),
        "gini_without_largest": gini(np.delete(truth, truth.argmax()), np.delete(spend, truth.argmax())),
        "sum_ratio": float(spend.sum() / truth.sum()) if truth.sum() else None,
    }
    if "low" in answers:
        metrics["coverage_80"] = float(np.mean((truth >= answers["low"]) & (truth <= answers["high"])))
    return metrics


def gini(truth: Array, score: Array) -> float | None:
    """`by_customer.gini` of all customers alike; None where the truth is the same of all, or nothing."""
    varied = truth.sum() and len(np.unique(truth)) > 1
    return by_customer.gini(truth, score)(np.ones(len(truth))) if varied else None


def write_predictions(path: Path, customers: list[str], answers: Answers) -> None:
    """A CSV customer_id,churn,spend."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["customer_id", "churn", "spend"])
        for customer, churn, spend in zip(customers, answers["churn"], answers["spend"], strict=True):
            writer.writerow([customer, f"{churn:.6f}", f"{spend:.4f}"])


if __name__ == "__main__":
    guarded(main)
