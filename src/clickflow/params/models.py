"""Section `models` of params.yaml: what each model reads, how, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from typing import Any, Literal, get_args, get_type_hints

Unit = Literal["session"]
Feature = Literal["action", "hour", "weekday", "gap", "since_start", "price", "category"]
ItemFeature = Literal["category", "brand", "price", "popularity"]
Kind = Literal["rnn", "gru", "lstm", "mingru", "transformer", "attention"]
"""Of an encoder."""


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """The network that reads a sequence."""

    kind: Kind
    units: int
    layers: int
    dropout: float
    attention: Literal["none", "bilinear", "additive", "self"]
    attention_heads: int | None
    positions: Literal["relative", "learned"] | None
    features: tuple[Feature, ...]
    item_features: tuple[ItemFeature, ...]


@dataclass(frozen=True, kw_only=True)
class NextItemHead:
    """Which item comes next."""

    weight: float
    loss: Literal["sampled", "full", "bpr_max", "bce"]
    negatives: int
    label_smoothing: float
    regularisation: float | None
    calibration: float | None
    output: Literal["tied", "separate"]
    copy: bool
    associations: bool
    horizon: int


@dataclass(frozen=True, kw_only=True)
class NextActionHead:
    """Which action comes next, `exit` among them."""

    weight: float


@dataclass(frozen=True, kw_only=True)
class Heads:
    """The questions a model answers; several are trained together."""

    next_item: NextItemHead | None = None
    next_action: NextActionHead | None = None


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """How weights are updated."""

    kind: Literal["adamw", "adam", "sgd", "adagrad"]
    learning_rate: float
    embedding_learning_rate: float
    weight_decay: float
    warmup_share: float
    clip_norm: float


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long training may go on; `epochs` None: as the valid part bears out (`training.budget`)."""

    epochs: int | None
    batch_tokens: int
    patience: int
    max_length: int
    checkpoint_seconds: float


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How sequences are changed while a model learns."""

    crop: float
    mask: float
    reorder: float
    substitute: float
    adversarial: float


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model: what it reads, how, and what it answers."""

    unit: Unit
    encoder: Encoder
    heads: Heads
    optimiser: Optimiser
    augmentation: Augmentation
    budget: Budget
    ensemble: tuple[Kind, ...]


@cache
def model_keys() -> Mapping[str, Any]:
    """Dotted name of every param of a model to its type."""
    return dict(_leaves(Model, ""))


def _leaves(kind: Any, prefix: str) -> Any:
    for name, hint in get_type_hints(kind).items():
        inner = next((a for a in (hint, *get_args(hint)) if is_dataclass(a)), None)
        if inner:
            yield from _leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", hint
