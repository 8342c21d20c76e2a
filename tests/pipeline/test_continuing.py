"""A run builds on the one before it: old files are not read again, and where nothing is new there is nothing to do."""

import shutil
from pathlib import Path

import pytest
from small_shop import Ran, commit, dvc, git, quiet

from clickflow.orchestration import fragments, graph, overrides, runs, workspace
from clickflow.orchestration.workspace import Run

pytestmark = pytest.mark.timeout(900)

# Takes in the files that are not there yet, and says which: as the real stage does.
INGEST = """
mkdir -p data/events
for file in data/raw/*.csv; do
  name=$(basename $file)
  cmp -s $file data/events/$name || { cp -L $file data/events/$name; echo $name >> $CLICKFLOW_HOME/read; }
done
"""


@pytest.fixture(scope="module")
def _ran(_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("growing")
    shop = Path(shutil.copytree(_shop, folder / "shop"))
    text = (shop / "dvc.yaml").read_text()
    commands, rest = text.split("    params: [source.path, simulator.events]")
    head = commands.split("    cmd:")[0]
    rest = rest.replace("outs: [data/events]", "outs: [data/events: {persist: true}]")
    text = f"""{head}    cmd: sh ingest.sh
    deps: ["${{source.path}}", ingest.sh]
    params: [source.path, simulator.events]{rest}"""
    (shop / "dvc.yaml").write_text(text.replace("data/events/all.csv", "data/events/*.csv"))
    (shop / "check.sh").write_text("mkdir -p reports\ncat data/events/*.csv | wc -l > reports/check.txt\n")
    (shop / "ingest.sh").write_text(INGEST)
    commit(shop, "an ingest that appends")
    return Ran.of(folder, "first", {"simulator.events": 5})


@pytest.fixture
def growing(_ran: Ran) -> Path:
    """The shop, with an ingest that appends, and one run, `first`."""
    _ran.put_back()
    return _ran.folder / "shop"


def home(shop: Path) -> Path:
    return shop.parent / "home"


def opened(shop: Path, name: str, champions: dict[str, int] | None = None, **more: object) -> Run:
    values = {"simulator.events": 5} | dict(more)
    return runs.open_run(shop, home(shop), name, values, compiled=graph.load(shop), champions=champions, say=quiet)


def committed(shop: Path, values: dict[str, object]) -> None:
    file = shop / "params.yaml"
    file.write_text(overrides.apply(file.read_text(), values))
    commit(shop, "other params")


def finished(run: Run, shop: Path) -> Run:
    plan, done = graph.load(shop), dict[str, fragments.Fragments]()
    for stage in plan.stages:
        done[stage] = runs.run_stage(run, stage, [done[up] for up in plan.upstream(stage)], quiet)
    runs.record(run, done.values(), quiet)
    return run


def read(shop: Path) -> list[str]:
    """The files that were read since the last look."""
    file = home(shop) / "read"
    names = file.read_text().split() if file.exists() else []
    file.unlink(missing_ok=True)
    return names


def by_hand(shop: Path, folder: Path) -> str:
    """The dvc.lock that `dvc repro` makes of the checkout as it is now, from nothing."""
    copy = Path(shutil.copytree(shop, folder))
    shutil.rmtree(copy / ".dvc/cache", ignore_errors=True)
    workspace.set_params(copy, {"simulator.events": 5, "champion.next_step": 0})
    dvc(copy, "repro", "--quiet")
    return (copy / "dvc.lock").read_text()


@pytest.mark.slow
def test_what_an_earlier_run_took_in_is_not_read_again_and_the_result_is_as_from_nothing(
    growing: Path, _ran: Ran, tmp_path: Path
) -> None:
    first = _ran.run
    assert first.base == ""
    assert read(growing) == ["raw.csv"]
    (growing / "data/raw/tuesday.csv").write_text("cart,8\n")
    shutil.rmtree(growing / ".dvc/cache")  # another machine's cache is empty
    second = finished(opened(growing, "second"), growing)
    assert read(growing) == ["tuesday.csv"]
    assert second.base == git(growing, "rev-parse", first.reference).strip()
    hand = by_hand(growing, tmp_path / "by_hand")
    print(hand, git(growing, "show", f"{second.reference}:dvc.lock"))
    assert git(growing, "show", f"{second.reference}:dvc.lock") == hand


@pytest.mark.slow
def test_where_nothing_is_new_there_is_nothing_to_do(growing: Path, _ran: Ran) -> None:
    assert runs.unchanged(_ran.run, quiet) == "", "there was no run before it"
    again = opened(growing, "again", {"next_step": 3})
    assert runs.unchanged(again, quiet).startswith("nothing has changed since run first of 2")
    assert not again.workspaces.exists()

    other = opened(growing, "other", **{"models.next_step.budget.epochs": 2})
    assert other.base == again.base
    assert runs.unchanged(other, quiet) == ""
    finished(other, growing)
    # What no stage depends on is no difference: the run of the same models is found, not the newest.
    was = (growing / "params.yaml").read_text()
    committed(growing, {"schedule.watch": "@daily", "promotion.wait_hours": 3})
    again = opened(growing, "first-again")
    assert runs.unchanged(again, quiet).startswith("nothing has changed since run first of 2")

    committed(growing, {"source.sql_query": "events"})
    table = opened(growing, "table", **{"source.kind": "sql"})
    lines: list[str] = []
    assert runs.unchanged(table, lines.append) == ""
    (growing / "params.yaml").write_text(was)
    commit(growing, "as before")

    (growing / "data/raw/tuesday.csv").write_text("cart,8\n")
    assert runs.unchanged(opened(growing, "tuesday"), quiet) == ""
    (growing / "data/raw/tuesday.csv").unlink()
    (growing / "check.sh").write_text("mkdir -p reports\necho 1 > reports/check.txt\n")
    commit(growing, "another check")
    assert runs.unchanged(opened(growing, "code"), quiet) == ""


@pytest.mark.slow
def test_events_made_by_other_code_or_params_are_not_built_on(growing: Path) -> None:
    assert opened(growing, "params", **{"simulator.events": 6}).base == ""
    (growing / "ingest.sh").write_text(f"# mended\n{INGEST}")
    commit(growing, "another ingest")
    assert opened(growing, "code").base == ""


@pytest.mark.slow
def test_a_lock_that_was_committed_later_is_kept(growing: Path) -> None:
    dvc(growing, "repro", "--quiet")
    git(growing, "add", "--force", "dvc.lock")
    git(growing, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--message", "by hand")
    assert opened(growing, "second").base in ("", git(growing, "rev-parse", "refs/runs/first").strip())
