"""Runs in MLflow of work that goes on without it: what fails is said once, and nothing is logged from then on."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from clickflow.params.schema import Params
from clickflow.system.paths import Paths
from clickflow.tracking.mlflow_client import Store, connect, experiment, reaching

Say = Callable[[str], None]


class Experiment:
    """The runs of one experiment. Everything but `attempt` may raise; MLflow is loaded with the first of them."""

    def __init__(self, params: Params, paths: Paths, name: str, *, work: str, say: Say) -> None:
        """`work`: what goes on without MLflow, in a word, for the message."""
        self.params, self.paths, self.name, self.work, self.say = params, paths, name, work, say
        self.gone = False

    def attempt(self, action: Callable[[], None]) -> None:
        """Do `action`; where it fails, say so, and do none that follows."""
        if self.gone:
            return
        try:
            with reaching(self.store.uri):
                action()
        except Exception as error:  # whatever a client, a database or a network raises: the work goes on
            self.gone = True
            first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            self.say(f"MLflow cannot be used, {self.work} goes on without it: {first}")

    @cached_property
    def store(self) -> Store:
        """The open connection."""
        return connect(self.params, self.paths, patient=False)

    @cached_property
    def id(self) -> str:
        """The id of the experiment."""
        return experiment(self.store, self.name)

    def search(self, wanted: str, most: int = 1000) -> list[str]:
        """The runs that fit `wanted` (MLflow's filter), the newest first."""
        matches = self.store.client.search_runs([self.id], wanted, max_results=most)
        return [run.info.run_id for run in matches]

    def begin(self, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> str:
        """A new run; `params` as they are read in MLflow's tables."""
        from mlflow.entities import Param

        run: str = self.store.client.create_run(self.id, run_name=name, tags=dict(tags)).info.run_id
        if params:
            logged = [Param(key, str(value)) for key, value in sorted(params.items())]
            self.store.client.log_batch(run, params=logged)
        return run

    def log(
        self,
        run: str,
        *,
        metrics: Mapping[str, float] | None = None,
        step: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Metrics of a step, and tags, in one request."""
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        self.store.client.log_batch(
            run,
            metrics=[Metric(key, value, now, step) for key, value in (metrics or {}).items()],
            tags=[RunTag(key, value) for key, value in (tags or {}).items()],
        )

    def end(self, run: str, status: str = "FINISHED", files: Sequence[Path] = ()) -> None:
        """Keep `files` (a folder: what it holds) with a run, and end it."""
        for path in files:
            keep = self.store.client.log_artifacts if path.is_dir() else self.store.client.log_artifact
            keep(run, str(path))
        self.store.client.set_terminated(run, status)


def flat_metrics(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """A record of the history as metrics: {"valid": {"mrr@20": x}} becomes {"valid/mrr_at_20": x}."""
    flat: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat |= flat_metrics(value, f"{prefix}{name}/")
        elif name != "epoch":
            flat[f"{prefix}{name.replace('@', '_at_').replace('%', '_percent')}"] = float(value)
    return flat


def flat_params(spec: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested params as flat ones: {"encoder": {"units": 100}} becomes {"encoder.units": 100}."""
    flat: dict[str, Any] = {}
    for name, value in spec.items():
        flat |= flat_params(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
