"""`clickflow score --all`: what the champion expects next, for every session of the store, as Parquet.

Sessions go through the model in blocks of one window length, so that nothing is padded for long, and the best items of
a block are found together. What is in memory at any time is one chunk of sessions and one block of scores. Which
columns the files have stands in docs/howto/score.md.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact import asking
from clickflow.artefact.artefact import Artefact
from clickflow.artefact.windows import Translation, blocks, last
from clickflow.evaluation import vocabularies
from clickflow.heads import outputs
from clickflow.heads.outputs import Output
from clickflow.params.schema import Params
from clickflow.registry import champion
from clickflow.sequences.card import NOW, SPLITS, Card, iso
from clickflow.sequences.features import MICROSECOND
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import PackedSplit, open_split, read_card
from clickflow.sequences.units import UNITS
from clickflow.serving.forms import AMOUNTS, FORMS, Kept
from clickflow.system import console, integrity
from clickflow.system.files import check_folder, replacing, sha256, write_json
from clickflow.system.paths import Paths

if TYPE_CHECKING:
    import pyarrow as pa

CARD = "card.json"
KIND = "clickflow predictions"
"""What card.json says of the folder, so that no other folder is ever replaced by one."""
CHUNK = 1 << 13
"""Sessions whose answers are held at once; also the row groups of the files."""
BLOCK_BYTES = 1 << 24
"""Bytes of one block of scores (sessions x items)."""
BLOCK = 512
"""Sessions in one block at most."""

Ints = npt.NDArray[np.int64]


Beside = Callable[[Artefact, Path, Path, "int | None"], Mapping[str, int]]
"""`beside(artefact, store, folder, since)`: writes more files into `folder`, about the sequences that end at `since`
(microseconds since 1970; None: all) or later, and tells their rows.
"""


def run(
    params: Params,
    paths: Paths,
    model: str,
    *,
    out: Path,
    top: int,
    since_hours: float | None,
    as_json: bool,
    beside: Beside | None = None,
) -> None:
    """Score every session of the store whose last event is within `since_hours` of the newest one (None: all).

    `out` is replaced by the new predictions, whole or not at all. Raises UsageError where there is no champion, or
    `out` holds something else; DataError where store or champion are not what they were recorded as.
    """
    spec = params.model(model)
    check_folder(out, KIND, "predictions")
    integrity.verify(paths.sequences(spec.unit), home=paths.home)
    version, artefact = champion.loaded(params, paths, model)
    with replacing(out) as fresh:
        card = write(artefact, paths.sequences(spec.unit), fresh, top=top, since_hours=since_hours)
        if beside is not None:
            rows = beside(artefact, paths.sequences(spec.unit), fresh, _since(card["newest_event"], since_hours))
            card["rows"] |= rows
            card["files"] |= {name: sha256(fresh / name) for name in rows}
        card |= {"model": model, "version": version}
        write_json(fresh / CARD, card)
    console.emit({**card, "path": str(out.absolute())}, as_json=as_json, text=lambda: _text(card, out))


def _since(newest: str, hours: float | None) -> int | None:
    if hours is None:
        return None
    return round((datetime.fromisoformat(newest).timestamp() - hours * 3600) * MICROSECOND)


def write(artefact: Artefact, store: Path, folder: Path, *, top: int, since_hours: float | None) -> dict[str, Any]:
    """Write the Parquet files into the existing `folder`; returns the card, without model and version.

    Store and artefact may come from different trainings: items, categories and actions are matched by their names,
    and what the artefact does not know it reads as unknown.
    """
    from pyarrow import parquet

    card = read_card(store)
    newest = max(part.last for part in card.splits.values() if part.last is not None)
    since = None if since_hours is None else newest - round(since_hours * 3600 * MICROSECOND)
    answering = _Answering.of(artefact, store, card, top)
    schemas = answering.schemas()
    writers = {
        name: parquet.ParquetWriter(folder / name, schema, compression="zstd") for name, schema in schemas.items()
    }
    rows, sessions, total = dict.fromkeys(schemas, 0), 0, sum(card.splits[name].sequences for name in card.asked)
    try:
        with console.progress("scoring", total) as advance:
            for chunk in _chunks(store, since):
                for name, table in answering.tables(chunk).items():
                    writers[name].write_table(table, row_group_size=len(table) or None)
                    rows[name] += len(table)
                sessions += len(chunk.chosen)
                advance(chunk.read)
    finally:
        for writer in writers.values():
            writer.close()
    return {
        "kind": KIND,
        "model_sha256": artefact.card["model_sha256"],
        "data_sha256": card.sha256,
        "unit": card.unit,
        "sessions": sessions,
        "rows": rows,
        "top": answering.top if any(output.kind == "ranking" for output in answering.outputs) else None,
        "since_hours": since_hours,
        **_as_of(store, card),
        "since": None if since is None else iso(since),
        "newest_event": iso(newest),
        "max_length": artefact.max_length,
        "files": {name: sha256(folder / name) for name in schemas},
    }


def _as_of(store: Path, card: Card) -> dict[str, str]:
    """As of when customers are asked about."""
    cut_off = open_split(store, NOW).cut_off if NOW in card.splits else None
    return {} if cut_off is None or not len(cut_off) else {"as_of": iso(int(cut_off[0]))}


@dataclass(frozen=True)
class _Chunk:
    """Some sessions of a split: their indexes, in order, and their rows of sequences.parquet; `read` tells how many
    rows of the store were passed over for them.
    """

    split: PackedSplit
    chosen: Ints
    rows: "pa.Table"
    read: int


def _chunks(store: Path, since: int | None) -> Iterator[_Chunk]:
    """The sessions of all splits, or the customers of now, whose last event is at or after `since`, in the order of the
    store.

    Of a session that was cut into pieces only the last one counts: what follows the others is known.
    """
    import pyarrow as pa
    from pyarrow import parquet

    card = read_card(store)
    earlier = _earlier_pieces(store) if NOW not in card.splits else {}
    for name in card.asked:
        split, start = open_split(store, name), 0
        ends = split.end - 1
        with parquet.ParquetFile(store / name / "sequences.parquet") as file:
            for rows in file.iter_batches(batch_size=CHUNK, columns=_columns(file.schema_arrow.names)):
                place = np.arange(start, start + len(rows))
                start += len(rows)
                wanted = np.ones(len(rows), bool) if since is None else split.time[ends[place]] >= since
                if earlier:
                    keys = zip(rows["session_id"].to_pylist(), rows["user_id"].to_pylist(), strict=True)
                    last = [earlier.get(key, 0) for key in keys]
                    wanted &= rows["piece"].to_numpy() >= np.array(last)
                kept = pa.Table.from_batches([rows]).filter(pa.array(wanted))
                yield _Chunk(split, place[wanted], kept, len(rows))


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

    @property
    def outputs(self) -> list[Output]:
        """What the artefact answers."""
        return outputs.of(self.artefact.outputs)

    def schemas(self) -> dict[str, "pa.Schema"]:
        """The files that the model's heads give, and their columns."""
        import pyarrow as pa

        named = [(name, pa.string()) for name in self.who]
        who = [*named, ("last_event", pa.timestamp("us", tz="UTC"))]
        return {
            output.predictions: pa.schema([*who, *FORMS[output.kind].columns(self._classes(output))])
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
            columns = FORMS[output.kind].rows(who, scores[output.name], self.items)
            tables[output.predictions] = pa.table(_cast(columns, schema), schema=schema)
        return tables

    def _scores(self, chunk: _Chunk) -> dict[str, Kept]:
        """By output what is kept of it, a row a session."""
        positions = last(chunk.split, chunk.chosen, self.artefact.max_length)
        artefact = self.artefact
        answers = {
            output.name: FORMS[output.kind].empty(len(positions), self._width(output)) for output in self.outputs
        }
        for chosen in blocks(positions, max(1, min(BLOCK, BLOCK_BYTES // (4 * artefact.known)))):
            scores = asking.answers(artefact, chunk.split, positions, chosen, self.translation)
            for output in self.outputs:
                kept = FORMS[output.kind].kept(scores[output.name], self.top)
                for array, values in zip(answers[output.name], kept, strict=True):
                    array[chosen] = values
        return answers

    def _width(self, output: Output) -> int:
        """How many answers to one question are kept."""
        if output.kind == "forecast":
            return int(self.artefact.card["horizon"]) * len(AMOUNTS)
        return len(self._classes(output)) or self.top

    def _classes(self, output: Output) -> tuple[str, ...]:
        """The names of the classes; none of a ranking."""
        return self.artefact.heads[output.head.name].classes


def _cast(columns: list[Any], schema: "pa.Schema") -> list[Any]:
    return [column.cast(field.type) for column, field in zip(columns, schema, strict=True)]


def _text(card: Mapping[str, Any], out: Path) -> str:
    files = "\n".join(f"  {out / name}: {rows:,} rows" for name, rows in card["rows"].items())
    within = f" with an event since {card['since'][:16].replace('T', ' ')} UTC" if card["since"] else ""
    asked = f"{card['sessions']:,} {card['unit'].removesuffix('s')}s"
    return f"{card['model']}, version {card['version']}: {asked}{within}\n{files}"
