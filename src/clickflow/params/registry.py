"""Section `registry` of params.yaml: where models are registered."""

from dataclasses import dataclass
from typing import Annotated

from clickflow.params.meta import Meta


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Where models are registered."""

    mlflow_uri: Annotated[str | None, Meta("of the MLflow server; null: a database in the home folder")] = None
