"""`clickflow serve`: workers of granian, each with the champions, their state and the application."""

import gc
import hashlib
import ipaddress
import os
import socket
import sys
import tempfile
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from clickflow.events.pseudonyms import load_key
from clickflow.online import near
from clickflow.online.engine import Engine
from clickflow.online.http import keys
from clickflow.params.schema import Params
from clickflow.params.serve import Serve
from clickflow.sequences.units import UNITS
from clickflow.system import console
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.paths import Paths

GRACE = 10
"""Seconds that requests under way have at the end."""
GARBAGE = 2_000, 20, 100
"""When what nobody holds is looked for: often among the newest objects, hardly ever among all, for all else waits."""
SWITCH = 0.0005
"""Seconds after which a thread of Python lets another one on."""
MENDS = {
    "index": "let serve.index be exact, or serve.recall be lower",
    "memory": "let the home be written, and have room; then start the server again",
}
"""What mends a model's index or memory."""
KEYS_AGE = 2.0
"""Seconds after which a change of the keys is seen."""
KEPT = "the earlier ones still hold"
WORDS = 4096
"""Words for what was done whose types are kept."""


def run(params: Params, paths: Paths, *, host: str | None, port: int | None, workers: int | None) -> None:
    """Serve until it is told to end. Raises UsageError where that would be unsafe or cannot work."""
    serve = params.serve
    serve = replace(
        serve,
        host=serve.host if host is None else host,
        port=serve.port if port is None else port,
        workers=serve.workers if workers is None else workers,
    )
    check(serve, paths)
    actions(params)
    load_key(paths.home)  # made here, once, where there is none: a worker could not say that it cannot be
    serve = replace(serve, port=serve.port or free_port(serve.host))
    listen(partial(build, replace(params, serve=serve), paths), serve)


def check(serve: Serve, paths: Paths) -> None:
    """Raises UsageError where nobody is asked for a key off loopback, or workers would each know a part of a visit."""
    if not keys.load(paths.home) and not is_loopback(serve.host):
        raise UsageError(
            f"{serve.host} can be reached from other machines, and there are no keys: anybody could ask",
            kept="nothing was started",
            next_step="make one with `clickflow serve --new-key NAME`, or listen on 127.0.0.1",
        )
    if serve.least_recall is not None:
        near.ready()
    if serve.queue < serve.max_batch:
        raise UsageError(
            f"serve.queue is {serve.queue}, below serve.max_batch, {serve.max_batch}: no full batch could be answered",
            kept="nothing was started",
            next_step="raise the one, or lower the other, in params.yaml",
        )
    if serve.workers > 1 and serve.redis is None:
        raise UsageError(
            f"{serve.workers} workers would each keep a part of what a visitor did",
            kept="nothing was started",
            next_step="name a Redis in serve.redis, or take one worker",
        )


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def free_port(host: str) -> int:
    """A port that nobody listens on."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def listen(make: Callable[[], Any], serve: Serve) -> None:
    """Answer with what `make` makes in each worker, until SIGTERM or Ctrl-C; requests under way are answered first.

    Raises UsageError where the port is taken.
    """
    from granian import Granian
    from granian.constants import Interfaces

    with socket.socket(socket.AF_INET6 if ":" in serve.host else socket.AF_INET) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((serve.host, serve.port))
        except OSError as error:
            raise UsageError(
                f"nothing can listen on {serve.host}:{serve.port}: {error.strerror}",
                kept="nothing was started",
                next_step="end what listens there, or choose another with --port",
            ) from error
    with tempfile.TemporaryDirectory(prefix="clickflow-serve-") as scratch:
        if serve.workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = scratch
        server = Granian(
            "clickflow",
            address=serve.host,
            port=serve.port,
            interface=Interfaces.ASGI,
            workers=serve.workers,
            websockets=False,
            backlog=2048,
            workers_kill_timeout=GRACE,
            log_enabled=False,
            respawn_failed_workers=True,
            process_name=f"clickflow serve {serve.host}:{serve.port}" if find_spec("setproctitle") else None,
        )
        shown = f"[{serve.host}]" if ":" in serve.host else serve.host
        server.on_startup(lambda: console.say(f"answers at http://{shown}:{serve.port} (Ctrl-C ends it)"))
        server.serve(target_loader=make, wrap_loader=False)


def build(params: Params, paths: Paths) -> Any:
    """The application of one worker; its champions are followed in a thread."""
    import threadpoolctl

    from clickflow.online.champions import Champions
    from clickflow.online.http.app import app
    from clickflow.online.http.metrics import take_room
    from clickflow.online.http.settings import Settings
    from clickflow.online.http.tracing import tracer
    from clickflow.online.live.live import Live
    from clickflow.online.memory import thrift
    from clickflow.online.remembering import Listed, Remembering

    if params.serve.workers > 1:
        console.speak_as(f"worker {os.getpid()}")
    if counted := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        try:
            take_room(Path(counted))
        except OSError as error:
            del os.environ["PROMETHEUS_MULTIPROC_DIR"]
            console.say(f"warning: {counted}: {error.strerror}; this worker counts by itself, /metrics has not all")
    if params.serve.least_recall is not None:
        near.ready()  # its threads are limited below, too
    # models answer in threads of their own: they must not hold up who speaks HTTP, nor start threads for small products
    thrift()
    sys.setswitchinterval(SWITCH)
    gc.set_threshold(*GARBAGE)
    threadpoolctl.threadpool_limits(1)
    serve, key, spans = params.serve, load_key(paths.home), tracer()
    engine = Engine({}, order=serve.models or params.models, most=serve.queue)
    champions = Champions(engine, params, paths, models=serve.models or None, recall=serve.least_recall)
    champions.refresh_here()
    stop = threading.Event()
    threading.Thread(target=champions.follow, args=(serve.refresh_seconds, stop), name="champions", daemon=True).start()
    live = Live(params, paths, engine).start()
    held = Keys(paths.home, shut=not is_loopback(serve.host))

    def wrong() -> Mapping[str, str]:
        problems = {
            model: each.problem
            for model, each in champions.health().items()
            if each.problem and (not each.waiting or model in serve.models)
        }
        said = {"keys": held.wrong} if held.wrong else {}
        return {**problems, **not_as_chosen(engine, serve), **live.wrong(), **rotated(paths.home, key), **said}

    def end() -> None:
        stop.set()
        live.close()
        if spans is not None:
            spans.close()

    settings = Settings(
        serve=serve,
        observers=(live.observe,),
        choose=live.choose,
        pseudonym=pseudonyms(params, key),
        action=actions(params),
        keys=held.now,
        gap=gaps(params).get,
        wrong=wrong,
        champions=lambda: {model: each.champion for model, each in champions.health().items()},
        next=lambda: {
            **{name: MENDS[name.split()[0]] for name in not_as_chosen(engine, serve)},
            **{model: each.next for model, each in champions.health().items() if each.next},
        },
        at_end=end,
        extra={"live": live, "costs": params.evaluation.costs, "params": params, "paths": paths}
        | ({} if spans is None else {"tracer": spans}),
    )
    return app(engine, Remembering(state_of(serve), Listed(paths.home, key)), settings)


def not_as_chosen(engine: Engine, serve: Serve) -> Mapping[str, str]:
    """The models whose items are all scored because an approximate index would find too few of the best, and those
    whose items each worker holds for itself.
    """
    current = {model: engine.current(model) for model in engine.models}
    apart = (
        "its vectors are not shared by the workers, each holds its own: their file beside the model is not to be had"
    )
    return {f"memory of {model}": apart for model, each in current.items() if serve.workers > 1 and each.unshared} | {
        f"index of {model}": f"an index that reads {each.index.read} of {each.index.lists} lists finds "
        f"{each.index.recall:.1%} of the best 20 items, below serve.recall: all items are scored"
        for model, each in current.items()
        if serve.least_recall is not None and each.index is not None and not each.approximate
    }


def rotated(home: Path, key: bytes) -> Mapping[str, str]:
    """What is wrong where the key of the pseudonyms is another by now."""
    try:
        same = load_key(home) == key
    except (ClickflowError, OSError) as error:
        return {"pseudonyms": f"the key cannot be read any more: {error}; the earlier one is used"}
    return {} if same else {"pseudonyms": "the key is another since this server began: start it again"}


def gaps(params: Params) -> Mapping[str, int]:
    """By unit whose sequences pauses end, how long such a pause is, microseconds."""
    minutes = {
        name: getattr(getattr(params.sequences, unit.section, None), "gap_minutes", None)
        for name, unit in UNITS.items()
    }
    return {name: round(each * 60e6) for name, each in minutes.items() if each is not None}


def state_of(serve: Serve) -> Any:
    """Where the steps of sessions and customers are kept."""
    from clickflow.online import state

    seconds = serve.keep_hours * 3600
    if serve.redis is not None:
        return state.Redis(serve.redis, steps=serve.steps, keep_seconds=seconds)
    return state.Memory(subjects=serve.subjects, steps=serve.steps, keep_seconds=seconds)


PERSONS: Mapping[str, bytes] = {"customer": b"clickflow user", "session": b"clickflow visit"}
COLUMN_OF: Mapping[str, str] = {"customer": "user_id", "session": "session_id"}
"""By kind of subject, its column in the log."""


def pseudonym(key: bytes, kind: str, raw: str) -> str:
    """The pseudonym of an id in its one form (`one_form`), as ingest gives it (`clickflow.events.pseudonyms`)."""
    digest = hashlib.blake2b(raw.encode("utf-8", "replace"), key=key, digest_size=9, person=PERSONS[kind])
    return urlsafe_b64encode(digest.digest()).decode()


def one_form(nulls: frozenset[str], raw: str) -> str | None:
    """An id as ingest reads it: trimmed, a whole number in one form; None where it stands for nobody (`source.nulls`).

    Raises ValueError where it is a number that has lost digits.
    """
    from clickflow.events import texts

    name = raw.strip(texts.WHITE)
    if not name or name in nulls:
        return None
    if name[0] in "-0123456789" and ("." in name or "+" in name):
        import pyarrow as pa

        one, inexact = texts.identity(pa.array([name], pa.string()))
        if inexact[0]:
            raise ValueError("a number that has lost digits, and may be another one's id")
        return str(one[0])
    return name


def pseudonyms(params: Params, key: bytes) -> Callable[[str, str], str | None]:
    """From a kind of subject and a raw id to the pseudonym that the same text has in the shop's log, or to nobody."""
    from clickflow.events.presets import EVERY

    nulls = {
        kind: frozenset((*params.source.nulls.get(EVERY, ()), *params.source.nulls.get(column, ())))
        for kind, column in COLUMN_OF.items()
    }

    def of(kind: str, raw: str) -> str | None:
        name = one_form(nulls[kind], raw)
        return None if name is None else pseudonym(key, kind, name)

    return of


def actions(params: Params) -> Callable[[str | None], str | None]:
    """From a shop's word for what was done to the type of event, by the code of ingest, and to itself where it is none;
    None where `source.event_types` leaves such events out. Of a preset of several files: as in the last of them.
    """
    from clickflow.events import texts
    from clickflow.events.event_types import nulls_of, resolver
    from clickflow.events.origins import as_read
    from clickflow.events.presets import IGNORE, layout_of
    from clickflow.online.http.settings import VIEW

    source = as_read(params.source)
    mapped = layout_of(source, "").event_types
    resolve, nulls = resolver(mapped), frozenset(nulls_of(source.nulls, "event_type", mapped))

    @lru_cache(WORDS)
    def of(word: str | None) -> str | None:
        name = (word or "").strip(texts.WHITE)
        _, kind = resolve(None if not name or name in nulls else name)
        return None if kind == IGNORE else kind or word or VIEW

    return of


NOBODY: Mapping[bytes, keys.Key] = {b"": keys.Key("nobody", frozenset())}
"""Keys that nobody has: no hash is empty."""


class Keys:
    """The keys of a home, read again when their file has changed. Where the server can be reached from other machines
    (`shut`), keys that are gone let nobody in: without any, whoever reaches it may ask.
    """

    def __init__(self, home: Path, *, shut: bool = False) -> None:
        self._home, self._shut, self.wrong = home, shut, ""
        self._held: Mapping[bytes, keys.Key] = NOBODY
        self._stamp, self._looked = self._seen(), time.monotonic()
        self._read()
        self._lock = threading.Lock()

    def now(self) -> Mapping[bytes, keys.Key]:
        """Those that hold. A file that cannot be read any more leaves those that were there before."""
        at = time.monotonic()
        if at - self._looked > KEYS_AGE and self._lock.acquire(blocking=False):
            try:
                self._looked = at
                if (stamp := self._seen()) != self._stamp:
                    self._stamp = stamp
                    self._read()
            finally:
                self._lock.release()
        return self._held

    def _read(self) -> None:
        before = self.wrong
        kept = KEPT if any(self._held) else "nobody is let in until then"
        try:
            keys_now = keys.load(self._home)
            gone = self._shut and not keys_now
            self.wrong = f"there is no key any more in {keys.file_of(self._home)}; {kept}" if gone else ""
            self._held = self._held if gone else keys_now
        except (ClickflowError, OSError) as error:
            said = error.what if isinstance(error, ClickflowError) else f"the keys cannot be read: {error}"
            self._held = self._held or NOBODY  # there are keys, and which is not known: nobody is let in without
            self.wrong = f"{said}; {kept}"
        if self.wrong and self.wrong != before:
            console.say(f"warning: keys: {self.wrong}")

    def _seen(self) -> tuple[int, int, int]:
        try:
            stat = keys.file_of(self._home).stat()
        except OSError:
            return (0, 0, 0)
        return (stat.st_mtime_ns, stat.st_ino, stat.st_size)
