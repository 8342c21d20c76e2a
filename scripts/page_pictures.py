"""The pictures of the page in docs/images: `python scripts/page_pictures.py [URL] [FOLDER]`, beside `clickflow serve`.

Needs a champion of the unit session with the head purchase, one of customers, what `clickflow profiles` and `clickflow
demand` leave, and chromium on PATH.
"""

import io
import json
import shutil
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright import sync_api

DESK: Any = {"width": 1360, "height": 940}
PHONE: Any = {"width": 390, "height": 844}
BACK = 3


def answer_of(url: str, path: str, body: Any = None) -> Any:
    """JSON of the server."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{url}/v1/console{'/' if path else ''}{path}", data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def visit(url: str) -> str:
    """The latest visit in whose course the probability of a purchase moves most, of those that fit the picture."""
    model = next(each for each in answer_of(url, "")["models"] if each["unit"] == "session")
    latest = answer_of(url, "subjects?unit=session&limit=200")["subjects"]
    moved = {}
    for one in latest:
        if one["source"] == "log" and one["user"] and 12 <= one["steps"] <= 24:
            steps = answer_of(url, f"subjects/session/{one['id']}")["steps"]
            kept = ("item", "action", "price", "category")
            history = [{name: step[name] for name in kept if step[name] is not None} for step in steps]
            answers = answer_of(url, "answers", {"model": model["name"], "history": history, "k": 1})
            values = answers["outputs"]["purchase"]["values"]
            moved[one["id"]] = max(values[3:-1]) - min(values[3:-1])
    return max(moved, key=lambda name: moved[name])


def customer(url: str) -> str:
    """The latest customer with a history that fits the picture."""
    latest = answer_of(url, "subjects?unit=customer&limit=200")["subjects"]
    return str(next(one["id"] for one in latest if one["source"] == "log" and 30 <= one["steps"] <= 60))


def earlier(page: sync_api.Page) -> None:
    """Choose a step before the last ones: what came next is known then."""
    page.locator(".step.chosen .select").focus()
    for _ in range(BACK):
        page.keyboard.press("ArrowDown")
    page.wait_for_timeout(1500)


def what_if(page: sync_api.Page) -> None:
    """Carry out what would change the answer after the last step."""
    page.get_by_role("button", name="Try it").click()
    page.wait_for_timeout(1500)


def demand(page: sync_api.Page) -> None:
    """The forecasts, and of the segments what fits above them."""
    page.evaluate("scrollTo(0, document.querySelector('.forecasts').offsetTop - 300)")
    page.wait_for_timeout(500)


def kept(page: sync_api.Page, file: Path) -> None:
    """Save what is on the screen, with 256 colours: rare ones are kept, too."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


def main(url: str, folder: Path) -> None:
    """Take all of them."""
    shown, one = f"session/{visit(url)}", f"customer/{customer(url)}"
    wanted: dict[str, tuple[str, Any, str, str, Callable[[sync_api.Page], None] | None]] = {
        "page-visit": (shown, DESK, "light", "en-GB", earlier),
        "page-what-if": (shown, DESK, "dark", "en-GB", what_if),
        "page-customer": (one, DESK, "dark", "zh-CN", None),
        "page-phone": (shown, PHONE, "light", "zh-CN", None),
        "page-outlook": ("outlook", DESK, "light", "en-GB", demand),
        "page-models": ("models", DESK, "light", "en-GB", None),
    }
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (route, size, theme, language, act) in wanted.items():
            look: Any = {"color_scheme": theme, "locale": language, "timezone_id": "UTC"}
            page = browser.new_context(viewport=size, **look).new_page()
            page.goto(f"{url}/#/{route}")
            page.locator(".loading").first.wait_for(state="detached", timeout=60_000)
            page.wait_for_timeout(2000)
            if act is not None:
                act(page)
            sync_api.expect(page.locator(".loading")).to_have_count(0, timeout=60_000)
            kept(page, folder / f"{name}.png")
            page.context.close()
        browser.close()


if __name__ == "__main__":
    given = sys.argv[1:]
    main(given[0] if given else "http://127.0.0.1:8600", Path(given[1] if len(given) > 1 else "docs/images"))
