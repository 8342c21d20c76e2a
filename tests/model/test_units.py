"""The table of units: one more of them, defined here, goes from events to a store that a model learns and ships."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyarrow import parquet

from clickflow.artefact import export
from clickflow.events import ingest
from clickflow.heads import HEADS
from clickflow.params.file import check
from clickflow.params.schema import Params
from clickflow.sequences import prepare
from clickflow.sequences.store import SPLITS, open_split, read_card
from clickflow.sequences.units import UNITS, named
from clickflow.sequences.units.unit import Rules, Unit
from clickflow.system.errors import UsageError
from clickflow.system.files import read_json
from clickflow.system.paths import Paths
from clickflow.training import stage

DAY_US = 24 * 3600 * 1_000_000


def by_day(_: Any) -> Rules:
    """All that a person did within one day, in UTC."""
    return Rules(
        event_types=("view", "cart", "purchase"),
        begins=lambda rows, before: rows["time"] // DAY_US != before // DAY_US,
        drop_repeats=True,
        baskets=True,
        min_length=3,
        max_length=100,
    )


DAY = Unit(
    name="day",
    what="All that a person did within one day.",
    section="session",
    rules=by_day,
    row={"user_id": "string", "start": "time", "end": "time", "length": "int32"},
    by_person=True,
)


@pytest.fixture
def params(raw_params: Any, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A small simulated shop, and a small model of its days."""
    monkeypatch.setitem(UNITS, DAY.name, DAY)
    for head in list(HEADS.values()):  # the same questions, asked of days
        monkeypatch.setitem(HEADS, head.name, replace(head, unit=DAY.name))
    raw_params["simulator"] |= {"events": 8000, "items": 60, "days": 5, "dirt": 0.0}
    raw_params["sequences"]["robots"] = dict.fromkeys(raw_params["sequences"]["robots"])
    model = raw_params["models"]["next_step"]
    model["unit"], raw_params["units"] = "day", ["day"]
    model["encoder"]["units"] = 8
    model["budget"] |= {"epochs": 1, "max_length": 8}
    return check(raw_params)


def wanted(events: Path) -> list[tuple[str, int, list[str]]]:
    """Person, day and items of each sequence, in plain Python."""
    rows = [row for file in sorted(events.glob("*/*.parquet")) for row in parquet.ParquetFile(file).read().to_pylist()]
    days = defaultdict(list)  # type: ignore[var-annotated]
    for row in rows:
        if row["user_id"] and row["item_id"] and row["event_type"] in by_day(None).event_types:
            steps = days[row["user_id"], row["event_time"].toordinal()]
            if not steps or steps[-1] != (row["event_type"], row["item_id"]):
                steps.append((row["event_type"], row["item_id"]))
    return sorted((*key, [item for _, item in steps]) for key, steps in days.items() if len(steps) >= 3)


def test_a_unit_of_ones_own_from_events_to_an_exported_model(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = Paths(tmp_path)
    ingest.run(params, paths)
    prepare.run(params, paths, "day")

    store = paths.sequences("day")
    card = read_card(store)
    assert (card.unit, card.own_settings["gap_minutes"]) == ("day", params.sequences.session.gap_minutes)
    assert "session" not in card.settings
    items = parquet.read_table(store / "vocabulary.parquet")["item_id"].to_pylist()
    histories = []
    for name in SPLITS:
        split, table = open_split(store, name), parquet.read_table(store / name / "sequences.parquet")
        assert table.column_names == list(DAY.row)
        for row, first, last in zip(table.to_pylist(), split.offsets[:-1], split.offsets[1:], strict=True):
            steps = [items[index - 2] for index in split.item[first:last]]
            histories.append((row["user_id"], row["start"].toordinal(), steps))
    assert sorted(histories) == wanted(paths.events)
    assert len(histories) > 200

    stage.run(params, paths, "next_step")
    export.run(params, paths, "next_step")
    assert read_json(paths.exported("next_step") / "card.json")["data_sha256"] == read_card(store).sha256


def test_a_unit_that_there_is_not_names_the_nearest(raw_params: Any) -> None:
    with pytest.raises(UsageError, match=r"no unit .sesion.; there is: session, customer, .*did you mean .session."):
        named("sesion")
    raw_params["models"]["next_step"]["unit"] = "sesion"
    with pytest.raises(UsageError, match=r"models\.next_step\.unit: there is no unit 'sesion'; .* did you mean"):
        check(raw_params)


@pytest.mark.parametrize(
    ("units", "says"),
    [
        ([], r"models\.next_step\.unit: 'session' is not among units, .*: units: \[session\]"),
        (["session", "sesion"], r"units: there is no unit 'sesion'; .* did you mean 'session'"),
        (["session", "session"], "units: 'session' is listed twice"),
    ],
)
def test_the_units_of_models_are_listed_each_once(raw_params: Any, units: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check(raw_params | {"units": units})


def test_a_file_of_before_units_were_listed_is_of_sessions(raw_params: Any) -> None:
    assert "units" not in raw_params
    assert check(raw_params).units == ("session",)


def test_the_pipeline_makes_the_store_of_every_unit_that_is_listed(root: Path) -> None:
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert stages["sequences"]["foreach"] == "${units}"
