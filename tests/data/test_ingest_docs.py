"""The reference of events says what the contract says, and the worked example works."""

import gzip
import re
import shutil
from pathlib import Path

import pytest
import yaml
from ingest_setup import Desk
from typer.testing import CliRunner

from clickflow.cli import app
from clickflow.events.contract import COLUMNS, EVENT_TYPES, NEEDS_ITEM, REASONS
from clickflow.events.ingest import summary
from clickflow.events.presets import PRESETS


def test_the_reference_is_complete(root: Path) -> None:
    page = (root / "docs/reference/events.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|$", page, flags=re.MULTILINE))
    assert {code: table.get(code) for code in REASONS} == REASONS
    for name in (*COLUMNS, *EVENT_TYPES, *PRESETS):
        assert f"`{name}`" in page, name
    assert ", ".join(f"`{kind}`" for kind in NEEDS_ITEM) in page


def test_the_worked_example(
    root: Path, tmp_path: Path, raw_params: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (root / "docs/howto/your-data.md").read_text(encoding="utf-8")
    log = re.findall(r"```\n(.*?)```", page, flags=re.DOTALL)[0]
    settings = re.findall(r"``` *yaml\n(.*?)```", page, flags=re.DOTALL)[0]
    name, _, text = log.partition("\n")
    desk = Desk(tmp_path / "w", raw_params)
    desk.put("2026-01-05.csv.gz", gzip.compress(text.encode()))
    source = yaml.safe_load(settings)["source"]
    assert name.startswith(source["path"])

    shutil.copy(root / "params.yaml", desk.paths.params)
    (desk.paths.root / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    monkeypatch.chdir(desk.paths.root)
    printed = CliRunner().invoke(app, ["inspect", str(desk.log)]).stdout
    assert lines(printed.replace("path: log\n", "path: /srv/shop/log\n")) == lines(shown(page, "inspect /srv/shop/log"))

    changes = {f"source__{key}": value for key, value in source.items() if key not in ("kind", "path")}
    outcome = desk.ingest(**changes)
    assert lines(summary(outcome.card)) == lines(shown(page, "ingest"))
    assert {line: raw.decode() in page for line, raw in outcome.raw().items()} == {6: True}


def shown(page: str, verb: str) -> str:
    """What the page says that `clickflow VERB` prints."""
    block = re.search(rf"\$ clickflow {re.escape(verb)}\n(.*?)```", page, flags=re.DOTALL)
    assert block is not None
    return block[1]


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]
