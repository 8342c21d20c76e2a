"""`clickflow serve` as a shop starts it: a process with workers, keys, and a Redis that is killed meanwhile."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import servers

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "model"))

import online_shop
from online_shop import MODEL

from clickflow.online.http.server import free_port
from clickflow.registry import ledger
from clickflow.system.files import sha256_folder, write_json

pytestmark = [pytest.mark.platform, pytest.mark.timeout(240)]
VISIT = {"history": [{"item": "5"}, {"item": "6", "action": "cart"}]}


@pytest.fixture(scope="module")
def shop(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout's folder whose home has a champion, and a second version."""
    folder = tmp_path_factory.mktemp("served")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(root / name, folder / name)
    for number in (1, 2):
        artefact = online_shop.exported(tmp_path_factory.mktemp(f"version_{number}"), seed=number).artefact.folder
        shutil.copytree(artefact, folder / ".clickflow/models" / MODEL / str(number))
    crown(folder, 1)
    return folder


def crown(folder: Path, number: int, model: str = MODEL) -> None:
    """A line of the ledger that makes a version champion."""
    path = folder / ".clickflow/ledger.jsonl"
    entries = ledger.read(path)
    line: dict[str, Any] = {"version": number, "champion": number, "reason": "a test"}
    line["previous"] = ledger.standing(entries, model).champion
    line["facts"] = {"artefact_sha256": sha256_folder(folder / ".clickflow/models" / model / str(number))}
    ledger.append(path, entries, action="promote", model=model, **line)


class Server:
    """`clickflow serve`, and what asks it."""

    up = "/readyz"
    """What says that it has begun."""

    def __init__(self, folder: Path, *words: str, **variables: str) -> None:
        env = {**os.environ, "CLICKFLOW_HOME": str(folder / ".clickflow"), **variables}
        command = [sys.executable, "-m", "clickflow.cli", "serve", "--port", "0", *words]
        self.log = folder / "serve.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=out)
        self.client = httpx.Client(base_url=self._address(), timeout=60, trust_env=False)
        self.until(lambda: self.client.get(self.up).status_code == 200)

    def _address(self) -> str:
        self.until(lambda: "answers at" in self.log.read_text())
        url = re.search(r"http://\S+", self.log.read_text())
        assert url
        return url[0]

    def until(self, holds: Any, seconds: float = 60) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if holds():
                    return
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def health(self) -> Any:
        """What it says of itself."""
        return self.client.get("/readyz").json()

    def answers(self, version: int) -> None:
        """Wait until this version answers; each answer until then has to be one."""

        def answered() -> bool:
            answer = self.client.post("/v1/recommend", json=VISIT)
            assert answer.status_code == 200, answer.text
            return bool(answer.json()["version"] == version)

        self.until(answered)

    def end(self, by: int = signal.SIGTERM) -> list[psutil.Process]:
        """Tell it to end while it works on a request, which is answered; the processes that are left."""
        url, body = self.client.base_url, json.dumps({"questions": [VISIT] * 256}).encode()
        head = ["POST /v1/recommend/batch HTTP/1.1", f"Host: {url.netloc.decode()}", "Content-Type: application/json"]
        head += [f"Content-Length: {len(body)}", "Expect: 100-continue", "", ""]
        with socket.create_connection((url.host, url.port), timeout=60) as connection:
            connection.sendall("\r\n".join(head).encode())
            assert connection.recv(1000).startswith(b"HTTP/1.1 100 "), "it waits for the body"
            left = self._end(by, lambda: connection.sendall(body))
            answer = HTTPResponse(connection)
            answer.begin()
            assert answer.status == 200
        return left

    def _end(self, by: int, meanwhile: Callable[[], object] = lambda: None) -> list[psutil.Process]:
        all_of_it = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        self.client.close()
        self.process.send_signal(by)
        meanwhile()
        self.process.wait(60)
        until = time.monotonic() + 20  # who worked for it ends a moment after it
        while (left := [each for each in all_of_it if alive(each)]) and time.monotonic() < until:
            time.sleep(0.05)
        return left


def alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.fixture
def redis() -> Iterator[servers.Server]:
    """One of its own."""
    started = servers.redis()
    started.start()
    yield started
    started.stop()


def send_event(server: Server, person: str, number: int, **more: str) -> httpx.Response:
    step = {"item": str(2 + number % 40), "time": 1_700_000_000_000_000 + number}
    return server.client.post("/v1/events", json={"session": person, "events": [step], **more})


def test_several_workers_share_a_redis_swap_under_load_and_end_with_nothing_left(
    shop: Path, redis: servers.Server
) -> None:
    params = shop / "params.yaml"
    params.write_text(params.read_text() + f"\nserve: {{redis: 'redis://127.0.0.1:{redis.port}/0'}}\n")
    server = Server(shop, "--workers", "2")
    with ThreadPoolExecutor(8) as pool:  # appended by two processes at once: none is lost
        assert {each.status_code for each in pool.map(lambda n: send_event(server, "ann", n), range(200))} == {200}
    assert send_event(server, "ann", 200).json() == {"kept": 1, "steps": 201}

    versions: list[int] = []
    failed: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=server.client.base_url, timeout=60, trust_env=False) as client:
            while not stop.is_set():
                answer = client.post("/v1/recommend", json=VISIT)
                (versions.append(answer.json()["version"]) if answer.status_code == 200 else failed.append(answer.text))

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for each in askers:
        each.start()
    for number in (2, 1):
        crown(shop, number)
        server.until(lambda number=number: versions and set(versions[-20:]) == {number})
    stop.set()
    for each in askers:
        each.join()
    assert not failed
    assert set(versions) == {1, 2}
    explanation = server.client.post("/v1/explain", json={**VISIT, "output": "next_item"}).json()
    assert explanation["version"] == 1
    assert {tuple(each["steps"]) for each in explanation["effects"]} == {(0,), (1,)}

    redis.kill()
    away = server.client.post("/v1/recommend", json={"session": "ann"})
    assert away.status_code == 503
    assert "Redis" in away.json()["detail"]
    assert server.client.post("/v1/recommend", json=VISIT).status_code == 200
    ready = server.client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert "Redis" in ready.json()["wrong"]["state"]
    redis.start()
    assert send_event(server, "ann", 201).json()["steps"] == 202, "what was kept is there again"

    assert redis.process
    os.kill(redis.process.pid, signal.SIGSTOP)  # it takes connections, and answers nobody
    try:
        assert send_event(server, "ann", 202, name="a word").status_code == 503
        assert server.client.post("/v1/recommend", json=VISIT).status_code == 200
        assert "Redis" in server.health()["wrong"]["state"]
        server.until(lambda: 'clickflow_wrong{what="state"} 1.0' in server.client.get("/metrics").text)
    finally:
        os.kill(redis.process.pid, signal.SIGCONT)
    server.until(lambda: server.health()["wrong"] == {})
    again = send_event(server, "ann", 202, name="a word").json()
    assert again == {"kept": 0, "steps": 203, "repeated": ["session"]}, "kept once: it was kept all the same"
    assert send_event(server, "ann", 203, name="another").json() == {"kept": 1, "steps": 204}
    server.until(lambda: 'clickflow_wrong{what="state"} 0.0' in server.client.get("/metrics").text)
    assert server.end() == []


def test_forget_empties_the_redis_and_says_where_none_answers(redis: servers.Server, root: Path) -> None:
    from clickflow.online.history import Step
    from clickflow.online.state import Redis
    from clickflow.params.file import load
    from clickflow.privacy import served
    from clickflow.privacy.people import People, Person

    url = f"redis://127.0.0.1:{redis.port}/0"

    async def left(*append: str) -> list[str]:
        state = Redis(url, steps=9, keep_seconds=60)
        for subject in append:
            await state.append(subject, [Step("1", time=1)])
        names = sorted(await state.subjects("", 9))
        await state.close()
        return names

    params = load(root / "params.yaml", lambda _: None)
    params = replace(params, serve=replace(params.serve, redis=url))
    who = People((Person("name", "ann", frozenset(["id"]), frozenset(["hers"])),), b"k" * 32)
    asyncio.run(left("customer:ann", "session:hers", "session:other", "customer:bob"))
    assert len(served.remove(params, who, dry=True)[0]) == 2
    assert [thing.thing for thing in served.remove(params, who, dry=False)[0]] == [
        "steps of a customer",
        "steps of a session",
    ]
    assert asyncio.run(left()) == ["customer:bob", "session:other"]
    redis.stop()
    ((unreached,),) = (served.remove(params, who, dry=False)[1],)
    assert "does not answer" in unreached


@pytest.fixture
def own(shop: Path, tmp_path: Path) -> Path:
    """A copy of the shop, whose champion is version 1 and whose registry is away."""
    folder = shutil.copytree(shop, tmp_path / "shop")
    shutil.copy(Path(__file__).resolve().parents[2] / "params.yaml", folder)
    shutil.rmtree(folder / ".clickflow/live", ignore_errors=True)
    crown(folder, 1)
    return folder


def flip(file: Path) -> None:
    """One bit of it."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_the_last_good_champion_answers_where_files_are_corrupt_and_the_registry_is_away(own: Path) -> None:
    crown(own, 2)
    second = own / ".clickflow/models" / MODEL / "2/model.onnx"
    flip(second)
    server = Server(own, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    server.answers(1)
    server.until(lambda: "cannot be loaded" in server.health()["wrong"].get(MODEL, ""))
    health = server.health()
    assert health["status"] == "degraded"
    assert "version 1 goes on answering" in health["wrong"][MODEL]
    assert "MLFLOW_TRACKING_URI" in health["next"][MODEL]
    flip(second)
    server.answers(2)
    server.until(lambda: MODEL not in server.health()["wrong"])
    flip(second)  # below the version that answers
    server.until(lambda: "have changed" in server.health()["wrong"].get(MODEL, ""))
    server.answers(2)
    crown(own, 1)  # rolled back, while the registry is away
    server.answers(1)
    server.until(lambda: MODEL not in server.health()["wrong"])
    of_it = psutil.Process(server.process.pid).children()
    (worker,) = [each for each in of_it if "resource_tracker" not in str(each.cmdline())]
    worker.kill()
    server.until(lambda: server.client.get("/readyz").status_code == 200 and not worker.is_running())
    server.answers(1)
    assert server.end(signal.SIGINT) == []


def test_a_registry_that_takes_connections_and_never_answers_holds_nothing_up(own: Path) -> None:
    """Not at a start with a canary that only it has, nor a rollback while a champion is waited for."""
    models = own / ".clickflow/models" / MODEL
    path = own / ".clickflow/ledger.jsonl"
    facts = {"artefact_sha256": sha256_folder(models / "2"), "share": 1.0}
    line: dict[str, Any] = {"version": 2, "champion": 1, "previous": 0, "reason": "a test", "facts": facts}
    shutil.move(models / "2", own / "aside")
    ledger.append(path, ledger.read(path), action="canary", model=MODEL, **line)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        server = Server(own, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{mute.getsockname()[1]}")
        server.answers(1)
        shutil.copytree(own / "aside", models / "2")
        crown(own, 2)
        server.answers(2)
        shutil.move(models / "1", own / "first")
        crown(own, 1)  # which only the registry has
        server.until(lambda: 'clickflow_champion_version{model="next_step"} 1.0' in server.client.get("/metrics").text)
        assert server.client.post("/v1/recommend", json=VISIT).json()["version"] == 2
        crown(own, 2)
        server.until(lambda: 'clickflow_champion_version{model="next_step"} 2.0' in server.client.get("/metrics").text)
        assert server.end() == [], "who still fetches ends with who asked for it"


def test_a_full_disk_costs_no_answer_and_what_waited_is_written_when_there_is_room(own: Path) -> None:
    from clickflow.events.pseudonyms import load_key
    from clickflow.params.file import load
    from clickflow.system.paths import Paths
    from clickflow.tracking import mlflow_client, registered_models

    home = own / ".clickflow"
    disk = own / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        shutil.move(home, disk / "home")
        home.symlink_to(disk / "home")
        uri = f"sqlite:///{own}/mlflow.db"
        with pytest.MonkeyPatch.context() as set_:
            set_.setenv("MLFLOW_TRACKING_URI", uri)
            set_.setenv("CLICKFLOW_HOME", str(home))
            store = mlflow_client.connect(load(own / "params.yaml"), Paths(own))
            for number in (1, 2):
                folder = home / "models" / MODEL / str(number)
                tags = {"content_sha256": sha256_folder(folder), "artefact_sha256": sha256_folder(folder)}
                files = {registered_models.EXPORTED: folder}
                registered_models.register(store, MODEL, files, tags=tags, metrics={}, title="a", description="")
        load_key(home)
        crown(own, 2)
        shutil.rmtree(home / "models" / MODEL / "2")
        filler = disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"0" * 4096):
                pass
        server = Server(own, MLFLOW_TRACKING_URI=uri)
        server.until(lambda: {MODEL, "live log"} <= server.health()["wrong"].keys() if answers_both(server) else False)
        health = server.health()
        assert "No space left" in health["wrong"][MODEL] + health["wrong"]["live log"]
        assert "version 1" in health["wrong"][MODEL]
        assert "space" in health["next"]["live log"]
        filler.unlink()
        server.answers(2)
        server.until(lambda: not {MODEL, "live log"} & server.health()["wrong"].keys())
        assert server.end() == []
        assert list((home / "live").rglob("*.parquet"))
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def answers_both(server: Server) -> bool:
    """A question, and an event of a session, are answered."""
    answer = server.client.post("/v1/recommend", json=VISIT)
    assert answer.status_code == 200, answer.text
    return send_event(server, "eve", 1).status_code == 200


@pytest.mark.skipif(not shutil.which("prometheus"), reason="no Prometheus here: apt-get install prometheus")
def test_prometheus_fills_every_panel_and_alerts_fire_of_real_faults(shop: Path, root: Path, tmp_path: Path) -> None:
    server = Server(shop)
    assert server.client.post("/v1/recommend", json=VISIT).status_code == 200
    folder, port = tmp_path / "monitoring", free_port("127.0.0.1")
    shutil.copytree(root / "docker/monitoring", folder)
    config = folder / "prometheus.yml"
    text = config.read_text().replace("127.0.0.1:8600", server.client.base_url.netloc.decode())
    config.write_text(text.replace("15s", "1s"))
    rules = folder / "alerts.yml"
    rules.write_text(re.sub(r"^( +for): .*", r"\1: 1s", rules.read_text(), flags=re.MULTILINE))
    own = [
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (tmp_path / "prometheus.log").open("wb") as out:
        prometheus = subprocess.Popen(["prometheus", *own], stdout=out, stderr=out)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=60, trust_env=False) as client:

            def query_prometheus(query: str) -> Any:
                return client.get("/query", params={"query": query}).json()

            def answers() -> bool:
                versions = query_prometheus("clickflow_serving_version")["data"]["result"]
                rules = [rule for group in client.get("/rules").json()["data"]["groups"] for rule in group["rules"]]
                return bool(versions) and len(rules) == 15 and {rule["health"] for rule in rules} == {"ok"}

            ready = f"http://127.0.0.1:{port}/-/ready"
            server.until(lambda: httpx.get(ready, trust_env=False).status_code == 200)
            server.until(answers)
            server.until(lambda: query_prometheus("up")["data"]["result"][0]["value"][1] == "1")  # of the last second
            board = json.loads((folder / "dashboard.json").read_text())
            panels = [(panel["title"], each["expr"]) for panel in board["panels"] for each in panel.get("targets", ())]

            def shown(expression: str) -> Any:
                filled = expression.replace("$job", "clickflow").replace("$__rate_interval", "1m")
                return query_prometheus(re.sub(r"\$\w+", ".*", filled))

            for expression in [*(each for _, each in panels), *(each["expr"] for each in board["annotations"]["list"])]:
                assert shown(expression)["status"] == "success", expression
            # of a server that has no fault: `no data` would look like a server that is not asked
            for title, expression in panels:
                if title in ("Requests a second", "Errors", "Version that answers, and champion", "Rows that wait"):
                    server.until(lambda each=expression: shown(each)["data"]["result"])

            def fires(*names: str) -> bool:
                alerts = client.get("/alerts").json()["data"]["alerts"]
                return set(names) <= {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

            says = {"newest_event": "2026-01-01T00:00:00+00:00", "stale": True, "models": {MODEL: {"retrain": True}}}
            written = shop / "reports/watch/watch.json"
            write_json(written, says)
            os.utime(written, (time.time() - 300_000,) * 2)
            server.until(lambda: fires("ClickflowDataMoved", "ClickflowDataStale", "ClickflowWatchOld"))
            ledger_file, kept = shop / ".clickflow/ledger.jsonl", (shop / ".clickflow/ledger.jsonl").read_bytes()
            away: dict[str, Any] = {"version": 9, "champion": 9, "previous": 1, "reason": "a test", "facts": {}}
            ledger.append(ledger_file, ledger.read(ledger_file), action="promote", model=MODEL, **away)
            server.until(
                lambda: (
                    server.client.post("/v1/recommend", json=VISIT).status_code == 200
                    and fires("ClickflowChampionWaits", "ClickflowDegraded", "ClickflowReportOld")
                )
            )
            ledger_file.write_bytes(kept)
            left = server.end()
            until = time.monotonic() + 60
            while not fires("ClickflowDown"):
                assert time.monotonic() < until
                time.sleep(0.2)
    finally:
        prometheus.terminate()
        prometheus.wait(60)
    assert left == []


def test_another_address_than_loopback_needs_a_key(shop: Path) -> None:
    env = {**os.environ, "CLICKFLOW_HOME": str(shop / ".clickflow")}
    command = [sys.executable, "-m", "clickflow.cli", "serve", "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(command, cwd=shop, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "--new-key" in done.stderr
