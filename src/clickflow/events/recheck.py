"""Quarantined rows, checked again under rules that let more rows in."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clickflow.events import delimited, jsonlines, quarantine
from clickflow.events.checks import Checked, Rules, check
from clickflow.events.contract import BY_NAME
from clickflow.events.engine import Engine
from clickflow.events.folders import partitions
from clickflow.events.manifest import Ingested, Manifest
from clickflow.events.mapping import columns_of
from clickflow.events.presets import Layout
from clickflow.events.reading import shown
from clickflow.events.records import find_odd
from clickflow.events.rows import BIT, ORDINAL_BITS, UNREAD_IDS, Rows, lines_of, with_constants
from clickflow.events.staging import Stage
from clickflow.events.storage import PART
from clickflow.events.text_blocks import TextBlock
from clickflow.events.unread import Unread, joined

SETTLED = sum(
    BIT[reason]
    for reason in ("truncated", "wrong_columns", "bad_quotes", "bad_json", "double_key", "broken_encoding", "duplicate")
)
"""What no rule can make good: it is the row itself."""


@dataclass
class Rechecked:
    """Rows that left quarantine: the texts of the good ones by source and position, and by source how many are ignored
    now, by type, how many are of forgotten people, which optional values were left empty, and currencies of prices.
    """

    texts: dict[tuple[int, int], str] = field(default_factory=dict)
    ignored: dict[int, Counter[str]] = field(default_factory=dict)
    forgotten: Counter[int] = field(default_factory=Counter)
    unread: dict[int, Unread] = field(default_factory=dict)
    currencies: dict[int, Counter[str]] = field(default_factory=dict)

    def count(self, number: int, checked: Checked, lines: NDArray[np.int64]) -> None:
        """Take in the counts of rows of one source that stand on `lines`."""
        self.ignored.setdefault(number, Counter()).update(checked.types_ignored)
        self.forgotten[number] += int(checked.forgotten.sum())
        self.unread[number] = joined(self.unread.get(number, {}), checked.unread_at(lines))
        self.currencies.setdefault(number, Counter()).update(checked.currencies)

    def added(self, number: int, source: Ingested) -> Ingested:
        """A source with these counts."""
        ignored = Counter(source.ignored) + self.ignored.get(number, Counter())
        unread = joined(source.unread, self.unread.get(number, {}))
        return replace(
            source,
            ignored=dict(sorted(ignored.items())),
            forgotten=source.forgotten + self.forgotten[number],
            unread=unread,
            currencies=dict(sorted((Counter(source.currencies) + self.currencies.get(number, Counter())).items())),
        )


def recheck(
    previous: Manifest,
    folder: Path,
    layout_of: Callable[[str], Layout],
    rules: Callable[[Layout], Rules],
    stage: Stage,
    engine: Engine,
    key: bytes,
) -> Rechecked:
    """Check what is in quarantine again and stage all of it: good rows as good, others with their reasons of now.

    Returns what became of those that left it.
    """
    numbers = {source.name: number for number, source in enumerate(previous.sources)}
    con = engine.cursor()
    outcome = Rechecked()
    last = (-1, -1, 0)
    for table in quarantine.read(folder, key):
        sources = np.array([numbers[name] for name in table["source"].to_pylist()], np.int32)
        positions, last = _positions(sources, table["line"].to_numpy(), last)
        raws = table["raw"].to_pylist()
        masks = quarantine.masks(table)
        for number in np.unique(sources).tolist():
            mine = np.flatnonzero(sources == number)
            settled = mine[masks[mine] & SETTLED != 0]
            stage.refuse(number, positions[settled], masks[settled], [raws[i] for i in settled.tolist()])
            mine = mine[masks[mine] & SETTLED == 0]
            if not len(mine):
                continue
            texts = [raws[i] for i in mine.tolist()]
            order, checked = _checked(texts, previous.sources[number], layout_of, rules, con)
            outcome.count(number, checked, lines_of(positions[mine[order]]))
            good = np.flatnonzero(checked.good)
            stage.add(checked.table.take(pa.array(good)), number, positions[mine[order[good]]])
            outcome.texts |= {(number, int(positions[mine[i]])): texts[i] for i in order[good].tolist()}
            bad = np.flatnonzero(checked.bad)
            stage.refuse(
                number,
                positions[mine[order[bad]]],
                checked.mask[bad],
                [
                    shown(texts[i], mask)
                    for i, mask in zip(order[bad].tolist(), checked.mask[bad].tolist(), strict=True)
                ],
            )
    return outcome


def forgotten(
    table: pa.Table,
    previous: Manifest,
    layout_of: Callable[[str], Layout],
    rules: Callable[[Layout], Rules],
    con: Any,
) -> NDArray[np.bool_]:
    """Which rows of a table of quarantine are a forgotten person's, as an ingest would say: by their ids where they can
    be read, else by the words of their text.
    """
    raws, masks = table["raw"].to_pylist(), quarantine.masks(table)
    names = np.array(table["source"].to_pylist(), object)
    theirs = np.zeros(len(raws), bool)
    for source in previous.sources:
        rows = np.flatnonzero(names == source.name)
        if len(rows):
            texts, unread = [raws[i] for i in rows.tolist()], masks[rows] & UNREAD_IDS != 0
            theirs[rows] = rules(layout_of(source.name)).forgotten.in_texts(texts, unread)
            read = rows[~unread]
            if len(read):
                order, checked = _checked([raws[i] for i in read.tolist()], source, layout_of, rules, con)
                theirs[read[order]] |= checked.forgotten
    return theirs


def _checked(
    texts: list[str],
    source: Ingested,
    layout_of: Callable[[str], Layout],
    rules: Callable[[Layout], Rules],
    con: Any,
) -> tuple[NDArray[np.int64], Checked]:
    """Rows of a source given as text, checked: which of `texts` each is, and what is said of it."""
    layout = layout_of(source.name)
    if source.described.get("clock"):
        layout = replace(layout, time_format=None)
    rows = _parse(texts, layout, source.described, partitions(source.name))
    return rows.positions, check(rows.table, rules(layout), con)


def _positions(
    sources: NDArray[np.int32], lines: NDArray[np.int64], last: tuple[int, int, int]
) -> tuple[NDArray[np.int64], tuple[int, int, int]]:
    """Positions in the order of the rows: those that share a line are numbered, also over the ends of tables."""
    positions = np.empty(len(lines), np.int64)
    for i, (source, line) in enumerate(zip(sources.tolist(), lines.tolist(), strict=True)):
        last = (source, line, last[2] + 1 if last[:2] == (source, line) else 0)
        positions[i] = line << ORDINAL_BITS | last[2]
    return positions, last


def _parse(texts: list[str], layout: Layout, described: Mapping[str, Any], folders: Mapping[str, Any]) -> Rows:
    """The columns of rows given as text, and of their file's folders; `positions` are their indices in `texts`."""
    data = ("\n".join(texts) + "\n").encode()
    if described["format"] == "delimited":
        names = tuple(described["columns"])
        mark, quoting = described["delimiter"].encode(), bool(described["quoting"])
        if len(mark) > 1:
            data, mark = data.replace(mark, PART), PART
        odd = find_odd(data, mark, final=True)[0] if quoting else []
        block = TextBlock(data, 0, 0, tuple(odd), True, 0)
        columns = columns_of(layout, names, Path(), given=folders)
        rows = delimited.parse(block, mark, quoting, len(names), columns)
    else:
        wanted = dict(layout.columns)
        if layout.identity:
            wanted |= {column: column for column in BY_NAME if column not in wanted}
        rows = jsonlines.parse(TextBlock(data, 0, 0, (), True, 0), wanted, "", layout.decimal)
    first = np.cumsum([0] + [text.count("\n") + 1 for text in texts])
    index = np.searchsorted(first, rows.positions >> ORDINAL_BITS, side="right") - 1
    if rows.refused.positions or len(index) != len(texts):
        raise AssertionError("a row that was once read cannot be read again")
    return with_constants(Rows(rows.table, index, rows.refused), described.get("constants", {}))
