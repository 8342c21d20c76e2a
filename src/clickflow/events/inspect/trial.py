"""A proposed `source`, tried on the file by the readers and checks of the ingest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clickflow.events import suspects, times
from clickflow.events.contract import COLUMNS
from clickflow.events.engine import Engine
from clickflow.events.reading import changes, check_block, cut_off, one_way, together
from clickflow.events.rows import lines_of, reasons_of
from clickflow.events.rules import rules_for
from clickflow.events.sources import open_files
from clickflow.params.schema import Params
from clickflow.params.source import Source

BLOCK = 4 << 20
EXAMPLE = 120

FIGURES = """
    WITH steps AS (
        SELECT *, coalesce('s' || session_id, 'u' || user_id) AS visit FROM rows
    ), ties AS (
        SELECT event_time = lag(event_time) OVER (PARTITION BY visit ORDER BY event_time) AS tie FROM steps
    )
    SELECT count(DISTINCT user_id), count(DISTINCT session_id), count(DISTINCT item_id),
        strftime(min(event_time), '%Y-%m-%d %H:%M:%S'), strftime(max(event_time), '%Y-%m-%d %H:%M:%S'),
        (SELECT coalesce(avg(tie::INT), 0) FROM ties WHERE tie IS NOT NULL),
        (max(epoch(event_time)) - min(epoch(event_time))) / 86400,
        count(*) - (SELECT count(*) FROM (SELECT DISTINCT {columns} FROM rows)),
        count(*) FILTER (event_type = 'purchase')
    FROM steps
"""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What became of rows: `reasons` with how many and an example; the rest is of the accepted ones. `ties`: the share
    of steps of one visit (or user) that have the time of the step before; `days`: from the first to the last;
    `part`: the share of the files' bytes that was read;
    `repeated`: rows whose canonical columns all equal those of an earlier one.
    """

    files: int
    read: int
    accepted: int
    ignored: int
    reasons: dict[str, tuple[int, str]]
    users: int = 0
    sessions: int = 0
    items: int = 0
    first: str | None = None
    last: str | None = None
    ties: float = 0.0
    days: float = 0.0
    repeated: int = 0
    purchases: int = 0
    part: float = 1.0
    newest_first: bool = False
    """The files begin with their newest events."""
    doubts: tuple[str, ...] = ()
    """What the ids of items leave unsure."""

    @property
    def span_days(self) -> float:
        """`days`; of one file that was read in part, as if the rest went on like it."""
        return self.days / self.part if self.files == 1 and self.part else self.days

    @property
    def refused(self) -> int:
        """How many rows would go to quarantine; exact repeats are seen by the ingest alone."""
        return self.read - self.accepted - self.ignored


def attempt(
    params: Params,
    source: Source,
    files: Sequence[tuple[str, Path]],
    rows: int,
    engine: Engine,
    advance: Callable[..., Any],
) -> Trial:
    """Read and check up to about `rows` rows of each file as `source` says.

    Raises DataError as the ingest does, where a file cannot be used.
    """
    rules = rules_for(replace(params, source=source), bytes(32))
    reasons: dict[str, tuple[int, str]] = {}
    good: list[pa.Table] = []
    read = accepted = refused = consumed = 0
    said: list[str] = []
    rises = falls = 0
    for number, file in enumerate(open_files(source, files)):
        ruled = rules(file.layout)
        mine = done = swapped = 0
        rounded: Mapping[str, tuple[int, int, int, int]] = {}
        for block in file.reader.blocks(BLOCK):
            if mine >= rows:
                break
            result = check_block(number, file, block, ruled, engine.cursor())
            mine += result.read
            accepted += result.good.num_rows
            refused += len(result.refused[0])
            good.append(result.good)
            later, earlier = changes(result.good["event_time"].cast(pa.int64()).to_numpy())
            rises, falls = rises + later, falls + earlier
            swapped += result.swapped
            rounded = together(rounded, result.rounded)
            lines = lines_of(result.refused[0]).tolist()
            for line, mask, raw in zip(lines, result.refused[1].tolist(), result.refused[2], strict=True):
                for reason in reasons_of(mask):
                    count, example = reasons.get(reason, (0, f"{file.name}, line {line}: {raw[:EXAMPLE]!r}"))
                    reasons[reason] = (count + 1, example)
            advance(block.consumed - done, "trying it")
            done = block.consumed
        said += [f"{file.name}: {each}" for each in cut_off(rounded)]
        if swapped:
            form = file.layout.time_format
            said.append(
                f"{file.name}: {swapped:,} of its times are {times.twin(form)}, and no {form}: those of the first "
                "twelve days of a month may be read as other days"
            )
        read += mine
        consumed += done
    reasons = dict(sorted(reasons.items(), key=lambda item: (-item[1][0], item[0])))
    trial = Trial(files=len(files), read=read, accepted=accepted, ignored=read - accepted - refused, reasons=reasons)
    if not accepted:
        return replace(trial, doubts=tuple(said))
    con = engine.cursor()
    con.execute("SET TimeZone = 'UTC'")
    con.register("rows", pa.concat_tables(good))
    figures = con.execute(FIGURES.format(columns=", ".join(f'"{name}"' for name in COLUMNS))).fetchall()[0]
    users, sessions, items, first, last, ties, days, repeated, purchases = figures
    return replace(
        trial,
        users=users,
        sessions=sessions,
        items=items,
        first=first,
        last=last,
        ties=ties,
        days=days or 0.0,
        repeated=repeated,
        purchases=purchases,
        newest_first=one_way(falls, rises),
        doubts=(*said, *suspects.of_items(pc.unique(pa.concat_tables(good)["item_id"]).drop_null())),
        part=min(1.0, consumed / max(1, sum(path.stat().st_size for _, path in files))),
    )
