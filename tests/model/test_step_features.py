"""The table of step features: two more of them, each one entry, go from the events to an exported model."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from small_models import spec

from clickflow.artefact import export
from clickflow.baselines import positions
from clickflow.events.ingest import ingest
from clickflow.heads import next_action
from clickflow.params import models
from clickflow.params.file import load
from clickflow.params.schema import Params
from clickflow.sequences import prepare
from clickflow.sequences.features import FEATURES, Feature
from clickflow.sequences.store import open_split, read_card
from clickflow.system.files import read_json
from clickflow.system.paths import Paths
from clickflow.training import stage


def returned(columns, offsets):
    """Whether the item is that of two steps before, in the same sequence."""
    item, position = columns["item"], np.arange(len(columns["item"]))
    inside = position - np.repeat(offsets[:-1], np.diff(offsets)) >= 2
    return inside & (item == item[np.maximum(position - 2, 0)])


ADDED = {
    "pieces": Feature(stored="<f4", kind="number", optional=True, event="quantity", tabular="log"),
    "returned": Feature(stored="u1", kind="class", codes=2, width=3, derive=returned, tabular="frequency"),
}


@pytest.fixture
def params(root: Path, tmp_path: Path) -> Params:
    """Of a small log of order lines, and a small model that reads the added features."""
    draw, lines = np.random.default_rng(0), ["time,kind,who,what,pieces"]
    for session in range(200):
        start = load(root / "params.yaml").simulator.start
        for step in range(draw.integers(3, 8)):
            time = f"{start + timedelta(days=session // 20)}T{session % 20:02}:{step:02}:00Z"
            pieces = "" if step == 1 else str(1 + session % 7 + step)
            lines.append(f"{time},view,{session},{(session + draw.integers(0, 3)) % 30},{pieces}")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    whole = load(root / "params.yaml")
    columns = {"event_time": "time", "event_type": "kind", "session_id": "who", "item_id": "what", "quantity": "pieces"}
    source = replace(whole.source, kind="files", path="raw", preset=None, columns=columns)
    model = spec(features=("hour", *ADDED))
    sequences = replace(whole.sequences, session=replace(whole.sequences.session, drop_repeats=False))
    whole = replace(whole, source=source, sequences=sequences)
    return replace(whole, models={"next_step": replace(model, budget=replace(model.budget, epochs=1))})


def test_a_step_feature_is_one_entry(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, feature in ADDED.items():
        monkeypatch.setitem(FEATURES, name, feature)
    monkeypatch.chdir(tmp_path)
    paths = Paths(tmp_path)
    ingest(params, paths)
    prepare.run(params, paths, "session")

    card, train = read_card(paths.sequences("session")), open_split(paths.sequences("session"), "train")
    assert card.statistics["pieces"]["std"] > 0
    assert (train.pieces[train.offsets[:-1]] > 0).all()
    assert np.isnan(train.pieces[train.offsets[:-1] + 1]).all(), "the second step has none"
    assert train.returned.dtype == np.uint8
    assert train.returned.tolist() == returned({"item": train.item}, train.offsets).tolist()
    assert 0 < train.returned.mean() < 1

    rows = positions.training(train, next_action.HEAD, card, 5)
    before = {name: feature for name, feature in FEATURES.items() if name not in ADDED}
    with_added = positions.features(rows, positions.log_counts(train))
    with monkeypatch.context() as patch:
        for name in ADDED:
            patch.delitem(FEATURES, name)
        assert before == FEATURES
        without = positions.features(rows, positions.log_counts(train))
    assert (with_added[:, : without.shape[1]] == without).all()
    assert with_added.shape[1] - without.shape[1] == 3, "a flag, a logarithm, a frequency"

    stage.run(params, paths, "next_step")
    export.run(params, paths, "next_step")
    exported = read_json(paths.exported("next_step") / "card.json")
    assert exported["inputs"] == {"item": "int64", "hour": "int64", "pieces": "float32", "returned": "int64"}
    assert "equal to the trained model" in capsys.readouterr().out


def test_params_name_the_features_that_a_network_reads() -> None:
    assert set(get_args(models.Feature)) == {name for name, feature in FEATURES.items() if feature.kind}
