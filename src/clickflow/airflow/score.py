"""The DAG `score`: the champions' predictions for the sessions of the data, as files that others can read."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow.sdk import DAG, Param
from airflow.sdk.exceptions import AirflowSkipException

from clickflow.airflow import forms, outcome
from clickflow.airflow.assets import PREDICTIONS
from clickflow.airflow.operators import ClickflowOperator, pulled_run
from clickflow.airflow.pipeline import by_cron, compiled, request_of
from clickflow.orchestration import definition, stores
from clickflow.orchestration.tasks import Routing, Task
from clickflow.params.schema import Params
from clickflow.params.score import Score
from clickflow.system.errors import UsageError
from clickflow.system.process import Say

SCORE = "score"
TOP, SINCE = 20, 24.0
"""How many items a session, and how far back the sessions' last events lie, hours."""


SUMMARY = ("model", "version", "batch", "path", "rows", "sessions", "newest_event", "files", "tables")
"""What the event says."""


def database(score: Score) -> dict[str, str]:
    """The URL of the database for predictions, by the variable that the verb reads it from, where an Airflow connection
    has it and the worker's environment has not. Raises UsageError where there is no such connection.
    """
    if not score.sql or not score.sql_connection or os.environ.get(score.sql_url_env, "").strip():
        return {}
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        connection = Connection.get(score.sql_connection)
    except AirflowNotFoundException:
        raise UsageError(
            f"Airflow has no connection {score.sql_connection} (score.sql_connection)",
            kept="nothing was scored",
            next_step=f"add it under Admin > Connections, or set {score.sql_url_env} on the worker",
        ) from None
    kind = {"postgres": "postgresql"}.get(connection.conn_type, connection.conn_type)
    if kind == "sqlite":
        return {score.sql_url_env: f"sqlite:///{connection.host or ''}"}
    login = quote(connection.login or "", "") + (f":{quote(connection.password, '')}" if connection.password else "")
    where = f"{connection.host or ''}{f':{connection.port}' if connection.port else ''}/{connection.schema or ''}"
    mode = connection.extra_dejson.get("sslmode")
    return {score.sql_url_env: f"{kind}://{f'{login}@' if login else ''}{where}{f'?sslmode={mode}' if mode else ''}"}


class ScoreOperator(ClickflowOperator):
    """Scores with the champion of one model. Skipped where the model is not chosen, or has no champion."""

    ui_color = "#f1e8f8"

    def __init__(self, *, model: str, stage: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.model = model
        self.stage = stage

    def work(self, context: Any, say: Say) -> Any:
        """What the predictions are of, and where they lie."""
        run, form = pulled_run(context), context["params"]
        if run.models and self.model not in run.models:
            raise AirflowSkipException(f"this run is of {', '.join(run.models)}")
        committed = definition.read(Path(self.repository)).params
        if not stores.champions(run, committed)[self.model]:
            raise AirflowSkipException(f"{self.model} has no champion yet: nothing to score with")
        out = Path(run.home) / "predictions" / self.model / run.id
        words = [SCORE, self.model, "--all", "--out", str(out), "--top", str(form["top"])]
        words += ["--since", str(form["since_hours"])] if form["since_hours"] is not None else []
        words += ["--anomalies"] if form["anomalies"] else []
        words += ["--sql"] if committed.score.sql else []
        (fragment,) = [context["ti"].xcom_pull(task_ids=name) for name in sorted(self.upstream_task_ids)]
        result = stores.verb(run, self.task_id, [self.stage], [fragment], words, say, secrets=database(committed.score))
        summary = {key: result[key] for key in SUMMARY if key in result}
        context["outlet_events"][PREDICTIONS].extra = {**summary, "run": run.id}
        outcome.note(context, f"{self.model}: {result['sessions']:,} sessions scored with version {result['version']}")
        say(f"{result['sessions']:,} sessions scored with version {result['version']}: {result['path']}")
        return summary


def score(root: Path, *, dag_id: str, about: str) -> DAG:
    """The DAG that scores a checkout's data: started by hand, or by the cron line `schedule.score`."""
    committed = definition.read(root)
    params, stages = committed.params, committed.stages
    steps, operators = dict(stores.steps(stages, params)), {}
    by_stage = {task.stage: task.id for task in steps.values()}
    for name, model in params.models.items():
        stage = stores.stage_of(stages, model.unit)
        task = Task(
            id=f"{SCORE}.{name}",
            group=SCORE,
            upstream=(by_stage[stage],),
            routing=Routing(retries=2, timeout=timedelta(hours=4)),
            about=f"The predictions of {name}'s champion, to `<home>/predictions/{name}/<run>`"
            f"{' and SQL tables' if params.score.sql else ''}, and an asset event.",
            needed_by=(name,),
        )
        steps[task.id] = task
        operators[task.id] = (ScoreOperator, {"model": name, "stage": stage, "outlets": [PREDICTIONS]})
    return compiled(
        root,
        committed,
        dag_id=dag_id,
        about=about,
        tags=["scoring"],
        schedule=by_cron(params.schedule.score),
        fields=_fields(params),
        asks=_asks,
        steps=steps,
        operators=operators,
    )


def _fields(params: Params) -> Mapping[str, Param]:
    general = forms.training(params)
    return {
        "models": forms.models(params, "Score only with these champions; the others' tasks show as skipped."),
        "top": Param(
            TOP,
            type="integer",
            **forms.whole(1, 1000),
            title="Items",
            description_md="How many next items a session, the likeliest first.",
            section=forms.MODELS,
        ),
        "since_hours": Param(
            SINCE,
            type=["number", "null"],
            exclusiveMinimum=0,
            title="Newest hours",
            description_md="Only sessions with an event in so many hours before the newest one. Empty: all sessions.",
            section=forms.DATA,
        ),
        "anomalies": Param(
            False,
            type="boolean",
            title="Odd visits",
            description_md="Also how odd each visit and customer is, where the model says what the next step is.",
            section=forms.MODELS,
        ),
        **{name: general[name] for name in ("overrides", "note")},
    }


def _asks(context: Any, params: Params) -> forms.Request:
    given = context["params"]
    top, since = given["top"], given["since_hours"]
    if not isinstance(top, int) or isinstance(top, bool) or not 1 <= top <= 1000:
        raise UsageError(f"top: {top!r} is not a whole number from 1 to 1000", kept=forms.NOT_RUN)
    if since is not None and (not isinstance(since, int | float) or isinstance(since, bool) or since <= 0):
        raise UsageError(f"since_hours: {since!r} is not a number of hours above 0", kept=forms.NOT_RUN)
    if not isinstance(given["anomalies"], bool):
        raise UsageError(f"anomalies: {given['anomalies']!r} is neither true nor false", kept=forms.NOT_RUN)
    return request_of(context, params)
