"""The graph of dvc.yaml, runs and their isolated workspaces. No Airflow here."""
