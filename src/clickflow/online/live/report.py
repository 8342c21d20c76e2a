"""`clickflow live` and `clickflow canary`: what became of answers by version, and what the rule says of a canary."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from clickflow.online.live import drift, log, metrics, rule, sequential
from clickflow.online.live.metrics import Joined
from clickflow.params.schema import Params
from clickflow.registry import canary, ledger
from clickflow.registry.ledger import Entry
from clickflow.system import console
from clickflow.system.errors import UsageError, nearest
from clickflow.system.files import read_json, unsealed, write_record
from clickflow.system.moments import DAY, iso, of_iso
from clickflow.system.paths import Paths

FILE = "live.json"
"""The last report, in the folder of the log."""
BESIDE = " beside a canary"
"""Of the champion, to the visitors that a canary is compared on; its other answers are a line of their own."""
FEW = ("log_loss", "accuracy", "ece", "brier", "mae", "pinball")
"""What a line in a terminal shows of answers that are no ranking."""


def read(params: Params, paths: Paths, *, now: int, days: float) -> Joined:
    """The log of the last days, joined."""
    folder, since = log.place(paths.home), now - round(days * DAY)
    # who came back lately may have been answered before: outcomes of all that are asked about are read
    return metrics.joined(
        params, log.read(folder, "answers", since=since), log.read(folder, "outcomes", since=since), now
    )


def report(params: Params, paths: Paths) -> dict[str, Any]:
    """All of it, as JSON holds it; it is written beside the log, too."""
    now = time.time_ns() // 1000
    entries = ledger.whole(paths)
    since = now - round(params.live.window_days * DAY)
    outcomes = log.read(log.place(paths.home), "outcomes", since=since)
    joined = read(params, paths, now=now, days=params.live.window_days)
    groups = metrics.summary(params, joined)
    for line in groups:
        line["since"], line["until"] = iso(line["since"]), iso(line["until"])
    result = {
        "made": iso(now),
        "days": params.live.window_days,
        "groups": groups,
        "agreement": [_compared(params, joined, line) for line in metrics.agreement(joined)],
        "canaries": {each.model: each.plain() for each in verdicts(params, paths, entries, now)},
        "drift": drift.moved(params, joined, outcomes, now),
        "waiting": {each.output.name: each.waiting for each in joined.judged},
        "dropped": joined.dropped,
        "unmatched": joined.unmatched,
    }
    folder = log.place(paths.home)
    if folder.is_dir():
        write_record(folder / FILE, result)
    return result


def _compared(params: Params, joined: Joined, line: dict[str, Any]) -> dict[str, Any]:
    """With what the shadow's answers would have been worth, visitor by visitor."""
    metric = metrics.metric_of(params, line["model"]) if line["model"] in params.models else None
    if metric is None or metrics.output_of(params, line["model"], metric) != line["output"]:
        return line
    apart = metrics.paired(params, joined, line["model"], metric, line["shadow"])
    evidence = sequential.evidence(apart, margin=params.live.margin, alpha=params.live.alpha)
    ends = {"mean": evidence.mean, "low": evidence.low, "high": evidence.high}
    return line | {"metric": metric, "visitors": evidence.pairs, **ends}


def verdicts(params: Params, paths: Paths, entries: list[Entry], now: int) -> Iterator[rule.Verdict]:
    """Of every canary that is on, from its first visitor on: what an earlier look saw, this one sees too."""
    on = {model: entry for model in params.models if (entry := canary.running(entries, model))}
    if on:
        first = min(of_iso(entry.time) for entry in on.values())
        joined = read(params, paths, now=now, days=(now - first) / DAY + 0.01)
        for entry in on.values():
            yield rule.verdict(params, joined, entry, now)


def last(paths: Paths) -> dict[str, Any]:
    """The last report that was made; empty where none was. One that is damaged says nothing but that."""
    try:
        content = unsealed(read_json(log.place(paths.home) / FILE))
    except OSError:
        return {}
    except ValueError:
        return {"made": None}
    return content if isinstance(content, dict) else {}


def run(params: Params, paths: Paths, *, as_json: bool) -> None:
    """`clickflow live`."""
    result = report(params, paths)
    console.emit(result, as_json=as_json, text=lambda: _text(result))


def lines(result: Mapping[str, Any], model: str) -> list[str]:
    """What a report says of a model, a line a version and arm: what `clickflow status` shows beside the gate's word."""
    lines_of = []
    own = [group for group in result.get("groups", ()) if group["model"] == model]
    names = [
        f"version {each['version']}, {each['arm']}{BESIDE if each['test'] and each['arm'] == log.CHAMPION else ''}"
        for each in own
    ]
    for group, named in zip(own, names, strict=True):
        parts = [f"{_number(group['requests'])} requests of {_number(group['visitors'])} visitors"]
        for name, cell in {**group.get("shown", {}), **_headline(group["heads"])}.items():
            if isinstance(cell, Mapping) and cell["value"] is not None:
                ends = "" if cell["low"] is None else f" [{cell['low']:.4f}, {cell['high']:.4f}]"
                parts.append(f"{name} {cell['value']:.4f}{ends}")
        parts += [
            f"{name} under rules of the shop for {_number(head['under_rules'])} of {_number(head['questions'])}"
            for name, head in group["heads"].items()
            if head.get("under_rules")
        ]
        again = f", since {group['since'][:16].replace('T', ' ')}" if names.count(named) > 1 else ""
        lines_of.append(f"{named}{again}: {', '.join(parts)}")
    lines_of += [
        f"shadow {line['shadow']} answers as the champion {line['champion']}: {line['output']} "
        f"{line['agreement']:.3f} of {_number(line['requests'])} requests"
        for line in result.get("agreement", ())
        if line["model"] == model
    ]
    lines_of += [
        f"{line['group']}: {line['dimension']} has moved, by {line['distance']:.3f} (noise {line['noise']:.3f}, "
        f"{_number(line['visitors'])} visitors)"
        for line in result.get("drift", ())
        if line["model"] == model and line["moved"]
    ]
    if on := result.get("canaries", {}).get(model):
        lines_of.append(f"canary, version {on['version']}: {on['call']}: {on['why']}")
    return lines_of


def beside(params: Params, paths: Paths) -> dict[str, list[str]]:
    """By model, the lines of the last report and when it was made; models that were not answered for are not there."""
    result = last(paths)
    try:
        lines_of = {model: lines(result, model) for model in params.models}
        when = f"as of {result['made'][:16].replace('T', ' ')} UTC" if result else ""
    except (KeyError, TypeError, AttributeError, ValueError):  # a file that somebody, or another version, wrote
        return {
            model: [f"{log.place(paths.home) / FILE} is not a report: `clickflow live` makes one"]
            for model in params.models
        }
    return {model: [*own, when] for model, own in lines_of.items() if own}


def _headline(heads: Mapping[str, Any]) -> dict[str, Any]:
    shown = {}
    for name, head in heads.items():
        cells = head["metrics"]
        ranked = [key for key in cells if key.startswith(("recall@", "mrr@"))]
        for key in ranked[-2:] if ranked else [key for key in FEW if key in cells][:2]:
            shown[f"{name}.{key}"] = cells[key]
    return shown


def _number(value: int) -> str:
    return f"{value:,}"


def _text(result: Mapping[str, Any]) -> str:
    models = dict.fromkeys([*(group["model"] for group in result["groups"]), *result["canaries"]])
    text = [f"answers of the last {result['days']:g} days, as of {result['made'][:16].replace('T', ' ')} UTC"]
    for model in models:
        text += [model, *(f"  {line}" for line in lines(result, model))]
    if not models:
        text.append("  nobody was answered: `clickflow serve` answers, and logs where live.log is true")
    if waiting := {name: count for name, count in result["waiting"].items() if count}:
        text.append("not judged yet: " + ", ".join(f"{_number(count)} of {name}" for name, count in waiting.items()))
    if result["dropped"]:
        text.append(f"the log lost {_number(result['dropped'])} rows: live.queue is too small, or its disk was full")
    if result["unmatched"]:
        text.append(
            f"feedback of the last day names {_number(result['unmatched'])} requests that no answer in the log has: "
            "the id of an answer is its header x-request-id, of a batch ID.0, ID.1, …"
        )
    return "\n".join(text)


ACTIONS = ("start", "stop", "status", "judge")


def of_canary(
    params: Params, paths: Paths, action: str, models: list[str], *, version: int | None, reason: str, as_json: bool
) -> None:
    """`clickflow canary ACTION`."""
    if action not in ACTIONS:
        raise UsageError(
            f"there is no `clickflow canary {action}`{nearest(action, ACTIONS)}",
            next_step=f"one of {', '.join(ACTIONS)}",
        )
    if action in ("start", "stop") and (len(models) != 1 or not reason.strip()):
        raise UsageError(
            f"`clickflow canary {action}` needs a model and a reason",
            next_step=f'`clickflow canary {action} {models[0] if models else "MODEL"} --reason "…"`',
        )
    names = models or list(params.models)
    done = {"start": _started, "stop": _stopped, "status": _seen, "judge": _judged}[action]
    result = done(params, paths, names, version, reason)
    text = "\n".join(f"{model}: {line['text']}" for model, line in result.items()) or "no canary is on"
    console.emit({"canaries": result}, as_json=as_json, text=lambda: text)


def _started(params: Params, paths: Paths, models: list[str], version: int | None, reason: str) -> dict[str, Any]:
    (model,) = models
    if version is None:
        entries = ledger.whole(paths)
        let = [e.version for e in entries if e.model == model and e.action in canary.LET_THROUGH]
        if not let:
            raise UsageError(
                f"no version of {model} was let through yet: there is none to begin with",
                kept="no canary began",
                next_step="`clickflow promote` asks the gate; with the model in live.canary it begins a canary",
            )
        version = let[-1]
    entry = canary.start(params, paths, model, version, reason)
    share = entry.facts["share"]
    return {model: {**_line(entry), "text": f"version {version} answers {share:.0%} of the visitors"}}


def _stopped(params: Params, paths: Paths, models: list[str], _: int | None, reason: str) -> dict[str, Any]:
    on = canary.running(ledger.whole(paths), models[0])  # the one that is meant: another may begin while this waits
    entry = canary.end(params, paths, models[0], promote=False, reason=reason, test=on.number if on else 0)
    return {models[0]: {**_line(entry), "text": f"version {entry.version} answers nobody any more"}}


def _seen(params: Params, paths: Paths, models: list[str], _: int | None, __: str) -> dict[str, Any]:
    canaries = verdicts(params, paths, ledger.whole(paths), time.time_ns() // 1000)
    return {
        each.model: {**each.plain(), "text": f"version {each.version}: {each.call}: {each.why}"}
        for each in canaries
        if each.model in models
    }


def _judged(params: Params, paths: Paths, models: list[str], _: int | None, __: str) -> dict[str, Any]:
    """Carry out what the rule says of each canary: a line of the ledger where it ends."""
    result = {}
    for each in verdicts(params, paths, ledger.whole(paths), time.time_ns() // 1000):
        if each.model not in models:
            continue
        plain = each.plain()
        text = f"version {each.version} goes on: {each.why}"
        if each.call != "wait":
            kept = {name: plain[name] for name in ("metric", "visitors", "candidate_visitors", "mixed", "evidence")}
            kept |= {name: getattr(params.live, name) for name in ("alpha", "margin", "min_visitors", "visitor_hours")}
            canary.end(
                params,
                paths,
                each.model,
                promote=each.call == "promote",
                reason=f"by the rule of params live: {each.why}",
                test=each.test,
                evidence=kept,
            )
            text = f"version {each.version} {'is champion now' if each.call == 'promote' else 'is stopped'}: {each.why}"
        result[each.model] = {**plain, "text": text}
    return result


def _line(entry: Entry) -> dict[str, Any]:
    return {"version": entry.version, "champion": entry.champion, "line": entry.number, "reason": entry.reason}
