"""What records the progress of a training, and the fingerprint by which the same training is resumed."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from clickflow.models.saved import CARD
from clickflow.params.models import own
from clickflow.params.schema import Params
from clickflow.sequences.store import Card, read_card
from clickflow.system import integrity
from clickflow.system.files import read_json, replacing, write_json
from clickflow.system.paths import Paths
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


class Fitted(Protocol):
    """What comes of a training that has one line of history."""

    @property
    def record(self) -> dict[str, Any]:
        """That line."""


F = TypeVar("F", bound=Fitted)


def in_one_go(
    params: Params,
    paths: Paths,
    name: str,
    track: Callable[..., Tracker] | None,
    fit: Callable[[Path, Card], F],
    write: Callable[[F, Path, Card], None],
) -> tuple[F, float]:
    """Train a model that has no epochs, tracked where there is a `track`, and have `write` put it and its card into its
    folder, beside its history; what `fit`, which is given the store and its card, returned, and the seconds it took.
    """
    spec, folder, out = params.model(name), paths.sequences(params.model(name).unit), paths.trained(name)
    card, began = read_card(folder), time.monotonic()
    mark = fingerprint(params, name, card)
    tracker = track(params, paths, name, spec, fingerprint=mark, data_sha256=card.sha256) if track else None
    try:
        trained = fit(folder, card)
        seconds = time.monotonic() - began
        if tracker:
            tracker.epoch(trained.record, {"train_seconds": seconds})
            tracker.close()
        with replacing(out, seal=integrity.seal) as fresh:
            write(trained, fresh, card)
            write_json(fresh / "history.json", [trained.record])
    except Exception:
        if tracker:
            tracker.fail()
        raise
    if tracker:
        tracker.finish({"weights_sha256": read_json(out / CARD)["weights_sha256"]}, [out / "history.json", out / CARD])
    return trained, seconds
