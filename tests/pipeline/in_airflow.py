"""DAG runs without a server, as `clickflow retrain` makes them: several in one process, for Airflow loads slowly."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clickflow.system import process
from warm import Server

RUNS = """
import json, sys
from airflow.settings import configure_vars
from clickflow.airflow import inprocess
from clickflow.system import process
configure_vars()  # the folder of DAGs is another than the server's
process._DVC = {dvc!r}  # as the test has it
for line in sys.stdin:
    dag, moment, conf = json.loads(line)
    code = inprocess.main(sys.argv[1], dag, moment, json.dumps(conf))
    {after}
    print("code:", code, flush=True)
"""


def settings(shop: Path) -> tuple[Path, dict[str, str]]:
    """The folder of Airflow in the test's home, and the environment in which the DAGs of a shop are run there."""
    folder = Path(os.environ["CLICKFLOW_HOME"]) / "airflow"
    folder.mkdir(parents=True, exist_ok=True)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
    return folder, env | {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__DAGS_FOLDER": str(shop / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",  # a busy machine
        "CLICKFLOW_UNATTENDED": "yes",
    }


class Airflow:
    """A process that runs DAGs; `log` is what it has said so far."""

    def __init__(self, child: "subprocess.Popen[str]", log: Path) -> None:
        self._child = child
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def run(self, dag: str, moment: str, conf: dict[str, Any]) -> int:
        """One run; its exit code."""
        assert self._child.stdin and self._child.stdout
        self._child.stdin.write(json.dumps([dag, moment, conf]) + "\n")
        self._child.stdin.flush()
        for line in self._child.stdout:
            if line.startswith("code: "):
                assert "is no DAG file" not in self.log, self.log[-3000:]
                return int(line.removeprefix("code: "))
        raise AssertionError(f"it ended in the run: {self.log[-3000:]}")


@contextmanager
def started(server: Server, shop: Path, after: str = "") -> Iterator[Airflow]:
    """A process that runs the DAGs of a shop; `after` is a line of Python that follows each run."""
    folder, env = settings(shop)
    log = folder / "said.log"
    runs = RUNS.format(after=after, dvc=process._DVC)
    command = [sys.executable, "-c", server.ask(runs), str(shop / "dags")]
    with log.open("w") as file, subprocess.Popen(
        command, cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True
    ) as child:  # fmt: skip
        try:
            yield Airflow(child, log)
        except BaseException:
            child.kill()
            raise
