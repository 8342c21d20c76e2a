"""What the platform's supervision promises without a server: settings, secrets, ports, stale files, its processes."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickflow.platform import configuration, keys, processes, settings, state, supervisor
from clickflow.platform.configuration import Ports
from clickflow.platform.settings import Settings
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.paths import Paths

pytestmark = pytest.mark.timeout(120)


def chosen(home: Path, **env: str) -> Settings:
    os.environ["CLICKFLOW_HOME"] = str(home)
    return settings.read(Paths(home.parent), env)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"CLICKFLOW_EXECUTOR": "sequential"}, "CLICKFLOW_EXECUTOR is 'sequential', and may be edge, local, celery"),
        ({"CLICKFLOW_EXECUTOR": "celery"}, "CLICKFLOW_EXECUTOR=celery needs CLICKFLOW_DATABASE_URL"),
        ({"CLICKFLOW_PORT_AIRFLOW": "http"}, "CLICKFLOW_PORT_AIRFLOW is 'http', and must be a number from 0 to 65535"),
        ({"CLICKFLOW_PORT_MLFLOW": "65536"}, "from 0 to 65535"),
        ({"CLICKFLOW_PARALLELISM": "0"}, "from 1 to 64"),
        ({"CLICKFLOW_USERS": "eve"}, "'eve' is not a user"),
        ({"CLICKFLOW_USERS": "eve:viewer"}, "CLICKFLOW_USERS names no admin"),
        ({"CLICKFLOW_USERS": "adm:admin,eve:emperor"}, "'eve:emperor' is not a user"),
    ],
)
def test_a_wrong_variable_is_named_with_what_it_may_be(tmp_path: Path, env: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        chosen(tmp_path / "home", **env)


def test_executors_differ_by_variables_alone(tmp_path: Path) -> None:
    ports = Ports(1, 2)
    celery = {"CLICKFLOW_DATABASE_URL": "postgresql+psycopg2://a:b%40c@db/airflow", "CLICKFLOW_BROKER_URL": "redis://r"}

    def services(**env: str) -> set[str]:
        return {program.name for program in configuration.programs(chosen(tmp_path / "home", **env), ports)}

    always = {"mlflow", "api-server", "scheduler", "dag-processor", "triggerer", "serving"}
    assert services(CLICKFLOW_EXECUTOR="local") == always
    assert services(CLICKFLOW_GPU_WORKERS="1") == always | {"worker-gpu"}
    assert services(CLICKFLOW_GPU_WORKERS="2") == always | {"worker-gpu-0", "worker-gpu-1"}
    assert services(CLICKFLOW_GPU_WORKERS="0") == always
    assert services(CLICKFLOW_EXECUTOR="celery", **celery) == always | {"worker-default", "worker-gpu"}


def test_every_server_is_told_to_listen_on_loopback_or_not_at_all(tmp_path: Path) -> None:
    shop = chosen(tmp_path / "home")
    airflow = configuration.airflow(shop, Ports(8080, 5000))
    assert airflow["api"]["host"] == "127.0.0.1"
    commands = {program.name: list(program.command) for program in configuration.programs(shop, Ports(8080, 5000))}
    # The servers of logs of tasks bind every interface, and cannot be told otherwise.
    for name in ("scheduler", "triggerer"):
        assert "--skip-serve-logs" in commands[name]
    for name in ("mlflow", "serving"):
        assert commands[name][commands[name].index("--host") + 1] == "127.0.0.1"


def test_another_installations_settings_of_airflow_do_not_leak_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://elsewhere/airflow")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY_CMD", "cat /elsewhere")
    monkeypatch.setenv("AIRFLOW_HOME", "/elsewhere")
    monkeypatch.setenv("AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG", "3")
    env = configuration.environment(chosen(tmp_path / "home"), Ports(1, 2))
    assert "elsewhere" not in json.dumps({name: value for name, value in env.items() if "AIRFLOW" in name})
    assert env["AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG"] == "3", "what the platform leaves open stays open"
    assert env["SPT_NOENV"] == "1"


def test_secrets_are_made_once_and_nobody_else_can_read_them(tmp_path: Path) -> None:
    file = keys.passwords(tmp_path / "platform", ["admin"])
    first = json.loads(file.read_text())
    keys.passwords(tmp_path / "platform", ["admin", "eve"])
    second = json.loads(file.read_text())
    assert second["admin"] == first["admin"]
    assert second.keys() == {"admin", "eve"}
    assert len(set(second.values())) == 2
    assert keys.secret(tmp_path / "platform") == keys.secret(tmp_path / "platform")
    for name in (keys.PASSWORDS, keys.SECRETS):
        assert stat.S_IMODE((tmp_path / "platform" / name).stat().st_mode) == 0o600


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1).map(str.strip).filter(bool))
def test_any_value_survives_the_way_into_airflow_cfg(value: str) -> None:
    import configparser

    read = configparser.ConfigParser()
    read.read_string(configuration.ini({"database": {"sql_alchemy_conn": value}}))
    assert read["database"]["sql_alchemy_conn"] == value


def test_a_socket_fits_where_the_home_lies_deep(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100) / "home"
    path = configuration.socket(chosen(deep))
    assert len(os.fsencode(path)) < 108
    assert path != configuration.socket(chosen(deep.with_name("other")))


def test_who_holds_a_port_is_known() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert f"(process {os.getpid()})" in processes.holder(taken.getsockname()[1])


STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.setsid() if os.getpid() != os.getsid(0) else None
open(sys.argv[1], "w").close()
time.sleep(600)
"""

POLITE = """
import signal, sys, time
def end(number, frame):
    open(sys.argv[1], "w").write(signal.Signals(number).name)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
open(sys.argv[1], "w").close()
time.sleep(600)
"""


def start(folder: Path, code: str, mark: Path, **env: str) -> "subprocess.Popen[bytes]":
    """A process of the platform in `folder`; it runs when this returns."""
    given = {**os.environ, processes.PLATFORM: str(folder), **env}
    child = subprocess.Popen([sys.executable, "-c", code, str(mark)], env=given, start_new_session=True)
    while not mark.exists():
        assert child.poll() is None
        time.sleep(0.05)
    return child


def _others(folder: Path, than: int) -> list[processes.Process]:
    return [each for each in processes.ours(folder) if each.id != than]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A platform's folder; what a test has started there does not outlive it."""
    folder = tmp_path / "platform"
    folder.mkdir()
    yield folder
    for process in processes.ours(folder):
        processes.send(process.id, signal.SIGKILL)


def test_processes_are_ended_however_they_were_started_and_whatever_they_ignore(folder: Path, tmp_path: Path) -> None:
    stubborn = start(folder, STUBBORN, tmp_path / "a", **{processes.SERVICE: "scheduler"})
    polite = start(folder, POLITE, tmp_path / "b", **{processes.SERVICE: "api-server"})
    stage = start(folder, POLITE, tmp_path / "c", **{processes.SERVICE: "worker-gpu", processes.TASK: "run"})
    other = start(tmp_path / "elsewhere", POLITE, tmp_path / "d")
    try:
        alive = {process.id: process for process in processes.ours(folder)}
        assert alive.keys() == {stubborn.pid, polite.pid, stage.pid}
        assert alive[stage.pid].task
        # who obeys is waited for, however busy the machine is; then the one who does not is given up soon
        assert processes.end(lambda: _others(folder, stubborn.pid), patience=60) == []
        killed = processes.end(lambda: processes.ours(folder), patience=0.5)
        assert [process.id for process in killed] == [stubborn.pid]
        assert not processes.ours(folder)
        assert (tmp_path / "b").read_text() == "SIGTERM"
        assert (tmp_path / "c").read_text() == "SIGINT", "a stage is asked as by Ctrl-C"
        assert other.poll() is None
    finally:
        for child in (stubborn, polite, stage, other):
            child.kill()
            child.wait()


@pytest.mark.parametrize(("service", "left"), [("scheduler", False), ("worker-gpu", True)])
def test_a_service_clears_up_after_one_that_was_killed(folder: Path, tmp_path: Path, service: str, left: bool) -> None:
    """A scheduler's own processes are ended before a new one starts; what a killed worker was doing goes on."""
    orphan = start(folder, POLITE, tmp_path / "orphan", **{processes.SERVICE: service})
    stale = folder / f"{service}.pid"
    stale.write_text("4194999\n")
    mine = folder / f"{service}-2.pid"
    mine.write_text(f"{os.getpid()}\n")
    command = [sys.executable, "-m", "clickflow.platform.launch", service, "--", "/bin/echo", "started"]
    try:
        done = subprocess.run(
            command, env={**os.environ, processes.PLATFORM: str(folder)}, capture_output=True, text=True, timeout=60
        )
        assert done.stdout == "started\n"
        assert (orphan.poll() is None) == left
        assert not stale.exists()
        assert mine.exists(), "its process is there"
    finally:
        orphan.kill()
        orphan.wait()


@pytest.mark.parametrize("text", ['{"ports": {"airflow": 1, "mlflow": 2}, "settings": {}}', '{"ports"', "[]"])
def test_what_another_version_has_left_is_said(tmp_path: Path, text: str) -> None:
    shop = chosen(tmp_path / "home")
    shop.folder.mkdir(parents=True)
    (shop.folder / state.FILE).write_text(text)
    with pytest.raises(ClickflowError, match="was written by another version") as fault:
        state.load(Paths(tmp_path))
    assert "clickflow down, then clickflow up" in fault.value.next_step


def test_a_full_disk_does_not_end_the_supervisor(tmp_path: Path) -> None:
    """Its own log, its standard error and the logs of its services lie on a disk that takes no byte."""
    shop = chosen(tmp_path / "home")
    shop.logs.mkdir(parents=True)
    shop.folder.mkdir()
    (shop.logs / "supervisor.out").symlink_to("/dev/full")
    says = {"command": "sh -c 'echo a line; exit 1'", "startsecs": "0", "autorestart": "true"}
    logs = {"stdout_logfile": "/dev/full", "redirect_stderr": "true"}
    sections = {
        "unix_http_server": {"file": str(configuration.socket(shop))},
        "supervisord": {"nodaemon": "true", "logfile": "/dev/full", "pidfile": str(tmp_path / "pid")},
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        },
        "program:ends": {**says, **logs},
        "program:stays": {"command": "sleep 600", **logs},
    }
    file = tmp_path / "supervisord.conf"
    file.write_text(configuration.ini(sections))
    supervisor.start(shop, file, {**os.environ, processes.PLATFORM: str(shop.folder)})
    try:
        seen = set[Any]()
        deadline = time.monotonic() + 60
        while len(seen) < 4 and time.monotonic() < deadline:
            seen.add(supervisor.states(shop)["ends"].process)
            time.sleep(0.05)
        assert len(seen) == 4, "it is started again and again"
        assert supervisor.states(shop)["stays"].name in ("STARTING", "RUNNING")
    finally:
        supervisor.shut_down(shop)
        for process in processes.ours(shop.folder):
            processes.send(process.id, signal.SIGKILL)


def test_no_supervisor_is_an_answer_too(tmp_path: Path) -> None:
    shop = chosen(tmp_path / "home")
    assert not supervisor.running(shop)
    assert not supervisor.answers(shop)


def test_a_port_in_use_and_a_platform_that_does_not_run_are_said(root: Path, tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text((root / name).read_text())

    def clickflow(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "clickflow.cli", *words]
        return subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **env}, capture_output=True, text=True, timeout=60
        )

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = clickflow("up", CLICKFLOW_PORT_AIRFLOW=port)
    assert refused.returncode == 2
    assert f"port {port} is in use by" in refused.stderr
    assert f"(process {os.getpid()})" in refused.stderr
    assert "CLICKFLOW_PORT_AIRFLOW=" in refused.stderr
    assert clickflow("ps").returncode == 1
    down = clickflow("down")
    assert (down.returncode, down.stderr) == (0, "down: nothing was running\n")


def test_a_worker_elsewhere_says_what_it_needs(root: Path, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLICKFLOW_")}
    done = subprocess.run(
        [sys.executable, "-m", "clickflow.cli", "worker"],
        cwd=root,
        env={**kept, "CLICKFLOW_HOME": str(tmp_path), "CLICKFLOW_API_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    for name in ("CLICKFLOW_JWT_SECRET", "CLICKFLOW_REPOSITORY", "CLICKFLOW_DVC_REMOTE"):
        assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_that_the_platform_starts_tells_of_its_use(tmp_path: Path) -> None:
    given = chosen(tmp_path / "home")
    env = configuration.environment(given, Ports(1, 2))
    ask = "from mlflow.telemetry.utils import is_telemetry_disabled as off; print(off())"
    for silent in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        alone = {**os.environ, silent: env[silent]}
        done = subprocess.run([sys.executable, "-c", ask], env=alone, capture_output=True, text=True, check=True)
        assert done.stdout.split()[-1] == "True"
    assert configuration.airflow(given, Ports(1, 2))["usage_data_collection"] == {"enabled": "False"}


def test_airflow_of_no_platform_is_refused(tmp_path: Path, root: Path) -> None:
    env = {**os.environ, "CLICKFLOW_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "clickflow.cli", "airflow", "backfill", "create", "--dag-id", "backfill"]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "the platform does not run" in done.stderr
    assert "clickflow up" in done.stderr
