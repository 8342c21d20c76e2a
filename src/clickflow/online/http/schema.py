"""What is asked and answered over HTTP: the one schema, of which openapi.json and the reference page are made.

A field that the schema does not name is an error. Times are microseconds since 1970 UTC, or RFC 3339 with a zone; a
number that is none of microseconds (seconds, milliseconds) is an error.
"""

import math
from datetime import UTC, datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from clickflow.online.history import Step as HistoryStep
from clickflow.online.ranking import Fallback, Reason

CENTURY_END = 4_102_444_800_000_000
"""2100-01-01, microseconds since 1970: no event is later."""
FIRST_MICROS = 100_000_000_000_000
"""March 1973. A smaller number is a time in seconds or milliseconds, and would pass for a day of 1970."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Name = Annotated[str, Meta(min_length=1, max_length=256)]
Items = Annotated[list[Name], Meta(max_length=10_000)]
Micros = Annotated[int, Meta(ge=FIRST_MICROS, le=CENTURY_END)]
Moment = Micros | Annotated[datetime, Meta(tz=True)]
Amount = Annotated[float, Meta(ge=0, le=1e12)]
Who = Literal["customer", "session"]


def micros(moment: int | datetime) -> int:
    """Microseconds since 1970 UTC. Raises ValueError before 1970 and after 2100."""
    if isinstance(moment, int):
        return moment
    apart = moment - EPOCH
    value = (apart.days * 86_400 + apart.seconds) * 1_000_000 + apart.microseconds
    if not 0 <= value <= CENTURY_END:
        raise ValueError("a time is from 1970 to 2100")
    return value


class Step(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One thing that a visitor did. `action`: in the shop's words, as ingest reads them (`source.event_types`); where
    not given, what that says of rows without a type, else view. `category` and `price`: where not given, those that the
    item had in training, if the model knows it; null: it had none.
    """

    item: Name
    action: Annotated[str, Meta(min_length=1, max_length=64)] | UnsetType = UNSET
    time: Moment | None = None
    category: Name | UnsetType | None = UNSET
    price: Amount | UnsetType | None = UNSET
    quantity: Annotated[float, Meta(ge=0, le=1e9)] | None = None

    def step(self, action: str) -> HistoryStep:
        """As the engine reads it. Raises ValueError where the time is out of bounds."""
        time = None if self.time is None else micros(self.time)
        category = "" if self.category is None else None if self.category is UNSET else self.category
        price = math.nan if self.price is None else None if self.price is UNSET else self.price
        return HistoryStep(self.item, action, time, category, price, self.quantity)


class Question(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Who is asked about: by a history, the oldest step first, or by the session or customer of earlier events; by
    neither, somebody of whom nothing is known.
    """

    model: Name | None = None
    """None: the first of `serve.models`, else of params.yaml, that answers and has such an answer."""
    history: Annotated[list[Step], Meta(max_length=100_000)] | None = None
    session: Name | None = None
    customer: Name | None = None
    now: Moment | None = None
    """As of when; None: of a history's last step, and where no step has a time, or none is given, of now."""


class Pin(Struct, forbid_unknown_fields=True):
    """An item that stands at this place (1: the first) whatever the model says of it, known to the model or not."""

    item: Name
    place: Annotated[int, Meta(ge=1, le=10_000)]


class Boost(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """By what the score of some items is multiplied where they are put in order; below 1 they are held back. It names
    items, categories or brands, one of these.
    """

    factor: Annotated[float, Meta(ge=0.001, le=1000)]
    items: Items | None = None
    categories: Items | None = None
    brands: Items | None = None


class Recommend(Question, kw_only=True):
    """Which items next, under rules of the shop. Pins go before all other rules, filters before boosts, these before
    `per_category` and `diversity`, which count pinned items.
    """

    k: Annotated[int, Meta(ge=1, le=10_000)] = 20
    exclude: Items = []
    only: Items | None = None
    exclude_seen: bool = False
    categories: Items | None = None
    """Of items, as the log writes them; None: all."""
    price_from: Amount | None = None
    price_to: Amount | None = None
    per_category: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    """At most so many of one category."""
    diversity: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Of maximal marginal relevance: 0 by score alone, 1 as unlike each other as can be."""
    pins: Annotated[list[Pin], Meta(max_length=1000)] = []
    boosts: Annotated[list[Boost], Meta(max_length=100)] = []


class Score(Question, kw_only=True):
    """How good these items are, for who is asked about."""

    items: Annotated[list[Name], Meta(min_length=1, max_length=10_000)]


class Predict(Question, kw_only=True):
    """All that a model says of who is asked about."""

    outputs: Annotated[list[Name], Meta(max_length=100)] | None = None
    """None: all."""
    k: Annotated[int, Meta(ge=1, le=1000)] = 10
    """Items of a ranking, and categories."""


class Events(Struct, forbid_unknown_fields=True, kw_only=True):
    """What a session or customer did, the oldest first; without a time: now. `name`: of these events, so that those
    that are sent twice (after a 503, say) count once.
    """

    session: Name | None = None
    customer: Name | None = None
    name: Name | None = None
    events: Annotated[list[Step], Meta(min_length=1, max_length=10_000)]


class RecommendBatch(Struct, forbid_unknown_fields=True):
    """Several at once, answered in this order."""

    questions: Annotated[list[Recommend], Meta(min_length=1, max_length=10_000)]


class PredictBatch(Struct, forbid_unknown_fields=True):
    """Several at once, answered in this order."""

    questions: Annotated[list[Predict], Meta(min_length=1, max_length=10_000)]


class ScoreBatch(Struct, forbid_unknown_fields=True):
    """Several at once, answered in this order."""

    questions: Annotated[list[Score], Meta(min_length=1, max_length=10_000)]


class Item(Struct, omit_defaults=True):
    """An item with its score (null: it is pinned, and the model does not know it), and what the vocabulary of the model
    says of it. `pinned`: true where it stands where the question put it, and not by its score; `boost`: what the
    factors of the question come to, by which it was put in order and which its score has not.
    """

    item: str
    score: float | None
    name: str | UnsetType = UNSET
    brand: str | UnsetType = UNSET
    category: str | UnsetType = UNSET
    price: float | UnsetType = UNSET
    pinned: bool | UnsetType = UNSET
    boost: float | UnsetType = UNSET


class Unknown(Struct):
    """What a question names and the model does not know."""

    where: Literal[
        "history",
        "actions",
        "exclude",
        "only",
        "categories",
        "items",
        "pins",
        "boosted_items",
        "boosted_categories",
        "boosted_brands",
    ]
    """`history`: items of it; `actions`: types of its events, which are not read; `pins`: items that are shown all the
    same; else the field of the question.
    """
    count: int
    some: list[str]
    """The first of them, ten at most; none of the steps of a session or customer that is named, where the key has not
    the scope people.
    """


class Ranking(Struct):
    """Items, the best first. `fallback`: null where the model ranked them by the history; else `category` (the most
    popular at this hour of the categories in it, then others), `popularity_by_hour` (UTC, of training), or `popularity`
    (of all hours, where the model has none). `reason`: of the fallback: there are no steps, or none that the model
    reads, it knows no item of them, or it has no vectors of items.
    """

    model: str
    version: int
    items: list[Item]
    fallback: Fallback | None = None
    reason: Reason | None = None
    unknown: list[Unknown] | UnsetType = UNSET
    """What was passed over (but for `pins`); not there where nothing was."""
    approximate: bool | UnsetType = UNSET
    """True where an index found the items: some of the best may be missing, scores are near; see `/v1/models`."""


class Scores(Struct):
    """Of items in the order in which they were given; null: the model does not know it. The rest as of a ranking."""

    model: str
    version: int
    scores: list[float | None]
    fallback: Fallback | None = None
    reason: Reason | None = None
    unknown: list[Unknown] | UnsetType = UNSET
    approximate: bool | UnsetType = UNSET


class ItemsAnswer(Struct, tag_field="kind", tag="ranking"):
    """The likeliest items; scores are probabilities. `fallback`, `reason`, `approximate`: as of a ranking."""

    items: list[Item]
    fallback: Fallback | None = None
    reason: Reason | None = None
    approximate: bool | UnsetType = UNSET


class Category(Struct):
    """A category with its probability."""

    category: str
    probability: float


class CategoriesAnswer(Struct, tag_field="kind", tag="categories"):
    """Of a ranking with several right items, the likeliest of their categories: each as likely as its items together.
    Not there where a fallback stands in for the items.
    """

    categories: list[Category]


class ClassesAnswer(Struct, tag_field="kind", tag="classes"):
    """The probability of each class."""

    classes: dict[str, float]


class ProbabilityAnswer(Struct, tag_field="kind", tag="probability"):
    """How likely yes is."""

    probability: float


class AmountAnswer(Struct, tag_field="kind", tag="amount"):
    """The expected value and quantiles."""

    expected: float
    quantile_10: float
    quantile_50: float
    quantile_90: float


class ForecastAnswer(Struct, tag_field="kind", tag="forecast"):
    """An amount for each step ahead, the next one first."""

    steps: list[AmountAnswer]


Answer = ItemsAnswer | CategoriesAnswer | ClassesAnswer | ProbabilityAnswer | AmountAnswer | ForecastAnswer


class Prediction(Struct):
    """Answers by output of the model. `fallback`: `no_history` where the model reads nothing of who is asked about:
    then there are rankings alone, each with its own fallback. `unplanned`: what a forecast learned of plans
    (promotions, prices) and a question has not: its days ahead are as usual; `/v1/forecasts` reads the store's plan.
    """

    model: str
    version: int
    answers: dict[str, Answer]
    fallback: Literal["no_history"] | None = None
    unknown: list[Unknown] | UnsetType = UNSET
    unplanned: list[str] | UnsetType = UNSET


class Rankings(Struct):
    """In the order of the questions."""

    answers: list[Ranking]


class Predictions(Struct):
    """In the order of the questions."""

    answers: list[Prediction]


class ScoreLists(Struct):
    """In the order of the questions."""

    answers: list[Scores]


class Kept(Struct):
    """How many events were kept, and how many steps of the session or customer there are now. `ignored`: so many were
    of types that `source.event_types` leaves out; `later`: so many are of a time that has not come yet, by the clock of
    the server, and are read from then on; `unknown`: words that are no type, ten at most, of events that are kept and
    that no model reads; `repeated`: of whom events of this `name` were kept before, and these were not.
    """

    kept: int
    steps: int
    ignored: int | UnsetType = UNSET
    later: int | UnsetType = UNSET
    unknown: list[str] | UnsetType = UNSET
    repeated: list[Who] | UnsetType = UNSET


class Output(Struct):
    """What a model answers."""

    name: str
    kind: Literal["ranking", "categories", "classes", "probability", "amount", "forecast"]
    question: str


class Index(Struct):
    """An approximate index of items, as it was measured on so many queries when the model was loaded: the share that it
    found of the best 20; how far off a probability is, relatively, 95 of 100 times at most; and that it read so many of
    its lists. `answers`: whether it does; false: it found too few, and all items are scored.
    """

    answers: bool
    queries: int
    recall: float
    probability_error: float
    lists: int
    read: int


class Model(Struct):
    """A model that answers: the version, what one history is, and its outputs."""

    model: str
    version: int
    unit: str
    items: int
    outputs: list[Output]
    index: Index | UnsetType = UNSET
    """Not there where none was asked for, or made: all items are scored."""


class Models(Struct):
    """All that answer, and what is wrong with others."""

    models: list[Model]
    wrong: dict[str, str]


class Health(Struct):
    """`status`: ok, or degraded: it answers, and not all is well; `wrong`: what, by model or part; `next`: what to do,
    by the same names.
    """

    status: Literal["ok", "degraded", "not ready"]
    wrong: dict[str, str]
    versions: dict[str, int]
    next: dict[str, str] = {}


class Problem(Struct, omit_defaults=True):
    """What went wrong (RFC 9457): `detail` says what, `next` what to do."""

    type: str
    title: str
    status: int
    detail: str
    next: str = ""
    where: str = ""
    """Of a body: the place of the fault in it, as a JSON path."""
    request: str = ""
    """The id that the log has of this request."""
