"""Verbs of the pipeline: each stage of dvc.yaml, and the run of all of them."""

from typing import Annotated

import typer

from clickflow.sequences.units import UNITS
from clickflow.verbs.app import STAGES, Name, app, foretell, opened


@app.command(rich_help_panel=STAGES)
def ingest() -> None:
    """Read the source into canonical events; rows that cannot be accepted go to quarantine."""
    params, paths = opened()
    foretell(params, paths)
    from clickflow.events import ingest as stage

    stage.run(params, paths)


@app.command(rich_help_panel=STAGES)
def validate() -> None:
    """Check the events against the expectations; a critical failure ends with exit code 3."""
    params, paths = opened()
    from clickflow.quality import validate as stage

    stage.run(params, paths)


@app.command(rich_help_panel=STAGES)
def sequences(unit: Annotated[str, typer.Argument(help=", ".join(UNITS))]) -> None:
    """Turn events into the packed store of a unit (the arrays that training reads), split by time."""
    params, paths = opened()
    from clickflow.sequences import prepare as stage

    stage.run(params, paths, unit)


@app.command(rich_help_panel=STAGES)
def train(model: Name) -> None:
    """Train a model; interrupted and started again, it resumes from its checkpoint."""
    params, paths = opened(model)
    foretell(params, paths)
    from clickflow.tracking.training_run import Tracker
    from clickflow.training import stage

    stage.run(params, paths, model, Tracker)


@app.command(rich_help_panel=STAGES)
def export(model: Name) -> None:
    """Write the artefact that ships (ONNX), and check it against the torch model."""
    params, paths = opened(model)
    from clickflow.artefact import export as stage

    stage.run(params, paths, model)


@app.command(rich_help_panel=STAGES)
def evaluate(model: Name) -> None:
    """Evaluate the artefact beside its baselines and the champion; write the report."""
    params, paths = opened(model)
    foretell(params, paths)
    from clickflow.evaluation import evaluate as stage
    from clickflow.registry import champion

    stage.run(params, paths, model, *champion.past(params, paths, model))


@app.command(rich_help_panel=STAGES)
def gate(model: Name) -> None:
    """Apply the rules of params.yaml: promote, hold or reject, with evidence."""
    params, paths = opened(model)
    from clickflow.gate import stage
    from clickflow.registry import try_log

    stage.run(params, paths, model, try_log.record)


@app.command(rich_help_panel=STAGES)
def retrain(
    overrides: Annotated[list[str] | None, typer.Option("--set", "-S", help="name.of.param=value; repeatable.")] = None,
) -> None:
    """Run the retrain DAG in this process by Airflow, without a server: what `make demo` does."""
    params, paths = opened()
    from clickflow.orchestration import local

    local.run(params, paths, overrides or [])
