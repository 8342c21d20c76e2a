"""The UI in a browser: log in, fill the form of retrain, answer the question of its approval, see it finish.

CLICKFLOW_PICTURES names a folder for the pictures of docs/images; without it none is kept.
"""

import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image
from platform_client import Platform
from playwright import sync_api

from live import records

pytestmark = [
    pytest.mark.platform,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium on this machine"),
]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

PICTURES = os.environ.get("CLICKFLOW_PICTURES")

OVERRIDES: dict[str, Any] = {"training.threads": 1}
COMMITTED: dict[str, Any] = {"promotion.approve": [records.MODEL]}
if PICTURES:  # a model that is worth looking at
    OVERRIDES |= {"simulator.events": 80_000, "models.next_step.encoder.units": 64}
    COMMITTED |= {"gate.champion.margin": 0.05}

EPOCHS = 4 if PICTURES else 2

SIZE: Any = {"width": 1280, "height": 980}

ELSEWHERE = """([here, there]) => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let text = texts.nextNode(); text; text = texts.nextNode())
        text.nodeValue = text.nodeValue.replace(here, there);
}"""
"""Script of a page: one path for another in all that it shows."""

PATIENCE = 180_000
"""Milliseconds for a page on a busy machine."""


@pytest.fixture(scope="module")
def page(shop: Platform) -> Iterator[sync_api.Page]:
    """A page of a person who has logged in through the form."""
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        context = browser.new_context(viewport=SIZE, timezone_id="UTC")
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto(f"{shop.airflow}/")
        page.fill("input[name=username]", "admin")
        page.fill("input[name=password]", shop.password())
        page.click("button[type=submit]")
        page.get_by_test_id("nav-dags-link").wait_for()
        yield page
        browser.close()


@pytest.fixture(scope="module")
def run(shop: Platform, first: str, page: sync_api.Page) -> str:
    """The run that the form has started."""
    before = records.runs_of(shop, "retrain", "manual")
    page.goto(f"{shop.airflow}/dags/retrain")
    page.get_by_test_id("trigger-dag-button").click()
    page.get_by_role("button", name="Which models").click()
    page.get_by_label("Select one or multiple values").fill(records.MODEL)
    page.keyboard.press("Enter")
    page.locator("input[role=spinbutton]").first.fill(str(EPOCHS))
    _keep(shop, page, "trigger.png", "[role=dialog]")
    page.get_by_role("button", name="More", exact=True).click()
    page.locator("#element_note").fill("more epochs, and I want to be asked")
    editor = page.locator("#element_overrides .monaco-editor").first
    editor.wait_for()
    editor.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(json.dumps(OVERRIDES))
    page.keyboard.press("Control+Shift+End")  # the brackets and quotes that the editor has added by itself
    page.keyboard.press("Delete")
    with shop.committed(COMMITTED):
        page.get_by_test_id("trigger-dag-submit").click()
        run = records.wait_for_run(shop, "retrain", "manual", before, timeout=120)
        shop.wait_for_task("retrain", run, "open", "success", timeout=300)
    return run


def test_the_form_says_what_it_means(page: sync_api.Page, shop: Platform, run: str) -> None:
    conf = shop.run("retrain", run)["conf"]
    assert conf["epochs"] == EPOCHS
    assert conf["models"] == [records.MODEL]
    assert conf["note"] == "more epochs, and I want to be asked"
    assert conf["overrides"] == OVERRIDES


def test_a_person_approves_in_the_browser_and_sees_it_finish(page: sync_api.Page, shop: Platform, run: str) -> None:
    task = f"approve.{records.MODEL}"
    page.goto("about:blank")  # a page that refreshes itself takes half a core, and nobody looks at it now
    shop.wait_for_task("retrain", run, task, "awaiting_input", timeout=1200)
    page.goto(f"{shop.airflow}/dags/retrain/runs/{quote(run)}/tasks/{task}/required_actions")
    page.get_by_text("It passed the gate").first.wait_for()
    page.locator("#element_reason").fill("seen in the browser")
    page.set_viewport_size({"width": 1280, "height": 1250})
    _keep(shop, page, "approval.png", "body")
    page.set_viewport_size(SIZE)
    with page.expect_response(lambda answer: answer.request.method == "PATCH"):
        page.get_by_test_id("hitl-option-Approve").click()
    page.goto("about:blank")
    shop.until(lambda: shop.states("retrain", run)[task] == "success", 120, lambda: shop.states("retrain", run))
    assert shop.wait("retrain", run, timeout=600) == "success"

    line = next(line for line in records.ledger(shop) if line["facts"].get("dag_run") == f"retrain/{run}")
    assert line["action"] == "promote"
    assert line["facts"]["approval"]["reason"] == "seen in the browser"
    assert line["facts"]["approval"]["by"] == "admin"

    page.goto(f"{shop.airflow}/dags/retrain/runs/{quote(run)}")
    page.get_by_text(re.compile("^Success$")).first.wait_for()
    page.get_by_title("Show Graph").click()
    page.set_viewport_size({"width": 2700, "height": 420})
    page.reload()
    page.locator("[data-id=promote]").wait_for()
    page.add_style_tag(content=".react-flow__minimap, .react-flow__panel, .react-flow__background {display: none}")
    _keep(shop, page, "run.png", "[data-testid=rf__wrapper]")


def _keep(shop: Platform, page: sync_api.Page, name: str, part: str) -> None:
    """A picture, where they are asked for; in few colours, for it lies in the repository, and of no machine's path."""
    if PICTURES:
        page.wait_for_timeout(5000)
        page.evaluate(ELSEWHERE, [str(shop.clone), "/srv/clickflow"])
        shot = Image.open(io.BytesIO(page.locator(part).last.screenshot()))
        shot.convert("RGB").quantize(128).save(Path(PICTURES) / name, optimize=True)
