"""Real processes: two promotions at once, and promotions killed with SIGKILL between any two of their effects."""

import contextlib
import functools
import os
import shutil
import signal
from collections.abc import Callable, Iterator
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


def promoting(root: str, home: str, start: Any, pipe: Any) -> None:
    """In a process of its own: promote each time that a word comes, and answer `promoted` or `refused`."""
    os.environ["CLICKFLOW_HOME"] = home
    paths = Paths(Path(root))
    while pipe.recv() == "promote":
        params = params_of(paths)
        start.wait()
        try:
            promote.run(params, paths, [MODEL], as_json=True)
            pipe.send("promoted")
        except UsageError:
            pipe.send("refused")


def test_two_promotions_at_once_leave_one_champion(tmp_path: Path, root: Path, processes: ForkServerContext) -> None:
    """Both were judged against the same champion: the first ships, the second is refused; again and again."""
    home = with_store(workspace(tmp_path / "a", root)).home
    start, pair = processes.Barrier(2), []
    for name in ("a", "b"):
        ours, theirs = processes.Pipe()
        given = (str(tmp_path / name), str(home), start, theirs)
        pair.append((processes.Process(target=promoting, args=given, daemon=True), ours))  # ends with the test
        pair[-1][0].start()
        theirs.close()
    for turn in range(3):
        before = state(Paths(tmp_path / "a"))["standing"].champion if turn else 0
        for name in ("a", "b"):
            candidate(workspace(tmp_path / name, root, champion=before), f"{name} {turn}", champion=before)
        for _, pipe in pair:
            pipe.send("promote")
        assert {pipe.recv() for _, pipe in pair} == {"promoted", "refused"}
        registry = state(Paths(tmp_path / "a"))
        standing = registry["standing"]
        assert (standing.champion, standing.previous) == (turn + 1, before)
        assert registry["aliases"]["champion"] == turn + 1
        assert registry["aliases"].get("previous", 0) == before
        assert registry["actions"][-2:] == [("promote", turn + 1), ("refuse", 0)]
    for process, pipe in pair:
        pipe.send("enough")
        process.join()
        assert process.exitcode == 0


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


def killed(verb: str, root: str, begun: str, report: Any) -> None:
    """In a process of its own: do it once, undisturbed, so that all is loaded; then in a fork for each effect, on a
    copy of the home that ends by SIGKILL there. Report of each, and of a last one that does it all, the effects' names,
    and whether it was done.
    """
    paths, home = Paths(Path(root)), Path(begun)

    def copied(name: str) -> None:
        os.environ["CLICKFLOW_HOME"] = str(shutil.copytree(home, home.with_name(name)))

    copied("undisturbed")
    do(verb, paths)
    for at in range(100):
        copied(f"home {at}")
        if child := os.fork():
            done = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            report.send(done)
            if done != -signal.SIGKILL:
                return
            continue
        count = 0

        def act(name: str, at: int = at) -> None:
            nonlocal count
            report.send(name)
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

        counting(act)  # type: ignore[arg-type]
        try:
            do(verb, paths)
            os._exit(0)
        finally:
            os._exit(1)


def reported(receiver: Any) -> Iterator[tuple[int, list[str]]]:
    """How each fork of `killed` ended, and the effects that it came to."""
    effects: list[str] = []
    with contextlib.suppress(EOFError):
        while True:
            if isinstance(word := receiver.recv(), int):
                yield word, effects
                effects = []
            else:
                effects.append(word)


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
    begun = shutil.copytree(paths.home, tmp_path / "begun")
    receiver, sender = processes.Pipe(duplex=False)
    process = processes.Process(target=killed, args=(verb, str(paths.root), str(begun), sender))
    process.start()
    sender.close()
    said = list(reported(receiver))
    process.join()
    assert process.exitcode == 0
    assert said[-1][0] == 0
    for at, (ended, effects) in enumerate(said):
        monkeypatch.setenv("CLICKFLOW_HOME", str(tmp_path / f"home {at}"))
        if at and verb == "rollback":
            candidate(paths, "three", champion=2)
        assert ended in (0, -signal.SIGKILL)
        done = ended == 0
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
    assert {"append", "after append", "set_registered_model_alias"} <= set(effects)
    assert at == len(effects), "it was killed at every effect"
