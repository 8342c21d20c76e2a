"""Programs in processes that have their libraries imported: to import DVC or Airflow takes longer than what they do.

A server imports them and forks for each program, which gets folder, variables, umask, standard streams and a session of
its own from who asks for it, and is killed where that one ends. Tests of what a program makes ask a server; those of
processes, and of the command line, start them as always.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from once import once

_SERVER = """
import json, os, select, signal, socket, sys, threading, traceback
exec(sys.argv[2])

def watched(connection):
    connection.recv(1)  # nothing comes but the end
    os.killpg(0, signal.SIGKILL)

def serve(connection):
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    job = json.loads(connection.makefile("rb").readline())
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(job["cwd"])
    os.umask(job["umask"])
    os.environ.clear()
    os.environ.update(job["env"])
    sys.argv = ["-c", *job["words"]]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)
    threading.Thread(target=watched, args=[connection], daemon=True).start()
    code = 0
    try:
        exec(compile(job["code"], "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    connection.sendall(b"%d\\n" % code)
    os._exit(0)

listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(64)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
print("ready", flush=True)
until = int(sys.argv[3])
while True:
    ready, _, _ = select.select([listener], [], [], 1.0)
    if not ready:
        try:
            os.kill(until, 0)
        except ProcessLookupError:
            break  # the tests are over
        continue
    connection, _ = listener.accept()
    if os.fork() == 0:
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        serve(connection)
    connection.close()
"""

_ASK = """
import json, os, signal, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({server!r})
socket.send_fds(connection, [b"x"], [0, 1, 2])
umask = os.umask(0o077)
job = {{"code": {code!r}, "words": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ), "umask": umask}}
connection.sendall(json.dumps(job).encode() + b"\\n")
code = connection.recv(16)
sys.exit(int(code)) if code else os.kill(os.getpid(), signal.SIGKILL)
"""

DVC = """
import dvc.cachemgr, dvc.cli.parser, dvc.data_cloud, dvc.lock, dvc.repo.artifacts, dvc.repo.brancher, dvc.repo.datasets
import dvc.repo.graph, dvc.repo.index, dvc.repo.metrics, dvc.repo.params, dvc.repo.plots, dvc.repo.reproduce
import dvc.repo.stage, dvc.repo.trie, dvc.repo.worktree, dvc.rwlock, dvc.scm, dvc.stage.cache, dvc_http, networkx
import configobj, dulwich.ignore, dulwich.index, dulwich.worktree, dvc.daemon, dvc.repo.open_repo, dvc.utils.strictyaml
import dvc_data.hashfile.db.local, dvc_data.hashfile.status, dvc_data.index.checkout, dvc_data.index.collect
import dvc_data.index.fetch, dvc_data.index.push, fsspec.implementations.memory, platformdirs.unix, pyparsing
import ruamel.yaml
from dvc.cli.parser import get_main_parser
get_main_parser()  # kept
"""
"""What DVC imports, as it starts and at work, and what reads its commands."""

CLICKFLOW = """
import clickflow.cli, clickflow.registry.champion
from clickflow.heads import HEADS
from clickflow.params.file import _adapter
_adapter(tuple(HEADS))
"""
"""What a run's own verbs import, and what checks params."""

AIRFLOW = """
import airflow.dag_processing.dagbag, airflow.sdk.execution_time.task_runner, airflow.serialization.serialized_objects
from airflow import models, settings
from airflow.sdk.execution_time import supervisor
models.import_all_models()
supervisor.in_process_api_server().app._cadwyn_initialize()
import a2wsgi, airflow.jobs.scheduler_job_runner, airflow.sdk.execution_time.timeout, anyio._backends._asyncio
import jinja2.ext
import clickflow.airflow.inprocess, clickflow.airflow.pipeline
settings.dispose_orm()
settings.configure_orm()  # without a connection
"""
"""What Airflow and its DAGs import for a run in one process, and the application that its tasks talk to."""

IN_ANY_HOME: Mapping[str, str] = {"AIRFLOW_HOME": "/proc/self/cwd"}
"""Of Airflow's server: the home of each program is the folder in which it runs."""


class Server:
    """A server that runs programs."""

    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)

    def ask(self, code: str) -> str:
        """Python code that has `code` done by the server: for `python -c`, with the words that follow it."""
        return _ASK.format(server=self._socket, code=code)


def serving(temporary: pytest.TempPathFactory, name: str, imports: str, env: Mapping[str, str] | None = None) -> Server:
    """The server that has the `imports` done, under variables of its own: one for all workers, until pytest ends."""
    until = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()

    def start(folder: Path) -> None:
        command = [sys.executable, "-c", _SERVER, str(folder / "socket"), imports, str(until)]
        child = subprocess.Popen(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        _started.append(child)
        assert child.stdout
        assert "ready\n" in child.stdout

    return Server(once(temporary, name, start) / "socket")


_started: list["subprocess.Popen[str]"] = []
