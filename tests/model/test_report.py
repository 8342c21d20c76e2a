"""The report stands alone, says what was measured, and can be read with the eyes closed."""

import html
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import small_models

from clickflow.artefact import export
from clickflow.artefact.artefact import load
from clickflow.evaluation import evaluate, figures, report
from undrawn import rendered

VOID = {"meta", "img", "br", "hr", "link", "input"}
OPTIONAL = {"html", "li", "dt", "dd", "tr", "td", "th", "tbody", "thead", "p"}


class Page(HTMLParser):
    """Every tag with its attributes, and whether what was opened was closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.wrong = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open[-1] != tag and self.open[-1] in OPTIONAL:
            self.open.pop()
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.fixture(scope="module")
def rendered_report(tmp_path_factory):
    """A page about a candidate beside a champion and (here another measurement stands in) the best possible."""
    paths, params = small_models.workspace(tmp_path_factory.mktemp("report"))
    store, settings = paths.sequences("session"), replace(params.evaluation, bootstrap=50)
    export.run(params, paths, "next_step")
    artefact = load(paths.exported("next_step"))
    measured = evaluate.evaluate(artefact, store, settings, 0, champion=artefact)
    content = measured.metrics | {
        "model": "next_step",
        "champion_version": 3,
        "data_sha256": "d" * 64,
        "artefact": {"model_sha256": "a" * 64, "size_mb": 1.5, "latency_ms_p95_class": 2.0, "parity": 1e-6},
    }
    answers = measured.answers["next_item"]
    ranks = {**answers.systems, "oracle": np.ones_like(answers.systems["candidate"])}
    best = {"next_item": measured.metrics["next_item"]["vsknn"], "next_action": None, "unanswered": 2}
    content["oracle"] = best
    measured = replace(measured, answers={**measured.answers, "next_item": replace(answers, systems=ranks)})
    with rendered():
        drawn = report.draw(measured, content, settings)

    def page(changed):
        own = measured.examples, measured.overall
        return report.page(changed, drawn, measured.test.card, artefact.card, settings, *own)

    return page, content, drawn


def test_nothing_is_loaded_from_elsewhere(rendered_report):
    page = rendered_report[0](rendered_report[1])
    assert not re.search(r"""(?:src|href|srcset)\s*=\s*["'](?!data:image/png;base64,|#)""", page)
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    assert "url(" not in page
    assert "<script" not in page


def test_the_page_is_well_formed_and_its_pictures_have_words(rendered_report):
    parsed = Page(rendered_report[0](rendered_report[1]))
    assert parsed.wrong == []
    assert set(parsed.open) <= OPTIONAL
    pictures = [attrs for tag, attrs in parsed.tags if tag == "img"]
    assert len(pictures) == len(rendered_report[2]) >= 5
    assert all(len(attrs["alt"]) > 30 for attrs in pictures)
    targets = {attrs["href"].removeprefix("#") for tag, attrs in parsed.tags if tag == "a"}
    assert targets <= {attrs.get("id") for _, attrs in parsed.tags}
    assert [attrs for tag, attrs in parsed.tags if tag == "html"] == [{"lang": "en"}]


def test_every_system_and_figure_of_the_summary_stands_on_the_page(rendered_report):
    page, content = html.unescape(rendered_report[0](rendered_report[1])), rendered_report[1]
    for system in ("candidate", "champion", "popularity", "repeat", "markov", "vsknn", "oracle"):
        assert figures.title(system) in page
    for system, metrics in content["next_item"].items():
        for name in ("recall@20", "mrr@20", "ndcg@20", "recall@1_known"):
            for end in ("value", "low", "high"):
                assert f"{metrics[name][end]:.4f}" in page, (system, name, end)
    for metrics in content["next_action"].values():
        assert f"{metrics['log_loss']['value']:.4f}" in page
    assert "champion (version 3)" in page
    assert "cannot answer 2 positions" in page
    for cells in content["slices"]["next_item"].values():
        assert all(f"<td>{label}</td>" in page for label in cells)


def test_pictures_carry_no_time_and_no_program(rendered_report):
    assert all(b"Software" not in figure.png and b"tIME" not in figure.png for figure in rendered_report[2])


def test_a_hostile_name_stays_text(rendered_report):
    page = rendered_report[0](rendered_report[1] | {"model": "<script>alert(1)</script>"})
    assert "<script" not in page


def test_the_console_shows_every_system(rendered_report):
    from rich.console import Console

    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(report.console_table(rendered_report[1]))
    shown = console.export_text()
    value = rendered_report[1]["next_item"]["candidate"]["recall@20"]["value"]
    assert f"{value:.4f} ±" in shown
    assert "…" not in shown
    assert all(figures.title(name) in shown for name in ("candidate", "champion", "V-SKNN", "majority"))
