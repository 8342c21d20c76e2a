"""Who keeps how a training goes, and the name by which it is the same training again."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from clickflow.params.models import own
from clickflow.params.schema import Params
from clickflow.sequences.store import Card
from clickflow.training import checkpoints, code


class Tracker(Protocol):
    """Who keeps how training goes, beside its folder (clickflow.tracking.training_run); it never breaks a training."""

    def step(self, values: Mapping[str, float], step: int, /) -> None:
        """Figures of a training step."""

    def epoch(self, record: Mapping[str, Any], rates: Mapping[str, float], /) -> None:
        """An epoch's line of the history, and how fast it went."""

    def close(self) -> None:
        """Nothing more will be told of steps and epochs."""

    def fail(self) -> None:
        """The training has failed."""

    def finish(self, facts: Mapping[str, str], files: list[Path], /) -> None:
        """The training has ended: what is to be known of it, and what is kept with it."""


def fingerprint(params: Params, name: str, card: Card) -> str:
    """What is being trained: spec, settings, seed, data, and the code that trains."""
    import torch

    return checkpoints.fingerprint(
        own(params.model(name)),
        asdict(replace(params.training, processes=1)),  # others may go on with what these have done
        params.seed,
        card.sha256,
        [torch.__version__, torch.cuda.is_available()],
        sources=code.files(),
    )
