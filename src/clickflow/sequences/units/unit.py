"""What a unit is: which events are one sequence, and what the store says of it beside its steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from clickflow.sequences.features import Array

ArrowType = Literal["string", "int32", "time"]
"""`time` is a timestamp in microseconds, UTC."""
Asks = Literal["every", "last"]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How the events of one actor become sequences, as params say."""

    event_types: tuple[str, ...]
    """Types that become a step, where the event has an item."""
    begins: "Callable[[Mapping[str, Array], Array], Array]"
    """`begins(rows, before)`: at which of an actor's events a group begins, beside the first; `rows` is a batch of
    `engine.ordered_events`, `before` [n] the time of the event before each, both in microseconds since 1970 UTC.
    """
    drop_repeats: bool
    """Whether consecutive steps of the same type on the same item become the first of them."""
    baskets: bool
    """Whether groups whose steps are all of one instant are read."""
    min_length: int
    """Sequences of fewer steps are left out."""
    max_length: int
    """Longer groups are cut into pieces, each a sequence of its own."""


@dataclass(frozen=True, kw_only=True)
class AsOf:
    """Of a unit whose sequences are read as of cut-offs: where these lie, and who is in."""

    horizon_days: int
    """Answers come from so many days after a cut-off."""
    every_days: int
    """From one cut-off to the next."""
    active_days: int
    """Whoever did not buy in so many days before a cut-off is not asked about as of it."""
    active: str = "purchase"
    """The type of event by which one is in."""
    least: int = 1
    """Whoever has fewer such steps before a cut-off is not asked about as of it."""
    period_days: int = 1
    """Cut-offs are at midnight, of every day or, 7, of Mondays alone."""
    now: Literal["next", "last"] = "next"
    """Whether what is scored is read as of the first such midnight after the log's end, or of the last one before it,
    because a period that is not over has no value yet.
    """
    param: str = "sequences.customer.horizon_days"
    """Where the horizon stands in params.yaml."""


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Of a unit whose steps are no events, but sums of them by key and period."""

    level: str
    """What has a key: item, category or shop."""
    period_days: int
    """1 or 7."""
    returns: bool
    """Whether what was cancelled in a period is taken off its units."""


class Log(Protocol):
    """What a look at a log says of it, before anything is ingested."""

    @property
    def users(self) -> int:
        """Different users; 0 where no column names them."""

    @property
    def purchases(self) -> int:
        """Events of type purchase."""

    @property
    def ties(self) -> float:
        """Share of the steps of a visit that have the time of the step before."""

    @property
    def span_days(self) -> float:
        """From the first event to the last, as far as it can be told."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What one sequence is."""

    name: str
    """As in params.yaml, in the name of the stage and of the store."""
    what: str
    """One sentence: what a sequence of it is."""
    section: str
    """Where its params stand, below `sequences`."""
    row: Mapping[str, ArrowType]
    """The columns of sequences.parquet, which says of each sequence whose and when it is."""
    rules: Callable[[Any], Rules] | None = None
    """From the params of its section: how events become its sequences."""
    sums: Callable[[Any], Sums] | None = None
    """In the place of `rules`: which sums of events its steps are."""
    actions: tuple[str, ...] | None = None
    """The names of its steps' action codes; None: the types of event."""
    owner: str = "user_id"
    """The column of `row` that says whose a sequence is: rows of one are drawn together where metrics are resampled."""
    columns: tuple[str, ...] = ()
    """The features of a step that its store holds beside those of every store (`Feature.named`)."""
    asks: Asks = "every"
    """After every step of a sequence, or once, after the last step read."""
    as_of: Callable[[Any], AsOf] | None = None
    """Of its params: the cut-offs as of which sequences are read; None: each is read to its end."""
    unfit: Callable[[Log], str | None] | None = None
    """Why a log gives no sequences of it, as what follows `the log`; None: it does, as far as a look can tell."""
    suggested: Callable[[Log], Mapping[str, Any]] | None = None
    """Params of its section that suit a log."""
    by_person: bool = False
    """Whether an actor is a person, all sessions together, and guests are nobody; otherwise it is a session that the
    source gave, or a person without one.
    """
