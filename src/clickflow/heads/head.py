"""What a head is: one question that a model answers at positions of a sequence."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol
from weakref import WeakKeyDictionary

if TYPE_CHECKING:  # params.yaml is checked by this room, also where a light start counts
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

Kind = Literal["ranking", "classes", "probability", "amount", "forecast"]
"""Of answer: a ranking of the items, one of a few classes, how likely yes is, an amount, or amounts of several steps
ahead. What a kind can do stands in a table of each room: its layer and loss in `clickflow.models`, its metrics in
`clickflow.evaluation`, its served form in `clickflow.serving`.
"""

NOTHING = -1
"""The target of a position at which a head asks nothing."""
NO_OR_YES = ("no", "yes")
"""The classes of kind probability, by their code."""
LEVELS = (0.1, 0.5, 0.9)
"""Of the quantiles that kinds amount and forecast answer behind the expected value."""
SIZES: tuple[Kind, ...] = ("amount", "forecast")
"""Kinds whose answers are sizes, and no probabilities."""


def several(name: str) -> str:
    """Of kind ranking, the output of a head with a horizon above 1: which item stands at one of the next steps."""
    return f"{name}s"


def grouped(name: str) -> str:
    """Of a ranking with several right answers, what its evaluation says of the items' categories."""
    return f"{name}_categories"


def following(column: "NDArray[Any]", event: "Ints", end: "Ints", otherwise: int) -> "Ints":
    """What a flat column holds at the step after each position; `otherwise` where the sequence has ended."""
    import numpy as np

    there = event + 1 < end
    values = np.asarray(column[np.where(there, event + 1, event)]).astype(np.int64)
    return np.where(there, values, otherwise)


def steps_of(split: Any, store: "Store", action: str) -> "tuple[Ints, Ints]":
    """Where the steps of an action are in a split, ascending, and how many lie before each index, [steps + 1]; none
    where the store does not have the action. Kept as long as the split is.
    """
    import numpy as np

    code = store.actions.index(action) if action in store.actions else len(store.actions)
    kept = _STEPS.setdefault(split, {})
    if code not in kept:
        own = np.asarray(split.action) == code
        kept[code] = (np.flatnonzero(own), np.concatenate([[0], np.cumsum(own)]))
    return kept[code]


_STEPS: "WeakKeyDictionary[Any, dict[int, tuple[Ints, Ints]]]" = WeakKeyDictionary()


class Store(Protocol):
    """What targets may need to know of a packed store; its card says it, and a network's sizes do."""

    @property
    def known(self) -> int:
        """Item indexes from here on are unknown to the model."""

    @property
    def actions(self) -> tuple[str, ...]:
        """The names of the action codes."""

    @property
    def categories(self) -> int:
        """How many category codes there are."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What the results of a head are called where they are written; none given: by its name."""

    evidence: str = ""
    """The file of the evaluation with a row a question."""
    predictions: str = ""
    """The file of `clickflow score --all`."""
    answer: str = ""
    """The key in the JSON of `clickflow score`."""


@dataclass(frozen=True)
class Head:
    """A question, and all that the rooms need to know of it."""

    name: str
    """As in params.yaml, in files and in metrics."""
    unit: str
    """What one sequence is, of those that it asks about."""
    kind: Kind
    """Of answer."""
    question: str
    """One sentence for whoever runs the shop."""
    targets: Callable[[Any, "Ints", "Ints", Store], "Ints"]
    """`targets(split, event, end, store)`: the answer at each position: `event` is the step read last, as an index into
    the flat columns of `split`, `end` the index after the last step of its sequence; arrays of one shape, and so is the
    answer. Answers are item indexes of the store, or codes of classes; NOTHING where nothing is asked. Those of kind
    forecast are [..., steps ahead].
    """
    params: type
    """The dataclass of its params, below models.<model>.heads.<name>."""
    baselines: tuple[str, ...]
    """What it is held against where params.yaml does not say."""
    primary: str
    """The metric by which it is held against the champion where params.yaml does not say."""
    at_end: bool = False
    """Whether it also asks at the last step of a sequence."""
    all_targets: "Callable[[Any, Ints, Ints, Store], Ints] | None" = None
    """Of kind ranking, of a question with several right answers: asked as `targets`, all of them [..., most], NOTHING
    behind the last; each is a prediction. None: there is one.
    """
    of_purchases: bool = False
    """Whether its answer is of the purchases within a horizon, yes or no or how much: within a longer one it is another
    as BG/NBD says (`clickflow.models.estimators.further`).
    """
    needs: tuple[str, ...] = ()
    """Types of event that its unit's sequences must keep, as the section of the unit says, for there to be answers."""
    next_step: bool = False
    """Of kind ranking: the answer is the item of the very next step, of which what sessions hold beside each other
    (`associations`) speaks.
    """
    classes: Callable[[Store], tuple[str, ...]] | None = None
    """Of kind classes: the names of its classes; those of kind probability are `NO_OR_YES`."""
    lead: "Callable[[Any, Ints, Ints, Store], Ints] | None" = None
    """Of kind probability: asked as `targets`, how many steps later yes comes, NOTHING where it does not; None: that
    means nothing.
    """
    column: str = ""
    """Of kind forecast: the column of a step that is forecast; one of a unit whose sequences are read as of origins."""
    of_forecast: "Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]] | None" = None
    """Of a kind other than forecast: its answer [n] as a forecast tells it, from the values of as many steps just
    before [n, steps] and the forecast [n, steps, 4]; of kind probability how likely yes is. None: it does not.
    """
    floors: Mapping[str, float] = field(default_factory=dict)
    """The least its metrics may be, where params.yaml does not say."""
    beat_baselines: Mapping[str, Any] = field(default_factory=dict)
    """By metric, what follows where it is not shown to be better than its baselines, as in params.yaml."""
    calibration: Literal["hold", "warn"] = "hold"
    """Of kinds classes and probability, what follows where its calibration error is above `gate.max_calibration_error`
    and the model goes by another head; the head that it goes by holds it always.
    """
    truth: str | None = None
    """What of a simulated log's true process answers it: a name in `clickflow.evaluation.oracle`; None: nothing."""
    questions: Mapping[str, str] = field(default_factory=dict)
    """The question in other languages, by language."""
    means: Mapping[str, str] = field(default_factory=dict)
    """By language, a few words for yes, the amount, or what is ranked, as the report's first paragraph says it."""
    note: str = ""
    """What a reader of the report must know of the question besides, as a sentence."""
    written: Written = field(default_factory=Written)
    written_ahead: Written = field(default_factory=Written)
    """The same of the list for several next steps."""

    def asks(self, language: str) -> str:
        """The question in a language; in English where it is not said in that one."""
        return self.questions.get(language, self.question)

    def names(self, store: Store) -> tuple[str, ...]:
        """The names of its classes by code; none of a kind without."""
        if self.kind == "probability":
            return NO_OR_YES
        return self.classes(store) if self.classes else ()
