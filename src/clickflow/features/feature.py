"""What a hand-made feature is, and which steps of a store it may read."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from clickflow.sequences.features import Array


NOW = "now"
"""The window of what is read off the time of asking alone."""


@dataclass(frozen=True)
class Feature:
    """One column of a table of features; docs/reference/features.md is made of these lines."""

    name: str
    unit: str
    """Of its values: days, money, a share, a count …"""
    meaning: str
    window: str = "all"
    """What of the past it reads: all of it, or the last so many days."""

    @property
    def of_clock(self) -> bool:
        """Whether it is of the times of a visit's steps, which a log with an order and no clock does not have."""
        return self.unit == "seconds" or self.window == NOW


@dataclass(frozen=True)
class Spans:
    """The steps that each of N questions may read: [begin, end) of the flat columns of a split, at times up to `now`.

    `begin`, `end` int64 [N] are bounds on the flat columns; `now` int64 [N] is the time of asking, in microseconds
    since 1970 UTC. The steps of a question are in the order of time.
    """

    begin: "Array"
    end: "Array"
    now: "Array"

    def __post_init__(self) -> None:
        if not len(self.begin) == len(self.end) == len(self.now):
            raise ValueError(f"{len(self.begin)} begins, {len(self.end)} ends, {len(self.now)} times")

    def __len__(self) -> int:
        return len(self.begin)

    def part(self, first: int, last: int) -> "Spans":
        """The questions [first, last)."""
        return Spans(self.begin[first:last], self.end[first:last], self.now[first:last])


class Names(Protocol):
    """What is asked of a store's card."""

    @property
    def actions(self) -> tuple[str, ...]:
        """The meaning of the action codes."""
        ...
