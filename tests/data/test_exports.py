"""Exports of shops' tools and public data sets: each is read right, or what may be wrong is said and held."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from export_layouts import EXPORTS
from ingest_setup import Desk
from inspecting import workspace_of
from typer.testing import CliRunner

from clickflow.cli import app
from clickflow.params import patch
from clickflow.params.file import load
from clickflow.system.errors import ClickflowError


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object], root: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return workspace_of(tmp_path, raw_params, root / "params.yaml", monkeypatch)


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export(desk: Desk, name: str) -> None:
    export = EXPORTS[name]
    for file, data in export.files.items():
        desk.put(file, data)
    target = desk.log if len(export.files) > 1 else desk.log / next(iter(export.files))
    result = CliRunner().invoke(app, ["inspect", str(target), "--write"])
    assert result.exit_code == 0, (result.output, result.exception)
    for part in export.says:
        assert part in result.stdout.replace("\n# ", " "), result.stdout
    source: dict[str, Any] = yaml.safe_load(desk.paths.params.read_text(encoding="utf-8"))["source"] | export.given
    assert {key: source.get(key) for key in export.source} == export.source, result.stdout
    desk.raw_params["source"] = patch.plain(load(desk.paths.params).source) | export.given
    if export.stops:
        with pytest.raises(ClickflowError) as error:
            desk.ingest(source__kind="files", source__path=source["path"])
        assert export.stops in str(error.value)
        return
    if export.accepted is None:
        return
    outcome = desk.ingest(source__kind="files", source__path=source["path"])
    assert outcome.card["accepted"] == export.accepted, (outcome.card["reasons"], result.stdout)
    assert {key: outcome.card[key] for key in export.counts} == export.counts, result.stdout
    assert outcome.card["reasons"] == export.reasons
    if export.first:
        event = outcome.events.slice(0, 1).to_pylist()[0]
        assert (f"{event['event_time']:%Y-%m-%d %H:%M:%S}", event["event_type"], event["item_id"]) == export.first
