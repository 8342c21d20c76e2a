"""Section `models` of params.yaml: what each model reads, how, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from importlib import import_module
from typing import Annotated, Any, Literal, get_args, get_type_hints

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
class HeadParams:
    """What every head has."""

    weight: float


@dataclass(frozen=True, kw_only=True)
class RankingHead(HeadParams):
    """A head that ranks the items."""

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
class ClassesHead(HeadParams):
    """A head that answers one of a few classes."""


def heads() -> Mapping[str, Any]:
    """The table `clickflow.heads.HEADS`, a room above this one: heads join it from outside, so it is asked late."""
    table: Mapping[str, Any] = import_module("clickflow.heads").HEADS
    return table


class ByName:
    """How pydantic reads the heads of a model: each by the dataclass that its head names; null is as if left out."""

    @staticmethod
    def __get_pydantic_core_schema__(_: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        known = {
            name: core_schema.typed_dict_field(
                core_schema.nullable_schema(handler.generate_schema(head.params)), required=False
            )
            for name, head in heads().items()
        }
        return core_schema.no_info_after_validator_function(
            lambda found: {name: head for name, head in found.items() if head is not None},
            core_schema.typed_dict_schema(known, extra_behavior="forbid"),
        )


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
    heads: Annotated[Mapping[str, HeadParams], ByName]
    optimiser: Optimiser
    augmentation: Augmentation
    budget: Budget
    ensemble: tuple[Kind, ...]


def model_keys() -> Mapping[str, Any]:
    """Dotted name of every param of a model to its type."""
    return _keys(tuple(heads()))


@cache
def _keys(names: tuple[str, ...]) -> Mapping[str, Any]:
    own = {key: kind for key, kind in _leaves(Model, "") if not key.startswith("heads.")}
    return own | dict(each for name in names for each in _leaves(heads()[name].params, f"heads.{name}."))


def _leaves(kind: Any, prefix: str) -> Any:
    for name, hint in get_type_hints(kind).items():
        inner = next((a for a in (hint, *get_args(hint)) if is_dataclass(a)), None)
        if inner:
            yield from _leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", hint
