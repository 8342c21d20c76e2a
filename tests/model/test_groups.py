"""Who is new and who returns is read off the log, and the gate holds a model that fares much worse by one of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from gate_workspace import MODEL, decision, measured, params_with, ranks, sequences, worse
from pyarrow import parquet

from clickflow.evaluation import customers
from clickflow.gate import stage
from clickflow.registry import try_log
from clickflow.system import integrity
from clickflow.system.paths import Paths

MANY = sequences(600)
STRONG = ranks(MANY, 0.5, seed=1)


def store(folder: Path, parts: dict[str, list[tuple[Any, ...]]], names: tuple[str, ...]) -> Path:
    for name, rows in parts.items():
        (folder / name).mkdir(parents=True)
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)) if rows else {}
        table = pa.table({each: columns.get(each, []) for each in names})
        parquet.write_table(table, folder / name / "sequences.parquet")
    return folder


def test_new_is_the_first_visit_of_somebody_known(tmp_path: Path) -> None:
    parts: dict[str, list[tuple[Any, ...]]] = {
        "train": [("ann", "a1", 10)],
        "valid": [("bob", "b1", 20)],
        "test": [("ann", "a2", 30), ("cid", "c1", 31), ("cid", "c1", 32), ("cid", "c2", 40), (None, "x", 41)],
    }
    groups = customers.groups(store(tmp_path, parts, ("user_id", "session_id", "start")), "test")
    assert groups is not None
    assert groups.tolist() == ["returning", "new", "new", "returning", "unknown"], "pieces of a visit are one visit"
    assert customers.groups(tmp_path, "train") == np.array(["new"])
    nobody = store(tmp_path / "nobody", {"test": [(None, "x", 41)]}, ("user_id", "session_id", "start"))
    assert customers.groups(nobody, "test") is None


def test_new_as_of_a_cut_off_is_who_began_no_longer_ago_than_the_answers_reach(tmp_path: Path) -> None:
    parts: dict[str, list[tuple[Any, ...]]] = {
        "train": [("ann", 0, 10)],
        "valid": [("ann", 0, 50)],
        "test": [("ann", 0, 100), ("bob", 80, 100), ("bob", 80, 120)],
    }
    groups = customers.groups(store(tmp_path, parts, ("user_id", "start", "cut_off")), "test", horizon=30)
    assert groups is not None
    assert groups.tolist() == ["returning", "new", "returning"]


@pytest.mark.parametrize(
    ("lost", "bound", "expected"),
    [(0.5, 0.2, "hold"), (0.5, 0.6, "promote"), (0.02, 0.2, "promote"), (0.5, None, "promote")],
)
def test_a_model_that_fares_much_worse_by_one_group_is_held(
    root: Path, tmp_path: Path, lost: float, bound: float | None, expected: str
) -> None:
    paths = Paths(tmp_path)
    fresh = MANY % 3 == 0
    candidate = np.where(fresh, worse(STRONG, lost, 3), STRONG).astype(np.int32)
    measured(paths, MANY, {"candidate": candidate, "popularity": worse(candidate, 0.5, 4)})
    file = paths.evaluation(MODEL) / "predictions.parquet"
    labels = pa.array(np.where(fresh, "new", "returning").tolist())
    parquet.write_table(parquet.read_table(file).append_column("visitor", labels), file)
    integrity.seal(paths.evaluation(MODEL))
    stage.run(params_with(root, max_group_gap=bound), paths, MODEL, try_log.record)
    assert decision(paths)["decision"] == expected
    rules = [each for each in decision(paths)["rules"] if each["rule"].startswith("groups fare alike")]
    assert len(rules) == (bound is not None)
    if expected == "hold":
        assert "new fares" in rules[0]["text"]
        assert set(rules[0]["evidence"]["groups"]) == {"new", "returning"}


def test_a_country_is_a_group_where_the_log_says_it(root: Path, tmp_path: Path) -> None:
    paths, far = Paths(tmp_path), MANY % 3 == 0
    candidate = np.where(far, worse(STRONG, 0.5, 3), STRONG).astype(np.int32)
    measured(paths, MANY, {"candidate": candidate, "popularity": worse(candidate, 0.5, 4)})
    file = paths.evaluation(MODEL) / "predictions.parquet"
    table = parquet.read_table(file)
    for name, labels in (("visitor", ["new", "returning"]), ("country", ["fr", "de"])):
        by = far if name == "country" else MANY % 2 == 0
        table = table.append_column(name, pa.array(np.where(by, *labels).tolist()))
    parquet.write_table(table, file)
    integrity.seal(paths.evaluation(MODEL))
    stage.run(params_with(root, max_group_gap=0.2), paths, MODEL, try_log.record)
    rules = {each["rule"]: each for each in decision(paths)["rules"] if each["rule"].startswith("groups fare alike")}
    assert [rule.rpartition(" ")[2] for rule in rules] == ["visitor", "country"]
    assert "fr fares" in rules["groups fare alike: next_item by country"]["text"]
    assert decision(paths)["decision"] == "hold"


def test_groups_that_nobody_wrote_down_are_not_judged_and_hold(root: Path, tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    measured(paths, MANY, {"candidate": STRONG, "popularity": worse(STRONG, 0.5, 4)})
    stage.run(params_with(root, max_group_gap=0.2), paths, MODEL, try_log.record)
    assert decision(paths)["decision"] == "hold"
