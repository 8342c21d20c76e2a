"""What a run has come to, said where people look: in the run's note in Airflow, and in `clickflow runs`.

Tasks say it by `note`, which costs them nothing but an XCom; the process of Airflow that ends the run (the scheduler,
which alone may write into the database) gathers it.
"""

import os
from pathlib import Path
from typing import Any

from airflow.listeners import hookimpl
from airflow.sdk.exceptions import AirflowRuntimeError

KEY = "clickflow_note"
"""Of the XCom that a task says its part in."""

TAG = "clickflow"
"""Of the DAGs that this is about."""

MARK = "**Outcome**"
"""Where our part of a note begins; what a person has written stands before it, and stays."""

LIMIT = 1000
"""Characters of a note."""


def note(context: Any, text: str) -> None:
    """Let the run's note say `text` when the run has ended; a later word of the same task takes its place.

    Where Airflow does not take it, the task's log says so: a task must not fail, or fail otherwise, for a note.
    """
    try:
        context["ti"].xcom_push(key=KEY, value=text)
    except AirflowRuntimeError as error:
        context["task"].log.warning("the run's note will not say %r: %s", text, error)


@hookimpl  # type: ignore[untyped-decorator]  # Airflow is not type-checked
def on_dag_run_running(dag_run: Any, msg: str) -> None:  # noqa: ARG001  # the names are Airflow's
    """A run that had ended is at work again."""
    if _ours(dag_run):
        _journal(dag_run, "", "")


@hookimpl  # type: ignore[untyped-decorator]
def on_dag_run_success(dag_run: Any, msg: str) -> None:  # noqa: ARG001
    """A run has ended well."""
    _ended(dag_run, "done")


@hookimpl  # type: ignore[untyped-decorator]
def on_dag_run_failed(dag_run: Any, msg: str) -> None:  # noqa: ARG001
    """A run has failed: nobody needs to be told any more that it is late, so its deadline goes."""
    from airflow.models.dagrun import DagRun
    from airflow.models.deadline import Deadline

    _ended(dag_run, "failed")
    if _ours(dag_run) and (session := _session(dag_run)):
        Deadline.prune_deadlines(session=session, conditions={DagRun.id: dag_run.id})


def _ended(dag_run: Any, state: str) -> None:
    """Write the note and the journal's line, where the run is one of ours."""
    if not _ours(dag_run):
        return
    if session := _session(dag_run):
        if said := _said(dag_run, session):
            written = (dag_run.note or "").partition(MARK)[0].strip()
            # Committed by the scheduler with the run's own state, and not before: its lock on the run ends there.
            dag_run.note = "\n\n".join(filter(None, [written, f"{MARK} {said}"]))[:LIMIT]
    else:  # a run in one process: there is no UI that would show a note
        from airflow.utils.session import create_session

        with create_session() as session:
            said = _said(dag_run, session)
    _journal(dag_run, state, said)


def _journal(dag_run: Any, state: str, said: str) -> None:
    """The same for `clickflow runs`, where this process knows the home."""
    if home := os.environ.get("CLICKFLOW_HOME", "").strip():
        from clickflow.orchestration import journal, runs

        journal.ended(Path(home).expanduser().absolute(), runs.run_id(dag_run.run_id), state, said)


def _said(dag_run: Any, session: Any) -> str:
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    mine = XComModel.dag_id == dag_run.dag_id, XComModel.run_id == dag_run.run_id, XComModel.key == KEY
    rows = session.scalars(select(XComModel).where(*mine).order_by(XComModel.timestamp.desc()))
    # The last word first: what became of the models, before where the reports are.
    return "\n\n".join(str(XComModel.deserialize_value(one)) for one in rows)


def _ours(dag_run: Any) -> bool:
    return dag_run.dag is not None and TAG in dag_run.dag.tags


def _session(dag_run: Any) -> Any:
    from sqlalchemy.orm import object_session

    return object_session(dag_run)
