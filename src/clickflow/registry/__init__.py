"""The ledger of champions, registered versions, promotion and rollback."""
