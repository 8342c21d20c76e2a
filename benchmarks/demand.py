"""How well the demand preset forecasts the units of many series, beside every local method.

    python benchmarks/demand.py --series FILE --horizon N [--origins 3] [--step day|week|month] [--gru] [--plan FILE]
        --json FILE

FILE is a CSV `series_id,date,units[,price]` in UTF-8 (gzip or not; commas, tabs, or semicolons with decimal commas). A
date is written 2024-03-01, 2024/03/01 or 20240301, with a time or without: the day counts as it is written; of months
2024-03 too, of weeks 2024-W09. Units are summed by series and period. Where some series has gaps, a missing row says
that nothing was sold, and all series run to the end of the file; otherwise each runs from its first row to its last. A
row that cannot be read is an error that names its line; what is read otherwise than it stands there is counted, said,
and in the JSON (`notes`). At each origin the preset and the methods read what lies before it, and forecast the next N
periods; the last origin is N periods before the end, the others N periods apart, nearer where the file is short;
`series_at`: the series that run up to each. 3,000 series of two years of days take minutes an origin.

`parts` of the JSON are what the preset mixes beside the local methods, each alone; `weights` those of the three
quantiles at the last origin.
"""

import argparse
import json
import platform
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import series_file
from numpy.typing import NDArray

from clickflow.cli import guarded
from clickflow.forecasting import ensemble, plan_file, planned, scores
from clickflow.forecasting.groups import GROUPS, groups
from clickflow.forecasting.local import LOCAL
from clickflow.forecasting.panel import SEASONS, Panel
from clickflow.forecasting.planned import Plan
from clickflow.sequences.plan_file import read as read_plan
from clickflow.system.console import finite
from clickflow.system.errors import DataError, UsageError

Array = NDArray[Any]

LEAST = {"day": 14, "week": 8, "month": 12}
"""Periods before the first origin, at least."""
SLOW = 5.0
"""Seconds of a method from which on they are shown."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=Path, required=True)
    parser.add_argument("--horizon", type=int, required=True)
    parser.add_argument("--origins", type=int, default=3)
    parser.add_argument("--step", choices=tuple(SEASONS), default="day")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gru", action="store_true", help="a GRU encoder and decoder is part of the preset")
    parser.add_argument("--plan", type=Path, help="what was known ahead: as for `clickflow demand --plan`")
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    if args.horizon < 1 or args.origins < 1:
        raise UsageError("--horizon and --origins are 1 or more", kept="nothing was run")
    if args.json.is_dir():
        raise UsageError(f"--json {args.json} is a folder", kept="nothing was run")
    args.json.parent.mkdir(parents=True, exist_ok=True)
    read = series_file.read(args.series, args.step)
    say(read.notes)
    plan, unused = plan_file.of(read_plan(args.plan), read.panel, 0) if args.plan else (None, ())
    say(unused)
    result = measure(read.panel, args.horizon, args.origins, args.seed, args.gru, plan)
    result["notes"] = [*read.notes, *unused, *result["notes"]]
    text = json.dumps(finite(result), indent=2, sort_keys=True, allow_nan=False)
    args.json.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


def say(notes: Iterable[str]) -> None:
    """On stderr, a line each."""
    for note in notes:
        sys.stderr.write(f"note: {note}\n")


def origins(periods: int, horizon: int, count: int, least: int) -> tuple[list[int], list[str]]:
    """Origins, the first one first: N periods apart, or nearer, so that `least` periods lie before the first; and what
    is to be said of them.
    """
    notes = []
    last = periods - horizon
    if last < least:
        raise DataError(
            f"the file has {periods} periods; {horizon} to forecast leave fewer than {least} to learn from",
            kept="nothing was run",
            next_step="give a longer file, or a shorter --horizon",
        )
    if count > last - least + 1:
        count = last - least + 1
        notes.append(f"{periods} periods have room for {count} origins alone")
    apart = min(horizon, (last - least) // (count - 1)) if count > 1 else horizon
    if apart < horizon:
        notes.append(f"origins are {apart} periods apart, not {horizon}: what they forecast overlaps")
    return [last - apart * number for number in range(count - 1, -1, -1)], notes


def shown(held: Panel, at: list[int]) -> str:
    """The days of these origins."""
    return ", ".join(map(str, held.dates(np.array(at))))


def measure(
    held: Panel, horizon: int, count: int, seed: int, network: bool = False, plan: Plan | None = None
) -> dict[str, Any]:
    """All metrics of the preset and of the local methods, over all series and origins together; a `plan` is read by the
    preset alone, of the days ahead of an origin too.
    """
    at, notes = origins(held.periods, horizon, count, LEAST[held.step])
    at, none = [origin for origin in at if len(held.running(origin))], at
    if len(at) < len(none):
        notes.append(f"no series runs up to {len(none) - len(at)} of {len(none)} origins: they are left out")
    if not at or not any(np.nansum(held.following(origin, horizon)) for origin in at):
        raise DataError(
            f"nothing was sold in the {horizon} {held.step}s after {shown(held, none)}: no forecast can be judged",
            kept="nothing was run",
            next_step="give a file that ends later, another --horizon, or more --origins",
        )
    if spikes := int((ensemble.tamed(held).values < held.values).sum()):
        notes.append(
            f"{spikes:,} values are above {ensemble.SPIKE:.0f} times the usual largest of their series: the preset "
            "reads them as so much, and is judged by them as they are"
        )
    actual: list[Array] = []
    scale: list[Array] = []
    by_method: dict[str, list[Array]] = {name: [] for name in ("preset", *LOCAL)}
    parts: dict[str, list[Array]] = {}
    group_at: list[Array] = []
    seconds = dict.fromkeys(by_method, 0.0)
    weights: dict[str, dict[str, float]] = {}
    counts: list[int] = []
    for number, origin in enumerate(at):
        known = held.before(origin)
        counts.append(len(known.values))
        sys.stderr.write(f"origin {number + 1} of {len(at)}, {shown(held, [origin])}: {counts[-1]:,} series\n")
        actual.append(held.following(origin, horizon))
        scale.append(scores.naive_error(known.values, known.season))
        group_at.append(groups(known))
        for name, method in LOCAL.items():
            started = time.perf_counter()
            by_method[name].append(method(known, horizon))
            seconds[name] += time.perf_counter() - started
            if (spent := time.perf_counter() - started) > SLOW:
                sys.stderr.write(f"  {name} took {spent:.0f} s\n")
        started = time.perf_counter()
        own = plan.rows(held.running(origin)) if plan else None
        fitted = planned.fit(known, horizon, own, seed=seed, network=network)
        preset = fitted.preset
        each = preset.each(fitted.plain.panel, {} if plan else {name: by_method[name][-1] for name in LOCAL})
        by_method["preset"].append(fitted.plain.put_on(preset.mix(fitted.plain.panel, each)))
        each = fitted.plain.put_on(each)
        seconds["preset"] += time.perf_counter() - started
        for name, forecast in zip(preset.methods, each, strict=True):
            parts.setdefault(name, []).append(forecast)
        weights = {
            group: {name: np.round(w, 3).tolist() for name, w in zip(preset.methods, weight[1:].T, strict=True)}
            for group, weight in preset.weights.items()
        }
        if (spent := time.perf_counter() - started) > SLOW:
            sys.stderr.write(f"  the preset took {spent:.0f} s\n")
    truth, scales, group = np.concatenate(actual), np.concatenate(scale), np.concatenate(group_at)
    joined = {name: np.concatenate(parts) for name, parts in by_method.items()}
    summaries = {name: scores.summary(truth, forecast, scales) for name, forecast in joined.items()}
    best = min(LOCAL, key=lambda name: summaries[name]["weighted_quantile_loss"])
    loss, other = (summaries[name]["weighted_quantile_loss"] for name in ("preset", best))
    if not other:
        notes.append(f"{best} forecast all of it without an error: nothing can be below it")
    return {
        **summaries["preset"],
        "baselines": {name: summaries[name] for name in LOCAL},
        "parts": {
            name: scores.summary(truth, np.concatenate(forecasts), scales)
            for name, forecasts in parts.items()
            if name not in LOCAL and len(forecasts) == len(at)
        },
        "best_baseline": best,
        "below_best_baseline": 1 - loss / other if other else None,
        "notes": notes,
        "series_at": counts,
        "by_group": {
            name: {
                "series": int((group == number).sum()),
                **{
                    system: scores.summary(truth[group == number], forecast[group == number], scales[group == number])
                    for system, forecast in joined.items()
                },
            }
            for number, name in enumerate(GROUPS)
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
