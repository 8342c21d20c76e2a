"""The questions that models answer: one file a head, and this table of them.

A head of your own, outside this package, joins the table by `add`.
"""

from clickflow.heads import (
    churn,
    demand,
    exit,
    next_action,
    next_item,
    propensity,
    purchase,
    response,
    spend,
    trend,
)
from clickflow.heads.head import Head
from clickflow.system.errors import UsageError, nearest

HEADS: dict[str, Head] = {
    head.name: head
    for head in (
        *(next_item.HEAD, next_action.HEAD, exit.HEAD, purchase.HEAD, response.HEAD),
        *(churn.HEAD, spend.HEAD, propensity.HEAD),
        *(demand.HEAD, trend.HEAD),
    )
}
"""All heads by name, in the order in which they are shown."""


def add(head: Head) -> None:
    """Make a head known."""
    HEADS[head.name] = head


def named(name: str) -> Head:
    """The head of that name. Raises UsageError, naming the nearest, where there is none."""
    if name not in HEADS:
        known = ", ".join(HEADS)
        raise UsageError(f"no head is called {name!r}; there is: {known}{nearest(name, HEADS)}", kept="nothing was run")
    return HEADS[name]
