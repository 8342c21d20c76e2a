"""A study in MLflow: one run, and below it one for each trial. What fails there is said once, and tuning goes on."""

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

EXPERIMENT = "tuning"
STATUS = {"finished": "FINISHED", "pruned": "KILLED", "failed": "FAILED", "stopped": "KILLED"}
"""How a trial ended, to MLflow's status of its run; the words stand in the tag clickflow.outcome."""


class Runs:
    """The runs of one study; a study that goes on does so in the run that it had.

    MLflow is loaded with the first call: the first trials are at work by then.
    """

    def __init__(
        self,
        uri: str,
        artifacts: Path,
        study: str,
        model: str,
        *,
        tags: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self.uri, self.say = uri, say
        self.client: Any = None
        self.gone = self.begun = False
        self.parent = self.experiment = ""
        self.children: dict[int, str] = {}
        # before the import: no telemetry, no progress bars, and no minutes of waiting where no server answers
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        self.begins: Callable[[], None] = lambda: self._start(artifacts, study, model, dict(tags))

    def _start(self, artifacts: Path, study: str, model: str, tags: dict[str, str]) -> None:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self.uri)
        found = client.get_experiment_by_name(EXPERIMENT)
        local = artifacts.as_uri() if self.uri.startswith("sqlite:") else None
        self.experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT, local)
        mine = client.search_runs([self.experiment], f"tags.`clickflow.study` = '{study}'", max_results=1)
        if mine:
            self.parent = mine[0].info.run_id
            client.update_run(self.parent, status="RUNNING")
            cut = f"tags.`mlflow.parentRunId` = '{self.parent}' and attributes.status = 'RUNNING'"
            for run in client.search_runs([self.experiment], cut):
                client.set_tag(run.info.run_id, "clickflow.outcome", "stopped")
                client.set_terminated(run.info.run_id, STATUS["stopped"])
        else:
            tags |= {"clickflow.study": study, "clickflow.model": model}
            self.parent = client.create_run(self.experiment, run_name=f"tune {model}", tags=tags).info.run_id
        self.client = client

    def begin(self, number: int, model: str, params: Mapping[str, Any]) -> None:
        """A trial begins, with these params."""

        def start() -> None:
            from mlflow.entities import Param

            tags = {"mlflow.parentRunId": self.parent, "clickflow.model": model, "clickflow.trial": str(number)}
            run = self.client.create_run(self.experiment, run_name=f"trial {number}", tags=tags).info.run_id
            self.children[number] = run
            self.client.log_batch(run, params=[Param(name, str(value)) for name, value in sorted(params.items())])

        self._try(start)

    def epoch(self, number: int, values: Mapping[str, float], step: int) -> None:
        """An epoch of a trial has ended."""

        def log() -> None:
            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            metrics = [Metric(name, value, now, step) for name, value in values.items()]
            self.client.log_batch(self.children[number], metrics=metrics)

        self._try(log)

    def end(self, number: int, outcome: str, tags: Mapping[str, str]) -> None:
        """A trial has ended; `outcome` is one of STATUS."""

        def terminate() -> None:
            from mlflow.entities import RunTag

            run = self.children.pop(number)
            told = {**tags, "clickflow.outcome": outcome}
            self.client.log_batch(run, tags=[RunTag(name, value) for name, value in told.items()])
            self.client.set_terminated(run, STATUS[outcome])

        self._try(terminate)

    def finish(self, metrics: Mapping[str, float], params: Mapping[str, Any], report: Path | None) -> None:
        """The study rests: what is best so far, and the files of its report."""

        def end() -> None:
            from mlflow.entities import Metric, RunTag

            now = int(time.time() * 1000)
            self.client.log_batch(
                self.parent,
                metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
                tags=[RunTag(f"best.{name}", str(value)) for name, value in params.items()],
            )
            if report is not None:
                self.client.log_artifacts(self.parent, str(report))
            self.client.set_terminated(self.parent)

        self._try(end)

    def _try(self, action: Callable[[], None]) -> None:
        if self.gone:
            return
        try:
            if not self.begun:
                self.begins()
                self.begun = True
            action()
        except Exception as error:  # whatever a client, a database or a network raises
            self.gone = True
            first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            self.say(f"MLflow cannot be used, tuning goes on without it: {first}")
