"""The country and device of people: theirs for all sequences, in no id's company, and told apart in evaluations."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from sequences_reference import MONDAY, event, settings, write_events

from clickflow.evaluation import customers, slices
from clickflow.params.sequences import CustomerUnit
from clickflow.sequences import prepare

UNITS = ("session", "customer")


def log(*, said: bool) -> list[dict[str, Any]]:
    """Forty days of twenty people, of whom one in five never says a country, and all use two devices."""
    random, rows = np.random.default_rng(0), []
    for day in range(40):
        for user in range(20):
            if random.random() < 0.5:
                continue
            country = None if user % 5 == 0 or not said else ("de", "fr")[user % 2]
            country = "fr" if country and random.random() < 0.1 else country
            for step in range(2):
                time = MONDAY + timedelta(days=day, minutes=user * 3 + step)
                device = ("phone", "desktop")[int(random.random() < 0.3)] if said else None
                row = event(time, "purchase", f"item-{random.integers(5)}", f"u{user}", price=1.0)
                rows.append(row | {"country": country, "device": device})
    return rows


def built(folder: Path, unit: str, *, said: bool) -> tuple[Path, list[dict[str, Any]]]:
    events = log(said=said)
    small = CustomerUnit(horizon_days=5, every_days=3, active_days=20)
    chosen = replace(settings(min_length=1, baskets=True), customer=small)
    prepare.build(write_events(folder / "events", events), chosen, unit, folder / unit)
    return folder / unit, events


@pytest.mark.parametrize("unit", UNITS)
def test_each_sequence_has_the_country_of_most_events_of_its_customer(tmp_path: Path, unit: str) -> None:
    store, events = built(tmp_path, unit, said=True)
    users = parquet.read_table(store / "test" / "sequences.parquet")["user_id"].to_pylist()
    table = parquet.read_table(store / "test" / "groups.parquet")
    assert table.column_names == ["country", "device"]
    for name in table.column_names:
        count = Counter((each["user_id"], each[name]) for each in events if each[name])
        most = {user: min((-n, value) for (owner, value), n in count.items() if owner == user)[1] for user, _ in count}
        assert table[name].to_pylist() == [most.get(user) for user in users]
    labels = customers.attributes(store, "test")
    assert set(labels["country"]) == {"de", "fr", customers.NOBODY}
    assert not (store / "train" / "groups.parquet").exists()


@pytest.mark.parametrize("unit", UNITS)
def test_a_log_that_does_not_say_it_is_as_it_was(tmp_path: Path, unit: str) -> None:
    store, _ = built(tmp_path, unit, said=False)
    assert not (store / "test" / "groups.parquet").exists()
    assert customers.attributes(store, "test") == {}


def test_rare_countries_are_one_and_stand_last() -> None:
    labels = np.array(["b"] * 3 + ["a"] * 3 + ["c"] + [customers.OTHER] * 9 + [customers.NOBODY] * 9)
    n = len(labels)
    slicing = slices.slicing(np.ones(n, int), np.zeros(n, int), None, None, clock=False, more={"country": labels})
    assert slicing.order["country"] == ["a", "b", "c", customers.OTHER, customers.NOBODY]
