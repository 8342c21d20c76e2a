"""Checkpoints of a training, written whole or not at all, found again by the fingerprint of what is being trained.

A folder per fingerprint; in it `step-N.safetensors` (tensors) and `step-N.json` (the rest, with the tensors' hash). The
JSON is written last, so a checkpoint without it does not exist; one whose hash does not fit is passed over.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from clickflow.system.files import sha256, sha256_json, whole, write_text
from clickflow.training.checkpoint_mirror import Mirror

KEEP = 2
"""How many checkpoints stay: the last, and the one before in case the last is damaged."""


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and the rest of the state as JSON values."""

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training, in `folder`; `say` is told of one that cannot be used.

    `seconds`: how far apart they are within an epoch; `mirror`: where they are kept too, for another machine.
    """

    folder: Path
    seconds: float
    say: Callable[[str], None] = lambda _: None
    mirror: Mirror | None = None

    def save(self, step: int, checkpoint: Checkpoint) -> None:
        """Write the checkpoint of `step`, then remove older ones; a kill at any moment leaves the newest whole one.

        Where it cannot be written (a full disk, or another process trains the same and has just ended), that is said
        and training goes on.
        """
        from safetensors import SafetensorError

        try:
            tensors = self._write(step, checkpoint)
        except (OSError, SafetensorError) as error:
            self.say(f"the checkpoint of step {step:,} was not written, training goes on: {error}")
            return
        if self.mirror:
            self.mirror.copy(tensors)

    def _write(self, step: int, checkpoint: Checkpoint) -> Path:
        from safetensors.torch import save_file

        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = self.folder / f"step-{step:09d}.safetensors"
        with whole(tensors) as fresh:
            save_file({name: tensor.cpu().contiguous() for name, tensor in checkpoint.tensors.items()}, fresh)
        content = {"state": checkpoint.state, "sha256": sha256(tensors)}
        content["seal"] = _seal(content)
        write_text(tensors.with_suffix(".json"), json.dumps(content, sort_keys=True))
        kept = {path.stem for path in sorted(self.folder.glob("step-*.json"))[-KEEP:]}
        # a kill between the two files leaves tensors alone: they go with the older ones
        for old in self.folder.iterdir():
            if old.stem not in kept:
                old.unlink(missing_ok=True)
        return tensors

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, or None; each one that is not is named through `say`."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if self.mirror:
            self.mirror.fetch(self.folder)
        for path in sorted(self.folder.glob("step-*.json"), reverse=True):
            tensors = path.with_suffix(".safetensors")
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                if content.pop("seal") != _seal(content) or sha256(tensors) != content["sha256"]:
                    raise ValueError("its bytes have changed")
                return Checkpoint(load_file(tensors), content["state"])
            except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
                self.say(f"checkpoint {path.stem} in {self.folder} cannot be used ({error}); trying the one before")
        return None

    def part(self, index: int) -> "Checkpoints":
        """Those of one network of an ensemble, in a folder within."""
        name = f"network-{index}"
        mirror = self.mirror.part(name) if self.mirror else None
        return replace(self, folder=self.folder / name, mirror=mirror)

    def remove(self) -> None:
        """Remove all of them, those of parts too: the training has ended."""
        if self.mirror:
            self.mirror.remove()
        shutil.rmtree(self.folder, ignore_errors=True)


def _seal(content: Mapping[str, Any]) -> str:
    """A hash over what the JSON holds, as it will be read again."""
    return sha256_json(json.loads(json.dumps(content)))


def fingerprint(*parts: Any, sources: Iterable[Path] = ()) -> str:
    """What is being trained, as 16 hex digits: JSON values, and the bytes of source files (by name)."""
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
    for path in sorted(sources):
        digest.update(f"{path.name}\0{sha256(path)}\n".encode())
    return digest.hexdigest()[:16]
