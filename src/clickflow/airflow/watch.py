"""The DAG `watch`: has the data moved away from the champions, and is it time to retrain? And where params say so, is a
canary decided?
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException

from clickflow.airflow import forms, links, outcome
from clickflow.airflow.assets import CHAMPION, DRIFT
from clickflow.airflow.operators import ClickflowOperator, pulled_run
from clickflow.airflow.pipeline import by_cron, compiled, request_of
from clickflow.orchestration import definition, notices, pages, runs, stores, workspace
from clickflow.orchestration.tasks import OPEN, PROMOTE, Routing, Task
from clickflow.system.process import Say

WATCH, CALL, JUDGE = "watch", "call", "judge"
PAGE = f"{WATCH}/{pages.REPORT}"


class WatchOperator(ClickflowOperator):
    """Judges the champions on the data as it is now."""

    ui_color = "#f1e8f8"
    operator_extra_links = (links.PageLink(PAGE, "Report", WATCH),)

    def work(self, context: Any, say: Say) -> Any:
        """The judgement: whether the data is stale, which models call for retraining, why, and the evidence."""
        run = pulled_run(context)
        names = {task.task_id: task.stage for task in context["dag"].tasks if task.task_id in self.upstream_task_ids}
        fragments = {stage: context["ti"].xcom_pull(task_ids=name) for name, stage in names.items()}
        parts = {stage: fragment for stage, fragment in fragments.items() if fragment}
        out = Path(run.home) / "watch" / run.id
        words = [WATCH, *run.models, "--out", str(out)]
        said = stores.verb(run, WATCH, sorted(parts), parts.values(), words, say)
        say(said["why"])
        outcome.note(context, said["why"])
        published = pages.publish(run, {PAGE: Path(said["report"])}, say)
        context["ti"].xcom_push(key=links.KEY, value=published)
        say(f"report: {said['report']}")
        if said["stale"]:
            notices.tell(
                Path(run.home),
                "stale",
                title="clickflow: the data is stale",
                text=f"the newest event is of {said['newest_event'][:16]} UTC, {said['age_hours']:.0f} hours old"
                + "".join(f"\nReport: {link}" for link in published.values()),
                dag=context["dag"].dag_id,
                run=context["run_id"],
                next_step="see why no newer events arrive; watch.max_age_hours in params.yaml is the limit",
                say=say,
            )
        kept = ("newest_event", "age_hours", "stale", "retrain", "why", "report")
        return {key: said[key] for key in kept} | {"page": published.get(PAGE, ""), "evidence": _evidence(said)}


class CallOperator(ClickflowOperator):
    """Calls for retraining, where the rule does: an asset event that starts `retrain`."""

    ui_color = "#fdf3dc"

    def work(self, context: Any, say: Say) -> Any:
        """Nothing; the asset event carries the evidence."""
        said, run = context["ti"].xcom_pull(task_ids=WATCH), pulled_run(context)
        if not said["retrain"]:
            raise AirflowSkipException(said["why"])
        summary = {key: said[key] for key in ("why", "report", "page", "newest_event")}
        context["outlet_events"][DRIFT].extra = {
            **summary,
            "run": run.id,
            "models": {model: said["evidence"][model] for model in said["retrain"]},
        }
        say(f"retraining is called for: {said['why']}")


class JudgeOperator(ClickflowOperator):
    """Ends canaries where the rule of params `live` says so: each a line of the ledger."""

    ui_color = "#e3f2e6"

    def work(self, context: Any, say: Say) -> Any:
        """What `clickflow canary judge --json` says; skipped where no champion changed."""
        run = pulled_run(context)
        folder = workspace.create(run, JUDGE, {})
        try:
            done = json.loads(runs.verb(run, folder, ["canary", JUDGE], say).stdout)["canaries"]
        finally:
            workspace.remove(folder)
        text = "; ".join(f"{model}: {line['text']}" for model, line in done.items()) or "no canary is on"
        say(text)
        if not (promoted := {model: line["version"] for model, line in done.items() if line["call"] == PROMOTE}):
            raise AirflowSkipException(text)
        outcome.note(context, text)
        context["outlet_events"][CHAMPION].extra = {"run": run.id, "canary": text, "models": promoted}
        return done


def _evidence(said: Mapping[str, Any]) -> dict[str, Any]:
    """By model what the rule has judged: each window, and what broke in it."""
    return {
        model: {
            "version": verdict["version"],
            "why": verdict["why"],
            "windows": [{key: window[key] for key in ("since", "until", "broken")} for window in verdict["windows"]],
        }
        for model, verdict in said["models"].items()
    }


def watch(root: Path, *, dag_id: str, about: str) -> DAG:
    """The DAG that watches a checkout's data: started by hand, or by the cron line `schedule.watch`."""
    committed = definition.read(root)
    params, stages = committed.params, committed.stages
    steps = dict(stores.steps(stages, params))
    ends = {stores.stage_of(stages, model.unit) for model in params.models.values()}
    steps[WATCH] = Task(
        id=WATCH,
        group=None,
        upstream=tuple(task.id for task in steps.values() if task.stage in ends),
        routing=Routing(retries=2, timeout=timedelta(hours=4)),
        about="Freshness, drift and live metrics, to `<home>/watch/<run>/report.html`.",
        after_some=True,
    )
    steps[CALL] = Task(
        id=CALL,
        group=None,
        upstream=(WATCH,),
        routing=Routing(retries=2, timeout=timedelta(hours=1)),
        about="Calls for retraining by the rule of params `watch`: an asset event. Skipped, with the reason, where "
        "nothing calls for it.",
    )
    if params.live.judge:
        steps[JUDGE] = Task(
            id=JUDGE,
            group=None,
            upstream=(OPEN,),
            routing=Routing(pool=PROMOTE, retries=2, timeout=timedelta(minutes=30)),
            about="Ends canaries by the rule of params `live`: promotes or stops, each a line of the ledger. Skipped, "
            "with the reason, where no champion changes.",
        )
    general = forms.training(params)
    fields = {
        "models": forms.models(params, "Watch only these champions."),
        **{name: general[name] for name in ("overrides", "note")},
    }
    return compiled(
        root,
        committed,
        dag_id=dag_id,
        about=about,
        tags=["monitoring"],
        schedule=by_cron(params.schedule.watch),
        fields=fields,
        asks=request_of,
        steps=steps,
        operators={
            WATCH: (WatchOperator, {}),
            CALL: (CallOperator, {"outlets": [DRIFT]}),
            JUDGE: (JudgeOperator, {"outlets": [CHAMPION]}),
        },
    )
