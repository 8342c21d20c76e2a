"""MLflow, the ledger, promotion and rollback."""
