"""`clickflow serve`: who may ask, and how often."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import online_shop
import pytest
from http_app import VISIT, client

from clickflow.online.http import keys, server
from clickflow.online.served import Served
from clickflow.params.serve import Serve


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A model that answers."""
    return online_shop.exported(tmp_path_factory.mktemp("serve"))


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
    ask_by_variable = client(served, "shop.example", keys=server.Keys(tmp_path / "none").now)
    assert ask_by_variable("GET", "/v1/models", headers={"x-api-key": "k" * 32}).status_code == 200
    own = {"authorization": f"Bearer {key}"}
    assert ask("GET", "/v1/models", headers=own).status_code == 200
    refusal = ask("POST", "/v1/events", headers=own, json={"session": "a", "events": VISIT})
    assert refusal.status_code == 403
    assert "events" in refusal.json()["detail"]
    assert ask("GET", "/healthz").status_code == 200


def test_keys_that_are_made_at_once_all_stay(tmp_path: Path) -> None:
    names = [f"shop-{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        new_keys = list(pool.map(lambda name: keys.make(tmp_path, name, ("read",)), names))
    held = keys.load(tmp_path)
    assert {held[keys.hashed(key)].name for key in new_keys} == set(names)


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
        assert ask("GET", "/v1/models", headers=own).status_code == 200, "the earlier ones still hold"
        assert "the earlier ones still hold" in held.wrong
    again = server.Keys(tmp_path, shut=True)  # a worker that is started again
    assert client(served, "localhost", keys=again.now)("GET", "/v1/models", headers=own).status_code == 401
    key = keys.make(tmp_path, "shop", ("read",))
    assert ask("GET", "/v1/models", headers={"authorization": f"Bearer {key}"}).status_code == 200
    assert held.wrong == ""


def test_keys_that_cannot_be_read_open_no_server_that_had_not_read_them_yet(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of several workers on loopback, which was asked nothing since the first key was made."""
    monkeypatch.setattr(server, "KEYS_AGE", 0)
    held = server.Keys(tmp_path)
    ask = client(served, "localhost", keys=held.now)
    assert ask("GET", "/v1/models").status_code == 200
    keys.make(tmp_path, "shop", ("read",))
    file = keys.file_of(tmp_path)
    whole = file.read_bytes()
    file.write_text("{", encoding="utf-8")
    assert ask("GET", "/v1/models").status_code == 401
    assert "nobody is let in until then" in held.wrong
    file.write_bytes(whole)
    assert ask("GET", "/v1/models").status_code == 401, "a key is needed"
    assert held.wrong == ""
    file.unlink()
    assert ask("GET", "/v1/models").status_code == 200


def test_a_key_asks_as_often_as_it_may(served: Served) -> None:
    ask = client(served, serve={"rate": 0.01, "burst": 2})
    answers = [ask("POST", "/v1/recommend", json={}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[-1].headers["retry-after"]) > 1


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


def test_what_one_did_is_named_to_who_may_see_people_alone(served: Served, tmp_path: Path) -> None:
    own = {
        name: keys.make(tmp_path, name, scopes)
        for name, scopes in {"shop": ("read", "events"), "ann": ("read", "people")}.items()
    }
    ask = client(served, "shop.example", keys=server.Keys(tmp_path).now)
    headers = {name: {"authorization": f"Bearer {key}"} for name, key in own.items()}
    ask(
        "POST", "/v1/events", headers=headers["shop"], json={"session": "eve", "events": [{"item": "a secret"}, *VISIT]}
    )
    for name, some in (("shop", []), ("ann", ["a secret"])):
        answer = ask(
            "POST", "/v1/recommend", headers=headers[name], json={"session": "eve", "exclude": ["gone"]}
        ).json()
        assert answer["unknown"][0] == {"where": "history", "count": 1, "some": some}
        assert answer["unknown"][1]["some"] == ["gone"], "what it asks itself"
    sent = ask("POST", "/v1/recommend", headers=headers["shop"], json={"history": [{"item": "new"}]}).json()
    assert sent["unknown"][0]["some"] == ["new"]
