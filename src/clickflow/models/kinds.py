"""What a model may be: this table, by `models.*.kind`. Standard library only, as params ask it.

What a kind does stands in a table of each room, by the same names: `clickflow.training.stage.TRAINERS`,
`clickflow.artefact.export.EXPORTERS`. From there on an artefact is an artefact: nothing else asks for the kind.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of model."""

    what: str
    """What it is."""
    reads: tuple[str, ...]
    """The params of a model, below models.<name>, that are of this kind; those of other kinds alone are no params of it
    (docs/reference/models.md).
    """
    answers: tuple[str, ...]
    """The kinds of answer that it can give."""
    as_of: bool = False
    """Whether it counts days before a moment of asking, so that its unit must have one."""
    one_loss: bool = False
    """Whether its heads are learned together, by their weights; otherwise each has an estimator of its own."""


TABLE = ("features", "max_questions")
"""Params of every kind that reads hand-made features."""
COLUMNS = ("classes", "probability", "amount")
"""Kinds of answer that are a few numbers a question."""

KINDS: dict[str, Kind] = {
    "network": Kind(
        what="an encoder with heads, trained by gradient descent",
        reads=("encoder", "loss_weights", "optimiser", "augmentation", "budget", "ensemble", "distillation"),
        answers=("ranking", *COLUMNS),
        one_loss=True,
    ),
    "boosting": Kind(what="gradient-boosted trees on hand-made features", reads=(*TABLE, "boosting"), answers=COLUMNS),
    "logistic": Kind(
        what="a logistic (of amounts: log-linear) regression on hand-made features",
        reads=(*TABLE, "logistic"),
        answers=COLUMNS,
    ),
    "blend": Kind(
        what="boosting and logistic together, by weights fitted on the validation part",
        reads=(*TABLE, "boosting", "logistic", "blend"),
        answers=COLUMNS,
    ),
    "counts": Kind(
        what="what a person did with each item and how lately, what goes with it, popularity: a conditional logit",
        reads=("max_questions",),
        answers=("ranking",),
        as_of=True,
    ),
    "forecast": Kind(
        what="local methods and boosted trees over lags, their quantiles mixed, and what follows from the forecast",
        reads=("forecast",),
        answers=("forecast", "probability"),
    ),
}
"""By name."""
