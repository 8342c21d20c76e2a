"""The operators of a run's tasks.

A task's process starts git, DVC and clickflow as processes of their own and waits; it loads none of them, nor torch,
pandas, Great Expectations or MLflow. What tasks hand on (the run, lock fragments) is small JSON in XCom.
"""

from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from clickflow.errors import EXIT_DATA, EXIT_USAGE, ClickflowError
from clickflow.orchestration import graph, process, runs, workspace
from clickflow.orchestration.airflow.assets import CHAMPION
from clickflow.orchestration.process import Say
from clickflow.orchestration.tasks import FAILED, OPEN, PROMOTE
from clickflow.orchestration.workspace import Run


class ClickflowOperator(BaseOperator):  # type: ignore[misc]  # Airflow is not type-checked
    """A task of a run. Faults that trying again does not mend (exit codes 2 and 3) fail it at once."""

    ui_color = "#e8f1f8"

    def __init__(self, *, repository: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.repository = repository

    def execute(self, context: Any) -> Any:
        """Do the task's work; its lines go to the task's log and to `<home>/logs/<run>/<task>.log`."""
        process.end_with_parent()
        file = home(Path(self.repository)) / "logs" / runs.run_id(context["run_id"]) / f"{self.task_id}.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8", buffering=1) as log:

            def say(line: str) -> None:
                self.log.info(line)
                log.write(f"{line}\n")

            try:
                return self.work(context, say)
            except ClickflowError as error:
                say(f"{FAILED} {error.exit_code}")
                for line in error.lines():
                    say(line)
                hopeless = error.exit_code in (EXIT_USAGE, EXIT_DATA)
                raise (AirflowFailException if hopeless else AirflowException)(str(error)) from None

    def work(self, context: Any, say: Say) -> Any:
        """What the task does and returns to the tasks after it."""
        raise NotImplementedError

    def on_kill(self) -> None:
        """Airflow gives the task up: end what it has started."""
        process.stop_all()


class OpenOperator(ClickflowOperator):
    """Opens the run that the DAG run asks for."""

    def __init__(self, *, compiled: graph.Graph, **settings: Any) -> None:
        super().__init__(**settings)
        self.compiled = compiled

    def work(self, context: Any, say: Say) -> Any:
        """The run, as JSON."""
        name = context["run_id"]
        run = runs.open_run(
            *workspace.places(Path(self.repository)),
            name,
            context["params"]["overrides"] or {},
            compiled=self.compiled,
            dag_run=f"{context['dag'].dag_id}/{name}",
            note=context["params"]["note"] or "",
            say=say,
        )
        say(f"run {run.id} at commit {run.commit}")
        for param, value in run.overrides.items():
            say(f"{param}: {value}")
        return run.travelling()


class StageOperator(ClickflowOperator):
    """Runs one stage of dvc.yaml."""

    ui_color = "#e9f5e6"

    def __init__(self, *, stage: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.stage = stage

    def work(self, context: Any, say: Say) -> Any:
        """The stage's lock fragment."""
        parts = [] if OPEN in self.upstream_task_ids else _pull(context, self.upstream_task_ids)
        return runs.run_stage(_run(context), self.stage, parts, say)


class RecordOperator(ClickflowOperator):
    """Records the run: every stage's fragment in one commit."""

    def work(self, context: Any, say: Say) -> Any:
        """The commit."""
        stages = [task.task_id for task in context["dag"].tasks if isinstance(task, StageOperator)]
        run = _run(context)
        commit = runs.record(run, _pull(context, stages), say)
        say(f"recorded as {run.reference}; its results lie in {run.folder}")
        return commit


class PromoteOperator(ClickflowOperator):
    """Carries out the gates' decisions."""

    ui_color = "#fdf3dc"

    def work(self, context: Any, say: Say) -> Any:
        """What became of each model."""
        outcomes = runs.promote(_run(context), say)["models"]
        for outcome in outcomes:
            say(f"{outcome['model']}: {outcome['text']}")
        return outcomes


class AnnounceOperator(ClickflowOperator):
    """Says that there is a new champion, where there is one."""

    ui_color = "#fdf3dc"

    def work(self, context: Any, say: Say) -> Any:
        """Nothing; the asset event carries the news."""
        (outcomes,) = _pull(context, [PROMOTE])
        promoted = [outcome for outcome in outcomes if outcome["outcome"] == "promoted"]
        if not promoted:
            raise AirflowSkipException("no model was promoted: nothing to announce")
        run = _run(context)
        context["outlet_events"][CHAMPION].extra = {
            "run": run.id,
            "commit": run.commit,
            "models": {outcome["model"]: outcome["version"] for outcome in promoted},
        }
        say("announced: " + ", ".join(f"{outcome['model']} {outcome['version']}" for outcome in promoted))


def home(repository: Path) -> Path:
    """State that outlives runs: `CLICKFLOW_HOME`, or `.clickflow` in the repository."""
    return workspace.places(repository)[1]


def _run(context: Any) -> Run:
    (run,) = _pull(context, [OPEN])
    return workspace.here(run, Path(context["task"].repository))


def _pull(context: Any, tasks: Any) -> list[Any]:
    """What each of these tasks has returned. Raises where one has left nothing: it must run again first."""
    found = [(name, context["ti"].xcom_pull(task_ids=name)) for name in sorted(tasks)]
    for name, value in found:
        if value is None:
            raise AirflowFailException(f"task {name} of this run has left no result; clear it, so that it runs again")
    return [value for _, value in found]
