"""A table of a real PostgreSQL, which the test starts for itself on loopback, as a source."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))

import postgres_server
from ingest_setup import Desk, Outcome, set_params

from clickflow.events.ingest import ingest
from clickflow.events.replay import replay
from clickflow.sources.sql import statements
from clickflow.system.errors import ClickflowError, DataError, UsageError

pytestmark = pytest.mark.platform

ROWS = """
CREATE TABLE clicks (
  at timestamptz, kind text, customer bigint, visit uuid, sku varchar(20), price numeric(10, 2), note jsonb
);
INSERT INTO clicks
SELECT timestamptz '2026-01-05 10:00:00+01' + n * interval '1 second', (array['view', 'cart', 'buy'])[1 + n % 3],
       n % 10, md5((n / 5)::text)::uuid, 'sku-' || n % 7, n * 1.25, jsonb_build_object('n', n)
FROM generate_series(0, 999) n;
INSERT INTO clicks VALUES (null, 'view', 1, null, 'x', 1, null), ('2026-01-05', 'view', null, null, 'x', 1, null),
  ('2026-01-05', 'view', 1, null, 'x', -1, null);
CREATE FUNCTION write_it() RETURNS bigint VOLATILE LANGUAGE plpgsql AS $$
  BEGIN INSERT INTO clicks (sku) VALUES ('written'); RETURN 1; END $$;
CREATE SCHEMA other; CREATE VIEW other.recent AS SELECT * FROM clicks WHERE at >= '2026-01-05 09:05:00Z';
"""
COLUMNS = {
    "event_time": "at",
    "event_type": "kind",
    "user_id": "customer",
    "session_id": "visit",
    "item_id": "sku",
    "price": "price",
}


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a server with the table `clicks`."""
    with postgres_server.running() as server:
        server.execute(ROWS)
        yield server.url


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object], postgres: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("SHOP_URL", postgres)
    return Desk(tmp_path / "w", raw_params)


def run(desk: Desk, query: str, **changes: object) -> Outcome:
    params = set_params(
        desk.raw_params,
        **{
            "source__kind": "sql",
            "source__sql_url_env": "SHOP_URL",
            "source__sql_query": query,
            "source__columns": COLUMNS,
        }
        | {"source__event_types": {"buy": "purchase"}}
        | changes,
    )
    return Outcome(ingest(params, desk.paths), desk.paths)


def test_a_table(desk: Desk) -> None:
    outcome = run(desk, "clicks")
    assert (outcome.card["read"], outcome.card["accepted"]) == (1003, 1000)
    assert outcome.card["reasons"] == {"unparseable_time": 1, "null_user_and_session": 1, "negative_price": 1}
    assert (outcome.card["users"], outcome.card["sessions"], outcome.card["items"]) == (10, 200, 7)
    assert outcome.card["first_event"] == "2026-01-05T09:00:00.000000Z"
    assert outcome.events["price"].to_pylist()[:4] == [0.0, 1.25, 2.5, 3.75]
    assert {entry["source"] for entry in outcome.quarantine} == {"clicks"}


def test_the_same_rows_give_the_same_bytes_in_whatever_order_they_lie(desk: Desk, postgres: str) -> None:
    import psycopg

    run(desk, "clicks")
    before = desk.bytes()
    with psycopg.connect(postgres) as con:
        con.execute("UPDATE clicks SET note = note WHERE price < 600")  # moves rows to the end of the heap
    run(desk, "clicks")
    assert desk.bytes() == before


def test_a_query_and_a_view(desk: Desk) -> None:
    query = "SELECT at, kind, customer, visit, sku, price FROM clicks WHERE at >= '2026-01-05 09:05:00Z';"
    by_query = run(desk, query).events
    assert by_query.num_rows == 700
    assert run(desk, "other.recent").events.equals(by_query)


def test_replay_of_a_table(desk: Desk) -> None:
    run(desk, "clicks", source__event_types={})
    params = set_params(
        desk.raw_params, source__kind="sql", source__sql_url_env="SHOP_URL", source__sql_query="clicks",
        source__columns=COLUMNS, source__event_types={"buy": "purchase"},
    )  # fmt: skip
    assert replay(params, desk.paths)["taken_in"] == 333
    before = desk.bytes()
    shutil.rmtree(desk.paths.root / "data")
    run(desk, "clicks")
    assert desk.bytes() == before


ATTACKS = [
    "COPY (SELECT 1) TO PROGRAM 'touch {out}'",
    "COPY clicks TO '{out}'",
    "SELECT 1; DROP TABLE clicks",
    "SELECT 1) AS source; DROP TABLE clicks; SELECT (1",
    "SELECT 1) AS source; COMMIT; DROP TABLE clicks; SELECT (1",
    "SELECT write_it() AS at, 'view' AS kind",
    "SELECT * FROM write_it()",
    "SELECT public.write_it()",
    "WITH gone AS (DELETE FROM clicks RETURNING *) SELECT * FROM gone",
    "SELECT * INTO stolen FROM clicks",
    "SELECT set_config('transaction_read_only', 'off', false), write_it()",
    "SELECT * FROM clicks FOR UPDATE",
    "SELECT lo_import('/etc/passwd')",
    "SELECT ('/etc/passwd'::text).lo_import",
    "SELECT t.lo_import FROM upper('/etc/passwd') AS t",
]


@pytest.mark.parametrize("query", ATTACKS)
@pytest.mark.parametrize("parsed", [True, False], ids=["parsed", "not parsed"])
def test_a_query_reads_and_does_nothing_else(
    desk: Desk, postgres: str, query: str, parsed: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a superuser, whom nothing else stops. Each wall by itself: the parser, and the transaction that only reads."""
    import psycopg

    tables = "(SELECT count(*) FROM pg_class WHERE relname = 'stolen')"
    count = f"SELECT (SELECT count(*) FROM clicks), {tables}, (SELECT count(*) FROM pg_largeobject_metadata)"
    with psycopg.connect(postgres) as con:
        before = con.execute(count).fetchone()
    if not parsed:
        monkeypatch.setattr(statements, "check", lambda query, _: query)
    out = Path(tempfile.gettempdir()) / f"clickflow-{os.getpid()}.out"
    with pytest.raises(ClickflowError) as error:
        run(desk, query.format(out=out))
    assert isinstance(error.value, UsageError) == parsed
    assert "p4ssw0rd" not in str(error.value)
    with psycopg.connect(postgres) as con:
        assert con.execute(count).fetchone() == before
    assert not out.exists()


def test_an_error_of_the_database_quotes_no_row(desk: Desk) -> None:
    with pytest.raises(DataError, match="SQLSTATE 22P02") as error:
        run(desk, "SELECT at, kind, (sku || '-secret')::int AS customer FROM clicks")
    assert '-secret"' not in str(error.value)
    for cast in ("regclass", "regtype", "regrole", "regnamespace", "tsquery", "jsonpath"):
        value = "replace(sku, '-', '') || 'secret'" if cast.startswith("reg") else "sku || ' secret'"
        with pytest.raises(DataError, match="may quote a row") as error:
            run(desk, f"SELECT at, ({value})::{cast} AS kind, customer FROM clicks")
        assert "secret" not in str(error.value).split("\n")[1], cast
    with pytest.raises(DataError, match='column "price_of" does not exist'):
        run(desk, "SELECT price_of FROM clicks")


def test_faults_are_told_without_the_password(desk: Desk, postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run(desk, "clicks")
    before = desk.bytes()
    with pytest.raises(DataError, match=r"source.sql_query failed: nothing_there") as error:
        run(desk, "nothing_there")
    assert "p4ssw0rd" not in str(error.value)
    monkeypatch.setenv("SHOP_URL", postgres.replace("@127.0.0.1:", "@127.0.0.1:1"))
    with pytest.raises(DataError, match="cannot connect to the database of SHOP_URL") as error:
        run(desk, "clicks")
    assert "p4ssw0rd" not in str(error.value)
    monkeypatch.setenv("SHOP_URL", postgres.replace("p4ssw0rd", "wr0ng"))
    with pytest.raises(DataError, match="cannot connect") as error:
        run(desk, "clicks")
    assert "wr0ng" not in str(error.value)
    monkeypatch.delenv("SHOP_URL")
    with pytest.raises(UsageError, match="the environment variable SHOP_URL is not set"):
        run(desk, "clicks")
    assert desk.bytes() == before
