"""Which item comes next."""

from typing import TYPE_CHECKING, Any

from clickflow.heads.head import NOTHING, Head, Store, Written, following
from clickflow.params.models import RankingHead

if TYPE_CHECKING:
    from clickflow.heads.head import Ints


def targets(split: Any, event: "Ints", end: "Ints", store: Store) -> "Ints":  # noqa: ARG001
    """The item of the step after each position; NOTHING where the sequence has ended."""
    return following(split.item, event, end, NOTHING)


HEAD = Head(
    name="next_item",
    unit="session",
    kind="ranking",
    question="Which item will this visitor look at next?",
    questions={"zh": "这位访客接下来会看哪件商品？"},
    targets=targets,
    params=RankingHead,
    baselines=("popularity", "repeat", "markov", "vsknn"),
    primary="mrr@20",
    next_step=True,
    floors={"recall@20": 0.05},
    beat_baselines={"recall@20": "reject", "mrr@20": "reject"},
    truth="item",
    written=Written(evidence="predictions.parquet", predictions="items.parquet", answer="next_items"),
    written_ahead=Written(evidence="ahead.parquet", predictions="items_ahead.parquet"),
)
