"""What the tests of runs may ask for."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import registry_workspace
from small_shop import CHECK, PARAMS, PIPELINE, commit, dvc, git

import warm
from clickflow.system import process
from clickflow.system.paths import Paths
from once import once

VERB = """
import sys
for number, name in ((1, "stdout"), (2, "stderr")):  # the server's own may be of another kind
    setattr(sys, name, open(number, "w", buffering=1, encoding="utf-8", closefd=False))
from clickflow.cli import main
main()
"""


@pytest.fixture(scope="session")
def _dvc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What runs in the test's own process need not import anew, for each command, DVC and, where the shop's commit
    brings no code, this repository's `clickflow`.
    """
    server = warm.serving(tmp_path_factory, "dvc", warm.DVC + warm.CLICKFLOW)
    verb, run = server.ask(VERB), process.run

    def run_warm(command: Sequence[str], *, cwd: Path, **more: Any) -> process.Finished:
        if command[0] == "clickflow" and not (cwd / "src/clickflow").exists():
            command = [sys.executable, "-c", verb, *command[1:]]
        return run(command, cwd=cwd, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "_DVC", server.ask(process._DVC))
        patch.setattr(process, "run", run_warm)
        yield


@pytest.fixture(scope="session")
def airflow_server(tmp_path_factory: pytest.TempPathFactory) -> warm.Server:
    """Programs that use Airflow need not import it anew; each has as its home the folder in which it runs."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
    env |= {**warm.IN_ANY_HOME, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    return warm.serving(tmp_path_factory, "airflow-server", warm.AIRFLOW, env)


@pytest.fixture(scope="session")
def _shop(tmp_path_factory: pytest.TempPathFactory, _dvc: None) -> Path:
    folder = tmp_path_factory.mktemp("shop") / "shop"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    dvc(folder, "init", "--quiet")
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "check.sh").write_text(CHECK)
    kept = ["!/data/raw/", "/data/raw/*", "!/data/raw/README.md", "!/data/raw/*.dvc"]
    (folder / ".gitignore").write_text("\n".join(["__pycache__/", "/data/*", *kept, "/models/", "/reports/", ""]))
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/raw/README.md").write_text("raw files go here\n")
    (folder / "data/raw/raw.csv").write_text("view,1\ncart,2\n")
    commit(folder, "shop")
    return folder


@pytest.fixture
def shop(_shop: Path, tmp_path: Path) -> Path:
    """A checkout with one commit and a raw file that git does not keep."""
    return Path(shutil.copytree(_shop, tmp_path / "shop"))


@pytest.fixture(scope="session")
def _migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def migrate(folder: Path) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
        env |= {"AIRFLOW_HOME": str(folder), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        code = "from clickflow.airflow import inprocess; inprocess.migrate()"
        subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, check=True, capture_output=True)

    return once(tmp_path_factory, "airflow", migrate)


@pytest.fixture
def airflow(_migrated: Path) -> None:
    """Airflow's database is there already, in the test's own home: to make it takes longer than most runs."""
    folder = Path(os.environ["CLICKFLOW_HOME"]) / "airflow"
    folder.mkdir()
    for file in (*_migrated.glob("airflow.db*"), _migrated / "migrated"):
        shutil.copy(file, folder)


@pytest.fixture
def bare(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A workspace with a registry's params, whose home is empty still."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLICKFLOW_ACTOR", "ada")
    monkeypatch.setenv("CLICKFLOW_COMMIT", "c0ffee")
    monkeypatch.setenv("CLICKFLOW_RUN_ID", "run-7")
    return registry_workspace.workspace(tmp_path, root)


@pytest.fixture
def here(bare: Paths) -> Paths:
    """The same with MLflow's database."""
    return registry_workspace.with_store(bare)
