"""params.yaml, typed, frozen, and checked before any work starts; each section has a file of its own beside this one.

The dataclasses are plain (standard library only), so that the training core can be used where pydantic is not;
`params.file` checks a file against them and needs pydantic and PyYAML.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from clickflow.params.evaluation import Evaluation
from clickflow.params.export import Export
from clickflow.params.gate import Gate
from clickflow.params.ingest import Ingest
from clickflow.params.live import Live
from clickflow.params.meta import Meta, Param, params
from clickflow.params.models import Model, params_of_model
from clickflow.params.promotion import Promotion
from clickflow.params.quality import Quality
from clickflow.params.registry import Registry
from clickflow.params.runs import Runs
from clickflow.params.schedule import Schedule
from clickflow.params.score import Score
from clickflow.params.sequences import Sequences
from clickflow.params.serve import Serve
from clickflow.params.simulator import Simulator
from clickflow.params.source import Source
from clickflow.params.training import Training
from clickflow.params.tuning import Tuning
from clickflow.params.watch import Watch
from clickflow.system.errors import UsageError, nearest


@dataclass(frozen=True, kw_only=True)
class Params:
    """All of params.yaml. What has no default here stands in every file, for dvc.yaml names it; so does it `units`, of
    which files of before know nothing: verbs read those, and `params.file.load` says what to write.
    """

    seed: Annotated[int, Meta("of everything that is drawn", le=2**32 - 1)]
    source: Source
    simulator: Simulator
    ingest: Ingest
    quality: Quality
    sequences: Sequences
    units: Annotated[
        tuple[str, ...], Meta("the units whose store is made, those that models read: docs/reference/sequences.md")
    ] = ("session",)
    models: Mapping[str, Model]
    training: Training
    tuning: Tuning = field(default_factory=Tuning)
    export: Export
    evaluation: Evaluation
    gate: Gate
    registry: Registry = field(default_factory=Registry)
    promotion: Promotion
    schedule: Schedule = field(default_factory=Schedule)
    runs: Runs = field(default_factory=Runs)
    watch: Watch = field(default_factory=Watch)
    serve: Serve = field(default_factory=Serve)
    live: Live = field(default_factory=Live)
    score: Score = field(default_factory=Score)
    champion: Annotated[
        Mapping[str, int],
        Meta("versions that candidates are judged against; `clickflow open` sets them, 0: none yet", le=1e9),
    ]

    def model(self, name: str) -> Model:
        """The model of that name; an unknown name is an error that lists the known ones."""
        if name not in self.models:
            raise UsageError(
                f"no model is called {name!r} in params.yaml; there is: {', '.join(sorted(self.models))}"
                f"{nearest(name, self.models)}"
            )
        return self.models[name]


def every() -> Iterator[Param]:
    """Every param, in the order of the sections, with `models.*` for any model."""
    of_a_model = False
    for each in params(Params):
        if not each.name.startswith("models."):
            yield each
        elif not of_a_model:
            of_a_model = True
            yield from params_of_model("models.*")
