"""The opening paragraph of a report, for the shop manager: what the model can be used for, in English or Chinese."""

from collections.abc import Callable, Mapping
from typing import Any

from clickflow.evaluation import figures, headline
from clickflow.evaluation.systems import CANDIDATE, EVERYBODY
from clickflow.heads.head import Kind
from clickflow.heads.outputs import Output
from clickflow.params.evaluation import Evaluation

UNITS = {
    "en": {"session": "visits", "customer": "customers", "series": "series"},
    "zh": {"session": "次访问", "customer": "位顾客", "series": "个序列"},
}
"""What is counted, by language and unit; a unit of one's own is called by its name."""

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "ranking": "{sentence}",
        "act": "Act on the {unit} {where}: {acted} of 1,000. That brings {own} per 1,000 {unit}{interval}; acting on "
        "all of them brings {everybody}, on none 0{baseline}.",
        "above": "for which the probability of {means} is above {threshold}",
        "below": "for which the probability of {means} is below {threshold}",
        "all": "without asking the model, all of them",
        "none": "not at all",
        "above_amount": "whose expected {means} is above {threshold}",
        "baseline": ", and by the best simple method, {name}, {value}",
        "better": " The model is shown to bring more than that: {gain} more{interval}.",
        "not_better": " That the model brings more than this method is not shown: the simple one does as well.",
        "worse": " The model is shown to bring less than this method ({gain}{interval}): use the simple one.",
        "no_gain": " That acting brings anything is not shown: wait, or change what it costs.",
        "all_as_well": " Acting on all of them brings as much: no model is needed for this.",
        "interval": " ({confidence} interval {low} to {high})",
        "lift": "The tenth of the {unit} that the model finds likeliest has {lift} times the usual share of {means}: "
        "{share} instead of {base}. To be told whom to act on, name what it costs and brings: evaluation.costs.{head}.",
        "no_lift": "There are too few answers to say whom the model finds.",
        "forecast": "Of the {means} of the next {steps} steps {covered} lay between the low and the high forecast (80% "
        "is right).{baseline} Order by the high forecast where running out is dear, by the middle one where leftovers "
        "are.",
        "forecast_baseline": " The forecasts are off by {share} {less} than those of the best simple method, {name}.",
        "less": "less",
        "more": "more",
        "same_days": "{means} learned from {rows} answers, too few to be tried on other days than those: how right the "
        "model stays in another season is not known.",
        "decile": "The tenth of the {unit} with the largest expected {means} brings {share} of all of it; in sum the "
        "model expects {ratio} of what came. To be told whom to act on, name what it costs and brings: "
        "evaluation.costs.{head}.",
    },
    "zh": {
        "ranking": "每 100 次“{what}”，模型给出的 {cutoff} 个推荐中有 {own} 次命中{baseline}。",
        "ranking_baseline": "；最好的简单方法命中 {value} 次",
        "act": "建议只对{where}的{unit}采取行动：每 1,000 {unit}中约 {acted} 个。每 1,000 {unit}带来 {own}{interval}；"
        "对所有人行动带来 {everybody}，不行动为 0{baseline}。",
        "above": "{means}概率高于 {threshold} ",
        "below": "{means}概率低于 {threshold} ",
        "all": "全部（无需模型）",
        "none": "无",
        "above_amount": "预期{means}高于 {threshold} ",
        "baseline": "；用最好的简单方法（{name}）带来 {value}",
        "better": "模型确实优于该方法：多带来 {gain}{interval}。",
        "not_better": "尚不能证明模型优于该方法，简单方法同样可用。",
        "worse": "模型不如该方法（{gain}{interval}）：请使用简单方法。",
        "no_gain": "尚不能证明行动有收益：请先等待，或降低成本。",
        "all_as_well": "对所有人行动的收益同样多：此事无需模型。",
        "interval": "（{confidence} 区间 {low} 至 {high}）",
        "lift": "模型认为最可能的十分之一{unit}，{means}比例是平均的 {lift} 倍：{share}，平均为 {base}。"
        "若要知道该对谁行动，请在 evaluation.costs.{head} 中写明成本与收益。",
        "no_lift": "可用的答案太少，无法说明模型找到了谁。",
        "forecast": "未来 {steps} 期的{means}中，有 {covered} 落在低、高预测之间（80% 为准确）。{baseline}"
        "缺货代价高时按高预测备货，积压代价高时按中位预测备货。",
        "forecast_baseline": "误差比最好的简单方法（{name}）{less} {share}。",
        "less": "小",
        "more": "大",
        "same_days": "“{means}”只学习了 {rows} 个答案，不足以在其他日期上检验：换一个季节是否仍然准确，尚不清楚。",
        "decile": "预期{means}最高的十分之一{unit}占全部的 {share}；模型预期总额为实际的 {ratio}。"
        "若要知道该对谁行动，请在 evaluation.costs.{head} 中写明成本与收益。",
    },
}
"""By language. The same keys in each."""


def of(content: Mapping[str, Any], settings: Evaluation) -> str:
    """A sentence or two for each head of which one can act; empty where there is none."""
    sentences = []
    for output in headline.answered(content):
        if output.ahead:
            continue
        money = content["money"].get(output.name)
        tell = _money if money else PLAIN.get(output.kind)
        if tell is not None:
            sentences.append(tell(content, output, settings))
    sentences.append(_same_days(content, settings))
    return ("" if settings.language == "zh" else " ").join(filter(None, sentences))


def _same_days(content: Mapping[str, Any], settings: Evaluation) -> str:
    """Which heads were tried on no other days than they learned from, having too few answers."""
    few = content.get("same_days") or {}  # a report of an earlier version does not say
    if not few:
        return ""
    heads, chinese = [each for each in headline.answered(content) if each.name in few], settings.language == "zh"
    titles = [each.head.means.get("zh", each.title) if chinese else each.title for each in heads]
    means = ("、" if chinese else ", ").join(titles)
    return WORDS[settings.language]["same_days"].format(means=means, rows=f"{min(few.values()):,}")


def _money(content: Mapping[str, Any], output: Output, settings: Evaluation) -> str:
    """The threshold, what it brings beside everybody, nobody and the best baseline, and whether that is shown."""
    words, money = WORDS[settings.language], content["money"][output.name]
    own, everybody = money["systems"][CANDIDATE], money["systems"][EVERYBODY]
    names = _names(output, settings)
    where = money["act_on"]
    if where == "above" and output.kind == "amount":
        threshold, where = sum_of(money["threshold"], settings), "above_amount"
    else:
        threshold = f"{100 * (money['threshold'] or 0):.3g}%"
    text = words["act"].format(
        **names,
        where=words[where].format(**names, threshold=threshold),
        acted=f"{1000 * own['acted']:.0f}",
        own=sum_of(own["value"], settings),
        interval=_interval(own, settings),
        everybody=sum_of(everybody["value"], settings),
        baseline=_baseline(money, settings),
    )
    if (own["low"] if own["low"] is not None else own["value"]) <= 0:
        return text + words["no_gain"]
    if own["value"] <= everybody["value"]:
        return text + words["all_as_well"]
    gain = money["over_best_baseline"]
    if gain is None or gain["low"] is None:
        return text
    key = "better" if gain["low"] > 0 else "worse" if gain["high"] < 0 else "not_better"
    return text + words[key].format(gain=sum_of(gain["value"], settings), interval=_interval(gain, settings))


def _baseline(money: Mapping[str, Any], settings: Evaluation) -> str:
    name = money["best_baseline"]
    if name is None:
        return ""
    value = sum_of(money["systems"][name]["value"], settings)
    return WORDS[settings.language]["baseline"].format(name=figures.title(name), value=value)


def _ranking(content: Mapping[str, Any], output: Output, settings: Evaluation) -> str:
    """Of the first ranking, how many of 100 next clicks (or of what else it ranks) are among the suggestions."""
    if output.name != headline.ranked(content):
        return ""
    words = WORDS[settings.language]
    if settings.language == "en":
        return words["ranking"].format(sentence=headline.sentence(content))
    cutoff = headline.largest(content)
    name, baseline = f"recall@{cutoff}", ""
    if best := headline.best_baseline(content, name):
        theirs = headline.value(content, output.name, best, name) or 0.0
        baseline = words["ranking_baseline"].format(value=f"{100 * theirs:.0f}")
    own = headline.value(content, output.name, CANDIDATE, name) or 0.0
    what = output.head.means.get("zh", "下一次点击")
    return words["ranking"].format(what=what, cutoff=cutoff, own=f"{100 * own:.0f}", baseline=baseline)


def _probability(content: Mapping[str, Any], output: Output, settings: Evaluation) -> str:
    """How much of yes is among the likeliest tenth."""
    words, details = WORDS[settings.language], content["details"][output.name]
    if not details["deciles"]:
        return words["no_lift"]
    first = details["deciles"][0]
    shares = {"share": f"{100 * first['share']:.3g}%", "base": f"{100 * details['share_of_yes']:.3g}%"}
    return words["lift"].format(**_names(output, settings), lift=f"{first['lift']:.1f}", **shares)


def _amount(content: Mapping[str, Any], output: Output, settings: Evaluation) -> str:
    """How much of all amounts the first tenth brings, and whether the sum comes true."""
    words = WORDS[settings.language]
    cells = content["details"][output.name]["deciles"][CANDIDATE]
    ratio = headline.value(content, output.name, CANDIDATE, "sum_ratio")
    if not cells or ratio is None:
        return words["no_lift"]
    share = f"{100 * cells[0]['found']:.0f}%"
    return words["decile"].format(**_names(output, settings), share=share, ratio=f"{100 * ratio:.0f}%")


def _forecast(content: Mapping[str, Any], output: Output, settings: Evaluation) -> str:
    """How many values came where they were said to, and how far off it is beside the best simple method."""
    words, details = WORDS[settings.language], content["details"][output.name]
    metric = "weighted_quantile_loss"
    covered, own = (headline.value(content, output.name, CANDIDATE, name) for name in ("coverage_80", metric))
    if covered is None or own is None:
        return words["no_lift"]
    best, baseline = headline.least(content, output.name, metric), ""
    if best and (theirs := headline.value(content, output.name, best, metric)):
        share, less = f"{100 * abs(1 - own / theirs):.0f}%", words["less" if own <= theirs else "more"]
        baseline = words["forecast_baseline"].format(share=share, less=less, name=figures.title(best))
    names = _names(output, settings)
    return words["forecast"].format(
        **names, steps=len(details["by_step"]), covered=f"{100 * covered:.0f}%", baseline=baseline
    )


PLAIN: Mapping[Kind, Callable[[Mapping[str, Any], Output, Evaluation], str]] = {
    "ranking": _ranking,
    "probability": _probability,
    "amount": _amount,
    "forecast": _forecast,
}
"""By kind of answer, what is told where no costs are named; kinds of which one cannot act are left out."""


def sum_of(value: float | None, settings: Evaluation) -> str:
    """A sum of money: whole from 100 on, else with two decimals."""
    if value is None:
        return "–"
    size = abs(value)
    digits = f"{size:,.0f}" if size >= 100 else f"{size:.2f}"
    return f"{'-' if value < 0 and float(digits.replace(',', '')) else ''}{settings.currency}{digits}"


def _interval(figure: Mapping[str, float | None], settings: Evaluation) -> str:
    if figure["low"] is None:
        return ""
    ends = {name: sum_of(figure[name], settings) for name in ("low", "high")}
    return WORDS[settings.language]["interval"].format(confidence=f"{100 * settings.confidence:g}%", **ends)


def _names(output: Output, settings: Evaluation) -> dict[str, str]:
    head, language = output.head, settings.language
    unit = UNITS[language].get(head.unit, head.unit)
    return {"unit": unit, "means": head.means.get(language, output.title.lower()), "head": head.name}
