"""A table of a database in a file as a source: what is read, and what a query cannot do."""

import re
import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest_setup import Desk, Outcome, set_params

from clickflow.events.ingest import ingest
from clickflow.sources.sql import databases, snapshot, statements
from clickflow.system.errors import ClickflowError, DataError, UsageError

ROWS = """CREATE TABLE clicks (moment TIMESTAMP, kind TEXT, customer INTEGER, sku TEXT, price DECIMAL(10, 2));
INSERT INTO clicks VALUES ('2026-01-05 10:00:00', 'view', 1, 'a', 1.25);
INSERT INTO clicks VALUES ('2026-01-05 10:00:01', 'cart', 1, 'b', 2.5);"""
COLUMNS = {"event_time": "moment", "event_type": "kind", "user_id": "customer", "item_id": "sku", "price": "price"}


@pytest.fixture
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / f"shop.{request.param}"
    if request.param == "duckdb":
        with duckdb.connect(str(path)) as con:
            con.execute(ROWS)
    else:
        con = sqlite3.connect(path)
        con.executescript(ROWS)
        con.close()
    return path


both = pytest.mark.parametrize("file", ["duckdb", "sqlite"], indirect=True)


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object], file: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("SHOP_URL", f"{file.suffix[1:]}://{file}")
    return Desk(tmp_path / "w", raw_params)


def run(desk: Desk, query: str, **changes: Any) -> Outcome:
    values = {"kind": "sql", "sql_url_env": "SHOP_URL", "sql_query": query, "columns": COLUMNS}
    params = set_params(desk.raw_params, **{f"source__{name}": value for name, value in values.items()}, **changes)
    return Outcome(ingest(params, desk.paths), desk.paths)


@both
def test_a_table_and_a_query_of_a_file(desk: Desk, file: Path) -> None:
    assert run(desk, "clicks").card["accepted"] == 2
    by_query = run(desk, "WITH c AS (SELECT * FROM clicks) SELECT * FROM c -- all of it\n;").events
    assert by_query["price"].to_pylist() == [1.25, 2.5]


ATTACKS = [
    "SELECT 1; DROP TABLE clicks",
    "DROP TABLE clicks",
    "COPY clicks TO '{out}'",
    "COPY (SELECT * FROM clicks) TO '{out}'",
    "COPY (SELECT 1) TO PROGRAM 'touch {out}'",
    "SELECT * INTO other FROM clicks",
    "WITH gone AS (DELETE FROM clicks RETURNING *) SELECT * FROM gone",
    "INSERT INTO clicks SELECT * FROM clicks",
    "UPDATE clicks SET sku = 'x'",
    "ATTACH '{out}' AS other",
    "PRAGMA database_list",
    "SET enable_external_access = true",
    "EXPLAIN ANALYZE DELETE FROM clicks",
    "CALL pragma_version()",
    "INSTALL httpfs",
    "EXPORT DATABASE '{out}'",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/etc/*')",
    "SELECT load_extension('x')",
    "SELECT writefile('{out}', 'x')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT set_config('transaction_read_only', 'off', true)",
    "SELECT shop.lower(sku) FROM clicks",
    "SELECT * FROM clicks FOR UPDATE",
    "VALUES (1)",
    "",
]


@both
@pytest.mark.parametrize("query", ATTACKS)
@pytest.mark.parametrize("parsed", [True, False], ids=["parsed", "not parsed"])
def test_a_query_reads_and_does_nothing_else(
    desk: Desk, file: Path, query: str, parsed: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both walls, each by itself: what the parser would let through, the connection does not do."""
    out, before = tmp_path / "out", file.read_bytes()
    if not parsed:
        monkeypatch.setattr(statements, "check", lambda query, _: query)
    try:
        snapshot.snapshot(
            set_params(desk.raw_params, source__sql_query=query.format(out=out), source__sql_url_env="SHOP_URL").source,
            tmp_path / "snapshot.parquet",
            1.0,
        )
    except ClickflowError as error:
        assert "root:" not in str(error)
    else:
        assert not parsed, "it was read"
        assert b"root:" not in (tmp_path / "snapshot.parquet").read_bytes()
    assert not out.exists()
    assert file.read_bytes() == before


@pytest.mark.parametrize("name", ["'/etc/passwd'", '"clicks.csv"', "'s3://a/b'", '"x*"', "(FROM 'a/b')", "'C:\\a'"])
def test_a_file_that_is_written_as_a_table_is_none(name: str) -> None:
    with pytest.raises(UsageError, match="a file and no table"):
        statements.check(f"SELECT * FROM {name}", "duckdb")


@pytest.mark.parametrize("dialect", ["postgres", "duckdb", "sqlite", "mysql"])
def test_queries_that_only_read_are_read(dialect: str) -> None:
    for query in (
        "SELECT a, coalesce(b, 1) FROM t WHERE lower(c) LIKE 'x%' ORDER BY 1 LIMIT 5",
        "(SELECT 1 AS a) UNION ALL (SELECT 2) EXCEPT SELECT 3",
        "WITH x AS (SELECT * FROM t JOIN u ON t.a = u.a) SELECT count(*) OVER (PARTITION BY a), cast(b AS CHAR) FROM x",
        "SELECT now(), max(a), substring(b, 1, 2) FROM (SELECT * FROM t) AS s GROUP BY 1 HAVING count(*) > 1",
    ):
        statements.check(query, dialect)


@pytest.mark.parametrize(
    ("dialect", "query", "sent"),
    [
        ("mysql", "SELECT a FROM t /*!50000 INTO OUTFILE '/x' */", "SELECT a FROM t"),
        ("mysql", "SELECT 1 /* /* */ INTO OUTFILE '/x' -- */", None),
        ("mysql", "SELECT 'a\\' AS b, LOAD_FILE('/x') -- '", None),
        ("sqlite", "SELECT a FROM t /* /* */ , load_extension('x') -- */ */", None),
        ("postgres", "SELECT E'\\' AS b, pg_read_file('/x') -- '", None),
        ("postgres", "SELECT $a$ ' $a$, pg_read_file('/x'), $a$ ' $a$", None),
    ],
)
def test_what_is_sent_is_what_was_judged(dialect: str, query: str, sent: str | None) -> None:
    """A database may find words where the parser sees a comment or a text: they are not sent, or stay a text."""
    try:
        text = statements.check(query, dialect)
    except UsageError:
        return
    assert text == sent if sent else not {"OUTFILE", "load_extension", "pg_read_file"} & set(re.split(r"\W", text))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT ('/etc/passwd'::text).pg_read_file",
        "SELECT (ARRAY['/etc/passwd'])[1].pg_read_file",
        "SELECT (SELECT '/etc/passwd'::text).pg_read_file AS a",
        "SELECT t.pg_read_file FROM unnest(ARRAY['/etc/passwd']) AS t",
        "SELECT T.\"pg_read_file\" FROM upper('/etc/passwd') AS t(path)",
        "SELECT a FROM t, LATERAL lower(t.a) AS u WHERE u.pg_ls_dir IS NULL",
        "SELECT btrim.pg_read_file FROM trim('/etc/passwd')",
        "SELECT t.pg_ls_dir FROM current_user AS t",
        "SELECT u.pg_sleep FROM (SELECT 1) AS t, generate_series(9, 9) AS u, (SELECT 1 AS pg_sleep) AS u2",
    ],
)
def test_a_call_that_is_written_as_a_column_is_none(query: str) -> None:
    """PostgreSQL takes `(x).f` for f(x), and `t.f` too where t is what a function gives."""
    with pytest.raises(UsageError, match=r"source\.sql_query reads "):
        statements.check(query, "postgres")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT s.a, t.b FROM shop.clicks AS s JOIN t ON s.a = t.a",
        "SELECT u.sku FROM t, LATERAL jsonb_to_recordset(t.items) AS u(sku TEXT, price DECIMAL)",
        "SELECT j.key, j.value, g FROM t, jsonb_each_text(t.facts) AS j, generate_series(1, 2) AS g",
        "SELECT l.b FROM t, LATERAL (SELECT t.a AS b) AS l",
    ],
)
def test_columns_of_what_a_function_gives_are_read(query: str) -> None:
    assert statements.check(query, "postgres").replace("JSONB", "jsonb").casefold() == query.casefold()


@pytest.mark.parametrize("file", ["sqlite"], indirect=True)
def test_an_error_about_a_path_of_json_quotes_no_row(desk: Desk, file: Path) -> None:
    with pytest.raises(DataError, match="may quote a row") as error:
        run(desk, "SELECT json_extract('{}', sku || '-secret') AS moment, kind, customer, sku FROM clicks")
    assert "a-secret" not in str(error.value)
    with pytest.raises(DataError, match="no such column: price_of"):
        run(desk, "SELECT price_of FROM clicks")


@pytest.mark.parametrize("file", ["sqlite"], indirect=True)
def test_an_absolute_path_may_have_four_slashes(desk: Desk, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_URL", f"sqlite:///{file}")
    assert run(desk, "clicks").card["accepted"] == 2


@both
def test_an_error_of_the_database_quotes_no_row(desk: Desk, file: Path) -> None:
    with pytest.raises(DataError) as error:
        run(desk, "SELECT cast(sku || '-secret' AS TIMESTAMP) AS moment, kind, customer, sku FROM clicks")
    assert "a-secret" not in str(error.value)


@given(st.text("aZ9@:/?#&=%+ $'\"é", min_size=1, max_size=12), st.sampled_from(["raw", "query"]))
def test_no_password_is_printed(password: str, where: str) -> None:
    word = f"x7{password}q8"
    url = f"postgresql://shop:{word}@h:5/db" if where == "raw" else f"postgresql://h/db?password={word}&sslmode=require"
    for text in (f"cannot find host {word!s}", f"bad url {url}", f'password "{word}" is wrong'):
        printable = databases.without_secrets(text, url)
        assert word not in printable
        assert url not in printable


def test_a_short_password_takes_the_whole_message_with_it() -> None:
    assert databases.without_secrets("a host has failed", "postgresql://shop:a@h/db").startswith("its words hold")
    assert databases.without_secrets("no such table: clicks", "sqlite:///tmp/shop.db") == "no such table: clicks"


def test_the_parser_has_no_word_for_a_query_that_is_none() -> None:
    with pytest.raises(UsageError, match="cannot be parsed as duckdb"):
        statements.check("SELECT FROM WHERE (", "duckdb")
