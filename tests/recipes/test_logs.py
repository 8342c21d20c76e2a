"""README's "Point it at your log", block for block, on every real log: a decision, or the one clear message that says
why this log can have none.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from recipe import SHELL, Block, Checkout, blocks

from clickflow.params.file import load
from clickflow.params.patch import plain

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
    """The gate's decision on every model (promote, hold, reject, or several with `or`); else a part of the one message
    with which `dvc repro` ends."""
    says: tuple[str, ...] = ()
    """What must be said on the way, beside."""


LOGS = {
    "bolcom_clicks": Log(
        files=tuple(f"bolcom_clicks/{part}.tsv.gz" for part in ("train", "valid", "test")),
        source={"preset": "session_tsv"},
        counts={"read": 116_285, "accepted": 116_285, "quarantined": 0},
        ends="promote",
        says=("sessions are baskets", "86.7% of the next items are known"),
    ),
    "retailrocket_sessions": Log(
        files=tuple(f"retailrocket_sessions/{part}.tsv.gz" for part in ("train", "test")),
        source={"preset": "session_tsv", "time_format": "order"},
        counts={"read": 710_586, "accepted": 710_586, "quarantined": 0},
        ends="promote",
        says=("the log has an order and no clock: hours, weekdays and gaps are not used",),
    ),
    "rees46_slice": Log(
        files=("rees46_slice/2019-Oct.csv.gz",),
        source={"preset": "rees46"},
        counts={"read": 17_435, "accepted": 17_429, "quarantined": 6},
        ends="hold or reject",  # near to a baseline: the last digits of a processor decide
        says=("the log spans 2.8 hours", "the log is too short, or its items change too fast, to recommend from"),
    ),
    "taobao_slice": Log(
        files=("taobao_slice/UserBehavior.csv.gz",),
        source={"preset": "taobao"},
        counts={"read": 110_300, "accepted": 110_300, "quarantined": 0},
        ends="reject",
        says=("the log is too short or too thin", "the log spans 2.2 hours"),
    ),
    "uci_online_retail": Log(
        files=("uci_online_retail/online_retail.csv.gz",),
        source={"preset": "uci_retail"},
        counts={"read": 541_909, "accepted": 535_303, "quarantined": 6_606},
        ends="promote",
        says=("few_ties", "models.next_step was made a comment: the log holds baskets, no visits"),
    ),
    "otto_slice": Log(
        files=("otto_slice/train.jsonl.gz",),
        source={"preset": "otto"},
        counts={"read": 862, "accepted": 862, "quarantined": 0},
        ends="enough_events: events is 862, expected at least 1,000",
        says=("no_session_stands_out",),
    ),
    "ga4_sample": Log(
        files=("layouts/ga4_sample.csv.gz",),
        source={
            "preset": None,
            "columns": {
                "event_time": "event_timestamp",
                "country": "country",
                "item_id": "item_id",
                "item_name": "item_name",
                "price": "price",
                "quantity": "quantity",
                "user_id": "user_pseudo_id",
            },
            "event_types": {"*": "purchase"},
            "time_format": "us",
        },
        counts={"read": 16_003, "accepted": 15_509, "quarantined": 494},
        ends="hold or promote",  # of visits, for most are baskets; of customers
        says=(
            "no column is a type: every row is taken for a purchase",
            "sessions are baskets, all their steps at one instant: left out",
        ),
    ),
    "hm_transactions": Log(
        files=("layouts/hm_transactions.csv.gz",),
        source={"preset": "hm"},
        counts={"read": 10_000, "accepted": 9_089, "quarantined": 911},
        ends="the log holds baskets: in 1,900 of 1,900 visits all steps have one time",
        says=("few_repeats",),
    ),
    "ml-100k": Log(
        files=("layouts/ml-100k.inter.gz",),
        source={"preset": "recbole"},
        counts={"read": 100_000, "accepted": 100_000, "quarantined": 0},
        ends="promote",
        says=("few_ties", "sessions are baskets"),
    ),
}
"""One a folder of the shop data, and the files of `layouts`; RetailRocket is the large one."""


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


def follow(log: Log, root: Path, shop_data: Path, reader: Checkout) -> None:
    """The blocks in a reader's checkout, with the log's files in data/raw; what comes of them must be as `log` says."""
    for file in log.files:
        shutil.copy(shop_data / file, reader.folder / "data/raw")
    output = ""
    code = 0
    for block in recipe(root):
        outcome = reader.sh(block.text)
        output += outcome.text
        code = outcome.code
        if code:
            break
    assert "Traceback" not in output, output[-4000:]
    params = load(reader.folder / "params.yaml")
    written = plain(params.source)
    assert {key: written[key] for key in log.source} == log.source
    card = json.loads((reader.folder / "reports/ingest.json").read_text(encoding="utf-8"))
    assert {key: card[key] for key in log.counts} == log.counts
    assert card["read"] == card["accepted"] + card["quarantined"] + card["ignored"]
    judged = [reader.folder / f"reports/{model}/gate/decision.json" for model in params.models]
    decisions = [json.loads(path.read_text(encoding="utf-8"))["decision"] for path in judged if path.exists()]
    for part in log.says:
        assert part in output, output[-6000:]
    if set(log.ends.split(" or ")) <= {"promote", "hold", "reject"}:
        assert code == 0
        assert decisions
        assert set(decisions) <= set(log.ends.split(" or ")), output[-6000:]
    else:
        assert code != 0
        assert log.ends in output, output[-6000:]
        assert decisions == []


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", LOGS)
def test_the_recipe_of_the_readme(name: str, root: Path, shop_data: Path, tmp_path: Path) -> None:
    follow(LOGS[name], root, shop_data, Checkout(root, tmp_path / "clickflow"))
