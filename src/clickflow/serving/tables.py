"""Predictions as tables of PostgreSQL, SQLite or DuckDB: each partition once, whole or not at all.

A file of predictions is a table, `<prefix><model>_<file>`; before its columns stand `batch` and `partition`. A
partition and its line in `<prefix>score_partitions`, whose key is model, batch and partition, are one transaction: who
comes second finds the line, and leaves the rows alone. `<prefix>score_current` names the batch of each model that is
whole and newest. The URL is an environment variable's; nothing says it again.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from clickflow.params.score import Score
from clickflow.serving import score_database, table_shapes
from clickflow.serving.partitions import Batch, Line, Partition
from clickflow.serving.score_database import Database
from clickflow.sources.sql import databases
from clickflow.system import console
from clickflow.system.errors import ClickflowError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

RIGHTS = "SELECT, INSERT, UPDATE and DELETE on them, and CREATE on the schema where they are not made yet"


class Tables:
    """The tables of a batch, a `Target`.

    Raises UsageError where the database refuses or a table has other columns, ClickflowError where it is away: what is
    there by then is kept.
    """

    def __init__(self, database: Database, score: Score, batch: Batch) -> None:
        import sqlalchemy as sa

        self.database, self.score, self.batch = database, score, batch
        self.where = database.where
        self.lines: dict[int, Line] = {}
        self._meta = sa.MetaData(schema=score.sql_schema)
        self._tables: dict[str, sa.Table] = {}
        self._line = table_shapes.of_partitions(score, self._meta)
        self._current = table_shapes.of_current(score, self._meta)

    def __enter__(self) -> "Tables":
        with self._asking("prepared"):
            self._prepare(self.batch.schemas, self._line, self._current)
            self._read()
        return self

    def __exit__(self, *_: object) -> None:
        self.database.engine.dispose()

    def take(self, partition: Partition) -> None:
        """The rows and the line in one transaction; where another run has written them meanwhile, nothing."""
        import sqlalchemy as sa

        with self._asking("written"):
            self._prepare({name: rows.schema for name, rows in partition.tables.items() if name not in self._tables})
            try:
                with self.database.engine.begin() as con:
                    con.execute(self._line.insert().values(self._line_of(partition)))  # first: the key is the lock
                    for name, rows in partition.tables.items():
                        table = self._tables[name]
                        con.execute(table.delete().where(*self._here(table), table.c.partition == partition.number))
                        self.database.dialect.insert(con, table, _named(rows, self.batch.id, partition.number))
            except sa.exc.IntegrityError:
                self._read()
                if partition.number not in self.lines:
                    raise
            else:
                self.lines[partition.number] = Line(partition.sequences, partition.rows)

    def finish(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """Name the batch as the current one, and remove old ones."""
        with self._asking("made current"):
            self._read()
            if len(self.lines) < self.batch.partitions:
                raise ClickflowError(
                    f"{self.where}: {self.batch.partitions - len(self.lines):,} partitions of batch {self.batch.id} "
                    "were removed while it was written",
                    kept="the others; the current batch is still the previous one",
                    next_step="run the same again: it makes what is missing",
                )
            with self.database.engine.begin() as con:
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

        insert: Any = {"postgresql": postgresql.insert, "sqlite": sqlite.insert, "duckdb": postgresql.insert}[
            self.database.engine.dialect.name
        ]
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
        query = (
            sa.select(c.batch, sa.func.count() == sa.func.max(c.partitions))
            .where(c.model == self._model)
            .group_by(c.batch)
            .order_by(sa.func.max(c.written_at).desc(), c.batch)
        )
        old, whole = [], 1  # the current one
        for name, is_whole in con.execute(query):
            if name == self.batch.id:
                continue
            if whole >= self.score.sql_keep:
                old.append(name)
            whole += bool(is_whole)
        return old

    def _remove(self, con: Any, batch: str) -> None:
        import sqlalchemy as sa

        c = self._line.c
        written = {name for (rows,) in con.execute(sa.select(c.rows).where(*self._of(batch))) for name in rows}
        for name in sorted(written):
            if (table := self._existing(con, name)) is not None:
                con.execute(table.delete().where(table.c.batch == batch))
        con.execute(self._line.delete().where(*self._of(batch)))

    def _existing(self, con: Any, name: str) -> "sa.Table | None":
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
        with self.database.engine.begin() as con:
            query = sa.select(c.partition, c.sequences, c.rows).where(*self._of(self.batch.id))
            self.lines = {number: Line(sequences, rows) for number, sequences, rows in con.execute(query)}
            counted: dict[str, dict[int, int]] = {}
            for name in {name for line in self.lines.values() for name in line.rows}:
                if (table := self._existing(con, name)) is not None:
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

    def _line_of(self, partition: Partition) -> dict[str, Any]:
        return {
            "model": self._model,
            "batch": self.batch.id,
            "partition": partition.number,
            "version": self.batch.key["version"],
            "partitions": self.batch.partitions,
            "sequences": partition.sequences,
            "rows": partition.rows,
            "data_sha256": self.batch.key["data_sha256"],
            "written_at": _now(),
        }

    def _name(self, file: str) -> str:
        return _table_name(self.score, self._model, file)

    def _prepare(self, schemas: "Mapping[str, pa.Schema]", *others: "sa.Table") -> None:
        """Make the tables of these files, and `others`, or see that those that are there fit."""
        for file, schema in schemas.items():
            self._tables[file] = table_shapes.of_predictions(self._name(file), self._meta, schema)
        table_shapes.prepare(self.database, *others, *(self._tables[file] for file in schemas))

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
        away = isinstance(error, score_database.away())
        text = databases.said(orig, self.database.url, connecting=away and not score_database.state(orig))
        have = f"{len(self.lines):,} of {self.batch.partitions:,} partitions are in the tables, each of them whole"
        kept = f"{have}; readers still see the previous batch as the current one"
        if score_database.refused(orig):
            return UsageError(
                f"{self.where} does not let the predictions be {what}\n  {text}",
                kept=kept,
                next_step=f"give the user of {self.database.variable} the rights to the tables "
                f"{self.score.sql_prefix}*: {RIGHTS}; then run the same again",
            )
        if away:
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
    store: Database, score: Score, users: Collection[str], sessions: Collection[str], *, dry: bool
) -> dict[str, int]:
    """Remove the rows of people, named by pseudonyms, from the tables of every batch (`dry`: count them), by table.
    A file of SQLite or DuckDB is then written anew: it goes on to hold the bytes of what is deleted, also of batches of
    before.

    Raises ClickflowError where the database is away or refuses; nothing is removed then.
    """
    import sqlalchemy as sa

    removed = {}
    try:
        with store.engine.begin() as con:
            schema, inspector = score.sql_schema, sa.inspect(con)
            lines = f"{score.sql_prefix}{table_shapes.LINES}"
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
                count_query = sa.select(sa.func.count()).select_from(table).where(theirs)
                if count := con.execute(count_query).scalar_one() if {*whose} & {*table.c.keys()} else 0:
                    removed[name] = int(count)
                    if not dry:
                        con.execute(table.delete().where(theirs))
        if store.dialect.emptied and not dry:
            store.dialect.emptied(store.engine)
    except sa.exc.DBAPIError as error:
        away = isinstance(error, score_database.away()) and not score_database.state(error.orig)
        text = databases.said(error.orig or error, store.url, connecting=away)
        raise ClickflowError(f"{store.where}: {text}", kept="nothing was removed there") from None
    return removed


def _table_name(score: Score, model: str, file: str) -> str:
    return f"{score.sql_prefix}{model}_{file.removesuffix('.parquet')}"


def _now() -> datetime:
    return datetime.now(UTC)


def _named(rows: "pa.Table", batch: str, partition: int) -> "pa.Table":
    """With the two columns that say whose the rows are."""
    import pyarrow as pa

    first = [pa.array([batch] * len(rows), pa.string()), pa.array([partition] * len(rows), pa.int64())]
    return pa.table([*first, *rows.columns], names=["batch", "partition", *rows.column_names])
