"""Sequences that are left out before the split, and why: robots, baskets, too short ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clickflow.params.sequences import Robots
from clickflow.sequences import engine
from clickflow.sequences.engine import Actors
from clickflow.sequences.units.unit import Rules
from clickflow.system.moments import DAY, MINUTE

ROBOTS = ("robot_rate", "robot_length", "robot_share")
REASONS = (*ROBOTS, "basket", "too_short")
"""In the order in which they are asked: a sequence is left out for the first that holds."""
GOES_ON = len(REASONS)
"""The place of no reason."""
ROBOT_DID = ("faster than max_steps_per_minute", "a longer session than max_session_steps", "more than max_log_share")
RATED_STEPS = 30
"""A session of fewer steps is not judged by its rate: people are quick for a moment."""
VISITORS = 100
"""In a log of fewer, one visitor may well be a large share of it."""
TIES = 0.2
"""From this share of ties on, it is said what the order of equal times is."""


@dataclass(frozen=True)
class Judged:
    """`kept`: the sequences that go on, an Ibis table of `number` rows; `left_out`: events and sequences by reason, for
    robots visitors too; `baskets`: sessions of two steps or more that all tie, read or not; `long`: sessions of more
    than a day, and the days of the longest.
    """

    kept: Any
    number: int
    left_out: Mapping[str, Mapping[str, int]]
    baskets: int
    long: tuple[int, float] = (0, 0.0)


def judge(connection: Any, sequences: Any, actors: Actors, rules: Rules, robots: Robots, *, clock: bool) -> Judged:
    """Take out of `sequences` (`cutting.SEQUENCE`) what is left out.

    A group is judged as a whole, whatever pieces it is cut into; robots by visitor, that is by the user, and where
    there is none by the session. Without a `clock` nobody is too fast.
    """
    import ibis

    enough = sequences.length >= rules.min_length
    groups = sequences.group_by("group").agg(
        actor=sequences.actor.min(),
        steps=sequences.length.sum(),
        moves=sequences.moves.sum(),
        long_sequences=enough.sum(),
        long_steps=ibis.ifelse(enough, sequences.length, 0).sum(),
        span=sequences.end.max() - sequences.group_start.min(),
    )
    groups = groups.mutate(basket=(groups.steps > 1) & (groups.moves == 0))
    groups = engine.keep(connection, "groups", groups)
    number = engine.facts(
        connection,
        groups,
        baskets=groups.count(where=groups.basket),
        long=groups.count(where=groups.span > DAY),
        longest=groups.span.max(),
    )
    long = (number["long"], number["longest"] / DAY) if clock and number["long"] else (0, 0.0)
    left = _robots(connection, groups, actors, rules, robots, clock=clock)
    out = left.select("reason", "visitor", group_out="group")
    judged = sequences.left_join(out, sequences.group == out.group_out)
    reasons = [(judged.group_out.notnull(), judged.reason)]
    if not rules.baskets:
        baskets = groups.filter(groups.basket).select(basket="group")
        judged = judged.left_join(baskets, judged.group == baskets.basket)
        reasons = [(judged.group_out.notnull(), judged.reason), (judged.basket.notnull(), REASONS.index("basket"))]
    reasons.append((judged.length < rules.min_length, REASONS.index("too_short")))
    reason = ibis.cases(*reasons, else_=GOES_ON).cast("int8")
    judged = engine.keep(connection, "judged", judged.select(*sequences.columns, "visitor", why=reason))
    counts = judged.group_by("why").agg(
        events=judged.length.sum(), sequences=judged.count(), visitors=judged.visitor.nunique()
    )
    by_reason = {row.pop("why"): row for row in counts.to_pyarrow().to_pylist()}
    left_out = {}
    for place, name in enumerate(REASONS):
        row = by_reason.get(place, {"events": 0, "sequences": 0, "visitors": 0})
        left_out[name] = {what: int(row[what]) for what in row if what != "visitors" or name in ROBOTS}
    kept = judged.filter(judged.why == GOES_ON).select(*sequences.columns)
    goes_on = by_reason.get(GOES_ON, {"sequences": 0})["sequences"]
    return Judged(kept, goes_on, left_out, number["baskets"], long)


def _robots(connection: Any, groups: Any, actors: Actors, rules: Rules, bounds: Robots, *, clock: bool) -> Any:
    """Table `group`, `reason`, `visitor`: all groups of robots."""
    import ibis

    fast: Any = ibis.literal(False)
    if clock and bounds.max_steps_per_minute is not None:
        minutes = groups.span / (MINUTE)
        fast = (groups.steps >= RATED_STEPS) & (groups.moves > bounds.max_steps_per_minute * minutes)
    long: Any = ibis.literal(False)
    if bounds.max_session_steps is not None:
        long = groups.steps > bounds.max_session_steps
    enters = ~groups.basket | rules.baskets
    named = actors.named.select("actor", "user_id")
    # whoever has no user is one visitor a session
    rated = groups.mutate(
        fast=fast,
        long=long,
        entering_steps=ibis.ifelse(enters, groups.long_steps, 0),
        entering_sequences=ibis.ifelse(enters, groups.long_sequences, 0),
    ).join(named, "actor")
    guest = ibis.ifelse(rated.user_id.isnull(), rated.actor, -1)
    columns = ("group", "actor", "user_id", "fast", "long", "entering_steps", "entering_sequences")
    rated = engine.keep(connection, "rated", rated.select(*columns, guest=guest))
    visitors = rated.group_by("user_id", "guest").agg(
        visitor=rated.actor.min(),
        fast=rated.fast.any(),
        long=rated.long.any(),
        steps=rated.entering_steps.sum(),
        sequences=rated.entering_sequences.sum(),
    )
    visitors = engine.keep(connection, "visitors", visitors)
    share: Any = ibis.literal(False)
    if bounds.max_log_share is not None:
        seen = visitors.filter(visitors.sequences > 0)
        total = engine.facts(
            connection, seen, visitors=seen.count(), steps=seen.steps.sum(), sequences=seen.sequences.sum()
        )
        if total["visitors"] >= VISITORS:
            most = {name: bounds.max_log_share * total[name] for name in ("steps", "sequences")}
            share = (visitors.steps > most["steps"]) | (visitors.sequences > most["sequences"])
    rules_in_order = (visitors.fast, visitors.long, share)
    reason = ibis.cases(*((rule, place) for place, rule in enumerate(rules_in_order)), else_=-1).cast("int8")
    robots = visitors.mutate(reason=reason)
    robots = robots.filter(robots.reason >= 0).select("reason", "visitor", robot_user="user_id", robot_guest="guest")
    robots = engine.keep(connection, "robots", robots)
    same = [rated.user_id.identical_to(robots.robot_user), rated.guest == robots.robot_guest]
    return rated.join(robots, same).select("group", "reason", visitor=robots.visitor.cast("int64"))


def notes(
    counts: Mapping[str, int],
    left_out: Mapping[str, Mapping[str, int]],
    tie_share: float,
    *,
    baskets: bool,
    section: str,
    long: tuple[int, float] = (0, 0.0),
) -> list[str]:
    """What was done to visits that are not what they seem, a sentence each; `baskets`: whether they are read, as the
    `section` of the unit's params says; `long` is of `Judged`.
    """
    said = []
    if long[0]:
        said.append(
            f"{long[0]:,} sessions span more than a day, the longest {long[1]:,.1f} days: ids that are given anew "
            "join several visits; without source.columns.session_id a pause ends one (sequences.session.gap_minutes)"
        )
    if several := counts["sessions_of_several_users"]:
        said.append(f"{several:,} sessions have several users: each user's part of them is a session of its own")
    if known := counts["sessions_user_known_in_part"]:
        said.append(f"{known:,} sessions name their user on some rows only: all their rows are that user's")
    if count := counts["baskets"]:
        done = "read in the order of the file" if baskets else "left out"
        said.append(f"{count:,} sessions are baskets, all their steps at one instant: {done} ({section}.baskets)")
    if tie_share >= TIES:
        said.append(
            f"{tie_share:.1%} of the steps have the time of the step before: they stand as in the file, and a model "
            "learns that order; map a column that says the order (source.columns: {order: ...}) if there is one"
        )
    for name, did in zip(ROBOTS, ROBOT_DID, strict=True):
        if (what := left_out[name])["sequences"]:
            said.append(
                f"{what['visitors']:,} visitor{'s' if what['visitors'] > 1 else ''} left out as robots ({did}): "
                f"{what['sequences']:,} sequences, {what['events']:,} steps (sequences.robots)"
            )
    return said
