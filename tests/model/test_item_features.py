"""What is known of an item beside its number, as classes and in a network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import KNOWN, shop, spec

from clickflow.models import item_features
from clickflow.models.associations import Table
from clickflow.models.ensemble import build
from clickflow.models.sizes import Sizes

NAN = float("nan")
SHOP = {
    "count": np.array([900, 9, 8, 1, 5]),
    "price": np.array([10.0, NAN, 20.0, 0.0, 30.0]),
    "category": np.array([2, 3, 0, 1, 4]),
    "paths": ["toys.cars", "toys.dolls", "food"],
    "brand": ["zeta", None, "acme", "zeta", None],
}


def classes(*names: str, known: int = 7) -> np.ndarray:
    return item_features.codes(names, known, **SHOP)  # type: ignore[arg-type]


def test_every_level_of_a_category_is_a_class_and_equal_beginnings_are_the_same() -> None:
    codes = classes("category")
    assert (codes[:2] == 0).all(), "padding and unknown have none"
    cars, dolls, none, unknown, food = codes[2:]
    assert cars[0] == dolls[0] != food[0]
    assert len({int(cars[1]), int(dolls[1]), int(cars[0]), int(food[0]), 0}) == 5
    assert not none.any()
    assert not unknown.any()
    assert food[1] == 0, "its path has one level"


def test_the_same_word_under_two_roots_is_two_classes() -> None:
    codes = item_features.codes(("category",), 4, **{**SHOP, "paths": ["a.x", "b.x"], "category": np.array([2, 3])})
    assert codes[2, 1] != codes[3, 1]


def test_a_brand_is_a_class_by_its_text_and_none_is_none() -> None:
    assert classes("brand")[:, 0].tolist() == [0, 0, 2, 0, 1, 2, 0]
    assert classes("brand", known=5)[:, 0].tolist() == [0, 0, 2, 0, 1], "of the known items alone"
    everything = classes("category", "brand")
    assert not set(everything[:, 2]) - {0} & set(everything[:, :2].ravel()), "no category is a brand"


def test_popularity_is_in_powers_of_two_and_prices_in_buckets_of_equally_many_items() -> None:
    assert classes("popularity")[2:, 0].tolist() == [10, 4, 4, 1, 3]
    assert classes("price")[2:, 0].tolist()[1::2] == [0, 0], "no price, and a price of 0"
    price = np.exp(np.random.default_rng(0).normal(size=1600))
    many = {**SHOP, "price": price, "count": np.ones(1600, int), "category": np.zeros(1600, int)}
    bucket = item_features.codes(("price",), 1602, **many)[2:, 0]  # type: ignore[arg-type]
    assert np.bincount(bucket).tolist() == [0] + [100] * 16
    assert (np.diff(bucket[np.argsort(price)]) >= 0).all()


def test_features_have_classes_of_their_own_and_items_beyond_known_have_none() -> None:
    codes = classes("category", "price", "popularity", known=5)
    assert codes.shape == (5, 4)
    parts = [set(codes[:, columns].ravel().tolist()) - {0} for columns in (slice(0, 2), 2, 3)]
    assert not parts[0] & parts[1]
    assert not parts[1] & parts[2]
    assert not parts[0] & parts[2]


def test_nothing_asked_for_is_nothing_read_and_a_store_without_values_gives_none(tmp_path: Path) -> None:
    shop(tmp_path / "store")
    assert item_features.read(tmp_path / "nowhere", (), KNOWN) is None
    codes = item_features.read(tmp_path / "store", ("price", "category", "popularity"), KNOWN)
    assert codes is not None
    assert codes.shape[0] == KNOWN
    assert codes[2:, -1].all(), "every known item has a count"


def sizes(codes: np.ndarray | None) -> Sizes:
    none = Table(np.zeros((6, 1), np.int32), np.zeros((6, 1), np.float32), np.zeros(6, np.float32))
    return Sizes(known=6, actions=("view",), categories=2, statistics={}, item_codes=codes, associations=none)


def test_an_items_vector_is_its_own_plus_those_of_its_classes() -> None:
    codes = np.array([[0, 0], [0, 0], [1, 2], [1, 0], [0, 0], [3, 3]])
    torch.manual_seed(0)
    network = build(spec(features=(), item_features=("category",), item={"output": "separate"}), sizes(codes)).eval()
    assert network.features is not None
    plain = network.items.detach().clone()
    torch.testing.assert_close(network.directions(network.items), torch.nn.functional.normalize(plain, dim=-1))
    with torch.no_grad():
        network.features.table.weight[1:] = torch.randn(3, 12)
    table = network.features.table.weight
    joined = plain.clone()
    for offset in (0, 6):
        joined[offset + 2] += table[1] + table[2]
        joined[offset + 3] += table[1]
        joined[offset + 5] += 2 * table[3]
    torch.testing.assert_close(network.directions(network.items), torch.nn.functional.normalize(joined, dim=-1))
    some = torch.tensor([8, 3])
    torch.testing.assert_close(network.directions(network.items[some], some), network.directions(network.items)[some])


def test_a_network_that_needs_classes_is_not_built_without() -> None:
    with pytest.raises(TypeError, match="no codes of items"):
        build(spec(features=(), item_features=("price",)), sizes(None))
