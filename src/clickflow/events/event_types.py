"""From a shop's word for an event to its canonical type; some are left out, others are unknown.

The same code serves the rows of a log (`clickflow.events.checks`) and the events that a server receives.
"""

from collections.abc import Callable, Mapping, Sequence

from clickflow.events.contract import EVENT_TYPES
from clickflow.events.presets import ANY_TYPE, EVERY

Resolve = Callable[[str | None], tuple[str, str | None]]


def resolver(mapped: Mapping[str, str]) -> Resolve:
    """From a word (None: there is none) to what it is counted as (`ANY_TYPE`: the rest), and the canonical type,
    `presets.IGNORE`, or None where it is no type.

    A mapping goes before the canonical names; case matters in neither.
    """
    lower = {name.lower(): (name, kind) for name, kind in mapped.items()}

    def resolve(name: str | None) -> tuple[str, str | None]:
        if name is not None:
            key, kind = (name, mapped[name]) if name in mapped else lower.get(name.lower(), ("", ""))
            if key and key != ANY_TYPE:
                return key, kind
            if name.lower() in EVENT_TYPES:
                return name, name.lower()
        return ANY_TYPE, mapped.get(ANY_TYPE)

    return resolve


def nulls_of(nulls: Mapping[str, Sequence[str]], name: str, mapped: Mapping[str, str]) -> list[str]:
    """The texts that stand for nothing in a column; a type that is mapped is one."""
    given = [*nulls.get(EVERY, ()), *nulls.get(name, ())]
    return [text for text in given if name != "event_type" or text not in mapped]
