"""The task `approve.<model>`: a candidate that the gate lets through waits for a person's word.

While it waits it holds no worker; the question stands under Required Actions in Airflow. Without an answer in time
the candidate is registered, and does not become champion.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowSkipException

from clickflow.airflow import links
from clickflow.airflow.operators import pulled_run, speaking
from clickflow.airflow.policy import UNATTENDED
from clickflow.heads import outputs
from clickflow.orchestration import graph, journal, notices, pages, runs
from clickflow.orchestration.workspace import Run
from clickflow.params.file import load
from clickflow.params.schema import Params
from clickflow.system import integrity, process
from clickflow.system.files import read_json
from clickflow.system.paths import Paths
from clickflow.system.process import Say

YES, NO = "Approve", "Reject"


def fields() -> dict[str, Param]:
    """What a person fills in beside the answer."""
    about = "Stands in the ledger beside your name. To reject, it is needed."
    # A plain string would have to be filled in before the UI lets anybody approve.
    return {"reason": Param("", type=["string", "null"], maxLength=500, title="Reason", description=about)}


class ApproveOperator(HITLOperator):  # type: ignore[misc]  # Airflow is not type-checked
    """Asks a person about one model's candidate; returns what was answered, by whom and when."""

    ui_color = "#fdf3dc"

    def __init__(self, *, repository: str, model: str, wait: timedelta, **settings: Any) -> None:
        super().__init__(
            subject=f"Make the new {model} champion?",
            body="",
            options=[YES, NO],
            response_timeout=wait,
            **settings,
        )
        self.repository = repository
        self.model = model
        self.operator_extra_links = links.buttons([model])

    def execute(self, context: Any) -> Any:
        """Ask, and let go of the worker; skipped where nobody is to be asked."""
        with speaking(self, context) as say:
            run = pulled_run(context)
            paths, params = self._ready(context, run, say)
            if answered := self._answered_before(context, run):
                say(f"answered already: {answered['answer']}, {answered['by']}")
                return answered
            self.response_timeout = timedelta(hours=params.promotion.wait_hours)
            self.subject = f"Make the new {self.model} champion? It passed the gate"
            published = links.of_run(context["ti"])
            as_written(paths, self.model, Path(run.home))
            self.body = question(paths, self.model, run, params.promotion.wait_hours, published)
            report = published.get(f"{self.model}/{pages.REPORT}")
            shown = f"its report: {report}" if report else "the figures stand in the question"
            self._tell(context, run, f"the gate lets it through; {shown}", say)
            say(f"waiting for {YES} or {NO}, for {params.promotion.wait_hours:g} hours")
            return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """The answer has come, or the time is over."""
        with speaking(self, context) as say:
            return self._word(context, event, say)

    def on_kill(self) -> None:
        """Airflow gives the task up: end what it has started."""
        process.stop_all()

    def _ready(self, context: Any, run: Run, say: Say) -> tuple[Paths, Params]:
        """The run's results and params. Skips where the gate alone decides, or has decided otherwise."""
        if run.models and self.model not in run.models:
            raise AirflowSkipException(f"this run is of {', '.join(run.models)}")
        if not context["params"].get("promote", True):
            raise AirflowSkipException("this run does not promote")
        paths = Paths(runs.results(run, say))
        params = load(paths.root / graph.PARAMS)
        if self.model not in params.promotion.approve:
            raise AirflowSkipException(f"promotion.approve does not name {self.model}: the gate alone decides")
        decision = read_json(paths.gate(self.model) / "decision.json")
        if decision["decision"] != "promote":
            raise AirflowSkipException(f"nothing to approve, the gate said {decision['decision']}")
        if os.environ.get(UNATTENDED):
            raise AirflowSkipException("there is no server to answer at: approve it with `clickflow promote --approve`")
        return paths, params

    def _answered_before(self, context: Any, run: Run) -> Any:
        """The answer that an attempt before this one has taken; None where there is none.

        An answer within a moment of the question can make Airflow count the attempt as lost, although it has ended
        well. Whoever clears the task wants to be asked again.
        """
        ti = context["ti"]
        if ti.try_number == ti.max_tries - self.retries + 1:
            journal.forget_answer(run, self.task_id)
        return journal.answer(run, self.task_id) or None

    def _word(self, context: Any, event: Mapping[str, Any], say: Say) -> Any:
        user = event.get("responded_by_user") or {}
        at = event.get("responded_at") or datetime.now(UTC)
        reason = str((event.get("params_input") or {}).get("reason") or "").strip()
        if event.get("error_type") == "timeout":
            hours = self.response_timeout.total_seconds() / 3600
            answer, reason = "none", f"nobody answered within {hours:g} hours"
        elif "error" in event:
            answer, reason = "none", f"the answer was not understood: {event['error']}"
        else:
            answer = "approve" if event["chosen_options"] == [YES] else "reject"
        if answer == "reject" and not reason:
            say("a rejection needs a reason: asked again")
            self._tell(context, pulled_run(context), "it was rejected without a reason, which is needed", say)
            return super().execute(context)
        by = str(user.get("name") or user.get("id") or "nobody")
        say(f"{answer}, {by}" + (f": {reason}" if reason else ""))
        moment = at.isoformat(timespec="seconds") if isinstance(at, datetime) else str(at)
        said = {"answer": answer, "by": by, "at": moment, "reason": reason}
        journal.answered(pulled_run(context), self.task_id, said)
        return said

    def _tell(self, context: Any, run: Run, text: str, say: Say) -> None:
        notices.tell(
            Path(run.home),
            "waiting",
            title=f"clickflow: a new {self.model} waits for your word",
            text=text,
            dag=context["dag"].dag_id,
            run=context["run_id"],
            next_step=f"answer under Required Actions of the run, with {YES} or {NO}",
            say=say,
        )


def as_written(paths: Paths, model: str, home: Path) -> None:
    """Raise DataError where the figures that a person is to decide by are not those that evaluate and gate wrote."""
    for folder, name in ((paths.gate(model), "decision.json"), (paths.evaluation(model), "metrics.json")):
        if (folder / integrity.SEAL).is_file():  # without one promote refuses, whatever is answered
            integrity.verify_files(folder, name, home=home)


def question(paths: Paths, model: str, run: Run, hours: float, published: Mapping[str, str]) -> str:
    """What a person needs to know to decide, in Markdown: the figures, the gate's rules, the reports.

    `published`: links to the run's pages; without them the question says where the files lie.
    """
    shown = pages.markdown(published, [model]) or (
        f"The report is on no page (the log of the task record says why). On the server: "
        f"`{paths.evaluation(model) / pages.REPORT}`, `{paths.gate(model) / pages.DECISION}`"
    )
    decision, metrics = read_json(paths.gate(model) / "decision.json"), read_json(paths.measured(model))
    version = decision["champion_version"]
    lines = [
        f"**{model}** of run `{run.id}`: {decision['summary']}.",
        f"The champion is version {version}." if version else "There is no champion yet.",
        _requested_by(run),
        "",
        shown,
        "",
        *_figures(decision["metrics"], metrics),
        "",
        "| rule | | |",
        "| --- | --- | --- |",
        *(f"| {rule['rule']} | {rule['verdict'].replace('_', ' ')} | {rule['text']} |" for rule in decision["rules"]),
        "",
        f"Without an answer within {hours:g} hours it is registered and not made champion.",
    ]
    return "\n".join(lines)


def _requested_by(run: Run) -> str:
    """Who started the run, and what it sets beside its commit: whoever agrees should see that it was no usual one."""
    sets = ", ".join(f"`{name}={json.dumps(value)}`" for name, value in run.overrides.items())
    who = f"Asked for by {run.person}" if run.person else f"Started {run.reason}" if run.reason else "Started by itself"
    return f"{who}, " + (f"with other params than the commit's: {sets}." if sets else "with the params of the commit.")


def _figures(headline: Mapping[str, float], metrics: Mapping[str, Any]) -> list[str]:
    """A table of the gate's metrics: the candidate, the champion, the baselines."""
    names = [output.name for output in outputs.every() if metrics.get(output.name)]
    places = {name: outputs.place_of(name, names) for name in headline if name != "coverage"}
    heads = {head: metrics.get(head) or {} for head, _ in places.values()}
    who = list(dict.fromkeys(name for head in heads.values() for name, figures in head.items() if figures))
    who.sort(key=lambda name: ["candidate", "champion"].index(name) if name in ("candidate", "champion") else 2)
    rows = [f"| | {' | '.join(places)} |", "| --- |" + " --- |" * len(places)]
    for name in who:
        cells = [_value((heads[head].get(name) or {}).get(metric)) for head, metric in places.values()]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def _value(measured: Any) -> str:
    number = measured.get("value") if isinstance(measured, Mapping) else measured
    return "" if number is None else f"{number:.4f}"
