"""The assets that DAGs change and wait for; their events carry the news as `extra`."""

from airflow.sdk import Asset

EVENTS = Asset(name="events", uri="clickflow://events/", group="data")
"""New data has arrived; `{"window": {"since": …, "until": …}}` may say which. Starts `retrain`."""

DRIFT = Asset(name="drift", uri="clickflow://drift/", group="data")
"""The data or the champion's hits have moved by the rule of params `watch`; the event has its evidence."""

CHAMPION = Asset(name="champion", uri="clickflow://champion/", group="model")
"""A run has promoted a model, or a rollback has put one back; the event says which, and by which run."""

PREDICTIONS = Asset(name="predictions", uri="clickflow://predictions/", group="model")
"""The champion has scored a batch; the event says where it lies."""
