"""What the visitor does next: one of the kinds of event, or leaves."""

from typing import TYPE_CHECKING, Any

from clickflow.heads.head import Head, Store, Written, following
from clickflow.params.models import ClassesHead

if TYPE_CHECKING:
    from clickflow.heads.head import Ints

EXIT = "exit"
"""The class of the last step: the visit ends."""


def classes(store: Store) -> tuple[str, ...]:
    """The actions of the store, then the end of the visit."""
    return (*store.actions, EXIT)


def targets(split: Any, event: "Ints", end: "Ints", store: Store) -> "Ints":
    """The action of the step after each position; the code after all actions, exit, where the sequence has ended."""
    return following(split.action, event, end, len(store.actions))


HEAD = Head(
    name="next_action",
    unit="session",
    kind="classes",
    question="What will this visitor do next: view, put into the cart, buy, or leave?",
    questions={"zh": "这位访客下一步会做什么：浏览、加购、购买，还是离开？"},
    targets=targets,
    params=ClassesHead,
    baselines=("majority", "markov", "logistic", "boosting"),
    primary="log_loss",
    at_end=True,
    classes=classes,
    beat_baselines={"log_loss": {"majority": "hold", "*": "warn"}, "accuracy": "warn"},
    truth="action",
    note="Asked after every step; after the last one the answer is exit.",
    written=Written(evidence="actions.parquet", predictions="actions.parquet", answer="next_actions"),
)
