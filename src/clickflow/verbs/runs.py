"""Verbs of recorded runs."""

from pathlib import Path
from typing import Annotated

import typer

from clickflow.system.paths import workspace
from clickflow.verbs.app import RUNS, AsJson, app


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
