"""Tasks of a run without a server: at once where they may, of a pool as many as it has slots; a kill is a failure."""

import json
import subprocess
import sys
from pathlib import Path

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


def test_tasks_run_at_once_where_they_may(airflow_server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-c", airflow_server.ask(RUN)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    rounds, ended = json.loads(done.stdout.splitlines()[-1])
    assert rounds[0] == ["first", "killed", "other"], "the second of the pool waits for its slot"
    assert any("second" in each for each in rounds[1:])
    assert ended == {"first": "success", "second": "success", "killed": "failed", "other": "success"}
