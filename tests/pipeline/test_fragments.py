"""Lock entries that travel one by one make the dvc.lock that DVC writes in one place."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_shop import dvc

from clickflow.orchestration import fragments
from clickflow.system.errors import ClickflowError


def test_taken_apart_and_put_together_it_is_the_same_file(shop: Path, tmp_path: Path) -> None:
    dvc(shop, "repro", "--quiet")
    names = list(fragments.read(shop))
    travelled = [json.loads(json.dumps(fragments.take(shop, name))) for name in reversed(names)]
    fragments.write(tmp_path, fragments.merge(travelled), names)
    assert (tmp_path / "dvc.lock").read_bytes() == (shop / "dvc.lock").read_bytes()
    assert "up to date" in dvc(shop, "status")


def test_new_entries_cover_old_ones_and_stages_that_are_gone_are_left_out(tmp_path: Path) -> None:
    fragments.write(tmp_path, {"a": {"cmd": "1"}, "gone": {"cmd": "x"}, "b": {"cmd": "2"}}, ["a", "gone", "b"])
    fragments.write(tmp_path, {"b": {"cmd": "3"}}, ["a", "b", "c"])
    assert fragments.read(tmp_path) == {"a": {"cmd": "1"}, "b": {"cmd": "3"}}


words = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=9)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(params=st.dictionaries(words, values, max_size=4))
def test_any_params_survive_the_way(tmp_path_factory: pytest.TempPathFactory, params: dict[str, object]) -> None:
    folder = tmp_path_factory.mktemp("lock")
    entry = {"cmd": "c", "params": {"params.yaml": params}}
    fragments.write(folder, {"a": json.loads(json.dumps(entry))}, ["a"])
    assert fragments.read(folder) == {"a": entry}


def test_two_results_of_one_stage_are_not_mixed() -> None:
    with pytest.raises(ClickflowError, match="different results of stage a"):
        fragments.merge([{"a": {"cmd": "1"}}, {"a": {"cmd": "2"}}])


def test_a_stage_that_left_no_entry_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClickflowError, match="no entry of stage a"):
        fragments.take(tmp_path, "a")
