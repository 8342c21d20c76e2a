"""`clickflow demand`: units ahead of every item, category or the shop, what to order, and what rises and falls."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting import forecaster, plan_file, planned, scores, shop, stock, trend
from clickflow.forecasting.local import LOCAL
from clickflow.forecasting.panel import Panel, Step
from clickflow.forecasting.planned import Plan, Planned
from clickflow.forecasting.shop import Level, Series
from clickflow.forecasting.stock import Costs
from clickflow.params.schema import Params
from clickflow.sequences.plan_file import read as read_plan
from clickflow.system import console, integrity
from clickflow.system.errors import UsageError
from clickflow.system.files import check_folder, replacing, write_json
from clickflow.system.paths import Paths

Array = NDArray[Any]

KIND = "clickflow demand"
"""What card.json says of the folder, so that no other folder is ever replaced by one."""
CARD = "card.json"
UNPLANNED = "without_plan"
BEFORE = 3
"""Horizons of what was sold that are kept beside the forecasts."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be forecast, and for which orders."""

    level: Level
    step: Step
    horizon: int
    origins: int
    """At which the past is forecast, to say how good this is; 0: not said."""
    least_sales: int
    lead_time: int
    every: int
    costs: Costs
    plan: Path | None = None
    """A file of promotions and prices, of days past and ahead."""


def run(params: Params, paths: Paths, request: Request, *, out: Path | None, top: int, as_json: bool) -> None:
    """Forecast what follows the log, write it to `out`, and say the largest. Raises UsageError, DataError."""
    request.costs.service_level  # noqa: B018  # raises before anything is read
    _check(out, request)
    of_file = read_plan(request.plan) if request.plan else None
    integrity.verify(paths.events, home=paths.home)
    held = shop.series(paths.events, request.level, request.step, request.least_sales)
    _warn(held, request)
    plan, notes = plan_file.of(of_file, held.panel, request.horizon) if of_file else (None, ())
    for note in notes:
        console.say(f"warning {note}")
    fitted = planned.fit(held.panel, request.horizon, plan, seed=params.seed)
    rows, before = forecast(held, request, fitted), past(held.panel, request, params.seed, plan)
    if before is not None and trend.refuted(**before["trend"]["preset"]):
        rows = [row | {"trend": "not sure"} for row in rows]
    result = {"kind": KIND, **_card(held, request), "past": before, "series": rows[:top]}
    if fitted.effects is not None:
        result["plan"] = {"effects": fitted.effects.described(), "notes": list(notes)}
    if out is not None:
        with replacing(out, seal=integrity.seal) as fresh:
            _write(fresh, held, rows, {key: value for key, value in result.items() if key != "series"})
    console.emit(result, as_json=as_json, text=lambda: _table(result))


def forecast(held: Series, request: Request, fitted: Planned) -> list[dict[str, Any]]:
    """A row a series, the largest first: units ahead by period, order advice, trend."""
    preset, plain = fitted.preset, fitted.plain.panel
    forecasts = preset.forecast(plain)
    if request.level == "item":
        parent = np.array(held.parent)
        forecasts = forecaster.young(preset, plain, parent, forecasts, forecaster.kin(preset, plain, parent, forecasts))
    forecasts = fitted.plain.put_on(forecasts)
    level = request.costs.service_level
    order = stock.advice(forecasts, lead_time=request.lead_time, every=request.every, service_level=level)
    moving = trend.forecast_trend(held.panel, forecasts)
    mean, _ = stock.total(forecasts)
    return [
        {
            request.level: held.panel.ids[row],
            **({"category": held.parent[row] or None} if request.level == "item" else {}),
            "expected": round(float(mean[row]), 2),
            "periods": [
                dict(zip(("expected", "low_10", "middle", "high_90"), map(float, period.round(2)), strict=True))
                for period in forecasts[row]
            ],
            "reorder_point": int(order.reorder_point[row]),
            "order_quantity": int(order.order_quantity[row]),
            "ratio_to_before": None if np.isnan(moving.ratio[row]) else round(float(moving.ratio[row]), 3),
            "rises": round(float(moving.rises[row]), 3),
            "trend": ("falls", "not sure", "rises")[int(moving.direction[row]) + 1],
        }
        for row in np.argsort(-mean, kind="stable")
    ]


def past(held: Panel, request: Request, seed: int, plan: Plan | None = None) -> dict[str, Any] | None:
    """How good the same forecasts were at the last origins, beside the local methods; None where nothing is asked.

    `stock_costs`: a stock for the whole horizon at the service level, by the preset, and by what was sold in as many
    periods just before. `trend`: directions named, and how many of them came true. With a `plan`, taken for known at
    each origin, `without_plan` is the same preset that does not read it.
    """
    at = [held.periods - request.horizon * number for number in range(request.origins, 0, -1)]
    at = [origin for origin in at if origin >= shop.LEAST[request.step]]
    if not at:
        return None
    names = ("preset", *LOCAL, *([UNPLANNED] if plan else []))
    actual, scale, forecasts = [], [], {name: [] for name in names}  # type: ignore[var-annotated]
    costs, named = {"preset": 0.0, "as_before": 0.0}, {"preset": [0, 0], "moving_average": [0, 0]}
    for origin in at:
        known, after = held.before(origin), held.following(origin, request.horizon)
        own = plan.rows(held.running(origin)) if plan else None
        preset = planned.fit(known, request.horizon, own, seed=seed).forecast()
        if plan:
            forecasts[UNPLANNED].append(planned.fit(known, request.horizon, seed=seed).forecast())
        actual.append(after)
        scale.append(scores.naive_error(known.values, known.season))
        forecasts["preset"].append(preset)
        for name, method in LOCAL.items():
            forecasts[name].append(method(known, request.horizon))
        stocks = {
            "preset": stock.enough(preset, request.costs.service_level),
            "as_before": np.nansum(known.values[:, -request.horizon :], 1),
        }
        trends = {
            "preset": trend.forecast_trend(known, preset),
            "moving_average": trend.moving_average(known, request.horizon),
        }
        for name, units in stocks.items():
            costs[name] += stock.cost(after, units, request.costs)
        for name, moving in trends.items():
            named[name] = [a + b for a, b in zip(named[name], trend.precision(moving, known, after), strict=True)]
    truth, scales = np.concatenate(actual), np.concatenate(scale)
    worth = {name: scores.summary(truth, np.concatenate(parts), scales) for name, parts in forecasts.items()}
    return {
        "origins": [str(day) for day in held.dates(np.array(at))],
        "preset": worth.pop("preset"),
        **({UNPLANNED: worth.pop(UNPLANNED)} if plan else {}),
        "baselines": worth,
        "stock_costs": {name: round(value, 2) for name, value in costs.items()},
        "trend": {name: {"named": count, "true": true} for name, (count, true) in named.items()},
    }


def _warn(held: Series, request: Request) -> None:
    """What is not in the series, where people look."""
    for count, what in (
        (
            held.units_of_the_open_period,
            f"units of the {request.step} in which the log ends are left out: it may not be over",
        ),
        (held.units_without_key, f"units bought of no {request.level} are in no series"),
        (held.series_of_few_sales, f"series of fewer than {request.least_sales} days with sales are not forecast"),
    ):
        if count:
            console.say(f"warning {count:,} {what}")


def _card(held: Series, request: Request) -> dict[str, Any]:
    return {
        "level": request.level,
        "step": request.step,
        "horizon": request.horizon,
        "from": str(held.ends),
        "count": len(held.panel.values),
        "service_level": round(request.costs.service_level, 4),
        "lead_time": request.lead_time,
        "periods_between_orders": request.every,
        "left_out": {
            "units_of_the_open_period": held.units_of_the_open_period,
            "units_without_key": held.units_without_key,
            "series_of_few_sales": held.series_of_few_sales,
            "units_of_few_sales": held.units_of_few_sales,
        },
    }


def _check(out: Path | None, request: Request) -> None:
    """Raise UsageError before anything is read."""
    if (together := request.lead_time + request.every) > request.horizon:
        raise UsageError(
            f"--lead-time and --every are {together} periods together, --horizon {request.horizon}",
            kept="nothing was run",
            next_step=f"ask for a longer --horizon, or for a shorter --lead-time and --every (in {request.step}s)",
        )
    if out is not None:
        check_folder(out, KIND, "forecasts")


def _write(folder: Path, held: Series, rows_of_series: list[dict[str, Any]], card: dict[str, Any]) -> None:
    """forecasts.parquet (a row a series and period), sold.parquet (the same of the periods before), stock.parquet (a
    row a series), card.json.
    """
    import pyarrow as pa
    from pyarrow import parquet

    level = card["level"]
    days = held.panel.dates(np.arange(card["horizon"]) + held.panel.periods)
    rows = [
        {level: row[level], "period": str(day), **period}
        for row in rows_of_series
        for day, period in zip(days, row["periods"], strict=True)
    ]
    parquet.write_table(pa.Table.from_pylist(rows), folder / "forecasts.parquet")
    first = max(0, held.panel.periods - BEFORE * card["horizon"])
    known = ~np.isnan(held.panel.values[:, first:])
    series, place = np.nonzero(known)
    sold = {
        level: np.array(held.panel.ids, object)[series],
        "period": held.panel.dates(np.arange(first, held.panel.periods)).astype(str)[place],
        "units": held.panel.values[:, first:][known],
    }
    parquet.write_table(pa.table(sold), folder / "sold.parquet")
    plain = [{name: value for name, value in row.items() if name != "periods"} for row in rows_of_series]
    parquet.write_table(pa.Table.from_pylist(plain), folder / "stock.parquet")
    write_json(folder / CARD, card)


def _table(result: dict[str, Any]) -> Any:
    from rich.console import Group
    from rich.table import Table

    level, horizon, step = result["level"], result["horizon"], result["step"]
    shown = Table(title=f"The next {horizon} {step}s from {result['from']} on, the largest of {result['count']:,}")
    for name in (level, "units", "reorder at", "order", "trend", "sure"):
        shown.add_column(name, justify="left" if name in (level, "trend") else "right")
    unsaid = result["past"] is not None and trend.refuted(**result["past"]["trend"]["preset"])
    for row in result["series"]:
        sure = f"{int(max(row['rises'], 1 - row['rises']) * 100)}%"  # down: what is named is at least 80% sure
        shown.add_row(
            row[level],
            f"{row['expected']:,.0f}",
            f"{row['reorder_point']:,}",
            f"{row['order_quantity']:,}",
            row["trend"],
            "–" if unsaid else sure,
        )
    return Group(_paragraph(result), shown)


def _paragraph(result: dict[str, Any]) -> str:
    """What a shop manager reads first."""
    past = result["past"]
    if past is None:
        return "How good these forecasts are is not known: --origins is 0, or the log is too short."
    costs, trends = past["stock_costs"], past["trend"]["preset"]
    best = min(past["baselines"], key=lambda name: past["baselines"][name]["weighted_quantile_loss"])
    loss, other = past["preset"]["weighted_quantile_loss"], past["baselines"][best]["weighted_quantile_loss"]
    share = round(100 * (1 - loss / other)) if other else 0
    less = f"{abs(share)}% {'less' if share > 0 else 'more'} than" if share else "as large as"
    return (
        f"Order so that nothing is missing in {result['service_level']:.0%} of the cases. Over the last "
        f"{len(past['origins'])} times {result['horizon']} {result['step']}s such stocks would have cost "
        f"{costs['preset']:,.0f}, and stocks of what was sold just before {costs['as_before']:,.0f}. The forecasts' "
        f"error was {less} that of the best simple method ({best}); {past['preset']['coverage_80']:.0%} of the "
        f"values lay between the .1 and .9 quantiles."
        f" Of {trends['named']} trends that were named, {trends['true']} came true"
        f"{': too few, so none is named now.' if trend.refuted(**trends) else '.'}{_planned(result)}"
    )


def _planned(result: dict[str, Any]) -> str:
    """What the plan did, and whether it helps."""
    if "plan" not in result:
        return ""
    said = planned.said(result["plan"]["effects"])
    loss, other = (result["past"][name]["weighted_quantile_loss"] for name in ("preset", UNPLANNED))
    share = round(100 * (1 - loss / other)) if other else 0
    less = f"{abs(share)}% {'less' if share > 0 else 'more'} than" if share else "as large as"
    return f" The plan: {said}; with it the error was {less} without."
