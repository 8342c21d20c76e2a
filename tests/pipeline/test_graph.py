"""dvc.yaml read by clickflow is dvc.yaml read by DVC; what cannot be read is refused by name."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clickflow.orchestration import graph
from clickflow.orchestration.variables import read_yaml
from clickflow.system.errors import UsageError


def dvc_graph(root: Path) -> tuple[set[str], set[tuple[str, str]]]:
    """Stages and (upstream, downstream) edges as DVC itself makes them."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        stage_graph = repo.index.graph
        return {stage.name for stage in stage_graph.nodes}, {(up.name, down.name) for down, up in stage_graph.edges}


def repository(root: Path, definition: dict[str, Any], params: dict[str, Any] | None = None) -> Path:
    from dvc.repo import Repo

    (root / "dvc.yaml").write_text(yaml.safe_dump(definition, sort_keys=False))
    (root / "params.yaml").write_text(yaml.safe_dump(params or {}))
    if not (root / ".dvc").exists():
        Repo.init(str(root), no_scm=True).close()
    return root


def same(root: Path) -> graph.Graph:
    ours = graph.load(root)
    stages, edges = dvc_graph(root)
    assert set(ours.stages) == stages
    assert ours.edges == edges
    return ours


def test_this_repository_reads_as_dvc_reads_it(root: Path) -> None:
    ours = same(root)
    order = list(ours.stages)
    assert order[0] == "ingest"
    assert all(order.index(up) < order.index(down) for up, down in ours.edges)


def test_the_commands_are_those_dvc_would_run(root: Path) -> None:
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        theirs = {stage.name: stage for stage in repo.index.stages}
        for name, stage in graph.load(root).stages.items():
            assert stage.cmd == (theirs[name].cmd,)
            assert {out.path for out in stage.outs} == {str(Path(out.def_path)) for out in theirs[name].outs}


def test_foreach_matrix_vars_and_interpolation(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("size: {small: 10, large: 1e3}\nunused: 1\n")
    definition = {
        "vars": ["more.yaml:size", {"where": {"raw": "in", "list": ["zero", "one"]}}],
        "stages": {
            "load": {"cmd": "echo", "deps": ["${where.raw}/${where.list[1]}"], "outs": ["a/${size.small}"]},
            "plain": {"foreach": ["no", "on", "x"], "do": {"cmd": "c ${item}", "deps": ["a"], "outs": ["b/${item}"]}},
            "dict": {
                "foreach": "${models}",
                "do": {
                    "cmd": "c ${key} ${item.unit}",
                    "deps": ["b/${item.unit}"],
                    "outs": [{"m/${key}": {"persist": True}}],
                    "params": ["models.${key}", {"more.yaml": ["size.small"]}],
                    "metrics": [{"r/${key}.json": {"cache": False}}],
                    "meta": {"airflow": {"queue": "gpu"}},
                },
            },
            "listed": {"foreach": [{"n": 1}, {"n": 2}], "do": {"cmd": "c", "deps": ["m"], "outs": ["l${item.n}"]}},
            "grid": {
                "matrix": {"model": ["a", "b"], "opts": [{"k": True}, [1]], "n": "${counts}"},
                "cmd": r"c ${item.model} ${key} \${HOME}",
                "outs": ["g/${key}"],
                "deps": ["l1", "m/${item.model}"],
            },
        },
    }
    models = {"a": {"unit": "no"}, "b": {"unit": "x"}}
    ours = same(repository(tmp_path, definition, {"models": models, "counts": [0.5, 7]}))
    assert ours.stages["dict@a"].outs == (graph.Output("m/a", persist=True), graph.Output("r/a.json", cache=False))
    assert ours.stages["dict@a"].params == ("models.a", "more.yaml:size.small")
    assert ours.stages["dict@b"].routing() == {"queue": "gpu"}
    assert ours.stages["grid@a-opts0-0.5"].cmd == ("c a a-opts0-0.5 ${HOME}",)
    assert ours.upstream("dict@a") == ("plain@no",)
    assert "load" in ours.ancestors("dict@a")


def test_a_path_within_a_path_is_an_edge_and_a_shared_prefix_is_not(tmp_path: Path) -> None:
    stages = {
        "folder": {"cmd": "c", "outs": ["data/events"]},
        "file": {"cmd": "c", "outs": ["data/eventsx", "data/other/x.csv"]},
        "inner": {"cmd": "c", "deps": ["./data/events/day=1"], "outs": ["i"]},
        "outer": {"cmd": "c", "deps": ["data/other/"], "outs": ["o"]},
    }
    ours = same(repository(tmp_path, {"stages": stages}))
    assert ours.edges == {("folder", "inner"), ("file", "outer")}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wanted=st.lists(st.lists(st.integers(0, 7), max_size=3, unique=True), min_size=1, max_size=8),
    how=st.lists(st.sampled_from(["plain", "foreach", "dict", "matrix"]), min_size=8, max_size=8),
)
def test_generated_pipelines_read_as_dvc_reads_them(tmp_path: Path, wanted: list[list[int]], how: list[str]) -> None:
    stages: dict[str, Any] = {}
    for number, needs in enumerate(wanted):
        deps = [f"out/{need}" for need in needs if need < number]
        body = {"cmd": "c", "deps": deps, "outs": [f"out/{number}"]}
        each = {"cmd": "c ${item}", "deps": deps, "outs": [f"out/{number}/${{item}}"]}
        stages[f"s{number}"] = {
            "plain": body,
            "foreach": {"foreach": ["a", "b"], "do": each},
            "dict": {"foreach": {"x": "a", "y": "b"}, "do": each},
            "matrix": {"matrix": {"p": [1, 2]}, "cmd": "c", "deps": deps, "outs": [f"out/{number}/${{item.p}}"]},
        }[how[number]]
    ours = same(repository(tmp_path, {"stages": stages}))
    order = list(ours.stages)
    assert all(order.index(up) < order.index(down) for up, down in ours.edges)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    values=st.dictionaries(
        st.text(st.characters(categories=["Ll"]), min_size=1, max_size=4),
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        max_size=5,
    )
)
def test_yaml_reads_as_dvc_reads_it(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    from dvc.utils.serialize import dumps_yaml, load_yaml

    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    path.write_text(dumps_yaml(values), encoding="utf-8")
    assert read_yaml(path) == load_yaml(path)
    if not any("\x85" in value for value in values.values() if isinstance(value, str)):  # DVC's own writer loses it
        assert read_yaml(path) == values


@pytest.mark.parametrize(
    "scalar", ["no", "on", "1e3", "1.0e-4", "010", "0o17", "0x1F", "-3", "+.5", "1_000", "~", "", "1:30"]
)
def test_scalars_read_as_dvc_reads_them(tmp_path: Path, scalar: str) -> None:
    from dvc.utils.serialize import load_yaml

    path = tmp_path / "x.yaml"
    path.write_text(f"value: {scalar}\n")
    ours, theirs = read_yaml(path), load_yaml(str(path))
    assert ours == theirs
    assert type(ours["value"]) is type(theirs["value"])


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"a": {"cmd": "c ${nothing.here}"}}, r"stage a: cmd: \$\{nothing.here\} is not known"),
        ({"a": {"cmd": "c ${models}"}}, "is a mapping, where a plain value is needed"),
        ({"a": {"cmd": "c", "outs": ["x"]}, "b": {"cmd": "c", "outs": ["x"]}}, "stages a and b both write x"),
        ({"a": {"cmd": "c", "outs": ["x"]}, "b": {"cmd": "c", "outs": ["x/y"]}}, "x and x/y, one within the other"),
        (
            {
                "a": {"cmd": "c", "deps": ["z"], "outs": ["x"]},
                "b": {"cmd": "c", "deps": ["x"], "outs": ["z"]},
                "c": {"cmd": "c", "deps": ["x"], "outs": ["w"]},
            },
            "circle: (a → b → a|b → a → b)$",
        ),
        ({"a": {"cmd": "c", "wdir": "sub"}}, "'wdir' is not among what a compiled stage may have"),
        ({"a": {"deps": ["x"]}}, "stage a has no cmd"),
        ({"a": {"foreach": "${models.m.unit}", "do": {"cmd": "c"}}}, "neither a list nor a mapping"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path, stages: dict[str, Any], message: str) -> None:
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (tmp_path / "params.yaml").write_text("models: {m: {unit: session}}\n")
    with pytest.raises(UsageError, match=message):
        graph.load(tmp_path)


def test_nothing_heavy_is_imported() -> None:
    seen = subprocess.run(
        [sys.executable, "-c", "import sys, clickflow.orchestration.graph; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"dvc", "airflow", "torch", "pandas", "numpy", "pydantic"} & set(seen)
