// Each model: who is champion and why, what the gate found, how it fares, every line of the ledger; and, by key, its change.

import { get, post, Problem } from "./api.js";
import { asTable, interval } from "./charts.js";
import { h, speak, swap } from "./dom.js";
import { button, empty, fault, loading, sentence } from "./parts.js";
import { called, figure, local, minute, number, share, t } from "./strings.js";

const LINES = 8;

export function models(main, server, alive) {
  const box = h("div", { class: "plain" }, h("h1", { class: "unseen" }, t("nav.models")), loading());
  swap(main, box);
  const load = async () => {
    try {
      const [registry, live] = await Promise.all([get("console/models"), get("live").catch(() => null)]);
      if (!alive()) return;
      const late = registered();
      const note = h("div", { role: "status" });
      late((status) => swap(note, status.note ? h("p", { class: "note" }, sentence(local(status.note))) : null));
      swap(
        box,
        h("h1", { class: "unseen" }, t("nav.models")),
        h("div", {}, wrong(server.health), registry.note ? h("p", { class: "note" }, sentence(local(registry.note))) : null, note, elsewhere(server)),
        registry.models.length ? registry.models.map((each) => model(each, server, live, late, load)) : empty(t("fault.models"), t("fault.models.next")),
        runs(server.links.airflow, alive),
      );
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (alive()) swap(box, fault(problem, load));
    }
  };
  load();
}

/** What the registry says, which comes seconds after the rest: whoever asks has at once what it said before, then what it says now. */
function registered() {
  const asked = (values) => get("console/status", values).catch((problem) => ({ models: {}, note: problem.detail || t("fault") }));
  const first = asked();
  const now = first.then((status) => (status.stale ? asked({ fresh: true }) : null));
  return (draw) => {
    first.then(draw);
    now.then((status) => status && draw(status));
  };
}

/** What the server's health says is wrong, and what to do. */
const wrong = (health) =>
  (health?.wrong || []).map((each) => h("p", { class: "note" }, `${local(each.name)}: `, sentence(local(each.what)), local(each.next) ? [" ", sentence(local(each.next))] : null));

function elsewhere(server) {
  const there = Object.entries(server.links).filter(([, address]) => address);
  if (!there.length && server.person?.may_promote) return null;
  return h(
    "p",
    { class: "soft small" },
    there.length ? [t("links"), ": ", there.flatMap(([name, address], index) => [index ? ", " : "", h("a", { href: address, rel: "noreferrer" }, t(`link.${name}`))])] : null,
    server.person?.may_promote ? null : [there.length ? ". " : "", sentence(t(server.keys ? "act.read" : "act.no.keys"))],
  );
}

/** `late`: see `registered`. */
function model(each, server, live, late, again) {
  const champion = h("div", {}, each.champion ? championOf(each, server.links.mlflow) : each.ledger.length ? h("p", {}, t("champion.none")) : h("p", { class: "soft loading" }, t("loading")));
  const candidate = h("div", {}, h("p", { class: "soft loading" }, t("loading")));
  const notes = h("div", {});
  const known = Boolean(each.champion);
  late(({ models: all, made, stale }) => {
    const own = all[each.name];
    if (!known) {
      each.champion = own?.champion;
      swap(champion, own?.champion ? championOf(each, server.links.mlflow) : h("p", {}, own?.down ? own.down.why : t("champion.none")));
    }
    const since = made ? h("p", { class: "soft" }, t(stale ? "registry.asked" : "registry.said", { time: minute(made) })) : null;
    swap(candidate, h("p", {}, own?.candidate ? t("candidate.is", { n: String(own.candidate) }) : own ? t("candidate.none") : t("candidate.unknown")), since);
    swap(notes, (own?.notes || []).map((note) => h("p", { class: "note" }, sentence(local(note)))));
  });
  return h(
    "section",
    { class: "model", "aria-labelledby": `model ${each.name}` },
    h("header", {}, h("h2", { id: `model ${each.name}` }, each.name), h("p", { class: "soft" }, [t(`nav.${each.unit}`, {}, each.unit), ...each.outputs].join(" · "))),
    h(
      "div",
      { class: "facts2" },
      fact("champion", champion),
      fact("candidate", candidate, canaryOf(each)),
      liveOf(each, live),
      driftOf(each),
    ),
    notes,
    gate(each),
    ledger(each),
    server.person?.may_promote ? acts(each, again) : null,
  );
}

const fact = (name, ...children) => h("div", { class: "fact" }, h("h3", {}, t(name)), children);

function championOf({ name, champion, served }, mlflow) {
  const version = t("version", { n: String(champion.version) });
  const registered = mlflow && `${mlflow}/#/models/${encodeURIComponent(name)}/versions/${champion.version}`;
  const run = champion.origin.run_id || champion.origin.dag_run || (champion.origin.commit || "").slice(0, 10);
  return [
    h("p", { class: "big" }, registered ? h("a", { href: registered, rel: "noreferrer" }, version) : version),
    champion.since ? h("p", {}, t("champion.since", { time: minute(champion.since), who: champion.actor || "–" })) : null,
    h("p", { class: served === champion.version ? "ok" : "note" }, served === champion.version ? t("champion.serves") : served ? t("champion.other", { n: String(served) }) : t("none")),
    champion.why ? h("p", { class: "soft" }, [champion.action ? t(`ledger.${champion.action}`, {}, champion.action) : null, local(champion.why) || champion.why].filter(Boolean).join(": ")) : null,
    run ? h("p", { class: "soft" }, `${t("champion.run")}: `, h("code", {}, run)) : null,
    Object.keys(champion.metrics).length
      ? h("dl", { class: "metrics", "aria-label": t("champion.metrics") }, Object.entries(champion.metrics).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, figure(value)))))
      : null,
  ];
}

/** The canary that is on, and what its rule says of it. */
function canaryOf({ canary }) {
  if (!canary) return null;
  return [
    h("p", { class: "arm" }, t("live.canary"), " ", h("b", {}, t("version", { n: String(canary.version) })), canary.share ? ` · ${t("canary.share", { share: share(canary.share) })}` : "", " · ", minute(canary.since)),
    canary.call ? h("p", { class: "soft" }, t(`canary.${canary.call}`, {}, canary.call), ": ", local(canary.why)) : null,
  ];
}

const MOST = 6;

/** What became of the answers, by version and arm, each number beside that of the evaluation where there is one. */
function liveOf(each, live) {
  if (!live) return null;
  const { name, served } = each;
  const groups = (live.groups || []).filter((group) => group.model === name);
  if (!groups.length) return fact("live", h("p", { class: "soft" }, sentence(t("live.none"))));
  const now = groups.filter((group) => stands(group, each, groups));
  const earlier = groups.filter((group) => !now.includes(group));
  return fact(
    "live",
    now.map((group) => groupOf(group, each)),
    earlier.length ? h("details", {}, h("summary", { "data-key": `earlier ${name}` }, t("live.earlier", { n: earlier.length })), earlier.map((group) => groupOf(group, each, true))) : null,
    (live.agreement || [])
      .filter((line) => line.model === name && line.champion === served)
      .map((line) => h("p", { class: "soft" }, t("live.agreement", { n: String(line.shadow), output: called({ name: line.output, title: line.output }), share: share(line.agreement), of: number(line.requests) }))),
    h("p", { class: "soft" }, t("live.as.of", { n: live.days, time: minute(live.made) })),
  );
}

/** Whether a group is of who answers now: of the champion and its canary, and of the shadow that was there last. */
function stands(group, { served, canary }, groups) {
  if (group.test && group.test !== canary?.test) return false;
  if (group.arm === "champion") return group.version === served;
  if (canary) return group.version === canary.version && group.test === canary.test;
  return group.arm === "shadow" && group.until === groups.filter(({ arm }) => arm === "shadow").reduce((last, { until }) => (until > last ? until : last), "");
}

function groupOf(group, each, dated = false) {
  const said = [group.test && group.arm === "champion" ? ` ${t("live.beside")}` : "", h("span", { class: "soft" }, ` · ${t("live.of", { n: group.requests, visitors: number(group.visitors) })}${dated && group.since ? ` · ${minute(group.since)}` : ""}`)];
  return h(
    "div",
    {},
    h("p", { class: "arm" }, t(`live.${group.arm}`, {}, group.arm), " ", h("b", {}, t("version", { n: String(group.version) })), said),
    h("dl", { class: "metrics" }, cells(group, each).slice(0, MOST).map(([key, cell, offline]) => metric(key, cell, group.arm === "champion" && group.version === each.champion?.version ? offline : undefined))),
    Object.entries(group.heads).filter(([, { under_rules }]) => under_rules).map(([output, { under_rules, questions }]) => h("p", { class: "soft" }, t("live.ruled", { output: output.replaceAll("_", " "), n: under_rules, all: number(questions) }))),
  );
}

/** Clicks, purchases and revenue first; of each output the metrics that the evaluation names, with what it said, else two that it is known by. */
const cells = (group, { champion, outputs }) => [
  ...Object.entries(group.shown || {}).filter(([, cell]) => cell?.value !== undefined && cell.value !== null),
  ...Object.entries(group.heads).flatMap(([output, { metrics }]) => {
    const first = (key) => outputs.find((name) => key in (group.heads[name]?.metrics || {})) === output; // whose names stand without the output
    const offline = (key) => champion?.metrics[`${output}.${key}`] ?? (first(key) ? champion?.metrics[key] : undefined);
    const keys = Object.keys(metrics);
    const named = keys.filter((key) => offline(key) !== undefined);
    return (named.length ? named : keys.filter((key) => FEW.some((each) => key.startsWith(each)))).slice(0, 2).map((key) => [`${output} ${key}`, metrics[key], offline(key)]);
  }),
];
const FEW = ["recall@20", "mrr@20", "log_loss", "accuracy", "ece", "mae", "pinball"];

const metric = (key, cell, offline) =>
  h(
    "div",
    {},
    h("dt", {}, key.replaceAll("_", " ")),
    h(
      "dd",
      {},
      figure(cell.value),
      cell.low === null ? null : h("span", { class: "soft" }, ` ${figure(cell.low)}–${figure(cell.high)}`),
      offline === undefined ? null : h("span", { class: "soft" }, ` (${t("live.offline", { n: figure(offline) })})`),
    ),
  );

function driftOf({ watch }) {
  if (!watch) return fact("drift", h("p", { class: "soft" }, sentence(t("drift.none"))));
  const { windows } = watch;
  const newest = windows[windows.length - 1];
  const mark = (bound) => (bound.value === null ? "–" : `${figure(bound.value)}${bound.breach ? " ✗" : ""}`);
  return fact(
    "drift",
    h("p", { class: watch.retrain ? "note" : "ok" }, watch.retrain ? t("drift.retrain") : t("drift.fine"), h("span", { class: "soft" }, ` ${t("drift.as.of", { time: minute(watch.as_of) })}`)),
    h("p", { class: "soft" }, local(watch.why)),
    newest
      ? h(
          "dl",
          { class: "metrics" },
          newest.bounds.filter((bound) => bound.value !== null).slice(0, 6).map((bound) => h("div", { class: bound.breach ? "broken" : null }, h("dt", {}, bound.name.replaceAll("_", " ")), h("dd", {}, mark(bound), h("span", { class: "soft" }, ` ${t("drift.limit", { n: figure(bound.limit) })}`)))),
        )
      : null,
    windows.length
      ? asTable(`${t("drift")}: ${watch.model}`, [t("drift.bound"), ...windows.map((window) => minute(window.until))], windows[0].bounds.map((bound, index) => [bound.name, ...windows.map((window) => mark(window.bounds[index]))]))
      : null,
  );
}

const MARKS = { passed: "✓", failed: "✗", warned: "!", not_applicable: "–", not_judged: "?" };

function gate({ name, gate: decision }) {
  if (!decision) return h("section", { class: "gate" }, h("h3", {}, t("gate")), h("p", { class: "soft" }, sentence(t("gate.none"))));
  const remarkable = decision.rules.filter((rule) => rule.mark !== "passed" && rule.mark !== "not_applicable");
  const against = decision.champion_version ? t("gate.against", { n: String(decision.champion_version) }) : t("gate.against.none");
  const rows = (rules) =>
    rules.map((rule) =>
      h(
        "tr",
        { class: rule.mark },
        h("td", { class: "mark" }, h("span", { "aria-hidden": "true" }, MARKS[rule.mark]), h("span", { class: "unseen" }, t(`gate.${rule.mark}`))),
        h("th", { scope: "row" }, local(rule.rule)),
        h("td", {}, rule.line ? interval(rule.line, t("gate.interval")) : null),
        h("td", { class: "text" }, sentence(local(rule.text))),
        h("td", { class: "soft" }, t(`gate.${rule.severity}`)),
      ),
    );
  const table = (rules, label) =>
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
      h(
        "table",
        { class: "rules" },
        h("caption", { class: "unseen" }, label),
        h("thead", { class: "unseen" }, h("tr", {}, ["–", t("gate.rule"), t("gate.interval"), t("gate.found"), t("gate.else")].map((text) => h("th", { scope: "col" }, text)))),
        h("tbody", {}, rows(rules)),
      ),
    );
  const all = h("details", {}, h("summary", { "data-key": `rules ${name}` }, t("gate.all", { n: decision.rules.length })));
  all.addEventListener("toggle", () => all.append(table(decision.rules, `${t("gate.all", { n: decision.rules.length })}: ${name}`)), { once: true });
  return h(
    "section",
    { class: "gate" },
    h("h3", {}, t("gate"), " ", h("span", { class: `decision is-${decision.decision}` }, t(`gate.${decision.decision}`)), " ", h("span", { class: "soft" }, against)),
    decision.sealed ? null : h("p", { class: "unsealed" }, sentence(t("gate.unsealed"))),
    h("p", {}, local(decision.sentence)),
    h("p", { class: "soft" }, sentence(local(decision.summary))),
    remarkable.length ? table(remarkable.slice(0, 5), `${t("gate")}: ${name}`) : null,
    all,
  );
}

function ledger({ name, ledger: entries }) {
  const heads = ["ledger.time", "ledger.action", "ledger.version", "ledger.who", "ledger.reason"];
  const table = (rows) =>
    h(
      "table",
      { class: "ledger" },
      h("caption", { class: "unseen" }, `${t("ledger")}: ${name}`),
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, t(head))))),
      h(
        "tbody",
        {},
        rows.map((entry) =>
          h(
            "tr",
            {},
            h("td", {}, h("time", { datetime: entry.time }, minute(entry.time))),
            h("td", {}, h("span", { class: `decision is-${entry.action}` }, t(`ledger.${entry.action}`, {}, entry.action))),
            h("td", { class: "num" }, entry.version ? String(entry.version) : "–"),
            h("td", {}, entry.actor),
            h("td", { class: "text" }, sentence(local(entry.reason))),
          ),
        ),
      ),
    );
  const box = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${t("ledger")}: ${name}` }, entries.length ? table(entries.slice(0, LINES)) : h("p", { class: "soft" }, t("ledger.none")));
  return h(
    "section",
    {},
    h("h3", {}, t("ledger"), " ", h("span", { class: "soft" }, t("ledger.what"))),
    box,
    entries.length > LINES ? button(t("more", { n: entries.length }), (event) => (swap(box, table(entries)), event.target.remove()), { "data-key": `ledger ${name}` }) : null,
  );
}

function acts(each, again) {
  const box = h("section", { class: "acts" });
  const ask = (verb, words, what, body) => {
    const reason = h("input", { type: "text", required: true, maxlength: "500", id: `reason ${each.name}`, autocomplete: "off" });
    const said = h("p", { role: "status" });
    const form = h(
      "form",
      {
        onsubmit: async (event) => {
          event.preventDefault();
          said.textContent = t("act.working");
          for (const control of form.querySelectorAll("button, input")) control.disabled = true;
          try {
            const answer = await post(`console/models/${encodeURIComponent(each.name)}/${verb}`, { ...body, reason: reason.value });
            speak(answer.text || t("act.done"));
            again();
          } catch (problem) {
            if (!(problem instanceof Problem)) throw problem;
            said.replaceChildren(...sentence([problem.detail || problem.message, problem.next].filter(Boolean).join(" ")));
            for (const control of form.querySelectorAll("button, input")) control.disabled = false;
          }
        },
      },
      h("p", { class: "soft" }, what),
      h("label", { for: reason.id }, t("act.reason"), h("span", { class: "soft" }, ` ${t("act.reason.what")}`)),
      reason,
      h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, words), button(t("cancel"), draw)),
      said,
    );
    swap(box, form);
    reason.focus();
  };
  const draw = () => {
    const previous = each.champion?.previous;
    swap(
      box,
      h(
        "div",
        { class: "buttons" },
        each.gate?.decision === "promote" && each.gate.sealed && each.promotable ? button(t("act.promote"), () => ask("promote", t("act.promote"), t("act.promote.what"), {}), { "data-key": `promote ${each.name}` }) : null,
        previous ? button(t("act.rollback", { n: String(previous) }), () => ask("rollback", t("act.rollback", { n: String(previous) }), t("act.rollback.what", { n: String(previous) }), { to: previous }), { "data-key": `rollback ${each.name}` }) : null,
      ),
    );
  };
  draw();
  return box;
}

/** What `clickflow runs` says, which asks the repository and takes a second. */
function runs(airflow, alive) {
  const list = h("div", {}, loading());
  get("console/runs")
    .catch((problem) => ({ runs: [], note: problem.detail || t("fault") }))
    .then(({ runs: all, note }) => {
      if (!alive()) return;
      const none = h("p", { class: note ? "note" : "soft" }, sentence(local(note) || t("runs.none")));
      swap(list, all.length ? h("ul", { class: "runs" }, all.map((each) => h("li", {}, run(each, airflow)))) : none);
    });
  return h("section", {}, h("h2", {}, t("runs")), list);
}

function run(each, airflow) {
  const [dag, ...name] = each.dag_run.split("/");
  const there = airflow && each.dag_run ? `${airflow}/dags/${encodeURIComponent(dag)}/runs/${encodeURIComponent(name.join("/"))}` : null;
  const id = h("code", {}, each.id);
  return [
    h("span", { class: `decision is-${each.state}` }, t(`run.${each.state}`, {}, each.state)),
    there ? h("a", { href: there, rel: "noreferrer" }, id) : id,
    each.when ? h("time", { datetime: each.when }, minute(each.when)) : null,
    Object.entries(each.models).map(([model, said]) => h("span", {}, `${model}: `, h("b", {}, t(`gate.${said.decision}`, {}, said.decision)), typeof said.value === "number" ? ` ${said.metric} ${figure(said.value)}` : "")),
    h("span", { class: "soft" }, [local(each.reason), each.person, each.note, each.failed.length ? t("runs.failed", { tasks: each.failed.join(", ") }) : ""].filter(Boolean).join(" · ")),
  ];
}
