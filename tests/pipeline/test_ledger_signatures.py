"""Nobody but who holds the ledger's key can write a line, change one, or cut the ledger back, unseen."""

import hashlib
import json
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from registry_workspace import MODEL, candidate, home_of, params_of, with_store, workspace
from test_ledger import MOVES, write
from typer.testing import CliRunner

from clickflow import cli
from clickflow.registry import champion, ledger, signatures
from clickflow.system.errors import DataError, UsageError
from clickflow.system.paths import Paths

OTHER = "somebody else's key, of letters enough"


def canonical(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def rehash(contents: list[dict[str, Any]]) -> str:
    """A ledger whose hashes are right, as whoever can write the file makes it."""
    before, lines = ledger.FIRST, []
    for number, content in enumerate(contents, start=1):
        content |= {"number": number, "before": before}
        bare = {name: value for name, value in content.items() if name not in ("hash", "signature")}
        before = content["hash"] = hashlib.sha256(canonical(bare).encode()).hexdigest()
        lines.append(canonical(content) + "\n")
    return "".join(lines)


def parsed(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def unsigned(contents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As lines were before there were signatures."""
    return [{name: value for name, value in one.items() if name not in ("key", "signature")} for one in contents]


FORGERIES: dict[str, Callable[[list[dict[str, Any]]], list[dict[str, Any]]]] = {
    "edited": lambda lines: [lines[0], lines[1] | {"champion": 2}, *lines[2:]],
    "dropped": lambda lines: [lines[0], *lines[2:]],
    "a line more": lambda lines: [*lines, lines[0] | {"champion": 9, "version": 9}],
    "a line more, unsigned": lambda lines: [*lines, *unsigned([lines[0]])],
    "all signatures taken off": unsigned,
    "signed as a field more": lambda lines: [*lines[:-1], lines[-1] | {"facts": {}}],
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_chain_written_anew_shows(tmp_path: Path, forgery: str) -> None:
    file = tmp_path / "ledger.jsonl"
    write(file, MOVES)
    file.write_text(rehash(FORGERIES[forgery](parsed(file))), encoding="utf-8")
    with pytest.raises(DataError, match="was changed: line"):
        ledger.read(file)


def test_a_chain_that_another_key_signed_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, theirs = tmp_path / "ledger.jsonl", tmp_path / "elsewhere/ledger.jsonl"
    write(file, MOVES)
    monkeypatch.setenv(signatures.SECRET, OTHER)
    write(theirs, MOVES)
    file.write_bytes(theirs.read_bytes())
    with pytest.raises(DataError, match=r"line 1 .* signed by a key that is not this ledger's"):
        ledger.read(file)


def test_the_key_is_made_once_and_is_private(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "ledger.jsonl", MOVES)
    key, public = tmp_path / "ledger.key", tmp_path / "ledger.pub"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    secret = key.read_text().strip()
    output = capsys.readouterr()
    assert (output.out + output.err).count("made a key for the ledger") == 1
    assert secret not in output.out + output.err + public.read_text() + (tmp_path / "ledger.jsonl").read_text()
    # Who has the public key alone can check, and not write.
    key.unlink()
    assert len(ledger.read(tmp_path / "ledger.jsonl")) == 4


def test_a_key_that_is_pinned_is_the_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ledger.jsonl"
    write(file, MOVES)
    monkeypatch.setenv(signatures.PUBLIC, (tmp_path / "ledger.pub").read_text().strip())
    assert len(ledger.read(file)) == 4
    # Whoever can write the home puts a ledger and keys of their own there.
    for name in ("ledger.jsonl", "ledger.key", "ledger.pub"):
        (tmp_path / name).unlink()
    monkeypatch.setenv(signatures.SECRET, OTHER)
    with pytest.raises(UsageError, match="would not be believed"):
        write(file, MOVES)
    monkeypatch.setenv(signatures.PUBLIC, "")
    write(file, MOVES)
    monkeypatch.setenv(signatures.PUBLIC, "ab" * 32)
    with pytest.raises(DataError, match="not this ledger's"):
        ledger.read(file)


def test_a_ledger_of_before_signatures_is_read_and_goes_on_signed(tmp_path: Path) -> None:
    file, signed = tmp_path / "ledger.jsonl", tmp_path / "made/ledger.jsonl"
    write(signed, MOVES[:2])
    file.write_text(rehash(unsigned(parsed(signed))), encoding="utf-8")
    old = ledger.read(file)
    assert ledger.standing(old, "m").champion == 1
    assert "lines 1 to 2 of the ledger have no signature" in ledger.signing(old)
    entries = write(file, MOVES[2:])
    assert ledger.read(file) == entries
    assert "signed from line 3 on" in ledger.signing(entries)
    # What was unsigned is held by the first signature after it.
    contents = parsed(file)
    file.write_text(rehash([contents[0] | {"champion": 7}, *contents[1:]]), encoding="utf-8")
    with pytest.raises(DataError, match="line 3 "):
        ledger.read(file)


def test_a_lost_key_is_replaced_and_it_is_said(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    write(file, MOVES[:2])
    (tmp_path / "ledger.key").write_text("")  # cut off by a full disk
    entries = write(file, MOVES[2:])
    assert ledger.read(file) == entries
    assert ledger.signing(entries) == "from line 3 of the ledger on another key signs"


@pytest.fixture
def shop(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A checkout under git with two promotions behind it."""
    paths = with_store(workspace(tmp_path, root))
    git(tmp_path, "init", "--quiet")
    monkeypatch.chdir(tmp_path)
    for content, before in {"one": 0, "two": 1}.items():
        workspace(tmp_path, root, champion=before)
        candidate(paths, content, champion=before)
        call("promote")
    return paths


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout


def call(*words: str) -> Any:
    return CliRunner().invoke(cli.app, list(words), catch_exceptions=True)


def test_a_ledger_cut_back_shows_wherever_it_decides(shop: Paths) -> None:
    file = home_of() / "ledger.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    assert champion.current(params_of(shop), shop, MODEL) == 2
    file.write_bytes(lines[0])  # true to the last hash and signature
    assert len(ledger.read(file)) == 1
    score = call("score", MODEL)
    for done in (call("status"), call("open"), score, call("promote"), call("rollback", MODEL, "--reason", "x")):
        assert isinstance(done.exception, DataError) and done.exception.exit_code == 3
        assert "the ledger lost lines: git keeps line 2" in str(done.exception)
    file.unlink()  # all of it
    assert isinstance(call("open").exception, DataError)
    file.write_bytes(b"".join(lines))
    assert call("status").exit_code == 0


def test_where_git_has_forgotten_mlflow_remembers(shop: Paths) -> None:
    file = home_of() / "ledger.jsonl"
    for reference in git(shop.root, "for-each-ref", "--format=%(refname)", "refs/clickflow/ledger/").split():
        git(shop.root, "update-ref", "-d", reference)
    file.write_bytes(file.read_bytes().splitlines(keepends=True)[0])
    assert "last followed a ledger line" in str(call("status").exception)


def test_what_somebody_else_writes_in_git_blocks_nobody(shop: Paths) -> None:
    [reference] = git(shop.root, "for-each-ref", "--format=%(refname)", "refs/clickflow/ledger/").split()
    forged = json.dumps(json.loads((home_of() / "ledger.jsonl").read_text().splitlines()[-1]) | {"number": 9})
    (shop.root / "forged").write_text(forged)
    git(shop.root, "update-ref", reference, git(shop.root, "hash-object", "-w", "forged").strip())
    done = call("rollback", MODEL, "--reason", "it must go")
    assert done.exit_code == 0, done.exception
    assert "somebody else wrote it" in done.stderr
    assert champion.current(params_of(shop), shop, MODEL) == 1
