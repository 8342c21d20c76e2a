"""`clickflow worker` on another machine: training goes there, over HTTP, git and the DVC remote alone."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from platform_client import Platform

pytestmark = [pytest.mark.platform, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both machines reach."""
    return tmp_path_factory.mktemp("shared") / "dvc-remote"


@pytest.fixture(scope="module")
def central(start_platform: Callable[..., Platform], remote: Path) -> Platform:
    """A platform that trains nothing itself."""
    return start_platform(CLICKFLOW_GPU_WORKERS="0", CLICKFLOW_DVC_REMOTE=str(remote))


@pytest.fixture(scope="module")
def box(central: Platform, remote: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Another machine: a clone, a home and a cache of its own; a worker is at work there."""
    folder = tmp_path_factory.mktemp("box")
    subprocess.run(["git", "clone", "--quiet", str(central.clone), str(folder / "clone")], check=True)
    env = {
        **{name: value for name, value in central.env.items() if not name.startswith(("CLICKFLOW_", "AIRFLOW"))},
        "PYTHONPATH": str(folder / "clone/src"),
        "CLICKFLOW_HOME": str(folder / "home"),
        "CLICKFLOW_API_URL": central.airflow,
        "CLICKFLOW_JWT_SECRET": json.loads((central.home / "platform/secrets.json").read_text())["jwt"],
        "CLICKFLOW_REPOSITORY": central.clone.as_uri(),
        "CLICKFLOW_DVC_REMOTE": str(remote),
        "MLFLOW_TRACKING_URI": central.mlflow,
        "MLFLOW_TRACKING_USERNAME": "writer",
        "MLFLOW_TRACKING_PASSWORD": central.mlflow_password("writer"),
    }
    with (folder / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "clickflow.cli", "worker", "--queue", "gpu", "--name", "box"],
            cwd=folder / "clone",
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    yield folder
    worker.send_signal(signal.SIGTERM)
    try:
        assert worker.wait(60) == 0, (folder / "worker.log").read_text()
    finally:
        worker.kill()


def test_training_runs_there_and_is_promoted_here(central: Platform, box: Path) -> None:
    run = central.trigger("retrain")
    assert central.wait("retrain", run, timeout=1200) == "success", (box / "worker.log").read_text()[-3000:]
    here, there = central.home / "logs", box / "home/logs"
    assert {path.stem for path in there.glob("*/*.log")} == {"train.next_step"}
    assert "train.next_step" not in {path.stem for path in here.glob("*/*.log")}
    assert "as torch finds no CUDA device" in central.log("retrain", run, "train.next_step") or "cuda" in central.log(
        "retrain", run, "train.next_step"
    )
    status = json.loads(central.command("status", "--json").stdout)
    assert status["models"]["next_step"]["champion"]["version"] == 1


def test_a_second_worker_of_that_name_is_refused(central: Platform, box: Path) -> None:
    again = central.command(
        "worker",
        "--name",
        "box",
        CLICKFLOW_HOME=str(box / "home"),
        CLICKFLOW_API_URL=central.airflow,
        CLICKFLOW_JWT_SECRET="any",
        CLICKFLOW_REPOSITORY=str(central.clone),
    )
    assert again.returncode == 2
    assert "worker box runs already" in again.stderr
