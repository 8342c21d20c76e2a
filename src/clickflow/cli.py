"""`clickflow VERB`: one short function per command; each stage of dvc.yaml is one command."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from clickflow import __version__
from clickflow.params.file import load
from clickflow.params.schema import Params
from clickflow.sequences.units import UNITS
from clickflow.system import console, files
from clickflow.system.errors import EXIT_FAILED, EXIT_INTERRUPTED, ClickflowError, UsageError
from clickflow.system.paths import Paths, workspace

app = typer.Typer(
    name="clickflow",
    help="From a shop's click log to a promoted model.\n\n"
    "The pipeline is dvc.yaml; run all of it with `dvc repro`, or a stage of it with the verbs below. "
    "What can be chosen stands in params.yaml.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

STAGES, WORK, MODELS, RUNS, PLATFORM = "Stages of the pipeline", "Data", "Models", "Runs", "Platform"

Name = Annotated[str, typer.Argument(help="A model of params.yaml.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def _open(*models: str) -> tuple[Params, Paths]:
    """The checked params and the workspace; called before anything heavy is imported, so that a fault shows at once."""
    paths = workspace()
    params = load(paths.params, console.say)
    for model in models:
        params.model(model)
    return params, paths


def _foretell(params: Params, paths: Paths) -> None:
    """Say before the work, not after it, where its result could not be promoted."""
    from clickflow.registry import ledger

    ledger.foretell(params.champion, paths)


@app.command(rich_help_panel=WORK)
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


@app.command(rich_help_panel=WORK)
def inspect(
    files: Annotated[list[Path], typer.Argument(help="Files of the log, or its folder.", metavar="FILE…")],
    rows: Annotated[int, typer.Option(help="How many rows of a file to look at, about.", min=100)] = 200_000,
    write: Annotated[bool, typer.Option("--write", help="Write the block into params.yaml.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at files, write the `source:` block of params.yaml that reads them, and try it on their rows.

    What is printed is YAML, with what was seen, and what is not sure, as comments.
    """
    params, paths = _open()
    from clickflow.events.inspect import verb
    from clickflow.sequences import units

    fit = verb.Fit(units.unfit, units.suggested)
    verb.run(params, paths, files, rows=rows, write=write, as_json=as_json, fit=fit)


@app.command(rich_help_panel=WORK)
def params(
    name: Annotated[str, typer.Argument(help="A section, or any part of a name: training, models.next_step.")] = "",
    as_json: AsJson = False,
) -> None:
    """Every param that holds here, chosen in params.yaml (`*`) or a default, and what it does."""
    chosen, paths = _open()
    from clickflow.params import show

    show.run(chosen, paths, name, as_json=as_json)


@app.command(rich_help_panel=STAGES)
def ingest() -> None:
    """Read the source into canonical events; rows that cannot be accepted go to quarantine."""
    params, paths = _open()
    _foretell(params, paths)
    from clickflow.events import ingest as stage

    stage.run(params, paths)


@app.command(rich_help_panel=WORK)
def replay(as_json: AsJson = False) -> None:
    """Check quarantined rows again, and take in those that a fix has made good."""
    params, paths = _open()
    from clickflow.events import replay as verb

    verb.run(params, paths, as_json=as_json)


@app.command(rich_help_panel=STAGES)
def validate() -> None:
    """Check the events against the expectations; a critical failure ends with exit code 3."""
    params, paths = _open()
    from clickflow.quality import validate as stage

    stage.run(params, paths)


@app.command(rich_help_panel=STAGES)
def sequences(unit: Annotated[str, typer.Argument(help=", ".join(UNITS))]) -> None:
    """Turn events into the packed store of a unit (the arrays that training reads), split by time."""
    params, paths = _open()
    from clickflow.sequences import prepare as stage

    stage.run(params, paths, unit)


@app.command(rich_help_panel=STAGES)
def train(model: Name) -> None:
    """Train a model; interrupted and started again, it resumes from its checkpoint."""
    params, paths = _open(model)
    _foretell(params, paths)
    from clickflow.tracking.training_run import Tracker
    from clickflow.training import stage

    stage.run(params, paths, model, Tracker)


@app.command(rich_help_panel=MODELS)
def tune(
    model: Name,
    minutes: Annotated[float, typer.Option(help="How long; 0: only show what was found so far.", min=0)] = 30,
    trials: Annotated[int | None, typer.Option(help="At most so many trials this time; none: by time.", min=0)] = None,
    jobs: Annotated[int, typer.Option(help="Trials at once, each a process of training.threads threads.", min=1)] = 2,
    fresh: Annotated[
        bool, typer.Option("--fresh/--resume", help="Begin anew, or go on with the study of the same data and space.")
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Write the best params into params.yaml.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search for better params of a model: each trial is a training, judged on the validation part.

    What may vary, and how it is judged, stands in params.yaml under `tuning`. The present params are the first trial,
    so the result is never worse on the validation part; the test part is not used. Interrupted, the same command
    resumes. The result is a table, a report and a patch to params.yaml; docs/howto/tune.md shows an example.
    """
    params, paths = _open(model)
    from clickflow.tuning import tune as verb

    verb.run(
        params,
        paths,
        model,
        minutes=minutes,
        trials=trials,
        jobs=jobs,
        fresh=fresh,
        apply=apply,
        as_json=as_json,
    )


@app.command(rich_help_panel=STAGES)
def export(model: Name) -> None:
    """Write the artefact that ships (ONNX), and check it against the torch model."""
    params, paths = _open(model)
    from clickflow.artefact import export as stage

    stage.run(params, paths, model)


@app.command(rich_help_panel=STAGES)
def evaluate(model: Name) -> None:
    """Evaluate the artefact beside its baselines and the champion; write the report."""
    params, paths = _open(model)
    _foretell(params, paths)
    from clickflow.evaluation import evaluate as stage
    from clickflow.registry import champion

    stage.run(params, paths, model, *champion.past(params, paths, model))


@app.command(rich_help_panel=STAGES)
def gate(model: Name) -> None:
    """Apply the rules of params.yaml: promote, hold or reject, with evidence."""
    params, paths = _open(model)
    from clickflow.gate import stage
    from clickflow.registry import try_log

    stage.run(params, paths, model, try_log.record)


@app.command("open", rich_help_panel=MODELS)
def open_run(as_json: AsJson = False) -> None:
    """Open a run: write the champions' versions into params.yaml, so that the gate judges against them."""
    params, paths = _open()
    from clickflow.registry import champion

    champion.freeze(params, paths, as_json=as_json)


@app.command(rich_help_panel=MODELS)
def promote(
    models: Annotated[list[str] | None, typer.Argument(help="Models of params.yaml; none: all.")] = None,
    approve: Annotated[str | None, typer.Option(help="Agree, where promotion.approve asks for it; a reason.")] = None,
    reject: Annotated[str | None, typer.Option(help="Do not agree; why.")] = None,
    answers: Annotated[str | None, typer.Option(help="JSON by model, for machines.", hidden=True)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say whether the gate's decision stands.")] = False,
    as_json: AsJson = False,
) -> None:
    """Register the candidates, and make champions of those that passed the gate.

    What the gate wrote is checked first: by the rules of the commit, from the evidence of dvc.lock, it decides again.
    """
    params, paths = _open(*models or ())
    from clickflow.registry import approval
    from clickflow.registry import promote as verb

    names = models or sorted(params.models)
    said = approval.given(names, approve=approve, reject=reject, answers=answers)
    verb.run(params, paths, names, as_json=as_json, answers=said, dry_run=dry_run)


@app.command(hidden=True)
def publish(
    files: Annotated[list[str], typer.Argument(metavar="NAME=FILE…", help="folder/report.html=path/to/report.html")],
    as_json: AsJson = False,
) -> None:
    """Log pages of a run in MLflow, and print their links: what the task `record` does."""
    params, paths = _open()
    from clickflow.registry import pages as verb

    verb.run(params, paths, files, as_json=as_json)


@app.command(rich_help_panel=MODELS)
def rollback(
    model: Name,
    reason: Annotated[str, typer.Option(help="Why; it stands in the ledger.")],
    to: Annotated[int | None, typer.Option(help="A version, 0: no champion; none: the previous champion.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier champion the champion again."""
    params, paths = _open(model)
    from clickflow.registry import rollback as verb

    verb.run(params, paths, model, reason=reason, to=to, as_json=as_json)


@app.command(rich_help_panel=MODELS)
def live(as_json: AsJson = False) -> None:
    """Show what became of the answers of the last days, by version: recall, clicks, revenue; shadow and canary."""
    params, paths = _open()
    from clickflow.online.live import report as verb

    verb.run(params, paths, as_json=as_json)


@app.command(rich_help_panel=MODELS)
def canary(
    action: Annotated[str, typer.Argument(help="start, stop, status; judge: end it where the rule says so.")],
    models: Annotated[list[str] | None, typer.Argument(help="Models of params.yaml; none: all.")] = None,
    version: Annotated[int | None, typer.Option(help="To start; none: the last that was let through.", min=1)] = None,
    reason: Annotated[str, typer.Option(help="To start or stop: why; it stands in the ledger.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let a version that passed the gate answer some visitors, and make it champion when it is shown to be no worse.

    How many, and what is shown enough, stands in params.yaml under `live`.
    """
    params, paths = _open(*models or ())
    from clickflow.online.live import report as verb

    verb.of_canary(params, paths, action, list(models or ()), version=version, reason=reason, as_json=as_json)


@app.command(rich_help_panel=MODELS)
def status(as_json: AsJson = False) -> None:
    """Show each model's champion, its metrics, since when and why; the candidate; the last decision."""
    params, paths = _open()
    from clickflow.online.live import report
    from clickflow.registry import status as verb

    verb.run(params, paths, as_json=as_json, live=report.beside(params, paths))


@app.command(rich_help_panel=MODELS)
def score(
    model: Name,
    limit: Annotated[int, typer.Option(help="How many sequences, the latest.", min=1)] = 5,
    session: Annotated[str | None, typer.Option(help="This visit alone: its id or its pseudonym.")] = None,
    user: Annotated[str | None, typer.Option(help="This customer's latest visit: their id or pseudonym.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every session of the data, to --out, --sql or both.")] = False,
    out: Annotated[Path | None, typer.Option(help="With --all: the folder; predictions in it are replaced.")] = None,
    sql: Annotated[bool, typer.Option("--sql", help="With --all: to the tables that `score` of params names.")] = False,
    top: Annotated[int, typer.Option(help="With --all: how many next items a session.", min=1, max=1000)] = 20,
    since: Annotated[
        float | None, typer.Option(help="With --all: only sessions with an event in the newest so many hours.", min=0)
    ] = None,
    odd: Annotated[
        bool, typer.Option("--anomalies", help="With --all: also how odd each visit and customer is.")
    ] = False,
    segments: Annotated[
        int | None, typer.Option(help="With --all: also the segment of each customer, of so many.", min=2, max=30)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict with the champion what comes next: for the latest sessions, one session, a customer's last, or all."""
    if sum([every, session is not None, user is not None]) > 1:
        raise UsageError("--all, --session and --user exclude one another", next_step="ask for one of them")
    if every != (out is not None or sql):
        raise UsageError(
            "--all goes with --out or --sql", next_step="clickflow score MODEL --all --out FOLDER, or --all --sql"
        )
    if segments and not every:
        raise UsageError("--segments goes with --all", next_step="`clickflow profiles` shows the segments")
    if odd and not every:
        raise UsageError("--anomalies goes with --all", next_step="`clickflow anomalies MODEL` shows the oddest visits")
    params, paths = _open(model)
    if every:
        from clickflow.anomalies import search as odd_ones
        from clickflow.profiles import verb as profiles
        from clickflow.serving import batch

        more: dict[str, batch.Beside] = {"anomalies": odd_ones.beside(params, paths, model)} if odd else {}
        if segments:
            more[f"{segments} segments, seed {params.seed}"] = profiles.beside(params, model, segments)
        batch.run(params, paths, model, out=out, sql=sql, top=top, since_hours=since, as_json=as_json, beside=more)
    else:
        from clickflow.serving import score as verb

        verb.run(params, paths, model, limit=limit, session=session, user=user, as_json=as_json)


@app.command(rich_help_panel=MODELS)
def explain(
    model: Name,
    session: Annotated[str | None, typer.Option(help="This visit: its id or its pseudonym.")] = None,
    user: Annotated[str | None, typer.Option(help="This customer's latest visit: their id or pseudonym.")] = None,
    head: Annotated[str | None, typer.Option(help="This answer alone; otherwise each of the model.")] = None,
    target: Annotated[str | None, typer.Option(help="With --head: this item or class, not the likeliest.")] = None,
    language: Annotated[str, typer.Option(help="Of the sentences: en or zh.")] = "en",
    as_json: AsJson = False,
) -> None:
    """Why the champion answers so: the steps that mattered, what would have changed it, features."""
    if (session is None) == (user is None):
        raise UsageError("one of --session and --user is needed", next_step="ask about one of them")
    if target is not None and head is None:
        raise UsageError("--target goes with --head", next_step="clickflow explain MODEL --head HEAD --target NAME")
    from clickflow.online.why import verb, words

    if language not in words.LANGUAGES:
        raise UsageError(f"--language is one of {', '.join(words.LANGUAGES)}, not {language!r}", kept="nothing was run")
    params, paths = _open(model)
    verb.run(
        params,
        paths,
        model,
        session=session,
        user=user,
        output=head,
        target=target,
        language=language,
        as_json=as_json,
    )


@app.command(rich_help_panel=MODELS)
def serve(
    host: Annotated[str | None, typer.Option(help="None: serve.host of params.yaml, loopback.")] = None,
    port: Annotated[int | None, typer.Option(help="None: serve.port.", min=0, max=65535)] = None,
    workers: Annotated[int | None, typer.Option(help="None: serve.workers.", min=1)] = None,
    new_key: Annotated[str | None, typer.Option(help="Make a key of this name, show it once, and end.")] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What the new key may do: read, events, people, promote; repeatable. None: read."),
    ] = None,
) -> None:
    """Answer over HTTP with the champions: recommend, predict, score; `GET /openapi.json` says how to ask."""
    params, paths = _open()
    from clickflow.online.http import keys, server

    if new_key is not None:
        key = keys.make(paths.home, new_key, tuple(scope or ("read",)))
        console.say(f"the key of {new_key}, shown this once; its hash is in {keys.file_of(paths.home)}")
        sys.stdout.write(f"{key}\n")
        return
    server.run(params, paths, host=host, port=port, workers=workers)


@app.command(rich_help_panel=MODELS)
def anomalies(
    model: Name,
    top: Annotated[int, typer.Option(help="How many visits, and how many customers, are told.", min=1, max=1000)] = 20,
    every: Annotated[
        bool, typer.Option("--all", help="Visits of all parts of the data, not of the test part.")
    ] = False,
    exported: Annotated[
        bool, typer.Option("--exported", help="By what the pipeline exported last, in place of the champion.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="A folder for all scores, and a page of the oddest visits.")] = None,
    as_json: AsJson = False,
) -> None:
    """Robots, fraud, odd behaviour: the visits and customers that surprise a model most, and what stood out."""
    params, paths = _open(model)
    from clickflow.anomalies import search

    search.run(params, paths, model, top=top, every=every, exported=exported, out=out, as_json=as_json)


@app.command(rich_help_panel=WORK)
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
    top: Annotated[int, typer.Option(help="How many series are shown, the largest first.", min=1)] = 20,
    out: Annotated[Path | None, typer.Option(help="A folder for all forecasts.")] = None,
    as_json: AsJson = False,
) -> None:
    """Units ahead by item, category or shop, with quantiles; what to order, and what rises and falls."""
    for name, value, known in (("--level", level, ("item", "category", "shop")), ("--step", step, ("day", "week"))):
        if value not in known:
            raise UsageError(f"{name} is one of {', '.join(known)}, not {value!r}", kept="nothing was run")
    params, paths = _open()
    from clickflow.forecasting import verb
    from clickflow.forecasting.stock import Costs

    asked = verb.Asked(
        level=level,  # type: ignore[arg-type]
        step=step,  # type: ignore[arg-type]
        horizon=horizon,
        origins=origins,
        least_sales=least_sales,
        lead_time=lead_time,
        every=every,
        costs=Costs(short=cost_short, left=cost_left),
    )
    verb.run(params, paths, asked, out=out, top=top, as_json=as_json)


@app.command(rich_help_panel=WORK)
def profiles(
    user: Annotated[str | None, typer.Option(help="A customer: their segment, and who is most like them.")] = None,
    count: Annotated[int, typer.Option("--segments", help="How many segments.", min=2, max=30)] = 7,
    similar: Annotated[int, typer.Option(help="How many similar customers are told of each.", min=1, max=100)] = 10,
    out: Annotated[Path | None, typer.Option(help="A folder for a row a customer, and a page of the segments.")] = None,
    as_json: AsJson = False,
) -> None:
    """Who the customers are: named segments, what is different in them, what they buy later; similar customers."""
    params, paths = _open()
    from clickflow.profiles import verb

    verb.run(params, paths, count=count, user=user, similar=similar, out=out, as_json=as_json)


@app.command(rich_help_panel=WORK, context_settings={"ignore_unknown_options": True})  # one in 64 begins with a dash
def who(
    names: Annotated[list[str] | None, typer.Argument(metavar="PSEUDONYM", help="Of customers or visits.")] = None,
    user: Annotated[str | None, typer.Option(help="A customer's own id: which pseudonym is it?")] = None,
    session: Annotated[str | None, typer.Option(help="A visit's own id: which pseudonym is it?")] = None,
    as_json: AsJson = False,
) -> None:
    """Who is behind a pseudonym, or which pseudonym somebody has; needs the key, and is recorded in who.jsonl."""
    params, paths = _open()
    from clickflow.serving import who as verb

    verb.run(params, paths, names or [], user=user, session=session, as_json=as_json)


@app.command(rich_help_panel=WORK)
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
    params, paths = _open()
    from clickflow.privacy import forget as verb

    verb.run(params, paths, ids or [], file=file, dry=dry_run, raw_outside=rewrite_raw, as_json=as_json)


@app.command("rotate-key", rich_help_panel=WORK)
def rotate_key(as_json: AsJson = False) -> None:
    """Make a new key for pseudonyms, and read the source again: everybody gets a new pseudonym."""
    params, paths = _open()
    from clickflow.privacy import rotate as verb

    verb.run(params, paths, as_json=as_json)


@app.command(rich_help_panel=MODELS)
def watch(
    models: Annotated[list[str] | None, typer.Argument(help="Models of params.yaml; none: all.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the report goes; none: reports/watch.")] = None,
    as_of: Annotated[str | None, typer.Option(help="Look as if it were then, ISO 8601; none: source.as_of.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check freshness, drift and live metrics of the champions: is it time to retrain?"""
    params, paths = _open(*models or ())
    from clickflow.monitoring import watch as verb
    from clickflow.online.live.watched import live_answers

    chosen = models or sorted(params.models)
    verb.run(params, paths, chosen, out=out, as_of=as_of, as_json=as_json, live_answers=live_answers(params, paths))


@app.command(rich_help_panel=STAGES)
def retrain(
    overrides: Annotated[list[str] | None, typer.Option("--set", "-S", help="name.of.param=value; repeatable.")] = None,
) -> None:
    """Run the retrain DAG in this process by Airflow, without a server: what `make demo` does."""
    params, paths = _open()
    from clickflow.orchestration import local

    local.run(params, paths, overrides or [])


@app.command(rich_help_panel=RUNS)
def runs(
    limit: Annotated[int, typer.Option(help="How many, the newest; 0: all.", min=0)] = 20,
    as_json: AsJson = False,
) -> None:
    """List every run, recorded, working or failed: when, of which commit and params, what its gates decided."""
    from clickflow.orchestration import listing

    listing.run(workspace(), limit=limit, as_json=as_json)


@app.command(rich_help_panel=RUNS)
def checkout(
    name: Annotated[str, typer.Argument(metavar="RUN", help="A recorded run; `clickflow runs` lists them.")],
    into: Annotated[Path | None, typer.Option(help="A new folder; none: this checkout.")] = None,
    as_json: AsJson = False,
) -> None:
    """Restore a run with its code, params, data and models, bit for bit."""
    from clickflow.orchestration import checkout as verb

    verb.run(workspace(), name, into=into, as_json=as_json)


@app.command(rich_help_panel=RUNS)
def prune(
    keep: Annotated[int, typer.Option(help="The newest so many runs stay.", min=0)] = 20,
    days: Annotated[float, typer.Option(help="So do runs, failures and logs younger than this.", min=0)] = 30,
    objects: Annotated[
        bool, typer.Option("--objects", help="Also bytes in the DVC cache and remote of this home that nothing needs.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove old runs and what failures left; whatever made a champion or a candidate stays."""
    from clickflow.orchestration import prune as verb

    verb.run(workspace(), keep=keep, days=days, bulk=objects, dry=dry_run, as_json=as_json)


@app.command(rich_help_panel=PLATFORM)
def up(as_json: AsJson = False) -> None:
    """Start the local platform: Airflow with its UI, a worker for training, MLflow; all on loopback."""
    from clickflow.platform import up as verb

    verb.up(workspace(), as_json=as_json)


@app.command(rich_help_panel=PLATFORM)
def down() -> None:
    """End the local platform, and all that it has started."""
    from clickflow.platform import down as verb

    verb.down(workspace())


@app.command(rich_help_panel=PLATFORM)
def ps(as_json: AsJson = False) -> None:
    """Show the platform's services: health, memory, addresses."""
    from clickflow.platform import show as verb

    verb.ps(workspace(), as_json=as_json)


@app.command(
    rich_help_panel=PLATFORM,
    add_help_option=False,  # the words are Airflow's, --help among them
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def airflow(context: typer.Context) -> None:
    """Run a command of Airflow's on the running platform: `clickflow airflow backfill create …`."""
    from clickflow.platform import airflow as verb

    raise typer.Exit(verb.run(workspace(), context.args))


@app.command(rich_help_panel=PLATFORM)
def worker(
    queue: Annotated[str, typer.Option(help="Whose tasks it takes: gpu, default.")] = "gpu",
    gpu: Annotated[int | None, typer.Option(help="The one GPU that its tasks see; none: all.", min=0)] = None,
    name: Annotated[str, typer.Option(help="None: this machine's, the queue's and the GPU's.")] = "",
) -> None:
    """Run a worker for an Airflow elsewhere, over HTTP alone: training on a machine with a GPU."""
    from clickflow.platform import worker as verb

    verb.run(workspace(), queue=queue, gpu=gpu, name=name)


@app.command(rich_help_panel=PLATFORM)
def doctor(as_json: AsJson = False) -> None:
    """Check what is missing or wrong on this machine, and how to repair it; exit code 1 on a fault."""
    from clickflow.doctor import run as verb

    verb.run(workspace(), as_json=as_json)


def _version(wanted: bool) -> None:
    if wanted:
        console.out.print(f"clickflow {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    """Options before the verb."""


Result = TypeVar("Result")


def guarded(function: Callable[[], Result]) -> Result:
    """Call `function`; a fault a user can act on becomes its lines and its exit code, Ctrl-C a clean end, an error of
    this program a sentence and a log file.
    """
    try:
        try:
            return function()
        finally:
            sys.stdout.flush()
    except ClickflowError as error:
        console.complain(error.lines())
        raise SystemExit(error.exit_code) from error
    except KeyboardInterrupt:
        console.err.print("stopped; finished outputs are kept, unfinished ones were not put in place")
        raise SystemExit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        console.hang_up()
        raise SystemExit(EXIT_FAILED) from None
    except Exception as error:
        from clickflow.system import faults

        if os.environ.get(faults.DEBUG):
            raise
        known = faults.explain(error, workspace())
        console.complain(known.lines())
        console.hang_up()
        raise SystemExit(known.exit_code) from None


def main() -> None:
    """The console script."""
    console.fit()
    files.withhold()
    # A shell that is no terminal's starts its background jobs with SIGINT ignored, and children inherit that: neither
    # Ctrl-C nor `kill -INT` would end this program, nor what it asks in that way to end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    guarded(lambda: app(standalone_mode=True))


if __name__ == "__main__":
    main()
