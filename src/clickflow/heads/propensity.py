"""Which items a customer buys in the days ahead: several answers to one question."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from clickflow.heads.head import NOTHING, Head, Store, steps_of
from clickflow.params.meta import Meta
from clickflow.params.models import RankingHead

if TYPE_CHECKING:
    from clickflow.heads.head import Ints

BOUGHT = "purchase"
"""The type of event."""
MOST = 20
"""Different items that are asked for at most, those that are bought first."""


@dataclass(frozen=True, kw_only=True)
class PropensityHead(RankingHead):
    """Nothing is counted of what sessions hold beside each other: the answers are days away."""

    associations: Annotated[bool, Meta("mix in what other sequences held beside the items of this one")] = False


def bought(split: Any, event: "Ints", end: "Ints", store: Store) -> "Ints":
    """The different items bought in the steps after `event` and before `end`, [..., MOST], in the order in which they
    were bought first; NOTHING behind the last.
    """
    import numpy as np

    place, before = steps_of(split, store, BOUGHT)
    first, last = before[event + 1].ravel(), before[end].ravel()
    count = np.maximum(last - first, 0)
    owner = np.repeat(np.arange(len(count)), count)
    nth = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    item = np.asarray(split.item[place[first[owner] + nth]]).astype(np.int64)
    # of each owner and item the first purchase
    order = np.lexsort((nth, item, owner))
    new = np.ones(len(order), bool)
    new[1:] = (owner[order][1:] != owner[order][:-1]) | (item[order][1:] != item[order][:-1])
    kept = np.sort(order[new])
    start = np.searchsorted(owner[kept], owner[kept])
    column = np.arange(len(kept)) - start
    some = column < MOST
    items = np.full((len(count), MOST), NOTHING, np.int64)
    items[owner[kept][some], column[some]] = item[kept][some]
    return items.reshape(*event.shape, MOST)


def targets(split: Any, event: "Ints", end: "Ints", store: Store) -> "Ints":
    """The item bought first; NOTHING where none is."""
    first: Ints = bought(split, event, end, store)[..., 0]
    return first


HEAD = Head(
    name="propensity",
    unit="customer",
    kind="ranking",
    question="Which items will this customer buy in the days ahead?",
    questions={"zh": "这位顾客在今后这段时间里会买哪些商品？"},
    targets=targets,
    all_targets=bought,
    params=PropensityHead,
    baselines=("popularity", "repeat", "itemknn"),
    primary="recall@20",
    at_end=True,
    needs=(BOUGHT,),
    beat_baselines={"recall@20": {"popularity": "hold", "*": "warn"}},
    means={"en": "items bought", "zh": "购买的商品"},
    note="Asked as of each cut-off of those who buy in the days after it: each different item that is bought, up to "
    "the first 20, is a prediction, and is ranked among all items.",
)
