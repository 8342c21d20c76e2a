"""Sequences split by time: a sequence belongs to the part in which its last step lies.

So the training part holds nothing later than its boundary. Boundaries are ends of sequences: the shares are shares
of sequences, in the order of their ends; sequences that end at the same instant stay together, in the earlier part.
With an embargo, sequences of a later part that start before the boundary plus the embargo are left out; without one,
a sequence that begins before a boundary and ends after it belongs, whole, to the later part.
"""

from dataclasses import dataclass
from typing import Any

from clickflow.sequences.card import SPLITS
from clickflow.sequences.features import MICROSECOND
from clickflow.system.errors import DataError

EMBARGOED = len(SPLITS)
"""The number of the part that holds what the embargo leaves out."""


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


def boundaries(sequences: Any, counts: tuple[int, int, int]) -> Boundaries:
    """Find the boundaries; `sequences` is an Ibis table with `end`, `counts` as from `sizes`."""
    ends = sequences.order_by("end").select("end")

    def nth(position: int) -> int:
        return int(ends.limit(1, offset=position).to_pyarrow().column("end")[0].as_py())

    train, valid, _ = counts
    return Boundaries(train=nth(train - 1), valid=nth(train + valid - 1))


def parts(sequences: Any, where: Boundaries, embargo_minutes: float) -> Any:
    """`sequences` with a column `part` int8: 0, 1, 2 as in `SPLITS`, or `EMBARGOED`."""
    import ibis

    embargo = round(embargo_minutes * 60 * MICROSECOND)
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
