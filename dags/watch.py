"""Watches the champions: is the data fresh, has it moved since they were trained, do they still answer as well?

Where the rule of params `watch` calls for it, the task `call` starts `retrain` by an asset event; else it is skipped,
and says why. The report lies in `<home>/watch/<run>`. docs/howto/watch.md.
"""

from pathlib import Path

from clickflow.airflow.watch import watch

dag = watch(Path(__file__).resolve().parents[1], dag_id="watch", about=__doc__ or "")
