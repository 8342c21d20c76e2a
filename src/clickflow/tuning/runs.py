"""A study in MLflow: one run, and below it one for each trial. What fails there is said once, and tuning goes on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clickflow.params.schema import Params
from clickflow.system.paths import Paths
from clickflow.tracking.experiment import Experiment, Say

EXPERIMENT = "tuning"
STATUS = {"finished": "FINISHED", "pruned": "KILLED", "failed": "FAILED", "stopped": "KILLED"}
"""How a trial ended, to MLflow's status of its run; the words stand in the tag clickflow.outcome."""


class Runs:
    """The runs of one study; a study that goes on does so in the run that it had.

    MLflow is loaded with the first call: the first trials are at work by then.
    """

    def __init__(
        self, params: Params, paths: Paths, study: str, model: str, *, tags: Mapping[str, str], say: Say
    ) -> None:
        self.experiment = Experiment(params, paths, EXPERIMENT, work="tuning", say=say)
        self.tags = {**tags, "clickflow.study": study, "clickflow.model": model}
        self.parent = ""
        self.children: dict[int, str] = {}

    def begin(self, number: int, model: str, params: Mapping[str, Any]) -> None:
        """A trial begins, with these params."""

        def start() -> None:
            tags = {"mlflow.parentRunId": self._study(), "clickflow.model": model, "clickflow.trial": str(number)}
            self.children[number] = self.experiment.begin(f"trial {number}", tags, params)

        self.experiment.attempt(start)

    def epoch(self, number: int, values: Mapping[str, float], step: int) -> None:
        """An epoch of a trial has ended."""
        self.experiment.attempt(lambda: self.experiment.log(self.children[number], metrics=values, step=step))

    def end(self, number: int, outcome: str, tags: Mapping[str, str]) -> None:
        """A trial has ended; `outcome` is one of STATUS."""

        def terminate() -> None:
            run = self.children.pop(number)
            self.experiment.log(run, tags={**tags, "clickflow.outcome": outcome})
            self.experiment.end(run, STATUS[outcome])

        self.experiment.attempt(terminate)

    def finish(self, metrics: Mapping[str, float], params: Mapping[str, Any], report: Path | None) -> None:
        """The study rests: what is best so far, and the files of its report."""

        def end() -> None:
            best = {f"best.{name}": str(value) for name, value in params.items()}
            self.experiment.log(self._study(), metrics=metrics, tags=best)
            self.experiment.end(self._study(), files=[report] if report is not None else [])

        self.experiment.attempt(end)

    def _study(self) -> str:
        """The run of the study, begun at the first call; trials that another process left running are ended."""
        if not self.parent:
            client = self.experiment.store.client
            if mine := self.experiment.search(f"tags.`clickflow.study` = '{self.tags['clickflow.study']}'", 1):
                client.update_run(mine[0], status="RUNNING")
                for run in self.experiment.search(
                    f"tags.`mlflow.parentRunId` = '{mine[0]}' and attributes.status = 'RUNNING'"
                ):
                    self.experiment.log(run, tags={"clickflow.outcome": "stopped"})
                    self.experiment.end(run, STATUS["stopped"])
                self.parent = mine[0]
            else:
                self.parent = self.experiment.begin(f"tune {self.tags['clickflow.model']}", self.tags, {})
        return self.parent
