"""Many shoppers at once, step by step: their actions and hidden states; items are chosen later (`choice.py`)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickflow.sources.simulator.shopper import EXIT, IMPRESSION, OUTCOMES, Floats, Process

LONGEST_SESSION = 400
"""Steps; a session that would be longer ends there (fewer than one in a million does)."""


@dataclass(frozen=True)
class Walks:
    """The steps of S sessions, longest session first, one step of all sessions after the other: [all first steps, all
    second steps, ...]. Step t of session i stands at `offset[t] + i`; `offset[t + 1] - offset[t]` sessions are so long.
    """

    offset: NDArray[np.int64]
    chosen: NDArray[np.int64]
    """[S] which of the given sessions stands at place i; some may have been left out at the end"""
    action: NDArray[np.int8]
    state: NDArray[np.int32]
    """after the step"""
    campaign: NDArray[np.int16]
    """of impressions and clicks, else -1"""


def places(walks: Walks) -> NDArray[np.int32]:
    """[steps] the place of the session of each step."""
    return np.concatenate([np.arange(n, dtype=np.int32) for n in np.diff(walks.offset)])


def walk(
    tables: Process,
    random: np.random.Generator,
    start: NDArray[np.int32],
    price_class: NDArray[np.int8],
    active: NDArray[np.int16],
    response: Floats,
    at_most: int,
) -> Walks:
    """Actions and hidden states of sessions.

    `start` [S] first states, `active` [S, 8] each session's running campaigns, `response` [K, classes]. Sessions from
    the end are left out as soon as the others hold `at_most` events (the last one kept may go beyond).
    """
    alive = np.arange(len(start), dtype=np.int32)
    now, last, shown = start, np.zeros(len(start), np.int32), np.full(len(start), -1, np.int16)
    steps: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int16]]] = []
    length = np.zeros(len(start), np.int32)
    raw = random.bit_generator
    for step in range(LONGEST_SESSION):
        low, high = np.asarray(raw.random_raw(len(alive))).view(np.uint32).reshape(-1, 2).T
        slot = now * OUTCOMES + (high >> np.uint32(26)).view(np.int32)
        packed = tables.outcome[2 * slot + (low >= tables.threshold[slot])]
        campaign = np.full(len(alive), -1, np.int16)
        if step:
            shoppers = (last == IMPRESSION).nonzero()[0]
            hit = shoppers[random.random(len(shoppers)) < response[shown[shoppers], price_class[alive[shoppers]]]]
            packed[hit] = tables.clicked[now[hit]]
            campaign[hit] = shown[hit]
        last = packed & 15
        impressions = (last == IMPRESSION).nonzero()[0]
        slots = np.asarray(raw.random_raw(len(impressions)) >> np.uint64(61)).astype(np.intp)
        campaign[impressions] = active[alive[impressions], slots]
        on = (last != EXIT).nonzero()[0]
        if len(on) < len(alive):
            length[alive] = step
            alive, packed, last, campaign = alive[on], packed[on], last[on], campaign[on]
        length[alive] = step + 1
        if not len(alive):
            break
        steps.append((alive, packed, campaign))
        now, shown = packed >> 4, campaign
    return _pack(steps, length, at_most)


def _pack(
    steps: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int16]]], length: NDArray[np.int32], at_most: int
) -> Walks:
    kept = min(len(length), int(np.searchsorted(np.cumsum(length), at_most)) + 1)
    chosen = np.argsort(-length[:kept], kind="stable")
    place = np.full(len(length), -1, np.int64)
    place[chosen] = np.arange(kept)
    counts = kept - np.searchsorted(np.sort(length[:kept]), np.arange(len(steps)), side="right")
    offset = np.concatenate(([0], np.cumsum(counts)))
    packed_all, campaign_all = np.empty(offset[-1], np.int32), np.empty(offset[-1], np.int16)
    for t, (alive, packed, campaign) in enumerate(steps):
        inside = slice(0, int(np.searchsorted(alive, kept)))
        to = offset[t] + place[alive[inside]]
        packed_all[to], campaign_all[to] = packed[inside], campaign[inside]
    return Walks(offset, chosen, (packed_all & 15).astype(np.int8), packed_all >> 4, campaign_all)
