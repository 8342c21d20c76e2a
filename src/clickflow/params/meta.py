"""What belongs to a param beside its type: one line about it, its unit, its bounds.

It stands beside the field, as `events: Annotated[int, Meta("events to make, about", ge=1)] = 160_000`. Standard library
only, as the sections are: the training core reads them where pydantic is not.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

CENTURY = 36_525
"""Days."""
LARGEST: Mapping[str, float] = {
    "": 1e12,
    "share": 1,
    "steps": 1 << 20,
    "bytes": 1 << 20,
    "GB": 1e5,
    "seconds": CENTURY * 86_400,
    "minutes": CENTURY * 1440,
    "hours": CENTURY * 24,
    "days": CENTURY,
}
"""The largest number of a unit, where a field names no smaller one. The smallest is 0."""
LONGEST_TEXT = 1000
"""Bytes."""
LONGEST_LIST = 1000
"""Entries."""


@dataclass(frozen=True)
class Meta:
    """`text`: what it does. Bounds are of a number, or of each one in a list or mapping; `le` of a text: its bytes.

    `most`: entries of a list.
    """

    text: str
    unit: str = ""
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    most: int = LONGEST_LIST

    def fault(self, value: float) -> str:
        """Why a number is out of bounds; empty where it is not."""
        low = 0.0 if self.ge is None else self.ge
        high = LARGEST[self.unit] if self.le is None else self.le
        below = value <= self.gt if self.gt is not None else value < low
        above = value >= self.lt if self.lt is not None else value > high
        if not below and not above:
            return ""
        text = str(value) if abs(value) < 1e18 else f"{value:.3e}" if abs(value) < 1e300 else "it"
        if self.range:
            return f"{text} is not {self.range}"
        return f"{text} is not between {_shown(low)} and {_shown(high)}"

    @property
    def range(self) -> str:
        """The bounds that the field or its unit names, in words; empty where there are none."""
        low = self.gt if self.gt is not None else self.ge
        high = self.lt if self.lt is not None else self.le
        if self.unit == "share":
            low, high = (0 if low is None else low), (1 if high is None else high)
        if high is None and (low is None or low <= -LARGEST[""]):
            return ""
        if high is None:
            return f"above {_shown(low)}" if self.gt is not None else f"at least {_shown(low)}"
        if low is None:
            low = 0
        if self.gt is None and self.lt is None:
            return f"between {_shown(low)} and {_shown(high)}"
        first = f"above {_shown(low)}" if self.gt is not None else f"from {_shown(low)}"
        last = f"below {_shown(high)}" if self.lt is not None else f"up to {_shown(high)}"
        return f"{first} {'to' if self.gt is None else 'and'} {last}"


@dataclass(frozen=True)
class Param:
    """A field of the schema: `name` is dotted, with `*` for any key of a mapping; MISSING: it has no default."""

    name: str
    kind: Any
    meta: Meta | None
    default: Any


def params(kind: Any, name: str = "") -> Iterator[Param]:
    """Every field of a dataclass and of the dataclasses in it, in the order in which they stand."""
    for each in fields(kind):
        at = f"{name}.{each.name}" if name else each.name
        yield from _param(at, hints(kind)[each.name], default_of(each))


def leaves(value: Any, name: str = "", meta: Meta | None = None) -> Iterator[tuple[str, Any, Meta | None]]:
    """Dotted name, value and what is said of every param below a dataclass or a mapping of dataclasses."""
    if is_dataclass(value):
        kind: Any = type(value)
        for each in fields(value):
            at = f"{name}.{each.name}" if name else each.name
            yield from leaves(getattr(value, each.name), at, plain(hints(kind)[each.name])[1])
    elif isinstance(value, Mapping) and _of_dataclasses(value):
        for key, inner in value.items():
            yield from leaves(inner, f"{name}.{key}", meta)
    else:
        yield name, value, meta


def _of_dataclasses(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_of_dataclasses, value.values()))
    return is_dataclass(value)


def default_of(field: Field[Any]) -> Any:
    """The default of a field; MISSING where it must be given."""
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _param(name: str, hint: Any, default: Any) -> Iterator[Param]:
    kind, meta = plain(hint)
    inner = dataclass_in(kind)
    if inner is not None and get_origin(kind) is not Mapping:
        yield from params(inner, name)
    elif inner is not None:
        if meta is not None:
            yield Param(name, kind, meta, default)
        yield from _param(f"{name}.*", get_args(kind)[1], MISSING)
    else:
        yield Param(name, kind, meta, default)


@cache
def hints(kind: Hashable) -> Mapping[str, Any]:
    """The types of a dataclass's fields, with what is annotated."""
    return get_type_hints(kind, include_extras=True)


def plain(hint: Any) -> tuple[Any, Meta | None]:
    """A type without its annotation, and the annotation."""
    if get_origin(hint) is not Annotated:
        return hint, None
    return hint.__origin__, next((each for each in hint.__metadata__ if isinstance(each, Meta)), None)


def dataclass_in(kind: Any) -> Any:
    """The dataclass that a type is, or is a mapping or an option of; None where there is none."""
    kind, _ = plain(kind)
    if is_dataclass(kind):
        return kind
    if get_origin(kind) is Mapping:
        return dataclass_in(get_args(kind)[1])
    if get_origin(kind) in (Union, UnionType):
        return next((inner for each in get_args(kind) if (inner := dataclass_in(each)) is not None), None)
    return None


def _shown(number: float | None) -> str:
    return "" if number is None else f"{number:,.0f}" if number == int(number) else f"{number:g}"
