"""`clickflow up`: start the local platform and wait until every service is healthy."""

import math
import socket
import sys
import time
from pathlib import Path

from clickflow.platform import (
    configuration,
    health,
    keys,
    launch,
    mlflow_login,
    processes,
    settings,
    show,
    state,
    supervisor,
)
from clickflow.platform.configuration import Ports
from clickflow.platform.down import stop
from clickflow.platform.settings import HOST, Settings
from clickflow.platform.state import Running
from clickflow.system import console
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.paths import Paths
from clickflow.system.process import detached

GIVE_UP = 25.0
"""Seconds of failing starts after which a service is given up; the supervisor goes on, for a disk may be full."""


def up(paths: Paths, *, as_json: bool = False) -> None:
    """Start what does not run, wait until all of it is healthy, and say where it is.

    Raises ClickflowError with the last lines of the log of a service that does not become healthy; then nothing that
    this call has started is left.
    """
    chosen = settings.read(paths)
    if not (chosen.root / "dags").is_dir():
        raise UsageError(f"{chosen.root} has no dags/", next_step="run this in a checkout of the repository")
    with state.alone(chosen):
        if supervisor.running(chosen) and (chosen.folder / state.FILE).exists():
            _again(state.load(paths), state.fingerprint_of(chosen))
        else:
            _fresh(chosen)
    show.services(state.load(paths), as_json=as_json)


def _fresh(chosen: Settings) -> None:
    if left := processes.ours(chosen.folder):
        console.say(f"up: {len(left)} processes of a platform whose supervisor is gone are ended first")
        stop(chosen)
    ports = _ports(chosen)
    chosen.logs.mkdir(parents=True, exist_ok=True)
    keys.passwords(chosen.folder, chosen.users)
    keys.passwords(chosen.folder, mlflow_login.USERS, keys.MLFLOW)
    file = configuration.write(chosen, ports)
    launch.clear(chosen.folder)
    env = configuration.environment(chosen, ports)
    try:
        _prepare(chosen, ports, env)
        state.save(chosen, ports)
        supervisor.start(chosen, file, env)
        _wait(chosen, ports)
    except BaseException:
        console.say("up: ending what has been started")
        stop(chosen)
        raise


def _again(running: Running, requested: str) -> None:
    if running.fingerprint != requested:
        console.say("up: it runs with other settings than the variables ask for now; to use them: clickflow down, up")
    for name, service in supervisor.states(running.settings).items():
        if service.name in ("FATAL", "EXITED", "STOPPED", "BACKOFF"):
            console.say(f"up: {name} had ended; starting it again")
            supervisor.restart(running.settings, name)
    _wait(running.settings, running.ports)


def _ports(chosen: Settings) -> Ports:
    while True:
        wanted = {
            "CLICKFLOW_PORT_AIRFLOW": chosen.port_airflow,
            "CLICKFLOW_PORT_MLFLOW": chosen.port_mlflow,
            "CLICKFLOW_PORT_SERVING": chosen.port_serving,
        }
        fixed = [port for port in wanted.values() if port]
        if twice := [port for port in fixed if fixed.count(port) > 1]:
            names = " and ".join(name for name, port in wanted.items() if port == twice[0])
            raise UsageError(f"{names} are both {twice[0]}", next_step="give each its own, or 0: any that is free")
        taken = [_port(port, name) for name, port in wanted.items()]
        if len({*taken}) == len(taken):
            return Ports(*taken)


def _prepare(chosen: Settings, ports: Ports, env: dict[str, str]) -> None:
    """Bring Airflow's database up to date and make the pools."""
    log = chosen.logs / "prepare.log"
    words = [
        "-m",
        "clickflow.airflow.prepare",
        "--pool",
        f"gpu={chosen.gpu_slots}",
        "--pool",
        "promote=1",
    ]
    if chosen.executor == "edge":
        for program in configuration.programs(chosen, ports):
            words += ["--gone", program.name] if program.name.startswith(launch.KEEP) else []
    with console.progress("up: Airflow's database", None) as advance:
        env = {**env, processes.SERVICE: "prepare"}
        child = detached([sys.executable, *words], cwd=chosen.folder, env=env, log=log)
        while child.poll() is None:
            advance(0)
            time.sleep(0.2)
    if child.returncode:
        raise ClickflowError(
            "Airflow's database could not be brought up to date:\n" + _tail(log),
            kept="nothing runs",
            next_step=f"the whole log: {log}; the database: CLICKFLOW_DATABASE_URL, or {chosen.folder}/airflow.db",
        )


def _wait(chosen: Settings, ports: Ports) -> None:
    """Until every service is healthy. Raises ClickflowError where one fails, or it takes too long."""
    deadline = time.monotonic() + chosen.patience
    healthy: set[str] = set()
    failing: dict[str, float] = {}
    with console.progress("up: services", len(supervisor.states(chosen))) as advance:
        while True:
            lines = health.services(chosen, ports)
            states = supervisor.states(chosen)
            waiting = [line for line in lines if not line.healthy]
            for line in lines:
                if line.healthy and line.name in states and line.name not in healthy:
                    healthy.add(line.name)
                    advance(1, "")
            if not waiting:
                return
            advance(0, note=", ".join(f"{line.name} {line.words}" for line in waiting)[:100])
            for name, service in states.items():
                if service.name in ("FATAL", "BACKOFF"):
                    failing.setdefault(name, time.monotonic())
                elif service.name == "RUNNING":
                    failing.pop(name, None)
            dead = [line for line in waiting if time.monotonic() - failing.get(line.name, math.inf) > GIVE_UP]
            if dead or time.monotonic() > deadline:
                line = (dead or waiting)[0]
                log = chosen.logs / f"{line.name}.log"
                raise ClickflowError(
                    f"{line.name} {'did not start' if dead else f'is not healthy after {chosen.patience} s'} "
                    f"({line.words}); its log ends:\n{_tail(log)}",
                    kept="runs, models and Airflow's database",
                    next_step=f"the whole log: {log}; clickflow doctor looks for the usual causes",
                )
            time.sleep(0.5)


def _port(wanted: int, name: str) -> int:
    """A port that is free now. Raises UsageError where the one asked for is taken, naming who has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            who = processes.holder(wanted)
            raise UsageError(
                f"port {wanted} is in use" + (f" by {who}" if who else ""),
                kept="nothing was started",
                next_step=f"end it, or choose another: {name}={wanted + 1} (0: any that is free)",
            ) from error
        return int(probe.getsockname()[1])


def _tail(log: Path) -> str:
    try:
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
    except OSError:
        said = ["(no log)"]
    return "\n".join(f"  {line}" for line in said)
