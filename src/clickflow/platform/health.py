"""Whether the services do their work, asked of Airflow and MLflow themselves."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clickflow.platform import keys, processes, supervisor
from clickflow.platform.configuration import Ports
from clickflow.platform.settings import Settings

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

HEARTBEATS = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}
WORKING = {"idle", "running"}


@dataclass(frozen=True)
class Service:
    """One line of `clickflow ps`."""

    name: str
    healthy: bool
    words: str
    process: int
    memory: int
    url: str = ""


def services(settings: Settings, ports: Ports) -> list[Service]:
    """Every service, and what the tasks take. Raises OSError where no supervisor answers."""
    states = supervisor.states(settings)
    used, tasks = _memory(settings)
    beats = _get(f"{ports.airflow_url}/api/v2/monitor/health") or {}
    workers = _edge_workers(settings, ports) if settings.executor == "edge" else {}
    lines = []
    for name, state in states.items():
        on_edge = settings.executor == "edge" and name.startswith("worker-")
        healthy, words = _judge(name, state, ports, beats, workers if on_edge else None)
        url = {"api-server": ports.airflow_url, "mlflow": ports.mlflow_url, "serving": ports.serving_url}.get(name, "")
        lines.append(Service(name, healthy, words, state.process, used.get(name, 0), url))
    lines.append(Service("supervisor", True, "runs", 0, used.get("supervisor", 0)))
    if tasks:
        lines.append(Service("tasks", True, "work that is being done", 0, tasks))
    return lines


def _judge(
    name: str,
    state: supervisor.State,
    ports: Ports,
    beats: Mapping[str, Any],
    workers: Mapping[str, str] | None,
) -> tuple[bool, str]:
    if state.name not in ("RUNNING", "STARTING"):
        return False, f"{state.name.lower()}: {state.words}"
    if name == "mlflow":
        # Right after a kill it is the orphan of the killed one that answers, until the new one has cleared it away.
        healthy = state.name == "RUNNING" and _get(f"{ports.mlflow_url}/health", text=True) == "OK"
        return healthy, "answers" if healthy else "does not answer yet"
    if name == "serving":
        said = _get(f"{ports.serving_url}/healthz") if state.name == "RUNNING" else None
        return (False, "does not answer yet") if said is None else (True, _serves(said))
    if name == "api-server":
        healthy = (beats.get("metadatabase") or {}).get("status") == "healthy"
        if not healthy:
            return False, "does not answer yet"
        # The API of tasks is built by the first request to it, which takes seconds: better this one than a task's.
        ready = (_get(f"{ports.airflow_url}/execution/health", seconds=60) or {}).get("status") == "healthy"
        return ready, "answers" if ready else "answers people, but no tasks yet"
    if (name in HEARTBEATS or workers is not None) and not beats:
        return False, "cannot be asked while the API server does not answer"
    if name in HEARTBEATS:
        key = HEARTBEATS[name]
        beat = (beats.get(key) or {}).get(f"latest_{key}_heartbeat")
        # A heartbeat of an instance that was killed a moment ago says nothing of this one.
        fresh = bool(beat) and datetime.fromisoformat(str(beat)).timestamp() >= state.since
        healthy = fresh and beats[key]["status"] == "healthy"
        return healthy, "has a heartbeat" if healthy else "no heartbeat yet"
    if workers is not None:
        said = workers.get(name, "")
        return said in WORKING, f"is {said}" if said else "has not registered yet"
    return state.name == "RUNNING", "runs" if state.name == "RUNNING" else "starts"


def _serves(said: Mapping[str, Any]) -> str:
    """What `clickflow serve` says of its health, in a line."""
    if not said["versions"]:
        return "waits for a champion"
    return "answers" if said["status"] == "ok" else f"answers; wrong: {', '.join(said['wrong'])}"


def _edge_workers(settings: Settings, ports: Ports) -> dict[str, str]:
    """State by name, as the API server knows it."""
    user = next(user for user, role in settings.users.items() if role == "admin")
    body = json.dumps({"username": user, "password": keys.password(settings.folder, user)}).encode()
    token = (_get(f"{ports.airflow_url}/auth/token", body=body) or {}).get("access_token")
    if not token:
        return {}
    listed = _get(f"{ports.airflow_url}/edge_worker/ui/worker", token=token) or {}
    return {worker["worker_name"]: worker["state"] for worker in listed.get("workers", [])}


def _get(url: str, *, body: bytes | None = None, token: str = "", text: bool = False, seconds: float = 5) -> Any:
    """What a server of ours answers; None where it does not."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    try:
        with _OPENER.open(urllib.request.Request(url, data=body, headers=headers), timeout=seconds) as response:
            said = response.read().decode()
        return said if text else json.loads(said)
    except (OSError, ValueError):
        return None


def _memory(settings: Settings) -> tuple[dict[str, int], int]:
    used: dict[str, int] = {}
    tasks = 0
    for process in processes.ours(settings.folder):
        size = processes.memory(process.id)
        if process.task:
            tasks += size
        else:
            used[process.service] = used.get(process.service, 0) + size
    return used, tasks
