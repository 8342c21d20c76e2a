"""benchmarks/demand.py on files as shops have them: read right, or one error that names the line; all else is said."""

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from clickflow.system.errors import ClickflowError, DataError

HEAD = "series_id,date,units\n"
DAYS = [str(day) for day in np.arange("2025-01-01", "2025-02-10", dtype="datetime64[D]")]
ENDS = [str(day - 1) for day in np.arange("2023-02", "2026-02", dtype="datetime64[M]").astype("datetime64[D]")]
Read = Callable[..., Any]


@pytest.fixture
def demand(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(root / "benchmarks")
    import demand

    return demand


@pytest.fixture
def read(demand: ModuleType, tmp_path: Path) -> Read:
    """The panel and notes of a file of this text."""

    def reading(text: str | bytes, step: str = "day") -> Any:
        file = tmp_path / "series.csv"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return demand.series_file.read(file, step)

    return reading


def rows(days: list[str], ids: tuple[str, ...] = ("a", "b"), units: str = "{}") -> str:
    return "".join(f"{name},{day},{units.format(at % 5)}\n" for name in ids for at, day in enumerate(days))


def test_ids_stay_as_they_are_and_a_file_of_no_sale_is_refused(read: Read) -> None:
    zeros = HEAD + rows(DAYS, ("NA",), "0")
    with pytest.raises(DataError, match="holds no sale"):
        read(zeros)
    assert read((zeros + "007,2025-01-30,3\n").encode("utf-8-sig")).panel.ids == ("007", "NA")
    odd = ("007", '"a,b"', '"12"" pan"', "M\u00fcller \u978b")
    assert read(HEAD + rows(DAYS, odd)).panel.ids == ("007", '12" pan', "M\u00fcller \u978b", "a,b")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: text.replace("2025-", "2025/").replace("-", "/"),
        lambda text: text.replace("-", ""),
        lambda text: text.replace("-0", "-"),
        lambda text: "".join(reversed(text.splitlines(keepends=True)[1:])).join([HEAD, ""]),
        lambda text: text.replace("series_id", '" Series_ID"'),
        lambda text: gzip.compress(text.encode()),
        lambda text: text + "\n,,\n",
        lambda text: text.replace(",2025-01-05,", " ,2025-01-05,"),
        lambda text: text.replace(",0\n", ",0T\n").replace(",0T", ",-0.0"),
    ],
)
def test_the_same_series_in_another_form_are_the_same(read: Read, change: Callable[[str], str | bytes]) -> None:
    text = HEAD + rows(DAYS)
    plain, other = read(text).panel, read(change(text)).panel
    assert (plain.ids, plain.start) == (other.ids, other.start)
    np.testing.assert_array_equal(plain.values, other.values)


def test_a_day_counts_as_it_is_written(read: Read) -> None:
    for time in ("T23:30:00-08:00", " 00:10:00+02:00", "T00:00:00Z", " 08:15"):
        text = HEAD + "".join(
            f"a,{month}-01{time},{at + 1}\n" for at, month in enumerate(("2025-01", "2025-02", "2025-03"))
        )
        series = read(text, "month")
        np.testing.assert_array_equal(series.panel.values, [[1, 2, 3]])
        assert "3 rows name a time of day" in series.notes[0]


def test_a_month_may_be_its_last_day_or_have_no_day(read: Read) -> None:
    last, short = HEAD + rows(ENDS), HEAD + rows([day[:7] for day in ENDS])
    np.testing.assert_array_equal(read(last, "month").panel.values, read(short, "month").panel.values)
    with pytest.raises(DataError, match="line 2: date '2023-01' is a month, and --step is day"):
        read(short)


@pytest.mark.parametrize(
    ("text", "step", "what"),
    [
        (HEAD + rows(ENDS), "day", "one day of each month alone.*\n.*\n.*--step month"),
        (HEAD + rows(ENDS), "week", "one day of each month alone"),
        (HEAD + rows(DAYS[::7]), "day", "one day of each week alone.*\n.*\n.*--step week"),
        (HEAD + rows(ENDS[::3]), "month", "every third month"),
        (HEAD + rows(DAYS) + "a,2025-13-01,1\n", "day", "1 of 81 rows cannot be read; the first is line 82: date"),
        (HEAD + rows(DAYS) + "a,03/04/2025,1\n", "day", "line 82: date '03/04/2025' is not written as"),
        (HEAD + rows(DAYS) + 'a,2025-01-01,"1,200"\n', "day", "line 82: units '1,200' is no number"),
        (HEAD + "\n" + rows(DAYS) + "a,2025-01-01,\n", "day", "line 83: units '' is no number"),
        (HEAD + rows(DAYS) + "a,2025-01-01,inf\n", "day", "units 'inf' is no number"),
        (HEAD + rows(DAYS) + ",2025-01-01,1\n", "day", "line 82: it has no series_id"),
        (HEAD + rows(DAYS, units="{},7"), "day", "80 of 80 rows cannot be read; the first is line 2: it has 4 fields"),
        (HEAD + rows(DAYS) + '"a,2025-01-01,1\n' + rows(DAYS), "day", "line 82 or after it"),
        (HEAD + rows(DAYS) + "a,1900-01-01,1\n", "day", "has no row between 1900-01-01 and 2025-01-01"),
        (HEAD.replace(",", ";") + "a;2025-01-01;1,5\na;2025-01-02;1.500\n", "day", "1 numbers have a decimal comma"),
        ("item,date,units\na,2025-01-01,1\n", "day", "has no column series_id; it has 'item'"),
        ("series_id,date,units,units\na,2025-01-01,1,2\n", "day", "several columns units"),
        (HEAD, "day", "has no rows"),
        ("", "day", "is empty"),
    ],
)
def test_what_cannot_be_read_is_one_error_that_names_the_line(read: Read, text: str, step: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        read(text, step)


def test_another_code_or_half_a_file_is_an_error(read: Read) -> None:
    text = HEAD + rows(DAYS)
    for code in ("utf-16", "latin-1"):
        with pytest.raises(DataError, match="no text in UTF-8"):
            read(text.replace("a,", "\u00e9,").encode(code))
    with pytest.raises(DataError, match="cannot be read"):
        read(gzip.compress(text.encode())[:-20])
    with pytest.raises(ClickflowError, match="there is no file"):
        sys.modules["demand"].series_file.read(Path("nowhere.csv"), "day")


def test_what_is_read_otherwise_than_it_stands_there_is_said(read: Read) -> None:
    text = "series_id,date,units,price,shop\n" + rows(DAYS, units="{},EUR 3,x")
    text += (
        "a,2025-01-01,0,2.5,x\nb,2025-01-01,9,0,x\nold,2025-01-01,4,1,x\nold,2025-01-20,-9,1,x\nno,2025-02-01,0,1,x\n"
    )
    notes = " | ".join(read(text).notes)
    for part in (
        "columns that are not read: shop",
        "81 rows of 85 have a price that is no number above 0",
        "2 rows name a series and date that another row names, 1 of them with the same units",
        "18 days between a series' first and last row, of 1 series, have no row: read as 0 units; 2 series that end",
        "1 series begin after the first day",
        "1 periods have fewer than 0 units (returns)",
        "1 series of 4 sold nothing at all",
    ):
        assert part in notes
    cut = read(HEAD + rows(DAYS[:36]) + "late,2025-02-05,7\n", "month")
    assert (
        "11 rows, 27 units, of a month that the file does not cover are left out, and with them 1 series"
        in cut.notes[-1]
    )


def test_what_cannot_be_judged_is_an_error_before_anything_runs(demand: ModuleType, read: Read) -> None:
    sold = HEAD + rows(DAYS[:20]) + rows(DAYS[20:], units="0")
    with pytest.raises(DataError, match="nothing was sold in the 4 days after 2025-02-02, 2025-02-06"):
        demand.measure(read(sold).panel, 4, 2, 0)
    with pytest.raises(DataError, match="the file has 40 periods; 30 to forecast"):
        demand.measure(read(HEAD + rows(DAYS)).panel, 30, 2, 0)


def test_origins_that_no_series_runs_up_to_and_a_method_without_an_error_are_said(
    demand: ModuleType, read: Read
) -> None:
    relay = HEAD + rows(DAYS[:30], ("a",), "4") + rows(DAYS[34:], ("b",), "4")
    result = demand.measure(read(relay).panel, 4, 2, 0)
    assert result["notes"] == [
        "no series runs up to 1 of 2 origins: they are left out",
        "seasonal_naive forecast all of it without an error: nothing can be below it",
    ]
    assert (result["series_at"], result["below_best_baseline"]) == ([1], None)


def test_the_command_writes_notes_beside_its_figures(
    demand: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "few.csv", tmp_path / "deep" / "out.json"
    file.write_text(HEAD + rows(DAYS) + "a,2025-01-01,3\n")
    command = ["demand.py", "--series", str(file), "--horizon", "5", "--origins", "9", "--json"]
    monkeypatch.setattr(sys, "argv", [*command, str(tmp_path)])
    with pytest.raises(ClickflowError, match="is a folder"):
        demand.main()
    monkeypatch.setattr(sys, "argv", [*command, str(out)])
    demand.main()
    result = json.loads(out.read_text())
    assert result["notes"][0].startswith("1 rows name a series and date")
    assert result["notes"][1] == "origins are 2 periods apart, not 5: what they forecast overlaps"
    assert result["series_at"] == [2] * 9
    assert "note: 1 rows name" in capsys.readouterr().err
