"""The graph of dvc.yaml, isolated workspaces, and their compilation to Airflow."""
