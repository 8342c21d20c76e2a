"""Alerts and dashboard: they name what the server shows, promtool takes them, and each alert has its runbook."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from clickflow.online.http import about, metrics, server

NAME = re.compile(r"\bclickflow_\w+")
BASE = "{{ with $externalLabels.docs }}{{ . }}/{{ end }}"
"""Where a shop says where its docs are, links lead there."""


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "docker/monitoring"


def rules(folder: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load((folder / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def exported() -> dict[str, str]:
    """By family of what a server shows, its type."""
    text = metrics.new().text().decode()
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def family(name: str, there: dict[str, str]) -> str | None:
    parts = [name.removesuffix(end) for end in ("_bucket", "_sum", "_count")]
    return name if name in there else next((part for part in parts if there.get(part) == "histogram"), None)


def expressions(folder: Path) -> list[str]:
    board = json.loads((folder / "dashboard.json").read_text(encoding="utf-8"))
    expressions_shown = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    expressions_shown += [each["expr"] for each in board["annotations"]["list"]]
    expressions_shown += [each["definition"] for each in board["templating"]["list"] if each["type"] == "query"]
    return [*expressions_shown, *(rule["expr"] for rule in rules(folder))]


def test_every_metric_that_is_asked_for_is_one_that_the_server_shows(folder: Path) -> None:
    there, text = exported(), expressions(folder)
    names = {name for each in text for name in NAME.findall(each)}
    assert len(names) > 20
    assert {name for name in names if family(name, there) is None} == set()


def test_every_label_that_is_asked_for_is_one_of_the_metric(folder: Path) -> None:
    labels = {name: set(about[1]) for name, about in metrics.GAUGES.items()}
    for text in expressions(folder):
        for name, inside in re.findall(r"(clickflow_\w+)\{([^}]*)\}", text):
            if name in labels:
                named = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', inside)) - {"job", "instance"}
                assert named <= labels[name], text


def test_every_alert_has_its_runbook_and_every_runbook_its_alert(root: Path, folder: Path) -> None:
    page = (root / "docs/runbooks/alerts.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    named = [rule["alert"] for rule in rules(folder)]
    assert sorted(named) == sorted(sections)
    for rule in rules(folder):
        assert rule["annotations"]["runbook_url"] == BASE + f"docs/runbooks/alerts.md#{rule['alert'].lower()}"
        assert rule["annotations"]["summary"] and rule["labels"]["severity"] in ("info", "warning", "critical")
        text = sections[rule["alert"]]
        assert all(word in text for word in ("**Means**", "**Look at**", "**Do**")), rule["alert"]
    tried = yaml.safe_load((folder / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    fired = {each["alertname"] for test in tried for each in test["alert_rule_test"] if each["exp_alerts"]}
    assert fired == set(named)


def test_all_that_health_may_name_stands_in_the_runbook_of_its_alert(root: Path) -> None:
    page = (root / "docs/runbooks/alerts.md").read_text(encoding="utf-8").partition("## ClickflowDegraded")[2]
    cells = re.findall(r"^\| (`[^|]+) \|", page.partition("\n## ")[0], re.MULTILINE)
    named = {name for cell in cells for name in re.findall("`([^`]+)`", cell)}
    parts = set(about.NEXT) - {"models"}  # where no model answers no model can be named
    assert parts | {f"{part} of MODEL" for part in server.MENDS} | {"live MODEL"} == named


def test_a_panel_that_shows_what_is_above_0_says_where_nothing_is(folder: Path) -> None:
    """`No data` might mean that nothing was asked."""
    panels = json.loads((folder / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    filtered = [panel for panel in panels if any("> 0" in each["expr"] for each in panel.get("targets", ()))]
    assert len(filtered) == 5
    assert all(panel["fieldConfig"]["defaults"]["noValue"] for panel in filtered)


def test_the_panels_of_the_dashboard_lie_beside_each_other(folder: Path) -> None:
    panels = json.loads((folder / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not own & taken, panel["title"]
        taken |= own


@pytest.mark.parametrize("words", [("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml"),
    ("test", "rules", "alerts_test.yml")], ids=" ".join)  # fmt: skip
def test_promtool_takes_them(folder: Path, words: tuple[str, ...]) -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is not here: apt-get install prometheus")
    done = subprocess.run([promtool, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
