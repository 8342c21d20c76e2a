"""No error, log or report of a log says what stands in its rows: they are read by more people than the log is."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest_setup import Desk

from clickflow.events import ingest as stage
from clickflow.events import roots
from clickflow.events.shapes import shape
from clickflow.system.errors import ClickflowError

WORD = "Xk7pQz"
"""Of the secret; it stands in every value below."""
GOOD = b"2026-01-05 10:00:00,view,u1,s1,i1,1\n"


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object]) -> Desk:
    return Desk(tmp_path / "w", raw_params)


FILES = {
    "no row is good": (f"event_time,event_type,user_id,session_id,item_id,price\n{WORD},{WORD},u,s,{WORD},1\n", "csv"),
    "a file without its columns": (f'{{"admin": "{WORD}", "viewer": "{WORD}"}}\n', "jsonl"),
    "a line that is broken": (f'{{"admin": "{WORD}\n', "jsonl"),
    "an array that is broken": (f'[{{"admin": "{WORD}"}}] {WORD}', "jsonl"),
    # a header's names are said: the file lies where the commit lets a run read
    "text": ("a header\n" + f"{WORD}\n{WORD};{WORD}\n" * 9, "csv"),
    "a text without a header": (f"2026-01-05 10:00:00,view,{WORD},{WORD},{WORD}\n" * 3, "csv"),
    "one whose row holds a value twice": (f"event_time,{WORD},{WORD},19.90\n" * 3, "csv"),
    "rows with another delimiter": (f"2026-01-05 10:00:00;view;{WORD};s;i\n" * 3, "csv"),
    "JSON that is read as CSV": (f'{{"admin": "{WORD}", "viewer": "x"}}\n' * 3, "csv"),
    "objects by the people that they are of": (f'{{"{WORD}@shop.example": {{"item": 1}}}}\n' * 3, "jsonl"),
    "bytes that are no Parquet": (f"PAR1{WORD}PAR1", "parquet"),
    "prices": (
        "event_time,event_type,user_id,session_id,item_id,price\n" + GOOD.decode() * 3
        + f"2026-01-05 10:00:01,view,u1,s1,i1,{WORD}\n" + "2026-01-05 10:00:02,view,u2,s2,i2,1\n", "csv"
    ),
    "rows that are refused": (
        "event_time,event_type,user_id,session_id,item_id,price\n" + GOOD.decode() + f"{WORD},view,u1,s1,i1,1\n" * 3,
        "csv",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FILES)
def test_what_stands_in_rows_is_said_nowhere(
    desk: Desk, what: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, form = FILES[what]
    desk.put(f"a.{form}", text.encode())
    monkeypatch.setenv(roots.VARIABLE, f'["{desk.paths.root}"]')
    message = ""
    try:
        stage.run(desk.params(source__format=form), desk.paths)
    except ClickflowError as error:
        message = str(error)
    out = capsys.readouterr()
    assert WORD not in message + out.out + out.err
    if desk.paths.ingest_card.exists():
        assert WORD not in desk.paths.ingest_card.read_text()


@given(st.text(max_size=60))
def test_a_shape_has_neither_letter_nor_digit_of_the_text(text: str) -> None:
    outline = shape(text)
    assert {letter for letter in outline if letter.isalnum()} <= set("aA9")
    assert shape(outline) == outline
    assert len(outline) <= 41
