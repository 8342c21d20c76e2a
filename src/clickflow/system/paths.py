"""Where everything lies. Stage outputs are relative to the workspace, state that outlives a run to the home."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The folders of one workspace (a checkout of the repository)."""

    root: Path

    @property
    def params(self) -> Path:
        """params.yaml."""
        return self.root / "params.yaml"

    @property
    def home(self) -> Path:
        """State that outlives a run: key, MLflow store, ledger, checkpoints, workspaces. `CLICKFLOW_HOME` moves it."""
        return Path(os.environ.get("CLICKFLOW_HOME") or self.root / ".clickflow").absolute()

    @property
    def events(self) -> Path:
        """Canonical events: `day=YYYY-MM-DD/events.parquet`."""
        return self.root / "data/events"

    @property
    def quarantine(self) -> Path:
        """Rows that were not accepted, with raw text, source, line and reasons."""
        return self.root / "data/quarantine"

    @property
    def truth(self) -> Path:
        """What the simulator knows; for other sources only a card that says so."""
        return self.root / "data/truth"

    @property
    def ingest_card(self) -> Path:
        """Counts of the ingest: read, accepted, quarantined by reason."""
        return self.root / "reports/ingest.json"

    @property
    def validation(self) -> Path:
        """The verdict of the suites, small and deterministic; what later stages depend on."""
        return self.root / "reports/validation.json"

    @property
    def data_docs(self) -> Path:
        """Great Expectations' Data Docs, to be opened in a browser."""
        return self.root / "reports/data_docs"

    @property
    def watch(self) -> Path:
        """watch.json and report.html of the last `clickflow watch`."""
        return self.root / "reports/watch"

    def sequences(self, unit: str) -> Path:
        """The packed store of a unit."""
        return self.root / "data/sequences" / unit

    def trained(self, model: str) -> Path:
        """weights.safetensors, model.json, history.json and figures of a trained model."""
        return self.root / "models" / model / "trained"

    def exported(self, model: str) -> Path:
        """The artefact that ships: model.onnx, vocabulary.parquet, card.json."""
        return self.root / "models" / model / "exported"

    def evaluation(self, model: str) -> Path:
        """Report, figures and per-session scores of a model."""
        return self.root / "reports" / model / "evaluation"

    def measured(self, model: str) -> Path:
        """Every figure of a model's evaluation: what the gate and the report are made of."""
        return self.evaluation(model) / "metrics.json"

    def metrics(self, model: str) -> Path:
        """The dozen figures of a model that `dvc metrics` shows."""
        return self.root / "reports" / model / "metrics.json"

    def gate(self, model: str) -> Path:
        """decision.json and decision.html."""
        return self.root / "reports" / model / "gate"


def workspace() -> Paths:
    """The workspace of the current directory: the nearest folder upwards that holds params.yaml and dvc.yaml."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
            return Paths(folder)
    return Paths(here)
