"""Processes that are forked from one that has torch and MLflow imported, which takes longer than what most are to do.

There is one such server for each of pytest's processes, and what it has imported is settled when it starts.
"""

import multiprocessing
from multiprocessing.context import ForkServerContext

IMPORTED = (
    *("clickflow.training.loop", "clickflow.training.distributed", "clickflow.training.stage"),
    *(f"mlflow.store.{name}.sqlalchemy_store" for name in ("tracking", "model_registry")),
    "clickflow.registry.promote",
    *("clickflow.serving.batch", "clickflow.serving.score_database", "onnxruntime"),
)


def context() -> ForkServerContext:
    """What starts them: with nothing opened, no threads and no compiler."""
    forkserver = multiprocessing.get_context("forkserver")
    forkserver.set_forkserver_preload(list(IMPORTED))
    return forkserver
