"""Visits and customers of the packed stores beside the server: the latest, those found by a name, and what each did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from clickflow.online import visits
from clickflow.online.history import Step
from clickflow.online.page import places
from clickflow.sequences.card import Card, read_card
from clickflow.sequences.store import PackedSplit, open_split
from clickflow.sequences.units import UNITS
from clickflow.serving.identities import Identity, Kind
from clickflow.system import integrity
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.paths import Paths

KINDS: Mapping[str, Kind] = {"session": "session", "customer": "user"}
"""By the server's kind of subject, that of an identity."""
IDS = ("session_id", "user_id")
"""By what one is called: the first of these that a unit has."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A visit or a customer in a list. `last`: microseconds since 1970 UTC."""

    id: str
    unit: str
    source: str
    steps: int
    last: int | None
    last_action: str | None
    user: str | None = None


@dataclass(frozen=True)
class History:
    """What one did. `now`: as of when a customer is asked about; `others`: visits of the same customer, the latest
    first.
    """

    subject: Subject
    steps: tuple[Step, ...]
    now: int | None
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Log:
    """One packed store, checked against its hashes, with an index of who is in it."""

    store: Path
    card: Card
    splits: Mapping[str, PackedSplit]
    tables: dict[str, Any]
    """By part, a row a sequence."""

    @classmethod
    def read(cls, store: Path, home: Path) -> "Log":
        """Raises DataError where the store is not what was recorded."""
        from pyarrow import parquet

        integrity.verify(store, home=home)
        card = read_card(store)
        wanted = (*IDS, "end", "length", "piece")
        tables = {}
        for part in card.scored_parts:
            file = store / part / "sequences.parquet"
            names = [name for name in wanted if name in parquet.read_schema(file).names]
            tables[part] = parquet.read_table(file, columns=names).combine_chunks()
        splits = {part: open_split(store, part) for part in card.scored_parts}
        return cls(store, card, splits, tables)

    @cached_property
    def name(self) -> str:
        """The column by which one is called."""
        return next(name for name in IDS if name in next(iter(self.tables.values())).column_names)

    def latest(self, most: int) -> list[Subject]:
        """Those that did something last, of the newest part that holds anybody."""
        part = next((part for part in reversed(self.tables) if self.tables[part].num_rows), None)
        if part is None:
            return []
        ends = self.tables[part]["end"].cast("int64").to_numpy()
        return [self._subject(part, row) for row in np.argsort(-ends, kind="stable")[:most].tolist()]

    def search(self, names: Sequence[str], most: int) -> list[Subject]:
        """Those whose id, or whose customer's, begins with one of `names`; the newest part first."""
        import pyarrow.compute as pc

        matches: list[Subject] = []
        for part in reversed(self.tables):
            table = self.tables[part]
            mask = np.zeros(table.num_rows, bool)
            for column in IDS:
                if column in table.column_names:
                    for name in names:
                        mask |= pc.starts_with(table[column], name).fill_null(False).to_numpy(zero_copy_only=False)
            rows = np.flatnonzero(mask)
            ends = table["end"].cast("int64").to_numpy()[rows]
            matches += [self._subject(part, row) for row in rows[np.argsort(-ends, kind="stable")][:most].tolist()]
            if len(matches) >= most:
                break
        return matches[:most]

    def history(self, name: str) -> History | None:
        """All that one did, the pieces of a long visit one after the other; None where nobody is called so."""
        import pyarrow.compute as pc

        for part in reversed(self.tables):
            table = self.tables[part]
            rows = np.flatnonzero(pc.equal(table[self.name], name).fill_null(False).to_numpy(zero_copy_only=False))
            if len(rows):
                break
        else:
            return None
        order = np.argsort(table["end"].cast("int64").to_numpy()[rows], kind="stable")
        rows = rows[order]
        read = visits.questions(self.store, part, rows.tolist())
        steps = tuple(step for each in read for step in each.steps)
        subject = self._subject(part, int(rows[-1]), len(steps))
        return History(subject, steps, read[-1].now, self._others(subject.user))

    def _others(self, user: str | None) -> tuple[str, ...]:
        if user is None or self.name == "user_id":
            return ()
        return tuple(dict.fromkeys(each.id for each in self.search([user], 20) if each.user == user))

    def _subject(self, part: str, row: int, steps: int | None = None) -> Subject:
        table, split = self.tables[part], self.splits[part]
        last = int(split.end[row]) - 1
        named = last >= int(split.begin[row])
        return Subject(
            id=table[self.name][row].as_py(),
            unit=self.card.unit,
            source="log",
            steps=table["length"][row].as_py() if steps is None else steps,
            last=table["end"][row].value,
            last_action=self.card.actions[int(split.action[last])] if named else None,
            user=table["user_id"][row].as_py() if "user_id" in table.column_names else None,
        )


class Logs:
    """The stores of a workspace by unit (`places`), each read again when it is another or its card has changed."""

    def __init__(self, paths: Paths | None) -> None:
        self._paths = paths
        self._held: dict[str, tuple[tuple[Path, int], Log]] = {}

    def of(self, unit: str) -> Log | None:
        """None where there is no store of that unit here. Raises DataError where it is not what was recorded."""
        if self._paths is None or unit not in UNITS:
            return None
        for place in places.of(self._paths):
            store = place.sequences(unit)
            try:
                stamp = store, (store / "card.json").stat().st_mtime_ns
            except OSError:
                continue
            if unit not in self._held or self._held[unit][0] != stamp:
                self._held[unit] = (stamp, Log.read(store, self._paths.home))
            return self._held[unit][1]
        return None


def pseudonyms(name: str, make: Any) -> dict[str, Kind | None]:
    """What one may be called by `name`: that itself, and its pseudonyms, with their kinds, where it is the id of a
    log.
    """
    kinds: dict[str, Kind | None] = {name: None}
    for kind, own in KINDS.items():
        try:
            pseudonym = make(kind, name)
        except (UsageError, ClickflowError, ValueError):
            continue
        if pseudonym is not None:
            kinds.setdefault(pseudonym, own)
    return kinds


def revealed(names: Mapping[str, Kind | None], subjects: Sequence[Subject]) -> list[Identity]:
    """Of which pseudonyms made of a raw id an answer tells that there is somebody."""
    said = [name for each in subjects for name in (each.id, each.user) if name]
    return [
        Identity(kind, name)
        for name, kind in names.items()
        if kind is not None and any(each.startswith(name) for each in said)
    ]
