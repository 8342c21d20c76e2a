"""Kinds of answer in training: their targets, losses, first weights and figures.

Their modules stand in `clickflow.models.answers`.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from clickflow.heads import named
from clickflow.heads.head import Kind
from clickflow.models.answers.ranking import separate
from clickflow.params.models import Model
from clickflow.training.answers.amounts import AmountsObjective
from clickflow.training.answers.classes import ClassesObjective
from clickflow.training.answers.objective import Objective
from clickflow.training.answers.ranking import RankingObjective

if TYPE_CHECKING:
    from clickflow.models.sizes import Sizes

KINDS: Mapping[Kind, Callable[..., Objective]] = {
    "ranking": RankingObjective,
    "classes": ClassesObjective,
    "probability": ClassesObjective,
    "amount": AmountsObjective,
}
"""What a head is in training, by the kind of its answer."""


def objectives(spec: Model, sizes: "Sizes") -> dict[str, Objective]:
    """Of each head of a model, by name."""
    first = {name: place * sizes.known for place, name in enumerate(separate(spec.heads), 1)}
    return {
        name: KINDS[named(name).kind](named(name), params, sizes, first.get(name, 0))
        for name, params in spec.heads.items()
    }
