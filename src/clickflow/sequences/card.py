"""card.json of a packed store: what is in it, from which window, and what was left out. Standard library only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.system.errors import ClickflowError, DataError
from clickflow.system.files import read_json, sha256_json, write_json
from clickflow.system.moments import iso, of_iso

FILE = "card.json"
SPLITS = ("train", "valid", "test")
"""The parts of a store, in the order of time."""
NOW = "now"
"""The part of a unit with cut-offs that is read as of the end of the log: nothing is known of its answers yet."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The extent of one split; `first` and `last` are its earliest and latest step, microseconds since 1970 UTC."""

    sequences: int
    events: int
    first: int | None
    last: int | None


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a store says of itself.

    `known`: the first item index that is unknown to models (the size of their item table); an index from there on is
    read as 1. `items_total`: rows of vocabulary.parquet, so indexes run to `items_total + 1`. `categories`: the size
    of a category table (0 none, 1 unknown, 2.. those of the training part). `actions`: the meaning of the action
    codes. `boundaries`: for `valid` and `test`, microseconds since 1970 UTC; the part holds what ends after it, the
    parts before hold what ends at or before it. `statistics`: per feature mean and std of its log1p, training part.
    `events_read`, `left_out`, `counts`: where every event went. `settings`: the params that shaped the store. `clock`:
    whether times are a clock's; where they are an order alone, hour, weekday, gap and since_start are 0 everywhere.
    `coverage`: `span_days`; `known_share` of the valid and the test steps, on items known to models (None: no such
    step); `tie_share` of the steps that have the time, and the same or no order, of the step before. `notes`: what a
    person must know before believing a figure measured on this store, a sentence each.
    `repeated`: steps that stand in several parts, once for each part after the first.
    `summed`: where steps are sums of events, how many events they are of.
    `plan`: where `plan.npy` says what is planned of its series: the file, its hash, columns and rows, the first and the
    last day, and how many series it names that are none of the store.
    `files`: SHA-256 of every other file, by its path in the store.
    """

    unit: str
    known: int
    items_total: int
    categories: int
    actions: tuple[str, ...]
    splits: Mapping[str, Part]
    boundaries: Mapping[str, int]
    statistics: Mapping[str, Mapping[str, float]]
    events_read: int
    left_out: Mapping[str, Mapping[str, int]]
    counts: Mapping[str, int]
    settings: Mapping[str, Any]
    files: Mapping[str, str]
    clock: bool = True
    coverage: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    repeated: int = 0
    summed: int | None = None
    plan: Mapping[str, Any] | None = None

    @property
    def sha256(self) -> str:
        """One hash that stands for all the bytes of the store."""
        return sha256_json(_plain(self))

    @property
    def own_settings(self) -> Mapping[str, Any]:
        """The params of the unit itself; empty where the card does not say them."""
        return self.settings.get(self.unit) or {}

    @property
    def scored_parts(self) -> tuple[str, ...]:
        """The parts whose sequences are scored: all, or the one that is read as of the end of the log."""
        return (NOW,) if NOW in self.splits else SPLITS

    @property
    def packed(self) -> int:
        """The steps of all splits, each once."""
        return sum(part.events for part in self.splits.values()) - self.repeated

    def add_up(self) -> None:
        """Raise ClickflowError unless every event read is packed or left out for a reason."""
        left_out = sum(reason["events"] for reason in self.left_out.values())
        packed = self.packed if self.summed is None else self.summed
        if self.events_read != packed + left_out:
            raise ClickflowError(
                f"{self.events_read:,} events were read, {packed:,} packed and {left_out:,} left out: "
                f"they do not add up, which is a fault of clickflow",
                kept="the store made before, if there was one",
                next_step=f"report it with what was left out: {dict(self.left_out)}",
            )

    def summary(self) -> str:
        """One line for the person watching."""
        parts = ", ".join(f"{name} {part.sequences:,}" for name, part in self.splits.items())
        reasons = ", ".join(f"{name} {what['events']:,}" for name, what in self.left_out.items() if what["events"])
        known = [
            f"{share:.1%} of the {name}" for name, share in self.coverage["known_share"].items() if share is not None
        ]
        shares = f" ({' and '.join(known)} steps are on one)" if known else ""
        span = f"{self.coverage['span_days']:,.1f} days; " if self.clock else ""
        clock = "" if self.clock else "; the log has an order and no clock: hours, weekdays and gaps are not used"
        return (
            f"{self.unit}: {self.packed:,} steps of {self.events_read:,} events in sequences ({parts}); "
            f"{self.known - FIRST_ITEM:,} of {self.items_total:,} items known{shares}; {span}"
            f"left out: {reasons or 'nothing'}{clock}"
        )


def read_card(folder: Path) -> Card:
    """The card of the store in `folder`. Raises DataError where there is none, or it cannot be read."""
    path = folder / FILE
    try:
        raw = read_json(path)
        return Card(
            **raw
            | {
                "actions": tuple(raw["actions"]),
                "notes": tuple(raw["notes"]),
                "splits": {
                    name: Part(**part | {"first": _microseconds(part["first"]), "last": _microseconds(part["last"])})
                    for name, part in raw["splits"].items()
                },
                "boundaries": {name: of_iso(text) for name, text in raw["boundaries"].items()},
            }
        )
    except FileNotFoundError as error:
        raise DataError(f"there is no packed store in {folder}", next_step=_make(folder)) from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is not the card of a packed store: {error!r}", next_step=f"remove the folder, then {_make(folder)}"
        ) from error


def write_card(folder: Path, card: Card) -> None:
    """Write card.json; times in ISO 8601 (UTC), so that a person can read them."""
    write_json(folder / FILE, _plain(card))


def _plain(card: Card) -> dict[str, Any]:
    plain = asdict(card)
    if not card.repeated:
        del plain["repeated"]  # stores of before had none
    for name in ("summed", "plan"):
        if plain[name] is None:
            del plain[name]
    for part in plain["splits"].values():
        for end in ("first", "last"):
            part[end] = None if part[end] is None else iso(part[end])
    plain["boundaries"] = {name: iso(time) for name, time in card.boundaries.items()}
    return plain


def _microseconds(text: str | None) -> int | None:
    return None if text is None else of_iso(text)


def _make(folder: Path) -> str:
    return (
        f"`dvc repro` makes it, `clickflow checkout RUN` brings that of a run (`clickflow runs`); "
        f"alone, once there are events: `clickflow sequences {folder.name}`"
    )
