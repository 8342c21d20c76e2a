"""`benchmarks/next_item.py`: what it measures on session logs of any kind, and what it refuses."""

import contextlib
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))


def log(path: Path, sessions: int, seed: int, *, clock: bool, begin: int = 0) -> Path:
    """Sessions that walk a ring of 30 items; their rows stand in no order."""
    draw = np.random.default_rng(seed)
    rows = []
    for session in range(begin, begin + sessions):
        first, length = int(draw.integers(30)), int(draw.integers(2, 7))
        start = 1_590_000_000 + session * 100 if clock else 0
        rows += [f"s{session}\ti{(first + step) % 30}\t{start + step}\n" for step in range(length)]
    draw.shuffle(rows)
    with gzip.open(path, "wt") as file:
        file.write("SessionId\tItemId\tTime\n" + "".join(rows))
    return path


def measured(*words: str | Path) -> Any:
    """What it prints, in this process."""
    import next_item

    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setattr(sys, "argv", ["next_item.py", *map(str, words)])
        next_item.main()
    return json.loads(output.getvalue())


def run(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, ROOT / "benchmarks/next_item.py", *words]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)


SMALL = ("--set", "budget.epochs=2", "--set", "encoder.units=16", "--set", "budget.batch_tokens=64")


@pytest.mark.slow
@pytest.mark.parametrize("clock", [True, False])
def test_what_was_never_seen_is_left_out_and_all_else_is_asked(tmp_path: Path, clock: bool) -> None:
    train = log(tmp_path / "train.tsv.gz", 160, 0, clock=clock)
    test = log(tmp_path / "test.tsv.gz", 40, 1, clock=clock, begin=160)
    with gzip.open(test, "at") as file:
        file.write("new\tnever\t2000000000\nnew\tseen\t2000000001\nalone\ti3\t2000000002\n")
    result = measured("--train", train, "--test", test, *SMALL, "--baselines", "vsknn", "--json", tmp_path / "out.json")
    with gzip.open(test, "rt") as file:
        sessions = [line.split("\t")[0] for line in file.readlines()[1:]]
    known = [name for name in sessions if name not in ("new", "alone")]
    assert result["predictions"] == len(known) - len(set(known))
    assert result["items"] == 30
    assert result["recall@5"] > 0.9, "a ring is easily learned"
    assert result["recall@20"] >= result["recall@5"] >= result["mrr@5"]
    assert 0 < result["baselines"]["vsknn"]["recall@20"] <= 1
    assert result["features"] == (["hour", "gap"] if clock else [])
    assert json.loads((tmp_path / "out.json").read_text()) == result


@pytest.mark.slow
def test_the_last_sessions_of_the_training_file_can_stand_in(tmp_path: Path) -> None:
    train = log(tmp_path / "train.tsv.gz", 160, 0, clock=True)
    result = measured("--train", train, "--tail", "0.25", *SMALL, "--json", tmp_path / "out.json")
    assert (result["train_sessions"], result["test_sessions"]) == (120, 40)
    assert result["set"]["encoder.units"] == 16


@pytest.mark.slow
def test_the_longest_sessions_of_the_training_file_can_stand_in(tmp_path: Path) -> None:
    import session_log

    train = log(tmp_path / "train.tsv.gz", 160, 0, clock=True)
    sessions = session_log.log(train, None, None, 0.25)
    assert (sessions.train.n_sequences, sessions.test.n_sequences) == (120, 40)
    assert sessions.test.lengths.min() >= sessions.train.lengths.max()
    file = tmp_path / "simulated.tsv"
    session_log.simulated(file, events=4000, items=50, seed=0)
    assert session_log.log(file, None, None, 0.02).test.lengths.mean() > 10


@pytest.mark.slow
def test_what_makes_no_sense_is_refused_in_a_line(tmp_path: Path) -> None:
    train = log(tmp_path / "train.tsv.gz", 20, 0, clock=True)
    for words, says in (
        ((), "one of --test, --tail and --longest is needed"),
        (("--tail", "0.5", "--set", "encoder.kidn=gru"), "models.next_step.encoder.kidn: this model has no such param"),
    ):
        done = run("--train", train, *words, "--json", tmp_path / "out.json")
        assert done.returncode == 2
        assert says in done.stderr
        assert "Traceback" not in done.stderr
