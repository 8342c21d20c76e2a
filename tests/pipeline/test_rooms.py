"""Rooms: they import one way and in no circle, and a stage's deps in dvc.yaml are the code that can change its outputs.

All imports count: those inside functions, and those for types alone.
"""

import ast
import shutil
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from clickflow.orchestration import graph
from clickflow.training.code import CODE

ORDER = """
    system params events sources quality sequences features heads forecasting models training artefact baselines
    evaluation gate tracking registry tuning serving anomalies profiles monitoring online orchestration privacy
    airflow platform doctor verbs cli
""".split()  # noqa: SIM905
"""The rooms; each imports only those before it."""

STAGES = {
    "ingest": "clickflow.events.ingest",
    "validate": "clickflow.quality.validate",
    "sequences": "clickflow.sequences.prepare",
    "train": "clickflow.training.stage",
    "export": "clickflow.artefact.export",
    "evaluate": "clickflow.evaluation.evaluate",
    "gate": "clickflow.gate.stage",
}
"""The module that a stage's verb runs."""
BY_KIND = {"ingest": "clickflow.sources.{}.fetch", "evaluate": "clickflow.sources.{}.truth"}
"""What a stage imports by the name of the source's kind, where the kind has it."""
KINDS = ("simulator", "files", "sql")

BY_NAME = {
    ("clickflow.params.models", "clickflow.sequences.units"),
    ("clickflow.params.models", "clickflow.features"),
    ("clickflow.params.models", "clickflow.models.kinds"),
    ("clickflow.params.models", "clickflow.heads"),
    ("clickflow.params.rules", "clickflow.heads.checks"),
    ("clickflow.events.origins", "clickflow.sources."),
    ("clickflow.evaluation.oracle", "clickflow.sources."),
}
"""Who asks a later room by name: params for the tables of what may be chosen, two for the source's kind. No others."""


@pytest.fixture(scope="module")
def modules(root: Path) -> dict[str, Path]:
    """Every module of clickflow and its file."""
    files = (root / "src").rglob("*.py")
    return {
        ".".join(file.relative_to(root / "src").with_suffix("").parts).removesuffix(".__init__"): file for file in files
    }


@pytest.fixture(scope="module")
def imports(modules: dict[str, Path]) -> dict[str, set[str]]:
    """What each module names in an import."""
    return {name: set(_named(ast.parse(file.read_text(encoding="utf-8")), modules)) for name, file in modules.items()}


def _named(tree: ast.Module, modules: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from inner & modules.keys()
            if inner - modules.keys():
                yield node.module


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def closure(start: str, imports: dict[str, set[str]]) -> set[str]:
    """All that is imported with a module, the packages above each among it."""
    names: set[str] = set()
    waiting = {start}
    while waiting:
        name = waiting.pop()
        above = name.rpartition(".")[0]
        names.add(name)
        waiting |= (imports[name] | ({above} if above else set())) - names
    return names


def test_a_room_imports_only_rooms_before_it(imports: dict[str, set[str]]) -> None:
    assert {room(name) for name in imports} - {""} == set(ORDER), "ORDER names every room"
    upward = [
        f"{name} imports {other}"
        for name, others in imports.items()
        for other in others
        if room(name) and room(other) and ORDER.index(room(other)) > ORDER.index(room(name))
    ]
    assert not upward


def test_a_later_room_is_asked_by_name_only_where_it_is_said_so(modules: dict[str, Path]) -> None:
    imports_by_name = set()
    for name, file in modules.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
                "import_module",
                "__import__",
            ):
                texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                imports_by_name.add((name, str(texts[0]) if texts else "?"))
    assert imports_by_name == BY_NAME


def test_no_script_hides_a_module_of_the_standard_library() -> None:
    """Folders of scripts stand on the path of who imports from them: a `profile.py` broke torch's profiler."""
    names = {path.stem for folder in ("benchmarks", "scripts", "dags") for path in Path(folder).glob("*.py")}
    assert names
    assert not names & sys.stdlib_module_names


def test_no_modules_import_each_other_in_a_circle(imports: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(error.args[1][::-1]))


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def stages(root: Path, kind: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, graph.Stage]:
    """The first stage of each group, as dvc.yaml has them for a kind of source."""
    folder = copied(root, tmp_path_factory.mktemp("definition"), kind)
    return {stage.group: stage for stage in reversed(graph.load(folder).stages.values())}


def copied(root: Path, folder: Path, kind: str) -> Path:
    """dvc.yaml and params.yaml, with that kind of source."""
    shutil.copy(root / "dvc.yaml", folder)
    yaml = YAML()
    params = yaml.load(root / "params.yaml")
    params["source"]["kind"] = kind
    yaml.dump(params, folder / "params.yaml")
    return folder


@pytest.mark.parametrize("group", STAGES)
def test_deps_are_the_code_that_a_stage_imports(
    root: Path,
    modules: dict[str, Path],
    imports: dict[str, set[str]],
    stages: dict[str, graph.Stage],
    kind: str,
    group: str,
) -> None:
    assert set(stages) == set(STAGES)
    starts = [STAGES[group]]
    by_kind = BY_KIND.get(group, "").format(kind)
    starts += [by_kind] if by_kind in modules else []
    imported = set().union(*(closure(start, imports) for start in starts))
    needed = {
        modules[name].relative_to(root).as_posix()
        for name in imported
        if room(name) not in ("", "system", "params") and modules[name].stat().st_size
    }
    deps = [dep for dep in stages[group].deps if dep.startswith("src/")]
    assert len(deps) == len(set(deps)), "one stands there twice"
    sections = [dep for dep in deps if dep.startswith("src/clickflow/params/")]
    rooms = [dep for dep in deps if dep not in sections]

    def below(file: str, dep: str) -> bool:
        return file == dep or file.startswith(f"{dep}/")

    packages = {file for file in needed if file.endswith("/__init__.py") and not imports_of(file, root)}
    assert not {file for file in needed - packages if not any(below(file, dep) for dep in rooms)}, "add them to deps"
    source = f"src/clickflow/sources/{kind}"  # of evaluate it is a dep for every kind, and has a truth for some
    idle = {dep for dep in rooms if not any(below(file, dep) for file in needed)} - {source}
    assert not idle, "nothing of them is imported: take them out of deps"
    named = {param.partition(".")[0] for param in stages[group].params}
    files = {f"src/clickflow/params/{section}.py" for section in named}
    assert set(sections) == {file for file in files if (root / file).is_file()}, "defaults stand in the section's file"


def test_a_training_goes_on_and_a_study_too_only_where_the_code_that_trains_is_the_same(
    stages: dict[str, graph.Stage],
) -> None:
    deps = {dep for dep in stages["train"].deps if dep.startswith("src/")}
    assert {f"src/clickflow/{each}" for each in CODE} == deps


def imports_of(file: str, root: Path) -> bool:
    """Whether a package's own file does more than describe it."""
    return len(ast.parse((root / file).read_text(encoding="utf-8")).body) > 1


@pytest.mark.parametrize(
    ("source", "edits"),
    [
        (
            "simulator",
            {
                # how a model is exported, a text of the gate, who keeps the curves: nothing is trained or evaluated
                ("artefact/export.py", "gate/decision.html.jinja", "tracking/training_run.py"): {"export", "gate"},
                ("sources/sql/snapshot.py", "sources/simulator/rhythm.py"): {"ingest", "export", "evaluate", "gate"},
            },
        ),
        (
            "files",
            {
                ("sources/simulator/rhythm.py", "registry/champion.py", "sources/sql/snapshot.py"): set(),
                ("../../plans/customer",): {"sequences@customer"},  # of one unit alone
            },
        ),
    ],
)
def test_an_edit_makes_what_it_can_change_stale_and_no_more(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    edits: dict[tuple[str, ...], set[str]],
) -> None:
    from dvc.repo import Repo

    copied(root, tmp_path, source)
    shutil.copytree(root / "src/clickflow", tmp_path / "src/clickflow", ignore=shutil.ignore_patterns("__pycache__"))
    for stage in graph.load(tmp_path).stages.values():
        for path in [*stage.deps, *(out.path for out in stage.outs)]:
            if not (tmp_path / path).exists():
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / path).write_text(f"as {stage.name} read or wrote it\n")
    monkeypatch.chdir(tmp_path)
    with Repo.init(no_scm=True) as repo:
        repo.commit(force=True)  # as if all stages had run
        for files, again in edits.items():  # one after the other, none taken back
            for edited in files:
                with (tmp_path / "src/clickflow" / edited).open("a") as file:
                    file.write("\n")
            names = set(repo.status())
            assert (names if "@" in "".join(again) else {name.partition("@")[0] for name in names}) == again
