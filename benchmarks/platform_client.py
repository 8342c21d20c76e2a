"""A running platform as tests and benchmarks see it: REST API, command line, processes. Nothing of its inside.

def test_something(platform: Platform) -> None:
    run = platform.trigger("retrain", {"note": "mine"})
    assert platform.wait("retrain", run, timeout=180) == "success"
    assert platform.tasks("retrain", run)["promote"]["state"] == "success"
"""

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from clickflow.orchestration import overrides
from clickflow.params import patch

SMALL = {
    "simulator.events": 10_000,
    "simulator.items": 200,
    "simulator.categories": 10,
    "simulator.days": 14,
    "models.next_step.encoder.units": 16,
    "models.next_step.encoder.hand_made": False,
    "models.next_step.budget.epochs": 1,
    "evaluation.bootstrap": 50,
    "evaluation.baselines": ["popularity"],
    "evaluation.action_baselines": ["majority"],
    "gate.floors": {"mrr@20": 0.01},
    "gate.beat_baselines": {},
    "gate.max_calibration_error": 1.0,
}
"""Params that the clone of a platform has committed, with one model: a run takes under a minute, and its candidate is
promoted.
"""

DONE = {"success", "failed"}

_OURS = ("CLICKFLOW_", "AIRFLOW", "_AIRFLOW", "MLFLOW_")

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Platform:
    """A platform started by `clickflow up` in a clone of this repository, with a home of its own."""

    clone: Path
    home: Path
    env: dict[str, str]
    airflow: str = ""
    mlflow: str = ""
    _tokens: dict[str, str] = field(default_factory=dict)

    # The command line

    def command(self, *words: str, timeout: float = 300, **env: str) -> "subprocess.CompletedProcess[str]":
        """`clickflow …` in the clone, with the clone's code; `env` adds variables."""
        return subprocess.run(
            [sys.executable, "-m", "clickflow.cli", *words],
            cwd=self.clone,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def up(self, **env: str) -> dict[str, Any]:
        """`clickflow up --json`: what it says. Fails where it does not come up."""
        done = self.command("up", "--json", timeout=960, **env)
        assert done.returncode == 0, done.stderr
        started: dict[str, Any] = json.loads(done.stdout)
        self.airflow, self.mlflow = started["airflow"], started["mlflow"]
        self._tokens.clear()
        return started

    def down(self) -> None:
        """`clickflow down`. Fails where a process is left."""
        done = self.command("down")
        left = {process: _command(process) for process in self.processes()}
        assert done.returncode == 0, done.stderr
        assert not left, left

    def services(self) -> dict[str, dict[str, Any]]:
        """The services by name, as `clickflow ps --json` says: healthy, words, process, memory, url."""
        content: dict[str, dict[str, Any]] = json.loads(self.command("ps", "--json").stdout)["services"]
        return content

    # The repository

    @contextlib.contextmanager
    def committed(self, values: Mapping[str, Any]) -> Iterator[None]:
        """Other params in a commit, and in the end those from before: what a run may not set for itself."""
        file = self.clone / "params.yaml"
        was = file.read_text(encoding="utf-8")
        self._commit(overrides.apply(was, values))
        try:
            yield
        finally:
            self._commit(was)

    def _commit(self, params: str) -> None:
        (self.clone / "params.yaml").write_text(params, encoding="utf-8")
        identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        subprocess.run(["git", *identity, "commit", "--quiet", "--all", "-m", "params"], cwd=self.clone, check=True)

    # MLflow

    def mlflow_password(self, user: str = "reader") -> str:
        """The generated password."""
        return str(json.loads((self.home / "platform/mlflow.json").read_text())[user])

    def mlflow_request(self, url: str, user: str = "reader") -> urllib.request.Request:
        """A request to MLflow by one of its users."""
        login = base64.b64encode(f"{user}:{self.mlflow_password(user)}".encode()).decode()
        return urllib.request.Request(url, headers={"Authorization": f"Basic {login}"})

    # The REST API

    def password(self, user: str = "admin") -> str:
        """The generated password."""
        return str(json.loads((self.home / "platform/passwords.json").read_text())[user])

    def token(self, user: str = "admin") -> str:
        """A token for the REST API, also for a browser's `_token` cookie."""
        if user not in self._tokens:
            status, answer = self._send("POST", "/auth/token", {"username": user, "password": self.password(user)}, "")
            assert status == 201, answer
            self._tokens[user] = answer["access_token"]
        return self._tokens[user]

    def request(self, method: str, path: str, body: Any = None, *, user: str = "admin") -> tuple[int, Any]:
        """Status and answer of `path`, below `/api/v2` unless it names another root (`/auth/…`, `/edge_worker/…`)."""
        rooted = path.startswith(("/api/", "/auth/", "/edge_worker/", "/execution/"))
        return self._send(method, path if rooted else f"/api/v2{path}", body, self.token(user))

    def get(self, path: str, **query: Any) -> Any:
        """The answer to a GET that must succeed."""
        status, answer = self.request("GET", path + (f"?{urlencode(query)}" if query else ""))
        assert status == 200, (path, answer)
        return answer

    def trigger(self, dag: str, conf: Mapping[str, Any] | None = None, **fields: Any) -> str:
        """Start a DAG run by hand; its id. Fails where Airflow refuses: use `request` to see a refusal."""
        body = {"logical_date": None, "conf": dict(conf or {}), **fields}
        status, answer = self.request("POST", f"/dags/{dag}/dagRuns", body)
        assert status == 200, answer
        return str(answer["dag_run_id"])

    def run(self, dag: str, run: str) -> dict[str, Any]:
        """The DAG run as the API shows it."""
        state: dict[str, Any] = self.get(f"/dags/{dag}/dagRuns/{quote(run)}")
        return state

    def wait(self, dag: str, run: str, *, timeout: float) -> str:
        """Wait until the DAG run is done; `success` or `failed`. Fails, with the tasks' states, where it takes longer.

        An API server that is down for a while is waited for too.
        """
        self.until(lambda: self.run(dag, run)["state"] in DONE, timeout, lambda: self.states(dag, run))
        return str(self.run(dag, run)["state"])

    def tasks(self, dag: str, run: str) -> dict[str, dict[str, Any]]:
        """The task instances by id, as the API shows them: state, try_number, queue, executor, duration, …"""
        listed = self.get(f"/dags/{dag}/dagRuns/{quote(run)}/taskInstances", limit=100)["task_instances"]
        return {task["task_id"]: task for task in listed}

    def states(self, dag: str, run: str) -> dict[str, str | None]:
        """The state of each task."""
        return {name: task["state"] for name, task in self.tasks(dag, run).items()}

    def wait_for_task(self, dag: str, run: str, task: str, *states: str, timeout: float) -> str:
        """Wait until a task is in one of `states`; which one."""
        self.until(lambda: self.states(dag, run).get(task) in states, timeout, lambda: self.states(dag, run))
        return str(self.states(dag, run)[task])

    def log(self, dag: str, run: str, task: str, attempt: int = 1) -> str:
        """What a task has said, a line each."""
        answer = self.get(
            f"/dags/{dag}/dagRuns/{quote(run)}/taskInstances/{quote(task)}/logs/{attempt}", full_content="true"
        )
        content = answer["content"]
        lines = [line.get("event", "") if isinstance(line, dict) else str(line) for line in content]
        return "\n".join(lines) if isinstance(content, list) else str(content)

    def until(
        self, holds: Callable[[], Any], timeout: float, otherwise: Callable[[], Any] = lambda: "", *, pause: float = 0.5
    ) -> None:
        """Wait until `holds()` is true; servers that do not answer meanwhile are waited for. Fails after `timeout`."""
        deadline = time.monotonic() + timeout
        while True:
            with contextlib.suppress(OSError, AssertionError, KeyError, ValueError):
                if holds():
                    return
            if time.monotonic() > deadline:
                with contextlib.suppress(OSError):
                    raise AssertionError(f"not so after {timeout:.0f} s: {otherwise()}")
                raise AssertionError(f"not so after {timeout:.0f} s, and the API server does not answer")
            time.sleep(pause)

    # The processes

    def processes(self, service: str = "") -> list[int]:
        """The platform's processes (of one service, its tasks' and their stages' included), by their environment."""
        wanted = {f"CLICKFLOW_PLATFORM={self.home / 'platform'}"}
        if service:
            wanted.add(f"CLICKFLOW_SERVICE={service}")
        ids = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if wanted <= set((folder / "environ").read_bytes().decode(errors="replace").split("\0")):
                    ids.append(int(folder.name))
        return sorted(ids)

    def kill(self, service: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Kill the main process of a service, as supervisord knows it; which one that was."""
        process = int(self.services()[service]["process"])
        os.kill(process, number)
        return process

    def stage(self, name: str) -> list[int]:
        """The processes of a stage that is running, `clickflow train next_step`, by their command's end."""
        return [process for process in self.processes() if _command(process).endswith(f"clickflow {name}")]

    def _send(self, method: str, path: str, body: Any, token: str) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.airflow + path, data=data, method=method, headers=headers)
        try:
            with _OPENER.open(request, timeout=30) as response:
                status, raw = response.status, response.read()
        except urllib.error.HTTPError as refused:
            status, raw = refused.code, refused.read()
        try:
            return status, json.loads(raw or b"null")
        except ValueError:
            return status, raw.decode(errors="replace")


def small(text: str, params: Mapping[str, Any] | None = None) -> str:
    """The shipped params.yaml with one model, and the values of `SMALL` and `params`."""
    text = patch.without(text, ["models.customers", "champion.customers"])
    return overrides.apply(text, {"units": ["session"], **SMALL, **(params or {})})


def clone(root: Path, folder: Path, params: Mapping[str, Any] | None = None, **env: str) -> Platform:
    """A platform that does not run yet: a clone of `root`'s commit in `folder`, small params, a home of its own."""
    clone = folder / "shop"
    subprocess.run(["git", "clone", "--quiet", str(root), str(clone)], check=True)
    file = clone / "params.yaml"
    file.write_text(small(file.read_text(encoding="utf-8"), params), "utf-8")
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *identity, "commit", "--quiet", "--all", "-m", "small"], cwd=clone, check=True)
    home = clone / ".clickflow"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    given = {
        "CLICKFLOW_HOME": str(home),
        "CLICKFLOW_PORT_AIRFLOW": "0",
        "CLICKFLOW_PORT_MLFLOW": "0",
        "CLICKFLOW_PORT_SERVING": "0",
        "CLICKFLOW_START_SECONDS": "900",
        "PYTHONPATH": str(clone / "src"),
        "OPENBLAS_NUM_THREADS": "1",
        **env,
    }
    return Platform(clone, home, {**kept, **given})


def _command(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
