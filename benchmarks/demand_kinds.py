"""The demand preset on made-up series of known kinds, beside the local methods: where it is behind, and what it covers.

    python benchmarks/demand_kinds.py [--seed 0] [--origins 1] [--kinds REGEX] --json FILE

A kind is what the level does (walks, halves, grows, has a year, a peak before Christmas), how often something is sold,
or how little is known, by day, week and month; counts are Poisson, wider by a gamma factor of each period. A kind of
another seed is another draw: choose by one, judge by another. Each is measured as `benchmarks/demand.py` does a file.
"""

import argparse
import contextlib
import io
import json
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import demand
import numpy as np
from numpy.typing import NDArray

from clickflow.cli import guarded
from clickflow.forecasting.panel import SEASONS, Panel, Step
from clickflow.system.errors import UsageError

Array = NDArray[Any]

START = np.datetime64("2022-01-03")
PERIODS = {"day": 540, "week": 130, "month": 60}
HORIZON = {"day": 14, "week": 6, "month": 6}
YEAR = {"day": 365.25, "week": 52.18, "month": 12.0}
MOVED = {"day": 0.03, "week": 0.08, "month": 0.12}
"""Standard deviation of the logarithm of a level, a period."""
SINCE = {"day": 40, "week": 14, "month": 9}
"""Periods that a shop's level has been another for, at the end."""
SERIES = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--origins", type=int, default=1)
    parser.add_argument("--kinds", default=".", help="those whose name this is found in, such as `walk|_month$`")
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    rows: dict[str, Any] = {}
    for name, panel, horizon in kinds(args.seed):
        if not re.search(args.kinds, name):
            continue
        with contextlib.redirect_stderr(io.StringIO()):
            result = demand.measure(panel, horizon, args.origins, args.seed)
        rows[name] = result
        below = result["below_best_baseline"]
        sys.stdout.write(
            f"{name:22s} loss {result['weighted_quantile_loss']:.4f}  {-100 * below:+6.1f}% against "
            f"{result['best_baseline']:14s} coverage {result['coverage_80']:.3f}\n"
        )
        sys.stdout.flush()
    if not rows:
        raise UsageError(f"no kind's name has {args.kinds} in it", kept="nothing was run")
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def kinds(seed: int) -> Iterator[tuple[str, Panel, int]]:
    """Name, series, horizon; each drawn by a seed of its own."""
    for at, step in enumerate(SEASONS):
        for number, (name, values, price) in enumerate(levels(step, seed)):
            draw = np.random.default_rng([seed, at, number])
            if step == "day":
                week = np.exp(draw.normal(0, 0.25, 7) + draw.normal(0, 0.1, (len(values), 7)))
                values = values * week[:, np.arange(values.shape[1]) % 7]
            yield f"{name}_{step}", Panel(sold(draw, values), step, START, price=price), HORIZON[step]
        for rate in (0.05, 0.2, 0.5):
            draw = np.random.default_rng([seed, at, int(100 * rate)])
            shape = (2 * SERIES, PERIODS[step])
            chance = np.clip(draw.normal(rate, rate / 3, (shape[0], 1)), 0.01, 0.9)
            pieces = 1 + draw.poisson(draw.lognormal(0.7, 0.7, (shape[0], 1)) * draw.gamma(2, 0.5, shape))
            values = np.where(draw.random(shape) < chance, pieces, 0).astype(float)
            yield f"sold_{100 * rate:.0f}%_{step}", Panel(values, step, START), HORIZON[step]
    short: tuple[tuple[Step, int, int], ...] = (("day", 14, 7), ("day", 20, 7), ("week", 12, 4), ("month", 18, 6))
    for step, known, horizon in short:
        draw = np.random.default_rng([seed, known])
        values = usual(draw, 2.0) * walk(draw, SERIES, known + horizon, 0.05)
        yield f"{known}_{step}s", Panel(sold(draw, values), step, START), horizon
    yield "christmas_week", *christmas(np.random.default_rng([seed, 99]))


def levels(step: Step, seed: int) -> Iterator[tuple[str, Array, Array | None]]:
    """What is to be sold, [s, t], and the price, of kinds of level."""
    draw = np.random.default_rng([seed, 7, PERIODS[step]])
    periods, moved = PERIODS[step], MOVED[step]
    time, flat = np.arange(periods), np.ones((SERIES, periods))
    late = time >= periods - SINCE[step]
    yield "walk", usual(draw) * walk(draw, SERIES, periods, moved), None
    yield "walk_together", usual(draw) * walk(draw, 1, periods, moved), None
    shifts = draw.random(flat.shape) < 2.5 / periods
    yield "shifts", usual(draw) * np.exp(np.cumsum(shifts * draw.choice([-0.7, 0.7], flat.shape), 1)), None
    yield "shop_halves", usual(draw) * np.where(late, 0.5, flat), None
    yield "shop_doubles", usual(draw) * np.where(late, 2.0, flat), None
    yield "trend", usual(draw) * np.exp(draw.normal(0.4, 0.7, (SERIES, 1)) * time / periods), None
    long = np.arange(int(2.2 * YEAR[step]) if step != "month" else 72)
    phase, size = draw.uniform(0, 2 * np.pi, (SERIES, 1)), draw.uniform(0.2, 0.8, (SERIES, 1))
    yield "year", usual(draw) * np.exp(size * np.sin(2 * np.pi * long / YEAR[step] + phase)), None
    yield "large", usual(draw, 8.0) * walk(draw, SERIES, periods, moved / 3), None
    growing = usual(draw, 1.5) * walk(draw, SERIES, periods, moved / 2, moved / 8)
    begun = (draw.random(SERIES) ** 1.5 * periods * 0.9).astype(int)
    yield "growing", np.where(time < begun[:, None], np.nan, growing), None
    span = {"day": 7, "week": 2, "month": 1}[step]
    on = np.repeat(draw.random((SERIES, periods // span + 1)) < 0.12, span, 1)[:, :periods]
    price = np.where(on, 0.8, 1.0) * np.exp(draw.normal(1, 1, (SERIES, 1)))
    yield "promotions", usual(draw, 2.0) * np.where(on, 2.5, flat), price


def christmas(draw: np.random.Generator) -> tuple[Panel, int]:
    """Three years of weeks that end at Christmas, before which more is sold, and after which less."""
    days = START + np.arange(3 * 52 * 7)
    day = (days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(int)
    peak = np.where((day >= 325) & (day < 358), 2.5, np.where(day >= 358, 0.5, 1.0))
    of_days = peak ** draw.uniform(0.3, 1.3, (SERIES, 1))
    values = usual(draw) * of_days.reshape(SERIES, -1, 7).mean(2)  # a week of both is of both
    end = int(np.flatnonzero(day[::7] >= 355)[-1]) + 1
    return Panel(sold(draw, values)[:, :end], "week", START), HORIZON["week"]


def usual(draw: np.random.Generator, mean: float = 2.5) -> Array:
    """Usual sales of series [s, 1]: few of them sell most."""
    return np.exp(draw.normal(mean, 1, (SERIES, 1)))


def walk(draw: np.random.Generator, series: int, periods: int, moved: float, drift: float = 0.0) -> Array:
    """A level that walks, [s, t]."""
    return np.exp(np.cumsum(draw.normal(drift, moved, (series, periods)), 1))


def sold(draw: np.random.Generator, mean: Array) -> Array:
    """Counts about a mean, NaN where that is."""
    counts = draw.poisson(np.nan_to_num(mean) * draw.gamma(8, 1 / 8, mean.shape)).astype(float)
    return np.where(np.isnan(mean), np.nan, counts)


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)  # means of no value, which are then not used
    guarded(main)
