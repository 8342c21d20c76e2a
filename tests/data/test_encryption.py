"""With `ingest.encrypt: [quarantine]` raw rows can be read with the key alone, by everything that reads them."""

import io
import shutil
from pathlib import Path

import pytest
from ingest_setup import HEADER, Desk, row, rows
from test_replay import FIXES, LOG, STRICT

from clickflow.events import encryption, quarantine
from clickflow.events.encryption import CHUNK
from clickflow.events.pseudonyms import VARIABLE, load_key
from clickflow.events.replay import replay
from clickflow.privacy import forget as verb
from clickflow.system.errors import DataError

SEALED = {"ingest__encrypt": ["quarantine"]}
KEY, OTHER = b"k" * 64, b"o" * 64


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object]) -> Desk:
    desk = Desk(tmp_path / "w", raw_params)
    desk.put("a.csv", LOG)
    return desk


def ingest(desk: Desk, **changes: object) -> Path:
    from clickflow.events.ingest import run

    run(desk.params(**changes), desk.paths)
    return desk.paths.quarantine / quarantine.FILE


@pytest.mark.parametrize("size", [1, 15, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_what_is_written_is_read_again_at_any_place_and_has_the_same_bytes(size: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    contents = set()
    for step in (size, 1000003):
        with encryption.writing(path, KEY) as file:
            for start in range(0, size, step):
                file.write(data[start : start + step])
        contents.add(path.read_bytes())
    assert len(contents) == 1
    assert size < 16 or data[:64] not in contents.pop()
    with encryption.reading(path, KEY) as file:
        assert file.read() == data
        file.seek(-min(size, 20), io.SEEK_END)
        assert file.read() == data[-min(size, 20) :]
        file.seek(size // 2)
        assert file.read(7) == data[size // 2 :][:7]


@pytest.mark.parametrize("fault", ["flip", "cut", "swap"])
def test_bytes_that_were_changed_do_not_open(tmp_path: Path, fault: str) -> None:
    path, whole = tmp_path / "file", CHUNK + encryption.TAG
    with encryption.writing(path, KEY) as file:
        file.write(bytes(3 * CHUNK))
    raw = bytearray(path.read_bytes())
    body = encryption.HEADER
    if fault == "flip":
        raw[body + 5] ^= 1
    elif fault == "cut":
        del raw[-whole:]
    else:
        one, two = raw[body : body + whole], raw[body + whole : body + 2 * whole]
        raw[body : body + 2 * whole] = two + one
    path.write_bytes(raw)
    with pytest.raises(DataError, match="does not open"), encryption.reading(path, KEY) as file:
        file.read()


def test_another_key_is_an_error_that_says_which(tmp_path: Path) -> None:
    with encryption.writing(tmp_path / "file", KEY) as file:
        file.write(b"row")
    with (
        pytest.raises(DataError, match="encrypted under another key") as fault,
        encryption.reading(tmp_path / "file", OTHER),
    ):
        pass
    assert VARIABLE in fault.value.next_step


def test_quarantine_is_encrypted_and_every_reader_opens_it(desk: Desk) -> None:
    file = ingest(desk, **STRICT)
    plain = list(quarantine.read(desk.paths.quarantine, load_key(desk.paths.home)))
    assert file.read_bytes()[:4] == b"PAR1"
    ingest(desk, **STRICT, **SEALED)
    assert encryption.is_encrypted(file) and b"PAR1" not in file.read_bytes()
    assert list(quarantine.read(desk.paths.quarantine, load_key(desk.paths.home))) == plain
    first = file.read_bytes()
    shutil.rmtree(desk.paths.root / "data")
    ingest(desk, **STRICT, **SEALED)
    assert file.read_bytes() == first

    desk.put("b.csv", HEADER + row("2026-01-09 10:00:00", kind="other") + rows(3, day=9))
    ingest(desk, **STRICT, **SEALED)
    taken = replay(desk.params(**{**FIXES["type"], **SEALED}), desk.paths)
    assert taken["taken_in"] == 2
    assert encryption.is_encrypted(file)
    done = verb.forget(desk.params(**{**FIXES["type"], **SEALED}), desk.paths, ["u1"], dry=False, raw_outside=False)[0]
    assert done["unreached"] == []
    assert done["rows"]["quarantine"] > 0
    assert encryption.is_encrypted(file)
    left = [
        raw
        for table in quarantine.read(desk.paths.quarantine, load_key(desk.paths.home))
        for raw in table["raw"].to_pylist()
    ]
    assert left and not any(",u1," in raw for raw in left)


def test_with_another_key_quarantine_stays_shut(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(desk, **SEALED)
    monkeypatch.setenv(VARIABLE, "another key of sixteen letters or more")
    with pytest.raises(DataError, match="encrypted under another key"):
        list(quarantine.read(desk.paths.quarantine, load_key(desk.paths.home)))
