"""`clickflow airflow …`: Airflow's own commands on the platform that runs, not on an Airflow of the home folder."""

import subprocess
import sys
import time
from collections.abc import Sequence

from clickflow.platform import configuration, state, supervisor
from clickflow.system import console
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths

TRIES = 20
"""SQLite has one writer at a time, and says so at once to whoever has begun by reading."""


def run(paths: Paths, words: Sequence[str]) -> int:
    """Run `airflow WORDS` with the platform's configuration, database and variables; its exit code.

    Tried again where it says that the database was locked: then it has changed nothing. Raises ClickflowError where the
    platform does not run, UsageError where no command is named.
    """
    running = state.load(paths)
    if not supervisor.running(running.settings):
        raise UsageError("the platform does not run, and Airflow's commands need it", next_step="clickflow up")
    if not words:
        raise UsageError("no command of Airflow is named", next_step="for instance: clickflow airflow dags list")
    command = [sys.executable, "-W", "ignore", "-m", "airflow", *words]
    env = configuration.environment(running.settings, running.ports)
    for left in reversed(range(TRIES)):
        done = subprocess.run(command, env=env, stderr=subprocess.PIPE, text=True, errors="backslashreplace")
        if not (left and done.returncode and "database is locked" in done.stderr):
            break
        console.say("Airflow's database is busy; once more")
        time.sleep(0.5)
    if "AlreadyRunningBackfill" in done.stderr:
        raise UsageError(
            "a backfill of this DAG is still at work, and Airflow has one of a DAG at once",
            kept="the one at work",
            next_step="wait for it, or end it: Browse, Backfills in the UI",
        )
    sys.stderr.write(done.stderr)
    return done.returncode
