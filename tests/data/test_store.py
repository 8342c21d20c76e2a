"""The packed store, saved and loaded."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from sequences_reference import as_its_card_says

from clickflow.sequences import features
from clickflow.sequences.from_arrays import write_store
from clickflow.sequences.store import SPLITS, open_split, read_card
from clickflow.system.errors import DataError
from clickflow.system.moments import HOUR


@pytest.fixture
def store(tmp_path: Path) -> Path:
    train = {
        "offsets": np.array([0, 3, 5]),
        "item": np.array([2, 3, 2, 4, 3]),
        "action": np.array([0, 1, 4, 0, 0]),
        "time": np.array([0, 1, 3, 25, 26]) * HOUR,
        "price": np.array([1.0, np.nan, 1.0, 3.0, np.nan]),
        "category": np.array([2, 0, 2, 3, 0]),
    }
    test = {"offsets": np.array([0, 2]), "item": np.array([2, 6])}
    write_store(tmp_path / "session", {"train": train, "test": test})
    return tmp_path / "session"


def test_what_is_written_is_read(store: Path) -> None:
    train = open_split(store, "train")
    assert (train.n_sequences, train.n_events) == (2, 5)
    assert train.lengths.tolist() == [3, 2]
    assert train.item.tolist() == [2, 3, 2, 4, 3]
    assert train.action.tolist() == [0, 1, 4, 0, 0]
    assert train.hour.tolist() == [0, 1, 3, 1, 2]
    assert train.weekday.tolist() == [3, 3, 3, 4, 4]  # 1970-01-01 was a Thursday
    assert train.gap.tolist() == [0, 3600, 7200, 0, 3600]
    assert train.since_start.tolist() == [0, 3600, 10800, 0, 3600]
    assert np.isnan(train.price[[1, 4]]).all()
    assert train.category.tolist() == [2, 0, 2, 3, 0]
    for name, feature in features.held(()).items():
        assert train.columns[name].dtype == feature.stored

    card = read_card(store)
    assert (card.known, card.items_total, card.categories) == (5, 5, 4)
    assert [card.splits[name].events for name in SPLITS] == [5, 0, 2]
    assert card.actions[4] == "purchase"
    assert parquet.read_table(store / "vocabulary.parquet").column("count").to_pylist() == [2, 2, 1, 0, 0]
    assert card == as_its_card_says(store)


def test_an_empty_split_is_read(store: Path) -> None:
    valid = open_split(store, "valid")
    assert (valid.n_sequences, valid.n_events, valid.offsets.tolist()) == (0, 0, [0])


def test_columns_are_mapped_and_cannot_be_written(store: Path) -> None:
    train = open_split(store, "train")
    for column in (train.offsets, *train.columns.values()):
        assert isinstance(column, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1
    assert not open_split(store, "valid").item.flags.writeable


def test_the_same_arrays_give_the_same_bytes(store: Path, tmp_path: Path) -> None:
    again = tmp_path / "again" / "session"
    parts = {name: open_split(store, name) for name in SPLITS}
    write_store(again, {name: {"offsets": part.offsets, **part.columns} for name, part in parts.items()})
    for name in SPLITS:
        for file in sorted((store / name).glob("*.npy")):
            assert file.read_bytes() == (again / name / file.name).read_bytes()


def test_a_missing_file_is_found_on_opening(store: Path) -> None:
    (store / "train" / "price.npy").unlink()
    with pytest.raises(DataError, match=r"price\.npy cannot be read"):
        open_split(store, "train")


def test_a_cut_file_is_found_on_opening(store: Path) -> None:
    path = store / "train" / "time.npy"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"time\.npy cannot be read") as raised:
        open_split(store, "train")
    assert "dvc checkout" in raised.value.next_step


def test_whatever_flips_in_a_header_is_found_on_opening(store: Path) -> None:
    """NumPy reads an array's header as Python, whose parser has errors of its own."""
    file = store / "train/item.npy"
    data, refused = file.read_bytes(), 0
    for bit in range(0, 8 * 128, 3):
        spoilt = bytearray(data)
        spoilt[bit // 8] ^= 1 << bit % 8
        file.write_bytes(spoilt)
        try:
            open_split(store, "train")
        except DataError as error:
            assert "item.npy" in error.what
            refused += 1
    assert refused > 300


def test_a_column_of_another_type_or_length_is_found_on_opening(store: Path) -> None:
    np.save(store / "train" / "gap.npy", np.zeros(5, np.float64))
    with pytest.raises(DataError, match=r"float64 \[5\] where the card says float32 \[5\]"):
        open_split(store, "train")
    np.save(store / "train" / "gap.npy", np.zeros(4, np.float32))
    with pytest.raises(DataError, match=r"float32 \[4\] where the card says float32 \[5\]"):
        open_split(store, "train")


def test_no_store_no_split_and_a_broken_card_are_said(store: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no packed store") as error:
        open_split(tmp_path / "nowhere", "train")
    assert all(word in error.value.next_step for word in ("dvc repro", "clickflow checkout RUN", "sequences nowhere"))
    with pytest.raises(DataError, match="no split 'holdout'; it has test, train, valid"):
        open_split(store, "holdout")
    (store / "card.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="not the card of a packed store"):
        read_card(store)
    (store / "card.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="not the card of a packed store"):
        read_card(store)


def test_the_card_is_for_people_too(store: Path) -> None:
    raw = json.loads((store / "card.json").read_text(encoding="utf-8"))
    assert raw["splits"]["train"]["last"] == "1970-01-02T02:00:00.000000+00:00"
    assert read_card(store).splits["train"].last == 26 * HOUR


def test_one_hash_stands_for_all_bytes(store: Path, tmp_path: Path) -> None:
    other = {"train": {"offsets": np.array([0, 2]), "item": np.array([2, 3])}}
    a = write_store(tmp_path / "a" / "session", other)
    b = write_store(tmp_path / "b" / "session", other)
    assert a.sha256 == b.sha256 == read_card(tmp_path / "a" / "session").sha256
    assert a.sha256 != read_card(store).sha256


@given(
    st.lists(
        st.lists(st.integers(0, 2_000_000_000_000_000), min_size=1, max_size=6).map(sorted), min_size=1, max_size=6
    ),
    st.data(),
)
def test_a_step_knows_nothing_of_later_ones(sequences: list[list[int]], data: st.DataObject) -> None:
    def of(parts: list[list[int]]) -> dict[str, np.ndarray]:
        offsets = np.cumsum([0, *(len(part) for part in parts)])
        return features.derived({"time": np.concatenate([np.array(part) for part in parts])}, offsets)

    whole = of(sequences)
    which = data.draw(st.integers(0, len(sequences) - 1))
    length = data.draw(st.integers(1, len(sequences[which])))
    alone = of([sequences[which][:length]])
    first = sum(len(part) for part in sequences[:which])
    for name, values in alone.items():
        assert values.tolist() == whole[name][first : first + length].tolist()


def test_statistics_skip_what_is_missing_and_never_divide_by_zero() -> None:
    price = np.array([np.nan, np.e - 1, np.e**3 - 1], np.float32)
    same = np.zeros(3, np.float32)
    statistics = features.statistics({"price": price, "gap": same, "since_start": same[:0]})
    assert statistics == {
        "price": {"mean": 2.0, "std": 1.0},
        "gap": {"mean": 0.0, "std": 1.0},
        "since_start": {"mean": 0.0, "std": 1.0},
    }
