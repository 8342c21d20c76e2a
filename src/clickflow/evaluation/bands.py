"""The forecasts of the test part that a report draws, each with the past before it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clickflow.evaluation.measure import Measured
from clickflow.evaluation.slices import PACES
from clickflow.evaluation.systems import CANDIDATE
from clickflow.heads.outputs import Output

PAST = 4
"""Horizons before the origin that are drawn."""


@dataclass(frozen=True)
class Band:
    """One series as of one origin: its name, its past [p], what came [h], expected value and quantiles [h, 4]."""

    name: str
    past: npt.NDArray[np.float64]
    came: npt.NDArray[np.float64]
    forecast: npt.NDArray[np.float64]


def chosen(measured: Measured, output: Output) -> list[Band]:
    """As of the last origin the series that sells most and the middle one of each pace."""
    from pyarrow import parquet

    answers, test = measured.answers[output.name], measured.test
    if answers.step is None or not len(answers.target):
        return []
    first = np.flatnonzero(answers.step == 1)
    steps = len(answers.target) // len(first)
    question = answers.at[first]
    now = test.questions.now(test.split)[question]
    last = np.flatnonzero(now == now.max())
    sold = answers.target.reshape(-1, steps).sum(1)
    order = last[np.argsort(-sold[last], kind="stable")]
    pace = answers.labels["pace"][first]
    wanted = [order[0]]
    for name in PACES:
        own = order[pace[order] == name]
        wanted += [row for row in own[len(own) // 2 :][:1] if row not in wanted]
    names = parquet.read_table(test.folder / "vocabulary.parquet", columns=["item_id", "name"]).to_pylist()
    values = np.asarray(getattr(test.split, output.head.column), np.float64)
    own_answers = answers.systems[CANDIDATE].reshape(-1, steps, answers.systems[CANDIDATE].shape[1])
    bands = []
    for row in wanted:
        at = question[row]
        end, begin = int(test.questions.event[at]) + 1, int(test.questions.begin[at])
        item = names[int(test.split.item[end - 1]) - 2]
        label = " ".join(filter(None, (item["item_id"], item["name"])))
        past, came = values[max(begin, end - PAST * steps) : end], answers.target.reshape(-1, steps)[row]
        bands.append(Band(f"{label} ({pace[row]})", past, came.astype(np.float64), own_answers[row][:, :4]))
    return bands
