"""Where the raw files come from: a folder, the simulator, or a snapshot of a SQL table."""

import shutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clickflow.events.forgotten import Forgotten
from clickflow.events.pseudonyms import pseudonyms
from clickflow.params.schema import Params
from clickflow.params.source import Source
from clickflow.system import files
from clickflow.system.paths import Paths

IDS = ("user_id", "session_id")


def as_read(source: Source) -> Source:
    """How the raw files of a source are to be read."""
    if source.kind == "simulator":
        return replace(
            source,
            preset=None,
            format="csv",
            delimiter=None,
            encoding="utf-8",
            header=None,
            columns={},
            explode=None,
            event_types={},
            time_format=None,
            timezone="UTC",
            decimal=".",
            thousands=None,
            currency=(),
        )
    return replace(source, format="parquet") if source.kind == "sql" else source


def raw_files(params: Params, paths: Paths, scratch: Path) -> tuple[Source, list[tuple[str, Path]]]:
    """The raw files of the source (name and path), and how to read them. What is made for it is made in `scratch`.

    Each kind of source is a folder of `clickflow.sources`, which stands above this room. Only that of `source.kind` is
    imported, and is a dependency of the stage in dvc.yaml.
    """
    kind = import_module(f"clickflow.sources.{params.source.kind}.fetch")
    return as_read(params.source), kind.fetch(params, paths, scratch)


def write_truth(params: Params, scratch: Path, folder: Path, key: bytes, people: Forgotten) -> None:
    """What is known beside the log: the simulator's truth under the pseudonyms of the events, or a card that says that
    there is none. Of `people` there is none either.
    """
    truth = scratch / "raw" / "truth"
    folder.mkdir()
    if not truth.is_dir():
        files.write_json(folder / "card.json", {"available": False, "source": params.source.kind})
        return
    for path in sorted(truth.iterdir()):
        if path.suffix == ".parquet" and {"user_id", "session_id"} & set(pq.read_schema(path).names):
            _under_pseudonyms(path, folder / path.name, key, people)
        else:
            shutil.move(path, folder / path.name)


def _under_pseudonyms(path: Path, target: Path, key: bytes, people: Forgotten) -> None:
    with pq.ParquetFile(path) as file, pq.ParquetWriter(target, file.schema_arrow, compression="lz4") as writer:
        for number in range(file.num_row_groups):
            table = file.read_row_group(number)
            raw = {name: table[name].combine_chunks() for name in IDS if name in table.column_names}
            for kind in ("user", "session"):
                name = f"{kind}_id"
                if name in table.column_names:
                    at = table.column_names.index(name)
                    table = table.set_column(at, name, pseudonyms(table[name].combine_chunks(), key, kind))
            if people:
                users, sessions = (raw.get(name, pa.nulls(table.num_rows, pa.string())) for name in IDS)
                gone = people.rows(pseudonyms(users, key, "user"), pseudonyms(sessions, key, "session"))
                gone |= people.earlier(users, sessions)
                table = table.filter(pa.array(~gone))
            writer.write_table(table)
