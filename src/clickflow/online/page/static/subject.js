// A visit or a customer: what they did, what is expected after each step, why, and what if it had been otherwise.

import { get, post, Problem } from "./api.js";
import { answers } from "./answers.js";
import { lines } from "./charts.js";
import { debounced, h, kept, link, named, speak, swap } from "./dom.js";
import { finder } from "./finder.js";
import { brief, button, choice, empty, fault, loading } from "./parts.js";
import { action, called, figure, lasted, local, meant, minute, percent, signed, t } from "./strings.js";
import { timeline } from "./timeline.js";
import { why } from "./why.js";

const TOP = 10;
const WAIT = 120;
const OTHERS = 5;
const STEP = 30_000_000;

let keys = 0;

/** The page of a unit: `route` is [unit, id]; `server` what /v1/console says. */
export function subject(main, [unit, id], server, alive) {
  const models = server.models.filter((each) => each.unit === unit);
  if (!models.length) {
    const none = server.models.length ? (unit === "customer" ? "fault.unit.customer" : "fault.unit") : "fault.models";
    const next = server.models.length ? t("fault.unit.next", { unit }) : t("fault.models.next");
    return void swap(main, h("h1", { class: "unseen" }, t(`nav.${unit}`)), empty(t(none), next));
  }
  const pane = h("section", { class: "subject", "aria-labelledby": "who" });
  swap(main, h("div", { class: id ? "split chosen" : "split" }, finder(unit, id), pane));
  if (id === undefined) {
    swap(pane, h("h1", { id: "who", class: "quiet" }, t(unit === "customer" ? "choose.customer" : "choose")), h("p", { class: "soft" }, t("choose.what")));
    return;
  }
  swap(pane, h("h1", { id: "who", class: "quiet" }, t(unit)), loading());
  const load = async () => {
    try {
      const record = id === "new" ? { id: "new", unit, source: "made", steps: [], others: [] } : await get(`console/subjects/${unit}/${encodeURIComponent(id)}`);
      if (alive()) show(pane, record, models, alive);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (alive()) swap(pane, h("h1", { id: "who", class: "quiet" }, t(unit)), fault(problem, load));
    }
  };
  load();
}

/** All that is known of the one on show; `draw` shows it again. */
function show(pane, record, models, alive) {
  const view = {
    record,
    model: models[0],
    rows: record.steps.map((step) => ({ key: keys++, step, was: step, removed: false })),
    cursor: record.steps.length - 1,
    question: null,
    seen: true,
    now: null,
    before: null,
    others: {},
    why: null,
    fault: null,
    shownFrom: Math.max(0, record.steps.length - 40),
    abort: null,
  };

  // Places: `rows` are the steps of both histories in one order; a history has those that are in it.
  const inNow = (row) => !row.removed;
  const inBefore = (row) => row.was !== null;
  view.steps = (inside, step) => view.rows.filter(inside).map(step);
  view.edits = () => view.rows.filter((row) => row.removed || row.was === null || row.step !== row.was).length;
  /** Where in the answers of a history those after a row stand; -1: nowhere. */
  view.place = (answered, row, inside = inNow) => {
    if (!answered) return -1;
    if (!view.rows.some(inside)) return 0;
    if (row < 0) return -1;
    const place = view.rows.slice(0, row + 1).filter(inside).length - 1 - answered.first;
    return place >= 0 && place < answered.count ? place : -1;
  };
  view.placeBefore = (row) => view.place(view.before, row, inBefore);
  view.output = (name) => view.model.outputs.find((each) => each.name === name);

  /** As of when a whole history is asked about; of an earlier step: right after it. */
  view.asOf = (whole) => (whole && record.now ? { now: new Date(record.now / 1000).toISOString() } : {});
  const ask = async (steps, signal, model = view.model) =>
    post(
      "console/answers",
      {
        model: model.name,
        history: steps.map(bare),
        ...view.asOf(true),
        k: TOP,
        exclude_seen: !view.seen,
        watch: model === view.model && view.question?.kind === "ranking" ? [view.question.target] : [],
      },
      signal,
    );

  view.answer = async () => {
    view.abort?.abort();
    view.abort = new AbortController();
    const { signal } = view.abort;
    pane.setAttribute("aria-busy", "true");
    try {
      const begun = performance.now();
      const [now, before] = await Promise.all([
        ask(view.steps(inNow, (row) => row.step), signal),
        view.edits() ? ask(view.steps(inBefore, (row) => row.was), signal) : null,
      ]);
      view.milliseconds = Math.round(performance.now() - begun);
      view.now = now;
      view.before = before;
      view.fault = null;
      if (!view.question) view.question = first(view);
      if (!alive()) return;
      refresh();
      if (view.question.kind === "ranking" && !now.outputs[view.question.output].watched[view.question.target]) return void view.answer();
      pane.removeAttribute("aria-busy");
      explain(signal);
      askOthers(signal);
    } catch (problem) {
      if (problem.name === "AbortError" || !alive()) return;
      pane.removeAttribute("aria-busy");
      if (!(problem instanceof Problem)) throw problem;
      view.fault = problem;
      refresh();
    }
  };

  /** Those that read the same steps; what one cannot answer now is left out. */
  const askOthers = async (signal) => {
    const others = models.filter((each) => each !== view.model);
    if (!others.length) return;
    const steps = view.steps(inNow, (row) => row.step);
    const replies = await Promise.all(others.map((model) => ask(steps, signal, model).then((now) => ({ model, now }), () => null)));
    if (signal.aborted || !alive()) return;
    view.others = Object.fromEntries(replies.filter(Boolean).map((each) => [each.model.name, each]));
    answers(right, view);
  };

  const explain = debounced(WAIT, async (signal) => {
    if (signal.aborted || !alive()) return; // another question, or another model, has come while this one waited
    const upTo = view.rows.slice(0, view.cursor + 1).filter(inNow);
    const standsIn = view.now?.outputs[view.question.output]?.fallback?.[view.place(view.now, view.cursor)];
    view.why = upTo.length && !standsIn ? "wait" : null; // what is popular has no reason in this history
    paintWhy();
    if (!view.why) return void (reasons.style.minHeight = "");
    try {
      const { output, target, kind } = view.question;
      const said = await post(
        "console/explain",
        { model: view.model.name, history: upTo.map((row) => bare(row.step)), ...view.asOf(upTo.length === view.rows.filter(inNow).length), output, ...(kind === "ranking" || kind === "classes" ? { target } : {}) },
        signal,
      );
      if (signal.aborted || !alive()) return;
      view.why = { ...said, rows: upTo.map((row) => row.key) };
    } catch (problem) {
      if (problem.name === "AbortError" || !alive()) return;
      if (!(problem instanceof Problem)) throw problem;
      view.why = problem;
    }
    paintWhy();
  });
  const answerSoon = debounced(WAIT, () => view.answer());

  view.ask = (question) => {
    view.question = question;
    kept.set(`asked.${view.model.name}`, question.output);
    view.why = null;
    if (question.kind === "ranking") view.answer();
    else {
      draw();
      explain(view.abort.signal);
    }
  };
  /** Another model is what is asked step by step; by itself what it was asked last. */
  view.turn = (model, question = null) => {
    if (question) kept.set(`asked.${model.name}`, question.output);
    Object.assign(view, { model, question, why: null, now: null, before: null, others: {} });
    view.draw();
    view.answer();
  };
  view.select = (row) => {
    if (row === view.cursor) return;
    view.cursor = row;
    view.why = null;
    draw();
    if (view.now) explain(view.abort.signal);
  };
  view.edit = (act, what) => {
    act();
    view.why = null;
    speak(what);
    draw();
    answerSoon();
  };
  view.add = (after, step = null) => {
    const near = view.rows.slice(0, after + 1).reverse().find(inNow)?.step;
    const next = view.rows.slice(after + 1).find(inNow)?.step;
    const time = near ? Math.min(near.time + STEP, next ? Math.floor((near.time + next.time) / 2) : Infinity) : next ? next.time - STEP : Date.now() * 1000;
    const like = step || (near ? { ...near } : null) || { item: view.model.popular[0]?.item || "", ...view.model.popular[0], unsaid: ["category", "price"] };
    const own = { ...like, action: step?.action || view.model.actions[0], time, quantity: null, known: true, added: true };
    view.edit(() => {
      view.rows.splice(after + 1, 0, { key: keys++, step: own, was: null, removed: false });
      view.cursor = after + 1;
      view.shownFrom = Math.min(view.shownFrom, after + 1);
    }, t("added"));
  };
  /** Carry out what an explanation says would change the answer; its steps are places in the history up to the cursor. */
  view.carryOut = (edits) => {
    const rows = view.why.rows.map((key) => view.rows.find((row) => row.key === key));
    view.edit(() => {
      for (const edit of edits) {
        const row = rows[edit.step];
        if (edit.what === "remove" && row) row.removed = true;
        if (edit.what === "change" && row) row.step = { ...row.step, action: edit.to };
      }
      const add = edits.find((edit) => edit.what === "add");
      if (add) view.add(view.cursor, { item: add.item, name: add.name, action: add.action, price: null, category: null, brand: null, unsaid: ["category", "price"] });
    }, t("whatif"));
  };
  view.reset = () =>
    view.edit(() => {
      view.rows = view.record.steps.map((step) => ({ key: keys++, step, was: step, removed: false }));
      view.cursor = Math.min(view.cursor, view.rows.length - 1);
    }, t("whatif.reset"));

  const head = h("header", { class: "who" });
  const chart = h("section", { class: "chartbox", "aria-labelledby": "asked" });
  const reasons = h("section", { class: "why", "aria-labelledby": "whyhead" });
  const list = h("section", { class: "history", "aria-labelledby": "historyhead" });
  const right = h("section", { class: "answers", "aria-labelledby": "answerhead" });
  swap(pane, head, h("div", { class: "columns" }, chart, reasons, right, list));
  const steps = timeline(list, view);

  const paintChart = () => swap(chart, view.fault ? fault(view.fault, () => view.answer()) : view.now ? chartOf(view) : loading());
  function draw() {
    swap(head, heading(view, models));
    steps.draw();
    refresh();
  }
  /** All that an answer says; the steps stay as they are, and what is being typed there. */
  function refresh() {
    answers(right, view);
    paintWhy();
  }
  /** Reasons that are awaited keep the room of the last ones: what stands below does not move while it is pressed. */
  function paintWhy() {
    paintChart();
    reasons.style.minHeight = view.why === null || view.why === "wait" ? `${reasons.getBoundingClientRect().height}px` : "";
    why(reasons, view);
    steps.paint();
  }
  view.draw = draw;
  draw();
  view.answer();
}

/** A step as it is asked: null says that it has no category or price; what was not said is left out, for the model to fill. */
const bare = ({ item, action: name, time, category, price, quantity, unsaid = [] }) => {
  const said = { item, action: name, time: time === null || time === undefined ? undefined : new Date(time / 1000).toISOString(), category, price, quantity: quantity ?? undefined };
  return Object.fromEntries(Object.entries(said).filter(([field, value]) => value !== undefined && !unsaid.includes(field)));
};

/** What is asked first: what was last time; else the likeliest of what is yes or no, an amount, the likeliest class, the best item. */
function first(view) {
  const before = view.output(kept.get(`asked.${view.model.name}`));
  const latest = ({ name }) => view.now.outputs[name].values[view.now.count - 1] || 0;
  const by = (kind) => view.model.outputs.filter((each) => each.kind === kind);
  const output = before || by("probability").sort((a, b) => latest(b) - latest(a))[0] || by("amount")[0] || by("classes")[0] || by("ranking")[0] || view.model.outputs[0];
  return { output: output.name, kind: output.kind, target: target(view, output) };
}

/** What of an output is asked about where nothing was chosen. */
export function target(view, output) {
  const own = view.now.outputs[output.name];
  const place = Math.max(0, view.place(view.now, view.cursor));
  if (output.kind === "classes") {
    const values = own.values[place] || [];
    return own.names[values.indexOf(Math.max(...values))] || own.names[0];
  }
  if (output.kind === "ranking") return own.top[place]?.[0]?.[0] || "";
  return "";
}

/** The numbers of what is asked, after each step that has an answer. */
export function track(answered, question, name = question.target) {
  const own = answered.outputs[question.output];
  if (question.kind === "classes") return own.values.map((row) => row && row[own.names.indexOf(name)]);
  if (question.kind === "ranking") return own.watched[name] || [];
  if (question.kind === "amount") return own.values.map((row) => row && row[0]);
  return own.values;
}

/** What each step changes, by the key of its row: the answer less the answer without it. */
export const effects = (said) => said.effects.filter((each) => each.what === "step").map((each) => [said.rows[each.steps[0]], said.answer - each.without]);

export const isAmount = (question) => question.kind === "amount";
export const shown = (question, value) => (value === null || value === undefined ? "–" : isAmount(question) ? figure(value) : percent(value));

/** What is asked, for a heading: "Purchase", "Next action: cart", "Next item: 5123". */
export function questionText(view) {
  const { output, kind, target: aim } = view.question;
  const name = called(view.output(output));
  return kind === "classes" ? `${name}: ${action(aim)}` : kind === "ranking" ? `${name}: ${named({ ...view.now.items[aim], item: aim })}` : name;
}

function heading(view, models) {
  const { record } = view;
  const steps = view.steps(inside, (row) => row.step);
  const times = steps.map((step) => step.time).filter(Boolean);
  const count = view.edits();
  const facts = [
    steps.length ? t("steps", { n: steps.length }) + (times.length > 1 ? t("lasted", { time: lasted(times[times.length - 1] - times[0]) }) : "") : null,
    times.length ? h("time", { datetime: new Date(times[0] / 1000).toISOString() }, minute(times[0])) : null,
    record.now ? t("as.of", { time: minute(record.now) }) : null,
    t(`source.${record.source}`),
  ];
  return [
    link(record.unit, t(record.unit === "customer" ? "find.back.customer" : "find.back"), { class: "back", "data-key": "back" }),
    h(
      "div",
      { class: "title" },
      h("h1", { id: "who" }, t(record.unit), " ", record.id === "new" ? null : h("span", { class: "id" }, record.id)),
      h("p", { class: "facts" }, facts.filter(Boolean).flatMap((fact, index) => (index ? [" · ", fact] : [fact]))),
      record.user && record.unit !== "customer"
        ? h(
            "p",
            { class: "facts" },
            t("of.customer"), " ", link(`customer/${encodeURIComponent(record.user)}`, brief(record.user), { "data-key": "customer" }),
            record.others.length > 1 ? ` · ${t("others", { n: record.others.length })}: ` : null,
            record.others.length > 1
              ? record.others.slice(0, OTHERS).flatMap((other, index) => [index ? ", " : "", other === record.id ? h("b", {}, brief(other)) : link(`session/${encodeURIComponent(other)}`, brief(other))])
              : null,
            record.others.length > OTHERS ? " …" : null,
          )
        : null,
      record.segment
        ? h(
            "p",
            { class: "facts" },
            t("segment.of"), ": ", h("b", {}, local(record.segment.name)),
            record.unit === "customer" && record.segment.similar.length ? [` · ${t("segment.similar")}: `, record.segment.similar.flatMap((other, index) => [index ? ", " : "", link(`customer/${encodeURIComponent(other)}`, brief(other))])] : null,
          )
        : null,
    ),
    models.length > 1
      ? choice({
          label: t("answer.model"),
          value: view.model.name,
          options: models.map((each) => [each.name, each.name]),
          onchoose: (name) => view.turn(models.find((each) => each.name === name)),
        })
      : null,
    count
      ? h(
          "div",
          { class: "whatif", role: "status" },
          h("b", {}, t("whatif")), " ", t("whatif.is", { n: count }), " ",
          button(t("whatif.reset"), view.reset, { "data-key": "reset" }),
        )
      : null,
  ];
}

const inside = (row) => !row.removed;

function chartOf(view) {
  const { question, now, before } = view;
  if (!view.rows.length) return [h("h2", { id: "asked" }, questionText(view), " ", h("span", { class: "soft" }, t("chart.after"))), h("p", { class: "soft" }, t("answer.none.yet"))];
  const output = view.output(question.output);
  const from = view.rows.findIndex((row, index) => view.place(now, index) === 0 || view.placeBefore(index) === 0);
  const rows = view.rows.map((row, index) => ({ row, index })).slice(Math.max(0, from));
  const along = (values) => rows.map(({ row, index }) => (inside(row) ? (values[view.place(now, index)] ?? null) : null));
  const was = (values) => rows.map(({ row, index }) => (row.was !== null ? (values[view.placeBefore(index)] ?? null) : null));
  const own = now.outputs[question.output];
  const names = question.kind === "classes" ? own.names : [question.target];
  const series = names.map((name) => ({
    name: question.kind === "classes" ? action(name) : question.kind === "ranking" ? named({ item: name }) : meant(output),
    strong: question.kind !== "classes" || name === question.target,
    values: along(track(now, question, name)),
    before: before && (question.kind !== "classes" || name === question.target) ? was(track(before, question, name)) : null,
    band: question.kind === "amount" ? [1, 3].map((column) => along(own.values.map((row) => row && row[column]))) : null,
  }));
  const value = track(now, question)[view.place(now, view.cursor)];
  const previous = track(now, question)[view.place(now, view.cursor) - 1];
  const numberOf = (index) => view.rows.slice(0, index + 1).filter(inside).length;
  const said = view.why?.rows ? new Map(effects(view.why)) : null;
  const acted = [...new Set(rows.map(({ row }) => row.step.action))];
  const delta = previous === undefined || previous === null || value === undefined || value === null ? null : value - previous;
  return [
    h(
      "div",
      { class: "charthead" },
      h("h2", { id: "asked" }, questionText(view), " ", h("span", { class: "soft" }, t("chart.after"))),
      h(
        "p",
        { class: "headline" },
        h("strong", {}, shown(question, value)),
        delta === null
          ? null
          : h("span", { class: delta < 0 ? "lowers" : "raises" }, delta < 0 ? "▼ " : delta > 0 ? "▲ " : "", t("chart.since", { delta: isAmount(question) ? signed(delta, false) : points(delta) })),
      ),
    ),
    lines({
      series,
      labels: rows.map(({ row, index }) => (inside(row) ? String(numberOf(index)) : "×")),
      format: (each, tick) => (isAmount(question) ? figure(each) : tick ? shortPercent(each) : percent(each)),
      selected: rows.findIndex(({ index }) => index === view.cursor),
      onselect: (place) => view.select(rows[place].index),
      title: `${questionText(view)}, ${t("chart.after")}`,
      marks: rows.map(({ row }) => ({ kind: row.step.action, text: `${action(row.step.action)} ${named(row.step)}` })),
      effects: {
        label: said ? t("chart.effects", { n: numberOf(view.cursor), value: shown(question, value) }) : "",
        values: rows.map(({ row }) => said?.get(row.key) ?? null),
        least: isAmount(question) ? 1e-9 : 0.02,
      },
    }),
    h(
      "p",
      { class: "legend" },
      ["purchase", "cart"].filter((name) => acted.includes(name)).map((name) => h("span", { class: `key ${name}` }, action(name))),
      question.kind === "amount" ? h("span", {}, t("chart.band")) : null,
    ),
  ];
}

export const points = (delta) => t("points", { n: signed(delta, true) });
const shortPercent = (value) => percent(value).replace(/[.,]0+(?=\D*$)/, "");
