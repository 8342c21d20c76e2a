"""Translation into Chinese of what the gate, a canary's rule, a watch and a server write in English.

Sentences are read back by `FORMS`, clause by clause: a table beside the rooms that write them, so that a word of
Chinese judges no candidate anew. A clause without a form stays as it is, and a test finds those of the gate and of the
server.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache

from clickflow import heads
from clickflow.online.page.chinese_faults import FAULTS

NUMBER = r"[-+]?[\d.,]+(?:e[-+]?\d+)?%?(?: \[[^\]]*\])?"
"""With its interval."""
STANDS = {"n": NUMBER, "g": ".+?", "r": ".+?", "s": ".+?", "w": ".+?", "x": ".+?"}
"""What a placeholder stands for, by its first letter: of another one for a name without blanks. Words of `x`… are said
in Chinese too.
"""

FORMS = (
    # names of rules
    ("floor: {m}", "下限：{m}"),
    ("beats the baselines: {m}", "优于各基线：{m}"),
    ("beats {b}: {m}", "优于 {b}：{m}"),
    ("not inferior to the champion: {m}", "不劣于线上模型：{m}"),
    ("better than the champion: {m}", "优于线上模型：{m}"),
    ("not inferior to the best champion so far: {m}", "不劣于历来最好的线上模型：{m}"),
    ("not shown to be worse than the champion: {m}", "未证明劣于线上模型：{m}"),
    ("answers all that the champion answers", "线上模型能回答的都能回答"),
    ("no slice drops", "没有切片变差"),
    ("no slice drops: {d}", "没有切片变差：{d}"),
    ("no sign of a leak", "没有泄漏迹象"),
    ("coverage", "覆盖率"),
    ("calibration of {h}", "{h} 的校准"),
    ("groups fare alike: {h} by {d}", "各群体相近：{h}，按 {d}"),
    ("latency", "延迟"),
    ("size", "大小"),
    ("quality is judged", "质量已评判"),
    # floors, budgets, calibration, coverage
    ("{m} was not measured, so the floor {n} cannot be judged", "{m} 没有测得，无法判断下限 {n}"),
    ("{n1} ms, 95th percentile, at most {n2}", "{n1} 毫秒（95 百分位），不超过 {n2}"),
    ("{n1} ms, 95th percentile, above {n2}", "{n1} 毫秒（95 百分位），超过 {n2}"),
    ("{n1} MB, at most {n2}", "{n1} MB，不超过 {n2}"),
    ("{n1} MB, above {n2}", "{n1} MB，超过 {n2}"),
    ("the latency was not measured", "延迟没有测得"),
    ("the size was not measured", "大小没有测得"),
    ("the expected calibration error was not measured", "期望校准误差没有测得"),
    ("the expected calibration error is {n1}, at most {n2}", "期望校准误差为 {n1}，不超过 {n2}"),
    ("the expected calibration error is {n1}, above {n2}", "期望校准误差为 {n1}，超过 {n2}"),
    ("there is no prediction", "没有预测"),
    ("{n} of the {xs} stood in the training part often enough to be known", "{xs}中有 {n} 在训练数据里出现得够多"),
    (
        "{n} of the {xs} stood in the training part often enough to be known, below {k}: the log is too short, or its "
        "items change too fast, to recommend from",
        "{xs}中只有 {n} 在训练数据里出现得够多，低于 {k}：日志太短，或商品更替太快，不足以推荐",
    ),
    ("{m} is {n1}, at least {n2}", "{m} 为 {n1}，不低于 {n2}"),
    ("{m} is {n1}, below {n2}", "{m} 为 {n1}，低于 {n2}"),
    ("{m} is {n1}, at most {n2}", "{m} 为 {n1}，不超过 {n2}"),
    ("{m} is {n1}, above {n2}", "{m} 为 {n1}，超过 {n2}"),
    ("at least one floor, baseline or champion rule was judged", "至少有一条下限、基线或线上模型的规则得到评判"),
    (
        "no floor, baseline or champion rule could be judged: nothing says that the model is any good",
        "下限、基线、线上模型的规则都无法评判：没有依据说明模型可用",
    ),
    # baselines, the champion, the best champion
    ("the model has no {h} head", "模型没有 {h} 这一项"),
    ("the model has no {h} head, and version {v} has", "模型没有 {h} 这一项，而第 {v} 版有"),
    ("no baseline of {h} was evaluated", "没有评估 {h} 的任何基线"),
    ("there is no champion yet", "还没有线上模型"),
    ("params.yaml names no champion", "params.yaml 没有指定可比较的线上模型"),
    ("a loss of at most {n} is shown", "已证明损失不超过 {n}"),
    ("a loss of at most {n} is not shown", "未能证明损失不超过 {n}"),
    ("a loss of at most {n} is not shown: the data do not tell", "未能证明损失不超过 {n}：数据不足以判断"),
    ("a loss of at most {n} is out of the question", "损失不可能不超过 {n}"),
    ("a gain of at least {n} is shown", "已证明提升不低于 {n}"),
    ("a gain of at least {n} is not shown: the data do not tell", "未能证明提升不低于 {n}：数据不足以判断"),
    ("a gain of at least {n} is out of the question", "提升不可能达到 {n}"),
    ("a loss of more than {n} is shown", "已证明损失超过 {n}"),
    ("a loss of more than {n} is not shown", "未证明损失超过 {n}"),
    ("{m} is {n1}, version {v}, the best champion so far, {n2}", "{m} 为 {n1}，历来最好的第 {v} 版为 {n2}"),
    ("{m} is {n1}, version {v}, the best champion so far, {n2}: {n3}", "{m} 为 {n1}，历来最好的第 {v} 版为 {n2}：{n3}"),
    ("{m} is {n1}, version {v} {n2}: {n3}", "{m} 为 {n1}，第 {v} 版为 {n2}：{n3}"),
    ("{m} is {n1}, {b} {n2}: {n3}, above it", "{m} 为 {n1}，{b} 为 {n2}：{n3}，高于它"),
    ("{m} is {n1}, {b} {n2}: {n3}, below it", "{m} 为 {n1}，{b} 为 {n2}：{n3}，低于它"),
    ("{m} is {n1}, {b} {n2}: {n3}, not shown to be above it", "{m} 为 {n1}，{b} 为 {n2}：{n3}，未证明高于它"),
    ("{m} is {n1}, {b} {n2}: {n3}, not shown to be below it", "{m} 为 {n1}，{b} 为 {n2}：{n3}，未证明低于它"),
    ("{m} is {n1}, {b} {n2}: {n3}, shown to be above it", "{m} 为 {n1}，{b} 为 {n2}：{n3}，已证明高于它"),
    ("{m} is {n1}, {b} {n2}: {n3}, shown to be below it", "{m} 为 {n1}，{b} 为 {n2}：{n3}，已证明低于它"),
    (
        "{m} is {n1}, {b} {n2}: {n3}, the best that can be, which nothing beats",
        "{m} 为 {n1}，{b} 为 {n2}：{n3}，已是最好，无可更好",
    ),
    ("it is try {k} on this test window, so shown means at {n}", "这是在此测试窗口上的第 {k} 次尝试，“证明”须达到 {n}"),
    # why nothing could be compared
    (
        "{n} of the test rows were left out: version {v} may have learned from them",
        "排除了 {n} 的测试行：第 {v} 版可能学过",
    ),
    (
        "it is not known until when the data of version {v} reach, so it may have learned from the test rows",
        "不知道第 {v} 版的数据截至何时，它可能学过测试行",
    ),
    (
        "`clickflow rollback` to a version that says it, or to 0, mends that",
        "用 `clickflow rollback` 回到有此记录的版本（或 0）即可",
    ),
    ("version {v} may have learned from {n} of the test rows", "第 {v} 版可能学过 {n} 的测试行"),
    (
        "of the others {xr}: test on later data (sequences.test_share, sequences.until)",
        "其余{xr}：请用更晚的数据测试（sequences.test_share、sequences.until）",
    ),
    ("{n1} rows are left, {n2} are needed", "只剩 {n1} 行，需要 {n2} 行"),
    ("{xw} in the test part are too few, {n} are needed", "测试部分只有{xw}，太少，需要 {n}"),
    (
        "a few of the {xw} have most of the test rows, one of them {n1}: they tell as much as {n2} of equal size "
        "would, {n3} are needed",
        "{xw}中少数占了大部分测试行，其中一个占 {n1}：只相当于 {n2} 个同样大小的，需要 {n3} 个",
    ),
    ("{n} sessions", " {n} 次访问"),
    ("{n} customers", " {n} 位顾客"),
    ("{n1} customers and {n2} sessions whose customer is not known", " {n1} 位顾客和 {n2} 次顾客不明的访问"),
    ("{s} was not evaluated", "没有评估 {s}"),
    ("{s} has no answer for {n1} of {n2} predictions", "{n2} 个预测中有 {n1} 个 {s} 没有回答"),
    ("version {v} is the champion of another shop: {xr}", "第 {v} 版是另一家店的线上模型：{xr}"),
    ("its users' pseudonyms were made with another key", "它的用户化名由另一个密钥生成"),
    (
        "this log holds {n1} of its items, and it knows {n2} of the items asked for",
        "此日志含有它的商品的 {n1}，它认识所问商品的 {n2}",
    ),
    (
        "nothing was compared. `clickflow rollback {m} --to 0 --reason …` takes it down, then `clickflow open` and "
        "`dvc repro`",
        "没有作比较。`clickflow rollback {m} --to 0 --reason …` 可将其撤下，然后运行 `clickflow open` 和 `dvc repro`",
    ),
    # what is answered
    (
        "the evaluation does not say what version {v} answers: `dvc repro evaluate@MODEL` says it",
        "评估没有说明第 {v} 版回答什么：运行 `dvc repro evaluate@MODEL` 即可",
    ),
    ("version {v} answers {s}, and so does the candidate", "第 {v} 版回答 {s}，候选模型也都回答"),
    (
        "the candidate does not answer {s}, version {v} does: those who ask for it would get nothing",
        "候选模型不回答 {s}，而第 {v} 版回答：需要它的人会得不到答案",
    ),
    ("let it answer, or name what is given up in gate.may_drop", "请让它回答，或在 gate.may_drop 中写明放弃什么"),
    ("the candidate does not answer {s}, version {v} does", "候选模型不回答 {s}，而第 {v} 版回答"),
    ("gate.may_drop allows it", "gate.may_drop 允许"),
    # slices, groups, leaks
    ("no slice has {n} predictions of {k} customers or sessions", "没有切片含 {k} 位顾客或访问的 {n} 个预测"),
    (
        "no slice by {d} has {n} predictions of {k} customers or sessions",
        "按 {d} 没有切片含 {k} 位顾客或访问的 {n} 个预测",
    ),
    ("the worst of {k} by {d} is {s}: {n}", "按 {d} 的 {k} 个切片中最差的是 {s}：{n}"),
    ("{k} of {j} by {d} drop: {s}", "按 {d} 的 {j} 个切片中有 {k} 个变差：{s}"),
    ("at most {n} is allowed", "最多允许 {n}"),
    (
        "the rows do not say the {d}: evaluated before, or nobody in the log is known",
        "行中没有 {d}：评估得太早，或日志中无人可辨认",
    ),
    (
        "fewer than two groups have {n} predictions of {k} customers or sessions",
        "不足两个群体含 {k} 位顾客或访问的 {n} 个预测",
    ),
    ("{g} fares {n1} worse than all of them, at most {n2}", "{g} 比全体差 {n1}，不超过 {n2}"),
    ("{g} fares {n1} worse than all of them, above {n2}", "{g} 比全体差 {n1}，超过 {n2}"),
    ("nothing was measured that a leak would show in", "没有测得能显出泄漏的东西"),
    ("no trace of one", "没有痕迹"),
    (
        "against {b} {m} changes by {n1} on all rows and by {n2} on the {n3} whose answer does not share its instant "
        "with the step before",
        "相对 {b}，{m} 在全部行上变化 {n1}，在答案与前一步不同时刻的 {n3} 行上变化 {n2}",
    ),
    (
        "against {b} {m} changes by {n1} on all rows and by {n2} on the {n3} whose answer does not share its instant "
        "with the step before: the gain lies in the order of events of one instant (source.columns.order, "
        "quality.max_tie_share)",
        "相对 {b}，{m} 在全部行上变化 {n1}，在答案与前一步不同时刻的 {n3} 行上变化 {n2}：提升来自同一时刻事件的次序"
        "（source.columns.order、quality.max_tie_share）",
    ),
    ("{m} is {n1}, the best possible {n2}", "{m} 为 {n1}，可能的最好值为 {n2}"),
    (
        "{m} is {n1}, the best possible {n2}, which nobody can be above: the answer was told",
        "{m} 为 {n1}，可能的最好值为 {n2}，无人能高于它：答案泄漏了",
    ),
    (
        "{m} is {n1}, the best possible {n2}, which nobody can be below: the answer was told",
        "{m} 为 {n1}，可能的最好值为 {n2}，无人能低于它：答案泄漏了",
    ),
    ("{m} is {n1}, {b}, the best baseline, {n2}", "{m} 为 {n1}，最好的基线 {b} 为 {n2}"),
    (
        "{m} is {n1}, {b}, the best baseline, {n2}: it misses over {k} times less, which wants to be explained",
        "{m} 为 {n1}，最好的基线 {b} 为 {n2}：失误少到不足 {k} 分之一，需要解释",
    ),
    # summaries, and reasons in the ledger
    ("{n} rules passed", "{n} 条规则通过"),
    ("{n1} rules passed, {n2} had nothing to judge", "{n1} 条规则通过，{n2} 条无可判断"),
    ("{n} warn, not shown: {xl}", "{n} 条警告，未证明：{xl}"),
    ("{xl} and {n} more", "{xl}等另外 {n} 条"),
    ("it waits for a person's word, for promotion.approve names {m}", "等待人工批准：promotion.approve 指定了 {m}"),
    ("nobody has been asked yet", "尚未询问任何人"),
    ('`clickflow promote {m} --approve "why"` makes it champion', '`clickflow promote {m} --approve "why"` 可使其上线'),
    ("approved by {w}", "{w} 批准"),
    ("approved by {w}: {r}", "{w} 批准：{r}"),
    ("rejected by {w}", "{w} 拒绝"),
    ("rejected by {w}: {r}", "{w} 拒绝：{r}"),
    ("by the rule of params live: {xr}", "按 params live 的规则：{xr}"),
    # notes on a model, and what started a run
    ("this home's ledger has no line on the champion", "本机记录中没有关于线上模型的一行"),
    ("the alias in MLflow names it", "由 MLflow 的别名指定"),
    (
        "the alias champion names nothing, the ledger {k}: the next promote or rollback sets it right",
        "别名 champion 没有指向任何版本，记录为 {k}：下次上线或回滚会改正",
    ),
    (
        "the alias champion names {v}, the ledger {k}: the next promote or rollback sets it right",
        "别名 champion 指向 {v}，记录为 {k}：下次上线或回滚会改正",
    ),
    ("the registry has no version {v}", "登记处没有第 {v} 版"),
    (
        "params.yaml names champion {v}: `clickflow open` writes {k} there",
        "params.yaml 写的线上版本是 {v}：`clickflow open` 会改为 {k}",
    ),
    (
        "version {v} was trained with {n} forgotten people, or may have been: retrain",
        "第 {v} 版的训练数据含（或可能含）{n} 位已被遗忘的人：请重新训练",
    ),
    (
        "version {v} was trained with {n} forgotten person, or may have been: retrain",
        "第 {v} 版的训练数据含（或可能含）{n} 位已被遗忘的人：请重新训练",
    ),
    ("by hand", "手动启动"),
    ("by its schedule", "按计划启动"),
    ("by another DAG", "由另一个 DAG 启动"),
    # canaries, and what is watched
    (
        "no head of it has a metric that versions can be compared by: name one in live.metric",
        "没有可供版本比较的指标：请在 live.metric 中指定",
    ),
    ("worse: {s}, e-value {n1} of {n2}", "更差：{s}，e 值 {n1}（需 {n2}）"),
    ("not worse by {n}: {s}, e-value {n1} of {n2}", "不差于 {n}：{s}，e 值 {n1}（需 {n2}）"),
    ("not decided in {n} days: nobody has come", "{n} 天内未能决定：没有访客"),
    ("not decided in {n} days: {s}", "{n} 天内未能决定：{s}"),
    ("{n1} and {n2} visitors, {n3} of each are needed", "{n1} 位和 {n2} 位访客，各需 {n3} 位"),
    (
        "{n1} and {n2} more wait until nothing can be added to their visits",
        "另有 {n1} 位和 {n2} 位，须待其访问不会再有变化",
    ),
    ("not decided: {s}, e-values {n1} and {n2} of {n3}", "尚未决定：{s}，e 值 {n1} 和 {n2}（需 {n3}）"),
    ("nothing could be judged", "无可判断"),
    ("nothing breaches: 0 of {n} windows", "没有超出界限：{n} 个窗口中 0 个"),
    ("the latest window does not breach: {n1} of {n2} windows", "最近的窗口没有超出界限：{n2} 个窗口中 {n1} 个"),
    (
        "too few windows breach: {n1} of {n2} windows, {n3} are needed",
        "超出界限的窗口太少：{n2} 个中 {n1} 个，需要 {n3} 个",
    ),
    ("{n1} of {n2} windows breach, the latest by {s}", "{n2} 个窗口中 {n1} 个超出界限，最近一个是 {s}"),
    ("it has no champion yet: there is nothing to watch", "还没有线上模型：无可监测"),
)
"""English, Chinese. Of two that fit, the earlier one holds."""


def chinese(text: str) -> str | None:
    """A text in Chinese; None where no clause of it is known."""
    clauses = [(clause, _clause(clause)) for clause in text.split("; ")]
    if all(said is None for _, said in clauses):
        return None
    return "；".join(said or clause for clause, said in clauses)


def both(text: str) -> dict[str, str]:
    """A text by language."""
    other = chinese(text)
    return {"en": text} if other is None else {"en": text, "zh": other}


def _clause(text: str) -> str | None:
    for pattern, form in _patterns():
        if match := pattern.fullmatch(text):
            return form.format(**{name: _word(name, said) for name, said in match.groupdict().items()})
    at = text.find(": ")
    while at > 0:  # the rules that say something, then what
        names, said = _list(text[:at]), _clause(text[at + 2 :])
        if names and said:
            return f"{names}：{said}"
        at = text.find(": ", at + 2)
    return None


def _list(text: str) -> str | None:
    """Names of rules, of which a few may be named and the others counted."""
    listed, _, more = text.partition(" and ")
    names = [_clause(name) for name in listed.split(", ")]
    if None in names or (more and not more.endswith(" more")):
        return None
    return "、".join(name for name in names if name) + (f"等另外 {more.removesuffix(' more')} 条" if more else "")


def _word(name: str, said: str) -> str:
    if not name.startswith("x"):
        return said
    return _meanings().get(said) or _clause(said) or _list(said) or said


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile("".join(_parts(english))), other) for english, other in (*FORMS, *FAULTS))


def _parts(english: str) -> Iterator[str]:
    for place, part in enumerate(re.split(r"\{(\w+)\}", english)):
        if place % 2:
            yield f"(?P<{part}>{STANDS.get(part[0], '[^ ]+')})"
        else:
            yield re.escape(part)


def _meanings() -> Mapping[str, str]:
    """What heads rank or count, which sentences name."""
    own = {head.means["en"]: head.means["zh"] for head in heads.HEADS.values() if {"en", "zh"} <= head.means.keys()}
    return {"next items": "下一件商品", **own}
