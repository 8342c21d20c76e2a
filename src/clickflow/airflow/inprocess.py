"""`python -m clickflow.airflow.inprocess DAGS DAG TIME CONF`: one DAG run in this process, without a server.

Started by `clickflow.orchestration.local` with an AIRFLOW_HOME of its own. Exit code 0: the run succeeded.
"""

import json
import sys
from datetime import datetime
from pathlib import Path

from clickflow.system import process
from clickflow.system.errors import EXIT_FAILED

POOLS = {"gpu": 1, "promote": 1}
"""Pools that tasks ask for, and their slots: one training, and one change of champions, at a time."""


def main(dags: str, dag_id: str, moment: str, conf: str) -> int:
    """Bring the database up to date, load the DAG files, run the DAG, and return the exit code."""
    migrate()
    _make_pools()

    from airflow.dag_processing.dagbag import BundleDagBag

    bag = BundleDagBag(dags, bundle_path=Path(dags), bundle_name="dags-folder")
    for file, error in bag.import_errors.items():
        print(f"error: {file} is no DAG file: {error}", file=sys.stderr)
    if dag_id not in bag.dags:
        return EXIT_FAILED
    when, dag = datetime.fromisoformat(moment), bag.dags[dag_id]
    dag.deadline = None  # a scheduler's to watch, and there is none
    run = dag.test(run_after=when, logical_date=when, run_conf=json.loads(conf))
    return 0 if run.state == "success" else EXIT_FAILED


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


def _make_pools() -> None:
    from airflow.models.pool import Pool

    for name, slots in POOLS.items():
        if Pool.get_pool(name) is None:
            Pool.create_or_update_pool(name, slots=slots, description="made by clickflow", include_deferred=False)


if __name__ == "__main__":
    process.end_with_parent()  # killed as `clickflow retrain` may be, it leaves nobody at work
    sys.exit(main(*sys.argv[1:]))
