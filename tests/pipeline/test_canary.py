"""A canary from its beginning to its end, on a real registry; a server follows the ledger."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from registry_workspace import MODEL, call, candidate, home_of, params_of, with_store, workspace
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "model"))

import online_shop

from clickflow import cli
from clickflow.online.engine import Engine
from clickflow.online.history import Question
from clickflow.online.live import arms, live, log
from clickflow.online.live.log import Log
from clickflow.registry import aliases, champion, ledger
from clickflow.registry.lock import changing
from clickflow.system.errors import UsageError
from clickflow.system.moments import HOUR, of_iso
from clickflow.system.paths import Paths


@pytest.fixture
def here(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Version 1 is champion, version 2 passes the gate and is to be a canary."""
    folder = tmp_path / "shop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CLICKFLOW_ACTOR", "ada")
    monkeypatch.setenv("CLICKFLOW_COMMIT", "c0ffee")
    monkeypatch.setenv("CLICKFLOW_RUN_ID", "run-7")
    paths = with_store(workspace(folder, root))
    candidate(paths, "one")
    call("promote")
    chosen = f"live:\n  canary: [{MODEL}]\n  share: 0.5\n  min_visitors: 20\n"
    paths.params.write_text(paths.params.read_text(encoding="utf-8") + chosen, encoding="utf-8")
    candidate(paths, "two", champion=1, mrr=0.25)
    return paths


def actions(paths: Paths) -> list[tuple[str, int, int]]:
    return [(each.action, each.version, each.champion) for each in ledger.whole(paths)]


def visits(paths: Paths, test: int, clicks: tuple[float, float], number: int) -> int:
    """So many visitors of each version, a share of whom clicks; when all is known."""
    now: int = of_iso(ledger.whole(paths)[-1].time) + HOUR
    own = Log(log.place(paths.home), clock=lambda: now * 1000)
    for each in range(2 * number):
        canary = bool(each % 2)
        row = {"request": f"r{each}", "session_id": f"s{each}", "model": MODEL, "version": 1 + canary, "test": test}
        arm = log.CANARY if canary else log.CHAMPION
        given = {"output": "next_item", "kind": "ranking", "labels": ["a"], "scores": [1.0], "steps": 1, "plain": True}
        own.put("answers", **row, **given, arm=arm, last_item="b", last_action="view")
        if (each // 2) % 100 < 100 * clicks[canary]:
            own.put("outcomes", kind=log.CLICKED, request=f"r{each}", item="a")
    own.flush()
    return now + 72 * HOUR


def test_promote_begins_a_canary_and_a_person_ends_it(here: Paths) -> None:
    call("promote")
    call("promote")
    assert actions(here) == [("promote", 1, 1), ("canary", 2, 1)], "once"
    assert call("canary", "status")["canaries"][MODEL]["call"] == "wait"
    with pytest.raises(UsageError, match="a canary of next_step is on"):
        call("canary", "start", MODEL, "--reason", "again")
    with pytest.raises(UsageError, match="needs a model and a reason"):
        call("canary", "stop", MODEL)
    call("canary", "stop", MODEL, "--reason", "the page is being rebuilt")
    assert call("canary", "status")["canaries"] == {}
    with pytest.raises(UsageError, match="no canary of next_step is on"):
        call("canary", "stop", MODEL, "--reason", "the page is being rebuilt")
    with pytest.raises(UsageError, match=r"began a canary of version 2 .* which was ended"):
        call("promote")
    assert actions(here)[2] == ("stop", 2, 1)
    with pytest.raises(UsageError, match="never let through"):
        call("canary", "start", MODEL, "--version", "9", "--reason", "a try")
    call("canary", "start", MODEL, "--reason", "the page is done")
    assert actions(here)[-1] == ("canary", 2, 1)


@pytest.mark.parametrize(("clicks", "end"), [((0.1, 0.9), ("promote", 2, 2)), ((0.9, 0.1), ("stop", 2, 1))])
def test_the_rule_ends_a_canary(
    here: Paths, clicks: tuple[float, float], end: tuple[str, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = here.params.read_text(encoding="utf-8")
    here.params.write_text(text + f"  metric: {{{MODEL}: ctr}}\n", encoding="utf-8")
    call("promote")
    began = ledger.whole(here)[-1]
    now = visits(here, began.number, clicks, 100)
    monkeypatch.setattr("time.time_ns", lambda: (now - 71 * HOUR) * 1000)
    early = call("canary", "status")["canaries"][MODEL]["why"]
    assert early.startswith("0 and 0 visitors, 20 of each are needed; 100 and 100 more wait"), early
    monkeypatch.setattr("time.time_ns", lambda: now * 1000)
    call("live")
    beside = call("status")["models"][MODEL]["live"]
    assert any(
        line.startswith("version 2, canary: 100 requests of 100 visitors") and f"ctr {clicks[1]:.4f}" in line
        for line in beside
    ), beside
    assert any(line.startswith("version 1, champion beside a canary: 100 requests") for line in beside), beside
    assert f"canary, version 2: {end[0]}" in " ".join(CliRunner().invoke(cli.app, ["status"]).stdout.split())
    verdict = call("canary", "judge")["canaries"][MODEL]
    assert verdict["call"] == end[0], verdict["why"]
    last = ledger.whole(here)[-1]
    assert (last.action, last.version, last.champion) == end
    assert last.facts["canary"] == began.number and last.facts["evidence"]["candidate_visitors"] == 100
    assert call("canary", "judge")["canaries"] == {}
    assert call("status")["models"][MODEL]["champion"]["version"] == end[2]


def test_ctrl_c_leaves_a_whole_change_or_none(here: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    call("promote")

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    stop = ["canary", "stop", MODEL, "--reason", "the page is being rebuilt"]
    with monkeypatch.context() as early:
        early.setattr("clickflow.registry.ledger.note", interrupted)
        assert CliRunner().invoke(cli.app, stop).exit_code == 130
    assert [each[0] for each in actions(here)] == ["promote", "canary"]
    assert call("canary", "status")["canaries"][MODEL]["version"] == 2, "it goes on"
    with monkeypatch.context() as late:
        follow = aliases.follow

        def after_the_line(*given: Any) -> Any:
            return interrupted() if len(actions(here)) == 3 else follow(*given)

        late.setattr("clickflow.registry.aliases.follow", after_the_line)
        assert CliRunner().invoke(cli.app, stop).exit_code == 130
    assert actions(here)[2:] == [("stop", 2, 1)], "the line is there, and counts"
    with pytest.raises(UsageError, match="no canary of next_step is on"):
        call("canary", "stop", MODEL, "--reason", "once more, to see")
    assert call("status")["models"][MODEL]["champion"]["version"] == 1


def test_a_stop_that_waited_ends_the_canary_that_was_meant_and_no_later_one(
    here: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two people stop it, and a third begins another before the second's turn comes."""
    call("promote")
    with monkeypatch.context() as meanwhile:

        def others_first(paths: Paths) -> Any:
            meanwhile.undo()
            call("canary", "stop", MODEL, "--reason", "the first of two")
            call("canary", "start", MODEL, "--reason", "another")
            return changing(paths)

        meanwhile.setattr("clickflow.registry.canary.changing", others_first)
        with pytest.raises(UsageError, match="another canary of next_step has begun since"):
            call("canary", "stop", MODEL, "--reason", "the second of two")
    assert [each[0] for each in actions(here)] == ["promote", "canary", "stop", "canary"]


def test_a_server_that_has_to_fetch_its_champion_first_takes_part_in_the_canary(
    here: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new server, while a canary is on: no model answers yet when it first reads the ledger."""
    served = replace(online_shop.exported(tmp_path / "made"), model=MODEL)
    loaded = "clickflow.online.live.arms.Served.of"
    monkeypatch.setattr(loaded, lambda model, version, *_, **__: replace(served, model=model, version=version))
    call("promote")
    late = arms.Arms(Engine({}), home_of(), lambda *_: tmp_path, shadow=False)
    late.look()
    assert late.canaries == {}
    late.engine.swap(served)
    late.look()
    assert late.canaries[MODEL].version == 2
    assert late.engine.current(arms.canary_of(MODEL)).version == 2


def test_a_server_follows_the_ledger_and_the_shadow_answers_behind_it(
    here: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = replace(online_shop.exported(tmp_path / "made"), model=MODEL)
    fetched: list[int] = []

    def of(model: str, version: int, *_: Any, **__: Any) -> Any:
        fetched.append(version)
        return replace(served, model=model, version=version)

    params = params_of(here)
    monkeypatch.setattr("clickflow.online.live.arms.Served.of", of)
    monkeypatch.setattr(live, "fetched", lambda paths, *which: champion.fetch(params, paths, *which))
    params = replace(params, live=replace(params.live, shadow=1.0))
    kept = live.Live(params, here, Engine({MODEL: served}))
    kept.arms.look()
    assert (kept.arms.canaries, kept.arms.shadows) == ({}, {})
    file, own = ledger.path(here), ledger.path(here).stat()
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"promote", b"bromote", 1))
    kept.arms.look()
    assert "was changed" in kept.wrong()["live ledger"]
    file.write_bytes(whole)
    os.utime(file, ns=(own.st_atime_ns, own.st_mtime_ns))  # as `cp -p` puts a backup in place
    kept.arms.look()
    assert "live ledger" not in kept.wrong()
    call("promote")
    kept.arms.look()
    who = [f"visitor {number}" for number in range(200)]
    answering = {each: kept.choose(MODEL, each) for each in who}
    assert 70 < sum(name != MODEL for name in answering.values()) < 130
    assert kept.engine.current(arms.canary_of(MODEL)).version == 2

    kept._thread.start()
    champions = [each for each in who if answering[each] == MODEL][:5]
    for number, each in enumerate([*champions, champions[0]]):
        if number == len(champions):  # it became champion, and the arms have not looked yet: nobody is compared by it
            kept.engine.swap(replace(served, version=2))
        question = Question((), None)
        kept.observe(
            SimpleNamespace(
                name=MODEL,
                reply=kept.engine.answer(MODEL, question, None),
                question=question,
                rules=None,
                request=f"r{number}",
                session=each,
                customer=None,
                seconds=0.001,
            )
        )
    kept.close()
    rows = log.read(log.place(home_of()), "answers").to_pylist()
    by_arm = {arm: {row["request"] for row in rows if row["arm"] == arm} for arm in (log.CHAMPION, log.SHADOW)}
    assert by_arm[log.SHADOW] == by_arm[log.CHAMPION] == {f"r{number}" for number in range(6)}
    began = ledger.whole(here)[-1].number
    tests = {row["request"]: row["test"] for row in rows if row["arm"] == log.CHAMPION}
    assert tests == {**{f"r{number}": began for number in range(5)}, "r5": 0}
    assert {row["version"] for row in rows if row["arm"] == log.SHADOW} == {2} and kept.unseen == 0

    call("canary", "stop", MODEL, "--reason", "enough was seen")
    kept.arms.look()
    assert {kept.choose(MODEL, each) for each in who} == {MODEL} and fetched == [2]
