"""What a run came to is seen: a rejected one skips `promote`, and the run's note says why, as does `clickflow runs`."""

import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from in_airflow import started
from small_shop import commit, with_airflow
from typer.testing import CliRunner

from clickflow import cli
from warm import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# A scheduler ends a run with the run in its session, and so does what follows each run here.
ENDS = """
def end(dag):
    from airflow.models.dagrun import DagRun
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        run = session.scalars(select(DagRun).order_by(DagRun.id.desc()).limit(1)).one()
        run.dag = SerializedDagModel.get_dag(dag, session=session)
        run.notify_dagrun_state_changed(msg="")
        run.notify_dagrun_state_changed(msg="")
"""


def ask(statement: str) -> list[tuple[Any, ...]]:
    """What Airflow's database holds."""
    with sqlite3.connect(Path(os.environ["CLICKFLOW_HOME"]) / "airflow/airflow.db") as database:
        return database.execute(statement).fetchall()


def note(day: str) -> str:
    """The note of the run of a day."""
    rows = ask(
        f"select content from dag_run_note n join dag_run r on r.id = n.dag_run_id where r.run_id like '%{day}%'"
    )
    return str(rows[0][0]) if rows else ""


def listed(shop: Path) -> dict[str, dict[str, Any]]:
    """`clickflow runs`, by the day in the run's name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shop)
        stdout = CliRunner().invoke(cli.app, ["runs", "--json"]).stdout
    return {entry["id"].split("__")[1][:10]: entry for entry in json.loads(stdout)["runs"]}


@pytest.mark.usefixtures("airflow")
def test_a_rejection_is_seen_and_is_no_failure(shop: Path, root: Path, airflow_server: Server) -> None:
    with_airflow(shop, root)
    shutil.copy(root / "dags/backfill.py", shop / "dags")
    (shop / "scheduler.py").write_text(ENDS)
    code = shop / "src/clickflow/cli.py"
    promoted = code.read_text()
    rejected = promoted.replace('"outcome": "promoted"', '"outcome": "rejected"').replace(
        "promoted as version 4", "version 4 rejected, champion stays 3: mrr@20 fell"
    )
    code.write_text(rejected)
    commit(shop, "a gate that rejects")
    ends = f"sys.path.append({str(shop)!r}); import scheduler; scheduler.end(dag)"
    with started(airflow_server, shop, ends) as airflow:
        assert airflow.run("retrain", "2026-01-05T00:00:00+00:00", {}) == 0
        code.write_text(promoted)
        commit(shop, "a gate that promotes")
        assert airflow.run("retrain", "2026-01-06T00:00:00+00:00", {}) == 0
        wrong = {"overrides": {"source.pth": "x"}}
        assert airflow.run("retrain", "2026-01-07T00:00:00+00:00", wrong) == 1
        assert airflow.run("backfill", "2026-01-08T00:00:00+00:00", {}) == 1

    home = Path(os.environ["CLICKFLOW_HOME"])
    written = [
        *home.glob("notices.jsonl"),
        *(home / "logs").rglob("*"),
        *(each for each in (home / "runs").rglob("*") if each.is_dir()),
    ]
    assert written
    assert not [path for path in written if not path.is_symlink() and path.stat().st_mode & 0o007]

    states = {(row[0][8:18], row[1]): row[2] for row in ask("select run_id, task_id, state from task_instance")}
    assert [states["2026-01-05", task] for task in ("promote", "announce")] == ["skipped", "skipped"]
    assert [states["2026-01-06", task] for task in ("promote", "announce")] == ["success", "success"]
    assert states["2026-01-08", "open"] == "failed", "a plain trigger of backfill has a task, and it says what is wrong"
    assert note("2026-01-05").startswith("**Outcome** **rejected** next_step: version 4 rejected, champion stays 3")
    assert note("2026-01-06").startswith("**Outcome** **promoted** next_step: promoted as version 4")
    assert note("2026-01-07").startswith("**Outcome** **failed** at open: ")
    assert "source.pth: unknown key; did you mean 'path'?" in note("2026-01-07")
    assert "no data window" in note("2026-01-08")
    assert note("2026-01-05").count("**Outcome**") == 1, "a second time it takes the place of the first"

    runs = listed(shop)
    assert {entry["person"] for entry in runs.values()} == {""}, "nobody triggers a run in one process"
    assert {day: runs[day]["state"] for day in ("2026-01-05", "2026-01-06")} == {
        "2026-01-05": "recorded",
        "2026-01-06": "recorded",
    }
    assert "champion stays 3" in runs["2026-01-05"]["outcome"]
    assert not (Path(os.environ["CLICKFLOW_HOME"]) / "notices.jsonl").read_text().count("2026-01-05")
