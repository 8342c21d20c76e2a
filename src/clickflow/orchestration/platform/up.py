"""`clickflow up`, `down` and `ps`."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from clickflow import console
from clickflow.errors import ClickflowError, UsageError
from clickflow.files import read_json, write_json
from clickflow.orchestration.platform import configuration, health, keys, launch, processes, settings, supervisor
from clickflow.orchestration.platform.configuration import Ports
from clickflow.orchestration.platform.health import Service
from clickflow.orchestration.platform.settings import HOST, Settings
from clickflow.paths import Paths

PATIENCE = 300.0
"""Seconds that all services together may take to become healthy."""

STATE = "state.json"
"""Ports and settings of the platform that runs; removed when it ends."""


def up(paths: Paths, *, as_json: bool = False) -> None:
    """Start what does not run, wait until all of it is healthy, and say where it is.

    Raises ClickflowError with the last lines of the log of a service that does not become healthy; then nothing that
    this call has started is left.
    """
    chosen = settings.read(paths)
    if not (chosen.root / "dags").is_dir():
        raise UsageError(f"{chosen.root} has no dags/", next_step="run this in a checkout of the repository")
    with _alone(chosen):
        ports = _again(chosen) if supervisor.running(chosen) else _fresh(chosen)
    _tell(chosen, ports, as_json=as_json)


def down(paths: Paths) -> None:
    """End everything, tasks and their stages included, and see that nothing is left.

    What a run has done stays; a training that was ended keeps its checkpoint and goes on after the next `up`.
    """
    chosen = settings.read(paths)
    with _alone(chosen):
        if not _stop(chosen):
            console.say("down: nothing was running")
            return
    console.say("down: everything has ended; the runs, models and logs stay")


def ps(paths: Paths, *, as_json: bool = False) -> None:
    """One line a service. Raises ClickflowError where the platform does not run or a service is not healthy."""
    chosen = settings.read(paths)
    if not supervisor.running(chosen):
        raise ClickflowError("the platform does not run", next_step="start it: clickflow up")
    lines = _tell(chosen, taken(chosen), as_json=as_json)
    if sick := [service.name for service in lines if not service.healthy]:
        raise ClickflowError(
            f"not healthy: {', '.join(sick)}", next_step=f"its log lies in {chosen.logs}; clickflow up starts it again"
        )


def _fresh(chosen: Settings) -> Ports:
    if left := processes.ours(chosen.folder):
        console.say(f"up: {len(left)} processes of a platform whose supervisor is gone are ended first")
        _stop(chosen)
    ports = Ports(
        _port(chosen.port_airflow, "CLICKFLOW_PORT_AIRFLOW"), _port(chosen.port_mlflow, "CLICKFLOW_PORT_MLFLOW")
    )
    chosen.logs.mkdir(parents=True, exist_ok=True)
    keys.passwords(chosen.folder, chosen.users)
    file = configuration.write(chosen, ports)
    launch.clear(chosen.folder)
    env = configuration.environment(chosen, ports)
    try:
        _prepare(chosen, env)
        supervisor.start(chosen, file, env)
        write_json(chosen.folder / STATE, {"ports": asdict(ports), "settings": _fingerprint(chosen)})
        _wait(chosen, ports)
    except BaseException:
        console.say("up: ending what has been started")
        _stop(chosen)
        raise
    return ports


def _again(chosen: Settings) -> Ports:
    ports = taken(chosen)
    if read_json(chosen.folder / STATE)["settings"] != _fingerprint(chosen):
        console.say(
            "up: it runs with other settings than the variables now ask for; `clickflow down` first, to use them"
        )
    for name, state in supervisor.states(chosen).items():
        if state.name in ("FATAL", "EXITED", "STOPPED"):
            console.say(f"up: {name} had ended; starting it again")
            supervisor.restart(chosen, name)
    _wait(chosen, ports)
    return ports


def _prepare(chosen: Settings, env: dict[str, str]) -> None:
    """Bring Airflow's database up to date and make the pools."""
    log = chosen.logs / "prepare.log"
    words = [
        "-m",
        "clickflow.orchestration.airflow.prepare",
        "--pool",
        f"gpu={chosen.gpu_slots}",
        "--pool",
        "promote=1",
    ]
    with console.progress("up: Airflow's database", None) as advance, log.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, *words],
            cwd=chosen.folder,
            env={**env, processes.SERVICE: "prepare"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
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
    deadline = time.monotonic() + PATIENCE
    told: set[str] = set()
    with console.progress("up: services", len(supervisor.states(chosen))) as advance:
        while True:
            lines = health.services(chosen, ports)
            states = supervisor.states(chosen)
            waiting = [line for line in lines if not line.healthy]
            for line in lines:
                if line.healthy and line.name in states and line.name not in told:
                    told.add(line.name)
                    advance(1, "")
            if not waiting:
                return
            advance(0, note=", ".join(f"{line.name} {line.words}" for line in waiting)[:100])
            dead = [line for line in waiting if states[line.name].name == "FATAL"]
            if dead or time.monotonic() > deadline:
                line = (dead or waiting)[0]
                log = chosen.logs / f"{line.name}.log"
                raise ClickflowError(
                    f"{line.name} {'did not start' if dead else f'is not healthy after {PATIENCE:.0f} s'} "
                    f"({line.words}); its log ends:\n{_tail(log)}",
                    kept="runs, models and Airflow's database",
                    next_step=f"the whole log: {log}; clickflow doctor looks for the usual causes",
                )
            time.sleep(0.5)


def _stop(chosen: Settings) -> bool:
    """End the platform's processes; whether there were any. Raises ClickflowError where one cannot be ended."""
    folder = chosen.folder

    def left() -> list[processes.Process]:
        return processes.ours(folder)

    if not left():
        _forget(chosen)
        return False
    with console.progress("down: ending the services", None) as advance:
        # First the tasks' own programs, as by Ctrl-C: training writes its checkpoint, and the task reports its end.
        processes.end(lambda: [process for process in left() if process.task], patience=20)
        supervisor.shut_down(chosen)
        deadline = time.monotonic() + 90
        while supervisor.answers(chosen) and time.monotonic() < deadline:
            advance(0, note=", ".join(sorted({process.service for process in left()})))
            time.sleep(0.2)
        processes.end(left, patience=15)
    if still := left():
        shown = ", ".join(f"{process.id} ({process.command[:60]})" for process in still)
        raise ClickflowError(f"these processes could not be ended: {shown}", next_step="end them by hand: kill -9")
    _forget(chosen)
    return True


def _forget(chosen: Settings) -> None:
    launch.clear(chosen.folder)
    (chosen.folder / STATE).unlink(missing_ok=True)
    configuration.socket(chosen).unlink(missing_ok=True)


def _tell(chosen: Settings, ports: Ports, *, as_json: bool) -> list[Service]:
    lines = health.services(chosen, ports)
    user = next(user for user, role in chosen.users.items() if role == "admin")
    password_file = chosen.folder / keys.PASSWORDS
    total = sum(line.memory for line in lines)
    result = {
        "airflow": ports.airflow_url,
        "mlflow": ports.mlflow_url,
        "user": user,
        "password_file": str(password_file),
        "executor": chosen.executor,
        "logs": str(chosen.logs),
        "memory_bytes": total,
        "services": {line.name: asdict(line) for line in lines},
    }

    def shown() -> Any:
        table = Table.grid(padding=(0, 2))
        for line in lines:
            mark = "[green]✓[/]" if line.healthy else "[red]✗[/]"
            table.add_row(mark, line.name, line.words, f"{line.memory / 2**20:,.0f} MB", line.url)
        table.add_row("", "", "", f"[bold]{total / 2**20:,.0f} MB[/]", "")
        return Group(table, f"sign in as {user}; the password stands in {password_file}", f"logs: {chosen.logs}")

    console.emit(result, as_json=as_json, text=shown)
    return lines


def taken(chosen: Settings) -> Ports:
    """The ports of the platform that runs."""
    return Ports(**read_json(chosen.folder / STATE)["ports"])


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


def _fingerprint(chosen: Settings) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(chosen), default=str))
    return plain | {"database": "", "broker": ""}


def _tail(log: Path, lines: int = 12) -> str:
    try:
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    except OSError:
        said = ["(no log)"]
    return "\n".join(f"  {line}" for line in said)


@contextmanager
def _alone(chosen: Settings) -> Iterator[None]:
    """One `up` or `down` of a platform at a time."""
    from filelock import FileLock, Timeout

    chosen.folder.mkdir(parents=True, exist_ok=True)
    chosen.folder.chmod(0o700)
    lock = FileLock(chosen.folder / "up.lock")
    try:
        lock.acquire(timeout=0.2)
    except Timeout:
        console.say("another `clickflow up` or `down` is at work here; waiting for it")
        lock.acquire(timeout=300)
    try:
        yield
    finally:
        lock.release()
