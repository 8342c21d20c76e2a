"""The simulated process as a stream of blocks in time order, each with random numbers of its own.

Blocks are of equal expected size and follow each other in time. Sessions that run on when a block ends leave their
later events to the next one: memory does not grow with the log.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.sources.simulator import choice, crowd, shopper, walks
from clickflow.sources.simulator.raw_log import Block, OpenSessions
from clickflow.sources.simulator.rhythm import Clock
from clickflow.sources.simulator.shop import Shop
from clickflow.sources.simulator.truth_log import TruthLog

BLOCK_EVENTS = 200_000
"""Few enough for the processor's cache, enough that the calls of numpy do not count."""
GUEST_NUMBERS = 1 << 40
"""Guests' traits are those of numbers from here on: one for every session."""
FIRST_GUESS = 8.0
"""Events of a session on average, until some are made."""


@dataclass(frozen=True)
class Batch:
    """Events and the sessions they belong to."""

    block: Block
    sessions: OpenSessions


class Stream:
    """Makes the events of a shop; hands every session to `truths` as it begins."""

    def __init__(self, shop: Shop, tables: shopper.Process, seed: int, truths: TruthLog) -> None:
        self.shop, self.tables, self.seed, self.truths = shop, tables, seed, truths
        self.clock = Clock(shop.settings.start, shop.days)
        self.events = self.sessions = 0

    def blocks(self) -> Iterator[Batch]:
        """All events in time order (microseconds since 1970); at least as many as the settings ask for."""
        target = self.shop.settings.events
        count = ceil(target / BLOCK_EVENTS)
        midnight = datetime.combine(self.shop.settings.start, datetime.min.time(), UTC)
        epoch_start = int(midnight.timestamp()) * 1_000_000
        waiting: list[Batch] = []
        for k in range(count - 1):
            random = self._random(k)
            missing = ceil(target * (k + 1) / count) - self.events
            waiting.append(self._begin(random, k / count, (k + 1) / count, ceil(missing / self._mean())))
            now, later = _due(_join(waiting), int(self.clock.time(np.array((k + 1) / count))))
            yield replace(now, block=replace(now.block, time=now.block.time + epoch_start))
            waiting = [later]
        random = self._random(count - 1)
        while self.events < target:
            missing = target - self.events
            wanted = 4 + ceil(1.03 * missing / self._mean())
            waiting.append(self._begin(random, 1 - 1 / count, 1.0, wanted, at_most=missing))
        now, _ = _due(_join(waiting), np.iinfo(np.int64).max)
        yield replace(now, block=replace(now.block, time=now.block.time + epoch_start))

    def _random(self, block: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.seed, 2, block))))

    def _mean(self) -> float:
        return self.events / self.sessions if self.sessions else FIRST_GUESS

    def _begin(self, random: np.random.Generator, low: float, high: float, count: int, at_most: int = 1 << 60) -> Batch:
        """`count` sessions that begin between two quantiles of the log; fewer if the first of them hold `at_most`
        events. The events are in no order.
        """
        shop, number = self.shop, self.sessions
        start = self.clock.time(low + (high - low) * random.random(count))
        user, kind = crowd.who(shop, random, start)
        price_class, tastes = crowd.appearance(shop, user, kind, GUEST_NUMBERS + number + np.arange(count))
        epoch = np.minimum(start * shop.epochs // (shop.days * crowd.DAY), shop.epochs - 1).astype(np.int32)

        first = shopper.start_state(kind, price_class)
        steps = walks.walk(self.tables, random, first, price_class, shop.active[epoch], shop.response, at_most)
        kept = np.sort(steps.chosen)
        opened = OpenSessions(number + np.arange(len(kept)), user[kept])
        self.truths.sessions(opened, kind[kept], price_class[kept], epoch[kept], tastes[kept])

        of = steps.chosen
        about = choice.Sessions(start[of], epoch[of], price_class[of], tastes[of])
        chosen = choice.choose(shop, steps, about, random)
        block = Block(
            time=chosen.time,
            session=of.astype(np.int32)[chosen.session],
            action=steps.action,
            item=chosen.item,
            reduced=shop.promoted.ravel()[about.epoch[chosen.session].astype(np.int64) * shop.items + chosen.item],
            focus=chosen.focus,
            quantity=chosen.quantity,
            campaign=steps.campaign,
            current=chosen.current,
            state=steps.state,
        )
        self.events += len(block.time)
        self.sessions += len(kept)
        return Batch(block, opened)


def _columns(block: Block) -> dict[str, NDArray[Any]]:
    return {field.name: getattr(block, field.name) for field in fields(block)}


def _join(parts: list[Batch]) -> Batch:
    if len(parts) == 1:
        return parts[0]
    shift = np.cumsum([0] + [len(part.sessions.number) for part in parts])
    moved = [replace(p.block, session=p.block.session + np.int32(s)) for p, s in zip(parts, shift, strict=False)]
    columns = {name: np.concatenate([getattr(block, name) for block in moved]) for name in _columns(moved[0])}
    sessions = OpenSessions(
        np.concatenate([p.sessions.number for p in parts]), np.concatenate([p.sessions.user for p in parts])
    )
    return Batch(Block(**columns), sessions)


def _due(all_events: Batch, end: int) -> tuple[Batch, Batch]:
    """What lies before `end`, in time order, and the rest with its sessions alone."""
    block, sessions = all_events.block, all_events.sessions
    order = _time_order(block.time)
    cut = int(np.searchsorted(block.time[order], end))
    columns = _columns(block)
    now = Block(**{name: column.take(order[:cut]) for name, column in columns.items()})
    later = {name: column.take(order[cut:]) for name, column in columns.items()}
    running, later["session"] = np.unique(later["session"], return_inverse=True)
    later["session"] = later["session"].astype(np.int32)
    left = OpenSessions(sessions.number[running], sessions.user[running])
    return Batch(now, sessions), Batch(Block(**later), left)


def _time_order(time: NDArray[np.int64]) -> NDArray[np.int64]:
    """A stable order by time: times and places packed into one number sort several times faster than an argsort."""
    if not len(time):
        return np.empty(0, np.int64)
    low, bits = int(time.min()), len(time).bit_length()
    if (int(time.max()) - low).bit_length() + bits > 63:
        return np.argsort(time, kind="stable")
    return np.sort((time - low) << bits | np.arange(len(time))) & ((1 << bits) - 1)
