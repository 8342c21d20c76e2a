"""README's "Point it at your log", block for block, on every real log: a decision, or the one clear message that says
why this log can have none.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from recipe import SHELL, Block, Checkout, blocks

pytestmark = pytest.mark.platform

POINT_IT = "README.md"
HEADING = "## Point it at your log"


@dataclass(frozen=True, kw_only=True)
class Log:
    """Files of the shop data, and what is known of them."""

    files: tuple[str, ...]
    source: dict[str, Any]
    """What `inspect` must write into params.yaml, at least."""
    counts: dict[str, int]
    """Of reports/ingest.json."""
    ends: str
    """promote, hold or reject: the gate's decision; or a part of the one message with which `dvc repro` ends."""
    says: tuple[str, ...] = ()
    """What must be said on the way, beside."""


LOGS: dict[str, Log] = {}


def recipe(root: Path) -> list[Block]:
    """The command blocks below the heading, up to the next one of its kind."""
    page = root / POINT_IT
    lines = page.read_text(encoding="utf-8").split("\n")
    first = lines.index(HEADING) + 1
    last = next(number for number, line in enumerate(lines[first:], first) if line.startswith("## "))
    return [
        block
        for block in blocks(page, root)
        if first < block.line <= last and block.language in SHELL and not block.not_run
    ]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", LOGS)
def test_the_recipe_of_the_readme(name: str, root: Path, shop_data: Path, tmp_path: Path) -> None:
    log = LOGS[name]
    reader = Checkout(root, tmp_path / "clickflow")
    for file in log.files:
        shutil.copy(shop_data / file, reader.folder / "data/raw")
    said = ""
    code = 0
    for block in recipe(root):
        outcome = reader.sh(block.text)
        said += outcome.text
        code = outcome.code
        if code:
            break
    assert "Traceback" not in said, said[-4000:]
    written = yaml.safe_load((reader.folder / "params.yaml").read_text(encoding="utf-8"))["source"]
    assert {key: written[key] for key in log.source} == log.source
    card = json.loads((reader.folder / "reports/ingest.json").read_text(encoding="utf-8"))
    assert {key: card[key] for key in log.counts} == log.counts
    assert card["read"] == card["accepted"] + card["quarantined"] + card["ignored"]
    decisions = [
        json.loads(path.read_text(encoding="utf-8"))["decision"]
        for path in reader.folder.glob("reports/*/gate/decision.json")
    ]
    for part in log.says:
        assert part in said, said[-6000:]
    if log.ends in ("promote", "hold", "reject"):
        assert (code, decisions) == (0, [log.ends]), said[-6000:]
    else:
        assert code != 0
        assert log.ends in said, said[-6000:]
        assert decisions == []
