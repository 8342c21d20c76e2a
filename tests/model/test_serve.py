"""`clickflow serve`: what is asked and answered over HTTP, and what is refused."""

import asyncio
import contextlib
import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import online_shop
import pytest
from http_app import KEY, VISIT, Ask, asking, client

from clickflow.online import state
from clickflow.online.engine import Engine
from clickflow.online.http import server
from clickflow.online.http.app import app
from clickflow.online.http.settings import Answered, Settings
from clickflow.online.live.arms import canary_of
from clickflow.online.served import Served
from clickflow.params.serve import Serve
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.system import integrity
from clickflow.system.paths import Paths


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A model that answers."""
    return online_shop.exported(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def ask(served: Served) -> Ask:
    """An application without keys."""
    return client(served)


def test_every_kind_of_answer_comes_with_the_version_that_gave_it(ask: Ask, served: Served) -> None:
    first = ask("POST", "/v1/recommend", json={"history": VISIT, "k": 5, "exclude": ["7"]}).json()
    assert (first["model"], first["version"], first["fallback"]) == (served.model, 1, None)
    assert len(first["items"]) == 5
    assert "7" not in {item["item"] for item in first["items"]}
    predicted = ask("POST", "/v1/predict", json={"history": VISIT, "k": 3}).json()
    assert {name: answer["kind"] for name, answer in predicted["answers"].items()} == {
        output.name: output.kind for output in served.outputs
    }
    assert sum(predicted["answers"]["next_action"]["classes"].values()) == pytest.approx(1, abs=1e-3)
    best = first["items"][0]
    given = ask("POST", "/v1/score", json={"history": VISIT, "items": [best["item"], "none of these"]}).json()
    assert given["scores"] == [pytest.approx(best["score"], rel=1e-5), None]
    both = ask("POST", "/v1/recommend/batch", json={"questions": [{"history": VISIT, "k": 5, "exclude": ["7"]}, {}]})
    assert both.json()["answers"][0] == first
    assert both.json()["answers"][1]["fallback"] == "popularity_by_hour"


def test_what_the_model_does_not_know_is_named_and_counted(served: Served) -> None:
    ask = client(served)
    history = [{"item": f"new {n}"} for n in range(12)] + [{"item": "5", "action": "waved at"}]
    rules = {"exclude": ["6", "gone"], "only": ["5", "6", "7", "gone"], "categories": None}
    answer = ask("POST", "/v1/recommend", json={"history": history, **rules}).json()
    assert (answer["fallback"], answer["reason"]) == ("popularity_by_hour", "unknown_items")
    assert {item["item"] for item in answer["items"]} <= {"5", "7"}
    assert answer["unknown"] == [
        {"where": "history", "count": 12, "some": [f"new {n}" for n in range(10)]},
        {"where": "actions", "count": 1, "some": ["waved at"]},
        {"where": "exclude", "count": 1, "some": ["gone"]},
        {"where": "only", "count": 1, "some": ["gone"]},
    ]
    none = ask("POST", "/v1/score", json={"history": VISIT, "items": ["gone", "gone too"]}).json()
    assert none["scores"] == [None, None]
    assert none["unknown"] == [{"where": "items", "count": 2, "some": ["gone", "gone too"]}]
    predicted = ask("POST", "/v1/predict", json={"history": history}).json()
    assert predicted["answers"]["next_item"]["reason"] == "unknown_items"
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
    refusal = ask("POST", "/v1/recommend", json={"history": VISIT, "price_from": 10, "price_to": 5})
    assert (refusal.status_code, refusal.json()["where"]) == (422, "$.price_from")


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
    said = {"segment": "loyal", "name": "loyal", "as_of": "2026-01-01T00:00:00Z", "values": {"amount": 2.5}}
    assert hers == said | {"report": None}
    assert ask("POST", "/v1/segment", json={"customer": "bob"}).status_code == 404
    (best,) = ask("GET", "/v1/forecasts", params={"k": 1}).json()["series"]
    assert (best["id"], best["periods"]) == ("b", [period])

    # which report it was is in every answer
    for folder in (profiles, demand):
        integrity.seal(folder)
    seals = [json.loads((folder / "_hashes.json").read_bytes())["seal"] for folder in (profiles, demand)]
    assert [ask("GET", f"/v1/{route}").json()["report"] for route in ("segments", "forecasts")] == seals
    assert ask("POST", "/v1/segment", json={"customer": "ann"}).json()["report"] == seals[0]
    for folder in (profiles, demand):
        (folder / "_hashes.json").unlink()

    # what has changed on the server's disk is no fault of who asks, and is named with the way back
    (profiles / "segments.json").write_bytes(b"\xff")
    assert ask("GET", "/v1/segments").status_code == 500
    write_json(profiles / "segments.json", {"segments": [{**one, "customers": "three"}]})
    assert ask("GET", "/v1/segments").status_code == 500
    for folder, route in ((profiles, "segments"), (demand, "forecasts")):
        integrity.seal(folder)
        (folder / "card.json").write_bytes((folder / "card.json").read_bytes().replace(b"1", b"3", 1))
        response = ask("GET", f"/v1/{route}")
        assert response.status_code == 503 and "card.json has changed" in response.json()["detail"]
        assert f"clickflow {folder.name} --out" in response.json()["next"]


def test_an_answer_is_explained(ask: Ask) -> None:
    recommended = ask("POST", "/v1/recommend", json={"history": VISIT, "k": 2}).json()
    response = ask("POST", "/v1/explain", json={"history": VISIT, "output": "next_item"})
    assert response.status_code == 200
    explanation = response.json()
    assert explanation["version"] == 1
    assert explanation["target"] == recommended["items"][0]["item"]
    assert explanation["answer"] == pytest.approx(recommended["items"][0]["score"], rel=1e-5)
    assert {tuple(each["steps"]) for each in explanation["effects"]} == {(0,), (1,)}
    assert set(explanation["sentences"]) == {"en", "zh"}
    alike = ask("GET", f"/v1/similar/{explanation['target']}").json()["items"]
    assert [each["item"] for each in explanation["neighbours"]] == [each["item"] for each in alike][
        : len(explanation["neighbours"])
    ]
    assert explanation["neighbours"]
    other = {"history": VISIT, "output": "next_action", "target": "cart"}
    assert ask("POST", "/v1/explain", json=other).json()["target"] == "cart"
    for wrong, status in (({}, 422), ({"history": VISIT, "output": "x"}, 404), ({**other, "target": "x"}, 404)):
        assert ask("POST", "/v1/explain", json=wrong).status_code == status


def test_a_session_told_event_by_event_is_answered_as_its_history(ask: Ask) -> None:
    steps = [{**step, "time": 1_700_000_000_000_000 + place} for place, step in enumerate(VISIT)]
    for step in reversed(steps):  # the later one arrives first
        response = ask("POST", "/v1/events", json={"session": "ann", "events": [step]})
    assert response.json() == {"kept": 1, "steps": 2}
    by_name = ask("POST", "/v1/recommend", json={"session": "ann"}).json()
    assert by_name == ask("POST", "/v1/recommend", json={"history": steps, "now": steps[-1]["time"] + 1}).json()
    cold = ask("POST", "/v1/predict", json={"session": "nobody"}).json()
    assert cold["fallback"] == "no_history"
    assert {answer["kind"] for answer in cold["answers"].values()} == {"ranking"}


def test_a_history_is_read_in_the_order_of_its_times(ask: Ask) -> None:
    """A shop that sends the newest first would be answered as if the visit had gone backwards."""
    start = 1_700_000_000_000_000
    steps = [{"item": str(item), "time": start + item} for item in (5, 6, 9)]
    steps.insert(2, {"item": "7"})  # without a time: with the one before it
    right = ask("POST", "/v1/recommend", json={"history": steps}).json()
    turned = {"history": [steps[3], *steps[:3]]}
    assert ask("POST", "/v1/recommend", json=turned).json() == right
    assert ask("POST", "/v1/recommend", json={"history": [{"item": step["item"]} for step in steps]}).json() != right
    refused = ask("POST", "/v1/explain", json={**turned, "output": "next_action"})  # it names steps by their places
    assert (refused.status_code, refused.json()["where"]) == (422, "$.history")
    assert ask("POST", "/v1/explain", json={"history": steps, "output": "next_action"}).status_code == 200


def test_events_of_a_time_to_come_are_counted_and_read_then(ask: Ask) -> None:
    """By a clock that is ahead of the server's."""
    soon = time.time_ns() // 1000 + 60_000_000
    events = [{"item": "5"}, {"item": "6", "time": soon}]
    answer = ask("POST", "/v1/events", json={"session": "ahead", "events": events}).json()
    assert answer == {"kept": 2, "steps": 2, "later": 1}
    now = ask("POST", "/v1/recommend", json={"session": "ahead"}).json()["items"]
    then = ask("POST", "/v1/recommend", json={"session": "ahead", "now": soon + 1}).json()["items"]
    assert now != then


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
        (b'{"history": [{"item": "5", "time": 1700000000}]}', 422, "$.history[0].time"),  # seconds
        (b'{"now": 1700000000000}', 422, "$.now"),  # milliseconds
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


def test_what_stands_in_the_place_of_an_answer_is_not_explained_as_one(ask: Ask) -> None:
    """The model's own list, of a history whose items it does not know, is one that nobody gets."""
    body = {"history": [{"item": "none"}]}
    assert ask("POST", "/v1/recommend", json=body).json()["reason"] == "unknown_items"
    refused = ask("POST", "/v1/explain", json={**body, "output": "next_item"})
    assert (refused.status_code, refused.json()["where"]) == (422, "$.history")
    assert ask("POST", "/v1/explain", json={**body, "output": "next_action"}).status_code == 200, "that is the model's"


def test_several_are_explained_as_each_is_alone(ask: Ask) -> None:
    questions = [{"history": VISIT, "output": "next_item"}, {"history": VISIT[:1], "output": "next_action"}]
    answers = ask("POST", "/v1/explain/batch", json={"questions": questions}).json()["answers"]
    assert answers == [ask("POST", "/v1/explain", json=each).json() for each in questions]
    assert [each["version"] for each in answers] == [1, 1]
    wrong = ask("POST", "/v1/explain/batch", json={"questions": [questions[0], {"history": VISIT, "output": "x"}]})
    assert wrong.status_code == 404
    many = [{"history": VISIT[:1] * 251, "output": "next_action"}] * 2
    refused = ask("POST", "/v1/explain/batch", json={"questions": many})
    assert (refused.status_code, refused.json()["where"]) == (413, "$.questions[1].history"), "502 steps in all"
    refused = ask("POST", "/v1/explain/batch", json={"questions": [questions[1]] * 257})
    assert (refused.status_code, refused.json()["where"]) == (413, "$.questions")


def test_a_history_that_is_too_long_to_be_explained_is_refused(ask: Ask) -> None:
    long = {"history": [{"item": "5"}] * 501, "output": "next_action"}
    assert ask("POST", "/v1/explain", json=long).status_code == 413
    assert ask("POST", "/v1/predict", json={"history": long["history"]}).status_code == 200


def test_events_of_one_name_are_kept_once_and_who_sends_them_again_is_told(served: Served) -> None:
    ask = client(served)

    def told(**words: str) -> Any:
        return ask("POST", "/v1/events", json={"session": "a", "events": VISIT, **words}).json()

    assert told() == {"kept": 2, "steps": 2}
    assert told(name="x") == {"kept": 2, "steps": 4}
    assert told(name="x") == {"kept": 0, "steps": 4, "repeated": ["session"]}
    assert told(name="x", session="b") == {"kept": 2, "steps": 2}
    assert told() == {"kept": 2, "steps": 6}
    # of a customer the name is new, of their visit it is not: the one keeps them, the other does not
    assert told(name="x", customer="c") == {"kept": 2, "steps": 6, "repeated": ["session"]}
    assert told(name="x", customer="c") == {"kept": 0, "steps": 6, "repeated": ["customer", "session"]}


def test_what_takes_long_is_done_apart_and_refused_where_too_much_waits(served: Served) -> None:
    from clickflow.online.http.problems import Refused
    from clickflow.online.http.settings import Apart

    begun, over = threading.Event(), threading.Event()
    apart = Apart("tests", threads=1, most=2)

    def long() -> str:
        begun.set()
        assert over.wait(30)
        return "done"

    async def calls() -> None:
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

    asyncio.run(calls())


def test_observers_see_every_answer_and_no_raw_id(served: Served) -> None:
    seen: list[Answered] = []
    ask = client(served, observers=[seen.append])
    ask("POST", "/v1/recommend", json={"customer": "ann@example.com", "session": "s1"})
    until = time.monotonic() + 60
    while not seen and time.monotonic() < until:
        time.sleep(0.02)
    (observed,) = seen
    assert (observed.model, observed.version, observed.route) == (served.model, 1, "/v1/recommend")
    assert "ann" not in repr(observed)
    assert observed.customer == server.pseudonym(KEY, "customer", "ann@example.com")


def test_where_the_canary_cannot_answer_the_champion_does_and_it_is_counted(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = replace(served.artefact, session=None)
    canary = replace(served, model=canary_of(served.model), version=2, artefact=broken)
    engine = Engine({served.model: served, canary.model: canary})
    settings = Settings(pseudonym=lambda kind, raw: f"{kind} {raw}", choose=lambda model, _: canary_of(model))
    ask = asking(app(engine, state.Memory(subjects=9, steps=9, keep_seconds=60), settings))

    def failed() -> float:
        text = ask("GET", "/metrics").text
        return float(text.split('clickflow_observers_failed_total{observer="canary"} ')[1].split()[0])

    assert failed() == 0, "an alert sees the first one"
    for _ in range(3):
        answer = ask("POST", "/v1/recommend", json={"history": VISIT})
        assert (answer.status_code, answer.json()["version"]) == (200, 1)
    assert failed() == 3
    assert capsys.readouterr().err.count("the champion answers") == 1, "once a minute"
    engine.withdraw(canary.model)  # it has ended, between two words
    assert ask("POST", "/v1/recommend", json={"history": VISIT}).json()["version"] == 1
    assert failed() == 3


def test_a_model_whose_champion_is_not_here_yet_is_no_fault_of_who_names_it(served: Served) -> None:
    ask = client(served, champions=lambda: {"late": 3, served.model: 1})
    answer = ask("POST", "/v1/recommend", json={"model": "late", "history": VISIT})
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/not-ready")
    assert ask("POST", "/v1/recommend", json={"model": "other", "history": VISIT}).status_code == 404
    (model,) = ask("GET", "/v1/models").json()["models"]
    assert model["items"] == len(served.items) - FIRST_ITEM, "padding and the unknown item are none"


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


def test_where_too_many_wait_it_is_said_at_once_when_to_ask_again(served: Served) -> None:
    memory = state.Memory(subjects=9, steps=9, keep_seconds=60)
    settings = Settings(serve=Serve(), pseudonym=lambda kind, raw: server.pseudonym(KEY, kind, raw))
    ask = asking(app(Engine({served.model: served}, most=0), memory, settings))
    for path, body in (("recommend", {}), ("recommend/batch", {"questions": [{}, {}]}), ("score", {"items": ["5"]})):
        refusal = ask("POST", f"/v1/{path}", json=body)
        assert (refusal.status_code, refusal.headers["retry-after"]) == (503, "2")
        assert "too many questions wait" in refusal.json()["detail"]


async def _filled(memory: state.Memory) -> list[int]:
    from clickflow.online.history import Step

    for name in ("a", "b", "a", "c"):
        await memory.append(name, [Step("1", time=1), Step("2", time=2)])
    return [len(await memory.history(name)) for name in ("a", "b", "c")]


def test_memory_is_bounded_and_the_longest_idle_go_first() -> None:
    memory = state.Memory(subjects=2, steps=3, keep_seconds=60)
    assert asyncio.run(_filled(memory)) == [3, 0, 2]
    assert memory.counts == {"subjects": 2, "evicted": 1, "expired": 0}
