"""The stage `train@model`: from the packed store to models/<name>/trained."""

from collections.abc import Callable

from clickflow.params.schema import Params
from clickflow.system import integrity
from clickflow.system.paths import Paths
from clickflow.training.counts import train_counts
from clickflow.training.forecasts import train_forecaster
from clickflow.training.networks import train_network
from clickflow.training.tabular import train_tabular
from clickflow.training.tracker import Tracker


def run(params: Params, paths: Paths, name: str, track: Callable[..., Tracker] | None = None) -> None:
    """Train the model of that name, or go on where an earlier run was stopped; write its folder.

    `track` opens a tracker of the training, such as MLflow: nothing that it does can change a weight. Raises DataError
    where the store is missing or has nothing to learn from.
    """
    integrity.verify(paths.sequences(params.model(name).unit), home=paths.home)
    TRAINERS[params.model(name).kind](params, paths, name, track)


Trainer = Callable[[Params, Paths, str, Callable[..., Tracker] | None], None]
TRAINERS: dict[str, Trainer] = {
    "network": train_network,
    "boosting": train_tabular,
    "logistic": train_tabular,
    "blend": train_tabular,
    "counts": train_counts,
    "forecast": train_forecaster,
}
"""By kind of model (`clickflow.models.kinds`): write models/<name>/trained, from a store whose bytes were verified."""
