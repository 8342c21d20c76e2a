"""Scores sessions with the champions: what each is likely to look at and do next, as Parquet files.

By itself it takes the sessions with an event in the newest 24 hours; the form says otherwise. The files lie in
`<home>/predictions/<model>/<run>`, whole or not at all, and an asset event tells where. Where `score.sql` of the commit
says so, they are in the tables of a database too. A task that was killed goes on where it was. docs/howto/score.md.
"""

from pathlib import Path

from clickflow.airflow.score import score

dag = score(Path(__file__).resolve().parents[1], dag_id="score", about=__doc__ or "")
