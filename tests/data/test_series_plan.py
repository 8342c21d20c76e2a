"""A plan of promotions and prices in the packed store of series: what holds on which day, known and ahead, what is said
of days and names that it lacks, and that a store without one is what it was.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pyarrow import parquet
from ruamel.yaml import YAML
from sequences_reference import EPOCH, MONDAY, event, settings, write_events
from typer.testing import CliRunner

from clickflow import cli
from clickflow.events.manifest import NAME
from clickflow.params.file import check
from clickflow.params.sequences import Sequences, SeriesUnit
from clickflow.sequences import plan_file, prepare
from clickflow.sequences.card import NOW, SPLITS, Card
from clickflow.sequences.store import open_split, read_card
from clickflow.sequences.units import UNITS
from clickflow.system import integrity
from clickflow.system.errors import DataError, UsageError
from clickflow.system.files import read_json, sha256_folder, write_json
from clickflow.system.moments import DAY

UNIT = SeriesUnit(horizon=4, every=3, least_sales=2, active_days=20)
DAYS = 40
FIRST = (MONDAY - EPOCH).days
HEAD = "date,until,series_id,promotion,price\n"


def date(day: int) -> str:
    """Of a day of the log."""
    return str((MONDAY + timedelta(days=day)).date())


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three items, each sold every day, in days of which the last is not over."""
    rows = [
        event(MONDAY + timedelta(days=day, hours=9 + k), "purchase", f"item-{k}", "u", None, 2.0, "c")
        for day in range(DAYS + 1)
        for k in range(3)
    ]
    return write_events(tmp_path_factory.mktemp("log") / "events", rows)


@pytest.fixture
def make(log: Path, tmp_path: Path) -> Callable[..., tuple[Path, Card]]:
    """The store under a plan's text; None: without one."""

    def made(text: str | None, name: str = "spring.csv") -> tuple[Path, Card]:
        given = None
        if text is not None:
            (tmp_path / name).write_text(text)
            given = plan_file.read(tmp_path / name)
        chosen = Sequences(**{**vars(settings()), "series": UNIT})
        card = prepare.build(log, chosen, "series", tmp_path / "series", threads=1, plan_of=given)
        return tmp_path / "series", card

    return made


def laid(store: Path, part: str, item: str, start: int, days: int) -> NDArray[np.float64]:
    """What holds of an item on days of the log, as every sequence of it in a part has it."""
    split = open_split(store, part)
    ids = parquet.read_table(store / part / "sequences.parquet", columns=["series"])["series"].to_pylist()
    rows = np.flatnonzero(np.array(ids) == item)
    assert split.plan is not None
    own = split.plan.on(split.plan.numbers(split, rows), FIRST + start, days)
    np.testing.assert_array_equal(own, np.broadcast_to(own[0], own.shape))
    first: NDArray[np.float64] = own[0]
    return first


def test_known_days_and_days_ahead_are_as_the_file_says(make: Callable[..., tuple[Path, Card]]) -> None:
    lines = (
        f"{date(3)},{date(4)},,1,",
        f"{date(4)},,item-1,0,",
        f"{date(-9)},,item-2,,8",
        f"{date(DAYS + 1)},{date(DAYS + 3)},item-2,1,6",
    )
    store, card = make(HEAD + "\n".join(lines))
    for part in (*SPLITS, NOW):
        for item, promoted in (("item-0", [3, 4]), ("item-1", [3]), ("item-2", [3, 4, 41, 42, 43])):
            assert np.flatnonzero(laid(store, part, item, 0, DAYS + 4)[:, 0]).tolist() == promoted
        price = laid(store, part, "item-2", 0, DAYS + 4)[:, 1]
        assert (price[0], price[DAYS + 1]) == (8, 6)
        assert np.isnan(laid(store, part, "item-0", 0, DAYS)[:, 1]).all()
    assert card == read_card(store)
    assert card.plan is not None
    assert (card.plan["columns"], card.plan["rows"], card.plan["last"]) == (["promotion", "price"], 4, date(DAYS + 3))
    assert card.notes[-1].startswith("the plan spring.csv (promotion, price) is taken for known")
    assert card.settings["series"].get("plan") is None


def test_the_rest_of_a_store_is_as_without_a_plan(make: Callable[..., tuple[Path, Card]]) -> None:
    store, bare = make(None)
    assert bare.plan is None
    said = read_json(store / "card.json")
    assert "plan" not in said and "plan" not in said["settings"]["series"]
    assert open_split(store, "test").plan is None
    before = {part: sha256_folder(store / part) for part in (*SPLITS, NOW)}
    store, card = make(HEAD + f"{date(3)},,,1,\n")
    assert {part: sha256_folder(store / part) for part in before} == before
    assert card.files.items() - bare.files.items() == {("plan.npy", card.files["plan.npy"])}
    again = sha256_folder(store)
    assert sha256_folder(make(HEAD + f"{date(3)},,,1,\n")[0]) == again
    assert sha256_folder(make(HEAD + f"{date(3)},,,1,\n{date(DAYS + 2)},,,1,\n")[0]) != again


def test_what_a_plan_lacks_is_counted_and_said(make: Callable[..., tuple[Path, Card]]) -> None:
    ahead = date(DAYS + 2)
    card = make(f"date,series_id,promotion,flyer\n{ahead},item-0,1,1\n{date(2)},item-9,1,1\n{date(2)},item-1,1,0\n")[1]
    assert card.plan is not None
    assert card.plan["series_not_of_the_store"] == 1
    _, *said = card.notes[-4:]
    assert said[0].startswith("1 series of spring.csv are not forecast (item-9")
    learned = np.datetime64(card.boundaries["test"] + 1, "us").astype("datetime64[D]")
    assert said[1].startswith(f"flyer is planned on no day before {learned}, up to which a model learns")
    assert said[2] == f"spring.csv plans nothing after {ahead}: 1 of 4 days ahead are forecast without a plan"


@pytest.fixture
def shop(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    """A workspace with the log, whose params name a plan."""
    folder = tmp_path / "shop"
    (folder / "plans/series").mkdir(parents=True)
    (folder / "params.yaml").write_text(
        (root / "params.yaml")
        .read_text()
        .replace("units: [session, customer]", "units: [session, customer, series]")
        .replace("sequences:\n", "sequences:\n  series: {horizon: 4, least_sales: 2, plan: spring.csv}\n")
    )
    (folder / "data").mkdir()
    (folder / "data/events").symlink_to(log)
    if not (log / NAME).exists():
        write_json(log / NAME, {"settings": {"time_format": None}})
    integrity.seal(log)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CLICKFLOW_HOME", str(folder / "home"))
    return folder


@pytest.mark.parametrize("verb", [["sequences", "series"], ["open"]])
def test_a_plan_that_cannot_be_read_is_one_error_before_anything_runs(shop: Path, verb: list[str]) -> None:
    def fault() -> BaseException | None:
        return CliRunner().invoke(cli.app, verb).exception

    plan, before = shop / "plans/series/spring.csv", (shop / "params.yaml").read_bytes()
    (shop / "plans/series/springs.csv").write_text(HEAD + f"{date(3)},,,1,\n")
    missing = fault()
    assert isinstance(missing, UsageError)
    assert "there is no plans/series/spring.csv; did you mean 'springs.csv'?" in missing.what
    plan.symlink_to(shop / "params.yaml")
    outside = fault()
    assert isinstance(outside, UsageError) and "leads out of plans/series" in outside.what
    plan.unlink()
    plan.write_text(HEAD + f"{date(3)},,,1,\n{date(4)},,,yes,\n")
    wrong = fault()
    assert isinstance(wrong, DataError) and "spring.csv, line 3: promotion is 'yes'" in wrong.what
    assert (shop / "params.yaml").read_bytes() == before and not (shop / "data/sequences").exists()


def test_the_stage_packs_the_plan_that_params_name(shop: Path) -> None:
    (shop / "plans/series/spring.csv").write_text(HEAD + f"{date(3)},,,1,\n")
    ended = CliRunner().invoke(cli.app, ["sequences", "series"])
    assert ended.exception is None or ended.exit_code == 0, ended.output
    card = read_card(shop / "data/sequences/series")
    assert card.plan is not None and card.plan["file"] == "spring.csv"
    assert card.settings["series"]["plan"] == "spring.csv"
    assert laid(shop / "data/sequences/series", "test", "item-1", 3, 1)[0, 0] == 1
    assert (card.splits["train"].last or 0) > (FIRST + 3) * DAY


@pytest.mark.parametrize("name", ["/tmp/plan.csv", "../plan.csv", "plan.txt"])
def test_a_plan_lies_below_its_folder(name: str, root: Path) -> None:
    raw = YAML().load(root / "params.yaml")
    raw["sequences"]["series"] = {"plan": name}
    with pytest.raises(UsageError, match=r"sequences\.series\.plan: .* is no CSV file below plans/series"):
        check(raw)


def test_every_unit_has_a_folder_of_plans_which_is_a_dep_of_its_stage_alone(root: Path) -> None:
    for unit in UNITS:
        assert (root / "plans" / unit).is_dir()
    stages = YAML().load(root / "dvc.yaml")["stages"]
    assert {name for name, stage in stages.items() if "plans/" in str(stage.get("do", stage)["deps"])} == {"sequences"}
