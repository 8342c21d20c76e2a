"""Tasks of a run without a server: at once where they may, of a pool as many as it has slots; a kill is a failure."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from clickflow.orchestration import machine
from warm import Server

RUN = """
import json, os, signal
from collections import namedtuple
from types import SimpleNamespace
from clickflow.airflow import forking

Key = namedtuple("Key", "task_id")
rounds = []

class Seen(forking.ForkingExecutor):
    def sync(self):
        rounds.append(sorted(key.task_id for key in self._children))
        super().sync()

def run(ti, task):
    if ti.key.task_id == "killed":
        os.kill(os.getpid(), signal.SIGKILL)

forking._run = run
pools = {"first": "gpu", "second": "gpu", "killed": "default_pool", "other": "default_pool"}
Seen.dag = SimpleNamespace(task_dict={name: SimpleNamespace(pool=pool) for name, pool in pools.items()})
Seen.pools = {"gpu": 1}
executor = Seen()
executor.parallelism = 3
for name in pools:
    executor.queued_tasks[Key(name)] = SimpleNamespace(ti=SimpleNamespace(key=Key(name), priority_weight=1))
while executor.queued_tasks or executor._children:
    executor.heartbeat()
executor.end()
print(json.dumps([rounds, {key.task_id: str(state) for key, (state, _) in executor.get_event_buffer().items()}]))
"""


@pytest.mark.parametrize(
    ("gpus", "processors", "free_gb", "at_once"), [(2, 8, 64, 1), (0, 2, 64, 2), (0, 8, 7, 1), (0, 8, 17, 3)]
)
def test_without_a_gpu_trainings_share_processors_and_memory(
    gpus: int, processors: int, free_gb: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: gpus)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(processors)))
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=free_gb << 30))
    assert machine.trainings() == at_once


def test_tasks_run_at_once_where_they_may(airflow_server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-c", airflow_server.ask(RUN)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    rounds, ended = json.loads(done.stdout.splitlines()[-1])
    assert rounds[0] == ["first", "killed", "other"], "the second of the pool waits for its slot"
    assert any("second" in each for each in rounds[1:])
    assert ended == {"first": "success", "second": "success", "killed": "failed", "other": "success"}
