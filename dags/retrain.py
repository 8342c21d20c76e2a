"""Trains every model of params.yaml anew, and promotes those that pass the gate.

The pipeline is dvc.yaml; this DAG is compiled from it. Trigger it with other params where needed; a run works on the
repository's current commit and leaves the checkout alone.
"""

from pathlib import Path

from clickflow.airflow.pipeline import pipeline

dag = pipeline(Path(__file__).resolve().parents[1], dag_id="retrain", about=__doc__ or "")
