"""Whether a customer buys nothing in the days after a cut-off."""

from typing import TYPE_CHECKING, Any

from clickflow.heads.head import Head, Store, steps_of
from clickflow.params.models import ProbabilityHead

if TYPE_CHECKING:
    from clickflow.heads.head import Ints

BOUGHT = "purchase"
"""The type of event."""


def targets(split: Any, event: "Ints", end: "Ints", store: Store) -> "Ints":
    """1 where no step after the last one read is a purchase, up to the end of the horizon; 0 where one is."""
    import numpy as np

    _, before = steps_of(split, store, BOUGHT)
    return np.where(before[end] == before[event + 1], 1, 0)


HEAD = Head(
    name="churn",
    unit="customer",
    kind="probability",
    question="Will this customer buy nothing in the days to come?",
    questions={"zh": "这位顾客在今后这段时间里会不再购买吗？"},
    targets=targets,
    needs=(BOUGHT,),
    params=ProbabilityHead,
    baselines=("majority", "logistic", "boosting"),
    primary="log_loss",
    at_end=True,
    of_purchases=True,
    beat_baselines={"log_loss": {"majority": "hold", "*": "warn"}},
    truth="stays_away",
    means={"en": "not coming back", "zh": "流失"},
    note="Asked once a customer and cut-off; yes is no purchase in the sequences.customer.horizon_days after it.",
)
