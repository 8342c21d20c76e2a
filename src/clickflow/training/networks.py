"""Training of a model of kind network: epoch by epoch, with checkpoints."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from clickflow.heads import named
from clickflow.models import item_features
from clickflow.models.ensemble import parameters
from clickflow.models.hand_made import read_by
from clickflow.models.network import Network
from clickflow.models.saved import CARD, save
from clickflow.models.sizes import Sizes
from clickflow.params.models import Model
from clickflow.params.schema import Params
from clickflow.sequences.features import FEATURES
from clickflow.sequences.store import Card, open_split, read_card
from clickflow.system import console, integrity
from clickflow.system.files import read_json, replacing, write_json
from clickflow.system.paths import Paths
from clickflow.training import checkpoint_mirror, curves
from clickflow.training.checkpoints import Checkpoints
from clickflow.training.device import choose
from clickflow.training.distributed import ProcessGroup, process_group
from clickflow.training.loop import Trained, train
from clickflow.training.tracker import Tracker, fingerprint


def train_network(params: Params, paths: Paths, name: str, track: Callable[..., Tracker] | None) -> None:
    """Train the network of that name, or go on where an earlier run was stopped; write its folder."""
    folder = paths.sequences(params.model(name).unit)
    card = read_card(folder)
    spec = readable(params.model(name), card)
    lacking: list[str] = [each for each in params.model(name).encoder.features if each not in spec.encoder.features]
    lacking += ["hand-made features of times"] if read_by(spec) != read_by(spec, clock=card.clock) else []
    if lacking:
        console.say(f"{name}: the log has an order and no clock: it is trained without {', '.join(lacking)}")
    mark = fingerprint(params, name, card)
    mirror = checkpoint_mirror.mirror(mark, console.say)
    checkpoints = Checkpoints(paths.home / "checkpoints" / mark, spec.budget.checkpoint_seconds, console.say, mirror)
    tracker = track(params, paths, name, spec, fingerprint=mark, data_sha256=card.sha256) if track else None
    out = paths.trained(name)
    known = replace(sizes(card), item_codes=item_features.read(folder, spec.encoder.item_features, card.known))
    networks = max(1, len(spec.ensemble)) + len(spec.distillation.teacher)
    work = partial(_train, spec, known, folder, params)
    try:
        with (
            _Console(name, (spec.budget.epochs or 0) * networks, tracker) as watcher,
            process_group(params.training.processes, choose(params.training).kind, work) as group,
        ):
            trained = work(group, checkpoints=checkpoints, watcher=watcher)
        best = trained.best_epochs if spec.ensemble else trained.best_epoch
        with replacing(out, seal=integrity.seal) as fresh:
            extra = {"seed": params.seed, "data_sha256": card.sha256, "best_epoch": best}
            learned = [trained.history[epoch - 1].get("loss_weights") for epoch in trained.best_epochs]
            if any(learned):
                extra["loss_weights"] = learned if spec.ensemble else learned[0]
            save(trained.network, fresh, extra)
            write_json(fresh / "history.json", trained.history)
            kinds = {head: named(head).kind for head in spec.heads}
            curves.draw(trained.history, kinds, trained.best_epochs, fresh / "curves.png")
    except Exception:
        if tracker:
            tracker.fail()
        raise
    if tracker:
        facts = {
            "weights_sha256": read_json(out / CARD)["weights_sha256"],
            "best_epoch": ", ".join(map(str, trained.best_epochs)),
        }
        tracker.finish(facts, [out / "curves.png", out / "history.json", out / CARD])
    checkpoints.remove()
    kept = " and ".join(map(str, trained.best_epochs))
    console.say(f"{name}: trained; the weights of epoch {kept} of {len(trained.history)} are kept")


def _train(
    spec: Model, sizes: Sizes, folder: Path, params: Params, group: ProcessGroup | None, **along: Any
) -> Trained:
    """Train on the store in `folder`, in this process; `along` as in `train`."""
    splits = (open_split(folder, part) for part in ("train", "valid"))
    return train(spec, sizes, *splits, seed=params.seed, settings=params.training, group=group, **along)


def readable(spec: Model, card: Card) -> Model:
    """`spec` without the step features that a log without a clock does not have."""
    features = tuple(name for name in spec.encoder.features if card.clock or not FEATURES[name].of_clock)
    return replace(spec, encoder=replace(spec.encoder, features=features))


def sizes(card: Card) -> Sizes:
    """What a store's card says about a model's size."""
    return Sizes(
        known=card.known,
        actions=card.actions,
        categories=card.categories,
        statistics={name: (values["mean"], values["std"]) for name, values in card.statistics.items()},
        clock=card.clock,
    )


class _Console:
    """Tells a person, and a tracker, how training goes."""

    def __init__(self, name: str, epochs: int, tracker: Tracker | None) -> None:
        self.name, self.planned, self.tracker = name, f"/{epochs}" if epochs else "", tracker
        self.stack = ExitStack()
        self.advance: console.Advance | None = None
        self.done = self.questions = 0
        self.seconds = 0.0
        self.since = time.monotonic()

    def __enter__(self) -> "_Console":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.close()
        if self.tracker:
            self.tracker.close()

    def start(self, network: Network, steps: int, done: int, why: str) -> None:
        """Say what is trained and on what, and begin the line of progress."""
        most = "" if self.planned else "at most "
        console.say(f"{self.name}: {parameters(network):,} parameters, {most}{steps:,} steps on {why}")
        if done:
            console.say(f"{self.name}: an earlier run was stopped after {done:,} steps; going on from there")
        self.stack.close()  # of the network before, in an ensemble
        self.advance = self.stack.enter_context(console.progress(f"train {self.name}", steps - done))
        self.done, self.since = done, time.monotonic()

    def step(self, steps: int, questions: int, loss: float) -> None:
        """Move the line of progress."""
        now = time.monotonic()
        self.done += steps
        self.questions += questions
        self.seconds += now - self.since
        self.since = now
        rate = self.questions / max(self.seconds, 1e-9)
        if self.advance:
            self.advance(steps, f"{rate:,.0f} events/s, loss {loss:.3f}")
        if self.tracker:
            self.tracker.step({"loss": loss, "events_per_second": rate}, self.done)

    def epoch(self, record: Mapping[str, Any]) -> None:
        """One line for a person."""
        self.since = time.monotonic()
        rate = self.questions / max(self.seconds, 1e-9)
        parts = [f"loss {record['train']['loss']:.4f}"]
        if valid := record.get("valid"):
            parts.append(f"valid loss {valid['loss']:.4f}")
            parts += [f"{name} {valid[name]:.4f}" for name in ("recall@20", "mrr@20") if name in valid]
            if valid.get("coverage", 1.0) < 1:
                known = " / ".join(f"{valid[f'{name}@20_known']:.4f}" for name in ("recall", "mrr"))
                parts.append(f"{known} on the {valid['coverage']:.1%} of answers that are known")
        if learned := record.get("loss_weights"):
            parts.append(f"losses count {' / '.join(f'{name} {weight:.2f}' for name, weight in learned.items())}")
        console.say(f"{self.name}: epoch {record['epoch']}{self.planned}: {', '.join(parts)}, {rate:,.0f} events/s")
        if self.tracker:
            self.tracker.epoch(record, {"events_per_second": rate, "train_seconds": self.seconds})
