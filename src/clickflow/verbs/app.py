"""The program `clickflow` that the verbs add themselves to, and what they have in common."""

from typing import Annotated

import typer

from clickflow.params.file import load
from clickflow.params.schema import Params
from clickflow.system import console
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

STAGES, DATA, MODELS, RUNS, PLATFORM = "Stages of the pipeline", "Data", "Models", "Runs", "Platform"

Name = Annotated[str, typer.Argument(help="A model of params.yaml.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def opened(*models: str) -> tuple[Params, Paths]:
    """The checked params and the workspace; called before anything heavy is imported, so that a fault shows at once."""
    paths = workspace()
    params = load(paths.params, console.say)
    for model in models:
        params.model(model)
    return params, paths


def foretell(params: Params, paths: Paths) -> None:
    """Say before the work, not after it, where its result could not be promoted."""
    from clickflow.registry import ledger

    ledger.foretell(params.champion, paths)
