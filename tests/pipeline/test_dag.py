"""The DAG that Airflow sees is the graph of dvc.yaml; parsing it is light; running it leaves a record or a reason."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_shop import commit, git, with_airflow

from clickflow.orchestration import graph
from clickflow.orchestration.tasks import plan
from clickflow.params.file import load
from clickflow.system import process
from clickflow.system.errors import UsageError
from warm import Server

pytestmark = pytest.mark.timeout(900)

READ = """
import json, sys
sys.path.insert(0, "dags")
import retrain
dag = retrain.dag
heavy = {"torch", "pandas", "numpy", "great_expectations", "mlflow", "dvc", "duckdb", "pyarrow", "ruamel"}
print(json.dumps({
    "heavy": sorted(heavy & set(sys.modules)),
    "doc": dag.doc_md,
    "params": list(dag.params),
    "tasks": {
        task.task_id: {
            "upstream": sorted(task.upstream_task_ids),
            "stage": getattr(task, "stage", None),
            "queue": task.queue,
            "pool": task.pool,
            "retries": task.retries,
            "minutes": task.execution_timeout.total_seconds() / 60,
            "doc": task.doc_md,
            "owner": task.owner,
            "outlets": [asset.uri for asset in task.outlets],
        }
        for task in dag.tasks
    },
}))
"""


@pytest.fixture(scope="module")
def dag(root: Path, airflow_server: Server) -> Any:
    """The retrain DAG of this repository, read in a process of its own."""
    command = [sys.executable, "-c", airflow_server.ask(READ)]
    read = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return json.loads(read.stdout.splitlines()[-1])


def test_the_dag_is_the_graph_of_dvc_yaml(dag: Any, root: Path) -> None:
    compiled = graph.load(root)
    stage_of = {name: task["stage"] for name, task in dag["tasks"].items() if task["stage"]}
    assert set(stage_of.values()) == set(compiled.stages)
    edges = {
        (stage_of[up], stage_of[name]) for name in stage_of for up in dag["tasks"][name]["upstream"] if up in stage_of
    }
    assert edges == compiled.edges


def test_the_frame_stands_around_the_stages(dag: Any, root: Path) -> None:
    compiled = graph.load(root)
    roots = {name for name, task in dag["tasks"].items() if task["upstream"] == ["open"]}
    assert {dag["tasks"][name]["stage"] for name in roots} == {s for s in compiled.stages if not compiled.upstream(s)}
    assert {dag["tasks"][name]["stage"] for name in dag["tasks"]["record"]["upstream"]} == set(compiled.leaves())
    approvals = [f"approve.{name}" for name in sorted(load(root / "params.yaml").models)]
    for name in approvals:
        assert dag["tasks"][name]["upstream"] == ["record"]
    assert dag["tasks"]["promote"]["upstream"] == [*approvals, "record"]
    assert dag["tasks"]["announce"]["upstream"] == ["promote"]
    assert dag["tasks"]["announce"]["outlets"] == ["clickflow://champion/"]


def test_routing_and_words_come_from_dvc_yaml(dag: Any, root: Path) -> None:
    for name, stage in graph.load(root).stages.items():
        task = next(task for task in dag["tasks"].values() if task["stage"] == name)
        routing = stage.routing()
        assert (task["queue"], task["retries"], task["minutes"]) == (
            routing["queue"],
            routing["retries"],
            routing["timeout_minutes"],
        )
        assert task["pool"] == routing.get("pool", "default_pool")
        assert task["doc"] == stage.desc
        assert stage.desc in dag["doc"]
    assert {task["owner"] for task in dag["tasks"].values()} == {"clickflow"}


def test_parsing_imports_nothing_heavy(dag: Any) -> None:
    assert dag["heavy"] == []


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"open": {"cmd": "c"}}, "a stage cannot be called open"),
        ({"a": {"cmd": "c", "meta": {"airflow": {"que": "gpu"}}}}, "meta.airflow.que is not understood"),
        ({"a": {"cmd": "c", "meta": {"airflow": {"retries": "two"}}}}, "meta.airflow.retries: 'two' is of the wrong"),
        ({"a": {"foreach": ["x y", "x_y"], "do": {"cmd": "c"}}}, "a@x y and a@x_y would both be task a.x_y"),
    ],
)
def test_what_airflow_cannot_carry_is_refused_when_compiling(tmp_path: Path, stages: Any, message: str) -> None:
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    with pytest.raises(UsageError, match=message):
        plan(graph.load(tmp_path))


# The command line, whose Airflow and DVC are loaded already: those who start them as always are stopped below.
RETRAIN = """
import sys
from clickflow.cli import main
from clickflow.orchestration import local
local.PROGRAM = (sys.executable, "-c", {program!r})
sys.argv[0] = "clickflow"
main()
"""
PROGRAM = """
import sys
from airflow.settings import configure_vars
from clickflow.airflow import inprocess
from clickflow.system import process
configure_vars()  # the folder of DAGs is another than the server's
process._DVC = {dvc!r}
sys.exit(inprocess.main(*sys.argv[1:]))
"""


def retrain(server: Server, shop: Path, *settings: str) -> "subprocess.CompletedProcess[str]":
    code = RETRAIN.format(program=server.ask(PROGRAM.format(dvc=process._DVC)))
    command = [sys.executable, "-c", code, "retrain", *(word for s in settings for word in ("-S", s))]
    return subprocess.run(command, cwd=shop, capture_output=True, text=True, timeout=800)


@pytest.mark.slow
@pytest.mark.usefixtures("airflow")
def test_a_run_under_airflow_is_recorded_and_announced(shop: Path, root: Path, airflow_server: Server) -> None:
    with_airflow(shop, root)
    before = git(shop, "status", "--porcelain")
    done = retrain(airflow_server, shop, "simulator.events=4321")
    assert done.returncode == 0, done.stderr
    states = dict(line.split()[:2] for line in done.stderr.splitlines() if line.startswith("  "))
    assert states.pop("approve.next_step") == "skipped"
    assert list(states.values()) == ["success"] * 7
    # The verbs that spoke are those of the commit, not the installed ones.
    assert "the small shop says status" in done.stdout
    assert "the small shop says score next_step" in done.stdout

    home = Path(os.environ["CLICKFLOW_HOME"])
    (reference,) = git(shop, "for-each-ref", "--format=%(refname)", "refs/runs").split()
    (folder,) = (home / "runs").iterdir()
    assert reference == f"refs/runs/{folder.name}"
    assert "4321" in (folder / "models/next_step/weights").read_text()
    assert reference in done.stdout
    assert str(folder) in done.stdout
    assert git(shop, "status", "--porcelain") == before
    assert not (home / "workspaces").exists() or not any((home / "workspaces").iterdir())

    with sqlite3.connect(home / "airflow/airflow.db") as database:
        ((extra,),) = database.execute("select extra from asset_event").fetchall()
    assert json.loads(extra)["models"] == {"next_step": 4}
    assert json.loads(extra)["run"] == folder.name

    # The same once more: everything is known. Then bad data: the reason, its exit code, and nothing recorded.
    (shop / "data/raw/more.csv").write_text("rotten\n")
    failed = retrain(airflow_server, shop)
    assert failed.returncode == 3
    assert "stage check failed with exit code 3" in failed.stderr
    assert "a rotten row in raw.csv" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert git(shop, "for-each-ref", "--format=%(refname)", "refs/runs").split() == [reference]
    (kept,) = (home / "workspaces").iterdir()
    assert str(kept / "check") in failed.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("airflow")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_and_a_kill_end_the_run_and_what_it_has_started(shop: Path, root: Path, how: signal.Signals) -> None:
    """Started as a shell starts a background job: with SIGINT ignored."""
    pipeline = shop / "dvc.yaml"
    waits = "echo begun >> $CLICKFLOW_HOME/begun; exec sleep 12345"
    pipeline.write_text(pipeline.read_text().replace("mkdir -p data/events", waits))
    commit(shop)
    with_airflow(shop, root)
    home = Path(os.environ["CLICKFLOW_HOME"])
    command = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, "-m", "clickflow.cli", "retrain"]
    child = subprocess.Popen(command, cwd=shop, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        _until(lambda: (home / "begun").exists() or child.poll() is not None, 400)
        assert child.poll() is None
        os.kill(child.pid, how)
        _, stderr = child.communicate(timeout=200)
    finally:
        child.kill()
    assert child.returncode == (130 if how == signal.SIGINT else -how)
    assert "Traceback" not in stderr
    # Killed outright it can end nothing itself: what it has started sees that, a moment later.
    _until(lambda: not _left(home) or how == signal.SIGINT, 60)
    assert _left(home) == []
    assert (home / "begun").read_text() == "begun\n", "nothing is tried again"


def _until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.2)


def _left(home: Path) -> list[Path]:
    """Processes that work below a home."""
    return [link for link in Path("/proc").glob("[0-9]*/cwd") if _target(link).startswith(str(home))]


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""
