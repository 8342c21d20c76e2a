"""Real processes: two promotions at once, and promotions killed with SIGKILL between any two of their effects."""

import functools
import os
import shutil
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from registry_workspace import MODEL, candidate, params_of, state, with_store, workspace

import forks
from clickflow.registry import promote, rollback
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that start with MLflow and its stores imported, and nothing opened."""
    return forks.context()


def promoting(root: str, home: str, start: Any) -> None:
    """In a process of its own: promote, and end with 0 (done) or 2 (refused)."""
    os.environ["CLICKFLOW_HOME"] = home
    paths = Paths(Path(root))
    start.wait()
    try:
        promote.run(params_of(paths), paths, [MODEL], as_json=True)
    except UsageError:
        os._exit(2)


def test_two_promotions_at_once_leave_one_champion(tmp_path: Path, root: Path, processes: ForkServerContext) -> None:
    """Both were judged against the same champion: the first ships, the second is refused; again and again."""
    home = with_store(workspace(tmp_path / "a", root)).home
    for turn in range(3):
        before = state(Paths(tmp_path / "a"))["standing"].champion if turn else 0
        start = processes.Barrier(2)
        pair = []
        for name in ("a", "b"):
            paths = workspace(tmp_path / name, root, champion=before)
            candidate(paths, f"{name} {turn}", champion=before)
            pair.append(processes.Process(target=promoting, args=(str(paths.root), str(home), start)))
        for process in pair:
            process.start()
        for process in pair:
            process.join()
        assert {process.exitcode for process in pair} == {0, 2}
        registry = state(Paths(tmp_path / "a"))
        standing = registry["standing"]
        assert (standing.champion, standing.previous) == (turn + 1, before)
        assert registry["aliases"]["champion"] == turn + 1
        assert registry["aliases"].get("previous", 0) == before
        assert registry["actions"][-2:] == [("promote", turn + 1), ("refuse", 0)]


EFFECTS = (
    "create_registered_model",
    "create_run",
    "log_batch",
    "log_artifacts",
    "log_artifact",
    "set_terminated",
    "create_model_version",
    "set_registered_model_alias",
    "set_registered_model_tag",
    "delete_registered_model_alias",
)


def counting(act: Callable[[Callable[[str], None]], None]) -> None:
    """Let `act(name)` be called before every effect on MLflow, and before and after a line of the ledger."""
    import mlflow

    from clickflow.registry import ledger

    def before(holder: Any, name: str, after: bool = False) -> None:
        original = getattr(holder, name)

        @functools.wraps(original)
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            act(name)  # type: ignore[arg-type]
            result = original(*arguments, **keywords)
            if after:
                act(f"after {name}")  # type: ignore[arg-type]
            return result

        setattr(holder, name, wrapped)

    for name in EFFECTS:
        before(mlflow.MlflowClient, name)
    before(ledger, "append", after=True)


def killed(verb: str, root: str, home: str, at: int, report: Any) -> None:
    """In a process of its own: end by SIGKILL at the `at`-th effect; report each effect's name."""
    os.environ["CLICKFLOW_HOME"] = home
    paths = Paths(Path(root))
    count = 0

    def act(name: str) -> None:
        nonlocal count
        report.send(name)
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    counting(act)  # type: ignore[arg-type]
    do(verb, paths)


def do(verb: str, paths: Paths) -> None:
    if verb == "promote":
        promote.run(params_of(paths), paths, [MODEL], as_json=True)
    else:
        rollback.run(params_of(paths), paths, MODEL, reason="why", to=None, as_json=True)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["promote", "rollback"])
def test_killed_between_any_two_effects_and_called_again(
    tmp_path: Path, root: Path, processes: ForkServerContext, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far it came, the next call ends in the state of an undisturbed one, by one line of the ledger."""
    paths = with_store(workspace(tmp_path / "work", root))
    for version, content in enumerate(("one", "two", "three")[: 2 if verb == "promote" else 3]):
        candidate(paths, content, champion=version)
        if verb == "rollback" or version == 0:
            do("promote", paths)
    begun, effects = paths.home, list[str]()
    for at in range(100):
        home = tmp_path / f"home {at}"
        shutil.copytree(begun, home)
        monkeypatch.setenv("CLICKFLOW_HOME", str(home))
        if at and verb == "rollback":
            candidate(paths, "three", champion=2)
        receiver, sender = processes.Pipe(duplex=False)
        process = processes.Process(target=killed, args=(verb, str(paths.root), str(home), at, sender))
        process.start()
        sender.close()
        process.join()
        done = process.exitcode == 0
        assert process.exitcode in (0, -signal.SIGKILL)
        effects = []
        while receiver.poll():
            try:
                effects.append(receiver.recv())
            except EOFError:
                break
        middle = state(paths)
        if not done and (verb == "promote" or "after append" not in effects):
            do(verb, paths)
        elif not done:
            # the line stands, so the rollback is made; any later change sets the aliases
            candidate(paths, "four", decision="hold", champion=2)
            do("promote", paths)
        registry = state(paths)
        versions = (2, 1) if verb == "promote" else (2, 3)
        assert (registry["standing"].champion, registry["standing"].previous) == versions, effects
        assert (registry["aliases"]["champion"], registry["aliases"]["previous"]) == versions, effects
        assert registry["anchored"], effects
        assert sum(action == verb for action, _ in registry["actions"]) == (2 if verb == "promote" else 1), effects
        assert middle["standing"].champion in (1 if verb == "promote" else 3, 2)
        if done:
            break
    assert done
    assert {"append", "after append", "set_registered_model_alias"} <= set(effects)
    assert at == len(effects), "it was killed at every effect"
