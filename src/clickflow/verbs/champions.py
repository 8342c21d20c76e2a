"""Verbs that make, watch and change champions."""

from pathlib import Path
from typing import Annotated

import typer

from clickflow.verbs.app import MODELS, AsJson, Name, app, opened


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
    params, paths = opened(model)
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


@app.command("open", rich_help_panel=MODELS)
def open_run(as_json: AsJson = False) -> None:
    """Open a run: write the champions' versions into params.yaml, so that the gate judges against them."""
    params, paths = opened()
    from clickflow.registry import champion
    from clickflow.sequences import plan_file

    for unit in params.units:  # before anything runs
        plan_file.of_params(params, unit, paths.root)
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
    params, paths = opened(*models or ())
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
    params, paths = opened()
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
    params, paths = opened(model)
    from clickflow.registry import rollback as verb

    verb.run(params, paths, model, reason=reason, to=to, as_json=as_json)


@app.command(rich_help_panel=MODELS)
def live(as_json: AsJson = False) -> None:
    """Show what became of the answers of the last days, by version: recall, clicks, revenue; shadow and canary."""
    params, paths = opened()
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
    params, paths = opened(*models or ())
    from clickflow.online.live import report as verb

    verb.of_canary(params, paths, action, list(models or ()), version=version, reason=reason, as_json=as_json)


@app.command(rich_help_panel=MODELS)
def status(as_json: AsJson = False) -> None:
    """Show each model's champion, its metrics, since when and why; the candidate; the last decision."""
    params, paths = opened()
    from clickflow.online.live import report
    from clickflow.registry import status as verb

    verb.run(params, paths, as_json=as_json, live=report.beside(params, paths))


@app.command(rich_help_panel=MODELS)
def watch(
    models: Annotated[list[str] | None, typer.Argument(help="Models of params.yaml; none: all.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the report goes; none: reports/watch.")] = None,
    as_of: Annotated[str | None, typer.Option(help="Look as if it were then, ISO 8601; none: source.as_of.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check freshness, drift and live metrics of the champions: is it time to retrain?"""
    params, paths = opened(*models or ())
    from clickflow.monitoring import watch as verb
    from clickflow.online.live.watched import live_answers

    chosen = models or sorted(params.models)
    verb.run(params, paths, chosen, out=out, as_of=as_of, as_json=as_json, live_answers=live_answers(params, paths))
