"""A workspace for tests of `clickflow inspect`, and what the verb says in it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ingest_setup import Desk, counted
from typer.testing import CliRunner

from clickflow.cli import app
from clickflow.events.ingest import ingest
from clickflow.params.file import load
from clickflow.params.schema import Params


def workspace_of(folder: Path, raw_params: dict[str, object], params: Path, patch: pytest.MonkeyPatch) -> Desk:
    """A workspace with a copy of the file `params`, which is the working directory."""
    desk = Desk(folder / "w", raw_params)
    desk.paths.params.write_text(params.read_text(encoding="utf-8"), encoding="utf-8")
    (desk.paths.root / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    patch.chdir(desk.paths.root)
    return desk


def inspect(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["inspect", *map(str, arguments)])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def inspection(*arguments: str | Path) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(inspect(*arguments, "--json"))
    return parsed


def ingested(desk: Desk, *targets: str | Path) -> dict[str, Any]:
    """The card of an ingest by the params that `--write` leaves."""
    inspect(*targets, "--write")
    return counted(ingest(as_written(desk), desk.paths), desk.paths).card


def as_written(desk: Desk) -> Params:
    """The params that lie there, with the rest as the desk has it."""
    source = load(desk.paths.params).source
    desk.raw_params["source"] = yaml.safe_load(desk.paths.params.read_text(encoding="utf-8"))["source"]
    return desk.params(source__kind=source.kind, source__path=source.path)


def said_of(desk: Desk) -> str:
    """What inspect is not sure of in a folder."""
    return CliRunner().invoke(app, ["inspect", str(desk.log)]).stdout
