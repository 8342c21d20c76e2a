"""The committed suites, and what a user may add to them."""

import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from quality_log import broken, clean_rows, run, write

from clickflow.params.file import check
from clickflow.params.quality import Quality
from clickflow.quality import validate
from clickflow.quality.suites import parameters
from clickflow.system.errors import UsageError
from clickflow.system.files import sha256_folder


def add(place: Path, suite: str, expectation: dict[str, Any]) -> None:
    """What a user does by hand: one more entry in a suite's list."""
    path = place / f"expectations/expectations/{suite}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["expectations"].append(expectation)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_an_expectation_of_the_users_own_on_events(place: Path, raw_params: dict[str, Any]) -> None:
    own = {
        "type": "expect_column_values_to_be_in_set",
        "kwargs": {"column": "category", "value_set": ["home.garden"], "mostly": 0.99},
        "severity": "warning",
        "meta": {"rule": "our_categories"},
        "notes": "We sell these.",
    }
    add(place, "sample", own)
    before = sha256_folder(place / "expectations")
    paths = write(place, clean_rows())
    verdict = run(paths, raw_params)
    assert broken(verdict) == {"critical": [], "warnings": ["our_categories"]}
    (finding,) = verdict["warnings"]
    assert finding["count"] == 1500 and finding["about"] == "We sell these."
    assert finding["examples"][0]["category"] == "home.kitchen" and len(finding["examples"]) == 5
    assert sha256_folder(place / "expectations") == before
    assert "our_categories" in (paths.data_docs / "index.html").read_text(encoding="utf-8")
    (page,) = (paths.data_docs / "validations/sample").rglob("*.html")
    assert "home.garden" in page.read_text(encoding="utf-8")


def test_an_expectation_of_the_users_own_on_figures(place: Path, raw_params: dict[str, Any]) -> None:
    add(
        place,
        "days",
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "events", "min_value": 301}},
    )
    add(
        place,
        "events",
        {
            "type": "expect_column_max_to_be_between",
            "kwargs": {"column": "no_user", "max_value": {"$PARAMETER": "max_session_events"}},
            "severity": "critical",
        },
    )
    verdict = run(write(place, clean_rows()), raw_params, max_session_events=200)
    # without meta.rule the name follows from what it is; without a severity it is critical, as the library has it
    assert broken(verdict)["critical"] == ["column_max_to_be_between_no_user", "column_values_to_be_between_events"]
    guests, days = verdict["critical"]
    assert guests["bound"] == {"max_value": 200} and guests["count"] == guests["observed"] > 200
    assert "user_id" not in guests["examples"][0] and guests["examples"][0]["row"].startswith("day=2026-01-05/")
    assert days["count"] == 5 and days["examples"][0] == {"day": "2026-01-05", "events": 300}


def test_the_examples_of_the_how_to_work(root: Path, place: Path, raw_params: dict[str, Any]) -> None:
    page = (root / "docs/howto/expectations.md").read_text(encoding="utf-8")
    examples = re.findall(r"In `expectations/expectations/(\w+)\.json`[^`]*```json\n(.*?)```", page, flags=re.DOTALL)
    assert len(examples) == 3 == page.count("```json")
    for suite, expectation in examples:
        add(place, suite, json.loads(expectation))
    rows = clean_rows()
    for row in rows[::20]:
        row["item_id"] = "no digits"
    verdict = run(write(place, rows), raw_params)
    assert broken(verdict) == {"critical": ["our_item_ids"], "warnings": []}
    assert {"busy_days", "few_guests"} <= {rule["rule"] for rule in verdict["rules"] if rule["success"]}


def test_a_rule_taken_out_is_not_applied(place: Path, raw_params: dict[str, Any]) -> None:
    path = place / "expectations/expectations/events.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["expectations"] = [e for e in content["expectations"] if e["meta"]["rule"] != "price_range"]
    path.write_text(json.dumps(content), encoding="utf-8")
    rows = clean_rows()
    rows[0]["price"] = -1.0
    verdict = run(write(place, rows), raw_params)
    assert verdict["success"] and verdict["statistics"]["bad_price"] == 1


OWN: dict[str, Any] = {"type": "expect_column_max_to_be_between", "kwargs": {"column": "events", "max_value": 9}}


@pytest.mark.parametrize(
    ("suite", "expectation", "said"),
    [
        (
            "events",
            {**OWN, "kwargs": {"column": "event", "max_value": 9}},
            "has no column 'event'; did you mean 'events'",
        ),
        (
            "events",
            {**OWN, "kwargs": {"column": "events", "max_value": {"$PARAMETER": "max_event"}}},
            "no parameter is called 'max_event'",
        ),
        ("events", {**OWN, "severity": "fatal"}, "severity is 'fatal', not one of critical, warning, info"),
        ("events", {**OWN, "meta": {"rule": "sorted"}}, "two rules are called 'sorted'"),
        ("events", {"kwargs": {"column": "events"}}, "an expectation has no type"),
        ("events", {**OWN, "type": "expect_the_best"}, "cannot be read: expect_the_best not found"),
        ("events", {**OWN, "kwargs": {"max_value": 9}}, "cannot be read"),
        ("events", {**OWN, "kwargs": {"column": "events", "max_value": 9, "maximum": 9}}, "cannot be read"),
        ("sample", {**OWN, "kwargs": {"column": "brand", "max_value": 9}}, "cannot be evaluated"),
    ],
)
def test_a_wrong_expectation_is_a_usage_error_that_names_it(
    place: Path, raw_params: dict[str, Any], suite: str, expectation: dict[str, Any], said: str
) -> None:
    add(place, suite, expectation)
    paths = write(place, clean_rows())
    with pytest.raises(UsageError) as error:
        run(paths, raw_params)
    assert said in str(error.value)
    assert "docs/howto/expectations.md" in str(error.value)
    assert not paths.validation.exists() and not paths.data_docs.exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda context: (context / "expectations/drift.json").write_text("{"), "drift.json is not valid JSON"),
        (lambda context: (context / "expectations/drift.json").unlink(), "drift.json does not exist"),
        (lambda context: (context / "great_expectations.yml").unlink(), "holds no great_expectations.yml"),
    ],
)
def test_a_broken_context_is_a_usage_error(
    place: Path, raw_params: dict[str, Any], spoil: Callable[[Path], object], said: str
) -> None:
    paths = write(place, clean_rows())
    spoil(place / "expectations")
    with pytest.raises(UsageError, match=said):
        validate.run(check(raw_params), paths)


def test_every_bound_of_params_is_used_and_no_rule_is_without_words(root: Path, raw_params: dict[str, Any]) -> None:
    used: set[str] = set()
    for path in (root / "expectations/expectations").glob("*.json"):
        for expectation in json.loads(path.read_text(encoding="utf-8"))["expectations"]:
            assert expectation["notes"].endswith(".") and expectation["meta"]["rule"] and expectation["id"]
            used |= {v["$PARAMETER"] for v in expectation["kwargs"].values() if isinstance(v, dict)}
    known = parameters(check(raw_params).quality)
    assert used == set(known) - {"memory_gb"}
    assert {name.removesuffix("_min").removesuffix("_max") for name in known} == {f.name for f in fields(Quality)}


def test_the_reference_page_names_every_rule_and_figure(root: Path, place: Path, raw_params: dict[str, Any]) -> None:
    page = (root / "docs/reference/quality.md").read_text(encoding="utf-8")
    verdict = run(write(place, clean_rows()), raw_params)
    for rule in verdict["rules"]:
        assert f"| `{rule['rule']}` | {rule['severity']} |" in page
    for figure in verdict["statistics"]:
        assert f"`{figure}`" in page
