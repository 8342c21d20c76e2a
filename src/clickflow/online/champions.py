"""The champions that answer: as the ledger says, loaded beside those before them, and swapped in when they are ready.

A champion that cannot be had (the registry is away, its files are spoilt, the disk is full) leaves the one before
answering; `health` says what is wrong. Nothing here runs while a question waits: `follow` is for a thread of its own,
and what must be downloaded is, by another process. A champion that is here does not wait for one that is not: a
registry may take a connection and never answer.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from clickflow.online.engine import Engine
from clickflow.online.memory import trim
from clickflow.online.served import Served
from clickflow.params.schema import Params
from clickflow.registry import champion, ledger
from clickflow.system import process
from clickflow.system.console import say
from clickflow.system.errors import ClickflowError, DataError
from clickflow.system.paths import Paths
from clickflow.tracking import mlflow_client

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds until a version that could not be had is tried again; each time twice as long, at most so many."""

SLOW = 10.0
"""Seconds that the registry may take before health says so."""
LONGEST_FETCH = 1800.0
"""Seconds after which a download is given up, whatever still comes of it."""

TRIMS = 2
"""Refreshes after a swap at whose end memory is given back again."""

NOTHING = "nothing answers in its place"
WAITING = "see whether the registry answers; it is given up and tried again by itself"

Fetch = Callable[[str, int], Path]
"""From a model and a version to its artefact's folder, whose files are whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a model stands."""

    champion: int = 0
    """The version that should answer; 0: none."""
    serving: int = 0
    """The version that answers; 0: none."""
    since: float | None = None
    """When it came to, seconds since 1970 UTC."""
    problem: str = ""
    """What is wrong, and what is done in its place; empty: nothing."""
    next: str = ""
    """What mends it."""
    waiting: bool = False
    """Whether the problem is only that there has been no champion yet."""


class Champions:
    """Keeps an engine's models at what the ledger says."""

    def __init__(
        self,
        engine: Engine,
        params: Params,
        paths: Paths,
        *,
        models: Iterable[str] | None = None,
        threads: int = 1,
        recall: float | None = None,
        fetch: Fetch | None = None,
    ) -> None:
        """`models`: none given, all of params.yaml; `threads` of onnxruntime, a model; `recall`: see `Served.of`;
        `fetch`: see `fetched`.
        """
        self._recall = recall
        self._engine, self._params, self._paths, self._threads = engine, params, paths, threads
        self._fetch = fetch or (lambda model, version: fetched(paths, model, version))
        self._standing = {model: Standing() for model in (params.models if models is None else models)}
        self._again: dict[str, tuple[int, float, float]] = {}
        self._away: tuple[float, float, ClickflowError] | None = None
        self._seen: dict[str, tuple[Path, object]] = {}
        self._request: tuple[str, int, float] | None = None
        """What the registry is asked for now: model, version (0: which one is champion), since when."""
        self._announced: object = None
        self._trims = 0
        self._ledger: tuple[object, list[ledger.Entry]] = (None, [])
        self._one, self._asking = threading.Lock(), threading.Lock()

    def health(self) -> dict[str, Standing]:
        """How each model stands, as of the last `refresh`, and what has been waited for too long."""
        standing = dict(self._standing)
        if (request := self._request) is None or time.monotonic() - request[2] < SLOW:
            return standing
        model, version, since = request
        now = standing[model]
        if version and version != now.champion:  # it was rolled back meanwhile
            return standing
        what = f"version {version}, the champion, to come" if version else "the registry to say who is champion"
        problem = f"{time.monotonic() - since:.0f} s have been waited for {what}; {_instead(now)}"
        standing[model] = replace(now, champion=version or now.champion, problem=problem, next=WAITING, waiting=False)
        return standing

    def refresh(self) -> None:
        """Bring every model to its champion; whatever is wrong is kept for `health`, and said once."""
        self.refresh_here()  # no champion that is here waits for a registry that does not answer
        with self._asking:
            for model in self._standing:
                try:
                    self._bring(model)
                except Exception as error:
                    with self._one:
                        now = self._standing[model]
                        self._settle(model, replace(now, problem=_reason(error), next=_next(error), waiting=False))
            if self._trims:  # what was under way at the swap held the version before
                self._trims -= 1
                trim()

    def refresh_here(self) -> None:
        """Swap in champions that the ledger names and the home holds; the registry is not asked. Where nothing answers
        and the home holds an earlier one alone, that one.
        """
        with self._one:
            for model, now in self._standing.items():
                said = ""
                try:
                    wanted = self._ledgers(model)
                    tried = self._again.get(model, (0, 0.0, 0.0))[0]
                    if not wanted or wanted == tried or wanted == now.serving == now.champion:
                        continue
                    if wanted == now.serving:
                        after = replace(now, champion=wanted, problem="", next="")
                    elif folder := champion.held(self._paths, model, wanted):
                        after = self._loaded(model, wanted, folder)
                    elif now.serving:
                        after = replace(now, champion=wanted)
                    else:
                        spoilt = champion.folder_of(self._paths, model, wanted).exists()
                        why = "is here, and not as it was recorded" if spoilt else "is not here yet"
                        after = replace(
                            now,
                            champion=wanted,
                            problem=f"version {wanted}, the champion, {why}; {NOTHING}",
                            next="wait: it is fetched from the registry",
                        )
                        if not spoilt:  # so is every first start after the first promotion
                            said = f"{model}: version {wanted} is fetched from the registry, and answers then"
                except Exception:
                    continue  # `refresh` says it
                self._settle(model, after, said)

    def _settle(self, model: str, after: Standing, said: str = "") -> None:
        """Keep how a model stands, and say what is newly wrong, or `said` in its place; where nothing answers, an
        earlier champion does.
        """
        before = self._standing[model].problem
        if not after.serving and after.problem:
            after = self._earlier(model, after)
        if after.problem and after.problem != before:
            say(said or f"warning: {model}: {after.problem}")
        self._standing = {**self._standing, model: after}

    def follow(self, seconds: float, stop: threading.Event) -> None:
        """`refresh`, and again every so many seconds, until `stop`; what is here is seen to also while the registry is
        waited for.
        """
        threading.Thread(target=self._follow_here, args=(seconds, stop), name="champions here", daemon=True).start()
        self.refresh()
        while not stop.wait(seconds):
            self.refresh()

    def _follow_here(self, seconds: float, stop: threading.Event) -> None:
        while not stop.wait(seconds):
            self.refresh_here()
            request = self._request
            if request is not None and request[:2] != self._announced and time.monotonic() - request[2] >= SLOW:
                self._announced = request[:2]
                say(f"warning: {request[0]}: {self.health()[request[0]].problem or 'the registry is waited for'}")

    def _bring(self, model: str) -> None:
        """Bring a model to its champion. The registry is asked while nothing is held: others go on."""
        wanted = self._wanted(model)
        with self._one:
            now = replace(self._standing[model], champion=wanted, problem="", next="", waiting=False)
            if not wanted:
                self._engine.withdraw(model)
                self._seen.pop(model, None)
                why = f"{model} has no champion: `dvc repro`, then `clickflow promote`, make the first one"
                self._settle(model, Standing(problem=why, waiting=True))
                return
            if now.serving == wanted:
                spoilt = self._spoilt(model)
                if not spoilt or self._seen[model][0].exists():
                    mends = "find out what wrote there; then remove the folder" if spoilt else ""
                    self._settle(model, replace(now, problem=spoilt, next=mends))
                    return
            number, due, pause = self._again.get(model, (0, 0.0, FIRST_PAUSE / 2))
            if number == wanted and time.monotonic() < due:
                if self._standing[model].champion != wanted:  # rolled back, and promoted again
                    problem = f"version {wanted}, the champion, could not be loaded before; {_instead(now)}"
                    self._settle(model, replace(now, problem=problem, next=WAITING))
                return
            pause = min(2 * pause, LONGEST_PAUSE) if number == wanted else FIRST_PAUSE
        try:
            with self._waiting(model, wanted):
                folder = self._fetch(model, wanted)
            with self._one:
                if self._ledgers(model) in (None, wanted):  # else it was rolled back while it came
                    self._settle(model, self._loaded(model, wanted, folder))
        except Exception as error:
            with self._one:
                if self._ledgers(model) not in (None, wanted):
                    return
                self._again[model] = (wanted, time.monotonic() + pause, pause)
                problem = f"version {wanted}, the champion, cannot be loaded: {_reason(error)}; {_instead(now)}"
                self._settle(model, replace(self._standing[model], champion=wanted, problem=problem, next=_next(error)))

    def _loaded(self, model: str, number: int, folder: Path) -> Standing:
        """Let the version in `folder` answer."""
        self._swap(Served.of(model, number, folder, threads=self._threads, recall=self._recall))
        self._again.pop(model, None)
        return Standing(champion=number, serving=number, since=time.time())

    @contextlib.contextmanager
    def _waiting(self, model: str, version: int) -> Iterator[None]:
        self._request = (model, version, time.monotonic())
        try:
            yield
        finally:
            self._request = None

    def _ledgers(self, model: str) -> int | None:
        """The champion by the ledger; None where it has no line on one."""
        standing = ledger.standing(self._entries(), model)
        return standing.champion if standing.entry else None

    def _entries(self) -> list[ledger.Entry]:
        """The ledger, read and checked again where it has changed."""
        try:
            stat = ledger.path(self._paths).stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        except OSError:
            return ledger.whole(self._paths)
        if stamp != self._ledger[0]:
            self._ledger = (stamp, ledger.whole(self._paths))
        return self._ledger[1]

    def _wanted(self, model: str) -> int:
        """The champion's version. Where the ledger does not know it the registry does, which is asked seldom while it
        is away, once for all models.
        """
        if (said := self._ledgers(model)) is not None:
            return said
        due, pause, last = self._away or (0.0, FIRST_PAUSE / 2, None)
        if last is not None and time.monotonic() < due:
            raise last
        try:
            with self._waiting(model, 0):
                version = champion.current(self._params, self._paths, model, patient=False)
        except ClickflowError as error:
            pause = min(2 * pause, LONGEST_PAUSE)
            self._away = (time.monotonic() + pause, pause, error)
            raise
        self._away = None
        return version

    def _swap(self, served: Served) -> None:
        self._engine.swap(served)
        trim()
        self._trims = TRIMS
        self._seen[served.model] = (served.artefact.folder, _looks(served.artefact.folder))

    def _earlier(self, model: str, now: Standing) -> Standing:
        """Let the last champion before that the home has whole answer, where none does."""
        for number in self._champions(model):
            if number == now.champion:
                continue
            try:
                folder = champion.held(self._paths, model, number)
                if folder is None:
                    continue
                self._swap(Served.of(model, number, folder, threads=self._threads, recall=self._recall))
            except Exception:
                continue
            before = now.problem.removesuffix(f"; {NOTHING}")
            problem = f"{before}; version {number}, an earlier champion, answers"
            return replace(now, serving=number, since=time.time(), problem=problem)
        return now

    def _champions(self, model: str) -> Iterator[int]:
        """All that were champion, the newest first."""
        try:
            entries = ledger.read(ledger.path(self._paths))
        except (ClickflowError, OSError):
            return
        yield from dict.fromkeys(e.champion for e in reversed(entries) if e.model == model and e.moves and e.champion)

    def _spoilt(self, model: str) -> str:
        """Whether the files of the version that answers are no longer what was loaded."""
        folder, looked = self._seen[model]
        if (looks := _looks(folder)) == looked:
            return ""
        number = self._standing[model].serving
        if champion.held(self._paths, model, number):
            self._seen[model] = (folder, looks)
            return ""
        return (
            f"the files of version {number} in {folder} have changed since it was loaded; it goes on answering from "
            "memory, and is fetched again once the folder is removed"
        )


def fetched(paths: Paths, model: str, version: int) -> Path:
    """`champion.fetch`, its download by a process of its own: what it imports would hold up who answers."""
    if folder := champion.held(paths, model, version):
        return folder
    said: list[str] = []
    command = [sys.executable, "-m", "clickflow.online.champions", model, str(version)]
    env = {**mlflow_client.IMPATIENT, **os.environ, "CLICKFLOW_HOME": str(paths.home)}
    done = process.run(command, cwd=paths.root, env=env, say=said.append, capture=True, limit=LONGEST_FETCH)
    try:
        outcome = json.loads(done.stdout)
    except ValueError:
        raise ClickflowError(f"version {version} of {model} could not be fetched: {process.last_words(done)}") from None
    if "folder" not in outcome:
        raise DataError(outcome["what"], kept=outcome["kept"], next_step=outcome["next_step"])
    return Path(outcome["folder"])


def _fetch_here(model: str, version: int) -> None:
    """The other process: one line of JSON."""
    from clickflow.params.file import load

    paths = Paths(Path.cwd())
    try:
        outcome = {"folder": str(champion.fetch(load(paths.params), paths, model, version))}
    except (ClickflowError, OSError) as error:
        outcome = {name: str(getattr(error, name, "")) for name in ("kept", "next_step")} | {"what": _reason(error)}
    print(json.dumps(outcome))


def _instead(now: Standing) -> str:
    return f"version {now.serving} goes on answering" if now.serving else NOTHING


def _reason(error: Exception) -> str:
    """In one line."""
    if isinstance(error, ClickflowError):
        return error.what
    if isinstance(error, OSError):
        return str(error) or type(error).__name__
    return f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")


def _next(error: Exception) -> str:
    """What mends it."""
    said = getattr(error, "next_step", "") or ("free some space" if isinstance(error, OSError) else "")
    said = said.removesuffix("; then run the command again")
    return f"{said + '; ' if said else ''}it is tried again by itself, within {LONGEST_PAUSE / 60:.0f} minutes"


def _looks(folder: Path) -> object:
    """What tells that files were changed, without reading them."""
    try:
        return sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in folder.iterdir())
    except OSError as error:
        return str(error)


if __name__ == "__main__":
    _fetch_here(sys.argv[1], int(sys.argv[2]))
