"""The DAG `rollback`: an earlier champion is put back, with a reason, by one task."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param

from clickflow.errors import UsageError
from clickflow.orchestration import graph, repository, runs, workspace
from clickflow.orchestration.airflow import forms, policy, routing
from clickflow.orchestration.airflow.assets import CHAMPION
from clickflow.orchestration.airflow.operators import ClickflowOperator
from clickflow.orchestration.process import Say
from clickflow.orchestration.tasks import PROMOTE, Routing
from clickflow.orchestration.workspace import Run
from clickflow.params import Params
from clickflow.params_file import load

WORDS = 3
"""Of a reason, at least: it is read when the question is what happened."""

LIMIT = timedelta(minutes=30)


def rollback(root: Path, *, dag_id: str, about: str) -> DAG:
    """The DAG; started by hand alone."""
    params = load(root / graph.PARAMS)
    with DAG(
        dag_id=dag_id,
        schedule=None,
        tags=["clickflow", "champion"],
        params=_fields(params),
        doc_md=about,
        **policy.settings(root, params, [LIMIT]),
    ) as dag:
        RollbackOperator(
            task_id="rollback",
            repository=str(root),
            outlets=[CHAMPION],
            doc_md="`clickflow rollback`, in a workspace, one change of champions at a time.",
            **routing.settings(Routing(pool=PROMOTE, retries=2, timeout=LIMIT)),
        )
    return dag


def _fields(params: Params) -> dict[str, Param]:
    names = list(params.models)
    return {
        "model": Param(
            names[0], type="string", enum=names, title="Model", description_md="Whose champion is to be replaced."
        ),
        "to": Param(
            None,
            type=["integer", "null"],
            minimum=1,
            title="Version",
            description_md="The version to put back; it was champion, or passed the gate. Empty: the previous one. "
            "**clickflow status** and MLflow list them.",
        ),
        "reason": Param(
            "",
            type="string",
            maxLength=500,
            title="Reason",
            description_md=f"Why, in at least {WORDS} words; it stands in the ledger beside your name.",
        ),
    }


class RollbackOperator(ClickflowOperator):
    """Puts an earlier champion back, and says so to whoever waits for a new one."""

    ui_color = "#fbe3e0"

    def work(self, context: Any, say: Say) -> Any:
        """What `clickflow rollback --json` says."""
        forms.check_keys(context["dag_run"].conf or {}, context["dag"].params.keys())
        given = context["params"]
        reason = str(given["reason"] or "").strip()
        if len(reason.split()) < WORDS:
            raise UsageError(
                f"the reason {reason!r} is too short: at least {WORDS} words say why",
                kept="the champion stays",
                next_step="trigger the DAG again with a reason that still says something in a year",
            )
        words = ["rollback", str(given["model"]), "--reason", reason]
        words += ["--to", str(given["to"])] if given["to"] else []
        run = self._run(context)
        folder = workspace.create(run, "rollback", {})
        try:
            done = json.loads(runs.verb(run, folder, words, say, actor=_who(context)).stdout)
        finally:
            workspace.remove(folder)
        context["outlet_events"][CHAMPION].extra = {
            "run": run.id,
            "rollback": reason,
            "models": {done["model"]: done["champion"]},
        }
        say(f"{done['model']}: version {done['champion']} is champion again, {done['previous']} was")
        return done

    def _run(self, context: Any) -> Run:
        origin, home = workspace.places(Path(self.repository))
        name = context["run_id"]
        commit = repository.head(origin, home)
        return Run(runs.run_id(name), commit, origin, str(home), {}, f"{context['dag'].dag_id}/{name}")


def _who(context: Any) -> str:
    """Who has triggered the run, as Airflow knows them."""
    return str(getattr(context["dag_run"], "triggering_user_name", None) or "")
