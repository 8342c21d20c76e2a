"""Whether the item or campaign just shown is clicked."""

from typing import TYPE_CHECKING, Any

from clickflow.heads.head import NOTHING, Head, Store
from clickflow.params.models import ProbabilityHead

if TYPE_CHECKING:
    from clickflow.heads.head import Ints

SHOWN, CLICKED = "impression", "click"


def targets(split: Any, event: "Ints", end: "Ints", store: Store) -> "Ints":
    """Of an impression 1 where a click on its item follows in the sequence, before the item is shown again; else 0.

    NOTHING at other steps, and everywhere in a store whose sequences lack impressions or clicks.
    """
    import numpy as np

    if not {SHOWN, CLICKED} <= set(store.actions) or not event.size:
        return np.full(event.shape, NOTHING)
    shown, clicked = (store.actions.index(name) for name in (SHOWN, CLICKED))
    # of each sequence the steps from the first asked one on, one sequence after the other
    last, of = np.unique(end, return_inverse=True)
    of = of.reshape(event.shape)
    first = last.copy()
    np.minimum.at(first, of.ravel(), event.ravel())
    begins = np.concatenate([[0], np.cumsum(last - first)])
    sequence = np.repeat(np.arange(len(last)), last - first)
    step = np.arange(begins[-1]) + (first - begins[:-1])[sequence]
    action, item = np.asarray(split.action[step]), np.asarray(split.item[step])
    about = np.flatnonzero((action == shown) | (action == clicked))
    about = about[np.lexsort((about, item[about], sequence[about]))]
    now, then = about[:-1], about[1:]
    answer = np.zeros(len(step), np.int64)
    answer[now] = (sequence[now] == sequence[then]) & (item[now] == item[then]) & (action[then] == clicked)
    at = begins[of] + event - first[of]
    return np.where(action[at] == shown, answer[at], NOTHING)


HEAD = Head(
    name="response",
    unit="session",
    kind="probability",
    question="Will this visitor click on the item or campaign that is being shown?",
    questions={"zh": "这位访客会点击正在展示的商品或活动吗？"},
    targets=targets,
    params=ProbabilityHead,
    baselines=("majority", "item_rate", "logistic", "boosting"),
    primary="log_loss",
    at_end=True,
    needs=(SHOWN, CLICKED),
    beat_baselines={"log_loss": {"majority": "hold", "*": "warn"}},
    truth="click",
    means={"en": "a click", "zh": "点击"},
    note="Asked at every impression; yes is a click on its item in the same visit, before the item is shown again.",
)
