"""What `clickflow watch` asks of the log of answers: the metric that versions are compared by, window by window."""

from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

from clickflow.monitoring.live import Live
from clickflow.monitoring.rule import Answered
from clickflow.online.live import log, metrics
from clickflow.online.live.metrics import Ints, Joined, Values
from clickflow.params.schema import Params
from clickflow.system.moments import DAY
from clickflow.system.paths import Paths


def live_answers(params: Params, paths: Paths) -> Callable[[str, Sequence[tuple[int, int]], int], Answered | None]:
    """For `monitoring.watch`: of a model, windows (since, until], microseconds, and the fewest visitors of one."""

    def of(model: str, windows: Sequence[tuple[int, int]], fewest: int) -> Answered | None:
        since = windows[0][0] - round(params.live.window_days * DAY)
        folder = log.place(paths.home)
        answers, outcomes = (log.read(folder, table, since=since) for table in ("answers", "outcomes"))
        if model not in answers["model"].to_pylist():
            return None
        # what came up to now is known, so that the newest window is judged as far as it can be
        now = max(int(table["at"].cast("int64").to_numpy().max(initial=0)) for table in (answers, outcomes))
        joined = metrics.joined(params, answers, outcomes, max(now, windows[-1][1]))
        return measured(params, joined, model, [(since, windows[0][0]), *windows], fewest)

    return of


def measured(
    params: Params, joined: Joined, model: str, windows: Sequence[tuple[int, int]], fewest: int
) -> Answered | None:
    """The champion's answers in windows, the first of them the days before; rankings shorter than a cutoff are none."""
    metric = metrics.metric_of(params, model)
    if metric is None:
        return None
    row, value = metrics.rows_of(params, joined, model, metric, whole=True)
    arms = np.array([group.arm for group in joined.groups])
    kept = arms[joined.group[row]] == log.CHAMPION
    row, value = row[kept], value[kept]
    at = joined.answers["at"].cast("int64").to_numpy()[row]
    confidence = params.evaluation.confidence
    cells = [
        mean(value[own], joined.owner[row[own]], fewest, confidence)
        for since, until in windows
        for own in [(at > since) & (at <= until)]
    ]
    name = f"live {metric}"
    why = "" if cells[0] is not None else f"fewer than {fewest} visitors were answered in the days before"
    return Answered(name=name, windows=tuple(cells[1:]), before=cells[0], why=why)


def mean(value: Values, owner: Ints, fewest: int, confidence: float) -> Live | None:
    """A mean [n], and its error: visitors are what is drawn, so it is a ratio of their sums (Cochran 1977, 6.4); None
    where there are fewer than `fewest`.
    """
    people, place = np.unique(owner, return_inverse=True)
    if len(people) < max(fewest, 2):
        return None
    count, gained = np.bincount(place).astype(np.float64), np.bincount(place, weights=value)
    share = float(gained.sum() / count.sum())
    spread = float(((gained - share * count) ** 2).sum() * len(people) / (len(people) - 1))
    error = spread**0.5 / float(count.sum())
    half = NormalDist().inv_cdf((1 + confidence) / 2) * error
    return Live(share, share - half, share + half, error)
