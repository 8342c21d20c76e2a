"""Section `training` of params.yaml: where training runs."""

from dataclasses import dataclass
from typing import Annotated, Literal

from clickflow.params.meta import Meta


@dataclass(frozen=True, kw_only=True)
class Training:
    """Where training runs."""

    device: Annotated[Literal["auto", "cpu", "cuda"], Meta("auto: a GPU where there is one")] = "auto"
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"], Meta("of the arithmetic; auto: bfloat16 on a GPU that has it")
    ] = "auto"
    threads: Annotated[
        int,
        Meta("on the CPU; the result depends on it in the last digits; more pays only on idle cores", ge=1, le=1024),
    ] = 1
    processes: Annotated[
        int,
        Meta("that share the work of every batch: at most one a GPU; on a CPU it rarely pays", ge=1, le=1024),
    ] = 1
