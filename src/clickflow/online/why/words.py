"""An explanation in sentences, English and Chinese, from a table of forms; the page and the command line show them."""

import math
from collections.abc import Iterator
from typing import Any, Literal

from msgspec import structs

from clickflow.heads import outputs
from clickflow.online.why.schema import Change, Contribution, Edit, Effect, Explained, Explanation

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
SHOWN = 3
"""Effects, and features, that are told."""
TELLING = 0.1
"""Of the largest effect: what changes less is not told."""

FORMS: dict[Language, dict[str, str]] = {
    "en": {
        "ranking": "The model gives {target} {answer} as the answer to: {question}",
        "classes": "The model gives {target} {answer} as the answer to: {question}",
        "probability": "The model gives {target} {answer} as the answer to: {question}",
        "amount": "The model expects {answer} as the answer to: {question}",
        "yes": "yes",
        "no": "no",
        "for": "Without {what} it would be only {without}.",
        "against": "Without {what} it would be more, {without}.",
        "step": "step {n} ({action} {item})",
        "item": "all {count} steps on {item}",
        "action": "all {count} steps of type {action}",
        "earlier": "the {count} oldest steps",
        "covering": " These steps stand in for each other: without one of them the others say the same.",
        "one": "There is one step, and without it there is nothing to read.",
        "nothing": "No step alone, and no group of steps, changes the answer.",
        "change": "The nearest change found that gives another answer: {edits}. Then {after}.",
        "remove": "leave out step {n} ({action} {item})",
        "change_type": "make step {n} ({item}) a {to} in place of a {action}",
        "add": "add a {action} of {item} at the end",
        "and": " and ",
        "first": "{after} comes first, and {target} has {value}",
        "itself": "{target} comes first, with {value}",
        "above": "it is {value}, above the threshold of {threshold}",
        "below": "it is {value}, below the threshold of {threshold}",
        "not_within": "None of the {tried} changes tried (at most {most}) gives another answer.",
        "no_threshold": "No costs are set for this answer, so there is no threshold that a change could cross.",
        "feature": "{meaning}{window}: {value} (typical {typical}) {does}.",
        "multiplies": "multiplies it by {by}",
        "divides": "divides it by {by}",
        "raises": "raises it by {by}",
        "lowers": "lowers it by {by}",
        "window": ", {window}",
        "missing": "none",
        "associated": "After {item} alone the model expects {target} with {alone}, {lift} times its usual share.",
        "unknown": "{count} of {length} steps are on items that the model does not know.",
        "note": "This says how the model's answer hangs on this history: an association that the model has learned, "
        "not a cause of what the {who} does.",
    },
    "zh": {
        "ranking": "对问题“{question}”，模型给 {target} 的概率是 {answer}。",
        "classes": "对问题“{question}”，模型给“{target}”的概率是 {answer}。",
        "probability": "对问题“{question}”，模型给“{target}”的概率是 {answer}。",
        "amount": "对问题“{question}”，模型的期望值是 {answer}。",
        "yes": "是",
        "no": "否",
        "for": "若没有{what}，则只有 {without}。",
        "against": "若没有{what}，则更高，为 {without}。",
        "step": "第 {n} 步（{action} {item}）",
        "item": "{item} 的全部 {count} 步",
        "action": "类型为 {action} 的全部 {count} 步",
        "earlier": "最早的 {count} 步",
        "covering": "这些步骤彼此替代：只去掉其中一步，其余各步仍说明同样的事。",
        "one": "历史只有一步，去掉后模型没有可读的内容。",
        "nothing": "没有任何一步或一组步骤会改变这一结果。",
        "change": "找到的能改变结果的最近改动：{edits}。改动后{after}。",
        "remove": "去掉第 {n} 步（{action} {item}）",
        "change_type": "把第 {n} 步（{item}）由 {action} 改为 {to}",
        "add": "在末尾加上一步 {action} {item}",
        "and": "，并",
        "first": "排在首位的是 {after}，{target} 为 {value}",
        "itself": "{target} 排在首位，为 {value}",
        "above": "为 {value}，高于阈值 {threshold}",
        "below": "为 {value}，低于阈值 {threshold}",
        "not_within": "试过的 {tried} 种改动（上限 {most}）都没有改变结果。",
        "no_threshold": "没有为这一答案设置成本，因此没有可以越过的阈值。",
        "feature": "{meaning}{window}：{value}（典型值 {typical}），{does}。",
        "multiplies": "使结果变为 {by} 倍",
        "divides": "使结果变为 {by} 分之一",
        "raises": "使结果升高 {by}",
        "lowers": "使结果降低 {by}",
        "window": "（{window}）",
        "missing": "无",
        "associated": "只看过 {item} 时，模型给 {target} 的概率是 {alone}，是其平常份额的 {lift} 倍。",
        "unknown": "{length} 步中有 {count} 步的商品是模型不认识的。",
        "note": "以上说明模型的答案如何依赖这段历史。这是模型学到的关联，不是{who}行为的原因。",
    },
}
WHO: dict[Language, dict[str, str]] = {
    "en": {"session": "visitor", "customer": "customer"},
    "zh": {"session": "访客", "customer": "顾客"},
}
"""Whom a unit is of; one of one's own is of visitors."""


def sentences(explanation: Explanation, language: Language = "en") -> list[str]:
    """What an explanation says, in order of weight; the last sentence says what it is and is not."""
    head, form, who = outputs.head(explanation.output), FORMS[language], WHO[language]
    sentences = _sentences(structs.replace(explanation, question=head.asks(language)), form)
    return [*sentences, form["note"].format(who=who.get(head.unit, who["session"]))]


def explained(explanation: Explanation) -> Explained:
    """With its sentences in every language."""
    fields = {name: getattr(explanation, name) for name in explanation.__struct_fields__}
    return Explained(**fields, sentences={language: sentences(explanation, language) for language in LANGUAGES})


def _sentences(own: Explanation, form: dict[str, str]) -> Iterator[str]:
    target = form[own.target] if own.kind == "probability" else _item(own.target, own.target_name)
    yield form[own.kind].format(target=target, answer=_value(own, own.answer), question=own.question)
    yield from _effects(own, form)
    yield _change(own, form)
    if own.contributions:
        yield from (_feature(own, each, form) for each in own.contributions.features[:SHOWN])
    if own.associated:
        best = own.associated[0]
        facts = {"alone": _percent(best.alone), "lift": f"{best.lift:,.1f}"}
        yield form["associated"].format(item=_item(best.item, best.name), target=target, **facts)
    if own.unknown:
        yield form["unknown"].format(count=len(own.unknown), length=own.length)


def _effects(own: Explanation, form: dict[str, str]) -> Iterator[str]:
    if own.length == 1:
        yield form["one"]
        return
    effects = [*own.effects, *(each for each in own.groups if each.what == "earlier")]
    effects.sort(key=lambda each: -abs(each.effect))
    effects = [each for each in effects if abs(each.effect) >= TELLING * abs(effects[0].effect) and each.effect]
    if not effects:
        yield form["nothing"]
    for each in effects[:SHOWN]:
        does = "for" if each.effect > 0 else "against"
        sentence = form[does].format(what=_what(each, form), without=_value(own, each.without))
        yield sentence + (form["covering"] if each.covering else "")


def _what(each: Effect, form: dict[str, str]) -> str:
    facts = {"n": each.steps[0] + 1, "count": len(each.steps), "action": each.action}
    return form[each.what].format(item=_item(each.item, each.name), **facts)


def _change(own: Explanation, form: dict[str, str]) -> str:
    search = own.search
    if search.change is None:
        why = search.why_not or "not_within"
        return form[why].format(tried=search.tried, most=search.most)
    change = search.change
    edits = form["and"].join(_edit(each, form) for each in change.edits)
    return form["change"].format(edits=edits, after=_after(own, change, form))


def _after(own: Explanation, change: Change, form: dict[str, str]) -> str:
    value = _value(own, change.value)
    if change.after in ("above", "below") and own.threshold is not None:
        return form[change.after].format(value=value, threshold=_value(own, own.threshold))
    key = "itself" if change.after == own.target else "first"
    return form[key].format(after=change.after, target=_item(own.target, own.target_name), value=value)


def _edit(each: Edit, form: dict[str, str]) -> str:
    key = "change_type" if each.what == "change" else each.what
    facts = {"n": each.step + 1, "action": each.action, "to": each.to}
    return form[key].format(item=_item(each.item, each.name), **facts)


def _feature(own: Explanation, each: Contribution, form: dict[str, str]) -> str:
    log = own.unit == "log_probability"
    by = math.exp(abs(each.effect)) if log else abs(each.effect)
    does = ("multiplies", "divides") if log else ("raises", "lowers")
    facts: dict[str, Any] = {"meaning": each.meaning, "does": form[does[each.effect < 0]].format(by=f"{by:,.2f}")}
    for name in ("value", "typical"):
        number = getattr(each, name)
        facts[name] = form["missing"] if number is None else f"{number:,.4g}"
    window = "" if each.window in ("all", "visit") else form["window"].format(window=each.window)
    return form["feature"].format(window=window, **facts)


def _value(own: Explanation, value: float) -> str:
    return _percent(value) if own.unit == "log_probability" else f"{value:,.2f}"


def _percent(value: float) -> str:
    """Three digits, for an item of a hundred thousand is rarely likely."""
    return f"{100 * value:.3g}%"


def _item(item: str | None, name: str | None) -> str:
    return f"{name} ({item})" if name and item else str(item)
