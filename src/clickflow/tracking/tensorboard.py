"""TensorBoard's files, for `tensorboard --logdir`. They break no training: what fails is said once, then left."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class TensorBoard:
    """Event files; the curves of a training that went on after a kill join."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(folder), flush_secs=30)
        except (ImportError, OSError) as error:
            say(f"no TensorBoard files are written: {error}")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add `values` at `step`."""
        if self.writer:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        if self.writer:
            self.writer.close()
