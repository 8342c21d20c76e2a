"""The shape of the tables of `score --sql`: their columns by Arrow's, and whether those that are there fit."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from clickflow.params.score import Score
from clickflow.serving.score_database import Database
from clickflow.system.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

LINES, CURRENT = "score_partitions", "score_current"
LONGEST = 63
"""Bytes of a name in PostgreSQL: the rest would be cut off."""


def of_partitions(score: Score, meta: "sa.MetaData") -> "sa.Table":
    """The table of the partitions that are there, a line each; its key is the lock of whoever writes one."""
    import sqlalchemy as sa

    text, whole = sa.Text, sa.BigInteger
    return sa.Table(
        f"{score.sql_prefix}{LINES}",
        meta,
        sa.Column("model", text, primary_key=True),
        sa.Column("batch", text, primary_key=True),
        sa.Column("partition", whole, primary_key=True, autoincrement=False),
        *(sa.Column(name, whole, nullable=False) for name in ("version", "partitions", "sequences")),
        sa.Column("rows", sa.JSON, nullable=False),
        sa.Column("data_sha256", text, nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
    )


def of_current(score: Score, meta: "sa.MetaData") -> "sa.Table":
    """The table that names the batch of each model that is whole and newest."""
    import sqlalchemy as sa

    text, whole = sa.Text, sa.BigInteger
    return sa.Table(
        f"{score.sql_prefix}{CURRENT}",
        meta,
        sa.Column("model", text, primary_key=True),
        sa.Column("batch", text, nullable=False),
        *(sa.Column(name, whole, nullable=False) for name in ("version", "partitions", "sequences")),
        sa.Column("newest_event", text, nullable=False),
        sa.Column("since", text),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
    )


def of_predictions(name: str, meta: "sa.MetaData", schema: "pa.Schema") -> "sa.Table":
    """A table `name` of the columns of `schema`, and of whose the rows are. Raises UsageError where its name, or a
    column's, is none that a database can have.
    """
    import sqlalchemy as sa

    columns = [field.name for field in schema]
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
    table = sa.Table(
        name,
        meta,
        sa.Column("batch", sa.Text, nullable=False),
        sa.Column("partition", sa.BigInteger, nullable=False),
        *(sa.Column(field.name, _type(field.type)) for field in schema),
    )
    sa.Index(f"{name}_b", table.c.batch, table.c.partition)
    sa.Index(f"{name}_w", table.columns[2])
    return table


def prepare(database: Database, *tables: "sa.Table") -> None:
    """Make the tables that are not there, and hold the columns of the others against what is written."""
    if not tables:
        return
    with database.engine.connect() as con:  # one for all: to open a file of DuckDB takes longer than what is asked
        for table in tables:
            _fit(database, con, table)


def _fit(database: Database, con: "sa.Connection", table: "sa.Table") -> None:
    import sqlalchemy as sa

    if not sa.inspect(con).has_table(table.name, schema=table.schema):
        con.rollback()
        _create(con, table)
    there = {each["name"]: each["type"] for each in sa.inspect(con).get_columns(table.name, schema=table.schema)}
    missing = [column for column in table.columns if column.name not in there]
    other = [
        f"{column.name} is {there[column.name]}, not {column.type}"
        for column in table.columns
        if column.name in there and _family(there[column.name]) != _family(column.type)
    ]
    if missing or other:
        lacks = [f"lacks {', '.join(column.name for column in missing)}"] if missing else []
        raise UsageError(
            f"the table {table.fullname} in {database.where} {'; '.join([*lacks, *other])}",
            kept="nothing was written",
            next_step=f"{_altering(database, table, missing)}rename the table (a new one is made), or choose "
            "another score.sql_prefix",
        )


def _altering(database: Database, table: "sa.Table", missing: list[Any]) -> str:
    quoted = database.engine.dialect.identifier_preparer
    words = [
        f"ALTER TABLE {quoted.format_table(table)} ADD COLUMN {quoted.quote(column.name)} "
        f"{column.type.compile(database.engine.dialect)}"
        for column in missing
        if column.name not in ("batch", "partition")
    ]
    return f"`{'; '.join(words)}`, " if words else ""


def _create(con: "sa.Connection", table: "sa.Table") -> None:
    """Another run may make it in the same moment."""
    import sqlalchemy as sa

    try:
        table.create(con)
        con.commit()
    except (sa.exc.ProgrammingError, sa.exc.OperationalError, sa.exc.IntegrityError):
        con.rollback()
        if not sa.inspect(con).has_table(table.name, schema=table.schema):
            raise


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
    return next(column_type for fits, column_type in known if fits(kind))


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
