"""The local platform: Airflow, its workers and MLflow as processes under one supervisor, all on loopback."""
