"""A SQL table or query as a Parquet file, through Ibis: what is ingested is what lay there at one moment."""

import os
import re
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from clickflow.errors import DataError, UsageError
from clickflow.events.storage import UNTOUCHED
from clickflow.params import Source

ROWS = 100_000
TABLE = re.compile(r"""[\w"$]+(\.[\w"$]+){0,2}""")


def snapshot(source: Source, path: Path, memory_gb: float) -> str:
    """Write the rows of `source.sql_query` to `path`, in an order of their own; returns the source's name.

    A database gives rows in any order. Sorted by all columns, the same rows have the same bytes and line numbers.
    Raises UsageError without a connection URL, DataError where the database or the query does not answer.
    """
    url = os.environ.get(source.sql_url_env, "")
    if not url:
        raise UsageError(
            f"source.kind is sql, and the environment variable {source.sql_url_env} is not set",
            kept=UNTOUCHED,
            next_step=f"export {source.sql_url_env}=postgresql://user:password@host:5432/database",
        )
    import ibis

    query = (source.sql_query or "").strip().rstrip(";")
    try:
        con = ibis.connect(url)
    except Exception as error:  # every backend has errors of its own
        raise _failed(f"cannot connect to the database of {source.sql_url_env}", error, url) from None
    unsorted = path.with_suffix(".unsorted")
    try:
        table = _table(con, query) if TABLE.fullmatch(query) else _query(con, query)
        table = _with_plain_columns(table)
        with table.to_pyarrow_batches(chunk_size=ROWS) as batches, pq.ParquetWriter(unsorted, batches.schema) as out:
            for batch in batches:
                out.write_batch(batch)
    except Exception as error:
        raise _failed(f"source.sql_query failed: {query[:200]}", error, url) from None
    finally:
        con.disconnect()
    config = {"threads": 1, "memory_limit": f"{memory_gb / 2}GB", "temp_directory": str(path.with_suffix(".spill"))}
    with duckdb.connect(":memory:", config=config) as duck:
        duck.read_parquet(str(unsorted)).order("ALL").write_parquet(str(path))
    unsorted.unlink()
    return query if TABLE.fullmatch(query) else "query"


def _table(con: Any, name: str) -> Any:
    *outer, table = [part.strip('"') for part in name.split(".")]
    return con.table(table, database=tuple(outer) if len(outer) > 1 else (outer[0] if outer else None))


def _query(con: Any, query: str) -> Any:
    """The rows of a SELECT. On PostgreSQL through a temporary view of our own: Ibis would make one too, to learn the
    columns, but fails to drop it with the sqlglot of constraints.txt.
    """
    if con.name != "postgres":
        return con.sql(query)
    con.raw_sql(f"CREATE TEMPORARY VIEW clickflow_source AS {query}").close()
    return con.table("clickflow_source")


def _with_plain_columns(table: Any) -> Any:
    """The table with what Arrow has no plain type for (UUIDs, JSON, arrays, intervals) as text."""
    plain = ("integer", "floating", "decimal", "boolean", "string", "timestamp", "date", "binary")
    odd = [name for name, kind in table.schema().items() if not any(getattr(kind, f"is_{p}")() for p in plain)]
    return table.mutate(**{name: table[name].cast("string") for name in odd}) if odd else table


def _failed(what: str, error: Exception, url: str) -> DataError:
    """The error without the URL, which may hold a password."""
    secrets = [url, *re.findall(r"://([^@/]+)@", url), *re.findall(r"://[^:@/]*:([^@]+)@", url)]
    text = str(error).strip().split("\n")[0]
    for secret in secrets:
        text = text.replace(secret, "***")
    return DataError(
        f"{what}\n  {type(error).__name__}: {text}",
        kept=UNTOUCHED,
        next_step="check the connection and the query, then run the ingest again",
    )
