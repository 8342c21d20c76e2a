"""Is every damaged artefact, ledger or decision refused in words: never a traceback, never another answer?

python benchmarks/fuzz_models.py --artefact models/next_step/exported --seeds 0:1000 [--kinds bits card …] --json FILE

Of each seed one copy is damaged and used: `bits` (a bit, a cut or noise in one of the artefact's files), `card`
(card.json with other values, right by its own hashes), `table` (vocabulary or categories with other columns, types or
rows, under hashes that fit), `ledger` (its lines, with hashes anew or not) and `decision` (decision.json with other
values). What is wrong is listed by kind and seed.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from outcome import hand_out, versions

VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 2**70, 1e308, float("nan"), float("inf"), "", "x", "../x", "\0", "é" * 300, "9" * 5000),
    *([], [1], [None], ["item"], [[1]], {}, {"a": 1}, {"": {}}),
)
KNOWN = ("read", "refused", "of no effect")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artefact", type=Path, required=True, help="an exported model, of steps or of features")
    parser.add_argument("--seeds", default="0:100", help="FIRST:LAST, for each kind")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    first, last = map(int, args.seeds.split(":"))
    started, lines = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        for kind in args.kinds:
            for seed in range(first, last):
                line = attempt(kind, seed, args.artefact, Path(folder) / "w")
                lines.append(line)
                if line["outcome"] not in KNOWN:
                    print(json.dumps(line), file=sys.stderr, flush=True)
    result = {
        "seeds": args.seeds,
        "kinds": {kind: Counter(each["outcome"] for each in lines if each["kind"] == kind) for kind in args.kinds},
        "wrong": [each for each in lines if each["outcome"] not in KNOWN],
        "seconds": round(time.monotonic() - started, 1),
        "versions": versions("onnxruntime", "pyarrow"),
    }
    hand_out(result, args.json)


def attempt(kind: str, seed: int, artefact: Path, root: Path) -> dict[str, Any]:
    """What becomes of one damaged copy below `root`, which is made anew."""
    from clickflow.system.errors import ClickflowError

    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    random = Random(f"{kind} {seed}")
    damage, use = KINDS[kind]
    line: dict[str, Any] = {"kind": kind, "seed": seed, "done": damage(random, artefact, root)}
    try:
        line["outcome"] = use(root, artefact)
    except ClickflowError as error:
        text = "\n".join(error.lines())
        whole = error.kept and error.next_step and len(text) < 20_000 and "Traceback" not in text
        line |= {"outcome": "refused" if whole else "an error that lacks a part", "why": text[:300]}
    except Exception as error:
        line |= {"outcome": "traceback", "why": "".join(traceback.format_exception(error)[-4:])[-1200:]}
    return line


def bits(random: Random, artefact: Path, root: Path) -> str:
    """A bit, a cut, or noise in one file."""
    shutil.copytree(artefact, root / "exported")
    path = random.choice(sorted(p for p in (root / "exported").iterdir() if p.suffix in (".json", ".parquet", ".onnx")))
    data = bytearray(path.read_bytes())
    at, way = random.randrange(len(data)), random.choice(["bit", "cut", "noise", "gone"])
    if way == "bit":
        data[at] ^= 1 << random.randrange(8)
    elif way == "cut":
        del data[at:]
    else:
        data[at : at + 40] = random.randbytes(random.randrange(1, 80))
    path.write_bytes(bytes(data))
    if way == "gone":
        path.unlink()
    return f"{way} in {path.name}"


def card(random: Random, artefact: Path, root: Path) -> str:
    """Other values in card.json."""
    shutil.copytree(artefact, root / "exported")
    return _edited(random, root / "exported/card.json")


def table(random: Random, artefact: Path, root: Path) -> str:
    """Another vocabulary or other categories, which the card's hashes fit."""
    import pyarrow as pa
    from pyarrow import parquet

    folder = root / "exported"
    shutil.copytree(artefact, folder)
    name = random.choice(["vocabulary", "categories", "popularity"])
    path = folder / f"{name}.parquet"
    if not path.exists():
        name, path = "vocabulary", folder / "vocabulary.parquet"
    rows = parquet.read_table(path)
    column = random.choice(rows.column_names)
    at = rows.column_names.index(column)
    way = random.choice(
        ["column gone", "other type", "nulls", "fewer rows", "no rows", "twice", "reversed", "no table"]
    )
    if way == "column gone":
        rows = rows.drop_columns([column])
    elif way == "other type":
        rows = rows.set_column(at, column, pa.array([f"x{n}" for n in range(len(rows))]))
    elif way == "nulls":
        rows = rows.set_column(at, column, pa.nulls(len(rows), rows.schema.field(column).type))
    elif way == "twice":
        rows = pa.concat_tables([rows, rows])
    elif way == "reversed":
        rows = rows.take(pa.array(range(len(rows) - 1, -1, -1)))
    else:
        rows = rows.slice(0, 0 if way == "no rows" else len(rows) // 2)
    parquet.write_table(rows, path)
    if way == "no table":
        path.write_bytes(b"PAR1" + random.randbytes(200) + b"PAR1")
    content = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    content[f"{name}_sha256"] = sha256(path.read_bytes()).hexdigest()
    (folder / "card.json").write_text(json.dumps(content), encoding="utf-8")
    return f"{way}, {name}.{column}"


def ask(root: Path, artefact: Path) -> str:
    """Load it as every reader does, and as the server; ask it, and hold the answers against those of the whole one."""
    import numpy as np

    from clickflow.online.served import Served

    same = all(p.read_bytes() == (artefact / p.name).read_bytes() for p in (root / "exported").iterdir())
    here = _answers(Served.of("next_step", 1, root / "exported"))
    if same:
        return "of no effect"
    there = _answers(Served.of("next_step", 1, artefact))
    equal = here.keys() == there.keys() and all(np.array_equal(here[name], there[name]) for name in here)
    return "read" if equal else "another answer"


def _answers(served: Any) -> dict[str, Any]:
    from clickflow.online.history import Question, Step

    ids = [name for name in served.items.ids if name][:3]
    steps = tuple(Step(item, "view", 1_767_607_200_000_000 + at * 60_000_000) for at, item in enumerate(ids))
    answer: dict[str, Any] = served.answers([Question(steps, 1_767_607_800_000_000)])
    served.items.about(2)
    return answer


def ledger(random: Random, artefact: Path, root: Path) -> str:
    """Lines of a signed ledger, changed."""
    from clickflow.registry import ledger as book

    del artefact
    file = root / "ledger.jsonl"
    for number in range(1, 5):
        book.append(
            file,
            book.read(file),
            action="promote",
            model="next_step",
            version=number,
            champion=number,
            previous=number - 1,
            reason="a test",
            facts={"metrics": {"mrr@20": 0.2}, "artefact_sha256": "0" * 64},
        )
    lines = file.read_bytes().splitlines(keepends=True)
    way = random.choice(["bit", "cut", "value", "value, hashes anew", "line gone", "lines change places", "noise"])
    at = random.randrange(len(lines))
    if way == "bit":
        line = bytearray(lines[at])
        line[random.randrange(len(line))] ^= 1 << random.randrange(8)
        lines[at] = bytes(line)
    elif way == "cut":
        lines = [*lines[:at], lines[at][: random.randrange(1, len(lines[at]))]]
    elif way == "line gone":
        del lines[random.randrange(3)]
    elif way == "lines change places":
        lines[0], lines[-1] = lines[-1], lines[0]
    elif way == "noise":
        lines.insert(at, random.choice([b"\n", b"null\n", b"[]\n", b"{}\n", b"\xff\n", b"[" * 100_000 + b"\n"]))
    else:
        content = json.loads(lines[at])
        content[random.choice(list(content))] = random.choice(VALUES)
        if "anew" in way:
            content["hash"] = book.hash_of(content)
        lines[at] = json.dumps(content).encode() + b"\n"
    file.write_bytes(b"".join(lines))
    (root / "way").write_text(f"{way} {at}", encoding="utf-8")
    return f"{way} at line {at + 1}"


def read_ledger(root: Path, artefact: Path) -> str:
    """Who is champion by it: of what was cut, a state that once was; of all else nobody."""
    from clickflow.registry import ledger as book

    del artefact
    entries = book.read(root / "ledger.jsonl")
    champion = book.standing(entries, "next_step").champion
    return "read" if champion == len(entries) and len(entries) <= 4 else "another champion"


def decision(random: Random, artefact: Path, root: Path) -> str:
    """Other values in decision.json."""
    folder = root / "reports/next_step/gate"
    folder.mkdir(parents=True)
    shutil.copytree(artefact, root / "models/next_step/exported")
    rule = {"rule": "floors", "verdict": "promote", "why": "above it", "evidence": {"mrr@20": 0.2}}
    content = {
        "decision": "promote",
        "champion_version": 0,
        "metrics": {"mrr@20": 0.2, "recall@20": 0.5},
        "rules": [rule],
        "data": {"kind": "files", "to": "2026-01-05"},
        "sentence": "It is good.",
    }
    (folder / "decision.json").write_text(json.dumps(content), encoding="utf-8")
    return _edited(random, folder / "decision.json")


def read_decision(root: Path, artefact: Path) -> str:
    """What promote reads before it decides again from the evidence."""
    from clickflow.registry.candidate import read_candidate
    from clickflow.system.paths import Paths

    del artefact
    read_candidate(Paths(root), "next_step")
    return "read"


def _edited(random: Random, path: Path) -> str:
    """One to three values of a JSON file replaced, removed or renamed, or a bit of its text flipped."""
    if random.random() < 0.2:
        data = bytearray(path.read_bytes())
        at = random.randrange(len(data))
        data[at] ^= 1 << random.randrange(8)
        path.write_bytes(bytes(data))
        return f"bit {at} of {path.name}"
    content = json.loads(path.read_text(encoding="utf-8"))
    done = []
    for _ in range(random.choice([1, 1, 2, 3])):
        place = random.choice(_places(content, ()) or [()])
        if not place:
            content = random.choice(VALUES)
            done.append("all of it")
            break
        node: Any = content
        for key in place[:-1]:
            node = node[key]
        way = random.choice(["value", "value", "value", "gone", "name"])
        done.append(f"{way} of {'.'.join(map(str, place))}")
        if way == "value":
            node[place[-1]] = random.choice(VALUES)
        else:
            gone = node.pop(place[-1])
            if way == "name" and isinstance(node, dict):
                node[f"{place[-1]}x"] = gone
    path.write_text(json.dumps(content), encoding="utf-8")
    return ", ".join(done)


def _places(node: Any, at: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [at, *(place for key, value in list(inner)[:60] for place in _places(value, (*at, key)))]


Damage = Callable[[Random, Path, Path], str]
KINDS: Mapping[str, tuple[Damage, Callable[[Path, Path], str]]] = {
    "bits": (bits, ask),
    "card": (card, ask),
    "table": (table, ask),
    "ledger": (ledger, read_ledger),
    "decision": (decision, read_decision),
}
"""By kind what damages a copy, and what reads it."""

if __name__ == "__main__":
    main()
