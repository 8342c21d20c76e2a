"""The accepted events as one DuckDB view, also where files lack columns or hold other types."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from clickflow.events.contract import COLUMNS, SCHEMA
from clickflow.system.errors import DataError, UsageError

SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.float64(): "DOUBLE",
    pa.int64(): "BIGINT",
    pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
}
"""The contract's column types in the engine."""

EVERY_COLUMN = ", ".join(f'"{name}"' for name in COLUMNS)
"""The contract's columns in SQL, where one of them is a word of the language."""


@dataclass(frozen=True)
class Log:
    """The events of a workspace, opened.

    `connection` has the view `events`: the contract's columns in their types (null where a file has no such column, or
    a value that is not of the type), `day` (DATE, from the folder's name), `filename` and `file_row_number` (from 0).
    `columns` is the table handed to the suite `schema`: column, expected_type, type, files.
    """

    connection: duckdb.DuckDBPyConnection
    files: tuple[Path, ...]
    columns: tuple[dict[str, Any], ...]


def find_files(folder: Path) -> tuple[Path, ...]:
    """The Parquet files below `folder`, in order of day.

    Raises UsageError where there are none, DataError where one lies in a folder that is no day.
    """
    files = tuple(sorted(folder.glob("*/*.parquet")))
    if not files:
        raise UsageError(
            f"there are no events to validate: {folder} {'holds no day' if folder.is_dir() else 'does not exist'}",
            kept="nothing was written",
            next_step="run `clickflow ingest` first, or `dvc repro validate`, which does both",
        )
    for file in files:
        if not _is_day(file.parent.name):
            raise DataError(
                f"{file} lies in a folder that is not named day=YYYY-MM-DD",
                kept="nothing was written",
                next_step="move it away: only `clickflow ingest` writes here",
            )
    return files


def open_log(files: tuple[Path, ...], memory_gb: float, scratch: Path) -> Log:
    """Read every file's schema, and open all of them as one view.

    The engine holds at most `memory_gb` and spills to `scratch`. Raises DataError where a file is no Parquet, or where
    the files cannot be read as one table.
    """
    schemas = [_schema(file) for file in files]
    connection = duckdb.connect(config={"memory_limit": f"{memory_gb}GB", "temp_directory": str(scratch)})
    connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    alike = all(schema.equals(schemas[0]) for schema in schemas)
    present = {name for schema in schemas for name in schema.names}
    selected = ", ".join(_selected(name, schemas[0] if alike else None, present) for name in COLUMNS)
    names = ", ".join("'" + str(file).replace("'", "''") + "'" for file in files)
    try:
        connection.execute(
            f"CREATE VIEW events AS SELECT {selected}, day, filename, file_row_number FROM read_parquet([{names}], "
            "hive_partitioning = true, hive_types = {'day': DATE}, filename = true, file_row_number = true, "
            f"union_by_name = {str(not alike).lower()})"
        )
    except duckdb.Error as error:
        connection.close()
        raise DataError(
            f"the files below {files[0].parent.parent} cannot be read as one table: {error}",
            kept="nothing was written",
            next_step="remove the folder and run `clickflow ingest` again",
        ) from error
    return Log(connection, files, tuple(_column_rows(schemas)))


def _is_day(name: str) -> bool:
    try:
        return name.startswith("day=") and len(name) == 14 and date.fromisoformat(name[4:]) is not None
    except ValueError:
        return False


def _schema(file: Path) -> pa.Schema:
    """The schema of a file, without metadata; a large string is a string."""
    try:
        schema = pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{file} cannot be read as Parquet: {error}",
            kept="nothing was written",
            next_step="remove it and run `clickflow ingest` again",
        ) from error
    return pa.schema([(field.name, pa.string() if field.type == pa.large_string() else field.type) for field in schema])


def _selected(name: str, schema: pa.Schema | None, present: set[str]) -> str:
    """One column of the view; `schema` is None where the files differ."""
    kind = SCHEMA.field(name).type
    if name not in present:
        return f'NULL::{SQL_TYPES[kind]} AS "{name}"'
    if schema is not None and schema.field(name).type == kind:
        return f'"{name}"'
    return f'TRY_CAST("{name}" AS {SQL_TYPES[kind]}) AS "{name}"'


def _column_rows(schemas: list[pa.Schema]) -> list[dict[str, Any]]:
    """The contract's columns, and any other column found. `type` is null where no file has the column, and names every
    type where files differ.
    """
    names = {name for schema in schemas for name in schema.names}
    rows = []
    for name in [*COLUMNS, *sorted(names - set(COLUMNS))]:
        having = [schema for schema in schemas if name in schema.names]
        kinds = sorted({str(schema.field(name).type) for schema in having})
        if having and len(having) < len(schemas):
            kinds.append(f"missing in {len(schemas) - len(having)} of {len(schemas)} files")
        kind = ", ".join(kinds) or None
        expected = str(SCHEMA.field(name).type) if name in COLUMNS else kind
        rows.append({"column": name, "expected_type": expected, "type": kind, "files": len(having)})
    return rows
