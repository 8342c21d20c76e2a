"""A watched model, and what `clickflow watch` measured of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clickflow.artefact.artefact import Artefact
from clickflow.evaluation.distributions import Values
from clickflow.evaluation.earlier import REFERENCE
from clickflow.evaluation.reference import Reference
from clickflow.monitoring.rule import Verdict


@dataclass(frozen=True)
class Watched:
    """A model under watch; `reference` is None where its version was registered without one."""

    model: str
    version: int
    artefact: Artefact
    reference: Reference | None
    settings: Mapping[str, Any]
    """How the store's sessions are cut now."""

    @property
    def why_no_drift(self) -> str:
        """Why drift cannot be judged; empty where it can."""
        if self.reference is None:
            return f"version {self.version} was registered without {REFERENCE}"
        changed = [name for name, value in self.reference.settings.items() if self.settings.get(name) != value]
        if changed:
            return f"sessions are cut by other rules than in training: {', '.join(sorted(changed))}"
        return ""


@dataclass(frozen=True)
class Outcome:
    """What was measured of one model: the verdict, and each window's shares by dimension, for the figures."""

    watched: Watched | None
    verdict: Verdict
    shares: tuple[Mapping[str, Values], ...] = ()
