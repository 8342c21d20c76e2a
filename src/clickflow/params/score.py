"""Section `score` of params.yaml: the tables that predictions go to. No run changes it, and no stage reads it."""

from dataclasses import dataclass
from typing import Annotated

from clickflow.params.meta import Meta


@dataclass(frozen=True, kw_only=True)
class Score:
    """Where the DAG `score`, and `clickflow score --sql`, write beside files: docs/howto/score.md."""

    sql: Annotated[bool, Meta("the DAG writes to tables too; by hand --sql says so")] = False
    sql_url_env: Annotated[
        str, Meta("the environment variable that holds the URL of the database: PostgreSQL, SQLite or DuckDB")
    ] = "CLICKFLOW_SCORE_URL"
    sql_connection: Annotated[
        str | None, Meta("the connection of Airflow that the DAG takes where the variable is not set; null: none")
    ] = None
    sql_schema: Annotated[str | None, Meta("the schema of the tables; null: that of the connection")] = None
    sql_prefix: Annotated[str, Meta("what the names of the tables begin with", le=20)] = "clickflow_"
    sql_keep: Annotated[
        int | None, Meta("batches of a model that stay in the tables, the newest whole ones; null: all", ge=1)
    ] = 3
