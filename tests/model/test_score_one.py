"""`clickflow score --session | --user`: one visit, by its id or its pseudonym, answered as all are; `clickflow who`."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import watched_shop
from pyarrow import csv, parquet
from typer.testing import CliRunner
from watched_shop import MODEL, call

from clickflow import cli
from clickflow.sequences.store import SPLITS
from clickflow.serving.score import NAME_SHOWN
from clickflow.system.errors import DataError, UsageError
from clickflow.system.paths import Paths

pytestmark = pytest.mark.slow


@pytest.fixture
def shop(watched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """The shop, for reading, with a home of the test's own."""
    home = Path(shutil.copytree(watched / "home", tmp_path / "home"))
    monkeypatch.chdir(watched / "shop")
    monkeypatch.setenv("CLICKFLOW_HOME", str(home))
    return Paths(watched / "shop")


def visits(paths: Paths) -> list[dict[str, Any]]:
    """Every sequence of the store, with its part."""
    sessions: list[dict[str, Any]] = []
    for part in SPLITS:
        table = parquet.read_table(paths.sequences("session") / part / "sequences.parquet")
        sessions += [{**row, "part": part} for row in table.to_pylist()]
    return sessions


def test_a_pseudonym_that_begins_with_a_dash_is_no_option(shop: Paths) -> None:
    with pytest.raises(UsageError, match="there is no event of -kxoKyKP3GU3"):
        call("who", "-kxoKyKP3GU3")


def test_a_visit_is_answered_by_pseudonym_and_by_id_as_among_the_latest(shop: Paths) -> None:
    latest = call("score", MODEL, "--limit", "3")["sessions"]
    for expected in latest:
        assert call("score", MODEL, "--session", expected["session"])["sessions"] == [expected]
    (back,) = call("who", latest[0]["session"])["who"]
    assert call("score", MODEL, "--session", back["id"])["sessions"] == [latest[0]]
    lines = [json.loads(line) for line in Path(os.environ["CLICKFLOW_HOME"], "who.jsonl").read_text().splitlines()]
    assert [line["verb"] for line in lines] == ["who", "score"]
    assert {line["pseudonym"] for line in lines} == {latest[0]["session"]}


def test_a_customer_is_answered_after_their_latest_visit_in_whatever_part(shop: Paths) -> None:
    last: dict[str, dict[str, Any]] = {}
    for visit in visits(shop):
        if visit["user_id"] and (visit["end"], visit["piece"]) >= (
            last.get(visit["user_id"], visit)["end"],
            last.get(visit["user_id"], visit)["piece"],
        ):
            last[visit["user_id"]] = visit
    for part in SPLITS:
        user, visit = next((user, visit) for user, visit in last.items() if visit["part"] == part)
        (answer,) = call("score", MODEL, "--user", user)["sessions"]
        assert (answer["user"], answer["session"], len(answer["steps"])) == (user, visit["session_id"], visit["length"])
        assert answer["last_event"] == visit["end"].isoformat(timespec="microseconds")
    (back,) = call("who", user)["who"]
    assert call("score", MODEL, "--user", back["id"])["sessions"] == [answer]
    assert "the latest of the customer's" in call("score", MODEL, "--user", user, as_json=False)


def test_items_are_named_by_brand_and_category(shop: Paths) -> None:
    events = parquet.read_table(shop.events, columns=["item_id", "brand", "category"]).to_pylist()
    named = {row["item_id"]: (row["brand"], row["category"]) for row in events}
    (answer,) = call("score", MODEL, "--limit", "1")["sessions"]
    for item in (*answer["next_items"], *answer["steps"]):
        assert (item["brand"], item["category"]) == named[item["item"]]
    assert answer["next_items"][0]["brand"] in call("score", MODEL, "--limit", "1", as_json=False)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.usefixtures("undrawn")
def test_a_log_with_names_shows_them(shop: Paths, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = parquet.read_table(shop.events, partitioning=None).drop_columns(["order", "item_name"])
    events = events.slice(events.num_rows * 2 // 3)
    names = [item and f"Lamp-{item} {'ß' * NAME_SHOWN}" for item in events["item_id"].to_pylist()]
    named = watched_shop.copied(shop, tmp_path, monkeypatch)
    (tmp_path / "raw").mkdir()
    csv.write_csv(events.append_column("title", pa.array(names)), tmp_path / "raw/log.csv")
    watched_shop.param(named, "kind: simulator", "kind: files")
    watched_shop.param(named, "path: data/raw", "path: raw")
    watched_shop.param(named, "columns: {}", "columns: {item_name: title}")
    watched_shop.param(named, "epochs: 2  ", "epochs: 1  ")
    call("ingest", as_json=False)
    call("sequences", "session", as_json=False)
    (answer,) = call("score", MODEL, "--limit", "1")["sessions"]
    for item in (*answer["next_items"], *answer["steps"]):
        assert item["name"] == f"Lamp-{item['item']} {'ß' * NAME_SHOWN}"
    shown = call("score", MODEL, "--session", answer["session"], as_json=False)
    assert f"Lamp-{answer['next_items'][0]['item']}" in shown
    assert "ß…" in shown
    (tmp_path / "reports/validation.json").write_text("{}")
    for verb in ("train", "export", "evaluate"):
        call(verb, MODEL, as_json=False)
    exported = parquet.read_table(named.exported(MODEL) / "vocabulary.parquet", columns=["item_id", "name"])
    assert all(row["name"].startswith(f"Lamp-{row['item_id']} ") for row in exported.to_pylist())
    page = (named.evaluation(MODEL) / "report.html").read_text(encoding="utf-8")
    assert re.search(r"<code>(\w+)</code> Lamp-\1 ß", page)


def test_what_cannot_be_answered_says_why(shop: Paths) -> None:
    packed = {visit["session_id"] for visit in visits(shop)}
    events = parquet.read_table(shop.events, columns=["session_id"])["session_id"].to_pylist()
    short = next(name for name in events if name not in packed)
    for words, why in (
        (("--session", short), "no sequence in the packed store came of them"),
        (("--user", "nobody"), "there is no event of the customer nobody"),
        (("--user", events[-1]), "is a session, not a user"),
        (("--user", "a", "--session", "b"), "exclude one another"),
        (("--user", "a", "--all", "--out", "x"), "exclude one another"),
    ):
        with pytest.raises(UsageError, match=why):
            call("score", MODEL, *words)


def test_a_visit_is_explained_by_steps_of_its_own(shop: Paths) -> None:
    (latest,) = call("score", MODEL, "--limit", "1")["sessions"]
    explanations = {
        each["output"]: each for each in call("explain", MODEL, "--session", latest["session"])["explanations"]
    }
    assert set(explanations) == {"next_item", "next_action"}
    assert explanations["next_item"]["target"] == latest["next_items"][0]["item"]
    assert explanations["next_item"]["answer"] == pytest.approx(latest["next_items"][0]["probability"], abs=1e-5)
    (item,) = {
        each["item"] for each in explanations["next_item"]["effects"] if each["steps"] == [0] and each["what"] == "step"
    }
    assert item == latest["steps"][0]["item"]
    other = latest["next_items"][1]["item"]
    words = ("--session", latest["session"], "--head", "next_item", "--target", other)
    assert call("explain", MODEL, *words)["explanations"][0]["target"] == other
    assert "关联" in call("explain", MODEL, *words, "--language", "zh", as_json=False)
    for wrong, why in (
        ((), "one of --session, --user"),
        ((*words[:2], "--target", "x"), "goes with --head"),
        ((*words[:4], "--target", "nothing"), "does not know the item"),
        ((*words[:2], "--language", "fr"), "one of en, zh"),
    ):
        with pytest.raises(UsageError, match=why):
            call("explain", MODEL, *wrong)


def test_those_of_a_file_are_explained_as_each_alone_under_no_id(shop: Paths, tmp_path: Path) -> None:
    names = [each["session"] for each in call("score", MODEL, "--limit", "2")["sessions"]]
    ids, out = tmp_path / "ids.txt", tmp_path / "why.jsonl"
    ids.write_text("\n".join([names[0], "", "nobody at all", names[1]]) + "\n")
    words = ["explain", MODEL, "--sessions", str(ids), "--out", str(out), "--head", "next_item"]
    result = CliRunner().invoke(cli.app, [*words, "--json"])
    said = json.loads(result.stdout)
    assert (said["explained"], said["missed"]) == (2, 1)
    assert isinstance(result.exception, DataError)
    assert result.exception.exit_code == 3
    assert "1 of 3 lines" in result.exception.what
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [line["line"] for line in lines] == [1, 3, 4]
    for line, name in ((lines[0], names[0]), (lines[2], names[1])):
        alone = call("explain", MODEL, "--session", name, "--head", "next_item")
        assert line["explanations"] == alone["explanations"]
        assert line["version"] == alone["champion"]
    assert "of line 3" in lines[1]["why_not"]
    assert not any(name in out.read_text(encoding="utf-8") for name in (*names, "nobody at all"))
    ids.write_text("\n".join(names))
    assert call(*words)["missed"] == 0
    ids.write_text("\n \n")
    for wrong, why in (
        (("--sessions", str(ids), "--out", str(out)), "names nobody"),
        (("--sessions", str(ids)), "--out goes with"),
        (("--users", str(tmp_path / "none"), "--out", str(out)), "cannot be read"),
        (("--sessions", str(ids), "--user", "a", "--out", str(out)), "one of --session"),
    ):
        with pytest.raises(UsageError, match=why):
            call("explain", MODEL, *wrong)
