"""params.yaml, typed, frozen, and checked before any work starts; each section has a file of its own beside this one.

The dataclasses are plain (standard library only), so that the training core can be used where pydantic is not;
`params.file` checks a file against them and needs pydantic and PyYAML.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clickflow.params.evaluation import Evaluation
from clickflow.params.export import Export
from clickflow.params.gate import Gate
from clickflow.params.ingest import Ingest
from clickflow.params.models import Model
from clickflow.params.promotion import Promotion
from clickflow.params.quality import Quality
from clickflow.params.registry import Registry
from clickflow.params.runs import Runs
from clickflow.params.schedule import Schedule
from clickflow.params.sequences import Sequences
from clickflow.params.simulator import Simulator
from clickflow.params.source import Source
from clickflow.params.training import Training
from clickflow.params.tuning import Tuning
from clickflow.params.watch import Watch
from clickflow.system.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Params:
    """All of params.yaml."""

    seed: int
    source: Source
    simulator: Simulator
    ingest: Ingest
    quality: Quality
    sequences: Sequences
    models: Mapping[str, Model]
    training: Training
    tuning: Tuning
    export: Export
    evaluation: Evaluation
    gate: Gate
    registry: Registry
    promotion: Promotion
    schedule: Schedule
    runs: Runs
    watch: Watch
    champion: Mapping[str, int]

    def model(self, name: str) -> Model:
        """The model of that name; an unknown name is an error that lists the known ones."""
        if name not in self.models:
            raise UsageError(
                f"no model is called {name!r} in params.yaml; there is: {', '.join(sorted(self.models))}"
                f"{nearest(name, self.models)}"
            )
        return self.models[name]


def nearest(name: str, known: Any) -> str:
    """A hint at the one of the `known` names that may have been meant; empty where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
