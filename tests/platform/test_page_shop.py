"""The page in a headless Chromium, of the shop as a whole: segments, forecasts and their plan, models; signed in, and
promoted; and the snippets of the docs in a shop's own page.
"""

import json
import re
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import psutil
import pytest
from page_reader import DESK, PHONE_390, Reader
from page_shop import EVIL, MARKS, MODEL
from playwright import sync_api
from playwright.sync_api import expect
from test_serving import Server, crown

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipeline"))

import registry_workspace
import test_planned_models as planned
from test_series_models import MODEL as SERIES_MODEL
from test_series_models import store as series_store

from clickflow.online.http import keys
from clickflow.registry import ledger, promote
from clickflow.system.paths import Paths

pytestmark = MARKS


class Unranked(Server):
    """One that recommends nothing: no question is asked as it ends."""

    def end(self, by: int = signal.SIGTERM) -> list[psutil.Process]:
        """Without a question."""
        return self._end(by)


class Registry(Unranked):
    """One beside a workspace whose champions are no models: nothing answers."""

    up = "/healthz"


def test_what_is_ahead_is_shown_with_what_was_sold(reader: Reader) -> None:
    page = reader.see("outlook")
    expect(page.locator(".segments tbody tr")).to_contain_text("Best")
    box = page.locator(".forecasts")
    expect(box.locator("path.line")).to_have_count(2)  # sold, and expected
    expect(box.locator("path.band")).to_have_count(1)
    expect(box).to_contain_text("Grey: sold before.")
    expect(box.locator("dd").nth(1)).to_have_text("12")
    box.get_by_role("searchbox").fill("img")
    expect(box.locator("ol.ranked > li")).to_have_count(1)
    expect(box.locator("h3")).to_have_text(EVIL)


def test_forecasts_say_what_they_read_of_a_plan_and_what_not(
    browser: sync_api.Browser, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A champion that learned promotions and prices, of a shop that plans both; then it plans flyers alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLICKFLOW_HOME", str(tmp_path / ".clickflow"))
    paths = Paths(tmp_path)
    prices = np.random.default_rng(2).choice([3.0, 2.0], planned.promotions().shape)
    plan = planned.by_day({"promotion": planned.promotions(), "price": prices})
    planned.exported(root, paths, plan)
    shutil.copytree(paths.exported(SERIES_MODEL), paths.home / "models" / SERIES_MODEL / "1")
    crown(tmp_path, 1, SERIES_MODEL)
    server = Unranked(tmp_path)
    one = Reader(browser, server)
    last = date.fromordinal(date(1970, 1, 1).toordinal() + planned.FIRST + planned.WIDTH - 1)
    box = one.see("outlook").locator(".forecasts")
    read = f"The plan is read (promotion, price); after {last.day} {last:%b %Y} nothing is planned."
    expect(box.get_by_text("plan", exact=False)).to_have_text([read])
    expect(box.locator("path.band")).to_have_count(1)
    assert one.faults() == []
    one.page.locator("[data-key=language]").select_option("zh")
    expect(box).to_contain_text("已读取计划（promotion, price）")
    one.page.locator("[data-key=language]").select_option("en")

    other = planned.by_day({"flyer": planned.promotions()})
    shutil.rmtree(paths.sequences("series"))
    series_store(paths.sequences("series"), planned.sold(), other)
    one.page.reload()
    one.settled()
    lines = ["The model learned promotion, price; this plan lacks it.", "The model did not learn flyer of the plan."]
    expect(box.get_by_text("plan", exact=False)).to_have_text(lines)
    one.end()
    assert server.end() == []


@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
def test_segments_are_read_on_a_phone_without_scrolling_sideways(
    browser: sync_api.Browser, served: Server, language: str
) -> None:
    one = Reader(browser, served, viewport=PHONE_390, locale=language)
    page = one.see("outlook")
    assert one.faults() == []
    row = page.locator(".segments tbody tr")
    expect(row).to_contain_text("核心顾客" if language == "zh-CN" else "Best")
    assert page.evaluate("document.querySelector('.segments .scroll').scrollWidth") <= PHONE_390["width"]
    assert not page.evaluate(
        "[...document.querySelectorAll('.scroll')].some(each => each.scrollWidth > each.clientWidth)"
    )
    for cell in row.locator("th, td").all():
        box = cell.bounding_box()
        assert box
        assert 0 <= box["x"] < box["x"] + box["width"] <= PHONE_390["width"]
        assert not cell.evaluate("each => each.scrollWidth > each.clientWidth + 1"), "nothing sticks out of it"
    shown = "each => getComputedStyle(each, '::before').content.slice(1, -1)"
    heads = [cell.evaluate(shown) for cell in row.locator("td").all()]  # each number says of what it is
    page.set_viewport_size(DESK)
    assert heads == page.locator(".segments thead th").all_inner_texts()[1:]
    one.end()


def ill(route: sync_api.Route) -> None:
    """The server's answer, as if its disk were full."""
    body = route.fetch().json()
    full = {
        "name": {"en": "live log", "zh": "应答日志"},
        "what": {"en": "the disk is full"},
        "next": {"en": "make room"},
    }
    body["health"] |= {"wrong": [full]}
    route.fulfill(json=body)


def test_who_has_no_key_that_may_sees_and_changes_nothing(served: Server, reader: Reader) -> None:
    reader.page.route("**/v1/console", ill)
    page = reader.see("models")
    section = page.locator(".model", has=page.get_by_role("heading", name=MODEL))
    expect(section).to_contain_text("version 2")
    expect(section).to_contain_text("one rule failed")
    expect(section).to_contain_text("Champion version 2 · 900 answers to 80 visitors")
    expect(section).to_contain_text("Canary version 1")
    expect(section).to_contain_text("Shadow, version 3: answers as the champion in 93% (Next item, 50 answers).")
    expect(section.locator("table.ledger tbody tr")).to_have_count(2)
    expect(page.locator("main")).to_contain_text("nobody has a key here")
    expect(page.locator("main .note").first).to_have_text("live log: the disk is full make room")
    assert page.locator(".acts button").count() == 0
    expect(page.locator(".runs li")).to_contain_text("failed")
    live = section.locator(".fact").nth(2)
    expect(live.locator("dl").first).to_contain_text("next item recall@20")
    earlier = live.locator("details")  # of a canary that is no more, and no other line than that
    expect(earlier.locator("summary")).to_have_text("Earlier versions and canaries (1)")
    expect(live.locator("p.arm")).to_have_count(2)
    earlier.locator("summary").click()
    expect(earlier.locator("p.arm")).to_contain_text("Canary version 1")
    page.get_by_label("Language").select_option("zh")
    reader.settled()
    expect(section.locator(".unsealed")).to_contain_text("没有封存")  # nobody has sealed the decision of this shop
    section.locator(".gate summary").click()
    expect(section.locator(".gate table.rules").last).to_contain_text("下限：mrr@20")
    expect(page.locator(".runs li")).to_contain_text("手动启动")


def test_who_signs_in_with_a_key_that_may_is_told_what_the_registry_says(served: Server, reader: Reader) -> None:
    home = served.log.parent / ".clickflow"
    key = keys.make(home, "eve", ("read", "people", "promote"))
    served.until(lambda: served.client.get("/v1/models").status_code == 401)
    page = reader.page
    page.goto("/#/models")
    page.get_by_role("button", name="Sign in").first.click()
    assert reader.faults() == []
    page.get_by_label("Key").fill("no such key, which is long enough")
    page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("dialog")).to_contain_text("does not know this key")
    page.get_by_label("Key").fill(key)
    page.keyboard.press("Enter")
    expect(page.locator(".person")).to_have_text("Signed in as eve")
    assert key not in page.content()
    page.get_by_role("button", name="Roll back to version 1").click()
    page.get_by_label("Reason").fill("it sold more")
    before = (home / "ledger.jsonl").read_bytes()
    page.keyboard.press("Enter")
    # versions of this workspace were never registered: the command line refuses, and the page says why and what next
    expect(page.locator(".acts form")).to_contain_text("registry.mlflow_uri")
    expect(page.get_by_label("Reason")).to_be_enabled()
    assert (home / "ledger.jsonl").read_bytes() == before
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("main")).to_contain_text("sign in with a key")
    reader.log = [text for text in reader.log if "401" not in text and "404" not in text]  # the browser tells, too
    keys.file_of(home).unlink()
    served.until(lambda: served.client.get("/v1/models").status_code == 200)  # as the other tests know it


@pytest.fixture
def candidate(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A server beside a champion, and a better candidate that the gate lets through."""
    monkeypatch.setenv("CLICKFLOW_COMMIT", "c0ffee")
    monkeypatch.setenv("CLICKFLOW_HOME", str(tmp_path / ".clickflow"))
    paths = registry_workspace.with_store(registry_workspace.workspace(tmp_path, root))
    registry_workspace.candidate(paths, "one")
    promote.run(registry_workspace.params_of(paths), paths, [MODEL], as_json=True)
    registry_workspace.candidate(paths, "two", champion=1, mrr=0.3)
    server = Registry(tmp_path)
    yield server
    assert server.end() == []


@pytest.mark.timeout(400)
def test_who_may_promotes_the_candidate_and_rolls_back(
    browser: sync_api.Browser, candidate: Registry, tmp_path: Path
) -> None:
    """By the command line's own registry, gate and ledger: nothing stands in."""
    paths = Paths(tmp_path)
    key = keys.make(paths.home, "eve", ("read", "people", "promote"))
    candidate.until(lambda: candidate.client.get("/v1/models").status_code == 401)
    one = Reader(browser, candidate)
    page = one.page
    page.goto("/#/models")
    page.get_by_role("button", name="Sign in").first.click()
    page.get_by_label("Key").fill(key)
    page.keyboard.press("Enter")
    section = page.locator(".model", has=page.get_by_role("heading", name=MODEL))
    section.get_by_role("button", name="Promote the candidate").click()
    page.get_by_label("Reason").fill("it sells more")
    assert one.faults() == []
    page.keyboard.press("Enter")
    expect(section.locator("table.ledger tbody tr")).to_have_count(2, timeout=90_000)
    expect(section.locator(".big")).to_have_text("version 2")
    expect(section).to_contain_text("approved by eve: it sells more")
    expect(section.get_by_role("button", name="Promote the candidate")).to_have_count(0)
    section.get_by_role("button", name="Roll back to version 1").click()
    page.get_by_label("Reason").fill("it did not")
    page.keyboard.press("Enter")
    expect(section.locator("table.ledger tbody tr")).to_have_count(3, timeout=90_000)
    expect(section.locator(".big")).to_have_text("version 1")
    lines = [(entry.action, entry.champion, entry.actor) for entry in ledger.read(ledger.path(paths))]
    assert [line[:2] for line in lines] == [("promote", 1), ("promote", 2), ("rollback", 1)]
    assert [line[2] for line in lines][1:] == ["eve", "eve"]
    one.log = [text for text in one.log if "401" not in text]  # of who is not signed in, which the browser tells too
    one.end()


def test_the_snippets_of_the_docs_show_items_in_a_shops_page_and_tell_of_a_click(
    browser: sync_api.Browser, served: Server, root: Path
) -> None:
    """docs/howto/serve.md, "In a page, by a backend": the page, its script and the backend as they stand there."""
    text = (root / "docs/howto/serve.md").read_text(encoding="utf-8")

    def block(begins: str, ends: str) -> str:
        return text.partition(begins)[2].partition(ends)[0]

    address = str(served.client.base_url).rstrip("/")
    backend: dict[str, Any] = {"__name__": "backend"}
    exec(block("cat > backend.py <<'END'\n", "\nEND\n").replace("http://127.0.0.1:8600", address), backend)
    files = {"/": '<!doctype html><body data-item="17">' + block("```html\n", "```"), "/recommendations.js": ""}
    files["/recommendations.js"] = block("```js\n", "```")
    shown: list[dict[str, Any]] = []

    class Shop(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, own = urlsplit(self.path).path, dict(parse_qsl(urlsplit(self.path).query))
            if path == "/api/recommendations":
                shown.append(backend["recommendations"]("a visit of a cookie", own["item"]))
            content = files.get(path) or json.dumps(shown[-1] if shown else None)
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if path.endswith(".js") else "text/html")
            self.end_headers()
            self.wfile.write(content.encode())

        def do_POST(self) -> None:
            backend["clicked"](**dict(parse_qsl(urlsplit(self.path).query)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    def clicks() -> float:
        counter = re.search(r'requests_total{.*/v1/feedback",status="200"} (\S+)', served.client.get("/metrics").text)
        return float(counter[1]) if counter else 0.0

    before = clicks()
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as shop:
        threading.Thread(target=shop.serve_forever, daemon=True).start()
        page = browser.new_page()
        try:
            page.goto(f"http://127.0.0.1:{shop.server_port}/")
            expect(page.locator("#next li a")).to_have_count(12)
            assert shown[0]["request"], "its own list is for when nobody answers"
            assert "17" not in [each["item"] for each in shown[0]["items"]], "what was seen is left out"
            link = page.locator("#next li a").first
            assert (link.get_attribute("href") or "").startswith("/items/")
            link.click()
            served.until(lambda: clicks() == before + 1)
        finally:
            page.close()
            shop.shutdown()
