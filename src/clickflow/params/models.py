"""Section `models` of params.yaml: what each model reads, how, and what it answers."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import import_module
from typing import Annotated, Any, Literal

from clickflow.params.meta import Meta, Param, params

Feature = Literal["action", "hour", "weekday", "gap", "since_start", "price", "quantity", "category"]
ItemFeature = Literal["category", "brand", "price", "popularity"]
Kind = Literal["rnn", "gru", "lstm", "mingru", "transformer", "attention"]
"""Of an encoder."""

TAUGHT = ("ranking", "classes", "probability")
"""Kinds of answer that a teacher teaches: distributions over answers."""


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """The network that reads a sequence."""

    kind: Annotated[Kind, Meta("of its layers")] = "gru"
    units: Annotated[int, Meta("numbers that describe a step: a layer's width", ge=1, le=65_536)] = 128
    layers: Annotated[int, Meta("on top of each other", ge=1, le=100)] = 1
    dropout: Annotated[float, Meta("numbers left out while it learns", "share", lt=1)] = 0.0
    attention: Annotated[
        Literal["none", "bilinear", "additive", "self"], Meta("how the states so far are read, beside the last one")
    ] = "bilinear"
    attention_heads: Annotated[int | None, Meta("of kind transformer and attention self; null: 2", ge=1, le=65_536)] = (
        None
    )
    positions: Annotated[Literal["relative", "learned"] | None, Meta("of kind transformer; null: relative")] = None
    features: Annotated[tuple[Feature, ...], Meta("of a step, that are read beside its item")] = (
        "action",
        "hour",
        "gap",
    )
    hand_made: Annotated[
        bool,
        Meta(
            "heads of classes and probabilities read the unit's hand-made features (docs/reference/features.md) beside "
            "the steps, and begin at the logistic regression on them"
        ),
    ] = False
    item_features: Annotated[
        tuple[ItemFeature, ...], Meta("of an item, joined to its embedding; category: its tree")
    ] = ()


@dataclass(frozen=True, kw_only=True)
class HeadParams:
    """What every head has."""

    weight: Annotated[float, Meta("of its loss, beside those of the model's other heads")] = 1.0


@dataclass(frozen=True, kw_only=True)
class RankingHead(HeadParams):
    """A head that ranks the items."""

    loss: Annotated[
        Literal["sampled", "full", "bpr_max", "bce"], Meta("over all items, or over a draw of them (not full)")
    ] = "sampled"
    negatives: Annotated[int, Meta("items drawn a batch, of every loss but full", le=1e6)] = 2048
    label_smoothing: Annotated[float, Meta("of loss sampled and full", "share", lt=1)] = 0.0
    regularisation: Annotated[float | None, Meta("of loss bpr_max: how strongly scores are held near 0; null: 1")] = (
        None
    )
    calibration: Annotated[
        float | None, Meta("of loss bce: from 0 (none) to 1 (probabilities); null: 0.75", ge=0, le=1)
    ] = None
    output: Annotated[
        Literal["tied", "separate"], Meta("items are answered by the vectors they are read by, or by others")
    ] = "tied"
    copy: Annotated[bool, Meta("mix in the items of the session itself")] = True
    associations: Annotated[bool, Meta("mix in what other sessions held beside the items of this one")] = True
    horizon: Annotated[
        int,
        Meta("above 1: the items of so many next steps are learned and answered too, as <head>s", ge=1, le=1000),
    ] = 1


@dataclass(frozen=True, kw_only=True)
class ClassesHead(HeadParams):
    """A head that answers one of a few classes."""


@dataclass(frozen=True, kw_only=True)
class ProbabilityHead(HeadParams):
    """A head that answers yes or no."""


@dataclass(frozen=True, kw_only=True)
class AmountHead(HeadParams):
    """A head that answers an amount."""


@dataclass(frozen=True, kw_only=True)
class ForecastHead(HeadParams):
    """A head that answers amounts of several steps ahead."""


def units() -> Mapping[str, Any]:
    """The table `clickflow.sequences.units.UNITS`, asked late as that of the heads is."""
    table: Mapping[str, Any] = import_module("clickflow.sequences.units").UNITS
    return table


def model_kinds() -> Mapping[str, Any]:
    """The table `clickflow.models.kinds.KINDS`, likewise."""
    table: Mapping[str, Any] = import_module("clickflow.models.kinds").KINDS
    return table


def has_features(unit: str) -> bool:
    """Whether there are hand-made features of a unit, likewise."""
    return unit in import_module("clickflow.features").TABLES


def feature_names(unit: str) -> tuple[str, ...]:
    """The hand-made features of a unit that has some, likewise; what they are needs numpy."""
    names: tuple[str, ...] = import_module("clickflow.features").names(unit)
    return names


def own(model: "Model") -> dict[str, Any]:
    """The params of a model, as JSON has them, without those that only other kinds read, a teacher that it has not, and
    weights that it does not learn: the same model as before there were any.
    """
    kinds = model_kinds()
    others = {name for kind in kinds.values() for name in kind.reads} - set(kinds[model.kind].reads)
    others |= set() if model.distillation.teacher else {"distillation"}
    others |= set() if model.loss_weights == "learned" else {"loss_weights"}
    return {name: value for name, value in asdict(model).items() if name not in others}


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
            lambda value: {name: head for name, head in value.items() if head is not None},
            core_schema.typed_dict_schema(known, extra_behavior="forbid"),
        )


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """How weights are updated."""

    kind: Annotated[Literal["adamw", "adam", "sgd", "adagrad"], Meta("the rule of an update")] = "adamw"
    learning_rate: Annotated[float, Meta("size of an update", gt=0)] = 0.003
    embedding_learning_rate: Annotated[
        float, Meta("of an item's vector, which is updated only where the item occurs", gt=0)
    ] = 0.01
    weight_decay: Annotated[float, Meta("how strongly weights are drawn to 0")] = 0.01
    warmup_share: Annotated[
        float, Meta("of the planned steps, in which the learning rate rises; docs/reference/models.md")
    ] = 0.05
    clip_norm: Annotated[
        float, Meta("of all gradients together; a bound that is often met biases heads of few classes; 0: none")
    ] = 10.0


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long training may go on; `epochs` None: as the validation part bears out (`training.budget`)."""

    epochs: Annotated[
        int | None,
        Meta(
            "how often training goes over the data, at most; null: as long as the validation part gets better",
            ge=1,
            le=1e6,
        ),
    ] = None
    batch_tokens: Annotated[int, Meta("steps in a batch, about", ge=1)] = 1024
    patience: Annotated[int, Meta("epochs without a clearly better validation loss before stopping", ge=1)] = 1
    max_length: Annotated[int, Meta("a model reads the last so many steps", "steps", ge=1, le=1e6)] = 50
    checkpoint_seconds: Annotated[float, Meta("between checkpoints, from which a killed run goes on", "seconds")] = 60.0


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How sequences are changed while a model learns: docs/reference/models.md; 0: not."""

    crop: Annotated[float, Meta("sequences that begin later, by up to half", "share", lt=1)] = 0.0
    mask: Annotated[float, Meta("steps whose item is not seen", "share", lt=1)] = 0.0
    reorder: Annotated[float, Meta("pairs of neighbouring steps that change places", "share", lt=1)] = 0.0
    substitute: Annotated[
        float, Meta("steps that have another item, one of those beside which it was seen", "share", lt=1)
    ] = 0.0
    adversarial: Annotated[
        float, Meta("how far item vectors are moved to where the loss is highest, of their length", "share", lt=1)
    ] = 0.0


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """A teacher that is trained first, whose answers are learned beside the log's: docs/reference/models.md."""

    teacher: Annotated[
        tuple[Kind, ...], Meta("kinds of encoder, a network each, whose mean teaches; []: the log alone does")
    ] = ()
    units: Annotated[int | None, Meta("of the teacher's layers; null: those of the model", ge=1, le=65_536)] = None
    weight: Annotated[float, Meta("of what the teacher says, beside what the log says", "share", gt=0, le=1)] = 0.5
    temperature: Annotated[
        float, Meta("above 1: the differences between the teacher's answers count for less", gt=0, le=20)
    ] = 1.0
    top: Annotated[int, Meta("of a ranking, so many of the teacher's likeliest items", ge=1, le=1000)] = 20


@dataclass(frozen=True, kw_only=True)
class Boosting:
    """Gradient-boosted trees, of kinds boosting and blend."""

    trees: Annotated[
        int, Meta("at most; how many are kept follows from the loss on rows that were not learned", ge=1, le=10_000)
    ] = 200
    leaves: Annotated[int, Meta("of a tree, at most", ge=2, le=1024)] = 15
    learning_rate: Annotated[float, Meta("how much a tree adds", gt=0, le=1)] = 0.05
    min_rows: Annotated[int, Meta("training rows that a leaf holds at least", ge=1, le=1e6)] = 50


@dataclass(frozen=True, kw_only=True)
class Logistic:
    """A regression on scaled features, of kinds logistic and blend."""

    l2: Annotated[float, Meta("penalty on squared weights, by row of training", gt=0)] = 0.003


@dataclass(frozen=True, kw_only=True)
class Blend:
    """What is mixed, of kind blend."""

    half_horizon: Annotated[
        bool,
        Meta(
            "in a log of less than 6 horizons, heads of purchases (churn, spend) learn from answers of half of one "
            "too, also as of half of one later, and answer the mean: two to three times the time"
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is mixed, of kind forecast."""

    gru: Annotated[
        bool, Meta("a GRU encoder and decoder with quantiles too, of 100 series or more: half a minute or more a fit")
    ] = False


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model: what it reads, how, and what it answers.

    `encoder` to `distillation` are of kind network, `features` to `blend` of the kinds that read hand-made features.
    """

    unit: Annotated[str, Meta("what one sequence is: docs/reference/sequences.md")]
    kind: Annotated[str, Meta("network, boosting, logistic or blend; of rankings counts too, of series forecast")] = (
        "network"
    )
    encoder: Encoder = field(default_factory=Encoder)
    heads: Annotated[Mapping[str, HeadParams], ByName]
    loss_weights: Annotated[
        Literal["given", "learned"],
        Meta("of several heads: heads.*.weight as given, or times what is learned of how sure each can be"),
    ] = "given"
    optimiser: Optimiser = field(default_factory=Optimiser)
    augmentation: Augmentation = field(default_factory=Augmentation)
    budget: Budget = field(default_factory=Budget)
    ensemble: Annotated[
        tuple[Kind, ...],
        Meta("kinds of encoder, a network each, whose probabilities are averaged; []: one network of encoder.kind"),
    ] = ()
    distillation: Distillation = field(default_factory=Distillation)
    features: Annotated[
        Literal["all"] | tuple[str, ...],
        Meta("that are read of a question, of those in docs/reference/features.md: all, or their names"),
    ] = "all"
    max_questions: Annotated[
        int,
        Meta("of the training part, and of the validation part, that are learned from; of more, so many drawn", ge=100),
    ] = 50_000
    boosting: Boosting = field(default_factory=Boosting)
    logistic: Logistic = field(default_factory=Logistic)
    blend: Blend = field(default_factory=Blend)
    forecast: Forecast = field(default_factory=Forecast)


def params_of_model(name: str) -> Iterator[Param]:
    """Every param of a model, the heads' by the table of heads, as `<name>.encoder.units`."""
    for each in params(Model, name):
        if each.name != f"{name}.heads.*.weight":
            yield each
        else:  # of any head
            for key, head in heads().items():
                yield from params(head.params, f"{name}.heads.{key}")


def model_keys() -> Mapping[str, Any]:
    """Dotted name of every param of a model to its type."""
    return _keys(tuple(heads()))


@cache
def _keys(_: tuple[str, ...]) -> Mapping[str, Any]:
    """Of a table of heads of those names."""
    return {each.name.removeprefix("model."): each.kind for each in params_of_model("model")}
