"""What users, disks and engines do ends in a sentence with what was kept and what to do, never in a traceback."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from clickflow.params.file import check, load
from clickflow.system import faults
from clickflow.system.errors import EXIT_DATA, EXIT_FAILED, EXIT_USAGE, DataError, UsageError
from clickflow.system.paths import Paths


def run(cwd: Path, code: str, **more) -> subprocess.CompletedProcess[str]:
    more.setdefault("env", os.environ | {"CLICKFLOW_HOME": str(cwd / "home")})
    more.setdefault("stdout", subprocess.PIPE)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, text=True, stderr=subprocess.PIPE, check=False, timeout=120, **more
    )


MAIN = "import sys; from clickflow.cli import main; sys.argv[0] = 'clickflow'; main()"
VERSION = MAIN.replace("main()", "sys.argv.append('--version'); main()")
BROKEN = "from clickflow import cli; cli.guarded(lambda: {}['a customer'])"


def test_an_error_of_the_program_is_a_sentence_and_a_log_that_quotes_no_value(tmp_path):
    shown = run(tmp_path, BROKEN)
    assert shown.returncode == EXIT_FAILED
    assert "this is an error of clickflow itself (KeyError" in shown.stderr
    assert "kept: " in shown.stderr
    assert "next: report it" in shown.stderr
    assert "Traceback" not in shown.stderr
    (log,) = (tmp_path / "home/faults").iterdir()
    assert str(log) in shown.stderr
    assert log.stat().st_mode & 0o777 == 0o600
    assert "in guarded" in log.read_text()
    assert "a customer" not in shown.stderr + log.read_text()


def test_debugging_shows_the_traceback(tmp_path):
    shown = run(tmp_path, BROKEN, env=os.environ | {"CLICKFLOW_DEBUG": "1"})
    assert shown.returncode == EXIT_FAILED
    assert "KeyError: 'a customer'" in shown.stderr


@pytest.mark.parametrize(
    ("encoding", "says"),
    [("ascii", "+/- ... -> \\u54c1"), ("latin-1", "± ... -> \\u54c1"), ("utf-8", "± … → 品")],
)
def test_any_text_can_be_said_in_any_encoding(tmp_path, encoding, says):
    says_it = "console.fit(); console.out.print('± … → 品'); console.say('caf\\udce9')"
    code = f"from clickflow.system import console; {says_it}"
    shown = run(tmp_path, code, env=os.environ | {"PYTHONIOENCODING": encoding}, encoding=encoding)
    assert shown.returncode == 0, shown.stderr
    assert (
        shown.stdout.strip()
        == {"ascii": "+/- ... -> \\u54c1", "latin-1": "± ... -> \\u54c1", "utf-8": "± … → 品"}[encoding]
    )
    assert "caf\\udce9" in shown.stderr


def test_standard_output_on_a_full_disk_is_said(tmp_path):
    with Path("/dev/full").open("w") as full:
        shown = run(tmp_path, VERSION, stdout=full)
    assert shown.returncode == EXIT_FAILED
    assert "no space is left" in shown.stderr
    assert "Exception ignored" not in shown.stderr


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (OSError(errno.ENOSPC, "full", "/data/x"), EXIT_FAILED, "no space is left on the disk of /data/x"),
        (OSError(errno.EFBIG, "large", "/data/x"), EXIT_FAILED, "/data/x grew beyond"),
        (PermissionError(errno.EACCES, "no", "/data/x"), EXIT_USAGE, "this user may not open /data/x"),
        (OSError(errno.EMFILE, "many", "/data/x"), EXIT_FAILED, "too many files are open, /data/x"),
        (
            OSError("Failed to write '/data/x'. Detail: [errno 28]"),
            EXIT_FAILED,
            "no space is left on the disk of /data/x",
        ),
        (MemoryError(), EXIT_FAILED, "out of memory"),
        (RuntimeError("std::bad_alloc"), EXIT_FAILED, "out of memory"),
    ],
)
def test_faults_of_the_machine_have_three_parts(error, code, says):
    fault = faults.as_error(error)
    assert fault is not None
    assert fault.exit_code == code
    assert says in fault.what
    assert fault.kept
    assert fault.next_step


def test_engines_are_understood(tmp_path):
    import duckdb
    import pyarrow as pa

    with pytest.raises(duckdb.Error) as caught:
        duckdb.sql("copy (select 1) to '/nowhere/x.parquet'")
    fault = faults.as_error(caught.value)
    assert isinstance(fault, UsageError)
    assert "/nowhere/x.parquet" in fault.what
    with pytest.raises(pa.ArrowInvalid) as caught:
        pa.array(["a customer"]).cast(pa.int64())
    fault = faults.as_error(caught.value, "x.parquet")
    assert isinstance(fault, DataError)
    assert fault.exit_code == EXIT_DATA
    assert "x.parquet" in fault.what
    assert "a customer" not in fault.what
    assert faults.as_error(KeyError("a mistake of ours")) is None


def test_a_disk_that_ends_in_the_middle_of_an_ingest(tmp_path, root):
    (tmp_path / "params.yaml").write_bytes((root / "tests/assets/params_long.yaml").read_bytes())
    (tmp_path / "dvc.yaml").write_bytes(b"stages: {}\n")

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    shown = run(tmp_path, MAIN.replace("main()", "sys.argv.append('ingest'); main()"), preexec_fn=small)
    assert shown.returncode == EXIT_FAILED, shown.stderr
    assert "grew beyond what its disk or a limit allows" in shown.stderr
    assert "Traceback" not in shown.stderr
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file() and path.stat().st_size]


def test_too_little_memory_for_the_libraries_is_said_before_the_work(monkeypatch):
    from clickflow.events.engine import started

    monkeypatch.setattr(resource, "getrlimit", lambda _: (700_000_000, 700_000_000))
    with pytest.raises(UsageError, match=r"0\.7 GB of address space"), started(1.0):
        pass


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "is empty"),
        (b"# nothing\n", "is empty"),
        (b"\x00\x01\x02\x7fELF\xff", "is not text in UTF-8|is not valid YAML"),
        ("seed: 1\n".encode("utf-16"), "is not text in UTF-8"),
        (b"a: 1\n" * 100_000, "is larger than"),
        (b"a: " + b"[" * 50_000, "is nested too deeply"),
        (b"a: " + b"[" * 60 + b"]" * 60, "levels"),
        (b"seed: 1\nseed: 2\n", "line 2: seed stands twice"),
        (b"a: &a [*a]\n", "an alias refers to itself"),
        (b"a: &a [1,1,1,1,1,1,1,1,1,1]\n" + b"".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 10)}]\n".encode() for n in range(9)
        ), "holds more than"),
        (b"a: 2026-13-45\n", "an impossible value"),
        (b"a: " + b"1" * 5000, "an impossible value"),
        (b"? [1, 2]\n: 3\n", "a name is not text"),
        (b"a: !!python/object:os.system 1\n", "is not valid YAML"),
    ],
)  # fmt: skip
def test_a_params_yaml_that_is_none(tmp_path, text, says):
    path = tmp_path / "params.yaml"
    path.write_bytes(text)
    with pytest.raises(UsageError, match=says) as caught:
        load(path)
    assert caught.value.kept
    assert caught.value.next_step


def test_a_params_yaml_that_is_no_file(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (folder, pipe):
        with pytest.raises(UsageError, match="is not a file"):
            load(path)
    with pytest.raises(UsageError, match=r"there is no params\.yaml"):
        load(Paths(tmp_path).params)


def numbers(tree, at=()):
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, dict | list):
            yield from numbers(value, (*at, key))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*at, key)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**30, -(10**30), 1e300, -1e300])
def test_no_number_is_without_bounds(raw_params, value):
    for at in numbers(raw_params):
        tree = place = {**raw_params}
        for key in at[:-1]:
            place[key] = place[key].copy()
            place = place[key]
        place[at[-1]] = value
        with pytest.raises(UsageError) as caught:
            check(tree)
        assert ".".join(map(str, at)) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("path", "x" * 5000, "it has 5,000 bytes"),
        ("path", "x" * 300, "a part of the path"),
        ("path", "a\0b", "control character"),
        ("pattern", "../*", "leaves the folder"),
        ("pattern", "/etc/*", "leaves the folder"),
        ("pattern", "", "is no pattern"),
        ("pattern", "a**/b", "is no pattern"),
        ("timezone", "x" * 2000, "it has 2,000 bytes"),
        ("as_of", "0001-01-01T00:00:00", "between the years"),
        ("columns", {"item_id": "\ud800"}, "is not text"),
        ("columns", {"x" * 500: "a"}, "a name has at most"),
    ],
)
def test_a_text_has_bounds_too(raw_params, name, value, says):
    raw_params["source"][name] = value
    with pytest.raises(UsageError, match=says) as caught:
        check(raw_params)
    assert f"source.{name}" in str(caught.value)
    assert len(str(caught.value)) < 1000
