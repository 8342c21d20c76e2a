// All that the page says, in each language, written in it; and numbers and times as that language writes them.

import { kept } from "./dom.js";

export const LANGUAGES = { en: "English", zh: "中文" };

/** `key: [English, 中文]`. `key.one` is said of one where there is such a line. */
export const TABLE = {
  "skip": ["Skip to content", "跳到内容"],
  "nav": ["Sections", "栏目"],
  "nav.session": ["Visits", "访问"],
  "nav.customer": ["Customers", "顾客"],
  "nav.outlook": ["Outlook", "展望"],
  "nav.models": ["Models", "模型"],
  "nav.series": ["Series", "序列"],
  "theme": ["Theme", "主题"],
  "theme.auto": ["As the system", "跟随系统"],
  "theme.light": ["Light", "浅色"],
  "theme.dark": ["Dark", "深色"],
  "language": ["Language", "语言"],
  "version": ["version {n}", "第 {n} 版"],
  "cancel": ["Cancel", "取消"],
  "table": ["As a table", "以表格查看"],
  "more": ["Show all {n}", "显示全部 {n} 项"],
  "loading": ["Loading …", "加载中…"],
  "none": ["none", "无"],
  "stop": [". ", "。"],
  "and": ["; ", "；"],
  "comma": [", ", "，"],
  "colon": [": ", "："],

  "down": ["The server does not answer. What is shown may be old.", "服务器没有回应，所显示的内容可能已过时。"],
  "down.again": ["Trying again in {n} s.", "{n} 秒后重试。"],
  "down.now": ["Try now", "立即重试"],
  "up": ["The server answers again.", "服务器已恢复。"],
  "fault": ["This could not be shown.", "无法显示。"],
  "fault.again": ["Try again", "重试"],
  "fault.key": ["This server answers only those who sign in with a key.", "此服务器需要使用密钥登录。"],
  "fault.scope": ["Your key does not let you see this.", "您的密钥无权查看此内容。"],
  "fault.models": ["No model answers here yet.", "此处还没有可用的模型。"],
  "fault.models.next": [
    "Run `dvc repro`, then `clickflow promote`: the first candidate that passes the gate answers here at once.",
    "运行 `dvc repro`，再运行 `clickflow promote`：首个通过门禁的候选模型会立即在此应答。",
  ],
  "fault.unit": ["No model of visits answers here.", "此处没有面向访问的模型。"],
  "fault.unit.customer": ["No model of customers answers here.", "此处没有面向顾客的模型。"],
  "fault.unit.next": [
    "Name one in params.yaml (`models:`, with `unit: {unit}`), run `dvc repro`, then `clickflow promote`.",
    "请在 params.yaml 的 `models:` 中添加 `unit: {unit}` 的模型，运行 `dvc repro`，再运行 `clickflow promote`。",
  ],

  "sign.in": ["Sign in", "登录"],
  "sign.out": ["Sign out", "退出"],
  "sign.key": ["Key", "密钥"],
  "sign.what": [
    "A key of this server. It is kept until this tab is closed, and sent to this server alone.",
    "本服务器的密钥。仅保存到关闭此标签页为止，且只发送给本服务器。",
  ],
  "sign.as": ["Signed in as {name}", "已登录：{name}"],
  "sign.wrong": ["The server does not know this key.", "服务器不认识此密钥。"],

  "find.session": ["Find a visit or a customer", "查找访问或顾客"],
  "find.customer": ["Find a customer", "查找顾客"],
  "find.hint": ["Id or pseudonym", "编号或化名"],
  "find.latest": ["Latest", "最近"],
  "find.found": ["Found", "查找结果"],
  "find.none": ["Nobody is called so.", "没有找到。"],
  "find.none.next": [
    "An id is written as in the log; a pseudonym may be cut short, its first letters are enough.",
    "编号须与日志中的写法一致；化名只需输入开头几个字符。",
  ],
  "find.empty": ["Nothing has happened yet.", "还没有任何事件。"],
  "find.empty.next": [
    "Send events to `POST /v1/events`, or run `dvc repro` where the server runs: visits of the log then stand here.",
    "向 `POST /v1/events` 发送事件，或在服务器所在目录运行 `dvc repro`，日志中的访问就会显示在这里。",
  ],
  "as.of": ["as of {time}", "截至 {time}"],
  "find.back": ["All visits", "全部访问"],
  "find.back.customer": ["All customers", "全部顾客"],
  "find.new": ["Begin an empty one", "从空白开始"],
  "source.live": ["live", "实时"],
  "source.log": ["log", "日志"],
  "source.made": ["made here", "此处新建"],

  "session": ["Visit", "访问"],
  "customer": ["Customer", "顾客"],
  "of.customer": ["of customer", "属于顾客"],
  "others": ["{n} visits", "{n} 次访问"],
  "others.one": ["1 visit", "1 次访问"],
  "steps": ["{n} steps", "{n} 步"],
  "steps.one": ["1 step", "1 步"],
  "lasted": [" in {time}", "，历时 {time}"],
  "empty.history": ["No step yet. Add one: the answer follows at once.", "还没有步骤。添加一步，即刻得到回答。"],
  "choose": ["Choose a visit", "请选择一次访问"],
  "choose.customer": ["Choose a customer", "请选择一位顾客"],
  "choose.what": [
    "You see what was done step by step, what the model expects after each step, and why.",
    "您将看到逐步的动作、模型在每一步之后的预期，以及原因。",
  ],

  "chart.after": ["after each step", "每一步之后"],
  "chart.since": ["{delta} since the step before", "较上一步 {delta}"],
  "chart.before": ["before", "修改前"],
  "chart.step": ["step", "步骤"],
  "chart.band": ["Line: expected. Band: 8 of 10 cases.", "线：预期值；带：十次中八次。"],
  "chart.effects": ["What each step changes of the {value} after step {n}", "每一步对第 {n} 步之后的 {value} 的影响"],
  "points": ["{n} points", "{n} 百分点"],

  "why": ["Why", "原因"],
  "why.this": ["Why?", "为什么？"],
  "why.effect": ["effect", "影响"],
  "why.nothing": ["No single step changes it by much.", "没有任何一步单独造成明显变化。"],
  "why.without": ["without it {value}", "没有它则为 {value}"],
  "why.together": ["steps {steps} together", "第 {steps} 步合计"],
  "why.earlier": ["all that is older", "更早的全部步骤"],
  "why.typical": ["Typical customer", "典型顾客"],
  "why.feature": ["Feature", "特征"],
  "why.value": ["Here", "此处"],
  "why.usual": ["Typical", "典型值"],
  "why.wait": ["Asking why …", "正在分析原因…"],
  "why.not": ["Why is not known here: the server has no explanations.", "此服务器没有解释功能。"],
  "why.alone": [
    "After {item} alone the model expects it with {p}, {lift} times its usual share.",
    "只看过 {item} 时，模型给它的概率是 {p}，是其平常份额的 {lift} 倍。",
  ],
  "why.alike": ["Items that the model holds to be like it", "模型认为与它相似的商品"],
  "change": ["What would change it", "怎样会改变"],
  "change.try": ["Try it", "试试看"],
  "change.none": [
    "No change of one or two steps was found that gives another answer ({n} tried).",
    "在 {n} 次尝试中，没有找到改一两步就能改变回答的办法。",
  ],
  "change.no.threshold": [
    "An amount has no other side as long as no costs are set (`evaluation.costs`).",
    "未设定成本（`evaluation.costs`）时，金额没有“另一面”。",
  ],
  "change.remove": ["without step {step}, {what}", "去掉第 {step} 步（{what}）"],
  "change.change": ["if step {step} were: {to} {item}", "若第 {step} 步为：{to} {item}"],
  "change.add": ["with one more step: {to} {item}", "再加一步：{to} {item}"],
  "change.then": ["then {after}", "结果变为“{after}”"],
  "change.then.other": ["then {after} is the likeliest, and {what} has", "最可能变为“{after}”，“{what}”的概率为"],
  "change.above": ["likelier than not", "可能性超过一半"],
  "change.below": ["less likely than not", "可能性不到一半"],
  "change.above.amount": ["above {n}", "高于 {n}"],
  "change.below.amount": ["below {n}", "低于 {n}"],

  "history": ["Step by step", "逐步"],
  "history.earlier": ["Show {n} earlier steps", "显示更早的 {n} 步"],
  "col.step": ["Step", "步骤"],
  "col.time": ["Time", "时间"],
  "col.action": ["Action", "动作"],
  "col.item": ["Item", "商品"],
  "col.effect": ["Effect", "影响"],
  "col.rank": ["Rank before", "此前名次"],
  "col.after": ["After it", "此步之后"],
  "rank": ["no. {n}", "第 {n}"],
  "rank.what": ["Before this step, the model had its item at place {n} of {of}.", "此步之前，模型将该商品排在 {of} 件中的第 {n} 位。"],
  "unknown": ["new to the model", "模型未见过"],
  "removed": ["removed", "已删除"],
  "added": ["added", "新增"],
  "changed": ["changed", "已更改"],
  "step.select": ["Step {n}: {action} {item}", "第 {n} 步：{action} {item}"],
  "edit.of": ["Change step {n}", "更改第 {n} 步"],
  "edit.action": ["Action", "动作"],
  "edit.item": ["Item", "商品"],
  "edit.remove": ["Remove", "删除"],
  "edit.back": ["Put back", "恢复"],
  "edit.add": ["Add a step after it", "在其后添加一步"],
  "edit.first": ["Add a step", "添加一步"],
  "edit.search": ["Id, name, brand or category", "编号、名称、品牌或类别"],
  "edit.none": ["No item is called so", "没有这样的商品"],
  "whatif": ["What if", "假设"],
  "whatif.is": ["{n} changes; grey and dashed is what it was.", "已改 {n} 处；灰色虚线为修改前。"],
  "whatif.is.one": ["1 change; grey and dashed is what it was.", "已改 1 处；灰色虚线为修改前。"],
  "whatif.reset": ["Undo all", "全部撤销"],

  "answer": ["What is expected", "预期"],
  "answer.after": ["after step {n}", "第 {n} 步之后"],
  "answer.start": ["before the first step", "第一步之前"],
  "answer.by": ["{model}, version {n}", "{model}，第 {n} 版"],
  "answer.time": ["{n} ms", "{n} 毫秒"],
  "answer.fallback": [
    "The model reads nothing of this history: these are the items that are bought and looked at most.",
    "模型无法从该历史中读出信息：这里显示最热门的商品。",
  ],
  "answer.none.yet": ["Add a step: the answer follows at once.", "添加一步：随即给出回答。"],
  "answer.popular": ["Before the first step: what is bought and looked at most.", "第一步之前：最热门的商品。"],
  "answer.turn": ["Show {model} step by step", "逐步查看 {model}"],
  "answer.no.value": ["No answer: the model reads nothing of this history.", "没有回答：模型无法从该历史中读出信息。"],
  "answer.seen": ["Leave out what was seen", "排除已看过的"],
  "answer.new": ["new", "新"],
  "answer.was": ["was {value}", "原为 {value}"],
  "answer.range": ["8 of 10 times between {low} and {high}", "十次中有八次在 {low} 与 {high} 之间"],
  "answer.model": ["Model", "模型"],
  "answer.next": ["came next", "实际发生"],
  "segment.of": ["Segment", "分群"],
  "segment.similar": ["Most similar", "最相似"],

  "output.next_item": ["Next item", "下一件商品"],
  "output.next_items": ["Next items", "接下来的商品"],
  "output.next_action": ["Next action", "下一步动作"],
  "output.purchase": ["Purchase", "购买"],
  "output.exit": ["End of the visit", "离开"],
  "output.response": ["Click on what is shown", "点击展示内容"],
  "output.churn": ["Not coming back", "流失"],
  "output.spend": ["Spend", "消费额"],
  "output.propensity": ["Items to be bought", "将购买的商品"],
  "output.demand": ["Demand", "需求"],
  "output.trend": ["Trend", "趋势"],

  "action.view": ["view", "浏览"],
  "action.impression": ["shown", "展示"],
  "action.click": ["click", "点击"],
  "action.cart": ["cart", "加购"],
  "action.favourite": ["favourite", "收藏"],
  "action.remove": ["out of cart", "移出购物车"],
  "action.purchase": ["purchase", "购买"],
  "action.cancel": ["cancel", "取消订单"],
  "action.search": ["search", "搜索"],
  "action.exit": ["leave", "离开"],

  "segments": ["Segments", "顾客分群"],
  "segments.as.of": ["{n} customers as of {day}", "截至 {day}，共 {n} 位顾客"],
  "segments.none": ["There are no segments here yet.", "此处还没有分群。"],
  "segments.next": ["`clickflow profiles --out reports/profiles` makes them.", "运行 `clickflow profiles --out reports/profiles` 即可生成。"],
  "segments.back": ["Come back within {n} days", "{n} 天内再次购买"],
  "segments.value": ["Bought for, later", "之后的消费额"],
  "segments.lift": ["Times the mean", "相对平均"],
  "segments.what": ["What is different", "特点"],
  "segments.name": ["Segment", "分群"],
  "segments.size": ["Customers", "顾客数"],
  "forecasts": ["Demand ahead", "未来需求"],
  "forecasts.from": ["{n} {step}s from {day} on", "自 {day} 起 {n} {step}"],
  "step.day": ["day", "天"],
  "step.week": ["week", "周"],
  "forecasts.none": ["There are no forecasts here yet.", "此处还没有预测。"],
  "forecasts.next": [
    "A champion of the unit `series` makes them (docs/heads/demand.md), or `clickflow demand --out reports/demand`.",
    "由单位 `series` 的线上模型给出（docs/heads/demand.md），或运行 `clickflow demand --out reports/demand`。",
  ],
  "forecasts.by": ["By", "来源"],
  "forecasts.sold": ["sold", "已售"],
  "forecasts.before": ["Grey: sold before.", "灰色：此前已售。"],
  "forecasts.likely": ["How likely: {what}", "{what}的可能性"],
  "forecasts.find": ["Find a series", "查找序列"],
  "forecasts.expected": ["Units ahead", "预期件数"],
  "forecasts.order": ["Order", "订货"],
  "forecasts.reorder": ["Reorder at", "补货点"],
  "forecasts.trend": ["Trend", "趋势"],
  "forecasts.falls": ["falls", "下降"],
  "forecasts.rises": ["rises", "上升"],
  "forecasts.not sure": ["not sure", "不确定"],
  "forecasts.plan": ["The plan is read ({names}); after {day} nothing is planned.", "已读取计划（{names}）；{day} 之后没有计划。"],
  "forecasts.lacking": ["The model learned {names}; this plan lacks it.", "模型学过 {names}，而此计划中没有。"],
  "forecasts.notlearned": ["The model did not learn {names} of the plan.", "计划中的 {names} 模型未学过。"],
  "forecasts.worth": [
    "Of the past values {share} lay in such a band, where it aims at 80%.",
    "过去有 {share} 的数值落在这样的区间内（目标为 80%）。",
  ],

  "champion": ["Champion", "线上模型"],
  "champion.none": ["There is no champion yet.", "还没有线上模型。"],
  "champion.since": ["since {time}, by {who}", "自 {time} 起，由 {who} 设定"],
  "champion.serves": ["answers here", "正在此处应答"],
  "champion.other": ["version {n} answers here still", "此处仍由第 {n} 版应答"],
  "champion.run": ["Run", "运行"],
  "champion.metrics": ["At its evaluation", "评估结果"],
  "candidate": ["Candidate", "候选模型"],
  "candidate.none": ["None waits: the last one was promoted, or was not registered.", "没有等待中的候选模型。"],
  "candidate.is": ["Version {n} is registered and is not champion.", "第 {n} 版已登记，尚未成为线上模型。"],
  "registry.asked": ["As the registry said at {time}; it is being asked again.", "登记处在 {time} 的说法；正在重新询问。"],
  "registry.said": ["As the registry said at {time}.", "登记处在 {time} 的说法。"],
  "candidate.unknown": ["The registry was not reached.", "无法访问模型登记处。"],
  "canary.share": ["answers {share} of the visitors", "为 {share} 的访客应答"],
  "canary.promote": ["it may become champion", "可以成为线上模型"],
  "canary.stop": ["it should be stopped", "应当停止"],
  "canary.wait": ["it goes on", "继续观察"],
  "gate": ["Last decision of the gate", "门禁的最近决定"],
  "gate.none": ["No decision lies here. `dvc repro` makes one.", "此处没有决定。运行 `dvc repro` 即可产生。"],
  "gate.unsealed": [
    "This decision is unsealed: beside it `_hashes.json` is gone, by which its bytes are checked. `clickflow promote` refuses it; `dvc checkout` puts the file back, or `dvc repro` decides anew.",
    "此决定没有封存：用于核对其字节的 `_hashes.json` 已不在旁边。`clickflow promote` 会拒绝它；`dvc checkout` 可放回该文件，或用 `dvc repro` 重新判定。",
  ],
  "gate.promote": ["Promote", "上线"],
  "gate.hold": ["Hold", "暂缓"],
  "gate.reject": ["Reject", "拒绝"],
  "gate.warn": ["Warn", "警告"],
  "gate.against": ["against version {n}", "对比第 {n} 版"],
  "gate.against.none": ["against no champion", "没有可对比的线上模型"],
  "gate.rule": ["Rule", "规则"],
  "gate.found": ["What was found", "结果"],
  "gate.else": ["Else", "否则"],
  "gate.interval": ["Interval and bound", "区间与界限"],
  "gate.passed": ["passed", "通过"],
  "gate.failed": ["failed", "未通过"],
  "gate.warned": ["warns", "警告"],
  "gate.not_applicable": ["nothing to judge", "无可判断"],
  "gate.not_judged": ["not judged", "未判断"],
  "gate.all": ["All {n} rules", "全部 {n} 条规则"],
  "live": ["Live", "线上表现"],
  "live.none": ["No outcomes were sent yet: `POST /v1/feedback` says what came of an answer.", "还没有结果反馈：`POST /v1/feedback` 可告知回答的结果。"],
  "live.champion": ["Champion", "线上模型"],
  "live.canary": ["Canary", "灰度版本"],
  "live.earlier": ["Earlier versions and canaries ({n})", "较早的版本与灰度（{n}）"],
  "live.beside": ["beside a canary", "（灰度对照）"],
  "live.shadow": ["Shadow", "影子版本"],
  "live.of": ["{n} answers to {visitors} visitors", "{n} 次应答，{visitors} 位访客"],
  "live.ruled": ["{output}: {n} of {all} answers under rules of the shop, which the evaluation has not", "{output}：{all} 次应答中有 {n} 次受店铺规则限制，评估中没有这些规则"],
  "live.offline": ["evaluated {n}", "评估时为 {n}"],
  "live.agreement": ["Shadow, version {n}: answers as the champion in {share} ({output}, {of} answers).", "影子第 {n} 版：{share} 与线上模型一致（{output}，{of} 次）。"],
  "live.as.of": ["The last {n} days, as of {time}", "最近 {n} 天，截至 {time}"],
  "drift": ["Drift", "漂移"],
  "drift.none": ["Nobody has watched yet: `clickflow watch` does.", "尚未监测：运行 `clickflow watch`。"],
  "drift.retrain": ["It is time to retrain", "应当重新训练"],
  "drift.fine": ["No call for retraining", "无需重新训练"],
  "drift.bound": ["Measure", "度量"],
  "drift.limit": ["limit {n}", "界限 {n}"],
  "drift.as.of": ["as of {time}", "截至 {time}"],
  "ledger": ["Ledger", "上线记录"],
  "ledger.what": ["Every decision, newest first; signed, only ever appended.", "全部决定，最新在前；经过签名，只增不改。"],
  "ledger.none": ["No line yet.", "还没有记录。"],
  "ledger.time": ["When", "时间"],
  "ledger.action": ["What", "事项"],
  "ledger.version": ["Version", "版本"],
  "ledger.who": ["By", "由"],
  "ledger.reason": ["Reason", "理由"],
  "ledger.promote": ["promote", "上线"],
  "ledger.hold": ["hold", "暂缓"],
  "ledger.reject": ["reject", "拒绝"],
  "ledger.refuse": ["refuse", "驳回"],
  "ledger.canary": ["canary", "灰度开始"],
  "ledger.stop": ["stop", "灰度停止"],
  "ledger.rollback": ["roll back", "回滚"],
  "runs": ["Last runs", "最近的运行"],
  "runs.none": ["No run is known here: `clickflow retrain` and Airflow leave some.", "此处没有运行：`clickflow retrain` 和 Airflow 会留下记录。"],
  "runs.failed": ["failed at {tasks}", "失败于 {tasks}"],
  "run.recorded": ["recorded", "已完成"],
  "run.running": ["running", "运行中"],
  "run.failed": ["failed", "失败"],
  "run.done": ["done", "已结束"],
  "run.opened": ["not ended", "未结束"],
  "run.skipped": ["skipped", "已跳过"],
  "health.wrong": ["{n} things are wrong", "{n} 项异常"],
  "health.wrong.one": ["1 thing is wrong", "1 项异常"],
  "links": ["Elsewhere", "其他页面"],
  "link.airflow": ["Airflow", "Airflow"],
  "link.mlflow": ["MLflow", "MLflow"],
  "act.read": ["Read-only: to promote or roll back, sign in with a key that may.", "只读：上线或回滚须使用有权限的密钥登录。"],
  "act.no.keys": [
    "Read-only: nobody has a key here. `clickflow serve --new-key NAME --scope read --scope people --scope promote` makes one that may promote and roll back.",
    "只读：此处还没有密钥。运行 `clickflow serve --new-key NAME --scope read --scope people --scope promote` 可生成有上线和回滚权限的密钥。",
  ],
  "act.promote": ["Promote the candidate", "让候选模型上线"],
  "act.rollback": ["Roll back to version {n}", "回滚到第 {n} 版"],
  "act.reason": ["Reason", "理由"],
  "act.reason.what": ["It stands in the ledger beside your name, for good.", "它将与您的名字一起永久记入上线记录。"],
  "act.promote.what": [
    "Carries out the gate's decision. A candidate that the gate holds or rejects stays so, whatever is written here.",
    "执行门禁的决定。被门禁暂缓或拒绝的候选模型，无论此处写什么都不会改变。",
  ],
  "act.rollback.what": [
    "Version {n} becomes champion again and answers here within seconds. A second rollback undoes it.",
    "第 {n} 版将重新成为线上模型，数秒内在此应答。再次回滚即可撤销。",
  ],
  "act.working": ["Working: files are hashed, rules are checked …", "处理中：正在校验文件与规则…"],
  "act.done": ["Done.", "已完成。"],
};

let language = kept.get("language") || (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
if (!(language in LANGUAGES)) language = "en";

export const current = () => language;

/** Of a text by language, that of this one; English where it is not said in it. A text of no language is as it is. */
export const local = (said) => (typeof said === "string" ? said : said?.[language] || said?.en || "");

export function choose(other) {
  language = other;
  kept.set("language", other);
  document.documentElement.lang = other === "zh" ? "zh-CN" : "en";
}

/** What `key` says, with `{name}` filled in; `fallback` where the table has no such line. */
export function t(key, values = {}, fallback = key) {
  const one = values.n === 1 && TABLE[`${key}.one`];
  const line = one || TABLE[key];
  if (!line) return fallback;
  return line[language === "zh" ? 1 : 0].replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return value === undefined ? whole : typeof value === "number" ? number(value) : value;
  });
}

const locale = () => (language === "zh" ? "zh-CN" : navigator.language.startsWith("en") ? navigator.language : "en-GB");
const forms = new Map();

function form(kind, options) {
  const key = JSON.stringify([locale(), kind.name, options]);
  if (!forms.has(key)) forms.set(key, new kind(locale(), options));
  return forms.get(key);
}

export const number = (value, digits = 0) =>
  form(Intl.NumberFormat, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);

/** Up to four digits that matter. */
export const figure = (value) =>
  typeof value === "number" ? form(Intl.NumberFormat, { maximumSignificantDigits: Math.abs(value) >= 1000 ? 6 : 4 }).format(value) : "–";

/** Up to three digits that matter. */
export const rough = (value) => form(Intl.NumberFormat, { maximumSignificantDigits: Math.abs(value) >= 1000 ? 6 : 3 }).format(value);

/** A price or another sum. */
export const money = (value) => number(value, Number.isInteger(value) ? 0 : 2);

/** A probability: more digits the smaller it is. */
export function percent(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const digits = value >= 0.0995 ? 1 : value >= 0.00995 ? 1 : value >= 0.00095 ? 2 : 3;
  return form(Intl.NumberFormat, { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

export const share = (value) =>
  value === null || value === undefined ? "–" : form(Intl.NumberFormat, { style: "percent", maximumFractionDigits: 0 }).format(value);

/** A difference of probabilities, in points; of amounts as it is. */
export function signed(value, points) {
  const scaled = points ? 100 * value : value;
  const size = Math.abs(scaled);
  const digits = size >= 9.95 ? 1 : size >= 0.095 ? 1 : 2;
  if (Number(size.toFixed(2)) === 0) return number(0);
  return form(Intl.NumberFormat, { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: "exceptZero" })
    .format(scaled)
    .replace("-", "−");
}

const asDate = (time) => new Date(typeof time === "number" ? time / 1000 : time);

export const clock = (time) => form(Intl.DateTimeFormat, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false }).format(asDate(time));
export const minute = (time) =>
  form(Intl.DateTimeFormat, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hour12: false }).format(asDate(time));
export const day = (time) => form(Intl.DateTimeFormat, { year: "numeric", month: "short", day: "numeric" }).format(asDate(time));
export const shortDay = (time) => form(Intl.DateTimeFormat, { month: "short", day: "numeric" }).format(asDate(time));

/** A length of time, in its two largest units. */
export function lasted(microseconds) {
  const seconds = Math.round(microseconds / 1e6);
  const parts = [
    [86400, "day"],
    [3600, "hour"],
    [60, "minute"],
    [1, "second"],
  ];
  const first = Math.max(0, parts.findIndex(([size]) => seconds >= size));
  const unit = (size, name, rest) =>
    form(Intl.NumberFormat, { style: "unit", unit: name, unitDisplay: "narrow" }).format(Math.floor(rest / size));
  const [size, name] = parts[seconds ? first : 3];
  const next = parts[first + 1];
  const rest = seconds % size;
  const large = unit(size, name, seconds);
  return next && seconds && Math.floor(rest / next[0]) ? `${large} ${unit(next[0], next[1], rest)}` : large;
}

export const action = (name) => t(`action.${name}`, {}, name);

/** What an output is called: by the table, else as the model says. */
export const called = (output) => t(`output.${output.name}`, {}, output.title);

/** In a sentence: "a purchase". */
export const meant = (output) => output.means?.[language] || called(output);
