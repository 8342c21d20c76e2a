"""The sizes of a model that follow from the store it reads: items, actions, categories, statistics."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from clickflow.models.associations import Table
from clickflow.models.item_features import Codes


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the data says about a model's size.

    `known`: item indexes below are the model's items (0 padding, 1 unknown); `actions`: the event types in the order
    of their codes, without exit; `categories`: number of category indexes; `statistics`: mean and standard deviation
    of log(1 + x) of each feature that is a number, in the training part; `item_codes`: see `item_features.codes`,
    needed where the spec asks for item features; `associations`: needed where the spec asks for them; `hand_made`: the
    names of the hand-made features that are read, where the spec asks for them; `clock`: whether the log has one.
    """

    known: int
    actions: tuple[str, ...]
    categories: int
    statistics: Mapping[str, tuple[float, float]]
    item_codes: Codes | None = field(default=None, compare=False)
    associations: Table | None = field(default=None, compare=False)
    hand_made: tuple[str, ...] = ()
    clock: bool = True
