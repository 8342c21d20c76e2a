"""Kinds of answer as modules: how each reads an encoder, and what it answers.

Their losses stand in `clickflow.training.answers`.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from clickflow.heads import named
from clickflow.heads.head import Kind
from clickflow.models.answers.amounts import Amounts
from clickflow.models.answers.answer import Answer
from clickflow.models.answers.classes import Classes
from clickflow.models.answers.ranking import Ranking
from clickflow.params.models import Model

if TYPE_CHECKING:
    from clickflow.models.sizes import Sizes

KINDS: Mapping[Kind, Callable[..., Answer]] = {
    "ranking": Ranking.of,
    "classes": Classes.of,
    "probability": Classes.of,
    "amount": Amounts.of,
}
"""What makes the module of a head, by the kind of its answer."""


def modules(spec: Model, sizes: "Sizes") -> dict[str, Any]:
    """A fresh module for each head of a model, by name."""
    return {name: KINDS[named(name).kind](named(name), params, spec, sizes) for name, params in spec.heads.items()}
