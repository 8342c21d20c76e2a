"""The items that are recommended: the best by a model's answer, as rules allow; and what is recommended where there is
no answer.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clickflow.heads import outputs
from clickflow.online.history import Question
from clickflow.online.served import Served
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.serving.forms import highest


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may be recommended."""

    k: int = 20
    output: str | None = None
    """Which ranking of the model; None: its first."""
    exclude: frozenset[str] = frozenset()
    """Items."""
    only: frozenset[str] | None = None
    """Items; None: all."""
    exclude_seen: bool = False
    """Whether items of the history are left out."""
    categories: frozenset[str] | None = None
    """Of items; None: all."""
    price: tuple[float | None, float | None] = (None, None)
    """Least and most; items without a price are left out where a bound is given."""
    per_category: int | None = None
    """So many items of a category at most."""
    diversity: float = 0.0
    """0: by score alone; 1: as unlike each other as can be (maximal marginal relevance, Carbonell & Goldstein 1998)."""
    candidates: tuple[str, ...] | None = None
    """Items that are scored, all of them; None: the best k of all."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best first."""

    items: tuple[str, ...]
    scores: tuple[float, ...]
    """Probabilities; of a fallback the shares of all steps in training."""
    fallback: str | None
    """None: the model's own answer; else what answered in its place: `category`, `popularity`."""
    model: str
    version: int


def recommend(served: Served, question: Question, rules: Rules) -> Ranking:
    """What `served` recommends. Raises UsageError where it ranks nothing."""
    name = rules.output or outputs.main(served.artefact.outputs, "ranking")
    allowed = _allowed(served, question, rules)
    items, fallback = served.items, None
    known = any(step.item in items.index_of for step in question.steps)
    if served.empty(question) or not known:
        fallback = "popularity"
        logs = np.log(np.maximum(items.count, 1e-9) / max(items.count.sum(), 1)).astype(np.float32)
        logs[:FIRST_ITEM] = -np.inf
    else:
        logs = served.answers([question])[name][0]
    logs = np.where(allowed, logs, -np.inf)[None]
    best, values = highest(logs, min(rules.k, int(allowed.sum())))
    return Ranking(
        tuple(items.ids[index] for index in best[0].tolist()),
        tuple(np.exp(values[0]).tolist()),
        fallback,
        served.model,
        served.version,
    )


def _allowed(served: Served, question: Question, rules: Rules) -> npt.NDArray[np.bool_]:
    items = served.items
    allowed = np.ones(len(items), bool)
    allowed[:FIRST_ITEM] = False
    if rules.only is not None:
        allowed &= _marked(served, rules.only)
    if rules.candidates is not None:
        allowed &= _marked(served, frozenset(rules.candidates))
    seen = frozenset(step.item for step in question.steps) if rules.exclude_seen else frozenset()
    allowed &= ~_marked(served, rules.exclude | seen)
    if rules.categories is not None:
        codes = [items.category_of[name] for name in rules.categories if name in items.category_of]
        allowed &= np.isin(items.category, codes)
    least, most = rules.price
    if least is not None:
        allowed &= items.price >= least
    if most is not None:
        allowed &= items.price <= most
    return allowed


def _marked(served: Served, names: frozenset[str]) -> npt.NDArray[np.bool_]:
    found = np.zeros(len(served.items), bool)
    found[[served.items.index_of[name] for name in names if name in served.items.index_of]] = True
    return found
