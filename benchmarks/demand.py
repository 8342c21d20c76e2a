"""How well the demand preset forecasts the units of many series, beside every local method.

    python benchmarks/demand.py --series FILE --horizon N [--origins 3] [--step day|week|month] [--gru] --json FILE

FILE is a CSV `series_id,date,units[,price]` (gzip or not). Units are summed by series and period. Where some series has
gaps, a missing row says that nothing was sold, and all series run to the end of the file; otherwise each runs from its
first row to its last. At each origin the preset and the methods read what lies before it, and forecast the next N
periods; the last origin is N periods before the end, the others N periods apart, nearer where the file is short.

`parts` of the JSON are what the preset mixes beside the local methods, each alone; `weights` those of the three
quantiles at the last origin.
"""

import argparse
import json
import platform
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.cli import guarded
from clickflow.forecasting import ensemble, scores
from clickflow.forecasting.local import LOCAL
from clickflow.forecasting.panel import SEASONS, Panel, panel, whole_periods
from clickflow.system.console import finite
from clickflow.system.errors import DataError, UsageError

Array = NDArray[Any]

LEAST = {"day": 14, "week": 8, "month": 12}
"""Periods before the first origin, at least."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=Path, required=True)
    parser.add_argument("--horizon", type=int, required=True)
    parser.add_argument("--origins", type=int, default=3)
    parser.add_argument("--step", choices=tuple(SEASONS), default="day")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gru", action="store_true", help="a GRU encoder and decoder is part of the preset")
    parser.add_argument("--json", type=Path, required=True)
    asked = parser.parse_args()
    if asked.horizon < 1 or asked.origins < 1:
        raise UsageError("--horizon and --origins are 1 or more", kept="nothing was run")
    result = measure(read(asked.series, asked.step), asked.horizon, asked.origins, asked.seed, asked.gru)
    text = json.dumps(finite(result), indent=2, sort_keys=True, allow_nan=False)
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    asked.json.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


def read(file: Path, step: Any) -> Panel:
    """The panel of a CSV. Raises DataError where it is none."""
    import pandas as pd

    try:
        rows = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    if missing := [name for name in ("series_id", "date", "units") if name not in rows]:
        raise DataError(f"{file} has no column {', '.join(missing)}; it has {', '.join(map(str, rows.columns))}")
    date = pd.to_datetime(rows.date, errors="coerce", utc=True, format="ISO8601").dt.tz_localize(None)
    units = pd.to_numeric(rows.units, errors="coerce")
    bad = date.isna() | ~np.isfinite(units) | (rows.series_id == "")
    if bad.any():
        line = int(np.flatnonzero(bad)[0]) + 2
        raise DataError(f"{file}: {int(bad.sum()):,} rows have no series, date or units; the first is line {line}")
    if rows.empty:
        raise DataError(f"{file} has no rows")
    price = pd.to_numeric(rows.price, errors="coerce").to_numpy(float) if "price" in rows else None
    keys, days = rows.series_id.to_numpy(str), date.to_numpy("datetime64[D]")
    whole = whole_periods(days, step)
    if not whole.any():
        raise DataError(f"{file} covers no whole {step}")
    if not whole.all():
        sys.stderr.write(f"warning: {(~whole).sum():,} rows of a {step} that the file does not cover are left out\n")
    held, below = panel(
        keys[whole], days[whole], units.to_numpy(float)[whole], step=step, price=None if price is None else price[whole]
    ).not_negative()
    if not np.nansum(held.values):
        raise DataError(f"{file} holds no sale: all units are 0", kept="nothing was run")
    if below:
        sys.stderr.write(f"warning: {below:,} periods have fewer than 0 units (returns): read as 0\n")
    return held


def origins(periods: int, horizon: int, count: int, least: int) -> list[int]:
    """Origins, the first one first: N periods apart, or nearer, so that `least` periods lie before the first."""
    last = periods - horizon
    if last < least:
        raise DataError(
            f"the longest series has {periods} periods; {horizon} to forecast leave fewer than {least} to learn from",
            next_step="give a longer file, or a shorter --horizon",
        )
    if count > last - least + 1:
        count = last - least + 1
        sys.stderr.write(f"warning: {periods} periods have room for {count} origins alone\n")
    apart = min(horizon, (last - least) // (count - 1)) if count > 1 else horizon
    return [last - apart * number for number in range(count - 1, -1, -1)]


def measure(held: Panel, horizon: int, count: int, seed: int, network: bool = False) -> dict[str, Any]:
    """All metrics of the preset and of the local methods, over all series and origins together."""
    at = origins(held.periods, horizon, count, LEAST[held.step])
    actual: list[Array] = []
    scale: list[Array] = []
    made: dict[str, list[Array]] = {name: [] for name in ("preset", *LOCAL)}
    parts: dict[str, list[Array]] = {}
    groups: list[Array] = []
    seconds = dict.fromkeys(made, 0.0)
    weights: dict[str, dict[str, float]] = {}
    for origin in at:
        known = held.before(origin)
        actual.append(held.following(origin, horizon))
        scale.append(scores.naive_error(known.values, known.season))
        groups.append(ensemble.groups(known))
        for name, method in LOCAL.items():
            started = time.perf_counter()
            made[name].append(method(known, horizon))
            seconds[name] += time.perf_counter() - started
        started = time.perf_counter()
        preset = ensemble.fit(known, horizon, seed=seed, network=network)
        each = preset.each(known)
        made["preset"].append(preset.mix(known, each))
        seconds["preset"] += time.perf_counter() - started
        for name, forecast in zip(preset.methods, each, strict=True):
            parts.setdefault(name, []).append(forecast)
        weights = {
            group: {name: np.round(w, 3).tolist() for name, w in zip(preset.methods, weight[1:].T, strict=True)}
            for group, weight in preset.weights.items()
        }
        sys.stderr.write(f"origin {held.dates(np.array([origin]))[0]}: {len(known.values)} series\n")
    truth, scales, group = np.concatenate(actual), np.concatenate(scale), np.concatenate(groups)
    joined = {name: np.concatenate(parts) for name, parts in made.items()}
    summaries = {name: scores.summary(truth, forecast, scales) for name, forecast in joined.items()}
    best = min(LOCAL, key=lambda name: summaries[name]["weighted_quantile_loss"])
    below = 1 - summaries["preset"]["weighted_quantile_loss"] / summaries[best]["weighted_quantile_loss"]
    return {
        **summaries["preset"],
        "baselines": {name: summaries[name] for name in LOCAL},
        "parts": {
            name: scores.summary(truth, np.concatenate(forecasts), scales)
            for name, forecasts in parts.items()
            if name not in LOCAL and len(forecasts) == len(at)
        },
        "best_baseline": best,
        "below_best_baseline": below,
        "by_group": {
            name: {
                "series": int((group == number).sum()),
                **{
                    system: scores.summary(truth[group == number], forecast[group == number], scales[group == number])
                    for system, forecast in joined.items()
                },
            }
            for number, name in enumerate(ensemble.GROUPS)
            if (group == number).any()
        },
        "weights": weights,
        "series": len(held.values),
        "periods": held.periods,
        "step": held.step,
        "season": held.season,
        "horizon": horizon,
        "origins": [str(day) for day in held.dates(np.array(at))],
        "forecasts": int((~np.isnan(truth)).sum()),
        "seconds": {name: round(spent, 2) for name, spent in seconds.items()},
        "seed": seed,
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)  # means of no value, which are then not used
    guarded(main)
