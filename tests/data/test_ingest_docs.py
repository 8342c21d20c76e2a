"""The reference of events says what the contract says, and the worked example works."""

import re
from pathlib import Path

import yaml
from ingest_setup import Desk

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


def test_the_worked_example(root: Path, tmp_path: Path, raw_params: dict[str, object]) -> None:
    page = (root / "docs/howto/your-data.md").read_text(encoding="utf-8")
    log = re.findall(r"```\n(.*?)```", page, flags=re.DOTALL)[0]
    settings = re.findall(r"``` *yaml\n(.*?)```", page, flags=re.DOTALL)[0]
    shown = re.search(r"\$ clickflow ingest\n(.*?)```", page, flags=re.DOTALL)[1]
    name, _, text = log.partition("\n")
    desk = Desk(tmp_path / "w", raw_params)
    desk.put("2026-01-05.csv.gz", text.encode())
    source = yaml.safe_load(settings)["source"]
    assert name.startswith(source["path"])
    changes = {f"source__{key}": value for key, value in source.items() if key not in ("kind", "path")}
    outcome = desk.ingest(**changes)
    assert summary(outcome.card).splitlines() == [line.strip() for line in shown.strip().splitlines()]
    assert outcome.raw()[5].decode() in page
    assert "impression" in page
    again = desk.ingest(**changes | {"source__event_types": {**source["event_types"], "heartbeat": "impression"}})
    assert again.card["quarantined"] == 0
