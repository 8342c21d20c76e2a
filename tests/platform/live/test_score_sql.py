"""The DAG score, committed with `score.sql`, into a real PostgreSQL that a connection of Airflow names."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import postgres_server
import psycopg
import pytest
from platform_client import Platform
from pyarrow import parquet

from live import records

pytestmark = [pytest.mark.platform, pytest.mark.timeout(1800)]
CONNECTION = "shop_predictions"


@pytest.fixture(scope="module")
def database() -> Iterator[postgres_server.Server]:
    with postgres_server.running() as server:
        yield server


def scored(shop: Platform, top: int) -> str:
    run = shop.trigger("score", {"top": top, "since_hours": None})
    shop.wait("score", run, timeout=900)
    return run


def test_a_run_writes_the_tables_that_its_event_names(
    shop: Platform, first: str, database: postgres_server.Server
) -> None:
    task, there = f"score.{records.MODEL}", urlsplit(database.url)
    with shop.committed({"score.sql": True, "score.sql_connection": CONNECTION}):
        without = shop.trigger("score", {"top": 3, "since_hours": None})
        shop.until(lambda: f"Airflow has no connection {CONNECTION}" in shop.log("score", without, task), 900)
        records.give_up(shop, "score", without)
        status, answer = shop.request(
            "POST",
            "/connections",
            {
                "connection_id": CONNECTION,
                "conn_type": "postgres",
                "host": there.hostname,
                "port": there.port,
                "login": there.username,
                "password": there.password,
                "schema": there.path.lstrip("/"),
            },
        )
        assert status == 201, answer
        runs = [scored(shop, 3), scored(shop, 3)]
    assert [shop.states("score", run)[task] for run in runs] == ["success", "success"]
    news = [each["extra"] for each in records.news(shop, "clickflow://predictions/") if each["extra"].get("tables")]
    assert len(news) == 2
    assert news[0]["batch"] == news[1]["batch"], "the same champion, data and options"
    files = parquet.read_table(f"{news[0]['path']}/items.parquet")
    with psycopg.connect(database.url) as con:
        counted = con.execute("SELECT batch, count(*) FROM clickflow_next_step_items GROUP BY batch").fetchall()
        current = con.execute("SELECT model, batch, version FROM clickflow_score_current").fetchall()
    assert counted == [(news[0]["batch"], files.num_rows)], "the second run changed nothing"
    assert current == [(records.MODEL, news[0]["batch"], news[0]["version"])]
    for run in runs:
        assert str(there.password) not in shop.log("score", run, task)
