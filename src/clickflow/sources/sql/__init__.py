"""A table or query of a database."""
