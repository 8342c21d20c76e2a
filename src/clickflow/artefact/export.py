"""The stage `export`: a trained model to the artefact that ships, checked against the model it came from.

What is written is checked on real sequences in several shapes: equal to what was trained, and no answer changed by
later steps.
"""

from collections.abc import Callable

from clickflow.artefact.counts import export_counts
from clickflow.artefact.forecasts import export_forecaster
from clickflow.artefact.networks import export_network
from clickflow.artefact.tables import export_tabular
from clickflow.models.saved import CARD as TRAINED_CARD
from clickflow.params.schema import Params
from clickflow.system import integrity
from clickflow.system.console import say
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths


def run(params: Params, paths: Paths, name: str) -> None:
    """Write `models/<name>/exported`; raises UsageError where nothing was trained, DataError where store and model do
    not belong together, ClickflowError where the artefact is not equal to what was trained.
    """
    trained, folder = paths.trained(name), paths.sequences(params.model(name).unit)
    if not (trained / TRAINED_CARD).is_file():
        raise UsageError(f"there is no trained model in {trained}", next_step=f"run `clickflow train {name}`")
    integrity.verify(trained, folder, home=paths.home)
    kind = params.model(name).kind
    if params.export.compression and kind != "network":
        say(f"{name}: export.compression is of networks; a model of kind {kind} ships as it was trained")
    EXPORTERS[params.model(name).kind](params, paths, name)


EXPORTERS: dict[str, Callable[[Params, Paths, str], None]] = {
    "network": export_network,
    "boosting": export_tabular,
    "logistic": export_tabular,
    "blend": export_tabular,
    "counts": export_counts,
    "forecast": export_forecaster,
}
"""By kind of model (`clickflow.models.kinds`): write models/<name>/exported, from folders whose bytes were verified."""
