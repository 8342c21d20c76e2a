"""supervisord: started in a session of its own, controlled over its socket."""

import contextlib
import sys
import time
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickflow.platform import configuration, processes
from clickflow.platform.settings import Settings
from clickflow.system.errors import ClickflowError
from clickflow.system.process import detached


@dataclass(frozen=True)
class State:
    """What supervisord says of a service. `name` is RUNNING, STARTING, BACKOFF, FATAL, STOPPED or EXITED."""

    name: str
    process: int
    since: int
    words: str


def running(settings: Settings) -> bool:
    """Whether this platform's supervisor answers."""
    try:
        return bool(_call(settings, "getState")["statename"] == "RUNNING")
    except (OSError, xmlrpc.client.Error):
        return False


def answers(settings: Settings) -> bool:
    """Whether a supervisor is there at all, be it one that is ending."""
    try:
        _call(settings, "getState")
    except (OSError, xmlrpc.client.Error):
        return False
    return True


def states(settings: Settings) -> dict[str, State]:
    """Every service's state. Raises OSError where no supervisor answers."""
    return {
        info["name"]: State(info["statename"], info["pid"], info["start"], info["spawnerr"] or info["description"])
        for info in _call(settings, "getAllProcessInfo")
    }


def start(settings: Settings, file: Path, env: Mapping[str, str]) -> None:
    """Start supervisord, which starts the services. Raises ClickflowError where it does not come up."""
    socket = configuration.socket(settings)
    socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket.unlink(missing_ok=True)
    settings.logs.mkdir(parents=True, exist_ok=True)
    log = settings.logs / "supervisor.out"
    child = detached(
        [sys.executable, "-m", "clickflow.platform.supervise", "-n", "-c", str(file)],
        cwd=settings.folder,
        env={**env, processes.SERVICE: "supervisor"},
        log=log,
    )
    deadline = time.monotonic() + 20
    while not running(settings):
        if child.poll() is not None or time.monotonic() > deadline:
            child.kill()
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-8:]
            raise ClickflowError(
                "the supervisor did not start:\n" + "\n".join(f"  {line}" for line in said),
                kept="nothing runs",
                next_step=f"look into {log}",
            )
        time.sleep(0.1)


def restart(settings: Settings, service: str) -> None:
    """Start a service that has ended, now: one that waits for its next start is called back first."""
    for method, wait in {"stopProcess": True, "startProcess": False}.items():
        with contextlib.suppress(xmlrpc.client.Fault):  # it did not run, or does by now, or ends again: `states` says
            _call(settings, method, service, wait)


def shut_down(settings: Settings) -> None:
    """Ask supervisord to end the services, the last started first, and itself. It answers before that is done."""
    try:
        _call(settings, "shutdown")
    except (OSError, xmlrpc.client.Error):
        return


def _call(settings: Settings, method: str, *arguments: Any) -> Any:
    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(serverurl=f"unix://{configuration.socket(settings)}")
    with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as proxy:
        return getattr(proxy.supervisor, method)(*arguments)
