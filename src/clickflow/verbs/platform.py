"""Verbs of the local platform and of this machine."""

from typing import Annotated

import typer

from clickflow.system.paths import workspace
from clickflow.verbs.app import PLATFORM, AsJson, app


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
