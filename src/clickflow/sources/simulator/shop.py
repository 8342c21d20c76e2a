"""The simulated shop: category tree, items, prices, related items, drifting popularity, seasons and campaigns.

Everything here follows from the settings and the seed alone, so that whoever reads the truth can build the same shop
again. All choices are drawn from tables whose probabilities are exact (powers of two, or a closed form).
"""

import zlib
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.params.simulator import Simulator

Ints = NDArray[np.int32]
Floats = NDArray[np.float64]

PRICE_CLASSES = 4
"""Customers' price classes: 0 looks for quality, 3 for bargains."""
TIERS = 3
"""Price tiers of the items of a category: 0 cheap, 2 dear."""
SIMILAR, COMPLEMENTS = 6, 4
"""Edges of an item in the graph of related items: of its own category first, of the complementary one then."""
PROMOTED = 8
"""Items of a campaign, and slots of a day's active campaigns: eight, so that three random bits choose evenly."""
PICKS = 4096
"""Slots of a table that chooses a category: probabilities are multiples of 1/4096."""
MAX_ORDER_CELLS = 4_000_000
"""Bound of epochs x items: where days x items is more, popularity changes less often than daily."""
MIN_GROUP = 12
"""A category with fewer items is not divided into price tiers."""

TREE = {
    "electronics": ("audio.headphone", "audio.speaker", "smartphone", "tablet", "camera", "clocks", "telephone"),
    "computers": ("notebook", "desktop", "peripherals.mouse", "peripherals.keyboard", "components.memory", "printer"),
    "appliances": ("kitchen.kettle", "kitchen.oven", "kitchen.coffee_machine", "vacuum", "iron", "washer"),
    "furniture": ("bedroom.bed", "bedroom.pillow", "living_room.sofa", "kitchen.table", "office.chair", "lamp"),
    "apparel": ("shoes.sneakers", "shoes.boots", "shirt", "jeans", "jacket", "dress", "scarf"),
    "sport": ("bicycle", "fitness.bench", "tent", "ski", "ball"),
    "kids": ("toys", "carriage", "dolls", "skates", "books"),
    "auto": ("tyres", "compressor", "camera", "radar", "oil"),
    "beauty": ("perfume", "care.face", "care.hair", "makeup"),
    "garden": ("mower", "grill", "pool", "tools.drill", "tools.saw"),
}


@dataclass(frozen=True)
class Shop:
    """What can be chosen. I items, C categories, E epochs (days, unless items are very many), K campaigns."""

    settings: Simulator
    seed: int
    epochs: int
    category: Ints
    """[I] category of an item; items of a category are contiguous."""
    tier: NDArray[np.int8]
    """[I]"""
    item_id: NDArray[np.int64]
    """[I] the number in the item's public id"""
    price: Floats
    """[I] and `price * (1 - discount)` while promoted"""
    discount: Floats
    brand: Ints
    categories: list[str]
    """[C] dotted paths"""
    group_start: Ints
    """[C * TIERS] first position of a group in `order`"""
    group_size: Ints
    order: Ints
    """[E, I] the items of each group, the most popular of that epoch first"""
    related: Ints
    """[I, SIMILAR + COMPLEMENTS]; never the item itself where there are two"""
    pick: NDArray[np.int16]
    """[E, PICKS] a category for each slot: global demand of that epoch, with its season"""
    taste_pick: NDArray[np.int16]
    """[PICKS] the same without season, for the customers' tastes"""
    campaign_first: Ints
    """[K] first and last epoch of a campaign; campaign 0 always runs"""
    campaign_last: Ints
    campaign_items: Ints
    """[K, PROMOTED]"""
    response: Floats
    """[K, PRICE_CLASSES] probability that an impression is answered by a click"""
    active: NDArray[np.int16]
    """[E, PROMOTED] campaigns of that epoch, each slot equally likely"""
    promoted: NDArray[np.bool_]
    """[E, I] on promotion: sold at a discount"""

    @property
    def items(self) -> int:
        """Number of items."""
        return len(self.category)

    @property
    def days(self) -> int:
        """Length of the log."""
        return self.settings.days

    def campaign_name(self, campaign: int) -> str:
        """The public name of a campaign."""
        return "always-on" if campaign == 0 else f"campaign-{campaign:03d}"

    def fingerprint(self) -> str:
        """A checksum of all that makes the shop: the truth on disk and the program must agree on it."""
        check = 0
        for table in (self.order, self.related, self.pick, self.active, self.response, self.price, self.item_id):
            check = zlib.crc32(np.ascontiguousarray(table).tobytes(), check)
        return f"{check:08x}"


def build(settings: Simulator, seed: int) -> Shop:
    """The shop of these settings. Memory: about 4 bytes x epochs x items, bounded by MAX_ORDER_CELLS."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, 1))))
    items = settings.items
    leaves = min(settings.categories, items, PICKS)
    epochs = max(1, min(settings.days, MAX_ORDER_CELLS // items))

    share = rng.permutation(1.0 / np.arange(1, leaves + 1) ** 0.7)
    sizes = _whole_parts(0.5 / leaves + 0.5 * share / share.sum(), items, at_least=1)
    category = np.repeat(np.arange(leaves, dtype=np.int32), sizes)
    price = np.round(np.exp(rng.normal(3.4, 0.9, leaves)[category] + rng.normal(0, 0.55, items)), 2).clip(0.5)
    tier, group_start, group_size = _tiers(price, sizes)

    base = rng.gumbel(size=items)
    order = _popularity(rng, base, category, tier, epochs, settings.days)
    related = _relations(rng, base, category, sizes)
    pick = np.stack([_slots(w) for w in _seasons(rng, share, epochs, settings.start, settings.days)])
    campaigns = _campaigns(rng, epochs, settings.days, order, group_start, group_size)

    return Shop(
        settings=settings,
        seed=seed,
        epochs=epochs,
        category=category,
        tier=tier,
        item_id=rng.permutation(items).astype(np.int64) + 10 ** max(6, len(str(items))),
        price=price,
        discount=np.round(rng.uniform(0.1, 0.4, items), 2),
        brand=(category * 7 + rng.integers(0, 12, items) ** 2 // 12).astype(np.int32),
        categories=category_paths(leaves),
        group_start=group_start,
        group_size=group_size,
        order=order,
        related=related,
        pick=pick,
        taste_pick=_slots(share),
        **campaigns,
    )


def category_paths(count: int) -> list[str]:
    """`count` distinct dotted paths, leaves of TREE taken in turns from its roots, numbered where they run out."""
    queues = {root: list(leaves) for root, leaves in TREE.items()}
    paths: list[str] = []
    rounds = 0
    while len(paths) < count:
        for root, leaves in queues.items():
            leaf = leaves[rounds % len(leaves)]
            lap = rounds // len(leaves)
            paths.append(f"{root}.{leaf}" + (f".line{lap + 1}" if lap else ""))
        rounds += 1
    return paths[:count]


def _whole_parts(weights: Floats, total: int, at_least: int = 0) -> NDArray[np.int64]:
    """Whole numbers in proportion to `weights` that sum to `total` (largest remainders)."""
    free = total - at_least * len(weights)
    exact = weights / weights.sum() * free
    parts = np.floor(exact).astype(np.int64)
    parts[np.argsort(parts - exact, kind="stable")[: free - parts.sum()]] += 1
    return np.asarray(parts + at_least)


def _slots(weights: Floats) -> NDArray[np.int16]:
    return np.repeat(np.arange(len(weights), dtype=np.int16), _whole_parts(weights, PICKS))


def _tiers(price: Floats, sizes: NDArray[np.int64]) -> tuple[NDArray[np.int8], Ints, Ints]:
    """Thirds of each category by price. A small category is one group, shared by all tiers (their items get tier 1)."""
    tier = np.ones(len(price), np.int8)
    start = np.zeros((len(sizes), TIERS), np.int32)
    size = np.zeros((len(sizes), TIERS), np.int32)
    ends = np.cumsum(sizes)
    for c, (first, last) in enumerate(zip(ends - sizes, ends, strict=True)):
        if last - first < MIN_GROUP:
            start[c], size[c] = first, last - first
            continue
        cuts = first + (last - first) * np.arange(TIERS + 1) // TIERS
        by_price = np.argsort(price[first:last], kind="stable")
        tier[first + by_price] = np.searchsorted(cuts[1:] - first, np.arange(last - first), side="right")
        start[c], size[c] = cuts[:-1], np.diff(cuts)
    return tier, start.ravel(), size.ravel()


def _popularity(
    rng: np.random.Generator, base: Floats, category: Ints, tier: NDArray[np.int8], epochs: int, days: int
) -> Ints:
    """[E, I] items by group and, within it, by the popularity of the epoch: a fixed part, and a wave of the item's own
    length and phase.
    """
    items = len(base)
    length, phase = rng.uniform(10, 60, items), rng.uniform(0, 2 * np.pi, items)
    group = category.astype(np.int64) * TIERS + tier
    group = group.astype(np.min_scalar_type(int(group.max())))  # numbers of 16 bits are sorted without comparing them
    order = np.empty((epochs, items), np.int32)
    for epoch in range(epochs):
        day = (epoch + 0.5) * days / epochs
        order[epoch] = np.lexsort((-base - 0.8 * np.sin(2 * np.pi * day / length + phase), group))
    return order


def _relations(rng: np.random.Generator, score: Floats, category: Ints, sizes: NDArray[np.int64]) -> Ints:
    """[I, SIMILAR + COMPLEMENTS]: neighbours in the own category near in popularity, and in a complementary one."""
    items, leaves = len(category), len(sizes)
    starts = np.cumsum(sizes) - sizes
    ranked = np.lexsort((-score, category)).astype(np.int64)
    rank = np.empty(items, np.int64)
    rank[ranked] = np.arange(items) - starts[category[ranked]]
    partner = (
        np.roll(rng.permutation(leaves), 1)[np.argsort(rng.permutation(leaves))] if leaves > 1 else np.zeros(1, int)
    )
    related = np.empty((items, SIMILAR + COMPLEMENTS), np.int32)
    for k in range(SIMILAR + COMPLEMENTS):
        other = category if k < SIMILAR else partner[category]
        n = sizes[other]
        near = rank * n // sizes[category] + np.round(rng.laplace(0, 1, items) * (2 + n / 8)).astype(np.int64)
        chosen = ranked[starts[other] + near % n]
        own = chosen == np.arange(items)
        chosen[own] = ranked[(starts[other] + (near + 1) % n)[own]]
        own = chosen == np.arange(items)  # the only item of its category
        chosen[own] = (chosen[own] + 1) % items
        related[:, k] = chosen
    return related


def _seasons(rng: np.random.Generator, share: Floats, epochs: int, start: date, days: int) -> list[Floats]:
    """Demand by category for each epoch: a yearly wave of its own for every category."""
    phase, swing = rng.uniform(0, 1, len(share)), rng.uniform(0.1, 0.7, len(share))
    first = start.timetuple().tm_yday
    year = [(first + (epoch + 0.5) * days / epochs) / 365.25 for epoch in range(epochs)]
    return [share * (1 + swing * np.sin(2 * np.pi * (y + phase))) for y in year]


def _campaigns(
    rng: np.random.Generator, epochs: int, days: int, order: Ints, group_start: Ints, group_size: Ints
) -> dict[str, Any]:
    """Campaign 0 runs always; another begins about every fourth day and runs for three to ten days."""
    count = 1 + max(1, min(400, days // 4))
    first = np.zeros(count, np.int32)
    last = np.full(count, epochs - 1, np.int32)
    begin = np.sort(rng.uniform(0, days, count - 1))
    first[1:] = begin * epochs / days
    last[1:] = np.minimum((begin + rng.uniform(3, 10, count - 1)) * epochs / days, epochs - 1)
    chosen = rng.choice(np.flatnonzero(group_size), count)
    depth = rng.random((count, PROMOTED))
    slot = group_start[chosen][:, None] + (depth * np.minimum(group_size[chosen], 24)[:, None]).astype(np.int32)
    campaign_items = order[first[:, None], slot]

    appeal = rng.uniform(0.04, 0.22, count)
    response = np.round(appeal[:, None] * np.linspace(0.6, 1.6, PRICE_CLASSES), 4)
    active = np.zeros((epochs, PROMOTED), np.int16)
    promoted = np.zeros((epochs, order.shape[1]), np.bool_)
    for epoch in range(epochs):
        running = np.flatnonzero((first <= epoch) & (epoch <= last))[-PROMOTED:]
        active[epoch] = np.resize(running, PROMOTED)
        promoted[epoch, campaign_items[running]] = True
    return {
        "campaign_first": first,
        "campaign_last": last,
        "campaign_items": campaign_items.astype(np.int32),
        "response": response,
        "active": active,
        "promoted": promoted,
    }
