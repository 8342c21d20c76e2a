"""Which version answers online: the champion of the ledger, or the last good one where that cannot be had."""

import asyncio
import gc
import json
import shutil
import subprocess
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import httpx
import online_shop
import pytest
from online_shop import MODEL

import mlflow_database
from clickflow.online.champions import Champions
from clickflow.online.engine import Engine
from clickflow.online.history import Question, Step
from clickflow.online.http.app import app
from clickflow.online.http.settings import Settings
from clickflow.online.ranking import Rules
from clickflow.online.state import Memory
from clickflow.online.why.explain import explain
from clickflow.params.file import load
from clickflow.registry import ledger
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.files import sha256_folder
from clickflow.system.paths import Paths
from clickflow.tracking import mlflow_client, registered_models

QUESTION = Question((Step("5", time=1_000_000), Step("6", time=9_000_000)))


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two of one shop."""
    folders = [tmp_path_factory.mktemp(f"version_{seed}") for seed in (0, 1)]
    return [online_shop.exported(folder, seed=seed).artefact.folder for seed, folder in enumerate(folders)]


@pytest.fixture
def paths(artefacts: list[Path], tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A home that holds both as versions 1 and 2, of which 1 is champion."""
    monkeypatch.setenv("CLICKFLOW_HOME", str(tmp_path / "home"))
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(root / name, tmp_path / name)
    paths = Paths(tmp_path)
    for number, folder in enumerate(artefacts, start=1):
        shutil.copytree(folder, paths.home / "models" / MODEL / str(number))
    crown(paths, artefacts, 1)
    return paths


def crown(paths: Paths, artefacts: list[Path], number: int) -> None:
    """A line of the ledger that makes a version champion."""
    entries = ledger.read(ledger.path(paths))
    facts = {"artefact_sha256": sha256_folder(artefacts[number - 1])}
    now = ledger.standing(entries, MODEL).champion
    line = {"version": number, "champion": number, "previous": now, "reason": "a test", "facts": facts}
    ledger.note(paths, entries, action="promote", model=MODEL, **line)


def champions(paths: Paths, **settings: object) -> tuple[Engine, Champions]:
    engine = Engine({})
    current = Champions(engine, load(paths.params), paths, models=[MODEL], **settings)  # type: ignore[arg-type]
    current.refresh()
    return engine, current


def away(model: str, version: int) -> Path:
    raise ClickflowError(f"the registry cannot be reached for {model} {version}")


def test_a_champion_that_is_fetched_first_is_told_of_without_alarm(
    paths: Paths, artefacts: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The first start after the first promotion; a folder that was changed is a reason for a warning."""
    folder = paths.home / "models" / MODEL / "1"
    for spoilt in (False, True):
        (folder / "model.onnx").write_bytes(b"not a model") if spoilt else shutil.move(folder, paths.home / "aside")
        current = Champions(Engine({}), load(paths.params), paths, models=[MODEL])
        current.refresh_here()
        assert current.health()[MODEL].next == "wait: it is fetched from the registry"
        assert ("not as it was recorded" in current.health()[MODEL].problem) == spoilt
        stderr = capsys.readouterr().err
        assert ("warning" in stderr) == spoilt
        assert MODEL in stderr
        if not spoilt:
            shutil.move(paths.home / "aside", folder)


def test_a_new_champion_is_swapped_in_and_back(paths: Paths, artefacts: list[Path]) -> None:
    engine, current = champions(paths)
    first = engine.answer(MODEL, QUESTION)
    assert (first.version, current.health()[MODEL].problem) == (1, "")
    crown(paths, artefacts, 2)
    current.refresh()
    second = engine.answer(MODEL, QUESTION)
    assert second.version == current.health()[MODEL].serving == 2
    assert second.rankings["next_item"].scores != first.rankings["next_item"].scores
    crown(paths, artefacts, 1)
    current.refresh()
    assert engine.answer(MODEL, QUESTION).rankings["next_item"] == first.rankings["next_item"]


def test_health_of_a_server_without_a_champion_says_where_the_gate_told_why() -> None:
    """Promote had held the first candidate, and health said to promote it."""
    application = app(
        Engine({}), Memory(subjects=1, steps=1, keep_seconds=1), Settings(pseudonym=lambda _, raw: raw, wrong=dict)
    )

    async def readiness() -> httpx.Response:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get("/readyz")

    answer = asyncio.run(readiness())
    assert answer.status_code == 503
    assert answer.json()["next"]["models"].endswith("where the gate holds a candidate `clickflow status` says why")


def test_a_version_that_is_swapped_out_goes_without_the_collector(paths: Paths, artefacts: list[Path]) -> None:
    """Which does not look through what was frozen at a swap before: that would hold up who answers."""
    engine, current = champions(paths)
    gc.disable()
    try:
        for number, other in ((1, 2), (2, 1)):
            served = engine.current(MODEL)
            assert served.version == number
            within, items = Rules(k=3, categories=frozenset({"a"}), price=(0.0, 1e9)), served.items
            for rules in (Rules(k=3), within, Rules(k=3, exclude_seen=True)):
                engine.answer(MODEL, QUESTION, rules)
            explain(served, QUESTION, "next_item")
            assert items.said(2) is not None and len(items.shares(None)) == len(items.popular) + 2
            gone = [weakref.ref(each) for each in (served, served.items, served.artefact.session)]
            del served, items
            crown(paths, artefacts, other)
            current.refresh()
            assert engine.current(MODEL).version == other
            assert [each() for each in gone] == [None] * 3
    finally:
        gc.enable()


def test_no_request_fails_while_champions_are_swapped_and_rolled_back(paths: Paths, artefacts: list[Path]) -> None:
    engine, current = champions(paths)
    application = app(
        engine,
        Memory(subjects=10, steps=10, keep_seconds=60),
        Settings(pseudonym=lambda _, raw: raw, wrong=dict),
    )

    async def answers_meanwhile() -> list[tuple[int, int]]:
        given: list[tuple[int, int]] = []
        over = asyncio.Event()

        async def ask(client: httpx.AsyncClient, path: str, body: object) -> None:
            while not over.is_set():
                answer = await client.post(path, json=body)
                given.append((answer.status_code, answer.json().get("version")))

        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            question = {"history": [{"item": "5"}, {"item": "6"}]}
            askers = [
                asyncio.create_task(ask(client, f"/v1/{path}", question)) for path in ("recommend", "predict") * 2
            ]
            for number in (2, 1, 2, 1):
                crown(paths, artefacts, number)
                await asyncio.to_thread(current.refresh)
                before = len(given)
                while len(given) < before + 20:
                    await asyncio.sleep(0.005)
                assert {version for _, version in given[-8:]} == {number}
            over.set()
            await asyncio.gather(*askers)
        return given

    given = asyncio.run(answers_meanwhile())
    assert {status for status, _ in given} == {200}
    assert {version for _, version in given} == {1, 2}


def test_the_last_good_champion_goes_on_where_the_new_one_cannot_be_had(
    paths: Paths, artefacts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, current = champions(paths)
    model = paths.home / "models" / MODEL / "2" / "model.onnx"
    model.write_bytes(b"not a model")
    crown(paths, artefacts, 2)
    current._fetch = away
    current.refresh()
    standing = current.health()[MODEL]
    assert (standing.champion, standing.serving) == (2, 1)
    assert "version 2, the champion, cannot be loaded: the registry cannot be reached" in standing.problem
    assert "version 1 goes on answering" in standing.problem
    assert engine.answer(MODEL, QUESTION).version == 1

    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    again, beside = champions(paths, fetch=full)  # a server that starts while the champion cannot be had
    assert "No space left on device; version 1 goes on answering" in beside.health()[MODEL].problem
    assert beside.health()[MODEL].next.startswith("free some space")
    assert again.answer(MODEL, QUESTION).version == 1
    with ledger.path(paths).open("ab") as file:
        file.write(b"{}\n")
    current.refresh()
    assert "the ledger was changed" in current.health()[MODEL].problem
    assert engine.answer(MODEL, QUESTION).version == 1


def test_a_ledger_cut_back_to_what_was_true_once_is_said_and_changes_no_answer(
    paths: Paths, artefacts: list[Path]
) -> None:
    """Every hash and signature of what is left holds: git has kept what was its newest line."""
    subprocess.run(["git", "init", "--quiet", paths.root], check=True)
    crown(paths, artefacts, 2)
    engine, current = champions(paths)
    assert (current.health()[MODEL].serving, current.health()[MODEL].problem) == (2, "")
    file = ledger.path(paths)
    whole = file.read_bytes()
    file.write_bytes(whole.splitlines(keepends=True)[0])
    current.refresh()
    assert "the ledger lost lines: git keeps line 2" in current.health()[MODEL].problem
    assert engine.answer(MODEL, QUESTION).version == 2
    _, fresh = champions(paths)
    assert "the ledger lost lines" in fresh.health()[MODEL].problem, "a server that starts then says so too"
    file.write_bytes(whole)
    current.refresh()
    assert (current.health()[MODEL].serving, current.health()[MODEL].problem) == (2, "")


def test_a_registry_that_never_answers_holds_up_no_rollback_and_health_says_how_long(
    paths: Paths, artefacts: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("clickflow.online.champions.SLOW", 0.0)
    called, over, stop = threading.Event(), threading.Event(), threading.Event()

    def hanging(model: str, version: int) -> Path:
        called.set()
        assert over.wait(60)
        return paths.home / "aside"

    def until(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < deadline, current.health()
            time.sleep(0.01)

    engine, current = champions(paths, fetch=hanging)
    shutil.move(paths.home / "models" / MODEL / "2", paths.home / "aside")
    crown(paths, artefacts, 2)
    following = threading.Thread(target=current.follow, args=(0.02, stop))
    following.start()
    try:
        assert called.wait(30)
        until(lambda: "have been waited for version 2" in current.health()[MODEL].problem)
        standing = current.health()[MODEL]
        assert (standing.champion, standing.serving) == (2, 1)
        assert "version 1 goes on answering" in standing.problem
        until(lambda: "have been waited for version 2" in capsys.readouterr().err)
        crown(paths, artefacts, 1)  # rolled back meanwhile
        until(lambda: current.health()[MODEL].champion == 1)
        assert current.health()[MODEL].problem == ""
        over.set()
        until(lambda: not current._asking.locked())
        assert engine.answer(MODEL, QUESTION).version == 1, "what came late is not champion any more"
    finally:
        over.set()
        stop.set()
        following.join(30)


def test_a_whole_artefact_that_is_no_model_here_leaves_the_last_good_champion(
    paths: Paths, artefacts: list[Path]
) -> None:
    """Such as one that a later version of this program made: its bytes are those of the ledger."""
    engine, current = champions(paths)
    folder = paths.home / "models" / MODEL / "2"
    card = json.loads((folder / "card.json").read_text())
    del card["actions"], card["outputs"]
    (folder / "card.json").write_text(json.dumps(card))
    crown(paths, [artefacts[0], folder], 2)
    current.refresh()
    assert "version 2, the champion, cannot be loaded" in current.health()[MODEL].problem
    assert engine.answer(MODEL, QUESTION).version == 1
    again, _ = champions(paths)
    assert again.answer(MODEL, QUESTION).version == 1


def test_files_that_change_below_a_champion_are_told_of(paths: Paths) -> None:
    engine, current = champions(paths)
    model = paths.home / "models" / MODEL / "1" / "model.onnx"
    whole = model.read_bytes()
    model.write_bytes(whole[:-1])
    current.refresh()
    assert "have changed since it was loaded" in current.health()[MODEL].problem
    assert engine.answer(MODEL, QUESTION).version == 1
    model.write_bytes(whole)
    current.refresh()
    assert current.health()[MODEL].problem == ""


def test_a_folder_that_is_removed_below_a_champion_as_health_asks_is_fetched_again(
    paths: Paths, artefacts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it cannot be had, memory goes on answering, and health says what is in the way."""
    monkeypatch.setattr("clickflow.online.champions.FIRST_PAUSE", 0.0)
    home = paths.home / "models" / MODEL / "1"
    come: list[Path] = []

    def fetch(model: str, version: int) -> Path:
        return Path(shutil.copytree(come[0], home)) if come else away(model, version)

    engine, current = champions(paths, fetch=fetch)
    (home / "model.onnx").write_bytes(b"spoilt")
    current.refresh()
    assert "remove the folder" in current.health()[MODEL].next
    assert (home / "model.onnx").read_bytes() == b"spoilt", "what was changed is somebody's to look at"
    shutil.rmtree(home)
    current.refresh()
    assert "the registry cannot be reached" in current.health()[MODEL].problem
    assert engine.answer(MODEL, QUESTION).version == 1
    come.append(artefacts[0])
    current.refresh()
    assert current.health()[MODEL].problem == ""
    assert sha256_folder(home) == sha256_folder(artefacts[0])
    assert engine.answer(MODEL, QUESTION).version == 1


def test_a_champion_that_only_the_registry_has_is_fetched_by_another_process(
    paths: Paths, artefacts: list[Path]
) -> None:
    mlflow_database.empty_into(paths.home)
    store = mlflow_client.connect(load(paths.params), paths)
    hashed = sha256_folder(artefacts[0])
    registered_models.register(
        store,
        MODEL,
        {registered_models.EXPORTED: artefacts[0]},
        tags={"content_sha256": hashed, "artefact_sha256": hashed},
        metrics={},
        title="a test",
        description="",
    )
    shutil.rmtree(paths.home / "models")
    engine, current = champions(paths)
    assert current.health()[MODEL].problem == ""
    assert engine.answer(MODEL, QUESTION).version == 1


def test_without_a_champion_nobody_answers_and_health_says_why(paths: Paths) -> None:
    engine, current = champions(paths, fetch=away)
    shutil.rmtree(paths.home)
    current.refresh()
    assert "has no champion" in current.health()[MODEL].problem
    assert current.health()[MODEL].waiting
    with pytest.raises(UsageError, match="no model"):
        engine.current(MODEL)
