"""What an inspection found, for people: YAML, with what was seen as comments."""

from collections.abc import Iterator, Mapping
from typing import Any

from clickflow.events.inspect.form import Look
from clickflow.events.inspect.proposal import Proposal
from clickflow.events.inspect.trial import Trial
from clickflow.params import patch
from clickflow.params.source import Source


def page(result: Mapping[str, Any], looked: Look, proposal: Proposal, trial: Trial | None) -> str:
    """All of it as YAML that can be pasted in place of `source:` in params.yaml; what is not named is the default."""
    usual = patch.plain(Source(path=""))
    chosen = {name: value for name, value in result["source"].items() if name == "kind" or value != usual[name]}
    block = ["source:", *(f"  {name}: {patch.written(value)}" for name, value in chosen.items())]
    end = "params.yaml was written" if result["written"] else "--write puts it into params.yaml"
    how = "was made a comment" if result["written"] else "is made a comment by --write"
    off = [f"models.{name} {how}: the log {why}" for name, why in result["off"].items()]
    then = "then `dvc repro`"
    if trial is None or not trial.accepted:
        then = "mend the block first: as it is, no row is accepted"
    after = ["", *_tried(result, trial), *off, f"{end}; {then}"]
    return "\n".join([*_comments(_seen(result, looked, proposal)), *block, *_comments(after)])


def _comments(lines: Any) -> Iterator[str]:
    for line in lines:
        yield f"# {line}".rstrip()


def _seen(result: Mapping[str, Any], looked: Look, proposal: Proposal) -> Iterator[str]:
    form = looked.form
    delimiter = None if form.delimiter is None else f"delimiter {form.delimiter!r}"
    how = ", ".join(filter(None, [form.format, form.packing, form.encoding, delimiter]))
    header = "with a header" if form.header else "without a header"
    among = f", one of {result['files']:,} files" if result["files"] > 1 else ""
    rows = f"{'all of its' if looked.whole else 'its first'} {looked.read:,} rows were looked at"
    yield f"{looked.name}: {how}, {header}; {rows}{among}"
    yield ""
    width = max([len(name) for name, _, _ in proposal.columns], default=0)
    for name, column, why in proposal.columns:
        yield f"{name:{width}}  {f'-> {column}' if column else '':13}  {why}"
    if proposal.types:
        yield ""
        yield from (
            f"{kind!r}: {count:,} row{'s' * (count != 1)} -> {becomes}" for kind, count, becomes in proposal.types
        )
    if result["not_sure_of"]:
        yield ""
        yield "not sure of:"
        yield from (f"- {doubt}" for doubt in result["not_sure_of"])
    yield ""


def _tried(result: Mapping[str, Any], trial: Trial | None) -> Iterator[str]:
    if trial is None:
        yield f"tried, and could not be read: {' '.join(str(result['fault']).split())}"
        return
    where = f" of {trial.files} files" if trial.files > 1 else ""
    ignored = f", {trial.ignored:,} ignored" if trial.ignored else ""
    yield f"tried on {trial.read:,} rows{where}: {trial.accepted:,} accepted{ignored}, {trial.refused:,} refused"
    for reason, (count, example) in trial.reasons.items():
        yield f"- {reason} {count:,}, such as {example}"
    if trial.accepted:
        counts = f"{trial.users:,} users, {trial.sessions:,} sessions, {trial.items:,} items"
        each = [(trial.users, "user"), (trial.sessions, "session")]
        rates = "".join(f"; {trial.accepted / count:.1f} events a {key}" for count, key in each if count)
        yield f"{trial.first} to {trial.last} UTC: {counts}{rates}; {trial.ties:.0%} of the steps tie in time"
