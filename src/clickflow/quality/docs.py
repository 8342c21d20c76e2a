"""Data Docs that open without a network and are the same bytes for the same data.

Great Expectations' own pages load styles, fonts and scripts from a dozen servers and carry the time of rendering;
`DataDocsView` renders the same content into templates that lie here. great_expectations.yml names it.
"""

import shutil
from collections.abc import Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from clickflow.quality.profile import Profile
from clickflow.quality.verdict import Finding, critical, example_text, warnings
from clickflow.system import files

TEMPLATES = Path(__file__).parent / "templates"


class DataDocsView:
    """A view of Great Expectations' site builder: its page view with the templates of this folder."""

    def __init__(self, custom_styles_directory: str | None = None, custom_views_directory: str | None = None) -> None:
        self._view = _page_view(custom_styles_directory, custom_views_directory)

    def render(self, document: Any, template: str | None = None, **context: Any) -> str:
        """The page of a suite or of a result."""
        numbers = count(1)
        self._view.env.filters["generate_html_element_uuid"] = lambda prefix="": f"{prefix}{next(numbers)}"
        page: str = self._view.render(document, template, **context)
        return "\n".join(line.rstrip() for line in page.splitlines() if line.strip()) + "\n"


@cache
def _page_view(custom_styles_directory: str | None, custom_views_directory: str | None) -> Any:
    """Great Expectations' page view, ours first among its templates; cached, for compiling them takes most of the time
    that a site of pages takes.
    """
    from great_expectations.render.view import DefaultJinjaPageView
    from jinja2 import ChoiceLoader, DictLoader

    own = {
        "page.j2": (TEMPLATES / "page.html").read_text(encoding="utf-8"),
        "style.html": (TEMPLATES / "style.html").read_text(encoding="utf-8"),
    }
    view = DefaultJinjaPageView(custom_styles_directory, custom_views_directory)
    view.env.loader = ChoiceLoader([DictLoader(own), view.env.loader])
    return view


def write_site(built: Path, target: Path, findings: Sequence[Finding], profile: Profile) -> None:
    """Put the pages below `built`, and a front page of all rules, into `target`, replacing it as a whole."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    pages = {page.parts[-4]: page.relative_to(built).as_posix() for page in (built / "validations").rglob("*.html")}
    page = environment.get_template("index.html").render(
        findings=findings,
        critical=critical(findings),
        warnings=warnings(findings),
        profile=profile,
        pages=pages,
        example_text=example_text,
    )
    with files.replacing(target) as fresh:
        shutil.copytree(built, fresh, dirs_exist_ok=True)
        files.write_text(fresh / "index.html", page)
