"""Predictions as tables of PostgreSQL or SQLite: each partition once, whole or not at all.

A file of predictions is a table, `<prefix><model>_<file>`; before its columns stand `batch` and `partition`. A
partition and its line in `<prefix>score_partitions`, whose key is model, batch and partition, are one transaction: who
comes second finds the line, and leaves the rows alone. `<prefix>score_current` names the batch of each model that is
whole and newest. The URL is an environment variable's; nothing says it again.
"""

import io
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from clickflow.params.score import Score
from clickflow.serving.partitions import Batch, Line, Made
from clickflow.sources.sql import databases
from clickflow.system import console
from clickflow.system.errors import ClickflowError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

LINES, CURRENT = "score_partitions", "score_current"
RIGHTS = "SELECT, INSERT, UPDATE and DELETE on them, and CREATE on the schema where they are not made yet"
LONGEST = 63
"""Bytes of a name in PostgreSQL: the rest would be cut off."""
WAIT = 60
"""Seconds that another writer is waited for, and that a database may be silent."""


@dataclass(frozen=True)
class Engine:
    """A database, and what tells of it: the URL, which is a secret, and the variable that held it, which is none."""

    engine: "sa.Engine"
    url: str
    variable: str


def connect(score: Score) -> Engine:
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
            f"{variable} holds no URL of PostgreSQL or SQLite",
            kept="nothing was scored",
            next_step=f"{example}, or sqlite:////folder/predictions.sqlite",
        )
    own = DIALECTS[dialect]
    made = sa.create_engine(
        url.set(drivername=own.driver), poolclass=sa.NullPool, hide_parameters=True, connect_args=dict(own.connecting)
    )
    return Engine(made, text, variable)


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


@dataclass(frozen=True)
class Dialect:
    """One kind of database's."""

    driver: str
    connecting: Mapping[str, Any]
    insert: Callable[[Any, "sa.Table", "pa.Table"], None]


DIALECTS: Mapping[str, Dialect] = {
    "postgresql": Dialect(
        "postgresql+psycopg",
        {"connect_timeout": 10, "keepalives_idle": 30, "tcp_user_timeout": WAIT * 1000},
        _copy,
    ),
    "sqlite": Dialect("sqlite+pysqlite", {"timeout": WAIT}, _executemany),
}


class Tables:
    """The tables of a batch, a `Target`.

    Raises UsageError where the database refuses or a table has other columns, ClickflowError where it is away: what is
    there by then is kept.
    """

    def __init__(self, engine: Engine, score: Score, batch: Batch) -> None:
        import sqlalchemy as sa

        self.engine, self.score, self.batch = engine, score, batch
        self.where = f"the database of {engine.variable}"
        self.lines: dict[int, Line] = {}
        self._own = DIALECTS[engine.engine.dialect.name]
        self._meta = sa.MetaData(schema=score.sql_schema)
        self._tables: dict[str, sa.Table] = {}
        text, whole, stamp = sa.Text, sa.BigInteger, sa.DateTime(timezone=True)
        whose = [sa.Column("model", text, primary_key=True), sa.Column("batch", text, primary_key=True)]
        facts = ["version", "partitions"]
        self._line = sa.Table(
            f"{score.sql_prefix}{LINES}",
            self._meta,
            *whose,
            sa.Column("partition", whole, primary_key=True, autoincrement=False),
            *(sa.Column(name, whole, nullable=False) for name in (*facts, "sequences")),
            sa.Column("rows", sa.JSON, nullable=False),
            sa.Column("data_sha256", text, nullable=False),
            sa.Column("written_at", stamp, nullable=False),
        )
        self._current = sa.Table(
            f"{score.sql_prefix}{CURRENT}",
            self._meta,
            sa.Column("model", text, primary_key=True),
            sa.Column("batch", text, nullable=False),
            *(sa.Column(name, whole, nullable=False) for name in (*facts, "sequences")),
            sa.Column("newest_event", text, nullable=False),
            sa.Column("since", text),
            sa.Column("written_at", stamp, nullable=False),
        )

    def __enter__(self) -> "Tables":
        with self._asking("prepared"):
            self._prepare(self._line, self._current, *(self._table(n, s) for n, s in self.batch.schemas.items()))
            self._read()
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.engine.dispose()

    def take(self, made: Made) -> None:
        """The rows and the line in one transaction; where another run has written them meanwhile, nothing."""
        import sqlalchemy as sa

        with self._asking("written"):
            self._prepare(*(self._table(n, t.schema) for n, t in made.tables.items() if n not in self._tables))
            try:
                with self.engine.engine.begin() as con:
                    con.execute(self._line.insert().values(self._line_of(made)))  # first: the key is the lock
                    for name, rows in made.tables.items():
                        table = self._tables[name]
                        con.execute(table.delete().where(*self._here(table), table.c.partition == made.number))
                        self._own.insert(con, table, _named(rows, self.batch.id, made.number))
            except sa.exc.IntegrityError:
                self._read()
                if made.number not in self.lines:
                    raise
            else:
                self.lines[made.number] = Line(made.sequences, made.rows)

    def finish(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """Name the batch as the current one, and remove old ones."""
        with self._asking("made current"):
            self._read()
            if len(self.lines) < self.batch.partitions:
                raise ClickflowError(
                    f"{self.where}: {self.batch.partitions - len(self.lines):,} partitions of batch {self.batch.id} "
                    "were removed while it was written",
                    kept="the others; the current batch is the one of before",
                    next_step="run the same again: it makes what is missing",
                )
            with self.engine.engine.begin() as con:
                self._point(con, card)
                old = self._old(con)
                for name in old:
                    self._remove(con, name)
            if old:
                console.say(f"note {self.where}: {len(old)} older batches were removed (score.sql_keep)")
        return {"tables": {table.name: card["rows"].get(name, 0) for name, table in self._tables.items()}}

    def _point(self, con: Any, card: Mapping[str, Any]) -> None:
        """One statement, which also locks the model's line: who ends in the same moment waits, and finds it done."""
        from sqlalchemy.dialects import postgresql, sqlite

        insert: Any = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}[self.engine.engine.dialect.name]
        new = insert(self._current).values(
            model=self._model,
            batch=self.batch.id,
            version=self.batch.key["version"],
            partitions=self.batch.partitions,
            sequences=card["sessions"],
            newest_event=card["newest_event"],
            since=card["since"],
            written_at=_now(),
        )
        con.execute(
            new.on_conflict_do_update(
                index_elements=[self._current.c.model],
                set_={column.name: new.excluded[column.name] for column in self._current.c if not column.primary_key},
                where=self._current.c.batch != self.batch.id,
            )
        )

    def _old(self, con: Any) -> list[str]:
        """The batches that are older than those that are kept, unfinished ones among them; never the current one."""
        import sqlalchemy as sa

        if self.score.sql_keep is None:
            return []
        c = self._line.c
        asked = (
            sa.select(c.batch, sa.func.count() == sa.func.max(c.partitions))
            .where(c.model == self._model)
            .group_by(c.batch)
            .order_by(sa.func.max(c.written_at).desc(), c.batch)
        )
        found, whole = [], 1  # the current one
        for name, is_whole in con.execute(asked):
            if name == self.batch.id:
                continue
            if whole >= self.score.sql_keep:
                found.append(name)
            whole += bool(is_whole)
        return found

    def _remove(self, con: Any, batch: str) -> None:
        import sqlalchemy as sa

        c = self._line.c
        written = {name for (rows,) in con.execute(sa.select(c.rows).where(*self._of(batch))) for name in rows}
        for name in sorted(written):
            if (table := self._found(con, name)) is not None:
                con.execute(table.delete().where(table.c.batch == batch))
        con.execute(self._line.delete().where(*self._of(batch)))

    def _found(self, con: Any, name: str) -> "sa.Table | None":
        """The table of a file, also of one that this batch has not made yet; None where there is none."""
        import sqlalchemy as sa

        if name in self._tables:
            return self._tables[name]
        try:
            return sa.Table(self._name(name), sa.MetaData(schema=self.score.sql_schema), autoload_with=con)
        except sa.exc.NoSuchTableError:
            return None

    def _read(self) -> None:
        """The lines, of partitions whose rows are all there; the lines of others are removed, so that they are made."""
        import sqlalchemy as sa

        c = self._line.c
        with self.engine.engine.begin() as con:
            asked = sa.select(c.partition, c.sequences, c.rows).where(*self._of(self.batch.id))
            self.lines = {number: Line(sequences, rows) for number, sequences, rows in con.execute(asked)}
            counted: dict[str, dict[int, int]] = {}
            for name in {name for line in self.lines.values() for name in line.rows}:
                if (table := self._found(con, name)) is not None:
                    sums = sa.select(table.c.partition, sa.func.count()).where(*self._here(table))
                    counted[name] = dict(con.execute(sums.group_by(table.c.partition)).tuples().all())
            damaged = [
                number
                for number, line in self.lines.items()
                if any(counted.get(name, {}).get(number, 0) != rows for name, rows in line.rows.items())
            ]
            if damaged:
                con.execute(self._line.delete().where(*self._of(self.batch.id), c.partition.in_(damaged)))
        for number in damaged:
            del self.lines[number]
        if damaged:
            console.say(
                f"warning {self.where}: {len(damaged):,} partitions have not the rows that were written: "
                "they are made again"
            )

    @property
    def _model(self) -> str:
        return str(self.batch.key["model"])

    def _of(self, batch: str) -> Any:
        return self._line.c.model == self._model, self._line.c.batch == batch

    def _here(self, table: "sa.Table") -> Any:
        return (table.c.batch == self.batch.id,)

    def _line_of(self, made: Made) -> dict[str, Any]:
        return {
            "model": self._model,
            "batch": self.batch.id,
            "partition": made.number,
            "version": self.batch.key["version"],
            "partitions": self.batch.partitions,
            "sequences": made.sequences,
            "rows": made.rows,
            "data_sha256": self.batch.key["data_sha256"],
            "written_at": _now(),
        }

    def _name(self, file: str) -> str:
        return _table_name(self.score, self._model, file)

    def _table(self, file: str, schema: "pa.Schema") -> "sa.Table":
        """The table of a file. Raises UsageError where its name, or a column's, is none that a database can have."""
        import sqlalchemy as sa

        name, columns = self._name(file), [field.name for field in schema]
        wrong = [word for word in (name, *columns) if len(word.encode()) > LONGEST - 4]
        wrong += [column for column in columns if column in ("batch", "partition")]
        folded = [column.casefold() for column in columns]
        wrong += [column for column in columns if folded.count(column.casefold()) > 1]
        if wrong:
            raise UsageError(
                f"{', '.join(sorted(set(wrong)))} cannot name a table or a column of {name}: longer than "
                f"{LONGEST - 4} bytes, there already, or the same but for upper case",
                kept="nothing was written",
                next_step="rename the model or the class, choose a shorter score.sql_prefix, or write files (--out)",
            )
        table = self._tables[file] = sa.Table(
            name,
            self._meta,
            sa.Column("batch", sa.Text, nullable=False),
            sa.Column("partition", sa.BigInteger, nullable=False),
            *(sa.Column(field.name, _type(field.type)) for field in schema),
        )
        sa.Index(f"{name}_b", table.c.batch, table.c.partition)
        sa.Index(f"{name}_w", table.columns[2])
        return table

    def _prepare(self, *tables: "sa.Table") -> None:
        """Make the tables that are not there, and hold the columns of the others against what is written."""
        import sqlalchemy as sa

        for table in tables:
            inspector = sa.inspect(self.engine.engine)
            if not inspector.has_table(table.name, schema=table.schema):
                self._create(table)
                inspector = sa.inspect(self.engine.engine)
            there = {each["name"]: each["type"] for each in inspector.get_columns(table.name, schema=table.schema)}
            missing = [column for column in table.columns if column.name not in there]
            other = [
                f"{column.name} is {there[column.name]}, not {column.type}"
                for column in table.columns
                if column.name in there and _family(there[column.name]) != _family(column.type)
            ]
            if missing or other:
                lacks = [f"lacks {', '.join(column.name for column in missing)}"] if missing else []
                raise UsageError(
                    f"the table {table.fullname} in {self.where} {'; '.join([*lacks, *other])}",
                    kept="nothing was written",
                    next_step=f"{self._altering(table, missing)}rename the table (a new one is made), or choose "
                    "another score.sql_prefix",
                )

    def _altering(self, table: "sa.Table", missing: list[Any]) -> str:
        quoted = self.engine.engine.dialect.identifier_preparer
        words = [
            f"ALTER TABLE {quoted.format_table(table)} ADD COLUMN {quoted.quote(column.name)} "
            f"{column.type.compile(self.engine.engine.dialect)}"
            for column in missing
            if column.name not in ("batch", "partition")
        ]
        return f"`{'; '.join(words)}`, " if words else ""

    def _create(self, table: "sa.Table") -> None:
        """Another run may make it in the same moment."""
        import sqlalchemy as sa

        try:
            table.create(self.engine.engine)
        except (sa.exc.ProgrammingError, sa.exc.OperationalError, sa.exc.IntegrityError):
            if not sa.inspect(self.engine.engine).has_table(table.name, schema=table.schema):
                raise

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """What a database says, as an error that helps."""
        import sqlalchemy as sa

        try:
            yield
        except sa.exc.DBAPIError as error:
            raise self._failed(what, error) from None

    def _failed(self, what: str, error: Any) -> ClickflowError:
        orig = error.orig
        text = databases.said(orig, self.engine.url, connecting=isinstance(error, _away()) and not _state(orig))
        have = f"{len(self.lines):,} of {self.batch.partitions:,} partitions are in the tables, each of them whole"
        kept = f"{have}; readers see the batch of before as the current one"
        if _refused(orig):
            return UsageError(
                f"{self.where} does not let the predictions be {what}\n  {text}",
                kept=kept,
                next_step=f"give the user of {self.engine.variable} the rights to the tables {self.score.sql_prefix}*: "
                f"{RIGHTS}; then run the same again",
            )
        if isinstance(error, _away()):
            return ClickflowError(
                f"{self.where} is away: the predictions could not be {what}\n  {text}",
                kept=kept,
                next_step="see that it can be reached, then run the same again: it makes what is missing",
            )
        return UsageError(
            f"{self.where} does not take the predictions\n  {text}",
            kept=kept,
            next_step="hold the tables against docs/howto/score.md: rules and triggers of your own may refuse rows",
        )


def without(
    engine: Engine, score: Score, users: Collection[str], sessions: Collection[str], *, dry: bool
) -> dict[str, int]:
    """Remove the rows of people, named by pseudonyms, from the tables of every batch (`dry`: count them), by table.
    SQLite's file is then written anew: it goes on to hold the bytes of what is deleted, also of batches of before.

    Raises ClickflowError where the database is away or refuses; nothing is removed then.
    """
    import sqlalchemy as sa

    found = {}
    try:
        with engine.engine.begin() as con:
            schema, inspector = score.sql_schema, sa.inspect(con)
            lines = f"{score.sql_prefix}{LINES}"
            if not inspector.has_table(lines, schema=schema):
                return {}
            line = sa.Table(lines, sa.MetaData(schema=schema), autoload_with=con)
            said = con.execute(sa.select(line.c.model, line.c.rows)).all()
            for name in sorted({_table_name(score, model, file) for model, rows in said for file in rows}):
                if not inspector.has_table(name, schema=schema):
                    continue
                table = sa.Table(name, sa.MetaData(schema=schema), autoload_with=con)
                whose = {"user_id": sorted(users), "session_id": sorted(sessions)}
                theirs = sa.or_(*(table.c[key].in_(names) for key, names in whose.items() if key in table.c))
                asked = sa.select(sa.func.count()).select_from(table).where(theirs)
                if count := con.execute(asked).scalar_one() if {*whose} & {*table.c.keys()} else 0:
                    found[name] = int(count)
                    if not dry:
                        con.execute(table.delete().where(theirs))
        if engine.engine.dialect.name == "sqlite" and not dry:
            with engine.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as con:
                con.exec_driver_sql("VACUUM")
    except sa.exc.DBAPIError as error:
        away = isinstance(error, _away()) and not _state(error.orig)
        text = databases.said(error.orig or error, engine.url, connecting=away)
        raise ClickflowError(f"the database of {engine.variable}: {text}", kept="nothing was removed there") from None
    return found


def _table_name(score: Score, model: str, file: str) -> str:
    return f"{score.sql_prefix}{model}_{file.removesuffix('.parquet')}"


def _away() -> Any:
    import sqlalchemy as sa

    return sa.exc.OperationalError, sa.exc.InterfaceError


def _state(error: Any) -> str:
    return str(getattr(error, "sqlstate", None) or "")


def _refused(error: Any) -> bool:
    """Whether it is a matter of rights; who may not use a schema is told that there is none."""
    states, codes = ("25006", "28000", "28P01", "3F000", "42501"), ("SQLITE_READONLY", "SQLITE_PERM")
    return _state(error) in states or str(getattr(error, "sqlite_errorname", "")).startswith(codes)


def _now() -> datetime:
    return datetime.now(UTC)


def _named(rows: "pa.Table", batch: str, partition: int) -> "pa.Table":
    """With the two columns that say whose the rows are."""
    import pyarrow as pa

    first = [pa.array([batch] * len(rows), pa.string()), pa.array([partition] * len(rows), pa.int64())]
    return pa.table([*first, *rows.columns], names=["batch", "partition", *rows.column_names])


def _type(kind: Any) -> Any:
    """The type of a column, by Arrow's."""
    import pyarrow as pa
    import sqlalchemy as sa

    known: list[tuple[Callable[[Any], bool], Any]] = [
        (pa.types.is_string, sa.Text()),
        (lambda each: each in (pa.int8(), pa.int16()), sa.SmallInteger()),
        (lambda each: each == pa.int32(), sa.Integer()),
        (pa.types.is_integer, sa.BigInteger()),
        (pa.types.is_float32, sa.REAL()),
        (pa.types.is_floating, sa.Double()),
        (pa.types.is_boolean, sa.Boolean()),
        (pa.types.is_timestamp, sa.DateTime(timezone=True)),
    ]
    return next(made for fits, made in known if fits(kind))


def _family(kind: Any) -> str:
    """Text, a number, a time: what a column must be, whatever its size."""
    import sqlalchemy as sa

    families: Mapping[str, tuple[type, ...]] = {
        "number": (sa.Integer, sa.Numeric, sa.Float),
        "time": (sa.DateTime, sa.Date),
        "json": (sa.JSON,),
        "truth": (sa.Boolean,),
        "text": (sa.String,),
    }
    return next((name for name, kinds in families.items() if isinstance(kind, kinds)), "another")
