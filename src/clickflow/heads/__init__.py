"""The questions that models answer: one file a head, and this table of them.

A head of your own, outside this package, joins the table by an entry point of the group `clickflow.heads`, or by `add`.
"""

from functools import cache
from typing import Any

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

GROUP = "clickflow.heads"
"""Of entry points: each is a Head."""
HEADS: dict[str, Head]
"""All heads by name, in the order in which they are shown. Made when it is first asked for, and not when a head's file,
which may be one of those outside, imports this package.
"""

_OWN = (
    *(next_item.HEAD, next_action.HEAD, exit.HEAD, purchase.HEAD, response.HEAD),
    *(churn.HEAD, spend.HEAD, propensity.HEAD),
    *(demand.HEAD, trend.HEAD),
)


def __getattr__(name: str) -> Any:
    if name != "HEADS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _table()


@cache
def _table() -> dict[str, Head]:
    from importlib.metadata import entry_points

    table = {head.name: head for head in _OWN}
    for point in sorted(entry_points(group=GROUP), key=lambda each: each.name):
        where = f"the head {point.name!r} ({point.value}) of the package {point.dist.name if point.dist else '?'}"
        try:
            head = point.load()
        except Exception as error:  # whatever the code of others raises
            raise _refused(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
        if not isinstance(head, Head):
            raise _refused(f"{where} is no Head, but of type {type(head).__name__}")
        if head.name in table:
            raise _refused(f"{where} is called {head.name!r}, as another is")
        table[head.name] = head
    return table


def _refused(said: str) -> UsageError:
    return UsageError(
        said, kept="nothing was run", next_step="mend that package, or uninstall it; docs/howto/add-a-head.md"
    )


def add(head: Head) -> None:
    """Make a head known to this process."""
    _table()[head.name] = head


def named(name: str) -> Head:
    """The head of that name. Raises UsageError, naming the nearest, where there is none."""
    table = _table()
    if name not in table:
        known = ", ".join(table)
        raise UsageError(f"no head is called {name!r}; there is: {known}{nearest(name, table)}", kept="nothing was run")
    return table[name]
