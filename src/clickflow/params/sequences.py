"""Section `sequences` of params.yaml: how events become sequences."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Literal

from clickflow.params.meta import Meta


@dataclass(frozen=True, kw_only=True)
class SessionUnit:
    """What one sequence of the unit `session` is."""

    gap_minutes: Annotated[
        float,
        Meta("a longer silence starts a new session, where the source gives no session", "minutes", gt=0),
    ] = 30.0
    event_types: Annotated[tuple[str, ...], Meta("what becomes a step, where it has an item")] = (
        *("view", "cart", "favourite", "remove", "purchase", "click"),
    )
    drop_repeats: Annotated[bool, Meta("consecutive events of the same type on the same item become one")] = True
    min_length: Annotated[
        int, Meta("sequences of fewer steps are left out; one to read and one to predict", "steps", ge=2)
    ] = 2
    max_length: Annotated[
        int, Meta("longer sessions are cut into pieces, each a sequence of its own", "steps", ge=1, le=1e6)
    ] = 200
    baskets: Annotated[
        bool, Meta("true: sessions whose steps are all of one instant (order lines) are read in the order of the file")
    ] = False


@dataclass(frozen=True, kw_only=True)
class CustomerUnit:
    """What one sequence of the unit `customer` is: docs/reference/sequences.md."""

    horizon_days: Annotated[
        int, Meta("questions are about so many days after a cut-off, the longest that a head may ask", "days", ge=1)
    ] = 30
    every_days: Annotated[int, Meta("from one cut-off to the next", "days", ge=1)] = 7
    active_days: Annotated[
        int, Meta("a customer is asked about as of a cut-off with a purchase in so many days before it", "days", ge=1)
    ] = 365
    event_types: Annotated[tuple[str, ...], Meta("what becomes a step, where it has an item; purchase among them")] = (
        *("view", "cart", "favourite", "remove", "purchase", "cancel"),
    )


@dataclass(frozen=True, kw_only=True)
class SeriesUnit:
    """What one sequence of the unit `series` is: docs/reference/sequences.md."""

    level: Annotated[Literal["item", "category", "shop"], Meta("what a series is of")] = "item"
    step: Annotated[Literal["day", "week"], Meta("what a value is of: a day, or a week from Monday on, UTC")] = "day"
    horizon: Annotated[int, Meta("questions are about so many steps after an origin", ge=1, le=400)] = 14
    every: Annotated[int, Meta("steps from one origin, as of which series are asked about, to the next", ge=1)] = 7
    least_sales: Annotated[
        int, Meta("a series is asked about as of an origin with so many steps with a sale before it", ge=1)
    ] = 5
    active_days: Annotated[
        int, Meta("and with a sale in so many days before it: what is sold no more is not asked about", "days", ge=1)
    ] = 91
    returns: Annotated[
        Literal["subtract", "ignore"],
        Meta("events of type cancel are taken off the units of their own step, down to 0, or are not looked at"),
    ] = "subtract"
    plan: Annotated[
        str,
        Meta(
            "a CSV file below plans/series: promotions and prices by day, past and ahead, that models read "
            "(docs/heads/demand.md); empty: none"
        ),
    ] = ""


@dataclass(frozen=True, kw_only=True)
class Robots:
    """What no visitor of flesh does: all sequences of a visitor who does this are left out; null: nobody's."""

    max_steps_per_minute: Annotated[
        float | None,
        Meta("a visitor of more, in a session of 30 steps or more, is left out; steps of one instant are one", gt=0),
    ] = 20.0
    max_session_steps: Annotated[int | None, Meta("a visitor of more, in one session, is left out", gt=0)] = 1000
    max_log_share: Annotated[
        float | None,
        Meta(
            "a visitor of more of the log's steps or sequences, of a hundred visitors or more, is left out",
            "share",
            gt=0,
            le=1,
        ),
    ] = 0.05


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """How events become sequences."""

    memory_gb: Annotated[float, Meta("memory of the engine, which spills to disk beyond it", "GB", gt=0)] = 2.0
    valid_share: Annotated[
        float, Meta("sequences, in the order of their ends, before the test part: for choosing", "share")
    ] = 0.1
    test_share: Annotated[float, Meta("sequences, the last ones in that order: for the evaluation", "share")] = 0.1
    embargo_minutes: Annotated[
        float, Meta("sequences of a later part that start within this time of the boundary are left out", "minutes")
    ] = 0.0
    min_item_count: Annotated[
        int,
        Meta("items with fewer steps in the training part are unknown to the model; more: a smaller one", ge=1),
    ] = 1
    min_known_share: Annotated[
        float | None,
        Meta(
            "valid and test steps on items that the model knows: warning below; null: not judged", "share", gt=0, le=1
        ),
    ] = 0.4
    min_part_sequences: Annotated[
        int | None, Meta("valid and test sequences: warning below; null: not judged", gt=0)
    ] = 200
    since: Annotated[
        datetime | None,
        Meta("ISO 8601, UTC where no zone is given: only events from then on; null: from the first"),
    ] = None
    until: Annotated[
        datetime | None, Meta("ISO 8601: only events before it, as if the log ended there; null: to the last")
    ] = None
    robots: Robots = field(default_factory=Robots)
    session: SessionUnit = field(default_factory=SessionUnit)
    customer: CustomerUnit = field(default_factory=CustomerUnit)
    series: SeriesUnit = field(default_factory=SeriesUnit)

    @property
    def window(self) -> tuple[datetime | None, datetime | None]:
        """`since` and `until` with their zone, UTC where they name none."""
        since, until = (
            None if moment is None else moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            for moment in (self.since, self.until)
        )
        return since, until
