"""A SQL table or query as a Parquet file, through Ibis: what is ingested is what lay there at one moment."""

import os
import re
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from clickflow.events.storage import UNTOUCHED
from clickflow.params.source import Source
from clickflow.sources.sql import databases, statements
from clickflow.system.errors import ClickflowError, UsageError

ROWS = 100_000
TABLE = re.compile(r"""[\w"$]+(\.[\w"$]+){0,2}""")


def snapshot(source: Source, path: Path, memory_gb: float) -> str:
    """Write the rows of `source.sql_query` to `path`, in an order of their own; returns the source's name.

    A database gives rows in any order. Sorted by all columns, the same rows have the same bytes and line numbers.
    Raises UsageError without a connection URL or where the query does more than read, DataError where the database or
    the query does not answer.
    """
    url = os.environ.get(source.sql_url_env, "")
    if not url:
        raise UsageError(
            f"source.kind is sql, and the environment variable {source.sql_url_env} is not set",
            kept=UNTOUCHED,
            next_step=f"export {source.sql_url_env}=postgresql://user:password@host:5432/database",
        )
    query = (source.sql_query or "").strip().rstrip(";").rstrip()
    named = TABLE.fullmatch(query)
    try:
        con = databases.connect(url)
    except Exception as error:  # every backend has errors of its own
        raise databases.failed(f"cannot connect to the database of {source.sql_url_env}", error, url) from None
    unsorted = path.with_suffix(".unsorted")
    try:
        if not named:
            query = statements.check(query, con.name)
        table = _with_plain_columns(_table(con, query) if named else _query(con, query))
        with _batches(con, table) as batches, pq.ParquetWriter(unsorted, batches.schema) as out:
            for batch in batches:
                out.write_batch(batch)
    except ClickflowError:
        raise
    except Exception as error:
        raise databases.failed(f"source.sql_query failed: {query[:200]}", error, url) from None
    finally:
        con.disconnect()
    config = {"threads": 1, "memory_limit": f"{memory_gb / 2}GB", "temp_directory": str(path.with_suffix(".spill"))}
    with duckdb.connect(":memory:", config=config) as duck:
        duck.read_parquet(str(unsorted)).order("ALL").write_parquet(str(path))
    unsorted.unlink()
    return query if named else "query"


def _table(con: Any, name: str) -> Any:
    *outer, table = [part.strip('"') for part in name.split(".")]
    return con.table(table, database=tuple(outer) if len(outer) > 1 else (outer[0] if outer else None))


def _query(con: Any, query: str) -> Any:
    """The rows of a SELECT. Ibis learns a query's columns by writing a view, which PostgreSQL refuses where one may
    only read, or by what DuckDB 2.0 lacks; there its columns are asked for without a row.
    """
    probe = f"SELECT * FROM (\n{query}\n) AS source LIMIT 0"
    if con.name == "duckdb":
        seen = con.con.sql(probe)
        kinds = {name: str(kind) for name, kind in zip(seen.columns, seen.types, strict=True)}
    elif con.name == "postgres":
        with con.con.cursor() as cursor:
            cursor.execute(probe, prepare=True)  # a prepared statement is one
            columns = [(column.name, column.type_code, _modifier(column)) for column in cursor.description]
            kinds = {
                name: cursor.execute("SELECT format_type(%s, %s)", (code, modifier)).fetchone()[0]
                for name, code, modifier in columns
            }
    else:
        return con.sql(query)
    return con.sql(query, schema={name: con.compiler.type_mapper.from_string(kind) for name, kind in kinds.items()})


def _modifier(column: Any) -> int:
    """PostgreSQL's modifier of a numeric's type; of others it says nothing that is needed."""
    return -1 if column.precision is None or column.scale is None else ((column.precision << 16) | column.scale) + 4


def _batches(con: Any, table: Any) -> Any:
    """The rows. DuckDB 2.0 lacks what Ibis 12 fetches with."""
    if con.name == "duckdb":
        return con.con.sql(str(con.compile(table))).to_arrow_reader(ROWS)
    return table.to_pyarrow_batches(chunk_size=ROWS)


def _with_plain_columns(table: Any) -> Any:
    """The table with what Arrow has no plain type for (UUIDs, JSON, arrays, intervals) as text."""
    plain = ("integer", "floating", "decimal", "boolean", "string", "timestamp", "date", "binary")
    odd = [name for name, kind in table.schema().items() if not any(getattr(kind, f"is_{p}")() for p in plain)]
    return table.mutate(**{name: table[name].cast("string") for name in odd}) if odd else table
