"""DuckDB for SQLAlchemy, without a further package: as much of a dialect as tables of predictions need.

One process at a time may open a DuckDB file. A process that finds it taken waits, up to `WAIT` seconds; one that writes
holds it for one transaction.
"""

import random
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import base as postgresql
from sqlalchemy.engine import default
from sqlalchemy.sql import compiler

from clickflow.serving.partitions import WAIT
from clickflow.system import files

PAUSE = 0.02
TAKEN = "Could not set lock on file"


def opened(file: str, **config: Any) -> "_Connection":
    """A connection, when nobody else has the file. Raises duckdb.IOException where somebody has for too long."""
    end = time.monotonic() + WAIT
    while True:
        try:
            return _Connection(duckdb.connect(file, config=config))
        except duckdb.IOException as error:
            if TAKEN not in str(error) or time.monotonic() > end:
                raise
        time.sleep(PAUSE * (0.5 + random.random()))


class _Connection:
    """A connection of DuckDB's as PEP 249 has it: it begins by itself, and a rollback of nothing is nothing."""

    def __init__(self, own: Any) -> None:
        self.own, self._begun = own, False

    def cursor(self) -> "_Cursor":
        return _Cursor(self)

    def begin(self) -> None:
        if not self._begun:
            self.own.begin()
            self._begun = True

    def commit(self) -> None:
        if self._begun:
            self._begun = False
            self.own.commit()

    def rollback(self) -> None:
        if self._begun:
            self._begun = False
            self.own.rollback()

    def close(self) -> None:
        self.own.close()


class _Cursor:
    """Over the connection itself, whose transaction it is in: a cursor of DuckDB's has one of its own."""

    def __init__(self, connection: _Connection) -> None:
        self._connection, self._rows = connection, connection.own
        self.rowcount, self.arraysize = -1, 1

    @property
    def description(self) -> Any:
        return self._rows.description

    def execute(self, words: str, values: Sequence[Any] | None = None) -> None:
        self._connection.begin()
        self._rows = self._connection.own.execute(words, _plain(values or []))

    def executemany(self, words: str, values: Sequence[Sequence[Any]]) -> None:
        self._connection.begin()
        self._rows = self._connection.own.executemany(words, [_plain(each) for each in values])

    def fetchone(self) -> Any:
        return self._rows.fetchone()

    def fetchmany(self, size: int = 1) -> Any:
        return self._rows.fetchmany(size)

    def fetchall(self) -> Any:
        return self._rows.fetchall()

    def close(self) -> None:
        return None


def _plain(values: Sequence[Any]) -> list[Any]:
    """Times without their zone, in UTC: of those that have one DuckDB knows nothing without an extension that it would
    fetch.
    """
    return [
        each.astimezone(UTC).replace(tzinfo=None) if isinstance(each, datetime) and each.tzinfo else each
        for each in values
    ]


class _Types(compiler.GenericTypeCompiler):
    def visit_JSON(self, *_: Any, **__: Any) -> str:
        """Of SQLAlchemy."""
        return "JSON"


class DuckDB(default.DefaultDialect):
    """DuckDB takes SQLAlchemy's plain SQL, and of PostgreSQL's what is done on a conflict; what there is is asked of
    `information_schema`.
    """

    name, driver = "duckdb", "duckdb"
    supports_statement_cache = True
    supports_native_boolean = True
    supports_sane_rowcount = supports_sane_multi_rowcount = False
    insert_returning = update_returning = delete_returning = False
    default_paramstyle = "qmark"
    statement_compiler = postgresql.PGCompiler
    type_compiler_cls = _Types
    _json_serializer = _json_deserializer = None
    ischema_names = {  # noqa: RUF012
        "BIGINT": sa.BigInteger,
        "BOOLEAN": sa.Boolean,
        "DOUBLE": sa.Double,
        "FLOAT": sa.REAL,
        "INTEGER": sa.Integer,
        "JSON": sa.JSON,
        "SMALLINT": sa.SmallInteger,
        "TIMESTAMP": sa.DateTime,
        "TIMESTAMP WITH TIME ZONE": sa.DateTime,
        "VARCHAR": sa.Text,
    }

    @classmethod
    def import_dbapi(cls) -> Any:
        """Of SQLAlchemy."""
        return duckdb

    def create_connect_args(self, url: sa.URL) -> Any:
        """Of SQLAlchemy: the file, and settings of DuckDB's."""
        return [url.database or ":memory:"], dict(url.query)

    def connect(self, *args: Any, **words: Any) -> Any:
        """Of SQLAlchemy."""
        return opened(*args, **words)

    def initialize(self, _: Any) -> None:
        """Of SQLAlchemy, whose questions are PostgreSQL's."""
        self.default_schema_name = "main"

    def has_table(self, connection: Any, table_name: str, schema: str | None = None, **_: Any) -> bool:
        """Of SQLAlchemy."""
        return bool(self._columns(connection, table_name, schema))

    def get_columns(self, connection: Any, table_name: str, schema: str | None = None, **_: Any) -> Any:
        """Of SQLAlchemy."""
        described = self._columns(connection, table_name, schema)
        if not described:
            raise sa.exc.NoSuchTableError(table_name)
        return [
            {"name": name, "type": self.ischema_names.get(kind, sa.types.NullType)(), "nullable": null == "YES",
             "default": None, "autoincrement": False, "comment": None}
            for name, kind, null in described
        ]  # fmt: skip

    def _columns(self, connection: Any, table: str, schema: str | None) -> list[Any]:
        words = (
            "SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_name = ? "
            "AND table_schema = coalesce(?, current_schema()) AND table_catalog = current_database() "
            "ORDER BY ordinal_position"
        )
        return list(connection.exec_driver_sql(words, (table, schema)))

    def _none(self, *_: Any, **__: Any) -> list[Any]:
        return []

    get_foreign_keys = get_indexes = get_unique_constraints = get_check_constraints = _none

    def get_pk_constraint(self, *_: Any, **__: Any) -> Any:
        """Of SQLAlchemy: nobody asks it of a table that is there."""
        return {"constrained_columns": [], "name": None}

    def get_table_comment(self, *_: Any, **__: Any) -> Any:
        """Of SQLAlchemy."""
        return {"text": None}


def written_anew(engine: sa.Engine) -> None:
    """The file without the bytes of what was deleted, which DuckDB keeps; nobody else has it meanwhile."""
    file = Path(str(engine.url.database)).resolve()
    connection = opened(str(file))
    try:
        with files.whole(file) as fresh:
            name = connection.own.execute("SELECT current_database()").fetchone()[0].replace('"', '""')
            quoted = str(fresh).replace("'", "''")
            connection.own.execute(f"ATTACH '{quoted}' AS clickflow_fresh")
            connection.own.execute(f'COPY FROM DATABASE "{name}" TO clickflow_fresh')
            connection.own.execute("DETACH clickflow_fresh")
            connection.own.execute("CHECKPOINT")
            shutil.copymode(file, fresh)
    except duckdb.Error as error:  # as SQLAlchemy raises those of its own statements
        raise sa.exc.DBAPIError.instance("", None, error, duckdb.Error, hide_parameters=True) from error
    finally:
        connection.close()
