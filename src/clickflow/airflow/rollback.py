"""The DAG `rollback`: an earlier champion is put back, with a reason, by one task."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param

from clickflow.airflow import forms, outcome, policy, routing
from clickflow.airflow.assets import CHAMPION
from clickflow.airflow.operators import ClickflowOperator, person
from clickflow.orchestration import definition, repository, runs, workspace
from clickflow.orchestration.tasks import PROMOTE, Routing
from clickflow.orchestration.workspace import Run
from clickflow.params.schema import Params
from clickflow.registry import ledger
from clickflow.system.errors import ClickflowError
from clickflow.system.paths import Paths
from clickflow.system.process import Say

WORDS = r"^\s*\S+(\s+\S+){2,}\s*$"
"""A reason has three words at least; Airflow refuses another before there is a run."""

LIMIT = timedelta(minutes=30)


def rollback(root: Path, *, dag_id: str, about: str) -> DAG:
    """The DAG; started by hand alone."""
    committed = definition.read(root)
    params = committed.params
    with DAG(
        dag_id=dag_id,
        schedule=None,
        tags=["clickflow", "champion"],
        params=forms.warned(_fields(params, root), committed.warning),
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


def _fields(params: Params, root: Path) -> dict[str, Param]:
    names = list(params.models)
    return {
        "model": Param(
            names[0], type="string", enum=names, title="Model", description_md="Whose champion is to be replaced."
        ),
        "to": Param(None, type=["integer", "null"], title="Version", **_versions(root, names)),
        "reason": Param(
            "",
            type="string",
            maxLength=500,
            pattern=WORDS,
            title="Reason, three words or more",
            description_md="Why; it stands in the ledger beside your name, and is read when the question is what "
            "happened.",
        ),
    }


def _versions(root: Path, models: list[str]) -> dict[str, Any]:
    """The schema of the field `to`: the versions that were champion, as the ledger of this machine knows them."""
    about = "The version to put back; it was champion, or passed the gate. Empty: the previous champion."
    try:
        entries = ledger.read(ledger.path(Paths(root)))
    except (ClickflowError, OSError) as error:
        return {**forms.whole(1), "description_md": f"{about} Which there are cannot be said here: {error}"}
    shown: dict[int, list[str]] = {}
    for model in models:
        standing = ledger.standing(entries, model)
        for entry in {entry.champion: entry for entry in entries if entry.model == model and entry.moves}.values():
            now = " (champion now)" if entry.champion == standing.champion else ""
            since = entry.time[:16].replace("T", " ")
            text = f"{model} {entry.champion}, champion since {since} UTC{_measured(entry)}{now}"
            shown.setdefault(entry.champion, []).append(text)
    if not shown:
        return {**forms.whole(1), "description_md": f"{about} There was no champion yet."}
    labels = {str(version): "; ".join(texts) for version, texts in sorted(shown.items(), reverse=True)}
    return {
        "enum": [None, *map(int, labels)],
        "values_display": {"None": "the previous champion", **labels},
        "description_md": f"{about} One that passed the gate and was never champion: **clickflow rollback**.",
    }


def _measured(entry: ledger.Entry) -> str:
    return "".join(
        f", {name} {value:.4f}" for name, value in sorted(dict(entry.facts.get("metrics") or {}).items())[:2]
    )


class RollbackOperator(ClickflowOperator):
    """Puts an earlier champion back, and says so to whoever waits for a new one."""

    ui_color = "#fbe3e0"

    def work(self, context: Any, say: Say) -> Any:
        """What `clickflow rollback --json` says."""
        forms.check_keys(context["dag_run"].conf or {}, context["dag"].params.keys())
        given = context["params"]
        reason = forms.words(given["reason"], "reason").strip()
        words = ["rollback", str(given["model"]), "--reason", reason]
        words += ["--to", str(given["to"])] if given["to"] else []
        run = self._run(context)
        folder = workspace.create(run, "rollback", {})
        try:
            done = json.loads(runs.verb(run, folder, words, say).stdout)
        finally:
            workspace.remove(folder)
        context["outlet_events"][CHAMPION].extra = {
            "run": run.id,
            "rollback": reason,
            "models": {done["model"]: done["champion"]},
        }
        text = f"{done['model']}: version {done['champion']} is champion again, {done['previous']} was"
        say(text)
        outcome.note(context, f"{text}: {reason}")
        return done

    def _run(self, context: Any) -> Run:
        origin, home = workspace.places(Path(self.repository))
        name = context["run_id"]
        commit = repository.head(origin, home)
        return Run(
            runs.run_id(name), commit, origin, str(home), {}, f"{context['dag'].dag_id}/{name}", person=person(context)
        )
