"""Checkpoints that travel: each new one is copied to the DVC remote, so that a killed training goes on elsewhere.

`<remote>/checkpoints/<fingerprint>/` holds what the local folder holds, tensors first and JSON last. Copying is done in
the background by DVC's own file systems (a folder, S3, SSH, with its settings and credentials), loaded only where
`CLICKFLOW_CHECKPOINT_REMOTE` names a DVC repository. A remote that fails is told once, and training goes on.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clickflow.system.files import whole

VARIABLE = "CLICKFLOW_CHECKPOINT_REMOTE"
"""A folder with .dvc/; its default remote takes the checkpoints."""

PATIENCE = 60.0
"""Seconds that training waits for the remote at its beginning and end."""


def mirror(mark: str, say: Callable[[str], None]) -> "Mirror | None":
    """The mirror of a training's checkpoints; None where the environment names no remote."""
    folder = os.environ.get(VARIABLE, "")
    return Mirror(Path(folder), mark, say) if folder else None


class _Ended(Exception):
    """Training has ended meanwhile: what was being fetched is not put in its place."""


class Mirror:
    """The checkpoints of one training at a DVC remote."""

    def __init__(self, repository: Path, mark: str, say: Callable[[str], None]) -> None:
        self.repository, self.mark, self.say = repository, mark, say
        self.said = False
        self.waiting: Path | None = None
        self.wake = threading.Condition()
        self.copying: threading.Thread | None = None
        self.ended = False
        self.opened: tuple[Any, str] | None = None
        self.parts: list[Mirror] = []

    def part(self, name: str) -> "Mirror":
        """The mirror of a part of this training, removed with it."""
        mirror = Mirror(self.repository, f"{self.mark}.{name}", self.say)
        self.parts.append(mirror)
        return mirror

    def fetch(self, folder: Path) -> None:
        """Bring what the remote has and is newer than what lies in `folder`."""
        self._patiently(lambda: self._fetch(folder))

    def copy(self, tensors: Path) -> None:
        """Copy a checkpoint (its tensors, then its JSON) in the background; one that still waits is left out."""
        with self.wake:
            self.waiting = tensors
            if self.copying is None:
                self.copying = threading.Thread(target=self._work, name="checkpoints", daemon=True)
                self.copying.start()
            self.wake.notify()

    def remove(self) -> None:
        """Remove all of them there: the training has ended."""
        for part in self.parts:
            part.remove()
        with self.wake:
            self.ended, self.waiting = True, None
            self.wake.notify()
        self._patiently(self._remove)

    def _work(self) -> None:
        while True:
            with self.wake:
                self.wake.wait_for(lambda: self.ended or self.waiting is not None)
                if self.ended:
                    return
                tensors, self.waiting = self.waiting, None
            if tensors is not None:
                self._try(lambda path=tensors: self._copy(path))  # type: ignore[misc]

    def _copy(self, tensors: Path) -> None:
        fs, place = self._open()
        fs.makedirs(place, exist_ok=True)
        for path in (tensors, tensors.with_suffix(".json")):
            if not path.exists():
                return  # training has overtaken the copy; the next one comes
            fs.put_file(str(path), fs.join(place, path.name))
        complete = sorted(name for name in self._names() if name.endswith(".json"))
        kept = {Path(name).stem for name in complete[-2:]}
        for name in self._names():
            if Path(name).stem not in kept:
                fs.remove(fs.join(place, name))

    def _fetch(self, folder: Path) -> None:
        fs, place = self._open()
        local = max((path.name for path in folder.glob("step-*.json")), default="")
        newer = sorted(name for name in self._names() if name.endswith(".json") and name > local)
        for name in reversed(newer):
            folder.mkdir(parents=True, exist_ok=True)
            for part in (Path(name).with_suffix(".safetensors").name, name):
                with whole(folder / part) as fresh:
                    fs.get_file(fs.join(place, part), str(fresh))
                    if self.ended:
                        raise _Ended
        if newer:
            self.say(f"{len(newer)} checkpoints came from {fs.unstrip_protocol(place)}")

    def _remove(self) -> None:
        if self.copying is not None:
            self.copying.join()
        fs, place = self._open()
        if names := self._names():
            fs.remove([fs.join(place, name) for name in names])
        if fs.protocol == "local":
            fs.remove(place, recursive=True) if fs.exists(place) else None

    def _names(self) -> list[str]:
        fs, place = self._open()
        if hasattr(fs.fs, "invalidate_cache"):
            fs.fs.invalidate_cache()
        try:
            return [fs.name(path) for path in fs.ls(place, detail=False) if fs.name(path).startswith("step-")]
        except FileNotFoundError:
            return []

    def _open(self) -> tuple[Any, str]:
        """The remote's file system, and the folder of this training there."""
        if self.opened is None:
            from dvc.config import Config
            from dvc.fs import get_cloud_fs

            config = Config(str(self.repository / ".dvc"))
            kind, settings, path = get_cloud_fs(config, name=config["core"]["remote"])
            fs = kind(**settings)
            self.opened = fs, fs.join(path, "checkpoints", self.mark)
        return self.opened

    def _patiently(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=lambda: self._try(work), daemon=True)
        thread.start()
        thread.join(PATIENCE)
        if thread.is_alive():
            self._report_once(f"no answer for {PATIENCE:.0f} s")

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except _Ended:
            pass
        except Exception as error:  # every file system has errors of its own, and none may end a training
            self._report_once(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")

    def _report_once(self, why: str) -> None:
        if not self.said:
            self.said = True
            self.say(f"checkpoints stay on this machine, training goes on: the DVC remote does not take them ({why})")
