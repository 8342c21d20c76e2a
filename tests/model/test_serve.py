"""`clickflow serve`: what is asked and answered over HTTP, and what is refused."""

import asyncio
import contextlib
import gzip
import json
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import httpx
import numpy as np
import online_shop
import pytest
from starlette.routing import Match
from starlette.routing import Route as Place

from clickflow.events.pseudonyms import load_key
from clickflow.online import state
from clickflow.online.engine import Busy, Engine
from clickflow.online.http import guard, keys, server, tracing
from clickflow.online.http.app import ROUTES, Direct, app
from clickflow.online.http.settings import Answered, Settings
from clickflow.online.served import Served
from clickflow.params.file import load
from clickflow.params.schema import Params
from clickflow.params.serve import Serve
from clickflow.system import integrity
from clickflow.system.paths import Paths

KEY = b"k" * 32
OWN = ("x-request-id", "content-length")
"""Headers that are of one answer."""
VISIT: list[dict[str, Any]] = [{"item": "5"}, {"item": "6", "action": "cart", "price": 3.5}]

Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A model that answers."""
    return online_shop.exported(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def params(root: Path) -> Params:
    return load(root / "params.yaml", lambda _: None)


def client(served: Served | None, host: str = "127.0.0.1", **given: Any) -> Ask:
    """Ask an application in this process: `ask(method, path, **words of httpx)`."""
    limits = Serve(**given.pop("serve", {}))
    memory = state.Memory(subjects=limits.subjects, steps=limits.steps, keep_seconds=60)
    settings = Settings(serve=limits, pseudonym=lambda kind, raw: server.pseudonym(KEY, kind, raw), **given)
    return asking(app(Engine({} if served is None else {served.model: served}), memory, settings), host)


def asking(made: Any, host: str = "127.0.0.1") -> Ask:
    """Ask an application in this process."""

    def ask(method: str, path: str, **words: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(made, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as asked:
                return await asked.request(method, path, **words)

        return asyncio.run(once())

    return ask


@pytest.fixture(scope="module")
def ask(served: Served) -> Ask:
    """An application without keys."""
    return client(served)


def test_every_kind_of_answer_comes_with_the_version_that_gave_it(ask: Ask, served: Served) -> None:
    found = ask("POST", "/v1/recommend", json={"history": VISIT, "k": 5, "exclude": ["7"]}).json()
    assert (found["model"], found["version"], found["fallback"]) == (served.model, 1, None)
    assert len(found["items"]) == 5
    assert "7" not in {item["item"] for item in found["items"]}
    said = ask("POST", "/v1/predict", json={"history": VISIT, "k": 3}).json()
    assert {name: answer["kind"] for name, answer in said["answers"].items()} == {
        output.name: output.kind for output in served.outputs
    }
    assert sum(said["answers"]["next_action"]["classes"].values()) == pytest.approx(1, abs=1e-3)
    best = found["items"][0]
    given = ask("POST", "/v1/score", json={"history": VISIT, "items": [best["item"], "none of these"]}).json()
    assert given["scores"] == [pytest.approx(best["score"], rel=1e-5), None]
    both = ask("POST", "/v1/recommend/batch", json={"questions": [{"history": VISIT, "k": 5, "exclude": ["7"]}, {}]})
    assert both.json()["answers"][0] == found
    assert both.json()["answers"][1]["fallback"] == "popularity_by_hour"


def test_what_the_model_does_not_know_is_named_and_counted(served: Served) -> None:
    ask = client(served)
    history = [{"item": f"new {n}"} for n in range(12)] + [{"item": "5", "action": "waved at"}]
    rules = {"exclude": ["6", "gone"], "only": ["5", "6", "7", "gone"], "categories": None}
    found = ask("POST", "/v1/recommend", json={"history": history, **rules}).json()
    assert (found["fallback"], found["reason"]) == ("popularity_by_hour", "unknown_items")
    assert {item["item"] for item in found["items"]} <= {"5", "7"}
    assert found["unknown"] == [
        {"where": "history", "count": 12, "some": [f"new {n}" for n in range(10)]},
        {"where": "actions", "count": 1, "some": ["waved at"]},
        {"where": "exclude", "count": 1, "some": ["gone"]},
        {"where": "only", "count": 1, "some": ["gone"]},
    ]
    none = ask("POST", "/v1/score", json={"history": VISIT, "items": ["gone", "gone too"]}).json()
    assert none["scores"] == [None, None]
    assert none["unknown"] == [{"where": "items", "count": 2, "some": ["gone", "gone too"]}]
    said = ask("POST", "/v1/predict", json={"history": history}).json()
    assert said["answers"]["next_item"]["reason"] == "unknown_items"
    assert "unknown" not in ask("POST", "/v1/recommend", json={"history": VISIT}).json()
    metrics = ask("GET", "/metrics").text
    assert f'clickflow_unknown_total{{model="{served.model}",where="history"}} 24.0' in metrics


def test_an_item_without_category_and_price_has_those_of_training_and_null_is_none(served: Served) -> None:
    served = online_shop.with_categories(served)
    ask, index = client(served), served.items.index_of["5"]
    own = {"category": served.items.categories[served.items.category[index]], "price": float(served.items.price[index])}

    def scores(step: dict[str, Any]) -> list[float]:
        body = {"history": [{"item": "5", "time": 1_700_000_000_000_000, **step}], "items": ["6", "7", "8"]}
        return list(ask("POST", "/v1/score", json=body).json()["scores"])

    assert scores({}) == scores(own)
    assert scores({}) != scores({"category": None, "price": None})


def test_prices_are_told_as_they_were_written_and_bounds_that_cross_are_refused(served: Served) -> None:
    served = online_shop.with_categories(served)
    prices = np.full_like(served.items.price, np.float32(33.51))
    ask = client(replace(served, items=replace(served.items, price=prices)))
    assert {item["price"] for item in ask("POST", "/v1/recommend", json={"history": VISIT}).json()["items"]} == {33.51}
    found = ask("POST", "/v1/recommend", json={"history": VISIT, "price_from": 10, "price_to": 5})
    assert (found.status_code, found.json()["where"]) == (422, "$.price_from")


def test_who_is_asked_without_a_name_does_not_hang_on_what_was_loaded_first(served: Served) -> None:
    engine = Engine({}, order=("first", "second"))
    for name in ("other", "second", "first", "second"):
        engine.swap(replace(served, model=name))
    assert engine.models == ("first", "second", "other")
    engine.withdraw("first")
    engine.swap(replace(served, model="first"))
    assert engine.models[0] == "first"


def test_segments_and_forecasts_are_told_where_they_were_made(served: Served, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    from clickflow.system.files import write_json

    without = client(served)
    assert "clickflow demand" in without("GET", "/v1/forecasts").json()["next"]
    assert without("POST", "/v1/segment", json={"customer": "ann"}).status_code == 404
    profiles, demand = tmp_path / "reports/profiles", tmp_path / "reports/demand"
    profiles.mkdir(parents=True)
    demand.mkdir()
    one = {"key": "loyal", "name": {"en": "loyal", "zh": "忠诚"}, "customers": 3, "share": 0.3, "traits": []}
    write_json(profiles / "segments.json", {"segments": [one]})
    write_json(profiles / "card.json", {"as_of": "2026-01-01T00:00:00Z", "customers": 10, "horizon_days": 14})
    ann = {
        "user_id": server.pseudonym(KEY, "customer", "ann"),
        "segment": "loyal",
        "segment_name": "loyal",
        "amount": 2.5,
    }
    parquet.write_table(pa.Table.from_pylist([{**ann, "similar": ["x"]}]), profiles / "profiles.parquet")
    card = {"level": "item", "step": "day", "horizon": 1, "from": "2026-01-02", "count": 2}
    write_json(demand / "card.json", card)
    period = {"period": "2026-01-02", "expected": 2.0, "low_10": 0.0, "middle": 1.0, "high_90": 5.0}
    ahead = [{"item": item, **period} for item in ("a", "b")]
    parquet.write_table(pa.Table.from_pylist(ahead), demand / "forecasts.parquet")
    stock = [{"item": "a", "expected": 2.0}, {"item": "b", "expected": 3.0}]
    parquet.write_table(pa.Table.from_pylist(stock), demand / "stock.parquet")
    ask = client(served, extra={"paths": Paths(tmp_path)})
    assert [each["key"] for each in ask("GET", "/v1/segments").json()["segments"]] == ["loyal"]
    hers = ask("POST", "/v1/segment", json={"customer": "ann"}).json()
    assert hers == {"segment": "loyal", "name": "loyal", "as_of": "2026-01-01T00:00:00Z", "values": {"amount": 2.5}}
    assert ask("POST", "/v1/segment", json={"customer": "bob"}).status_code == 404
    (best,) = ask("GET", "/v1/forecasts", params={"k": 1}).json()["series"]
    assert (best["id"], best["periods"]) == ("b", [period])

    # what has changed on the server's disk is no fault of who asks, and is named with the way back
    (profiles / "segments.json").write_bytes(b"\xff")
    assert ask("GET", "/v1/segments").status_code == 500
    write_json(profiles / "segments.json", {"segments": [{**one, "customers": "three"}]})
    assert ask("GET", "/v1/segments").status_code == 500
    for folder, route in ((profiles, "segments"), (demand, "forecasts")):
        integrity.seal(folder)
        (folder / "card.json").write_bytes((folder / "card.json").read_bytes().replace(b"1", b"3", 1))
        said = ask("GET", f"/v1/{route}")
        assert said.status_code == 503 and "card.json has changed" in said.json()["detail"]
        assert f"clickflow {folder.name} --out" in said.json()["next"]


def test_an_answer_is_explained(ask: Ask) -> None:
    said = ask("POST", "/v1/recommend", json={"history": VISIT, "k": 2}).json()
    told = ask("POST", "/v1/explain", json={"history": VISIT, "output": "next_item"})
    assert told.status_code == 200
    found = told.json()
    assert found["version"] == 1
    assert found["target"] == said["items"][0]["item"]
    assert found["answer"] == pytest.approx(said["items"][0]["score"], rel=1e-5)
    assert {tuple(each["steps"]) for each in found["effects"]} == {(0,), (1,)}
    assert set(found["sentences"]) == {"en", "zh"}
    alike = ask("GET", f"/v1/similar/{found['target']}").json()["items"]
    assert [each["item"] for each in found["neighbours"]] == [each["item"] for each in alike][
        : len(found["neighbours"])
    ]
    assert found["neighbours"]
    other = {"history": VISIT, "output": "next_action", "target": "cart"}
    assert ask("POST", "/v1/explain", json=other).json()["target"] == "cart"
    for wrong, status in (({}, 422), ({"history": VISIT, "output": "x"}, 404), ({**other, "target": "x"}, 404)):
        assert ask("POST", "/v1/explain", json=wrong).status_code == status


def test_a_session_told_event_by_event_is_answered_as_its_history(ask: Ask) -> None:
    steps = [{**step, "time": 1_700_000_000_000_000 + place} for place, step in enumerate(VISIT)]
    for step in reversed(steps):  # the later one arrives first
        told = ask("POST", "/v1/events", json={"session": "ann", "events": [step]})
    assert told.json() == {"kept": 1, "steps": 2}
    by_name = ask("POST", "/v1/recommend", json={"session": "ann"}).json()
    assert by_name == ask("POST", "/v1/recommend", json={"history": steps, "now": steps[-1]["time"] + 1}).json()
    cold = ask("POST", "/v1/predict", json={"session": "nobody"}).json()
    assert cold["fallback"] == "no_history"
    assert {answer["kind"] for answer in cold["answers"].values()} == {"ranking"}


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        (b"{", 400, ""),
        (b'{"history": ' + b"[" * 100_000, 422, "$.history[0]"),
        (b"\xff", 400, ""),
        (b'{"kk": 1}', 422, ""),
        (b'{"k": 0}', 422, "$.k"),
        (b'{"k": 1e400}', 422, "$.k"),
        (b'{"history": [{"item": "5", "time": "1969-12-31T00:00:00Z"}]}', 422, "$.history"),
        (b'{"history": [{"item": "5", "time": "2020-01-01T00:00:00"}]}', 422, "$.history[0].time"),
        (b'{"model": "other"}', 404, ""),
        (b'{"k": 5000}', 413, "$.k"),
        (b"[" + b" " * 2_000_000 + b"]", 413, ""),
    ],
)
def test_a_clients_fault_is_a_problem_that_says_what_to_do(ask: Ask, body: bytes, status: int, where: str) -> None:
    answer = ask("POST", "/v1/recommend", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["detail"]
    assert problem["next"]
    assert problem.get("where", "") == where


def test_who_has_no_key_is_let_in_on_loopback_alone_and_a_scope_is_all_that_a_key_may(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client(served, "evil.example")("GET", "/v1/models").status_code == 403
    key = keys.make(tmp_path, "shop", ("read",))
    assert key not in keys.file_of(tmp_path).read_text()
    ask = client(served, "shop.example", keys=server.Keys(tmp_path).now)
    assert ask("GET", "/v1/models").status_code == 401
    assert ask("GET", "/v1/models", headers={"x-api-key": key[:-1]}).status_code == 401
    monkeypatch.setenv(keys.VARIABLE, "k" * 32)
    asked = client(served, "shop.example", keys=server.Keys(tmp_path / "none").now)
    assert asked("GET", "/v1/models", headers={"x-api-key": "k" * 32}).status_code == 200
    own = {"authorization": f"Bearer {key}"}
    assert ask("GET", "/v1/models", headers=own).status_code == 200
    told = ask("POST", "/v1/events", headers=own, json={"session": "a", "events": VISIT})
    assert told.status_code == 403
    assert "events" in told.json()["detail"]
    assert ask("GET", "/healthz").status_code == 200


def test_keys_that_are_made_at_once_all_stay(tmp_path: Path) -> None:
    names = [f"shop-{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda name: keys.make(tmp_path, name, ("read",)), names))
    held = keys.load(tmp_path)
    assert {held[keys.hashed(key)].name for key in made} == set(names)


def test_keys_that_are_gone_let_nobody_in_where_the_server_can_be_reached(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "KEYS_AGE", 0)
    key = keys.make(tmp_path, "shop", ("read",))
    held = server.Keys(tmp_path, shut=True)
    ask = client(served, "localhost", keys=held.now)
    own = {"authorization": f"Bearer {key}"}
    file = keys.file_of(tmp_path)
    for spoil in (lambda: file.write_text("{"), file.unlink, lambda: file.write_text("{}")):
        spoil()
        assert ask("GET", "/v1/models").status_code == 401
        assert ask("GET", "/v1/models", headers=own).status_code == 200, "those of before hold"
        assert "those of before hold" in held.wrong
    again = server.Keys(tmp_path, shut=True)  # a worker that is started again
    assert client(served, "localhost", keys=again.now)("GET", "/v1/models", headers=own).status_code == 401
    key = keys.make(tmp_path, "shop", ("read",))
    assert ask("GET", "/v1/models", headers={"authorization": f"Bearer {key}"}).status_code == 200
    assert held.wrong == ""


def test_a_worker_has_its_room_for_counts_or_leaves_nothing_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clickflow.online.http import metrics

    gone = tmp_path / "gauge_livemax_4194305.db"
    gone.write_bytes(b"")
    metrics.take_room(tmp_path)
    assert not gone.exists(), "of a worker that is no more"
    assert {each.stat().st_size for each in tmp_path.iterdir()} == {metrics.ROOM}

    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    (tmp_path / "again").mkdir()
    with pytest.raises(OSError, match="No space"):
        metrics.take_room(tmp_path / "again")
    assert list((tmp_path / "again").iterdir()) == []


def test_a_history_that_is_too_long_to_be_explained_is_refused(ask: Ask) -> None:
    long = {"history": [{"item": "5"}] * 501, "output": "next_action"}
    assert ask("POST", "/v1/explain", json=long).status_code == 413
    assert ask("POST", "/v1/predict", json={"history": long["history"]}).status_code == 200


def test_events_of_one_name_are_kept_once(served: Served) -> None:
    ask = client(served)

    def told(**words: str) -> int:
        answer = ask("POST", "/v1/events", json={"session": "a", "events": VISIT, **words})
        return int(answer.json()["steps"])

    assert [told(), told(name="x"), told(name="x"), told(name="x", session="b"), told()] == [2, 4, 4, 2, 6]


def test_what_takes_long_is_done_apart_and_refused_where_too_much_waits(served: Served) -> None:
    from clickflow.online.http.problems import Refused
    from clickflow.online.http.settings import Apart

    begun, over = threading.Event(), threading.Event()
    apart = Apart("tests", threads=1, most=2)

    def long() -> str:
        begun.set()
        assert over.wait(30)
        return "done"

    async def asked() -> None:
        first, given_up = asyncio.create_task(apart.run(long)), asyncio.create_task(apart.run(long))
        await asyncio.to_thread(begun.wait, 30)
        with pytest.raises(Refused, match="2 tests"):
            await apart.run(long)
        given_up.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await given_up
        third = asyncio.create_task(apart.run(long))  # who was given up before it began takes no room
        await asyncio.sleep(0)
        over.set()
        assert (await first, await third) == ("done", "done")

    asyncio.run(asked())


def test_a_key_asks_as_often_as_it_may(served: Served) -> None:
    ask = client(served, serve={"rate": 0.01, "burst": 2})
    found = [ask("POST", "/v1/recommend", json={}) for _ in range(3)]
    assert [answer.status_code for answer in found] == [200, 200, 429]
    assert int(found[-1].headers["retry-after"]) > 1


def test_observers_see_every_answer_and_no_raw_id(served: Served) -> None:
    seen: list[Answered] = []
    ask = client(served, observers=[seen.append])
    ask("POST", "/v1/recommend", json={"customer": "ann@example.com", "session": "s1"})
    until = time.monotonic() + 60
    while not seen and time.monotonic() < until:
        time.sleep(0.02)
    (asked,) = seen
    assert (asked.model, asked.version, asked.route) == (served.model, 1, "/v1/recommend")
    assert "ann" not in repr(asked)
    assert asked.customer == server.pseudonym(KEY, "customer", "ann@example.com")


def test_without_a_model_it_lives_and_is_not_ready() -> None:
    ask = client(None)
    assert ask("GET", "/healthz").status_code == 200
    ready = ask("GET", "/readyz")
    assert ready.status_code == 503
    assert "champion" in ready.json()["wrong"]["models"]
    assert ask("POST", "/v1/recommend", json={}).status_code == 503


def test_metrics_count_by_route_model_and_version(served: Served) -> None:
    ask = client(served)
    ask("POST", "/v1/recommend", json={})
    ask("GET", "/nowhere")
    text = ask("GET", "/metrics").text
    assert 'clickflow_requests_total{route="/v1/recommend",status="200"} 1.0' in text
    assert 'clickflow_requests_total{route="unmatched",status="404"} 1.0' in text
    assert f'clickflow_answers_total{{fallback="popularity_by_hour",model="{served.model}",version="1"}} 1.0' in text


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
        (made,) = pseudonyms(pa.array(["ann"]), KEY, person).to_pylist()  # type: ignore[arg-type]
        assert server.pseudonym(KEY, kind, "ann") == made


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
    made = app(Engine({served.model: served}), memory, Settings(serve=Serve(), pseudonym=of))
    ask = asking(made)
    told = [{"session": "undefined"}, {"session": "undefined", "customer": "ann"}, {"customer": "1.23457e+06"}]
    found = [ask("POST", "/v1/events", json={**who, "events": VISIT}) for who in told]
    assert [answer.status_code for answer in found] == [422, 200, 422]
    assert "lost digits" in found[-1].json()["detail"]
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
    told = ask("POST", "/v1/events", json={"session": "ann", "events": [*visit, {"item": "7", "action": "waved at"}]})
    assert told.json() == {"kept": 3, "steps": 3, "ignored": 1, "unknown": ["waved at"]}
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
    asked = {"output": "next_action", "history": visit}
    assert ask("POST", "/v1/explain", json=asked).status_code == 422, "an explanation names steps by their places"
    seen = {"output": "next_action", "history": [{"item": "5", "action": "view"}, VISIT[1]]}
    page = ask("POST", "/v1/console/explain", json=seen).json()
    assert page == plain("POST", "/v1/explain", json=seen).json(), "the page's steps are those of the store"


def test_what_one_did_is_named_to_who_may_see_people_alone(served: Served, tmp_path: Path) -> None:
    own = {
        name: keys.make(tmp_path, name, scopes)
        for name, scopes in {"shop": ("read", "events"), "ann": ("read", "people")}.items()
    }
    ask = client(served, "shop.example", keys=server.Keys(tmp_path).now)
    asked = {name: {"authorization": f"Bearer {key}"} for name, key in own.items()}
    ask("POST", "/v1/events", headers=asked["shop"], json={"session": "eve", "events": [{"item": "a secret"}, *VISIT]})
    for name, some in (("shop", []), ("ann", ["a secret"])):
        said = ask("POST", "/v1/recommend", headers=asked[name], json={"session": "eve", "exclude": ["gone"]}).json()
        assert said["unknown"][0] == {"where": "history", "count": 1, "some": some}
        assert said["unknown"][1]["some"] == ["gone"], "what it asks itself"
    sent = ask("POST", "/v1/recommend", headers=asked["shop"], json={"history": [{"item": "new"}]}).json()
    assert sent["unknown"][0]["some"] == ["new"]


def test_who_was_forgotten_is_dropped_and_not_kept_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clickflow.events import forgotten
    from clickflow.online import remembering
    from clickflow.online.history import Step

    monkeypatch.setattr(remembering, "AGE", 0.0)
    memory = state.Memory(subjects=9, steps=9, keep_seconds=60)
    held = remembering.Remembering(memory, remembering.Listed(tmp_path, KEY))
    steps = [Step("1", time=1)]

    async def both(*subjects: str) -> list[int]:
        return [await held.append(subject, steps) for subject in subjects]

    assert asyncio.run(both("customer:ann", "session:hers", "customer:bob")) == [1, 1, 1]
    forgotten.add(tmp_path, KEY, {"user": ["ann"], "session": ["hers"]})
    assert asyncio.run(both("customer:bob")) == [2]
    assert asyncio.run(memory.subjects("", 9)) == ["customer:bob"], "dropped, whoever was asked about"
    assert asyncio.run(both("customer:ann", "session:hers", "session:ann")) == [0, 0, 1]
    (tmp_path / forgotten.NAME).write_text("{", encoding="utf-8")
    assert asyncio.run(both("customer:ann")) == [0], "a list that is damaged leaves those of before"


def test_where_too_many_wait_it_is_said_at_once_when_to_ask_again(served: Served) -> None:
    memory = state.Memory(subjects=9, steps=9, keep_seconds=60)
    settings = Settings(serve=Serve(), pseudonym=lambda kind, raw: server.pseudonym(KEY, kind, raw))
    ask = asking(app(Engine({served.model: served}, most=0), memory, settings))
    for path, body in (("recommend", {}), ("recommend/batch", {"questions": [{}, {}]}), ("score", {"items": ["5"]})):
        found = ask("POST", f"/v1/{path}", json=body)
        assert (found.status_code, found.headers["retry-after"]) == (503, "2")
        assert "too many questions wait" in found.json()["detail"]


def test_off_loopback_keys_are_needed_and_workers_share_a_state(tmp_path: Path) -> None:
    from clickflow.system.errors import UsageError
    from clickflow.system.paths import Paths

    serve = Serve()
    server.check(serve, Paths(tmp_path))
    wrong = {"keys": {"host": "0.0.0.0"}, "Redis": {"workers": 2}, "max_batch": {"queue": serve.max_batch - 1}}
    for word, given in wrong.items():
        bad = replace(serve, **given)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=word):
            server.check(bad, Paths(tmp_path))


async def _filled(memory: state.Memory) -> list[int]:
    from clickflow.online.history import Step

    for name in ("a", "b", "a", "c"):
        await memory.append(name, [Step("1", time=1), Step("2", time=2)])
    return [len(await memory.history(name)) for name in ("a", "b", "c")]


def test_memory_is_bounded_and_the_longest_idle_go_first() -> None:
    memory = state.Memory(subjects=2, steps=3, keep_seconds=60)
    assert asyncio.run(_filled(memory)) == [3, 0, 2]
    assert memory.counts == {"subjects": 2, "evicted": 1, "expired": 0}


def test_hostile_requests_get_problem_details_and_never_a_500(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    import hostile

    limits = Serve()
    memory = state.Memory(subjects=100, steps=50, keep_seconds=60)
    settings = Settings(serve=limits, pseudonym=lambda kind, raw: server.pseudonym(KEY, kind, raw))
    found = asyncio.run(hostile.storm(app(Engine({served.model: served}), memory, settings), 300, 20_000))
    assert found["still_answers"]
    assert not found["faults"]
    assert {"400", "404", "413", "415", "422"} <= found["statuses"].keys()


def both_ways(served: Served, **given: Any) -> list[Direct]:
    """Two applications: as it is, and with Starlette's layers before every route."""
    limits = Serve(**given.pop("serve", {}))
    found = []
    for _ in range(2):
        memory = state.Memory(subjects=100, steps=50, keep_seconds=60)
        settings = Settings(serve=limits, pseudonym=lambda kind, raw: server.pseudonym(KEY, kind, raw), **given)
        found.append(app(Engine({served.model: served}), memory, settings))
    assert found[1].endpoints
    found[1].endpoints = {}
    return found


class Tracer:
    """Keeps what spans it was told of."""

    def __init__(self) -> None:
        self.spans: list[list[Any]] = []

    def start_span(self, name: str, _: dict[str, str]) -> Any:
        """Of `tracing.Tracer`."""
        span: list[Any] = [name]
        self.spans.append(span)

        def told(values: dict[str, Any]) -> None:
            span.append({name: value for name, value in values.items() if name != "clickflow.request"})

        return SimpleNamespace(set_attributes=told, end=lambda: span.append("ended"))


def same(answer: tuple[int, dict[bytes, bytes], bytes]) -> tuple[Any, ...]:
    """An answer without what is of its own time: ids, seconds, and the length of a body that names these."""
    status, headers, body = answer
    kept = {name: value for name, value in headers.items() if name not in (b"x-request-id", b"content-length")}
    named = re.sub(rb"[0-9a-f]{8}-[0-9a-f]+(?=[\".])", b"ID", body)
    return (
        status,
        kept,
        b"request-id" in b"".join(headers),
        re.sub(rb'("uptime_seconds"|"seconds"):[0-9.e-]+', b"", named),
    )


def lines(text: str) -> list[dict[str, Any]]:
    """Lines of the log without what is of their own time."""
    own = ("time", "ms", "request")
    return [{name: value for name, value in json.loads(line).items() if name not in own} for line in text.splitlines()]


def counted(made: Any) -> dict[str, float]:
    """How often each route answered with which status, how many were timed, and what was answered."""
    registry = made.state.service.metrics.registry
    return {
        f"{each.name}{sorted(each.labels.items())}": each.value
        for metric in registry.collect()
        for each in metric.samples
        if each.name in ("clickflow_requests_total", "clickflow_request_seconds_count", "clickflow_answers_total")
    }


def test_what_skips_starlettes_layers_answers_counts_logs_and_traces_as_through_them(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    import hostile

    monkeypatch.setattr(guard, "LINES_A_SECOND", 1 << 30)
    monkeypatch.setattr(guard, "_written", guard._Written())  # what was left out before is not this test's
    plain = b'{"history": [{"item": "5"}]}'
    head = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    asked = [hostile.request(seed) for seed in range(40_000, 40_300)]
    asked += [
        ("method", (method, path, head, b"", plain))
        for method in ("HEAD", "OPTIONS", "GET", "POST", "PUT")
        for path in ("/v1/recommend", "/v1/models", "/healthz", "/v1/recommend/", "/V1/recommend", "//v1/recommend")
    ]
    asked += [("language", ("POST", "/v1/recommend", [*head, (b"accept-language", b"zh-CN")], b"", b"{"))]
    found = []
    for made in both_ways(served, serve={"log_requests": True}, extra={"tracer": (tracer := Tracer())}):
        tracer.spans.clear()
        answers = [asyncio.run(hostile.send(made, each, place)) for place, (_, each) in enumerate(asked)]
        dynamic = ("/metrics", "/v1/live", "/v1/console")
        kept = [
            same(answer)[: 3 if each[1].startswith(dynamic) else 4]
            for answer, (_, each) in zip(answers, asked, strict=True)
        ]
        found.append((kept, lines(capsys.readouterr().err), [*tracer.spans], counted(made)))
    for one, other in zip(*found, strict=True):
        assert one == other
    statuses = {answer[0] for answer in found[0][0]}
    assert {200, 400, 404, 405, 413, 415, 422} <= statuses
    assert len(found[0][1]) > 100
    assert len(found[0][2]) > 100


@pytest.mark.parametrize("what", ["keys", "rate", "queue", "time", "fault", "unwritable"])
def test_keys_limits_and_faults_are_the_same_on_the_way_that_skips_starlettes_layers(
    what: str, served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: dict[str, Any] = {}
    key = keys.make(tmp_path, "reader", ("events",))
    if what == "keys":
        given["keys"] = server.Keys(tmp_path).now
    if what == "rate":
        given["serve"] = {"rate": 0.001, "burst": 1}
    broken: Any = {
        "queue": Busy("too many questions wait", kept="none is lost", next_step="try again"),
        "time": TimeoutError(),
        "fault": ZeroDivisionError(),
    }
    wanted = {"keys": 401, "rate": 429, "queue": 503, "time": 504, "fault": 500, "unwritable": 500}
    found: list[Any] = []
    for made in both_ways(served, **given):
        service, ask = made.state.service, asking(made)

        async def ask_engine(*_: Any) -> Any:
            raise broken[what]

        if what in broken:
            monkeypatch.setattr(service.engine, "ask", ask_engine)
        if what == "unwritable":
            monkeypatch.setattr(guard, "_encoder", SimpleNamespace(encode=lambda _: 1 / 0))
        each = [
            ask("POST", "/v1/recommend", json={"history": VISIT}),
            ask("POST", "/v1/recommend", json={"history": VISIT}, headers={"Authorization": f"Bearer {key}"}),
            ask("POST", "/v1/recommend", content=b"{", headers={"Host": "evil.example"}),
        ]
        told = [{name: text for name, text in one.headers.items() if name not in OWN} for one in each]
        said = [one.json() | {"request": "", "detail": ""} for one in each]
        if what == "rate":
            told = [headers | {"retry-after": ""} for headers in told]
        found.append(([one.status_code for one in each], told, said, counted(made)))
    assert found[0] == found[1]
    assert wanted[what] in found[0][0]
    refused = found[0][1][found[0][0].index(wanted[what])]
    assert refused["content-type"] == "application/problem+json"
    assert ("retry-after" in refused) == (what in ("rate", "queue"))


def test_what_there_is_not_has_an_id_that_the_log_names(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    for method, path, status in (("GET", "/nowhere", 404), ("GET", "/v1/recommend", 405)):
        capsys.readouterr()
        found = ask(method, path)
        (line,) = [json.loads(each) for each in capsys.readouterr().err.splitlines() if '"unmatched"' in each]
        assert found.status_code == line["status"] == status
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["x-request-id"] == found.json()["request"] == line["request"] != ""
        assert "path" not in line


class Collector(BaseHTTPRequestHandler):
    """A collector of OpenTelemetry that keeps what it is sent."""

    told: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        """A batch of spans."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.told.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def test_spans_go_to_the_collector_that_a_variable_names_and_belong_to_the_trace_of_who_asks(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    assert tracing.tracer() is None
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        monkeypatch.setenv(tracing.VARIABLES[0], f"http://127.0.0.1:{collector.server_port}")
        made = tracing.tracer()
        assert made is not None
        ask = client(served, extra={"tracer": made})
        trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
        body = {"history": [{"item": "5"}], "session": "a-secret-visit"}
        ask("POST", "/v1/recommend", json=body, headers={"traceparent": f"00-{trace}-{parent}-01"})
        ask("POST", "/v1/recommend", json=VISIT, headers={"traceparent": "00-nonsense"})
        ask("GET", "/v1/similar/5")
        made.close()
        collector.shutdown()
    assert not any(b"a-secret-visit" in each for each in Collector.told)
    spans = [
        span
        for each in Collector.told
        for resource in ExportTraceServiceRequest.FromString(each).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert [span.name for span in spans] == ["POST /v1/recommend"] * 2 + ["GET /v1/similar/{item:path}"]
    assert (spans[0].trace_id.hex(), spans[0].parent_span_id.hex()) == (trace, parent)
    assert not spans[1].parent_span_id
    status = [
        value.value.int_value for span in spans for value in span.attributes if value.key == "http.response.status_code"
    ]
    assert status == [200, 422, 200]
    assert {span.kind for span in spans} == {2}, "of a server"


def test_a_collector_that_is_away_holds_nobody_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracing.VARIABLES[0], "http://127.0.0.1:9")
    monkeypatch.setattr(tracing, "LAST", 0.2)
    made = tracing.tracer()
    assert made is not None
    assert client(served, extra={"tracer": made})("GET", "/v1/models").status_code == 200
    made.close()


def test_a_path_of_one_text_has_one_route_and_no_other_before_it(served: Served) -> None:
    made, through = both_ways(served)
    assert len(made.endpoints) == sum("{" not in route.path for route in ROUTES)
    for method, path in made.endpoints:
        scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
        first = next(place for place in through.routes if place.matches(scope)[0] is Match.FULL)
        assert isinstance(first, Place)
        assert first.path == path


def test_the_schema_is_kept_by_what_schemathesis_sends(served: Served, tmp_path: Path) -> None:
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    key = keys.make(tmp_path, "fuzz", ("read", "events"))
    told = Settings(
        serve=Serve(), keys=server.Keys(tmp_path).now, pseudonym=lambda kind, raw: server.pseudonym(KEY, kind, raw)
    )
    memory = state.Memory(subjects=100, steps=50, keep_seconds=60)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app(Engine({served.model: served}), memory, told))

    def send(case: Any) -> None:
        # right by the schema may still name a model that there is not
        case.call_and_validate(headers={"Authorization": f"Bearer {key}"}, excluded_checks=[positive_data_acceptance])

    few: Any = settings(
        max_examples=8,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    every: Any = schema.get_all_operations()
    asked: list[Any] = [found.ok() for found in every]
    assert len(asked) > 10
    for operation in asked:
        tried: Any = given(operation.as_strategy())
        few(tried(send))()
