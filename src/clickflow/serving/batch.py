"""`clickflow score --all`: what the champion expects next, for every sequence of the store, as files and SQL tables.

The sequences of a part of the store, `PARTITION` at a time and in its order, are a partition: what is scored, written
and recorded as done together. A target (`clickflow.serving.folder`, `clickflow.serving.tables`) has each partition
once, whole or not at all; so the next run goes on with one that was killed, to the same bytes. Sequences go through the
model in blocks of one window length, so that nothing is padded for long, and the best items of a block are found
together. What is in memory at any time is one partition's answers and one block of scores. Which columns there are
stands in docs/howto/score.md.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact import asking
from clickflow.artefact.artefact import Artefact
from clickflow.artefact.windows import Translation, blocks, last
from clickflow.evaluation import groups, vocabularies
from clickflow.heads import outputs
from clickflow.heads.outputs import Output
from clickflow.params.schema import Params
from clickflow.registry import champion
from clickflow.sequences.card import NOW, SPLITS, Card
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import PackedSplit, open_split, read_card
from clickflow.sequences.units import UNITS
from clickflow.serving.forms import AMOUNTS, Kept, form
from clickflow.serving.partitions import KIND, Batch, Line, Partition, Target
from clickflow.system import console, integrity
from clickflow.system.files import check_folder
from clickflow.system.moments import HOUR, iso
from clickflow.system.paths import Paths

if TYPE_CHECKING:
    import pyarrow as pa

PARTITION = 1 << 14
"""Sequences of a partition, at most."""
PARTITION_ROWS = 1 << 20
"""Rows of a partition's largest table, at most; also the row groups of the files."""
LAYOUT = 3
"""Of files and tables: another number starts a batch anew."""
BLOCK_BYTES = 1 << 24
"""Bytes of one block of scores (sequences x items)."""
BLOCK = 512
"""Sequences in one block at most."""

Ints = npt.NDArray[np.int64]
Beside = Callable[[Artefact, Path, "int | None"], Mapping[str, "pa.Table"]]
"""`beside(artefact, store, since)`: more tables, by the name of their file, about the sequences that end at `since`
(microseconds since 1970; None: all) or later. They are partitions of their own, after the others.
"""


Opening = Callable[[Batch], Target]


def run(
    params: Params,
    paths: Paths,
    model: str,
    *,
    out: Path | None = None,
    sql: bool = False,
    top: int,
    since_hours: float | None,
    as_json: bool,
    beside: Mapping[str, Beside] | None = None,
) -> None:
    """Score every sequence of the store whose last event is within `since_hours` of the newest one (None: all).

    `out` is replaced by the new predictions, whole or not at all; `sql`: they go to the tables that `score` of
    params.yaml names. What either has of them already is not made again. Raises UsageError where there is no champion,
    `out` holds something else, or the database refuses; DataError where store or champion are not what they were
    recorded as; ClickflowError where the database is away.
    """
    from clickflow.serving import folder, score_database, tables

    spec = params.model(model)
    opening: list[Opening] = []
    if out is not None:
        check_folder(out, KIND, "predictions")
        opening.append(lambda batch: folder.Folder(out, batch))
    if sql:
        engine = score_database.connect(params.score)
        opening.append(lambda batch: tables.Tables(engine, params.score, batch))
    store = paths.sequences(spec.unit)
    integrity.verify(store, home=paths.home)
    version, artefact = champion.loaded(params, paths, model)
    who = {"model": model, "version": version}
    card = write(artefact, store, opening, who=who, top=top, since_hours=since_hours, beside=beside or {})
    console.emit(card, as_json=as_json, text=lambda: _text(card))


def write(
    artefact: Artefact,
    store: Path,
    opening: Sequence[Opening],
    *,
    who: Mapping[str, Any],
    top: int,
    since_hours: float | None,
    beside: Mapping[str, Beside] | None = None,
) -> dict[str, Any]:
    """Give each target the partitions that it lacks; returns the card. `who`: model and version.

    Store and artefact may come from different trainings: items, categories and actions are matched by their names,
    and what the artefact does not know it reads as unknown.
    """
    card = read_card(store)
    newest = max(part.last for part in card.splits.values() if part.last is not None)
    since = None if since_hours is None else newest - round(since_hours * HOUR)
    answering = _Answering.of(artefact, store, card, top)
    extra = dict(sorted((beside or {}).items()))
    batch = _batch(answering, store, card, who=who, since_hours=since_hours, newest=newest, extra=list(extra))
    with ExitStack() as held:
        targets = [held.enter_context(opens(batch)) for opens in opening]
        _note(batch, targets)
        _fill(answering, store, since, targets, batch.partitions - len(extra))
        for number, makes in enumerate(extra.values(), batch.partitions - len(extra)):
            if lacking := [target for target in targets if number not in target.lines]:
                partition = Partition(number, 0, makes(artefact, store, since))
                for target in lacking:
                    target.take(partition)
        result = _card(batch, targets[0].lines, since)
        for target in targets:
            result |= target.finish(result)
    return result


def _batch(
    answering: "_Answering",
    store: Path,
    card: Card,
    *,
    who: Mapping[str, Any],
    since_hours: float | None,
    newest: int,
    extra: list[str],
) -> Batch:
    artefact, schemas = answering.artefact, answering.schemas()
    ranked = any(output.kind == "ranking" for output in answering.outputs)
    key = {
        **who,
        "model_sha256": artefact.card["model_sha256"],
        "data_sha256": card.sha256,
        "unit": card.unit,
        "top": answering.top if ranked else None,
        "since_hours": since_hours,
        "beside": extra,
        "partition_sequences": answering.size,
        "layout": LAYOUT,
    }
    plan = artefact.session.forecaster.reads(card.plan) if artefact.forecasts else None
    about: dict[str, Any] = {"plan": plan} if plan else {}
    about |= {**_as_of(store, card), "newest_event": iso(newest), "max_length": artefact.max_length}
    parts = sum(-(-card.splits[name].sequences // answering.size) for name in card.scored_parts)
    return Batch(key, parts + len(extra), schemas, about)


def _note(batch: Batch, targets: Sequence[Target]) -> None:
    """What there is of it already."""
    for target in targets:
        if have := len(target.lines):
            what = "already" if have == batch.partitions else "of a run that did not end: it goes on from there"
            console.say(f"note {target.where}: {have:,} of {batch.partitions:,} partitions are there {what}")


def _fill(answering: "_Answering", store: Path, since: int | None, targets: Sequence[Target], count: int) -> None:
    missing = {number for number in range(count) if any(number not in target.lines for target in targets)}
    if not missing:
        return
    done = 0
    with console.progress("scoring", count) as advance:
        for number, chunk in enumerate(_chunks(store, since, answering.size, missing)):
            if chunk is not None:
                partition = Partition(number, len(chunk.chosen), answering.tables(chunk))
                for target in targets:
                    if number not in target.lines:
                        target.take(partition)
            done += 1
            advance(1, f"{done:,} of {count:,} partitions")


def _card(batch: Batch, lines: Mapping[int, Line], since: int | None) -> dict[str, Any]:
    rows: dict[str, int] = {}
    for _, line in sorted(lines.items()):
        for name, count in line.rows.items():
            rows[name] = rows.get(name, 0) + count
    return {
        "kind": KIND,
        **batch.key,
        "batch": batch.id,
        "partitions": batch.partitions,
        "sessions": sum(line.sequences for line in lines.values()),
        "rows": rows,
        "since": None if since is None else iso(since),
        **batch.about,
    }


def _as_of(store: Path, card: Card) -> dict[str, str]:
    """As of when customers are asked about."""
    cut_off = open_split(store, NOW).cut_off if NOW in card.splits else None
    return {} if cut_off is None or not len(cut_off) else {"as_of": iso(int(cut_off[0]))}


@dataclass(frozen=True)
class _Chunk:
    """The sequences of a partition that are asked about: their indexes in the split, in order, and their rows of
    sequences.parquet.
    """

    split: PackedSplit
    chosen: Ints
    rows: "pa.Table"


def _chunks(store: Path, since: int | None, size: int, wanted: set[int]) -> Iterator[_Chunk | None]:
    """Partition by partition, the sessions of all splits, or the customers of now, whose last event is at or after
    `since`, in the order of the store; None of the partitions that are not `wanted`.

    Of a session that was cut into pieces only the last one counts: what follows the others is known.
    """
    import pyarrow as pa
    from pyarrow import parquet

    card, number = read_card(store), 0
    earlier = _earlier_pieces(store) if NOW not in card.splits else {}
    for name in card.scored_parts:
        split, start = open_split(store, name), 0
        ends = split.end - 1
        with parquet.ParquetFile(store / name / "sequences.parquet") as file:
            for rows in _pieces(file, _columns(file.schema_arrow.names), size):
                place = np.arange(start, start + len(rows))
                start, number = start + len(rows), number + 1
                if number - 1 not in wanted:
                    yield None
                    continue
                keep = np.ones(len(rows), bool) if since is None else np.asarray(split.time[ends[place]] >= since)
                if earlier:
                    keys = zip(rows["session_id"].to_pylist(), rows["user_id"].to_pylist(), strict=True)
                    keep &= rows["piece"].to_numpy() >= np.array([earlier.get(key, 0) for key in keys])
                yield _Chunk(split, place[keep], rows.filter(pa.array(keep)))


def _pieces(file: Any, columns: Sequence[str], size: int) -> "Iterator[pa.Table]":
    """All rows, `size` at a time, whatever the row groups."""
    import pyarrow as pa

    held: list[Any] = []
    for batch in file.iter_batches(batch_size=size, columns=list(columns)):
        held.append(pa.Table.from_batches([batch]))
        while sum(map(len, held)) >= size:
            table = pa.concat_tables(held)
            yield table.slice(0, size).combine_chunks()
            held = [table.slice(size)]
    if sum(map(len, held)):
        yield pa.concat_tables(held).combine_chunks()


def _owner(card: Card) -> str:
    """The column of sequences.parquet that says whose a sequence of a unit is."""
    return UNITS[card.unit].owner if card.unit in UNITS else "user_id"


def _columns(names: Sequence[str]) -> list[str]:
    """Those that are read of sequences.parquet: a unit of people has no sessions, and a series is nobody's."""
    owners = {unit.owner for unit in UNITS.values()}
    return [name for name in names if name in {"session_id", "piece", *owners}]


def _earlier_pieces(store: Path) -> dict[tuple[str, str | None], int]:
    """The number of the last piece of every session that has several."""
    import pyarrow.compute as pc
    from pyarrow import parquet

    newest: dict[tuple[str, str | None], int] = {}
    for name in SPLITS:
        with parquet.ParquetFile(store / name / "sequences.parquet") as file:
            for rows in file.iter_batches(columns=["session_id", "user_id", "piece"]):
                for row in rows.filter(pc.greater(rows["piece"], 1)).to_pylist():
                    key = row["session_id"], row["user_id"]
                    newest[key] = max(newest.get(key, 0), row["piece"])
    return newest


@dataclass(frozen=True)
class _Answering:
    """What every chunk needs; `items` are the ids of the artefact's indexes, an Arrow array."""

    artefact: Artefact
    translation: Translation
    items: Any
    top: int
    who: tuple[str, ...]
    """The columns of sequences.parquet that say whose each answer is."""

    @staticmethod
    def of(artefact: Artefact, store: Path, card: Card, top: int) -> "_Answering":
        import pyarrow as pa

        return _Answering(
            artefact,
            vocabularies.translation(store, card, artefact),
            pa.array(artefact.item_ids(), pa.string()),
            min(top, artefact.known - FIRST_ITEM),
            (_owner(card),) if NOW in card.splits else ("session_id", "user_id"),
        )

    @cached_property
    def size(self) -> int:
        """Sequences of a partition."""
        kinds = {output.kind for output in self.outputs}
        rows = max(self.top if "ranking" in kinds else 1, int(self.artefact.card.get("horizon") or 1))
        return max(1, min(PARTITION, PARTITION_ROWS // rows))

    @property
    def outputs(self) -> list[Output]:
        """What the artefact answers, and what is made of it for groups of items."""
        return outputs.of((*self.artefact.outputs, *self.own_groups.of))

    @cached_property
    def own_groups(self) -> groups.Own:
        """Of items."""
        return groups.Own.by(self.artefact)

    @cached_property
    def group_names(self) -> Any:
        """By code, an Arrow array."""
        import pyarrow as pa

        return pa.array(self.own_groups.names, pa.string())

    def schemas(self) -> dict[str, "pa.Schema"]:
        """The files that the model's heads give, and their columns."""
        import pyarrow as pa

        named = [(name, pa.string()) for name in self.who]
        who = [*named, ("last_event", pa.timestamp("us", tz="UTC"))]
        return {
            output.predictions: pa.schema([*who, *form(output).columns(self._classes(output))])
            for output in self.outputs
        }

    def tables(self, chunk: _Chunk) -> dict[str, "pa.Table"]:
        """The rows of one chunk, in its order; a ranking has `top` rows a session."""
        import pyarrow as pa

        scores, tables = self._scores(chunk), {}
        time = chunk.split.time[chunk.split.end[chunk.chosen] - 1]
        who = [*(chunk.rows[name] for name in self.who), pa.array(np.asarray(time))]
        schemas = self.schemas()
        for output in self.outputs:
            schema = schemas[output.predictions]
            columns = form(output).rows(who, scores[output.name], self.group_names if output.by else self.items)
            tables[output.predictions] = pa.table(_cast(columns, schema), schema=schema)
        return tables

    def _scores(self, chunk: _Chunk) -> dict[str, Kept]:
        """By output what is kept of it, a row a session."""
        positions = last(chunk.split, chunk.chosen, self.artefact.max_length)
        artefact = self.artefact
        answers = {output.name: form(output).empty(len(positions), self._width(output)) for output in self.outputs}
        for chosen in blocks(positions, max(1, min(BLOCK, BLOCK_BYTES // (4 * artefact.known)))):
            scores = self.own_groups.added(asking.answers(artefact, chunk.split, positions, chosen, self.translation))
            for output in self.outputs:
                kept = form(output).kept(scores[output.name], self._width(output))
                for array, values in zip(answers[output.name], kept, strict=True):
                    array[chosen] = values
        return answers

    def _width(self, output: Output) -> int:
        """How many answers to one question are kept."""
        if output.kind == "forecast":
            return int(self.artefact.card["horizon"]) * len(AMOUNTS)
        top = min(self.top, len(self.own_groups.names) - FIRST_ITEM) if output.by else self.top
        return len(self._classes(output)) or top

    def _classes(self, output: Output) -> tuple[str, ...]:
        """The names of the classes; none of a ranking."""
        return self.artefact.heads[output.head.name].classes


def _cast(columns: list[Any], schema: "pa.Schema") -> list[Any]:
    return [column.cast(field.type) for column, field in zip(columns, schema, strict=True)]


def _planned(plan: Mapping[str, Any] | None) -> list[str]:
    """What is to be said of the plan that forecasts read."""
    if plan is None:
        return []
    lines = [f"the plan is read: {', '.join(plan['columns'])}; later than {plan['until']} nothing is planned"]
    lines = lines if plan["columns"] else []
    for name, why in (
        ("lacking", "the model learned, and the store plans nothing of"),
        ("not_learned", "the store plans, and the model did not learn,"),
    ):
        lines += [f"{why} {', '.join(plan[name])}: as usual on all days"] if plan[name] else []
    return lines


def _text(card: Mapping[str, Any]) -> str:
    within = f" with an event since {card['since'][:16].replace('T', ' ')} UTC" if card["since"] else ""
    amount = f"{card['sessions']:,} {card['unit'].removesuffix('s')}s"
    lines = [f"{card['model']}, version {card['version']}: {amount}{within}"]
    if "path" in card:
        lines += [f"  {Path(card['path']) / name}: {rows:,} rows" for name, rows in card["rows"].items()]
    lines += [f"  {line}" for line in _planned(card.get("plan"))]
    lines += [f"  table {name}: {rows:,} rows, batch {card['batch']}" for name, rows in card.get("tables", {}).items()]
    return "\n".join(lines)
