"""A server with all that the page shows, and a browser: for the tests of the page."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright import sync_api
from test_serving import Server, crown

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "model"))

import online_shop

from clickflow.system.files import write_json
from clickflow.system.paths import Paths

MODEL = online_shop.MODEL
MARKS = [
    pytest.mark.platform,
    pytest.mark.timeout(240),
    pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium on this machine"),
]

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
VISIT = "test-51"
EVIL = "<img src=x onerror=document.title='owned'>"
TURNED = "\u202egnp.exe\"'`${1}"
"""What a shop may call an item; the second begins with a character that turns the text after it around."""
WIDER = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@contextmanager
def serving(root: Path, folder: Path, second: Path) -> Iterator[Server]:
    """A server beside a workspace with visits, two versions, a decision, drift, and what became of answers."""
    paths = Paths(folder)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(root / name, folder / name)
    heads = ("next_item", "next_action", "purchase")
    for number in (2, 1):  # the last one stands in the workspace, too
        place = folder if number == 1 else second
        artefact = online_shop.exported(place, seed=number, heads=heads).artefact.folder
        online_shop.priced(artefact)
        shutil.copytree(artefact, folder / ".clickflow/models" / online_shop.MODEL / str(number))
    crown(folder, 1)
    crown(folder, 2)
    rule = {"verdict": "passed", "severity": "hold", "text": "it is above", "evidence": {}}
    rules = [{**rule, "rule": "floor: mrr@20"}, {**rule, "rule": "fails", "verdict": "failed"}]
    decision = {"decision": "hold", "summary": "one rule failed", "champion_version": 2, "rules": rules}
    write_json(paths.gate(online_shop.MODEL) / "decision.json", decision)
    cell = {"value": 0.21, "low": 0.2, "high": 0.22}
    group = {"model": online_shop.MODEL, "version": 2, "arm": "champion", "test": 0, "requests": 900, "visitors": 80}
    heads_ = {"next_item": {"questions": 9, "metrics": {"recall@20": cell}}}
    canary = {**group, "version": 1, "arm": "canary", "shown": {}, "heads": heads_}
    agreed = {
        "model": online_shop.MODEL,
        "champion": 2,
        "shadow": 3,
        "output": "next_item",
        "requests": 50,
        "agreement": 0.93,
    }
    groups = [{**group, "shown": {"ctr": cell}, "heads": heads_}, canary]
    live = {"groups": groups, "agreement": [agreed], "canaries": {}, "made": "2026-01-01T00:00:00+00:00", "days": 7}
    write_json(folder / ".clickflow/live/live.json", live)
    left_by_profiles_and_demand(folder / "reports")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    write_json(
        folder / ".clickflow/logs/april/run.json", {"ended": "failed", "reason": "by hand", "opened": "2026-04-01"}
    )
    server = Server(folder)
    yield server
    assert server.end() == []


def left_by_profiles_and_demand(reports: Path) -> None:
    """Segments, and forecasts of two series with what was sold."""
    import pyarrow as pa
    from pyarrow import parquet

    measured = {"value": 0.3, "low": 0.2, "high": 0.4}
    words = {"en": "spend 2.4 times as much as others in a visit", "zh": "每次访问的花费是其他人的 2.4 倍"}
    segment = {"name": {"en": "Best", "zh": "核心顾客"}, "customers": 3, "share": 0.5, "traits": [{"words": words}] * 3}
    segment |= {"came_back": measured, "value": {"value": 41.5, "low": 30.25, "high": 1_052.75}, "lift": measured}
    write_json(reports / "profiles/segments.json", {"segments": [segment]})
    write_json(reports / "profiles/card.json", {"as_of": "2026-01-01", "customers": 6, "horizon_days": 7})
    card = {"level": "item", "step": "day", "horizon": 2, "from": "2026-01-03", "count": 2, "past": None}
    write_json(reports / "demand/card.json", card)
    stock = {"expected": 9.0, "reorder_point": 4, "order_quantity": 12, "rises": 0.9, "trend": "rises"}
    tables: dict[str, list[dict[str, Any]]] = {"stock": [], "sold": [], "forecasts": []}
    for name in ("a1", EVIL):
        tables["stock"].append({"item": name, "category": None, **stock})
        tables["sold"] += [{"item": name, "period": f"2026-01-0{day}", "units": 5.0} for day in (1, 2)]
        ahead = {"expected": 4.5, "low_10": 2.0, "middle": 4.0, "high_90": 8.0}
        tables["forecasts"] += [{"item": name, "period": f"2026-01-0{day}", **ahead} for day in (3, 4)]
    for file, rows in tables.items():
        parquet.write_table(pa.Table.from_pylist(rows), reports / f"demand/{file}.parquet")


@contextmanager
def chromium() -> Iterator[sync_api.Browser]:
    """Headless."""
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()
