"""The page in a headless Chromium: visits found, asked why, and changed; by keyboard, on a phone, in both themes and
languages, without a fault that axe knows and without a word of the browser's console.
"""

import json
import re
from typing import Any

import pytest
from page_reader import DESK, PATIENCE, PHONE, Reader
from page_shop import EVIL, MARKS, MODEL, TURNED, VISIT, WIDER
from playwright import sync_api
from playwright.sync_api import expect
from test_serving import Server

pytestmark = MARKS


def percent(value: float) -> str:
    """As the page writes it."""
    return f"{100 * value:.{1 if value >= 0.00995 else 2}f}%"


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


def test_a_step_of_no_price_is_asked_as_one_and_what_was_not_said_is_left_to_the_model(
    browser: sync_api.Browser, served: Server
) -> None:
    """Items have a price in training: a row of the log without one had none; an event that says none has it."""
    one = Reader(browser, served)
    page = one.page
    asked: dict[str, list[dict[str, Any]]] = {"answers": [], "explain": []}

    def listen(request: sync_api.Request) -> None:
        if request.url.endswith(("/v1/console/answers", "/v1/console/explain")):
            asked[request.url.rpartition("/")[2]].append(request.post_data_json or {})

    def check() -> list[dict[str, Any]]:
        """What the page shows, and why, is what the API says of the history as it is."""
        one.settled()
        expect(page.locator("#whyhead")).to_be_visible()
        history: list[dict[str, Any]] = asked["explain"][-1]["history"]
        body = next(each for each in reversed(asked["answers"]) if each["history"] == history)  # or as it was
        about = {"model": body["model"], "history": body["history"], "now": body.get("now")}
        right = served.client.post("/v1/predict", json={**about, "k": 10}).json()["answers"]
        shown = page.locator("ol.ranked > li")
        expect(shown.locator(".what b")).to_have_text([item["item"] for item in right["next_item"]["items"]])
        expect(page.locator(".headline strong")).to_have_text(percent(right["purchase"]["probability"]))
        return history

    page.on("request", listen)
    one.see(f"session/{VISIT}")
    history = check()
    steps = served.client.get(f"/v1/console/subjects/session/{VISIT}").json()["steps"]
    assert [step["price"] for step in history] == [step["price"] for step in steps]
    assert None in [step["price"] for step in steps], "or it shows nothing"
    assert {None} != {step["price"] for step in steps}
    place = next(place for place in reversed(range(len(steps))) if steps[place]["price"] is None)
    page.locator("ol.steps > li .select").nth(len(steps) - 1 - place).click()
    one.settled()
    page.locator("select[data-key=action]").select_option("cart" if steps[place]["action"] != "cart" else "view")
    expect(page.locator(".whatif")).to_contain_text("1 change")
    one.settled()
    page.locator("ol.steps > li .select").first.click()
    assert check()[place]["price"] is None, "what if asks of it as it was"

    events = [{"item": "5"}, {"item": "6", "price": 40}, {"item": "7", "price": None}]
    assert served.client.post("/v1/events", json={"session": "unpriced", "events": events}).status_code == 200
    page.goto("/#/session")
    page.locator(".found a", has=page.locator(".live")).first.click()
    one.settled()
    said = [{name: step[name] for name in ("item", "price") if name in step} for step in check()]
    assert said == events
    by_session = served.client.post("/v1/predict", json={"session": "unpriced"}).json()["answers"]
    expect(page.locator(".headline strong")).to_have_text(percent(by_session["purchase"]["probability"]))
    rows = page.locator("ol.steps > li .about")  # the newest first; what is asked of the first is its usual price
    expect(rows.nth(2)).to_contain_text("4")
    expect(rows.nth(1)).to_contain_text("40")
    expect(rows.nth(0)).to_have_text("")
    one.end()
