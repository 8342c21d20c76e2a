"""The certificate: what was removed where, what could not be reached, and what is left to do. It names nobody.

`<home>/forgotten/<time>-<name>.json` and `.txt`. People stand in it by their keyed hashes: who has the key and the id
can show that a certificate is about them, nobody else can tell.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clickflow.system.files import write_json, write_text

FOLDER = "forgotten"
SHOWN = 3


def write(home: Path, content: Mapping[str, Any]) -> Path:
    """Both forms; the path of the JSON."""
    stem = f"{content['finished'][:19].replace(':', '').replace('-', '')}-{content['people'][0][:8]}"
    path = home / FOLDER / f"{stem}.json"
    write_json(path, content)
    write_text(path.with_suffix(".txt"), "\n".join(lines(content)) + "\n")
    return path


def lines(content: Mapping[str, Any]) -> Iterator[str]:
    """For people."""
    would = "would be " if content["dry_run"] else ""
    count = len(content["people"])
    yield f"{count} {'person' if count == 1 else 'people'} {would}forgotten: {', '.join(content['people'])}"
    rows = content["rows"]
    yield (
        f"  rows {would}removed: {rows['events']:,} of events, {rows['quarantine']:,} of quarantine, "
        f"{rows['raw']:,} of raw files"
    )
    groups = Counter((thing["place"], thing["how"]) for thing in content["removed"])
    for (place, how), number in sorted(groups.items()):
        yield f"  {place}: {number:,} {how}"
        for thing in [t for t in content["removed"] if (t["place"], t["how"]) == (place, how)][:SHOWN]:
            yield f"    {thing['thing']}" + (f", {thing['rows']:,} rows" if thing["rows"] else "")
        if number > SHOWN:
            yield f"    and {number - SHOWN:,} more"
    for model, versions in sorted(content["models"].items()):
        numbers = ", ".join(map(str, versions))
        yield f"  {model}: version {numbers} learned from them, or may have: marked until a retrain"
    if content["runs"]:
        yield f"  recorded runs that can no longer be brought back whole: {', '.join(content['runs'])}"
    for what in content["notes"]:
        yield f"  note: {what}"
    for what in content["unreached"]:
        yield f"  NOT REMOVED: {what}"
    for what in content["next"]:
        yield f"  next: {what}"
