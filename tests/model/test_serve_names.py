"""`clickflow serve`: customers, sessions and words for what was done are read as ingest reads them."""

import asyncio
from dataclasses import replace
from pathlib import Path

import online_shop
import pytest
from http_app import KEY, VISIT, asking, client

from clickflow.events.pseudonyms import load_key
from clickflow.online import state
from clickflow.online.engine import Engine
from clickflow.online.http import server
from clickflow.online.http.app import app
from clickflow.online.http.settings import Settings
from clickflow.online.served import Served
from clickflow.params.file import load
from clickflow.params.schema import Params
from clickflow.params.serve import Serve


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A model that answers."""
    return online_shop.exported(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def params(root: Path) -> Params:
    return load(root / "params.yaml", lambda _: None)


def test_a_key_that_was_rotated_meanwhile_is_said(tmp_path: Path) -> None:
    key = load_key(tmp_path)
    assert server.rotated(tmp_path, key) == {}
    (tmp_path / "pseudonym.key").write_text("another key of the pseudonyms\n", encoding="utf-8")
    assert "start it again" in server.rotated(tmp_path, key)["pseudonyms"]
    (tmp_path / "pseudonym.key").write_text("short\n", encoding="utf-8")
    assert "cannot be read" in server.rotated(tmp_path, key)["pseudonyms"]


def test_a_pseudonym_is_the_one_that_ingest_gives() -> None:
    import pyarrow as pa

    from clickflow.events.pseudonyms import pseudonyms

    for kind, person in (("customer", "user"), ("session", "session")):
        (expected,) = pseudonyms(pa.array(["ann"]), KEY, person).to_pylist()  # type: ignore[arg-type]
        assert server.pseudonym(KEY, kind, "ann") == expected


@pytest.mark.parametrize(
    "raw", ["ann", " ann\u200b", "007", "7", "7.0", "-0.0", "1.5e3", "12e5", "1.2.3", "a+b@c.example", "Mu\u0308ller"]
)
def test_an_id_is_the_one_that_ingest_reads(raw: str, params: Params) -> None:
    from clickflow.serving.identities import pseudonym_of

    assert server.pseudonyms(params, KEY)("customer", raw) == pseudonym_of(params, "user", raw, KEY)


def test_what_stands_for_nobody_is_nobody(served: Served, params: Params) -> None:
    of = server.pseudonyms(params, KEY)
    assert [of("session", raw) for raw in ("undefined", "(not set)", " ", "null ")] == [None] * 4
    memory = state.Memory(subjects=9, steps=9, keep_seconds=60)
    application = app(Engine({served.model: served}), memory, Settings(serve=Serve(), pseudonym=of))
    ask = asking(application)
    visitors = [{"session": "undefined"}, {"session": "undefined", "customer": "ann"}, {"customer": "1.23457e+06"}]
    answers = [ask("POST", "/v1/events", json={**who, "events": VISIT}) for who in visitors]
    assert [answer.status_code for answer in answers] == [422, 200, 422]
    assert "lost digits" in answers[-1].json()["detail"]
    assert memory.counts["subjects"] == 1


MAPPED: tuple[dict[str, str], ...] = (
    {},
    {"PDP": "view", "Add": "cart", "ping": "ignore", "view": "impression"},
    {"*": "ignore", "buy": "purchase"},
    {"*": "purchase", "undefined": "cart"},
)


def worded(params: Params, mapped: dict[str, str]) -> Params:
    return replace(params, source=replace(params.source, kind="files", event_types=mapped))


@pytest.mark.parametrize("mapped", MAPPED)
def test_a_word_for_what_was_done_is_read_as_ingest_reads_it(mapped: dict[str, str], params: Params) -> None:
    import duckdb
    import pyarrow as pa

    from clickflow.events.checks import check
    from clickflow.events.presets import layout_of
    from clickflow.events.rules import rules_for

    words = ["view", " VIEW\u200b", "pdp", "PDP", "add", "ping", "PING ", "buy", "Bought", "undefined", "*", "ignore"]
    own, given, count = worded(params, mapped), [*words, None], len(words) + 1
    log = {"event_time": ["2020-01-01T00:00:00Z"] * count, "session_id": ["s"] * count, "item_id": ["5"] * count}
    table = pa.table({**log, "event_type": pa.array(given, pa.string())})
    with duckdb.connect() as con:
        checked = check(table, rules_for(own, KEY)(layout_of(own.source, "log.csv")), con)
    kinds = checked.table["event_type"].to_pylist()
    of = server.actions(own)
    for word, ignored, bad, kind in zip(given, checked.ignored, checked.bad, kinds, strict=True):
        assert of(word) == (None if ignored else (word or "view") if bad else kind), word


def test_what_a_shop_calls_what_was_done_is_read_and_what_it_leaves_out_is_counted(
    served: Served, params: Params
) -> None:
    ask = client(served, action=server.actions(worded(params, MAPPED[1])))
    ping = {"item": "6", "action": "ping"}
    visit = [{"item": "5", "action": "pdp"}, ping, {"item": "6", "action": "add", "price": 3.5}]
    response = ask(
        "POST", "/v1/events", json={"session": "ann", "events": [*visit, {"item": "7", "action": "waved at"}]}
    )
    assert response.json() == {"kept": 3, "steps": 3, "ignored": 1, "unknown": ["waved at"]}
    assert ask("POST", "/v1/events", json={"session": "ann", "events": [ping]}).json() == {
        "kept": 0,
        "steps": 3,
        "ignored": 1,
    }
    plain = client(served)
    for path in ("recommend", "predict"):
        own, canonical = (
            each("POST", f"/v1/{path}", json={"history": h}).json() for each, h in ((ask, visit), (plain, VISIT))
        )
        assert own == canonical
    question = {"output": "next_action", "history": visit}
    assert ask("POST", "/v1/explain", json=question).status_code == 422, "an explanation names steps by their places"
    seen = {"output": "next_action", "history": [{"item": "5", "action": "view"}, VISIT[1]]}
    page = ask("POST", "/v1/console/explain", json=seen).json()
    assert page == plain("POST", "/v1/explain", json=seen).json(), "the page's steps are those of the store"


def test_who_was_forgotten_is_dropped_and_not_kept_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clickflow.events import forgotten
    from clickflow.online import remembering
    from clickflow.online.history import Step

    monkeypatch.setattr(remembering, "AGE", 0.0)
    memory = state.Memory(subjects=9, steps=9, keep_seconds=60)
    held = remembering.Remembering(memory, remembering.Listed(tmp_path, KEY))
    steps = [Step("1", time=1)]

    async def both(*subjects: str) -> list[int]:
        return [(await held.append(subject, steps)).steps for subject in subjects]

    assert asyncio.run(both("customer:ann", "session:hers", "customer:bob")) == [1, 1, 1]
    forgotten.add(tmp_path, KEY, {"user": ["ann"], "session": ["hers"]})
    assert asyncio.run(both("customer:bob")) == [2]
    assert asyncio.run(memory.subjects("", 9)) == ["customer:bob"], "dropped, whoever was asked about"
    assert asyncio.run(both("customer:ann", "session:hers", "session:ann")) == [0, 0, 1]
    (tmp_path / forgotten.NAME).write_text("{", encoding="utf-8")
    assert asyncio.run(both("customer:ann")) == [0], "a list that is damaged leaves the earlier ones"
