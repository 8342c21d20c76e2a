"""Trains and measures every model as it would have been made at the end of each data window. Never starts by itself.

    clickflow airflow backfill create --dag-id backfill --from-date 2026-01-05 --to-date 2026-02-02

or *Trigger → Backfill* here; the DAG must not be paused. `schedule.backfill` in params.yaml is the length of a window.
Each run is recorded; `clickflow runs` lists their metrics side by side. docs/howto/backfill.md.
"""

from pathlib import Path

from clickflow.airflow.backfill import backfill

dag = backfill(Path(__file__).resolve().parents[1], dag_id="backfill", about=__doc__ or "")
