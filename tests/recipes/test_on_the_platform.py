"""Pages that a reader follows with the platform up, in one checkout: the tutorial from its first line to its last."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from recipe import SHELL, Block, Checkout, blocks
from test_logs import LOGS, POINT_IT, follow

from clickflow.params.schema import Params

pytestmark = pytest.mark.platform

ON_THE_PLATFORM = (
    "docs/tutorial.md",
    "docs/howto/runs.md",
    "docs/runbooks/README.md",
    "docs/howto/backfill.md",
    "docs/howto/platform.md",
)
"""In this order; the tutorial starts the platform, and the last page ends it, with the runs that a backfill began."""


@pytest.fixture(scope="module")
def ended(checkout: Checkout) -> Iterator[Checkout]:
    """The checkout; whatever happens, nothing runs on in it. The commands of test_by_hand.py name the port 8600, and
    may run meanwhile: serving takes another here.
    """
    checkout.env["CLICKFLOW_PORT_SERVING"] = "0"
    yield checkout
    checkout.sh("make down")


def with_names(block: Block, checkout: Checkout) -> Block:
    """The block with the name of the newest recorded run where a reader puts one."""
    if not re.search(r"\bRUN\b", block.text):
        return block
    listed = json.loads(checkout.sh("clickflow runs --json").text)["runs"]
    newest = next(run["id"] for run in listed if run["state"] == "recorded")
    return Block(block.page, block.line, block.language, re.sub(r"\bRUN\b", newest, block.text), "")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", ON_THE_PLATFORM)
def test_the_blocks_of_a_page(page: str, root, ended: Checkout) -> None:
    known = {each.name for each in fields(Params)}
    for block in blocks(root / page, root):
        if block.not_run:
            continue
        if block.language == "yaml" and page == "docs/tutorial.md" and known & set(yaml.safe_load(block.text)):
            ended.put(block.text)
        if block.language in SHELL:
            outcome = ended.run(with_names(block, ended))
            assert "Traceback" not in outcome.text, outcome.text


@pytest.mark.timeout(1800)
def test_a_log_of_ones_own_where_the_demo_was(root: Path, shop_data: Path, ended: Checkout) -> None:
    """The champion that `make demo` left knows a simulated shop: it is taken down, then a real log has its turn."""
    (down,) = [block for block in blocks(root / POINT_IT, root) if "--to 0" in block.text]
    ended.sh("git checkout --quiet params.yaml")
    ended.run(down)
    follow(LOGS["rees46_slice"], root, shop_data, ended)
    decision = json.loads((ended.folder / "reports/next_step/gate/decision.json").read_text(encoding="utf-8"))
    assert decision["champion_version"] == 0
    assert "champion stays" not in decision["summary"]
