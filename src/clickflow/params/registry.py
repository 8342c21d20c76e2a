"""Section `registry` of params.yaml: where models are registered."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Where models are registered."""

    mlflow_uri: str | None
