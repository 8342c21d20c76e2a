"""Whether the visit ends after this step."""

from typing import TYPE_CHECKING, Any

from clickflow.heads.head import Head, Store, following
from clickflow.params.models import ProbabilityHead

if TYPE_CHECKING:
    from clickflow.heads.head import Ints


def targets(split: Any, event: "Ints", end: "Ints", store: Store) -> "Ints":  # noqa: ARG001
    """1 where no step follows in the sequence, 0 where one does."""
    return (following(split.action, event, end, -1) < 0).astype("int64")


HEAD = Head(
    name="exit",
    unit="session",
    kind="probability",
    question="Is this the last step of the visit?",
    questions={"zh": "这是本次访问的最后一步吗？"},
    targets=targets,
    params=ProbabilityHead,
    baselines=("majority", "markov", "logistic", "boosting"),
    primary="log_loss",
    at_end=True,
    beat_baselines={"log_loss": {"majority": "hold", "*": "warn"}},
    means={"en": "the end of the visit", "zh": "离开"},
    note="Asked after every step; yes after the last one of a visit, which ends as the rules of the unit say.",
)
