"""The stage `validate`: a clean log passes, and each fault breaks its own rule and no other."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from quality_log import A_DAY, DAYS, START, Rows, broken, clean_rows, run, write

from clickflow.events.contract import SCHEMA
from clickflow.params.file import check
from clickflow.quality import validate
from clickflow.system import integrity
from clickflow.system.errors import DataError, UsageError
from clickflow.system.files import sha256_folder
from clickflow.system.paths import Paths


def test_a_clean_log_passes_every_rule(place: Path, raw_params: dict[str, Any], capsys: Any) -> None:
    paths = write(place, clean_rows())
    verdict = run(paths, raw_params, as_of="2026-01-10T00:00:00Z", max_age_days=1)
    assert verdict["success"] and broken(verdict) == {"critical": [], "warnings": []}
    assert verdict["expectations"] == verdict["checked"] == len(verdict["rules"]) >= 25
    assert all(rule["success"] and rule["severity"] in ("critical", "warning") for rule in verdict["rules"])
    figures = verdict["statistics"]
    assert figures["events"] == DAYS * A_DAY and figures["sessions"] == DAYS * A_DAY // 4
    assert figures["no_user_share"] == pytest.approx(0.25, abs=0.01)
    assert figures["volume_ratio"] == 1.0 and figures["newest_full_day"] == "2026-01-09"
    assert figures["age_days"] == pytest.approx(0.006, abs=0.001)
    assert f"{len(verdict['rules'])} of {len(verdict['rules'])} expectations hold" in capsys.readouterr().err


Change = Callable[[Rows], object]


def at(rows: Rows, places: range, **values: Any) -> None:
    for place in places:
        rows[place] |= values


def twice(rows: Rows) -> None:
    rows[100:100] = [dict(row) for row in rows[97:100]]
    rows[97:103] = sorted(rows[97:103], key=lambda row: row["event_time"])


def one_long_session(rows: Rows) -> None:
    at(rows, range(300, 420), session_id="robot", user_id="u-robot")


def all_at_once(rows: Rows) -> None:
    for first in range(0, len(rows) - 4, 8):
        at(rows, range(first, first + 4), event_time=rows[first]["event_time"])
    for place, row in enumerate(rows):
        row["campaign"] = f"c{place % 4}"


def all_alone(rows: Rows) -> None:
    for i, row in enumerate(rows):
        row |= {"session_id": f"s{i:05d}"}


def earlier(rows: Rows) -> None:
    for i in (50, 450):
        rows[i], rows[i + 1] = rows[i + 1], rows[i]


def other_folder(rows: Rows) -> None:
    for row in rows[A_DAY - 2 : A_DAY]:
        row |= {"day": START.date().isoformat(), "event_time": row["event_time"] + timedelta(hours=2)}


def quiet_last_day(rows: Rows) -> None:
    kept = [row for row in rows if row["event_time"] < START + timedelta(days=4)]
    last = [row for row in rows if row["event_time"] >= START + timedelta(days=4)]
    rows[:] = kept + last[-40:]


def other_mix(rows: Rows) -> None:
    at(rows, range(len(rows) - 150, len(rows)), event_type="impression", quantity=None)


def days_missing(rows: Rows) -> None:
    for row in rows[600:]:
        row["event_time"] += timedelta(days=4)


def blanks(rows: Rows) -> None:
    for row in rows[::10]:
        row["item_id"] = f" {row['item_id']}"


# rule → how to break it, severity, rows concerned (None: not said), what an example shows
BREAKS: dict[str, tuple[Change, str, Any, dict[str, Any]]] = {
    "time_given": (lambda r: at(r, range(7, 9), event_time=None, day="2026-01-05"), "critical", 2, {"item_id": ...}),
    "known_types": (lambda r: at(r, range(20, 23), event_type="teleport"), "critical", 3, {"event_type": "teleport"}),
    "somebody": (lambda r: at(r, range(2), session_id=None, user_id=None), "critical", 2, {"item_id": ...}),
    "item_given": (lambda r: at(r, range(6), item_id=None), "critical", 6, {"session_id": ...}),
    "users_known": (lambda r: at(r, range(1100), user_id=None), "warnings", None, {"session_id": ...}),
    "price_range": (lambda r: at(r, range(40, 42), price=-3.5), "critical", 2, {"price": -3.5}),
    "quantity_range": (lambda r: at(r, range(44, 45), quantity=0), "critical", 1, {"quantity": 0}),
    "right_day": (other_folder, "critical", 2, {"row": ...}),
    "sorted": (earlier, "critical", 2, {"row": "day=2026-01-05/events.parquet:52"}),
    "unique_events": (twice, "critical", 3, {"times": 2}),
    "sessions_grow": (all_alone, "warnings", 1500, {"events": 1}),
    "no_endless_session": (one_long_session, "warnings", 1, {"session_id": "robot", "events": 120}),
    "no_user_stands_out": (lambda r: at(r, range(200), user_id="u-1"), "warnings", ..., {"user_id": "u-1"}),
    "no_item_stands_out": (lambda r: at(r, range(400), item_id="(x)"), "warnings", ..., {"item_id": "(x)"}),
    "few_ties": (all_at_once, "warnings", ..., {"event_time": ...}),
    "volume_usual": (quiet_last_day, "warnings", 40, {"day": "2026-01-09", "newest_day_events": 40}),
    "type_mix_usual": (other_mix, "warnings", 4, {"event_type": "impression"}),
    "days_filled": (days_missing, "warnings", 4, {"day": "2026-01-07", "events": 0}),
    "item_ids_clean": (blanks, "warnings", 150, {"item_id": ...}),
}


@pytest.mark.parametrize("rule", BREAKS)
def test_each_fault_in_the_rows_breaks_its_rule_alone(place: Path, raw_params: dict[str, Any], rule: str) -> None:
    change, severity, count, shown = BREAKS[rule]
    rows = clean_rows()
    change(rows)
    verdict = run(write(place, rows), raw_params, max_session_events=100, max_user_share=0.1)
    expected: dict[str, list[str]] = {"critical": [], "warnings": []} | {severity: [rule]}
    assert broken(verdict) == expected
    assert verdict["success"] is (severity == "warnings")
    (finding,) = verdict[severity]
    assert count in (None, ...) or finding["count"] == count
    assert 1 <= len(finding["examples"]) <= 5
    for key, value in shown.items():
        assert key in finding["examples"][0]
        assert value is ... or finding["examples"][0][key] == value
    if severity == "critical":
        assert f"{rule}: " in verdict["said"] and f"({finding['count']} " in verdict["said"]
        assert "e.g. " in verdict["said"] and "reports/data_docs/index.html" in verdict["said"]
    page = (place / "reports/data_docs/index.html").read_text(encoding="utf-8")
    assert "What does not hold" in page and rule in page


def test_one_session_with_many_events_is_shown(place: Path, raw_params: dict[str, Any]) -> None:
    verdict = run(write(place, clean_rows()), raw_params, max_session_share=0.002)
    assert broken(verdict) == {"critical": [], "warnings": ["no_session_stands_out"]}
    assert verdict["warnings"][0]["examples"][0]["events"] == 4


def test_repeats_are_judged_apart_from_errors(place: Path, raw_params: dict[str, Any]) -> None:
    rows = clean_rows()
    source = {"source": "again.csv", "read": 3000, "quarantined": 1500, "reasons": {"duplicate": 1500}}
    card = {**source, "accepted": len(rows), "sources": [source]}
    verdict = run(write(place, rows, card=card), raw_params)
    assert broken(verdict) == {"critical": [], "warnings": ["few_repeats"]}
    assert verdict["warnings"][0]["examples"] == [{"file": "again.csv", "repeats": 1500, "read": 3000}]
    assert verdict["statistics"]["quarantine_share"] == 0


def test_prices_in_several_currencies_are_warned_of(place: Path, raw_params: dict[str, Any]) -> None:
    verdict = run(write(place, clean_rows(), card={"currencies": {"EUR": 900, "USD": 100}}), raw_params)
    assert broken(verdict) == {"critical": [], "warnings": ["one_currency"]}
    assert verdict["warnings"][0]["examples"][0] == {"currency": "EUR", "prices": 900}


def test_unread_and_ignored_rows_of_the_card(place: Path, raw_params: dict[str, Any]) -> None:
    rows = clean_rows()
    unread = {"price": {"bad_number": {"count": 300, "source": "a.csv", "line": 2, "text": "19,90"}}}
    card = {"read": len(rows) + 9000, "ignored": 9000, "unread": unread}
    verdict = run(write(place, rows, card=card), raw_params)
    assert broken(verdict) == {"critical": [], "warnings": ["optional_values_read"]}
    assert verdict["warnings"][0]["examples"][0] == {
        "column": "price",
        "reason": "bad_number",
        **unread["price"]["bad_number"],
    }
    assert verdict["statistics"]["unaccounted_rows"] == 0


def test_kept_repeats_are_no_fault(place: Path, raw_params: dict[str, Any]) -> None:
    rows = clean_rows()
    rows.insert(1, dict(rows[0]))
    raw_params["ingest"]["duplicates"] = "keep"
    assert broken(run(write(place, rows), raw_params)) == {"critical": [], "warnings": []}


def test_events_after_as_of_are_critical(place: Path, raw_params: dict[str, Any]) -> None:
    verdict = run(write(place, clean_rows()), raw_params, as_of="2026-01-09T23:00:00Z")
    assert broken(verdict) == {"critical": ["no_future"], "warnings": []}
    # 23:05 is within the five minutes of tolerance
    late = sum(row["event_time"] > datetime(2026, 1, 9, 23, 5, tzinfo=UTC) for row in clean_rows())
    assert verdict["critical"][0]["count"] == late > 0


def test_an_old_log_is_critical_where_an_age_is_set(place: Path, raw_params: dict[str, Any]) -> None:
    paths = write(place, clean_rows())
    verdict = run(paths, raw_params, as_of="2026-01-20T00:00:00", max_age_days=7)
    assert broken(verdict) == {"critical": ["fresh"], "warnings": []}
    assert verdict["critical"][0]["observed"] == pytest.approx(10.006, abs=0.001)
    assert verdict["critical"][0]["bound"] == {"max_value": 7.0}
    assert verdict["critical"][0]["examples"][0]["event_time"].startswith("2026-01-09 23:")
    without = run(paths, raw_params, as_of="2026-01-20T00:00:00")
    (fresh,) = [rule for rule in without["rules"] if rule["rule"] == "fresh"]
    assert fresh["success"] is None and fresh["not_checked"] == "quality.max_age_days is null"


def test_too_few_events_are_critical(place: Path, raw_params: dict[str, Any]) -> None:
    verdict = run(write(place, clean_rows()), raw_params, min_events=2000)
    assert broken(verdict) == {"critical": ["enough_events"], "warnings": []}
    assert "events is 1,500, expected at least 2,000" in verdict["said"]


def test_a_clock_before_2000_is_a_warning(place: Path, raw_params: dict[str, Any]) -> None:
    rows = clean_rows()
    for row in rows:
        row["event_time"] = row["event_time"].replace(year=1970)
    verdict = run(write(place, rows), raw_params)
    assert broken(verdict) == {"critical": [], "warnings": ["clock_plausible"]}


@pytest.mark.parametrize(
    ("card", "rule", "count"),
    [
        ({"read": 1700, "quarantined": 200, "reasons": {"null_item": 150, "bad_number": 60}}, "quarantine_small", 200),
        ({"read": 1510}, "rows_add_up", 10),
        ({"read": 1503, "accepted": 1503}, "accepted_rows_there", 3),
    ],
)
def test_the_counts_of_ingest_are_held_against_the_events(
    place: Path, raw_params: dict[str, Any], card: dict[str, Any], rule: str, count: int
) -> None:
    verdict = run(write(place, clean_rows(), card=card), raw_params)
    assert broken(verdict) == {"critical": [rule], "warnings": []}
    assert verdict["critical"][0]["count"] == count
    if rule == "quarantine_small":
        assert verdict["critical"][0]["examples"][0] == {"reason": "null_item", "rows": 150}


@pytest.mark.parametrize(
    ("schema", "expected", "column"),
    [
        (
            SCHEMA.remove(SCHEMA.get_field_index("campaign")),
            {"critical": ["columns_present"], "warnings": []},
            "campaign",
        ),
        (
            SCHEMA.set(SCHEMA.get_field_index("price"), pa.field("price", pa.float32())),
            {"critical": ["column_types"], "warnings": []},
            "price",
        ),
        (SCHEMA.append(pa.field("colour", pa.string())), {"critical": [], "warnings": ["no_other_columns"]}, "colour"),
    ],
)
def test_columns_and_types_are_those_of_the_contract(
    place: Path, raw_params: dict[str, Any], schema: pa.Schema, expected: dict[str, list[str]], column: str
) -> None:
    verdict = run(write(place, clean_rows(), schema=schema), raw_params)
    assert broken(verdict) == expected
    (finding,) = verdict["critical"] + verdict["warnings"]
    assert finding["count"] == 1 and finding["examples"][0]["column"] == column


def test_a_column_that_one_day_lacks_is_a_fault_of_types(place: Path, raw_params: dict[str, Any]) -> None:
    paths = write(place, clean_rows())
    file = paths.events / "day=2026-01-07/events.parquet"
    pq.write_table(pq.read_table(file, partitioning=None).drop_columns(["brand"]), file)
    verdict = run(paths, raw_params)
    assert broken(verdict) == {"critical": ["column_types"], "warnings": []}
    assert "missing in 1 of 5 files" in verdict["said"]


def test_the_same_data_gives_the_same_bytes_elsewhere(place: Path, root: Path, raw_params: dict[str, Any]) -> None:
    rows = clean_rows()
    twice(rows)
    other = place / "a folder's other name"
    other.mkdir()
    shutil.copytree(root / "expectations", other / "expectations")
    here, there = write(place, rows), write(other, rows)
    before = sha256_folder(place / "expectations")
    first, second = run(here, raw_params), run(there, raw_params)
    assert first["success"] is second["success"] is False
    assert here.validation.read_bytes() == there.validation.read_bytes()
    assert sha256_folder(here.data_docs) == sha256_folder(there.data_docs)
    assert sha256_folder(place / "expectations") == before, "a run leaves the committed context as it is"


def test_data_docs_open_without_a_network(place: Path, raw_params: dict[str, Any]) -> None:
    rows = clean_rows()
    at(rows, range(5, 7), item_id="<b>&", price=-1.0)
    paths = write(place, rows)
    run(paths, raw_params)
    pages = {page.relative_to(paths.data_docs).as_posix(): page for page in paths.data_docs.rglob("*.html")}
    assert "index.html" in pages and "expectations/events.html" in pages and len(pages) == 11
    for name, page in pages.items():
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"(src|href)=\"?(https?:)?//", text), f"{name} loads something"
        assert "<script" not in text and str(place) not in text and "<b>&" not in text
        for link in re.findall(r'href="([^"#]+)"', text):
            assert (page.parent / link).is_file(), f"{name} leads to {link}"
    front = pages["index.html"].read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;" in front
    # `anywhere` in a cell lets a column be as narrow as one letter, so that "State" stands as "Stat" over "e"
    assert not re.search(r"\btd\b[^}]*(anywhere|break-all)", front)
    assert sum(page.stat().st_size for page in pages.values()) < 500_000


def test_exit_code_3_through_the_command_line(place: Path, root: Path) -> None:
    rows = clean_rows()
    at(rows, range(40, 42), price=-3.5)
    write(place, rows)
    shutil.copy(root / "params.yaml", place)
    command = [sys.executable, "-m", "clickflow.cli", "validate"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120)
    assert done.returncode == 3, done.stderr
    assert "price_range: bad_price is 2, expected at most 0 (2 events" in done.stderr
    assert "price=-3.5" in done.stderr and "Traceback" not in done.stderr and "Calculating" not in done.stderr
    assert (place / "reports/data_docs/index.html").is_file()


def test_no_events_is_an_error_that_says_what_to_do(place: Path, raw_params: dict[str, Any]) -> None:
    paths = Paths(place)
    with pytest.raises(UsageError, match=r"ingest\.json.*\n.*\n.*clickflow ingest"):
        validate.run(check(raw_params), paths)
    write(place, clean_rows())
    shutil.rmtree(paths.events)
    with pytest.raises(UsageError, match=r"does not exist\n.*\n.*clickflow ingest"):
        validate.run(check(raw_params), paths)
    paths.events.mkdir()
    with pytest.raises(UsageError, match="holds no day"):
        validate.run(check(raw_params), paths)
    assert not paths.validation.exists() and not paths.data_docs.exists()


def test_files_that_are_no_events_are_named(place: Path, raw_params: dict[str, Any]) -> None:
    paths = write(place, clean_rows())
    stray = paths.events / "backup/events.parquet"
    stray.parent.mkdir()
    stray.write_bytes(b"PAR1")
    integrity.seal(paths.events)
    with pytest.raises(DataError, match=r"backup/events\.parquet lies in a folder that is not named day="):
        validate.run(check(raw_params), paths)
    stray.parent.rename(paths.events / "day=2026-02-01")
    integrity.seal(paths.events)
    with pytest.raises(DataError, match=r"day=2026-02-01/events\.parquet cannot be read as Parquet"):
        validate.run(check(raw_params), paths)
    shutil.rmtree(paths.events / "day=2026-02-01")
    integrity.seal(paths.events)
    paths.ingest_card.write_text('{"read": "many"}', encoding="utf-8")
    with pytest.raises(DataError, match="does not hold the counts"):
        validate.run(check(raw_params), paths)


def test_an_empty_day_and_a_single_moment_are_no_crash(place: Path, raw_params: dict[str, Any]) -> None:
    rows = [row | {"event_time": START, "item_id": f"i{i}"} for i, row in enumerate(clean_rows()[:200])]
    paths = write(place, rows)
    verdict = run(paths, raw_params, min_events=1)
    assert verdict["success"]
    unchecked = {rule["rule"] for rule in verdict["rules"] if rule["success"] is None}
    assert unchecked == {"no_future", "fresh", "volume_usual", "type_mix_usual"}
    pq.write_table(SCHEMA.empty_table(), paths.events / "day=2026-01-05/events.parquet")
    verdict = run(paths, raw_params, min_events=1)
    assert broken(verdict)["critical"] == ["enough_events", "accepted_rows_there"]


KILLED = """
import os, signal, sys
from clickflow.cli import main
from clickflow.quality import judge

def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)

judge.write_tables = die
sys.argv = ["clickflow", "validate"]
main()
"""


def test_what_a_killed_run_leaves_lies_in_the_checkout_until_the_next(
    place: Path, root: Path, raw_params: dict[str, Any]
) -> None:
    paths = write(place, clean_rows())
    shutil.copy(root / "params.yaml", place)
    temporary = place / "temporary"
    temporary.mkdir()
    environment = os.environ | {"TMPDIR": str(temporary)}
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=place, env=environment, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert not any(temporary.iterdir()), "rows of the log lie where nobody looks"
    (left,) = (place / "reports").glob(".*")
    assert left.stat().st_mode & 0o777 == 0o700
    run(paths, raw_params)
    assert not list((place / "reports").glob(".*")), "what the killed run left is still there"
