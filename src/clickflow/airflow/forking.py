"""An executor for a DAG run without a server: each task in a process forked from one that has Airflow and the DAG.

Tasks that do not wait for each other run at once, as on a platform: as many as there are processors, up to four, of a
pool as many as it has slots.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from multiprocessing import connection, get_context
from threading import Lock
from typing import Any, ClassVar

from airflow.executors.base_executor import BaseExecutor
from airflow.executors.workloads import ExecuteTask
from airflow.utils.state import TaskInstanceState

from clickflow.system import process

ALONE = Lock()
"""Held while a process is forked, and by a thread that uses the database meanwhile: a lock of SQLite's would be forked
too, and never be released.
"""
MOST = 4
"""Tasks at once, whatever the processors: each may take gigabytes of memory."""
AGAIN = 5.0
"""Seconds after which Airflow looks for tasks that have become ready, as one that is tried again does."""


class _NoTokens:
    """Whoever asks the interface for tasks is this program: nothing is to be proved."""

    def generate(self, *_: Any, **__: Any) -> str:
        return ""


class ForkingExecutor(BaseExecutor):  # type: ignore[misc]  # Airflow is not type-checked
    """Runs the tasks of `dag`."""

    is_local = True
    dag: ClassVar[Any] = None
    pools: ClassVar[Mapping[str, int]] = {}
    jwt_generator = _NoTokens()

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__(parallelism=min(MOST, len(os.sched_getaffinity(0))))
        self._children: dict[Any, Any] = {}

    def start(self) -> None:
        """Make the routes of the interface for tasks, in all its versions: each process would have to, for seconds."""
        from airflow.sdk.execution_time import supervisor

        interface = supervisor.in_process_api_server().app
        if not interface._cadwyn_initialized:
            interface._cadwyn_initialize()

    def _get_workloads_to_schedule(self, open_slots: int) -> list[tuple[Any, Any]]:
        taken = Counter(self._pool(key.task_id) for key in self._children)
        chosen: list[tuple[Any, Any]] = []
        for key, workload in self.order_queued_tasks_by_priority():
            pool = self._pool(key.task_id)
            if len(chosen) < open_slots and taken[pool] < self.pools.get(pool, self.parallelism):
                taken[pool] += 1
                chosen.append((key, workload))
        return chosen

    def _pool(self, task_id: str) -> str:
        return str(self.dag.task_dict[task_id].pool)

    def _process_workloads(self, workload_items: Sequence[ExecuteTask]) -> None:
        for workload in workload_items:
            key = workload.ti.key
            del self.queued_tasks[key]
            self.running.add(key)
            child = get_context("fork").Process(target=_run, args=[workload.ti, self.dag.task_dict[key.task_id]])
            with ALONE:
                child.start()
            self._children[key] = child

    def sync(self) -> None:
        """Wait until a task has ended: there is nothing to do before."""
        if not self._children:
            return
        ready = connection.wait([child.sentinel for child in self._children.values()], timeout=AGAIN)
        for key, child in list(self._children.items()):
            if child.sentinel in ready:  # its files are closed; its exit code comes a moment later
                child.join()
                del self._children[key]
                self.change_state(key, TaskInstanceState.FAILED if child.exitcode else TaskInstanceState.SUCCESS)

    def send_callback(self, request: Any) -> None:
        """Of a task whose process was killed; it tells nobody, and its failure stands in the run."""
        self.log.error("%s", request.msg)

    def end(self) -> None:
        """Nothing runs any more when a run has ended."""
        for child in self._children.values():
            child.join()

    def terminate(self) -> None:
        """Wait for the tasks' processes, which end as this one was told to."""
        self.end()


def _run(ti: Any, task: Any) -> None:
    """In a process of its own: a task, to its end; what became of it stands in the database."""
    from airflow.sdk.api.datamodels._generated import TaskInstance
    from airflow.sdk.execution_time.supervisor import run_task_in_process

    process.end_with_parent()
    run_task_in_process(ti=TaskInstance(**ti.model_dump(include=set(TaskInstance.model_fields))), task=task)
