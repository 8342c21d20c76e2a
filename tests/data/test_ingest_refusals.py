"""A file that fails whole is named wherever somebody looks, however much good history lies beside it."""

import json
from pathlib import Path
from typing import Any

import pytest
from ingest_setup import HEADER, Desk, row, rows

from clickflow.events import ingest as stage
from clickflow.events.freshness import freshness
from clickflow.quality import validate
from clickflow.registry import status
from clickflow.system.errors import DataError


@pytest.fixture
def desk(place: Path, raw_params: dict[str, object]) -> Desk:
    return Desk(place, raw_params)


def history(desk: Desk) -> None:
    """Nine good days, and a newest one whose times were written in another way."""
    for day in range(1, 10):
        desk.put(f"2026-01-{day:02}.csv", HEADER + rows(400, day=day))
    other = HEADER + b"".join(row(f"10.01.2026 10:{n // 60:02}:{n % 60:02}", item=f"i{n}") for n in range(60))
    desk.put("2026-01-10.csv", other)


def test_the_newest_file_refused_whole(desk: Desk, capsys: Any) -> None:
    history(desk)
    params = desk.params(quality__max_quarantine_share=0.5)
    stage.run(params, desk.paths)
    output = capsys.readouterr()
    assert (
        "note 2026-01-10.csv (the newest file): 60 of 60 rows refused: unparseable_time 60 (e.g. line 2)" in output.err
    )
    assert "3,660 rows read" in output.out

    with pytest.raises(DataError, match="no_file_refused") as error:
        validate.run(params, desk.paths)
    assert "2026-01-10.csv" in str(error.value)
    loose = desk.params(quality__max_quarantine_share=0.5, quality__max_refused_files=None)
    validate.run(loose, desk.paths)
    warned = capsys.readouterr().err
    assert "files_accepted" in warned
    report = json.loads(desk.paths.validation.read_text(encoding="utf-8"))
    assert report["statistics"]["refused_files"] == report["statistics"]["partly_refused_files"] == 1

    fresh = freshness(params, desk.paths)
    assert fresh is not None
    assert fresh.refused_files == ("2026-01-10.csv",)
    assert fresh.text().startswith("newest event 2026-01-09 00:06 UTC, 143.0 days old; no row was accepted of 2026")


def test_how_fresh_the_data_is_comes_from_no_file_that_changed(desk: Desk) -> None:
    desk.put("1.csv", HEADER + rows(50))
    params = desk.params()
    stage.run(params, desk.paths)
    first = freshness(params, desk.paths)
    assert first is not None
    card, manifest = desk.paths.ingest_card, desk.paths.events / "_manifest.json"
    for file, edit in ((card, ("2026-01-05", "2026-01-25")), (manifest, ('"s"', '"d"')), (card, ("last_event", "x"))):
        whole = file.read_text(encoding="utf-8")
        changed = whole.replace(*edit)
        file.write_text(changed if changed != whole else whole + " ", encoding="utf-8")
        with pytest.raises(DataError, match=rf"{file.name} has changed"):
            freshness(params, desk.paths)
        _, wrong = status._data(params, desk.paths)
        assert "has changed" in wrong
        assert "dvc checkout" in wrong
        file.write_text(whole, encoding="utf-8")
    assert freshness(params, desk.paths) == first


def test_a_file_delivered_twice_is_no_broken_file(desk: Desk, capsys: Any) -> None:
    desk.put("1.csv", HEADER + rows(1000))
    desk.put("1 (copy).csv", HEADER + rows(1000))
    stage.run(desk.params(), desk.paths)
    assert "refused" not in capsys.readouterr().err


def test_half_a_file_empty_files_and_missing_columns_are_named(desk: Desk, capsys: Any) -> None:
    desk.put("1.csv", HEADER + rows(100))
    desk.put("2.csv", HEADER + rows(10, 100) + b"x,y,z\n" * 20)
    desk.put("3.csv", b"event_time,event_type,user_id,item_id\n2026-01-06,view,u,i\n")
    desk.put("4.csv", b"")
    stage.run(desk.params(), desk.paths)
    stderr = capsys.readouterr().err
    assert "note 2.csv: 20 of 30 rows refused: wrong_columns 19, truncated 1" in stderr
    assert "note no row in 4.csv" in stderr
    assert "note no price in 1 of 4 files, where it is null: 3.csv" in stderr
    # the same is said where nothing had to be read again
    stage.run(desk.params(), desk.paths)
    assert "note 2.csv: 20 of 30 rows refused" in capsys.readouterr().err
    stage.run(desk.params(ingest__max_file_quarantine_share=0.7), desk.paths)
    assert "2.csv: 20 of" not in capsys.readouterr().err
