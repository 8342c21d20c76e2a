"""The database of `score --sql`: how it is reached, how rows get into it, and what its errors mean."""

import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clickflow.params.score import Score
from clickflow.serving.partitions import WAIT
from clickflow.system.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

DUCKDB = "clickflow_duckdb"
"""What SQLAlchemy calls the dialect of `duckdb_dialect`."""


@dataclass(frozen=True)
class Database:
    """A database, and what tells of it: the URL, which is a secret, and the variable that held it, which is none."""

    engine: "sa.Engine"
    url: str
    variable: str

    @property
    def where(self) -> str:
        """What errors call it."""
        return f"the database of {self.variable}"

    @property
    def dialect(self) -> "Dialect":
        """What is its kind's alone."""
        return DIALECTS[self.engine.dialect.name]


def connect(score: Score) -> Database:
    """The database of `score.sql_url_env`, not asked anything yet. Raises UsageError where there is no such URL."""
    import sqlalchemy as sa

    variable = score.sql_url_env
    text = os.environ.get(variable, "").strip()
    example = f"export {variable}=postgresql://user:password@host:5432/database"
    if not text:
        raise UsageError(
            f"the environment variable {variable} is not set: it holds the URL of the database for predictions",
            kept="nothing was scored",
            next_step=f"{example}; or leave out --sql (score.sql)",
        )
    try:
        url = sa.make_url(text)
        dialect = {"postgres": "postgresql"}.get(url.get_backend_name(), url.get_backend_name())
    except (sa.exc.ArgumentError, ValueError):
        dialect = ""
    if dialect not in DIALECTS:
        raise UsageError(
            f"{variable} holds no URL of PostgreSQL, SQLite or DuckDB",
            kept="nothing was scored",
            next_step=f"{example}, or sqlite:////folder/predictions.sqlite, or duckdb:////folder/predictions.duckdb",
        )
    own = DIALECTS[dialect]
    sa.dialects.registry.register(DUCKDB, "clickflow.serving.duckdb_dialect", "DuckDB")
    engine = sa.create_engine(
        url.set(drivername=own.driver), poolclass=sa.NullPool, hide_parameters=True, connect_args=dict(own.connecting)
    )
    return Database(engine, text, variable)


def _copy(connection: Any, table: "sa.Table", rows: "pa.Table") -> None:
    """As CSV, which Arrow writes and PostgreSQL reads without a value passing through Python."""
    import psycopg
    import sqlalchemy as sa
    from pyarrow import csv

    quoted = connection.dialect.identifier_preparer
    columns = ", ".join(quoted.quote(name) for name in rows.column_names)
    words = f"COPY {quoted.format_table(table)} ({columns}) FROM STDIN WITH (FORMAT csv)"
    try:
        with connection.connection.driver_connection.cursor() as cursor, cursor.copy(words) as copy:
            for batch in rows.to_batches(max_chunksize=1 << 16):
                buffer = io.BytesIO()
                csv.write_csv(batch, buffer, csv.WriteOptions(include_header=False))
                copy.write(buffer.getvalue())
    except psycopg.Error as error:  # as SQLAlchemy raises those of its own statements
        raise sa.exc.DBAPIError.instance(words, None, error, psycopg.Error, hide_parameters=True) from error


def _executemany(connection: Any, table: "sa.Table", rows: "pa.Table") -> None:
    """Times as text in UTC, for SQLite has none of its own."""
    import pyarrow as pa
    import pyarrow.compute as pc

    quoted = connection.dialect.identifier_preparer
    columns = ", ".join(quoted.quote(name) for name in rows.column_names)
    words = f"INSERT INTO {quoted.format_table(table)} ({columns}) VALUES ({', '.join('?' * rows.num_columns)})"
    for batch in pa.Table.to_batches(rows, max_chunksize=1 << 16):
        values = [
            pc.strftime(column, "%Y-%m-%d %H:%M:%S") if pa.types.is_timestamp(column.type) else column
            for column in batch.columns
        ]
        connection.exec_driver_sql(words, list(zip(*(column.to_pylist() for column in values), strict=True)))


def _arrow(connection: Any, table: "sa.Table", rows: "pa.Table") -> None:
    """As Arrow's own memory, in the transaction that is open; times without their zone, which is UTC."""
    import duckdb
    import pyarrow as pa
    import sqlalchemy as sa

    quoted = connection.dialect.identifier_preparer
    columns = ", ".join(quoted.quote(name) for name in rows.column_names)
    words = f"INSERT INTO {quoted.format_table(table)} ({columns}) SELECT {columns} FROM clickflow_rows"
    own = connection.connection.driver_connection.own
    plain = pa.schema(
        [
            each.with_type(pa.timestamp(each.type.unit)) if pa.types.is_timestamp(each.type) else each
            for each in rows.schema
        ]
    )
    try:
        own.register("clickflow_rows", rows.cast(plain))
        own.execute(words)
        own.unregister("clickflow_rows")
    except duckdb.Error as error:  # as SQLAlchemy raises those of its own statements
        raise sa.exc.DBAPIError.instance(words, None, error, duckdb.Error, hide_parameters=True) from error


def _vacuumed(engine: "sa.Engine") -> None:
    """SQLite's file written anew: it goes on to hold the bytes of what is deleted, also of batches of before."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as con:
        con.exec_driver_sql("VACUUM")


def _copied(engine: "sa.Engine") -> None:
    """As `_vacuumed`, of DuckDB, whose VACUUM leaves them."""
    from clickflow.serving import duckdb_dialect

    duckdb_dialect.written_anew(engine)


@dataclass(frozen=True)
class Dialect:
    """One kind of database's."""

    driver: str
    connecting: Mapping[str, Any]
    insert: Callable[[Any, "sa.Table", "pa.Table"], None]
    emptied: Callable[["sa.Engine"], None] | None = None
    """What lets a file hold no byte of deleted rows."""


DIALECTS: Mapping[str, Dialect] = {
    "postgresql": Dialect(
        "postgresql+psycopg",
        {"connect_timeout": 10, "keepalives_idle": 30, "tcp_user_timeout": WAIT * 1000},
        _copy,
    ),
    "sqlite": Dialect("sqlite+pysqlite", {"timeout": WAIT}, _executemany, _vacuumed),
    "duckdb": Dialect(DUCKDB, {}, _arrow, _copied),
}


def away() -> Any:
    """The errors of SQLAlchemy's that may mean that a database is away."""
    import sqlalchemy as sa

    return sa.exc.OperationalError, sa.exc.InterfaceError


def state(error: Any) -> str:
    """The code of PostgreSQL in an error of its driver; empty where it has none."""
    return str(getattr(error, "sqlstate", None) or "")


def refused(error: Any) -> bool:
    """Whether it is a matter of rights; who may not use a schema is told that there is none."""
    states, codes = ("25006", "28000", "28P01", "3F000", "42501"), ("SQLITE_READONLY", "SQLITE_PERM")
    return state(error) in states or str(getattr(error, "sqlite_errorname", "")).startswith(codes)
