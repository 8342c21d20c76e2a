"""A person before the page, in a headless Chromium."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from playwright import sync_api
from playwright.sync_api import expect
from test_serving import Server

PATIENCE = 60_000
"""Milliseconds that the page may take: other tests run beside it."""
expect.set_options(timeout=PATIENCE)

PHONE: Any = {"width": 360, "height": 740}
PHONE_390: Any = {"width": 390, "height": 844}
DESK: Any = {"width": 1360, "height": 900}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
AXE = f"""async () => (await axe.run(document, {{runOnly: {RULES}}})).violations.map(each =>
    each.id + ': ' + each.nodes.map(node => node.target.join(' ') + ' ' + node.failureSummary).join('; '))"""


class Reader:
    """Its page, and what the browser complains of."""

    def __init__(self, browser: sync_api.Browser, served: Server, **context: Any) -> None:
        self.context = browser.new_context(
            **{
                "viewport": DESK,
                "locale": "en-GB",
                "timezone_id": "UTC",
                "base_url": str(served.client.base_url),
                **context,
            }
        )
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.log: list[str] = []
        self.page.on("console", lambda message: self.log.append(message.text))
        self.page.on("pageerror", lambda error: self.log.append(str(error)))
        self.page.on("request", lambda request: self.elsewhere(request.url, served))

    def elsewhere(self, url: str, served: Server) -> None:
        if not url.startswith(str(served.client.base_url)):
            self.log.append(f"asked {url}")

    def see(self, route: str) -> sync_api.Page:
        """Go somewhere, and wait until all of it is there."""
        self.page.goto(f"/#/{route}")
        self.settled()
        return self.page

    def settled(self) -> None:
        """Until nothing is loading."""
        expect(self.page.locator(".loading")).to_have_count(0)
        expect(self.page.locator("[aria-busy]")).to_have_count(0)

    def faults(self) -> list[str]:
        """What axe finds on what is shown; the driver runs it, for the page's policy lets no script in."""
        package = find_spec("axe_playwright_python")
        assert package is not None and package.submodule_search_locations
        axe = Path(package.submodule_search_locations[0]) / "axe.min.js"
        self.page.evaluate(axe.read_text(encoding="utf-8"))
        violations: list[str] = self.page.evaluate(AXE)
        return violations

    def end(self) -> None:
        self.context.close()
        assert self.log == [], self.log
