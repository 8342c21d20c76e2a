"""The page in a headless Chromium: found, asked why, changed, signed in; by keyboard, on a phone, in both themes and
languages, without a fault that axe knows and without a word of the browser's console.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import psutil
import pytest
from page_reader import DESK, PATIENCE, PHONE, Reader
from playwright import sync_api
from playwright.sync_api import expect
from test_serving import Server, crown

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "model"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipeline"))

import online_shop
import registry_workspace
from online_shop import MODEL

from clickflow.online.http import keys
from clickflow.registry import ledger, promote
from clickflow.system.files import write_json
from clickflow.system.paths import Paths

pytestmark = [
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


@pytest.fixture(scope="module")
def served(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server beside a workspace with visits, two versions, a decision, drift, and what became of answers."""
    folder = tmp_path_factory.mktemp("page")
    paths = Paths(folder)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(root / name, folder / name)
    heads = ("next_item", "next_action", "purchase")
    for number in (2, 1):  # the last one stands in the workspace, too
        place = folder if number == 1 else tmp_path_factory.mktemp("second")
        artefact = online_shop.exported(place, seed=number, heads=heads).artefact.folder
        shutil.copytree(artefact, folder / ".clickflow/models" / MODEL / str(number))
    crown(folder, 1)
    crown(folder, 2)
    rule = {"verdict": "passed", "severity": "hold", "text": "it is above", "evidence": {}}
    rules = [{**rule, "rule": "floor: mrr@20"}, {**rule, "rule": "fails", "verdict": "failed"}]
    decision = {"decision": "hold", "summary": "one rule failed", "champion_version": 2, "rules": rules}
    write_json(paths.gate(MODEL) / "decision.json", decision)
    cell = {"value": 0.21, "low": 0.2, "high": 0.22}
    group = {"model": MODEL, "version": 2, "arm": "champion", "test": 0, "requests": 900, "visitors": 80}
    heads_ = {"next_item": {"questions": 9, "metrics": {"recall@20": cell}}}
    canary = {**group, "version": 1, "arm": "canary", "shown": {}, "heads": heads_}
    agreed = {"model": MODEL, "champion": 2, "shadow": 3, "output": "next_item", "requests": 50, "agreement": 0.93}
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
    segment = {"name": {"en": "Best", "zh": "核心顾客"}, "customers": 3, "share": 0.5, "traits": []}
    write_json(reports / "profiles/segments.json", {"segments": [{**segment, "came_back": measured, "value": None}]})
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


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    """One for all."""
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def reader(browser: sync_api.Browser, served: Server) -> Iterator[Reader]:
    """At a desk, in English."""
    one = Reader(browser, served)
    yield one
    one.end()


@pytest.mark.parametrize(
    ("viewport", "theme", "language"), [(DESK, "light", "en-GB"), (PHONE, "dark", "zh-CN")], ids=["desk", "phone"]
)
def test_every_view_is_clean_in_both_themes_and_languages_and_fits_a_phone(
    browser: sync_api.Browser, served: Server, viewport: Any, theme: Any, language: str
) -> None:
    one = Reader(browser, served, viewport=viewport, color_scheme=theme, locale=language)
    dark = set()
    for route in ("session", f"session/{VISIT}", "session/new", "session/none", "customer", "outlook", "models"):
        page = one.see(route)
        assert one.faults() == [], route
        assert not page.evaluate(WIDER), f"{route} is wider than the screen"
        dark.add(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
        shown = page.locator("main").inner_text()
        assert ("访问" in page.locator("header").first.inner_text()) == (language == "zh-CN")
        assert shown.strip()
    assert dark == {"rgb(21, 23, 27)" if theme == "dark" else "rgb(252, 252, 250)"}
    page = one.see(f"session/{VISIT}")
    page.locator("[data-key=add]").click()
    page.locator("input[role=combobox]").fill("1")
    expect(page.locator(".choices li").nth(3)).to_be_visible()
    assert one.faults() == [], "what if, and a choice of items"
    one.log = [text for text in one.log if "404" not in text]  # of session/none, which the browser tells too
    one.end()


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


def test_a_visit_is_found_read_and_asked_why_and_what_if(reader: Reader) -> None:
    page = reader.see("session")
    page.get_by_role("searchbox").fill(VISIT[:6])
    page.get_by_role("link", name=VISIT).click()
    reader.settled()
    page = reader.see("session")
    page.get_by_role("searchbox").fill(VISIT)
    page.get_by_role("searchbox").press("Enter")  # who alone is found is opened
    expect(page).to_have_url(re.compile(f"#/session/{VISIT}$"))
    reader.settled()
    rows = page.locator("ol.steps > li")
    count = rows.count()
    assert count > 5
    before = page.locator(".headline strong").inner_text()
    assert before.endswith("%")
    expect(page.locator("#whyhead")).to_be_visible()
    expect(page.locator(".reasons li").first).to_contain_text("without it")
    expect(page.locator(".chart rect").first).to_be_attached()
    first = page.locator("ol.ranked .what b").first.inner_text()

    page.get_by_role("button", name="Remove").click()
    expect(page.locator(".whatif")).to_contain_text("1 change")
    reader.settled()
    expect(page.locator("path.before")).to_have_count(1)
    expect(page.locator(".answer .was").first).to_be_visible()
    page.get_by_role("button", name="Undo all").click()
    reader.settled()
    expect(page.locator(".headline strong")).to_have_text(before)

    page.get_by_role("button", name="Add a step after it").click()
    box = page.get_by_role("combobox", name="Item")
    box.fill("17")
    expect(page.get_by_role("listbox").get_by_role("option").first).to_contain_text("17")
    box.press("Enter")
    reader.settled()
    expect(rows).to_have_count(count + 1)
    expect(rows.first).to_contain_text("17")
    page.locator("select[data-key=action]").select_option("cart")
    reader.settled()
    expect(page.locator(".whatif")).to_contain_text("1 change")

    page.get_by_role("button", name="Undo all").click()
    reader.settled()
    page.get_by_role("button", name=f"Why? {first}").click()
    reader.settled()
    expect(page.locator("#whyhead")).to_contain_text(first)
    page.get_by_role("button", name="Try it").click()
    reader.settled()
    assert page.locator("ol.ranked .what b").first.inner_text() != first, "what it says would change it does"


def test_what_a_change_shows_is_what_the_api_answers_of_that_history(reader: Reader, served: Server) -> None:
    """A step added, its action and item changed, another removed: each time the page shows the numbers of a question
    about the history that it then is.
    """
    page = reader.page
    asked: list[dict[str, Any]] = []

    def listen(request: sync_api.Request) -> None:
        if request.url.endswith("/v1/console/answers"):
            asked.append(request.post_data_json or {})

    page.on("request", listen)
    reader.see(f"session/{VISIT}")
    history = [{**step} for step in asked[-1]["history"]]

    def percent(value: float) -> str:
        return f"{100 * value:.{1 if value >= 0.00995 else 2}f}%"

    def check(expected: list[dict[str, Any]]) -> None:
        reader.settled()
        named = [(step["item"], step["action"]) for step in expected]

        def newest() -> dict[str, Any] | None:  # the page asks about the history as it was, too
            own = (body for body in asked[-2:] if [(step["item"], step["action"]) for step in body["history"]] == named)
            return next(own, None)

        for _ in range(PATIENCE // 100):
            if (body := newest()) is not None:
                break
            page.wait_for_timeout(100)
        assert body is not None, named
        about = {"model": body["model"], "history": body["history"], "now": body.get("now")}
        right = served.client.post("/v1/predict", json={**about, "k": 10}).json()["answers"]
        items = right["next_item"]["items"]
        shown = page.locator("ol.ranked > li")
        expect(shown.locator(".what b")).to_have_text([item["item"] for item in items])
        expect(shown.locator(".numbers strong")).to_have_text([percent(item["score"]) for item in items])
        expect(page.locator(".headline strong")).to_have_text(percent(right["purchase"]["probability"]))

    check(history)
    page.locator("select[data-key=action]").select_option("cart")
    changed = {**history[-1], "action": "cart"}
    assert changed != history[-1]
    check([*history[:-1], changed])
    page.get_by_role("button", name="Undo all").click()
    check(history)
    page.get_by_role("button", name="Add a step after it").click()
    box = page.get_by_role("combobox", name="Item")
    box.fill("21")
    expect(page.get_by_role("listbox").get_by_role("option").first).to_contain_text("21")
    box.press("Enter")
    added = [*history, {"item": "21", "action": "view"}]
    check(added)
    page.locator("select[data-key=action]").select_option("cart")
    added[-1] = {"item": "21", "action": "cart"}
    check(added)
    box = page.get_by_role("combobox", name="Item")
    box.fill("9")
    expect(page.get_by_role("listbox").get_by_role("option").first).to_contain_text("9")
    box.press("Enter")
    added[-1] = {"item": "9", "action": "cart"}
    check(added)
    page.get_by_role("button", name="Undo all").click()
    check(history)
    page.get_by_role("button", name="Remove").click()
    reader.settled()
    page.locator("ol.steps > li").nth(1).get_by_role("button").first.click()  # the step before: as if the last were not
    check(history[:-1])


def test_what_is_below_the_reasons_stays_where_it_is_while_others_are_awaited(reader: Reader) -> None:
    """A press is lost where the button has moved from under it."""
    reader.page.set_viewport_size({"width": 1000, "height": 900})  # too narrow for two columns
    page = reader.see(f"session/{VISIT}")
    expect(page.locator("#whyhead")).to_be_visible()
    reader.settled()
    page.wait_for_load_state("networkidle")  # what other models answer comes later
    routes: list[sync_api.Route] = []
    page.route("**/v1/console/explain", lambda route: routes.append(route))
    place = "document.querySelector('#answerhead').getBoundingClientRect().top + scrollY"
    at = page.evaluate(place)
    page.locator(".step .select").nth(1).click()
    expect(page.locator(".why .loading")).to_have_count(1)
    assert page.evaluate(place) == pytest.approx(at, abs=0.1)
    routes[0].continue_()
    reader.settled()


def two_models(route: sync_api.Route) -> None:
    """As if a second model of visits answered too."""
    body = route.fetch().json()
    body["models"].append({**body["models"][0], "name": "other"})
    route.fulfill(json=body)


def of_the_first(route: sync_api.Route) -> None:
    route.continue_(post_data=json.dumps(dict(json.loads(route.request.post_data or "{}"), model=MODEL)))


def late(route: sync_api.Route) -> None:
    """As if the first model were slow."""
    if json.loads(route.request.post_data or "{}")["model"] == MODEL:
        route.request.frame.page.wait_for_timeout(500)
    of_the_first(route)


TURN = """([first, then]) => new Promise((done) => {
  const choose = (name) => {
    const models = document.querySelector("header.who select");
    models.value = name;
    models.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const pane = document.querySelector("section.subject");
  new MutationObserver((_, observer) => {
    if (pane.hasAttribute("aria-busy")) return;
    observer.disconnect();
    choose(then);
    done();
  }).observe(pane, { attributes: true, attributeFilter: ["aria-busy"] });
  choose(first);
})"""
"""Choose a model, and another as soon as the first has answered."""


def test_what_other_models_say_of_a_visit_stands_beside_and_is_shown_step_by_step(reader: Reader) -> None:
    page = reader.page
    page.route("**/v1/console", two_models)
    for path in ("answers", "explain"):
        page.route(f"**/v1/console/{path}", of_the_first)
    reader.see(f"session/{VISIT}")
    other = page.locator(".answers .other")
    expect(other).to_have_count(1)
    assert other.locator("section.answer strong").count() > 10
    assert reader.faults() == []
    page.locator("header.who select").select_option("other")
    reader.settled()
    expect(page.locator(".chartbox .headline strong")).to_contain_text("%")
    expect(page.locator("#whyhead")).to_be_visible()  # what is below it has its place
    page.get_by_role("button", name=re.compile("Show .* step by step")).click()
    reader.settled()
    expect(page.locator("header.who select")).to_have_value(MODEL)

    # the question why the first answers so waits for a moment: by then it may be another's turn
    page.route("**/v1/console/answers", late)
    page.evaluate(TURN, ["other", MODEL])
    reader.settled()
    expect(page.locator("#whyhead")).to_be_visible()


def test_all_of_it_is_reached_by_keyboard(reader: Reader) -> None:
    page = reader.see(f"session/{VISIT}")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    chosen = page.locator(".step.chosen .select")
    chosen.focus()
    last = int(chosen.inner_text())
    for key, step in (("ArrowDown", last - 1), ("ArrowDown", last - 2), ("ArrowUp", last - 1), ("End", 1)):
        page.keyboard.press(key)
        expect(chosen).to_have_text(str(step))
        expect(chosen).to_be_focused()
    reader.settled()
    expect(page.locator("#answerhead")).to_contain_text("after step 1")
    focused = set()
    for _ in range(90):
        page.keyboard.press("Tab")
        focused.add(page.evaluate("document.activeElement.dataset.key || document.activeElement.tagName"))
    assert {"add", "remove", "action", "language", "theme", "nav models"} <= focused


def renamed(route: sync_api.Route) -> None:
    """The server's answers, of a shop whose items are called by whoever wants to harm it."""
    body = route.fetch().json()
    names = (EVIL, TURNED, "y" * 10_000)
    for place, about in enumerate(body["items"].values()):
        about |= dict.fromkeys(("name", "brand", "category"), names[place % 3])
    route.fulfill(json=body)


def test_what_a_shop_calls_an_item_is_text_and_a_long_name_breaks_no_line(
    browser: sync_api.Browser, served: Server
) -> None:
    evil, endless = EVIL, "x" * 250
    events = [{"item": evil}, {"item": endless, "action": "cart"}, {"item": "5", "action": "<i>"}, {"item": "5"}]
    assert served.client.post("/v1/events", json={"session": "eve", "events": events}).status_code == 200
    one = Reader(browser, served, viewport=PHONE)
    page = one.see("session")
    expect(page.locator(".found .live")).to_have_count(1)
    page.locator(".found a", has=page.locator(".live")).click()
    one.settled()
    expect(page.locator("ol.steps")).to_contain_text(evil)
    expect(page.locator("ol.steps")).to_contain_text(f"{'x' * 120}…")
    expect(page.locator("ol.steps > li", has_text=evil)).to_contain_text("new to the model")
    page.route("**/v1/console/answers", renamed)
    page.reload()
    one.settled()
    ranked = page.locator("ol.ranked")
    expect(ranked).to_contain_text(evil)
    expect(ranked).to_contain_text(f"{'y' * 120}…")
    assert TURNED[1:] in ranked.inner_text()
    assert "\u202e" not in page.content(), "no name turns the text around it"
    assert len(page.locator("main").inner_text()) < 20_000
    page.get_by_role("button", name=f"Why? {evil}").first.click()
    one.settled()
    assert one.faults() == []
    assert page.title() == "Visits · clickflow"
    assert page.locator("main img").count() == 0
    assert not page.evaluate(WIDER)
    one.end()


def test_nobody_is_offered_reasons_for_items_that_stand_in(browser: sync_api.Browser, served: Server) -> None:
    events = [{"item": "nobody's"}, {"item": "5"}]
    assert served.client.post("/v1/events", json={"session": "odd", "events": events}).status_code == 200
    one = Reader(browser, served)
    page = one.see("session")
    page.locator(".found a", has=page.locator(".live")).first.click()
    one.settled()
    asks = page.locator("ol.ranked button.ask")
    expect(asks.first).to_be_visible()
    asks.first.click()
    one.settled()
    page.locator("ol.steps > li", has_text="nobody's").locator("button.select").click()
    one.settled()
    expect(page.locator("main")).to_contain_text("reads nothing of this history")
    expect(asks).to_have_count(0)
    one.end()


def test_a_server_that_is_away_is_said_and_seen_again(reader: Reader) -> None:
    page = reader.see(f"session/{VISIT}")
    page.route("**/v1/**", lambda route: route.abort())
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()  # all that was asked has failed
    page.unroute("**/v1/**")
    page.get_by_role("button", name="Try now").click()
    expect(page.get_by_role("alert")).to_be_empty()
    page.get_by_role("button", name="Try again").click()
    reader.settled()
    expect(page.locator(".headline strong")).to_contain_text("%")
    reader.log = [text for text in reader.log if "ERR_FAILED" not in text]  # the browser tells, too


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


class Registry(Server):
    """One beside a workspace whose champions are no models: nothing answers."""

    up = "/healthz"

    def end(self, by: int = signal.SIGTERM) -> list[psutil.Process]:
        """Without a question to it: it answers none."""
        return self._end(by)


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
