"""What a window's distance from the training data is, and how much of it is noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import EVERY_FEATURE, split

from clickflow.evaluation import distributions
from clickflow.evaluation.distributions import Cells
from clickflow.evaluation.lengths import COARSE, FINE, names
from clickflow.monitoring import drift
from clickflow.sequences.store import PackedSplit

ITEMS = 40
SHARES = st.lists(st.floats(0.01, 1), min_size=6, max_size=6).map(lambda v: np.array(v) / sum(v))


def packed(sequences: int, seed: int) -> PackedSplit:
    """Sessions in memory."""
    from clickflow.sequences.features import derived

    arrays = split(sequences, seed)
    time = arrays["time"].astype(np.int64)
    return PackedSplit(**arrays, **derived({"time": time}, arrays["offsets"]))


def cells_of(train: PackedSplit) -> Cells:
    counts = np.bincount(train.item, minlength=ITEMS + 2)[2:]
    order = np.argsort(-counts, kind="stable")
    group = np.full(ITEMS + 2, -1)
    group[2 + order] = distributions.groups(counts[order], 10)[2:]
    return Cells(("view", "cart", "favourite", "remove", "purchase"), group, distributions.price_edges(train.price))


def counted(cells: Cells, part: PackedSplit, chosen: np.ndarray | None = None) -> np.ndarray:
    own = np.arange(ITEMS + 2)
    return cells.counts(part, np.arange(part.n_sequences) if chosen is None else chosen, own, np.arange(5))


@given(SHARES, SHARES, SHARES)
def test_it_is_a_distance(one, other, third):
    between = [float(drift.distance("hour", *pair)) for pair in ((one, other), (other, third), (one, third))]
    assert float(drift.distance("hour", one, one)) == 0
    assert between[0] == pytest.approx(float(drift.distance("hour", other, one)))
    assert 0 <= between[2] <= between[0] + between[1] + 1e-12
    assert between[2] <= 1


def test_nothing_in_common_is_one_and_only_a_rise_of_unknown_items_counts():
    assert drift.distance("price", np.array([1.0, 0, 0]), np.array([0, 0.5, 0.5])) == 1
    few, many = np.array([0.9, 0.1]), np.array([0.6, 0.4])
    assert drift.distance("unknown_items", many, few) == pytest.approx(0.3)
    assert drift.distance("unknown_items", few, many) == 0


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=300))
@settings(max_examples=50)
def test_groups_share_the_steps_evenly(counts):
    ordered = np.sort(counts)[::-1]
    group = distributions.groups(ordered, 10)
    assert group[:2].tolist() == [-1, -1]
    assert (np.diff(group[2:]) >= 0).all()
    assert set(group[2:]) == set(range(group.max() + 1)), "no group is empty"
    mass = np.bincount(group[2:], weights=ordered)
    last = np.array([ordered[group[2:] == number][-1] for number in range(group.max() + 1)])
    # what a group has beyond its share is less than its last item
    assert (mass - last < ordered.sum() / 10 + 1e-6).all()


def test_cells_are_counts_of_steps_and_sequences():
    part = packed(30, 0)
    cells = cells_of(part)
    counts = counted(cells, part)
    for number in range(part.n_sequences):
        steps = slice(int(part.offsets[number]), int(part.offsets[number + 1]))
        length = steps.stop - steps.start
        of = {name: counts[number, place] for name, place in cells.places.items()}
        assert of["event_types"].tolist() == np.bincount(part.action[steps], minlength=6).tolist()
        assert of["hour"].tolist() == np.bincount(part.hour[steps], minlength=24).tolist()
        assert of["session_length"].sum() == 1
        assert of["session_length"][np.searchsorted(FINE, length, "right") - 1] == 1
        assert of["price"][-1] == np.isnan(part.price[steps]).sum()
        assert of["unknown_items"].tolist() == [length, 0]
        assert of["popularity"].sum() == length
    assert distributions.total(cells, part, np.arange(ITEMS + 2), np.arange(5)).tolist() == counts.sum(axis=0).tolist()
    assert {name: len(each) for name, each in cells.names.items()} == cells.sizes
    assert len(EVERY_FEATURE) > len(cells.sizes), "the cells are a choice among what a step has"


def test_windows_in_which_nothing_moved_breach_as_rarely_as_said():
    """Bounds of 0: what is left is noise; five dimensions share one chance in twenty."""
    train = packed(2000, 1)
    cells = cells_of(train)
    everything = counted(cells, train)
    reference = cells.shares(everything.sum(axis=0))
    draw = np.random.default_rng(0)
    alarms = 0
    for trial in range(100):
        window = everything[draw.integers(0, len(everything), 150)]
        # the reference is the population itself here, so that its own error is none
        distances = drift.distances(cells, window, reference, sequences=10**9, alpha=0.05 / 6, seed=trial)
        alarms += any(each.value > each.noise for each in distances.values())
    assert alarms <= 12, "5 are expected; more than 12 of 100 happen once in a thousand times"


def test_larger_windows_have_less_noise_and_a_small_reference_adds_to_it():
    train = packed(2000, 2)
    cells = cells_of(train)
    everything = counted(cells, train)
    reference = cells.shares(everything.sum(axis=0))

    def noise(sequences: int, of_reference: int) -> dict[str, float]:
        distances = drift.distances(
            cells, everything[:sequences], reference, sequences=of_reference, alpha=0.01, seed=0
        )
        return {name: each.noise for name, each in distances.items()}

    small, large, unsure = noise(100, 10**6), noise(1600, 10**6), noise(100, 100)
    for name in small:
        if name != "unknown_items":  # there are none, and so no doubt about them
            assert large[name] < 0.5 * small[name]
            assert unsure[name] == pytest.approx(small[name] * 2**0.5, rel=1e-3)


def test_the_further_the_data_moves_the_larger_the_distance():
    train = packed(800, 3)
    cells = cells_of(train)
    before = counted(cells, train)
    reference = cells.shares(before.sum(axis=0))
    seen = []
    for share in (0.0, 0.25, 0.5, 1.0):
        action = np.array(train.action)
        moved = np.random.default_rng(0).random(len(action)) < share
        action[moved] = 3
        now = counted(cells, train.with_columns(action=action))
        distances = drift.distances(cells, now, reference, sequences=800, alpha=0.01, seed=0)
        seen.append(distances["event_types"].value)
        assert distances["hour"].value == pytest.approx(0)
    assert seen == sorted(seen)
    assert seen[0] == pytest.approx(0)
    assert seen[-1] == pytest.approx(1)


def test_lengths_of_slices_and_of_drift_are_of_one_kind():
    assert set(COARSE) <= set(FINE), "a slice is a sum of classes that drift is counted in"
    assert names(COARSE) == ["2", "3-4", "5-9", "10-19", "20+"]
    assert names(FINE)[3:6] == ["5-6", "7-9", "10-14"]
