"""The DAG `backfill`: the pipeline once per data window, each as it would have been made then.

It is started by Airflow's own backfill, never by itself (`windows.py`). Each run learns
from the events before the end of its window, and is judged by its own baselines alone: a champion may have seen what
came later.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param

from clickflow.airflow import forms
from clickflow.airflow.pipeline import compiled, kind_of
from clickflow.airflow.windows import Windows
from clickflow.orchestration import definition
from clickflow.params.schema import Params
from clickflow.system.errors import UsageError


def backfill(root: Path, *, dag_id: str, about: str) -> DAG:
    """The DAG of a checkout's dvc.yaml, one run a window of `schedule.backfill`."""
    committed = definition.read(root)
    params = committed.params
    cron, own = params.schedule.backfill, _fields(params)
    # A plain trigger is refused by `open`, not by Airflow's allowed_run_types: these would take the UI's trigger button
    # away, and with it the form for a backfill.
    return compiled(
        root,
        committed,
        dag_id=dag_id,
        about=about,
        tags=["training", "history"],
        schedule=Windows(cron, timezone="UTC") if cron else None,
        fields={"days": own.pop("days"), **forms.training(params), **own},  # section by section
        asks=_window,
    )


def _fields(params: Params) -> dict[str, Param]:
    return {
        "days": Param(
            params.schedule.backfill_days,
            type=["number", "null"],
            exclusiveMinimum=0,
            title="Days to learn from",
            description_md="Each window's run learns from so many days before the window's end. Empty: from all.",
            section=forms.DATA,
        ),
        "promote": Param(
            False,
            type="boolean",
            title="Promote",
            description_md="Off: the runs are measured and recorded. On: each is also judged against the champion, and "
            "may replace it.",
            section=forms.MORE,
        ),
    }


def _window(context: Any, params: Params) -> forms.Request:
    """The params of the run's window. Raises UsageError where the run has none."""
    end = context["dag_run"].data_interval_end
    if end is None or kind_of(context) == "manual":
        raise UsageError(
            "this run has no data window: it was not started as a backfill",
            kept=forms.NOT_RUN,
            next_step="Trigger → Backfill in the UI, or clickflow airflow backfill create --dag-id backfill "
            "--from-date 2026-01-01 --to-date 2026-03-01; params.yaml, schedule.backfill, says how long a window is",
        )
    return of_window(context["params"], params, end)


def of_window(given: Mapping[str, Any], params: Params, end: datetime) -> forms.Request:
    """What a run of the window that ends at `end` asks for."""
    days = given.get("days")
    since = (end - timedelta(days=days)).isoformat() if days else None
    request = forms.read(given, params, {"since": since, "until": end.isoformat()})
    alone = {} if given.get("promote") else dict.fromkeys(params.models, 0)
    reason = f"as a backfill, as of {end:%Y-%m-%d %H:%M} UTC"
    return replace(request, champions=alone, reason=reason)
