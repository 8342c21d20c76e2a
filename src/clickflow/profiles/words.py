"""What a shop manager reads of a segment: a name, and what differs most from all customers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clickflow.profiles.embedding import Customers, Embedding, Ints

Standing = Mapping[str, float]

NAMES: tuple[tuple[str, Mapping[str, str], Callable[[Standing], bool]], ...] = (
    (
        "best",
        {"en": "Best customers", "zh": "核心顾客"},
        lambda own: own["purchases"] >= 0.75 and own["amount"] >= 0.75 and own["recency_days"] <= 0.5,
    ),
    (
        "regulars",
        {"en": "Regulars", "zh": "常客"},
        lambda own: own["purchases"] >= 0.55 and own["recency_days"] <= 0.5,
    ),
    (
        "newcomers",
        {"en": "Newcomers", "zh": "新客"},
        lambda own: own["tenure_days"] <= 0.35 and own["recency_days"] <= 0.6,
    ),
    (
        "slipping",
        {"en": "Good customers slipping away", "zh": "正在流失的好顾客"},
        lambda own: own["purchases"] >= 0.5 and own["recency_days"] > 0.5,
    ),
    (
        "once",
        {"en": "Came once, long ago", "zh": "很久前只买过一次"},
        lambda own: own["bought"] <= 1 and own["recency_days"] > 0.6,
    ),
    ("quiet", {"en": "Gone quiet", "zh": "久未光临"}, lambda own: own["recency_days"] > 0.6),
    ("occasional", {"en": "Occasional buyers", "zh": "偶尔购买"}, lambda _: True),
)
"""Key, name by language, and whether it fits; the first that does. Ranks are among all customers, 0 to 1."""
EMPTY = {"en": "Nobody", "zh": "无人"}
ORDERS = (
    {"en": "large orders", "zh": "大单"},
    {"en": "mid-size orders", "zh": "中单"},
    {"en": "small orders", "zh": "小单"},
)
"""What tells segments of one name apart: the largest orders among them, those between, the smallest."""
JOIN = {"en": ", ", "zh": "·"}


def names(standings: Sequence[Standing]) -> list[tuple[str, dict[str, str]]]:
    """Key and name by language of each segment, all different."""
    base = [
        next((key, words) for key, words, fits in NAMES if fits(own)) if "purchases" in own else ("nobody", EMPTY)
        for own in standings
    ]
    named = []
    for k, (key, words) in enumerate(base):
        same = [j for j, (other, _) in enumerate(base) if other == key]
        if len(same) == 1:
            named.append((key, dict(words)))
            continue
        place = sorted(same, key=lambda j: (-standings[j].get("amount_mean", 0.0), j)).index(k)
        size = 0 if place == 0 else 2 if place == len(same) - 1 else 1
        number = f" {place}" if size == 1 and len(same) > 3 else ""
        said = {tongue: f"{text}{JOIN[tongue]}{ORDERS[size][tongue]}{number}" for tongue, text in words.items()}
        named.append((f"{key}_{place + 1}", said))
    return named


@dataclass(frozen=True)
class Trait:
    """What differs: the middle customer of the segment, and of all."""

    feature: str
    own: float
    all: float
    distance: float
    """Deviations of the mean of the segment from the mean of all."""
    words: Mapping[str, str]


SAID: Mapping[str, tuple[str, str, str]] = {
    "recency_days": ("days since the last purchase: {}", "距上次购买天数：{}", ".0f"),
    "tenure_days": ("days since the first purchase: {}", "首购至今天数：{}", ".0f"),
    "purchases": ("purchases: {}", "购买次数：{}", ".0f"),
    "purchases_90d": ("purchases in 90 days: {}", "90 天内购买次数：{}", ".0f"),
    "amount": ("spent in all: {}", "累计消费：{}", ",.0f"),
    "amount_mean": ("value of a purchase: {}", "每次消费：{}", ",.2f"),
    "gap_median_days": ("days between purchases: {}", "购买间隔天数：{}", ".0f"),
    "lines_mean": ("lines of a purchase: {}", "每次商品行数：{}", ".1f"),
    "price_mean": ("price of a line: {}", "每行单价：{}", ",.2f"),
    "rebought_share": ("lines that were bought before: {}", "重复购买的商品行：{}", ".0%"),
    "returned_share": ("value returned: {}", "退回金额占比：{}", ".0%"),
    "weekend_share": ("purchases at weekends: {}", "周末购买占比：{}", ".0%"),
    "views_30d": ("views in 30 days: {}", "30 天内浏览次数：{}", ".0f"),
    "carts_30d": ("carts in 30 days: {}", "30 天内加购次数：{}", ".0f"),
}
"""By feature: words in English and Chinese, and how a value is written."""
LEAST, MOST = 0.3, 4
"""A trait is at least so many deviations from all; and so many are told."""


def traits(customers: Customers, embedding: Embedding, segment: Ints, count: int) -> list[list[Trait]]:
    """Of each segment the traits, the farthest first; one that reads the same as for all is none."""
    standing = embedding.standing(customers)
    middle = standing.mean(axis=0)
    of_segments = []
    for each in range(count):
        rows = np.flatnonzero(segment == each)
        own_traits: list[Trait] = []
        away = standing[rows].mean(axis=0) - middle if len(rows) else np.zeros(len(middle))
        for k in np.argsort(-np.abs(away), kind="stable").tolist():
            name = embedding.behaviour[k]
            if abs(away[k]) < LEAST or name not in SAID or len(own_traits) == MOST:
                continue
            own, every = (_middle(customers.column(name)[which]) for which in (rows, slice(None)))
            english, chinese, form = SAID[name]
            texts = [format(value, form) for value in (own, every)]
            if texts[0] == texts[1] or np.isnan(own):
                continue
            words = {
                "en": f"{english.format(texts[0])} (of all customers: {texts[1]})",
                "zh": f"{chinese.format(texts[0])}（全部顾客：{texts[1]}）",
            }
            own_traits.append(Trait(name, own, every, float(away[k]), words))
        of_segments.append(own_traits)
    return of_segments


def _middle(values: "np.typing.NDArray[np.float64]") -> float:
    there = values[~np.isnan(values)]
    return float(np.median(there)) if len(there) else float("nan")
