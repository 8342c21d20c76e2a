"""How training went, to MLflow and TensorBoard. Neither may break a training: what fails is said once, then left."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clickflow.params.models import Model, own
from clickflow.params.schema import Params
from clickflow.system import console
from clickflow.system.paths import Paths
from clickflow.tracking import provenance
from clickflow.tracking.experiment import Experiment, Say, flat_metrics, flat_params
from clickflow.tracking.tensorboard import TensorBoard

EXPERIMENT = "training"


class Mlflow:
    """One MLflow run. A training that was killed goes on in the run that it had.

    Per epoch one request; figures and files at the end.
    """

    def __init__(
        self,
        params: Params,
        paths: Paths,
        model: str,
        *,
        tags: Mapping[str, str],
        spec: Mapping[str, Any],
        say: Say,
    ) -> None:
        """`spec`: the params of the training, flat."""
        self.experiment = Experiment(params, paths, EXPERIMENT, work="training", say=say)
        self.run = ""
        self.experiment.attempt(lambda: self._start(model, tags, spec))

    def _start(self, model: str, tags: Mapping[str, str], spec: Mapping[str, Any]) -> None:
        same = [
            f"tags.`{name}` = '{tags[name]}'" for name in ("clickflow.fingerprint", "clickflow.run_id") if name in tags
        ]
        unfinished = self.experiment.search(" and ".join([*same, "attributes.status = 'RUNNING'"]), 1)
        if unfinished:
            self.run = unfinished[0]
            return
        by = tags.get("clickflow.run_id") or f"commit {tags.get('clickflow.commit', 'unknown')[:8]}"
        data = tags.get("clickflow.data_sha256", "unknown")[:8]
        note = {"mlflow.note.content": f"Training of {model} on data {data}, by {by}."}
        self.run = self.experiment.begin(f"{model} · data {data} · {by}", {**tags, **note}, spec)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log `values` at `step` (an epoch)."""
        self.experiment.attempt(lambda: self.experiment.log(self.run, metrics=values, step=step))

    def finish(self, tags: Mapping[str, str], files: list[Path]) -> None:
        """Tag the run, keep `files` with it, and end it."""

        def end() -> None:
            self.experiment.log(self.run, tags=tags)
            self.experiment.end(self.run, files=files)

        self.experiment.attempt(end)

    def fail(self) -> None:
        """End the run as failed."""
        self.experiment.attempt(lambda: self.experiment.end(self.run, "FAILED"))


class Tracker:
    """MLflow and TensorBoard together, told how one training goes."""

    def __init__(
        self, params: Params, paths: Paths, model: str, spec: Model, *, fingerprint: str, data_sha256: str
    ) -> None:
        tags = provenance.tags(provenance.of(paths.root), data_sha256)
        self.mlflow = Mlflow(
            params,
            paths,
            model,
            tags={**tags, "clickflow.model": model, "clickflow.fingerprint": fingerprint},
            spec=flat_params(own(spec)) | {"seed": params.seed},
            say=console.say,
        )
        self.board = TensorBoard(paths.home / "tensorboard" / model / fingerprint, console.say)

    def step(self, values: Mapping[str, float], step: int) -> None:
        """Figures of a training step."""
        self.board.scalars({f"step/{name}": value for name, value in values.items()}, step)

    def epoch(self, record: Mapping[str, Any], rates: Mapping[str, float]) -> None:
        """An epoch's line of the history; one request to MLflow."""
        values = flat_metrics(record)
        self.board.scalars(values, record["epoch"])
        self.mlflow.metrics({**values, **rates}, record["epoch"])

    def close(self) -> None:
        """Nothing more will be told of steps and epochs."""
        self.board.close()

    def fail(self) -> None:
        """The training has failed."""
        self.mlflow.fail()

    def finish(self, facts: Mapping[str, str], files: list[Path]) -> None:
        """The training has ended: what is to be known of it, and what is kept with it."""
        self.mlflow.finish({f"clickflow.{name}": fact for name, fact in facts.items()}, files)
