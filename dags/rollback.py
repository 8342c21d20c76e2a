"""Puts an earlier champion back: choose the model, give the reason, trigger.

Without a version it is the previous champion. The version's files are held against their hashes before anything
changes, and the change is one line in the ledger. docs/howto/promote-and-roll-back.md.
"""

from pathlib import Path

from clickflow.airflow.rollback import rollback

dag = rollback(Path(__file__).resolve().parents[1], dag_id="rollback", about=__doc__ or "")
