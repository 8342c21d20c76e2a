"""Sequences split by time: a sequence belongs to the part in which its last step lies.

So the training part holds nothing later than its boundary. Boundaries are ends of sequences: the shares are shares
of sequences, in the order of their ends; sequences that end at the same instant stay together, in the earlier part.
With an embargo, sequences of a later part that start before the boundary plus the embargo are left out; without one,
a sequence that begins before a boundary and ends after it belongs, whole, to the later part.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from clickflow.sequences.card import NOW, SPLITS
from clickflow.sequences.features import Array
from clickflow.sequences.units.unit import AsOf
from clickflow.system.errors import DataError
from clickflow.system.moments import DAY, SECOND

EMBARGOED = len(SPLITS)
"""The number of the part that holds what the embargo leaves out."""


def cut_offs(first: int, stop: int, how: AsOf, valid_share: float, test_share: float) -> dict[str, list[int]]:
    """The cut-offs of each part of `SPLITS` and of `NOW`, for a log from `first` to before `stop`, all in microseconds
    since 1970 UTC, cut-offs at midnight (of Mondays alone where a period is a week).

    The last one of the test part is a horizon before the last midnight of the log, and so on backwards: the days that
    a part's answers come from end before the first cut-off of the next part begins. Shares are of the room that the
    horizons leave; a part with a share has one cut-off at least. Raises DataError where the log is too short.
    """
    horizon, every = how.horizon_days * DAY, how.every_days * DAY
    shares = {"test": test_share, "valid": valid_share}
    earliest, latest = midnight(first, how) + how.period_days * DAY, midnight(stop, how)
    horizons = 1 + sum(map(bool, shares.values()))
    room = latest - earliest - horizons * horizon
    if room < 0:
        days = horizons * how.horizon_days + 2
        raise DataError(
            f"the log spans {(stop - first) / DAY:,.1f} days: a horizon of {how.horizon_days} days needs {days:,}, for "
            f"the answers of {horizons} parts stand one after the other",
            kept="the store made before, if there was one",
            next_step=f"shorten {how.param} in params.yaml, or ingest more days",
        )
    moments: dict[str, list[int]] = {}
    end = latest - horizon
    for name, share in shares.items():
        number = 1 + round(share * (room // every)) if share else 0
        moments[name] = [end - back * every for back in reversed(range(number))]
        end = moments[name][0] - horizon if number else end
    moments["train"] = [end - back * every for back in reversed(range((end - earliest) // every + 1))]
    return {name: moments[name] for name in SPLITS} | {NOW: [latest if how.now == "last" else -(-stop // DAY) * DAY]}


def phase(how: AsOf) -> int:
    """When the first period of 1970 began, microseconds: 0, or that of its first Monday."""
    return 4 * DAY if how.period_days == 7 else 0


def midnight(time: int, how: AsOf) -> int:
    """When the period that a moment lies in began."""
    period = how.period_days * DAY
    return (time - phase(how)) // period * period + phase(how)


@dataclass(frozen=True)
class Boundaries:
    """The last instants of the training and of the validation part, microseconds since 1970 UTC."""

    train: int
    valid: int


def sizes(sequences: int, valid_share: float, test_share: float) -> tuple[int, int, int]:
    """How many sequences go to train, valid, test: a part with a share gets at least one.

    Raises DataError where there are too few sequences for that.
    """
    valid, test = (max(1, round(sequences * share)) if share else 0 for share in (valid_share, test_share))
    train = sequences - valid - test
    if train < 1:
        raise DataError(
            f"{sequences} sequence{'' if sequences == 1 else 's'} of sufficient length are too few to be split into "
            f"train, valid and test",
            kept="the store made before, if there was one",
            next_step="ingest more days, or lower min_length of the unit, or the shares, in params.yaml",
        )
    return train, valid, test


def boundaries(ends: Iterable[Array], counts: tuple[int, int, int]) -> Boundaries:
    """Find the boundaries; `ends` are those of the sequences, sorted, in pieces, `counts` as from `sizes`."""
    train, valid, _ = counts
    wanted, moments, before = (train - 1, train + valid - 1), [], 0
    for piece in ends:
        moments += [int(piece[each - before]) for each in wanted if before <= each < before + len(piece)]
        before += len(piece)
    return Boundaries(*moments)


def parts(sequences: Any, where: Boundaries, embargo_minutes: float) -> Any:
    """`sequences` with a column `part` int8: 0, 1, 2 as in `SPLITS`, or `EMBARGOED`."""
    import ibis

    embargo = round(embargo_minutes * 60 * SECOND)
    part = ibis.cases(
        (sequences.end <= where.train, 0),
        (sequences.end <= where.valid, 1),
        else_=2,
    )
    if embargo:
        early = ((part == 1) & (sequences.start < where.train + embargo)) | (
            (part == 2) & (sequences.start < where.valid + embargo)
        )
        part = ibis.ifelse(early, EMBARGOED, part)
    return sequences.mutate(part=part.cast("int8"))
