"""Verbs of the data: logs that are simulated or looked at, people, and what is read off the events alone."""

from pathlib import Path
from typing import Annotated

import typer

from clickflow.system.errors import UsageError
from clickflow.verbs.app import DATA, AsJson, app, opened


@app.command(rich_help_panel=DATA)
def simulate(
    events: Annotated[int, typer.Option(help="How many events, at least.", min=1)],
    out: Annotated[Path, typer.Option(help="A folder; it is created.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    fmt: Annotated[str, typer.Option("--format", help="csv or parquet.")] = "csv",
    dirt: Annotated[float, typer.Option(help="Share of rows made dirty (csv only).", min=0, max=1)] = 0.0,
    days: Annotated[int | None, typer.Option(help="Length of the log; none given: 28.", min=1)] = None,
    planted: Annotated[float, typer.Option(help="Share of visits that are planted fraud or scrapers.", max=0.5)] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Write a simulated shop log of any size, and the true probabilities behind it."""
    from clickflow.sources.simulator import simulate

    of_shop = {"dirt": dirt, "planted": planted} | ({"days": days} if days else {})
    simulate.run(events=events, seed=seed, out=out, fmt=fmt, as_json=as_json, **of_shop)


@app.command(rich_help_panel=DATA)
def inspect(
    files: Annotated[list[Path], typer.Argument(help="Files of the log, or its folder.", metavar="FILE…")],
    rows: Annotated[int, typer.Option(help="How many rows of a file to look at, about.", min=100)] = 200_000,
    write: Annotated[bool, typer.Option("--write", help="Write the block into params.yaml.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at files, write the `source:` block of params.yaml that reads them, and try it on their rows.

    What is printed is YAML, with what was seen, and what is not sure, as comments.
    """
    params, paths = opened()
    from clickflow.events.inspect import verb
    from clickflow.sequences import units

    fit = verb.Fit(units.unfit, units.suggested)
    verb.run(params, paths, files, rows=rows, write=write, as_json=as_json, fit=fit)


@app.command(rich_help_panel=DATA)
def params(
    name: Annotated[str, typer.Argument(help="A section, or any part of a name: training, models.next_step.")] = "",
    as_json: AsJson = False,
) -> None:
    """Every param that holds here, chosen in params.yaml (`*`) or a default, and what it does."""
    chosen, paths = opened()
    from clickflow.params import show

    show.run(chosen, paths, name, as_json=as_json)


@app.command(rich_help_panel=DATA)
def replay(as_json: AsJson = False) -> None:
    """Check quarantined rows again, and take in those that a fix has made good."""
    params, paths = opened()
    from clickflow.events import replay as verb

    verb.run(params, paths, as_json=as_json)


@app.command(rich_help_panel=DATA)
def demand(
    level: Annotated[str, typer.Option(help="What a series is of: item, category or shop.")] = "item",
    step: Annotated[str, typer.Option(help="Units a day, or a week: day or week.")] = "day",
    horizon: Annotated[int, typer.Option(help="Days or weeks ahead.", min=1, max=366)] = 14,
    lead_time: Annotated[int, typer.Option(help="Days or weeks until an order arrives.", min=1)] = 3,
    every: Annotated[int, typer.Option(help="Days or weeks between orders.", min=1)] = 7,
    cost_short: Annotated[float, typer.Option(help="What a piece costs that is asked for and not there.")] = 4.0,
    cost_left: Annotated[float, typer.Option(help="What a piece costs that is left at the end.")] = 1.0,
    least_sales: Annotated[int, typer.Option(help="Days with a sale below which a series is left out.", min=1)] = 5,
    origins: Annotated[int, typer.Option(help="Times that the past is forecast, to say how good this is.", min=0)] = 2,
    plan: Annotated[
        Path | None, typer.Option(help="A CSV of promotions and prices, past and ahead: date[,until][,series_id],….")
    ] = None,
    top: Annotated[int, typer.Option(help="How many series are shown, the largest first.", min=1)] = 20,
    out: Annotated[Path | None, typer.Option(help="A folder for all forecasts.")] = None,
    as_json: AsJson = False,
) -> None:
    """Units ahead by item, category or shop, with quantiles; what to order, and what rises and falls."""
    for name, value, known in (("--level", level, ("item", "category", "shop")), ("--step", step, ("day", "week"))):
        if value not in known:
            raise UsageError(f"{name} is one of {', '.join(known)}, not {value!r}", kept="nothing was run")
    params, paths = opened()
    from clickflow.forecasting import verb
    from clickflow.forecasting.stock import Costs

    request = verb.Request(
        level=level,  # type: ignore[arg-type]
        step=step,  # type: ignore[arg-type]
        horizon=horizon,
        origins=origins,
        least_sales=least_sales,
        lead_time=lead_time,
        every=every,
        costs=Costs(short=cost_short, left=cost_left),
        plan=plan,
    )
    verb.run(params, paths, request, out=out, top=top, as_json=as_json)


@app.command(rich_help_panel=DATA)
def profiles(
    user: Annotated[str | None, typer.Option(help="A customer: their segment, and who is most like them.")] = None,
    count: Annotated[int, typer.Option("--segments", help="How many segments.", min=2, max=30)] = 7,
    similar: Annotated[int, typer.Option(help="How many similar customers are told of each.", min=1, max=100)] = 10,
    out: Annotated[Path | None, typer.Option(help="A folder for a row a customer, and a page of the segments.")] = None,
    as_json: AsJson = False,
) -> None:
    """Who the customers are: named segments, what is different in them, what they buy later; similar customers."""
    params, paths = opened()
    from clickflow.profiles import verb

    verb.run(params, paths, count=count, user=user, similar=similar, out=out, as_json=as_json)


@app.command(rich_help_panel=DATA, context_settings={"ignore_unknown_options": True})  # one in 64 begins with a dash
def who(
    names: Annotated[list[str] | None, typer.Argument(metavar="PSEUDONYM", help="Of customers or visits.")] = None,
    user: Annotated[str | None, typer.Option(help="A customer's own id: which pseudonym is it?")] = None,
    session: Annotated[str | None, typer.Option(help="A visit's own id: which pseudonym is it?")] = None,
    as_json: AsJson = False,
) -> None:
    """Who is behind a pseudonym, or which pseudonym somebody has; needs the key, and is recorded in who.jsonl."""
    params, paths = opened()
    from clickflow.serving import who as verb

    verb.run(params, paths, names or [], user=user, session=session, as_json=as_json)


@app.command(rich_help_panel=DATA)
def forget(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID…", help="Customers' own ids, or pseudonyms; after -- where one begins with a dash."),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A file with an id a line.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    rewrite_raw: Annotated[
        bool, typer.Option("--rewrite-raw", help="Also write raw files outside the repository without them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove people everywhere clickflow keeps bytes, for good, and write a certificate of it."""
    params, paths = opened()
    from clickflow.privacy import forget as verb

    verb.run(params, paths, ids or [], file=file, dry=dry_run, raw_outside=rewrite_raw, as_json=as_json)


@app.command("rotate-key", rich_help_panel=DATA)
def rotate_key(as_json: AsJson = False) -> None:
    """Make a new key for pseudonyms, and read the source again: everybody gets a new pseudonym."""
    params, paths = opened()
    from clickflow.privacy import rotate as verb

    verb.run(params, paths, as_json=as_json)
