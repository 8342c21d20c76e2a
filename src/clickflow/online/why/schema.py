"""An explanation, which is its JSON form too: frozen structs, a key each; what has no value is null."""

from typing import Literal

from msgspec import Struct

What = Literal["step", "item", "action", "earlier"]
"""What is taken away: one step; all steps of an item that has several; all of a type; all but the newest."""


class Effect(Struct, frozen=True, kw_only=True):
    """What taking steps away changes: the answer is asked again without them, everything else of it made anew."""

    what: What
    steps: tuple[int, ...]
    """places in the history, 0 the oldest step"""
    item: str | None
    name: str | None
    action: str | None
    effect: float
    """the answer less the answer without them, in `Explanation.unit`"""
    without: float
    """the answer without them: a probability, or an amount"""
    covering: bool = False
    """of an item or a type with at most half of the steps: they stand in for each other, so that all of them change
    half as much again as each alone adds up to, or more"""


class Edit(Struct, frozen=True, kw_only=True):
    """One edit of the history."""

    what: Literal["remove", "change", "add"]
    step: int
    """place in the history as it is; of `add`, its end"""
    item: str
    name: str | None
    action: str
    """of the step as it is; of `add`, of the step added"""
    to: str | None = None
    """of `change`: the action it then is"""


class Change(Struct, frozen=True, kw_only=True):
    """The nearest change of history found that gives another answer."""

    edits: tuple[Edit, ...]
    before: str
    """the answer: an item, a class, or `above` or `below` the threshold"""
    after: str
    value: float
    """what is explained, after it: a probability, or an amount"""


class Search(Struct, frozen=True, kw_only=True):
    """How far a change was looked for."""

    change: Change | None
    tried: int
    """histories that were asked about, those of `steps` among them"""
    most: int
    complete: bool
    """whether each removal of one step was tried"""
    why_not: str | None = None
    """`no_threshold`: no costs are set, so there is no other side; `not_within`: none of those tried changes it"""


class Contribution(Struct, frozen=True, kw_only=True):
    """Of a model of hand-made features: what one of them adds to the answer, beside its typical value."""

    feature: str
    value: float | None
    typical: float | None
    unit: str
    meaning: str
    window: str
    effect: float
    """in `Explanation.unit`"""
    error: float
    """standard error of it, from the orders drawn"""


class Contributions(Struct, frozen=True, kw_only=True):
    """All of them sum to the answer less `typical`, the answer to a question with the typical features."""

    typical: float
    features: tuple[Contribution, ...]
    """largest first, without those that change nothing"""


class Neighbour(Struct, frozen=True, kw_only=True):
    """An item that the model holds to be like the one that is explained."""

    item: str
    name: str | None
    likeness: float
    """-1 to 1"""


class Association(Struct, frozen=True, kw_only=True):
    """An item of the history, and what the model expects after it alone."""

    item: str
    name: str | None
    steps: tuple[int, ...]
    """places in the history with this item"""
    alone: float
    """probability of the target after the last of them alone"""
    lift: float
    """this over the target's share of all steps in training"""


class Explanation(Struct, frozen=True, kw_only=True):
    """Why a model answers so."""

    model: str
    version: int
    output: str
    kind: str
    """of answer"""
    question: str
    target: str
    """what is explained: an item, a class, `yes`, or `expected` of an amount"""
    target_name: str | None
    unit: Literal["log_probability", "amount"]
    """of effects"""
    answer: float
    """a probability, or an amount"""
    threshold: float | None
    """of kind probability and amount: where the answer has another side"""
    threshold_of: Literal["costs", "half"] | None
    """by `evaluation.costs`, or likelier than not"""
    length: int
    """steps of the history"""
    effects: tuple[Effect, ...]
    """of single steps, and of items and types whose steps cover each other; largest first"""
    groups: tuple[Effect, ...]
    """of items, types, and what is older; largest first"""
    search: Search
    contributions: Contributions | None
    neighbours: tuple[Neighbour, ...]
    associated: tuple[Association, ...]
    """of a ranking: items of the history by how much each alone speaks for the target"""
    unknown: tuple[int, ...]
    """steps whose item the model does not know"""


class Explained(Explanation, frozen=True, kw_only=True):
    """An explanation in words too."""

    sentences: dict[str, list[str]]
    """by language; the last one says what it is and is not"""
