"""Every public log in the folder of shop data, with its known counts."""

import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import real_logs
from ingest_setup import Desk, Outcome

Ingested = Callable[..., Outcome]


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object]) -> Desk:
    return Desk(tmp_path / "w", raw_params)


@pytest.fixture
def ingested(tmp_path_factory: pytest.TempPathFactory, desk: Desk) -> Ingested:
    """What an ingest leaves, to be read."""
    return lambda **changes: real_logs.ingested(tmp_path_factory, desk.params(**changes))


def count_types(events: pa.Table) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in events["event_type"].value_counts().to_pylist()}


@pytest.mark.parametrize(("part", "rows"), [("train", 113_601), ("valid", 1_451), ("test", 1_233)])
def test_bolcom(ingested: Ingested, shop_data: Path, part: str, rows: int) -> None:
    path = shop_data / "bolcom_clicks" / f"{part}.tsv.gz"
    outcome = ingested(source__path=str(path), source__preset="session_tsv")
    assert (outcome.card["read"], outcome.card["accepted"]) == (rows, rows)
    if part == "train":
        assert (outcome.card["items"], outcome.card["sessions"]) == (18_009, 23_753)
    assert outcome.card["users"] == 0
    times = outcome.events["event_time"]
    assert pc.min(times).as_py().date().isoformat() >= "2020-05-31"
    assert pc.max(times).as_py().date().isoformat() <= "2020-06-30"
    assert count_types(outcome.events) == {"view": rows}


def test_retailrocket_is_an_order_without_a_clock(ingested: Ingested, shop_data: Path) -> None:
    folder = shop_data / "retailrocket_sessions"
    outcome = ingested(source__path=str(folder), source__preset="session_tsv", source__time_format="order")
    train = next(source for source in outcome.card["sources"] if source["source"].startswith("train"))
    assert (train["read"], train["accepted"]) == (685_984, 685_984)
    assert outcome.card["sessions"] == 126_168 + 4_735
    # the events, sorted by time, are the rows of train and then of test, in the order of the files
    items = []
    for part in ("train", "test"):
        lines = gzip.decompress((folder / f"{part}.tsv.gz").read_bytes()).decode().splitlines()[1:]
        items += [line.split("\t")[1] for line in lines]
    assert outcome.events["item_id"].to_pylist() == items


def test_rees46_ends_with_a_row_that_is_cut_off(ingested: Ingested, shop_data: Path) -> None:
    folder = shop_data / "rees46_slice"
    outcome = ingested(source__path=str(folder), source__preset="rees46")
    assert outcome.card["read"] == 17_435
    assert outcome.card["reasons"] == {"truncated": 1, "duplicate": 5}
    lines = gzip.decompress((folder / "2019-Oct.csv.gz").read_bytes()).split(b"\n")
    assert outcome.reasons()[17_436] == ["truncated"]
    assert outcome.raw() == {line: lines[line - 1].removesuffix(b"\r") for line in outcome.reasons()}
    kinds = count_types(outcome.events)
    for entry in outcome.quarantine:
        kinds[entry["raw"].split(",")[1]] += 1
    assert kinds == {"view": 17_056, "cart": 165, "purchase": 214}
    assert outcome.card["users"] in (4_504, 4_505)  # the row that was cut off names a user of its own


def test_taobao(ingested: Ingested, shop_data: Path) -> None:
    outcome = ingested(source__path=str(shop_data / "taobao_slice"), source__preset="taobao")
    assert (outcome.card["read"], outcome.card["accepted"]) == (110_300, 110_300)
    assert outcome.card["users"] == 66_454
    text = gzip.decompress((shop_data / "taobao_slice" / "UserBehavior.csv.gz").read_bytes()).decode()
    raw = [line.split(",")[3] for line in text.splitlines()]
    names = {"pv": "view", "cart": "cart", "fav": "favourite", "buy": "purchase"}
    assert count_types(outcome.events) == {kind: raw.count(name) for name, kind in names.items()}
    first = pc.min(outcome.events["event_time"]).as_py()
    assert first.isoformat() == "2017-11-26T01:00:00+00:00"


def test_uci_keeps_guests_by_their_invoice(ingested: Ingested, shop_data: Path) -> None:
    outcome = ingested(source__path=str(shop_data / "uci_online_retail"), source__preset="uci_retail")
    card, events = outcome.card, outcome.events
    assert card["read"] == 541_909
    assert card["users"] == 4_372
    first = events.filter(pc.equal(events["item_id"], "85123A"))["item_name"]
    assert first[0].as_py() == "WHITE HANGING HEART T-LIGHT HOLDER"
    assert set(card["reasons"]) == {"duplicate", "negative_quantity", "negative_price"}
    assert card["reasons"]["negative_price"] == 2
    guests = sum(entry["raw"].split(",")[-2] == "" for entry in outcome.quarantine)
    assert guests + events["user_id"].null_count == 135_080
    assert events["session_id"].null_count == 0
    cancelled = sum(entry["raw"].startswith("C") for entry in outcome.quarantine)
    assert cancelled + count_types(events)["cancel"] == 9_288
    assert pc.min(events["quantity"]).as_py() >= 1
    for entry in outcome.quarantine:
        if "negative_quantity" in entry["reasons"]:
            assert not entry["raw"].startswith("C")


def test_uci_without_guests(desk: Desk, shop_data: Path) -> None:
    text = gzip.decompress((shop_data / "uci_online_retail/online_retail.csv.gz").read_bytes())
    beginning = b"\n".join(text.split(b"\n", 60_001)[:-1]) + b"\n"
    desk.put("online_retail.csv", beginning)
    outcome = desk.ingest(source__preset="uci_retail", ingest__require_user=True)
    lines = list(csv.DictReader(io.StringIO(beginning.decode())))
    guests = sum(line["CustomerID"] == "" for line in lines)
    assert outcome.card["read"] == len(lines) == 60_000
    assert outcome.card["reasons"]["null_user"] == guests > 10_000
    assert outcome.events["user_id"].null_count == 0


def test_otto_has_many_events_a_line(ingested: Ingested, shop_data: Path) -> None:
    outcome = ingested(source__path=str(shop_data / "otto_slice"), source__preset="otto")
    assert (outcome.card["read"], outcome.card["accepted"]) == (862, 862)
    assert outcome.card["sessions"] == 20
    assert set(count_types(outcome.events)) <= {"view", "cart", "purchase"}


def test_hm_repeats_are_quantity(ingested: Ingested, shop_data: Path) -> None:
    given = {
        "source__path": str(shop_data / "layouts"),
        "source__pattern": "hm_*",
        "source__columns": {"event_time": "t_dat", "user_id": "customer_id", "item_id": "article_id", "price": "price"},
        "source__event_types": {"*": "purchase"},
    }
    once = ingested(**given)
    assert (once.card["accepted"], once.card["reasons"]) == (9_089, {"duplicate": 911})
    pieces = ingested(**given, ingest__duplicates="keep")
    assert (pieces.card["accepted"], pieces.card["quarantined"]) == (10_000, 0)


def test_ga4_items_that_are_not_set_are_no_items(ingested: Ingested, shop_data: Path) -> None:
    given = {
        "source__path": str(shop_data / "layouts"),
        "source__pattern": "ga4_*",
        "source__columns": {"event_time": "event_timestamp", "user_id": "user_pseudo_id", "item_id": "item_id"},
        "source__event_types": {"*": "purchase"},
        "source__time_format": "us",
    }
    outcome = ingested(**given)
    assert outcome.card["read"] == 16_003
    assert outcome.card["reasons"]["null_item"] == 448
    assert "(not set)" not in outcome.events["item_id"].to_pylist()
