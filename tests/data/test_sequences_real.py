"""The unit `session` on a real log: the bol.com clicks, all three files."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from sequences_reference import as_its_card_says, settings

from clickflow.events.contract import SCHEMA
from clickflow.sequences import prepare
from clickflow.sequences.store import SPLITS, open_split

EVENTS = 113_601 + 1_451 + 1_233


@pytest.fixture(scope="module")
def clicks(shop_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Canonical rows: every click is a view of a guest, in the session given."""
    folder = tmp_path_factory.mktemp("bolcom")
    tables = [
        csv.read_csv(shop_data / "bolcom_clicks" / f"{name}.tsv.gz", parse_options=csv.ParseOptions(delimiter="\t"))
        for name in SPLITS
    ]
    raw = pa.concat_tables(tables)
    micros = pa.array((raw["Time"].to_numpy() * 1e6).astype(np.int64), pa.timestamp("us", tz="UTC"))
    columns = {
        "event_time": micros,
        "event_type": pa.repeat("view", len(raw)),
        "session_id": raw["SessionId"].cast(pa.string()),
        "item_id": raw["ItemId"].cast(pa.string()),
    }
    table = pa.table([columns.get(f.name, pa.nulls(len(raw), f.type)) for f in SCHEMA], schema=SCHEMA)
    (folder / "day=2020-06-01").mkdir()
    parquet.write_table(table, folder / "day=2020-06-01" / "events.parquet")
    return folder


def test_every_click_is_packed_or_accounted_for(clicks: Path, tmp_path: Path) -> None:
    store = tmp_path / "session"
    chosen = settings(drop_repeats=False, min_item_count=5, baskets=True)
    card = prepare.build(clicks, chosen, "session", store)
    assert as_its_card_says(store) == card

    raw = parquet.read_table(
        clicks / "day=2020-06-01" / "events.parquet", columns=["session_id", "event_time", "item_id"]
    )
    counted = raw.group_by("session_id").aggregate([("item_id", "count")])
    lone = sum(1 for n in counted["item_id_count"].to_pylist() if n == 1)
    packed = sum(part.events for part in card.splits.values())
    assert card.events_read == EVENTS == packed + lone
    assert card.left_out["too_short"] == {"events": lone, "sequences": lone}
    assert card.counts["sessions"] == len(counted)

    ids = parquet.read_table(store / "vocabulary.parquet")["item_id"].to_numpy()
    steps: set[tuple[str, int, str]] = set()
    for name in SPLITS:
        split, table = open_split(store, name), parquet.read_table(store / name / "sequences.parquet")
        sessions = np.repeat(table["session_id"].to_numpy(), split.lengths)
        steps |= set(zip(sessions.tolist(), split.time.tolist(), ids[split.item - 2].tolist(), strict=True))
    long_enough = {row["session_id"] for row in counted.to_pylist() if row["item_id_count"] > 1}
    times = raw["event_time"].cast(pa.int64()).to_pylist()
    rows = zip(raw["session_id"].to_pylist(), times, raw["item_id"].to_pylist(), strict=True)
    assert steps == {row for row in rows if row[0] in long_enough}


def test_the_default_split_is_by_time_and_most_items_are_known(clicks: Path, tmp_path: Path) -> None:
    store = tmp_path / "session"
    card = prepare.build(clicks, settings(min_item_count=1), "session", store)
    train, test = open_split(store, "train"), open_split(store, "test")
    assert train.time.max() <= card.boundaries["valid"] < test.time[test.offsets[1:] - 1].min()
    sequences = [card.splits[name].sequences for name in SPLITS]
    assert [round(n / sum(sequences), 2) for n in sequences] == [0.8, 0.1, 0.1]
    assert card.left_out["repeat"]["events"] > 0
    assert (train.item < card.known).all()
    # a month's catalogue moves slowly: a test item is mostly one that was clicked before
    assert 0.8 < (test.item < card.known).mean() < 1
