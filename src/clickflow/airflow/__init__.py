"""The tasks of a run as Airflow DAGs: the only room that knows Airflow."""
