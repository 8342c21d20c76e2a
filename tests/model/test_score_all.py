"""`clickflow score --all`: every session once, the likeliest items first, the same bytes again, whole or not at all."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from small_models import KNOWN, exported, shop

from clickflow.artefact import asking
from clickflow.artefact.artefact import Artefact, load
from clickflow.artefact.windows import last
from clickflow.sequences.store import open_split, read_card
from clickflow.serving import batch, folder, forms
from clickflow.serving.score import score
from clickflow.system.errors import DataError
from clickflow.system.files import read_json, sha256, sha256_folder

MODEL = "next_step"
ITEMS, AHEAD, ACTIONS = "items.parquet", "items_ahead.parquet", "actions.parquet"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artefact, Path]:
    """An artefact with random weights, and the store it was made from."""
    artefact, store = exported(tmp_path_factory.mktemp("shop"))
    return load(artefact, threads=1), store


def written(loaded: tuple[Artefact, Path], out: Path, **options: Any) -> dict[str, Any]:
    how: dict[str, Any] = {"who": {"model": MODEL, "version": 1}, "top": 5, "since_hours": None} | options
    return batch.write(*loaded, [lambda each: folder.Folder(out, each)], **how)


def scored(loaded: tuple[Artefact, Path], out: Path, **options: Any) -> tuple[dict[str, Any], pa.Table, pa.Table]:
    card = written(loaded, out, **options)
    return card, parquet.read_table(out / ITEMS), parquet.read_table(out / ACTIONS)


def test_every_session_is_answered_once_as_score_answers_it(loaded: Any, tmp_path: Path) -> None:
    card, items, actions = scored(loaded, tmp_path / "out")
    sequences = sum(part.sequences for part in read_card(loaded[1]).splits.values())
    assert card["sessions"] == sequences == len(actions)
    assert card["rows"] == {ITEMS: 5 * sequences, ACTIONS: sequences}
    assert card["files"] == {name: sha256(tmp_path / "out" / name) for name in card["files"]}
    assert len(set(actions["session_id"].to_pylist())) == sequences
    assert items["rank"].to_pylist() == [1, 2, 3, 4, 5] * sequences
    chances = items["probability"].to_numpy().reshape(-1, 5)
    assert (np.diff(chances, axis=1) <= 0).all()
    assert (chances > 0).all()
    kinds = [name for name in actions.column_names if name not in ("session_id", "user_id", "last_event")]
    assert kinds == [*read_card(loaded[1]).actions, "exit"]
    whole = sum(actions[name].to_numpy().astype(np.float64) for name in kinds)
    np.testing.assert_allclose(whole, 1, atol=1e-5)

    by_session = {row["session_id"]: row for row in actions.to_pylist()}
    best: dict[str, list[Any]] = {}
    for row in items.to_pylist():
        best.setdefault(row["session_id"], []).append((row["item_id"], row["probability"]))
    for answer in score(*loaded, limit=60):  # type: ignore[misc]
        assert [item for item, _ in answer.answers["next_item"]] == [item for item, _ in best[answer.session]]
        assert dict(answer.answers["next_item"]) == pytest.approx(dict(best[answer.session]), rel=1e-4)
        assert dict(answer.answers["next_action"]) == pytest.approx(
            {name: by_session[answer.session][name] for name, _ in answer.answers["next_action"]}, abs=1e-5
        )


def test_a_model_that_looks_ahead_has_a_ranking_more(tmp_path: Path) -> None:
    artefact, store = exported(tmp_path, item={"horizon": 3})
    answering = load(artefact, threads=1)
    card, items, _ = scored((answering, store), tmp_path / "out")
    ahead = parquet.read_table(tmp_path / "out" / AHEAD)
    assert card["rows"][AHEAD] == len(ahead) == len(items)
    who = ["session_id", "last_event", "rank"]
    assert ahead.select(who).equals(items.select(who))
    assert not ahead["probability"].equals(items["probability"])
    steps = open_split(store, "train")
    positions = last(steps, [0], answering.max_length)
    names = batch.vocabularies.translation(store, read_card(store), answering)
    logs = asking.answers(answering, steps, positions, np.array([0]), names)["next_items"][0]
    best = np.argsort(-logs[2:], kind="stable")[:5] + 2
    assert ahead["item_id"].to_pylist()[:5] == [str(index) for index in best]
    np.testing.assert_allclose(ahead["probability"].to_numpy()[:5], np.exp(logs[best]), rtol=1e-4)


def test_the_same_again_is_the_same_bytes_and_no_more_items_are_told_than_there_are(
    loaded: Any, tmp_path: Path
) -> None:
    first, items, _ = scored(loaded, tmp_path / "one", top=1000)
    assert first["top"] == KNOWN - 2
    assert set(items["item_id"].to_pylist()) == {str(index) for index in range(2, KNOWN)}
    scored(loaded, tmp_path / "two", top=1000)
    assert sha256_folder(tmp_path / "one") == sha256_folder(tmp_path / "two")


def test_only_sessions_of_the_newest_hours(loaded: Any, tmp_path: Path) -> None:
    card, _, actions = scored(loaded, tmp_path / "out", since_hours=12.0)
    card_of_store = read_card(loaded[1])
    newest = max(part.last or 0 for part in card_of_store.splits.values())
    expected = 0
    for name in card_of_store.splits:
        split = open_split(loaded[1], name)
        expected += int((np.asarray(split.time)[split.offsets[1:] - 1] >= newest - 12 * 3_600_000_000).sum())
    assert 0 < card["sessions"] == expected < 400
    ends = actions["last_event"].cast(pa.int64()).to_numpy()
    assert ends.min() >= newest - 12 * 3_600_000_000
    assert ends.max() == newest


def test_of_a_session_in_pieces_the_last_one_counts(loaded: Any, tmp_path: Path) -> None:
    artefact, _ = loaded
    shop(tmp_path / "session")
    for name, piece in (("train", 1), ("test", 2)):
        file = tmp_path / "session" / name / "sequences.parquet"
        table = parquet.read_table(file)
        names, pieces = table["session_id"].to_pylist(), table["piece"].to_pylist()
        names[3], pieces[3] = "long", piece
        table = table.set_column(0, "session_id", pa.array(names, pa.string()))
        parquet.write_table(table.set_column(5, "piece", pa.array(pieces, pa.int32())), file)
    card, _, actions = scored((artefact, tmp_path / "session"), tmp_path / "out")
    assert card["sessions"] == 400 - 1
    assert actions["session_id"].to_pylist().count("long") == 1
    split = open_split(tmp_path / "session", "test")
    (row,) = [row for row in actions.to_pylist() if row["session_id"] == "long"]
    assert pa.scalar(row["last_event"], pa.timestamp("us", tz="UTC")).value == split.time[split.offsets[4] - 1]


def test_what_cannot_be_read_leaves_the_predictions_of_before(loaded: Any, tmp_path: Path) -> None:
    artefact, _ = loaded
    shop(tmp_path / "session")
    written((artefact, tmp_path / "session"), tmp_path / "out")
    before = sha256_folder(tmp_path / "out")
    (tmp_path / "session/test/item.npy").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read"):
        written((artefact, tmp_path / "session"), tmp_path / "out", top=4)
    assert sha256_folder(tmp_path / "out") == before
    assert "kind" not in read_json(tmp_path / "session/card.json")


@given(st.lists(st.lists(st.integers(-5, 5), min_size=9, max_size=9), min_size=1, max_size=8), st.integers(1, 7))
def test_equal_items_come_by_index(rows: list[list[int]], top: int) -> None:
    logs = np.array(rows, np.float32)
    best, values = forms.highest(logs, top)
    for row, indexes in enumerate(best):
        assert indexes.tolist() == (np.argsort(-logs[row, 2:], kind="stable")[:top] + 2).tolist()
        assert values[row].tolist() == logs[row, indexes].tolist()
