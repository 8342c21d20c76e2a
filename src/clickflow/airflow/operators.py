"""The operators of a run's tasks.

A task's process starts git, DVC and clickflow as processes of their own and waits; it loads none of them, nor torch,
pandas, Great Expectations or MLflow. What tasks hand on (the run, lock fragments) is small JSON in XCom.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException, AirflowTaskTimeout

from clickflow.airflow import forms, links, outcome
from clickflow.airflow.assets import CHAMPION
from clickflow.orchestration import definition, graph, journal, pages, runs, workspace
from clickflow.orchestration.tasks import FAILED, OPEN, PROMOTE
from clickflow.orchestration.workspace import Run
from clickflow.params.schema import Params
from clickflow.system import process
from clickflow.system.errors import EXIT_DATA, EXIT_FAILED, EXIT_USAGE, ClickflowError
from clickflow.system.files import withhold
from clickflow.system.process import Say

TIMEOUT_HINT = "next: raise meta.airflow.timeout_minutes of the stage in dvc.yaml, or see in its log what it waits for"


IN_PROCESS = "dag_test"
"""The user of `clickflow retrain`, as Airflow has it: whoever calls it, whom the ledger finds by itself."""

Asks = Callable[[Any, Params], forms.Request]
"""What a DAG run's context asks for. Raises UsageError."""


@contextmanager
def speaking(task: Any, context: Any) -> Iterator[Say]:
    """Where a task's lines go, and how it fails: at once where trying again does not help (exit codes 2 and 3)."""
    withhold()
    file = home(Path(task.repository)) / "logs" / runs.run_id(context["run_id"]) / f"{task.task_id}.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8", buffering=1) as log:

        def say(line: str) -> None:
            task.log.info(line)
            log.write(f"{line}\n")

        def fail(code: int, lines: list[str]) -> None:
            say(f"{FAILED} {code}")
            for line in lines:
                say(line)
            outcome.note(context, f"**failed** at {task.task_id}: {lines[0]}")

        try:
            yield say
        except AirflowSkipException as skip:
            say(f"skipped: {skip}")
            raise
        except ClickflowError as error:
            fail(error.exit_code, error.lines())
            hopeless = error.exit_code in (EXIT_USAGE, EXIT_DATA)
            raise (AirflowFailException if hopeless else AirflowException)(str(error)) from None
        except AirflowTaskTimeout:
            fail(EXIT_FAILED, [f"{task.task_id} took longer than {task.execution_timeout}", TIMEOUT_HINT])
            raise
        except OSError as error:
            fail(EXIT_FAILED, [f"{type(error).__name__}: {error}"])
            raise


class ClickflowOperator(BaseOperator):  # type: ignore[misc]  # Airflow is not type-checked
    """A task of a run. Faults that trying again does not mend (exit codes 2 and 3) fail it at once."""

    ui_color = "#e8f1f8"

    def __init__(self, *, repository: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.repository = repository

    def execute(self, context: Any) -> Any:
        """Do the task's work; its lines go to the task's log and to `<home>/logs/<run>/<task>.log`."""
        with speaking(self, context) as say:
            return self.work(context, say)

    def work(self, context: Any, say: Say) -> Any:
        """What the task does and returns to the tasks after it."""
        raise NotImplementedError

    def on_kill(self) -> None:
        """Airflow gives the task up: end what it has started."""
        process.stop_all()


class OpenOperator(ClickflowOperator):
    """Opens the run that the DAG run asks for. Skipped where nobody asked for it and nothing has changed."""

    def __init__(self, *, compiled: graph.Graph, asks: Asks, **settings: Any) -> None:
        super().__init__(**settings)
        self.compiled = compiled
        self.asks = asks

    def work(self, context: Any, say: Say) -> Any:
        """The run, as JSON."""
        name, conf = context["run_id"], context["dag_run"].conf or {}
        forms.check_keys(conf, context["dag"].params.keys())
        request = self.asks(context, definition.read(Path(self.repository)).params)
        run = runs.open_run(
            *workspace.places(Path(self.repository)),
            name,
            request.values,
            compiled=self.compiled,
            models=request.models,
            dag_run=f"{context['dag'].dag_id}/{name}",
            note=request.note,
            reason=request.reason,
            person=person(context),
            champions=request.champions,
            say=say,
        )
        say(
            f"run {run.id} at commit {run.commit}; started {request.reason}" + (f", {run.person}" if run.person else "")
        )
        for param, value in run.overrides.items():
            say(f"{param}: {value}")
        if request.by_itself and (why := runs.unchanged(run, say)):
            outcome.note(context, f"**skipped**: {why}")
            raise AirflowSkipException(why)
        return run.travelling()


class StageOperator(ClickflowOperator):
    """Runs one stage of dvc.yaml."""

    ui_color = "#e9f5e6"

    def __init__(self, *, stage: str, needed_by: tuple[str, ...], **settings: Any) -> None:
        super().__init__(**settings)
        self.stage = stage
        self.needed_by = needed_by

    def work(self, context: Any, say: Say) -> Any:
        """The stage's lock fragment. Skipped where no chosen model needs the stage."""
        run = pulled_run(context)
        if not self.needed_in(run):
            raise AirflowSkipException(f"this run is of {', '.join(run.models)}, which do without it")
        parts = [] if OPEN in self.upstream_task_ids else _pull(context, self.upstream_task_ids)
        try:
            return runs.run_stage(run, self.stage, parts, say)
        except runs.StageFailed as error:
            # What a person looks at first when data is refused; such a run is never recorded.
            docs = run.workspaces / self.stage / "reports" / pages.DATA_DOCS
            if error.exit_code != EXIT_DATA or not docs.is_dir():
                raise
            published = pages.publish(run, {pages.DATA_DOCS: docs}, say)
            shown = "".join(f"\nData Docs: {link}" for link in published.values())
            raise runs.StageFailed(
                f"{error.what}{shown}", exit_code=error.exit_code, kept=error.kept, next_step=error.next_step
            ) from None

    def needed_in(self, run: Run) -> bool:
        """Whether the run's models need the stage."""
        return not run.models or not set(run.models).isdisjoint(self.needed_by)


class RecordOperator(ClickflowOperator):
    """Records the run: every stage's fragment in one commit. Its reports go to MLflow, with links that stay."""

    def __init__(self, *, models: tuple[str, ...], **settings: Any) -> None:
        super().__init__(**settings)
        self.models = models
        self.operator_extra_links = links.buttons(models)

    def work(self, context: Any, say: Say) -> Any:
        """The commit."""
        run = pulled_run(context)
        stages = [t.task_id for t in context["dag"].tasks if isinstance(t, StageOperator) and t.needed_in(run)]
        commit = runs.record(run, _pull(context, stages), say)
        say(f"recorded as {run.reference}; its results lie in {run.folder}")
        models = run.models or self.models
        published = pages.of_results(run, models, say)
        context["ti"].xcom_push(key=links.KEY, value=published)
        if shown := pages.markdown(published, models[:2]):  # a note has no room for more
            outcome.note(context, shown)
        return commit


class PromoteOperator(ClickflowOperator):
    """Carries out the gates' decisions, and what people said of them."""

    ui_color = "#fdf3dc"

    def __init__(self, *, approvals: Mapping[str, str], **settings: Any) -> None:
        super().__init__(**settings)
        self.approvals = approvals
        self.operator_extra_links = links.buttons(approvals)

    def work(self, context: Any, say: Say) -> Any:
        """What became of each model. Skipped where none was promoted, and in a run that is not to promote."""
        if not context["params"].get("promote", True):
            raise AirflowSkipException("a backfill measures; with its field promote it would promote too")
        run = pulled_run(context)
        said = {model: context["ti"].xcom_pull(task_ids=task) for model, task in self.approvals.items()}
        answers = {model: journal.as_answered(run, self.approvals[model], said[model]) for model in said if said[model]}
        done = runs.promote(run, say, answers)["models"]
        for one in done:
            say(f"{one['model']}: {one['text']}")
        promoted = sum(one["outcome"] in ("promoted", "already champion") for one in done)
        of_all = [f"**{promoted} of {len(done)} models promoted**"] if 0 < promoted < len(done) else []
        parts = [*of_all, *(f"**{one['outcome']}** {one['model']}: {one['text']}" for one in done)]
        outcome.note(context, "\n\n".join(parts))
        if all(one["outcome"] in ("held", "rejected") for one in done):
            # Seen in the grid, and no failure that calls somebody: the gate has done its work.
            context["ti"].xcom_push(key="return_value", value=done)
            raise AirflowSkipException("no model was promoted: " + "; ".join(one["text"] for one in done))
        return done


class AnnounceOperator(ClickflowOperator):
    """Says that there is a new champion, where there is one."""

    ui_color = "#fdf3dc"

    def work(self, context: Any, say: Say) -> Any:
        """Nothing; the asset event carries the news."""
        (outcomes,) = _pull(context, [PROMOTE])
        promoted = [one for one in outcomes if one["outcome"] == "promoted"]
        if not promoted:
            raise AirflowSkipException("no model was promoted: nothing to announce")
        run = pulled_run(context)
        context["outlet_events"][CHAMPION].extra = {
            "run": run.id,
            "commit": run.commit,
            "models": {one["model"]: one["version"] for one in promoted},
        }
        say("announced: " + ", ".join(f"{one['model']} {one['version']}" for one in promoted))


def home(repository: Path) -> Path:
    """State that outlives runs: `CLICKFLOW_HOME`, or `.clickflow` in the repository."""
    return workspace.places(repository)[1]


def person(context: Any) -> str:
    """Who has triggered the run, as Airflow knows them; empty where nobody did, or Airflow runs in one process."""
    name = str(getattr(context["dag_run"], "triggering_user_name", None) or "")
    return "" if name == IN_PROCESS else name


def pulled_run(context: Any) -> Run:
    """The run that the task `open` has handed on, as this machine sees it.

    Raises UsageError where it is another one, or was changed on the way.
    """
    (said,) = _pull(context, [OPEN])
    run = workspace.here(said, Path(context["task"].repository))
    if run.id != runs.run_id(context["run_id"]):
        raise workspace.changed(f"is the run {run.id}")
    return journal.as_opened(run)


def _pull(context: Any, tasks: Any) -> list[Any]:
    """What each of these tasks has returned. Raises where one has left nothing: it must run again first."""
    values = [(name, context["ti"].xcom_pull(task_ids=name)) for name in sorted(tasks)]
    for name, value in values:
        if value is None:
            raise AirflowFailException(f"task {name} of this run has left no result; clear it, so that it runs again")
    return [value for _, value in values]
