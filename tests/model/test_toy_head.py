"""A head of somebody's own, from params.yaml to an exported model that answers it."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
import yaml
from toy_heads import LATER_ITEM, RETURNING

from clickflow import heads
from clickflow.artefact import export
from clickflow.artefact.artefact import Artefact, load
from clickflow.artefact.windows import Translation, batch, questions
from clickflow.models.answers.ranking import Ranking
from clickflow.models.saved import load_trained
from clickflow.params.file import check
from clickflow.params.schema import Params
from clickflow.sequences.store import open_split
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths
from clickflow.training import stage

ALONE = {"returning": {"weight": 1.0}}
ALL: dict[str, Any] = {"later_item": {"negatives": 16, "output": "separate"}, **ALONE}
ALL |= {"next_item": {"negatives": 16, "output": "separate"}, "next_action": {}}


@pytest.fixture
def known() -> Iterator[None]:
    before = dict(heads.HEADS)
    heads.add(RETURNING)
    heads.add(LATER_ITEM)
    yield
    heads.HEADS.clear()
    heads.HEADS.update(before)


@pytest.fixture
def raw(root: Path) -> Any:
    return yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))


def shipped(raw: Any, folder: Path, asked: dict[str, Any]) -> tuple[Paths, Params, Artefact]:
    raw["models"]["next_step"]["heads"] = asked
    params = check(raw)
    model = params.model("next_step")
    small = replace(
        model,
        encoder=replace(model.encoder, units=12),
        budget=replace(model.budget, epochs=3, batch_tokens=128, max_length=8),
    )
    params, paths = replace(params, models={"next_step": small}), Paths(folder)
    small_models.shop(paths.sequences("session"))
    stage.run(params, paths, "next_step")
    export.run(params, paths, "next_step")
    return paths, params, load(paths.exported("next_step"))


@pytest.mark.usefixtures("known")
def test_a_head_alone_learns_and_its_artefact_answers(raw: Any, tmp_path: Path) -> None:
    paths, _, artefact = shipped(raw, tmp_path, ALONE)
    (head,) = artefact.heads.values()
    assert (head.kind, head.outputs, head.classes) == ("classes", ("returning",), ("new", "seen"))
    history = json.loads((paths.trained("next_step") / "history.json").read_text())
    assert set(history[0]["train"]) == {"loss", "returning"}
    test = open_split(paths.sequences("session"), "test")
    asked = questions(test.offsets, np.arange(test.n_sequences), 8)
    plain = Translation(*(np.arange(300) for _ in range(3)))
    answers, targets = [], []
    for chosen in np.array_split(np.arange(len(asked)), 4):
        inputs, rows, columns = batch(test, asked, chosen, artefact.inputs, plain)
        answers.append(artefact.scores(inputs, rows, columns)["returning"])
    event = np.concatenate([np.arange(a, b) for a, b in zip(test.offsets[:-1], test.offsets[1:], strict=True)])
    ends = np.repeat(test.offsets[1:], test.lengths)
    targets = RETURNING.targets(test, event, ends, load_trained(paths.trained("next_step")).sizes)
    logs = np.concatenate(answers)
    np.testing.assert_allclose(np.exp(logs).sum(1), 1, atol=1e-5)
    true = targets[targets >= 0]
    losses = -logs[targets >= 0][np.arange(len(true)), true]
    shares = np.bincount(true) / len(true)
    assert losses.mean() < -(shares * np.log(shares)).sum() - 0.02, "better than the share of each class"


@pytest.mark.usefixtures("known")
def test_several_heads_of_a_kind_share_an_encoder(raw: Any, tmp_path: Path) -> None:
    paths, _, artefact = shipped(raw, tmp_path, ALL)
    order = ["next_item", "next_action", "returning", "later_item"]
    assert list(artefact.heads) == list(artefact.outputs) == order, "as the table of heads has them"
    assert [head.kind for head in artefact.heads.values()] == ["ranking", "classes", "classes", "ranking"]
    network = load_trained(paths.trained("next_step"))
    known = network.sizes.known
    assert len(network.items) == 3 * known, "each that answers by vectors of its own has some"
    rankings = [head.rows for head in network.heads.values() if isinstance(head, Ranking)]
    assert [(rows.start, rows.stop) for rows in rankings] == [(known, 2 * known), (2 * known, None)]
    record = json.loads((paths.trained("next_step") / "history.json").read_text())[-1]
    assert set(order) <= set(record["train"])
    assert {"recall@20", "later_item.recall@20"} <= set(record["valid"])
    assert record["train"]["loss"] == pytest.approx(sum(record["train"][name] for name in order))


@pytest.mark.usefixtures("known")
def test_associations_are_of_the_next_step_alone(raw: Any) -> None:
    raw["models"]["next_step"]["heads"] = {"later_item": {"associations": True}}
    with pytest.raises(UsageError, match=r"heads\.later_item\.associations: .* very next step"):
        check(raw)


def test_a_head_that_nobody_knows_names_the_nearest(raw: Any) -> None:
    raw["models"]["next_step"]["heads"] = {"returning": {}, "next_itm": {}}
    with pytest.raises(UsageError, match=r"heads\.next_itm: unknown key; did you mean 'next_item'"):
        check(raw)
    with pytest.raises(UsageError, match=r"no head is called 'next_itm'.* did you mean 'next_item'"):
        heads.named("next_itm")


def test_no_head_is_known_by_name_outside_its_own_file(root: Path) -> None:
    """But for what the shipped params say, and rooms that are not there yet: these may only become fewer."""
    package = root / "src/clickflow"
    names = re.compile(rf"\b({'|'.join(heads.HEADS)})s?\b")
    files = [path for path in package.rglob("*") if path.suffix in (".py", ".jinja", ".html", ".sql")]
    naming = [path.relative_to(package) for path in files if names.search(path.read_text(encoding="utf-8"))]
    assert {path.parts[0] for path in naming} - {"heads"} <= {"params", "evaluation", "gate", "monitoring", "serving"}
    own = {path.name for path in naming if path.parts[0] == "heads"}
    assert own == {"__init__.py", *(f"{name}.py" for name in heads.HEADS)}


@pytest.mark.usefixtures("known")
def test_a_head_cannot_be_called_as_a_part_of_a_network(raw: Any, tmp_path: Path) -> None:
    heads.add(replace(RETURNING, name="encoder"))
    with pytest.raises(UsageError, match="no head can be called 'encoder'"):
        shipped(raw, tmp_path, {"encoder": {}})
