"""`python -m clickflow.airflow.inprocess DAGS DAG TIME CONF [FILE]`: one DAG run in this process, without a server.

Started by `clickflow.orchestration.local` with an AIRFLOW_HOME of its own. FILE says how far the tasks are, and in the
end what they have handed on. Exit code 0: the run succeeded.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from clickflow.airflow import forking
from clickflow.orchestration import machine
from clickflow.system import process
from clickflow.system.errors import EXIT_FAILED, EXIT_INTERRUPTED
from clickflow.system.files import withhold, write_json

LOOK = 0.25
"""Seconds between two looks at the tasks."""


def main(dags: str, dag_id: str, moment: str, conf: str, file: str = "") -> int:
    """Bring the database up to date, load the DAG files, run the DAG, and return the exit code."""
    withhold()
    migrate()
    pools = {"gpu": machine.trainings(), "promote": 1}
    _make_pools(pools)

    from airflow.dag_processing.dagbag import BundleDagBag

    bag = BundleDagBag(dags, bundle_path=Path(dags), bundle_name="dags-folder")
    for file, error in bag.import_errors.items():
        print(f"error: {file} is no DAG file: {error}", file=sys.stderr)
    if dag_id not in bag.dags:
        return EXIT_FAILED
    when, dag = datetime.fromisoformat(moment), bag.dags[dag_id]
    dag.deadline = None  # a scheduler's to watch, and there is none
    os.environ["AIRFLOW__CORE__EXECUTOR"] = "clickflow.airflow.forking.ForkingExecutor"
    forking.ForkingExecutor.dag, forking.ForkingExecutor.pools = dag, pools
    with _followed(dag_id, f"manual__{when.isoformat()}", Path(file) if file else None):
        run = dag.test(run_after=when, logical_date=when, run_conf=json.loads(conf), use_executor=True)
    return 0 if run.state == "success" else EXIT_FAILED


@contextmanager
def _followed(dag_id: str, run_id: str, file: Path | None) -> Iterator[None]:
    """Meanwhile `file` says how far the tasks are (state, begin, end), and at the end what they have handed on."""
    if file is None:
        yield
        return
    from sqlalchemy.exc import SQLAlchemyError

    ended = threading.Event()

    def follow() -> None:
        before: dict[str, Any] = {}
        while not ended.wait(LOOK):
            try:
                with forking.ALONE:
                    tasks = _tasks(dag_id, run_id)
                    if tasks != before:
                        write_json(file, {"tasks": tasks})
                        before = tasks
            except (SQLAlchemyError, OSError):
                continue  # the database is busy, or the disk full: the next look will see it

    thread = threading.Thread(target=follow, name="follow", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        write_json(file, {"tasks": _tasks(dag_id, run_id), "handed_on": _handed_on(dag_id, run_id)})


def _tasks(dag_id: str, run_id: str) -> dict[str, dict[str, str | None]]:
    from airflow.models.dagrun import DagRun

    return {
        task.task_id: {
            "state": task.state and str(task.state),
            "begin": task.start_date and task.start_date.isoformat(),
            "end": task.end_date and task.end_date.isoformat(),
        }
        for task in DagRun.fetch_task_instances(dag_id, run_id)
    }


def _handed_on(dag_id: str, run_id: str) -> dict[str, Any]:
    """What each task has returned."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        rows = session.scalars(XComModel.get_many(run_id=run_id, dag_ids=dag_id, key="return_value"))
        return {row.task_id: XComModel.deserialize_value(row) for row in rows}


def migrate() -> None:
    """Bring Airflow's database in the current folder up to date; done once for each version, for it takes seconds."""
    import airflow
    from filelock import FileLock

    stamp, wanted = Path("migrated"), airflow.__version__
    with FileLock("migrating.lock"):
        if not (stamp.exists() and stamp.read_text() == wanted and Path("airflow.db").exists()):
            from airflow.utils.db import initdb

            initdb()
            stamp.write_text(wanted)


def _make_pools(pools: Mapping[str, int]) -> None:
    """Pools that tasks ask for, by their slots: so many trainings, and one change of champions, at a time."""
    from airflow.models.pool import Pool

    for name, slots in pools.items():
        there = Pool.get_pool(name)
        if there is None or there.slots != slots:
            Pool.create_or_update_pool(name, slots=slots, description="made by clickflow", include_deferred=False)


def _interrupt(number: int, frame: Any) -> None:  # noqa: ARG001
    """Ctrl-C: end what runs, and this process; to Airflow an interrupted task is one that failed and is tried again."""
    process.stop_all()
    for child in multiprocessing.active_children():  # they were told as well
        child.join()
    os._exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, _interrupt)
    process.end_with_parent()  # killed as `clickflow retrain` may be, it leaves nobody at work
    sys.exit(main(*sys.argv[1:]))
