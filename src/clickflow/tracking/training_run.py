"""How training went, to MLflow and TensorBoard. Neither may break a training: what fails is said once, then left."""

import logging
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clickflow.params.models import Model
from clickflow.params.schema import Params
from clickflow.system import console
from clickflow.system.paths import Paths

EXPERIMENT = "training"


class Mlflow:
    """One MLflow run. A training that was killed goes on in the run that it had.

    Per epoch one request; figures and files at the end.
    """

    def __init__(
        self,
        uri: str,
        artifacts: Path,
        model: str,
        *,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> None:
        self.uri, self.say = uri, say
        self.client: Any = None
        self.run = ""
        # before the import: no telemetry, no progress bars, and no minutes of waiting where no server answers
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        self._try(lambda: self._start(artifacts, model, dict(tags), dict(params)))

    def _start(self, artifacts: Path, model: str, tags: dict[str, str], params: dict[str, Any]) -> None:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        from mlflow import MlflowClient
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        client = MlflowClient(tracking_uri=self.uri)
        found = client.get_experiment_by_name(EXPERIMENT)
        try:
            local = artifacts.as_uri() if self.uri.startswith("sqlite:") else None
            experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT, local)
        except MlflowException:  # another training has just made it
            experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
        same = [
            f"tags.`{name}` = '{tags[name]}'" for name in ("clickflow.fingerprint", "clickflow.run_id") if name in tags
        ]
        unfinished = client.search_runs(
            [experiment], " and ".join([*same, "attributes.status = 'RUNNING'"]), max_results=1
        )
        if unfinished:
            self.run = unfinished[0].info.run_id
        else:
            by = tags.get("clickflow.run_id") or f"commit {tags.get('clickflow.commit', 'unknown')[:8]}"
            data = tags.get("clickflow.data_sha256", "unknown")[:8]
            tags["mlflow.note.content"] = f"Training of {model} on data {data}, by {by}."
            self.run = client.create_run(experiment, run_name=f"{model} · data {data} · {by}", tags=tags).info.run_id
            client.log_batch(self.run, params=[Param(name, str(value)) for name, value in sorted(params.items())])
        self.client = client

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log `values` at `step` (an epoch)."""

        def log() -> None:
            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            self.client.log_batch(self.run, metrics=[Metric(name, value, now, step) for name, value in values.items()])

        self._try(log)

    def finish(self, tags: Mapping[str, str], files: list[Path]) -> None:
        """Tag the run, keep `files` with it, and end it."""

        def end() -> None:
            from mlflow.entities import RunTag

            self.client.log_batch(self.run, tags=[RunTag(name, value) for name, value in tags.items()])
            for path in files:
                self.client.log_artifact(self.run, str(path))
            self.client.set_terminated(self.run)

        self._try(end)

    def fail(self) -> None:
        """End the run as failed."""
        self._try(lambda: self.client.set_terminated(self.run, "FAILED"))

    def _try(self, action: Callable[[], None]) -> None:
        if self.client is None and self.run == "gone":
            return
        try:
            action()
        except Exception as error:  # whatever a client, a database or a network raises: training goes on
            self.client, self.run = None, "gone"
            first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            self.say(f"MLflow cannot be used, training goes on without it: {first}")


class Tracker:
    """MLflow and TensorBoard together, told how one training goes."""

    def __init__(
        self, params: Params, paths: Paths, model: str, spec: Model, *, fingerprint: str, data_sha256: str
    ) -> None:
        self.mlflow = Mlflow(
            uri(params.registry.mlflow_uri, paths.home),
            paths.home / "mlartifacts",
            model,
            tags={
                **provenance(paths.root),
                "clickflow.model": model,
                "clickflow.fingerprint": fingerprint,
                "clickflow.data_sha256": data_sha256,
            },
            params=names(asdict(spec)) | {"seed": params.seed},
            say=console.say,
        )
        self.board = TensorBoard(paths.home / "tensorboard" / model / fingerprint, console.say)

    def step(self, values: Mapping[str, float], step: int) -> None:
        """Figures of a training step."""
        self.board.scalars({f"step/{name}": value for name, value in values.items()}, step)

    def epoch(self, record: Mapping[str, Any], rates: Mapping[str, float]) -> None:
        """An epoch's line of the history; one request to MLflow."""
        values = flat(record)
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


class TensorBoard:
    """Event files for `tensorboard --logdir`; the curves of a training that went on after a kill join."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(folder), flush_secs=30)
        except (ImportError, OSError) as error:
            say(f"no TensorBoard files are written: {error}")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add `values` at `step`."""
        if self.writer:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        if self.writer:
            self.writer.close()


def uri(configured: str | None, home: Path) -> str:
    """`registry.mlflow_uri`, else `MLFLOW_TRACKING_URI`, else a SQLite file in the home."""
    home.mkdir(parents=True, exist_ok=True)
    return configured or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"


def provenance(root: Path) -> dict[str, str]:
    """Tags that say where a training comes from: commit, run and DAG run, as far as they are known."""
    names = {"commit": "CLICKFLOW_COMMIT", "run_id": "CLICKFLOW_RUN_ID", "dag_run": "CLICKFLOW_DAG_RUN"}
    found = {f"clickflow.{key}": os.environ[name] for key, name in names.items() if os.environ.get(name)}
    if "clickflow.commit" not in found:
        command = ["git", "-C", str(root), "rev-parse", "HEAD"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
            found["clickflow.commit"] = done.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    return found


def flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """A record of the history as metrics: {"valid": {"mrr@20": x}} becomes {"valid/mrr_at_20": x}."""
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}/")
        elif name != "epoch":
            found[f"{prefix}{name.replace('@', '_at_')}"] = float(value)
    return found


def names(spec: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested params as flat ones: {"encoder": {"units": 100}} becomes {"encoder.units": 100}."""
    found: dict[str, Any] = {}
    for name, value in spec.items():
        found |= names(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
