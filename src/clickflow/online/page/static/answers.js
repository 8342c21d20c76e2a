// What a model expects after the chosen step: each output by its kind of answer; each can be asked why.

import { bar } from "./charts.js";
import { words } from "./combobox.js";
import { h, named, swap } from "./dom.js";
import { button } from "./parts.js";
import { action, called, figure, local, money, number, percent, signed, t } from "./strings.js";
import { points } from "./subject.js";

export function answers(section, view) {
  const { now, model } = view;
  const place = view.place(now, view.cursor);
  const number_ = view.rows.slice(0, view.cursor + 1).filter((row) => !row.removed).length;
  swap(
    section,
    h("h2", { id: "answerhead" }, t("answer"), " ", h("span", { class: "soft" }, number_ ? t("answer.after", { n: number_ }) : t("answer.start"))),
    now ? ordered(model.outputs).map((output) => block(view, output, place)) : null,
    now
      ? h("p", { class: "soft small" }, t("answer.by", { model: now.model, n: String(now.version) }), " · ", t("answer.time", { n: now.milliseconds }))
      : null,
    now ? others(view) : null,
  );
}

/** What other models of visits, or of customers, say after the same steps; each can be shown step by step. */
function others(view) {
  return Object.values(view.others).map(({ model, now }) => {
    const own = Object.create(view, {
      model: { value: model }, now: { value: now }, before: { value: null }, question: { value: null },
      seen: { get: () => view.seen, set: (seen) => (view.seen = seen) },
      ask: { value: (question) => view.turn(model, question) },
    });
    return h(
      "div",
      { class: "other" },
      h("p", { class: "soft small" }, t("answer.by", { model: now.model, n: String(now.version) }), " ", button(t("answer.turn", { model: now.model }), () => view.turn(model), { class: "small", "data-key": `turn ${now.model}` })),
      ordered(model.outputs).map((output) => block(own, output, view.place(now, view.cursor))),
    );
  });
}

const nothing = (view) => h("p", { class: "soft" }, t(view.rows.some((row) => !row.removed) ? "answer.no.value" : "answer.none.yet"));

/** The short answers before the long ones. */
const ORDER = ["probability", "amount", "classes", "forecast", "ranking"];
const ordered = (outputs) => [...outputs].sort((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind));

function block(view, output, place) {
  const { question } = view;
  const own = view.now.outputs[output.name];
  const chosen = question?.output === output.name;
  const draw = FORMS[output.kind];
  const before = view.before ? { own: view.before.outputs[output.name], place: view.placeBefore(view.cursor) } : null;
  return h(
    "section",
    { class: chosen ? "answer chosen" : "answer", "aria-label": question ? called(output) : `${called(output)} · ${view.model.name}` },
    h("h3", { title: local(output.question) }, called(output)),
    own && draw ? draw(view, output, own, place, before?.place >= 0 ? before : null) : nothing(view),
  );
}

/** A button that asks why: it says which answer is on show. */
function why(view, output, aim, text) {
  const { question } = view;
  const on = question && question.output === output.name && (question.target === aim || output.kind === "probability" || output.kind === "amount");
  return button(t("why.this"), () => view.ask({ output: output.name, kind: output.kind, target: aim }), {
    class: "ask", "aria-pressed": String(Boolean(on)), "aria-label": `${t("why.this")} ${text}`, "data-key": `why ${view.model.name} ${output.name} ${aim}`,
  });
}

const was = (text) => h("span", { class: "was" }, t("answer.was", { value: text }));

const FORMS = {
  probability(view, output, own, place, before) {
    const value = own.values[place];
    if (value === null || value === undefined) return nothing(view);
    const old = before ? before.own.values[before.place] : null;
    return h(
      "div",
      { class: "row" },
      h("span", { class: "what" }, bar(value, 1, old)),
      h("strong", {}, percent(value)),
      why(view, output, "", called(output)),
      old === null || old === undefined ? null : h("span", { class: `under ${value < old ? "lowers" : "raises"}` }, was(percent(old)), " ", points(value - old)),
    );
  },

  classes(view, output, own, place, before) {
    const values = own.values[place];
    if (!values) return nothing(view);
    const old = before ? before.own.values[before.place] : null;
    return own.names
      .map((name, index) => [name, values[index], old?.[index]])
      .sort((a, b) => b[1] - a[1])
      .filter(([, value], index) => index < 3 || value >= 0.0005)
      .map(([name, value, earlier]) =>
        h(
          "div",
          { class: "row" },
          h("span", { class: "what" }, h("span", {}, action(name)), bar(value, 1, earlier)),
          h("strong", {}, percent(value)),
          why(view, output, name, `${called(output)} ${action(name)}`),
          earlier === null || earlier === undefined ? null : h("span", { class: `under ${value < earlier ? "lowers" : "raises"}` }, was(percent(earlier))),
        ),
      );
  },

  amount(view, output, own, place, before) {
    const values = own.values[place];
    if (!values) return nothing(view);
    const [expected, low, , high] = values;
    const old = before ? before.own.values[before.place]?.[0] : null;
    return h(
      "div",
      { class: "row" },
      h("span", { class: "what soft" }, t("answer.range", { low: figure(low), high: figure(high) })),
      h("strong", {}, figure(expected)),
      why(view, output, "", called(output)),
      old === null || old === undefined ? null : h("span", { class: `under ${expected < old ? "lowers" : "raises"}` }, was(figure(old)), " ", signed(expected - old, false)),
    );
  },

  ranking(view, output, own, place, before) {
    const top = own.top[place] || [];
    const about = view.now.items;
    const earlier = new Map((before?.own.top[before.place] || []).map(([item, value], index) => [item, { index, value }]));
    const most = top[0]?.[1] || 1;
    const target = view.question?.output === output.name ? view.question.target : null;
    const next = view.rows.slice(view.cursor + 1).find((row) => !row.removed)?.step.item;
    return [
      own.fallback[place] ? h("p", { class: "soft small" }, t(view.rows.some((row) => !row.removed) ? "answer.fallback" : "answer.popular")) : null,
      h(
        "ol",
        { class: "ranked" },
        top.map(([item, value], index) => {
          const [old, title] = [earlier.get(item), named({ ...about[item], item })];
          const moved = !before ? null : old === undefined ? "new" : old.index - index;
          return h(
            "li",
            { class: [item === target ? "asked" : "", item === next ? "next" : ""].join(" ") },
            h("span", { class: "place" }, number(index + 1)),
            h(
              "span",
              { class: "what" },
              h("span", {}, h("b", {}, title), " ", h("span", { class: "about" }, [about[item]?.name ? named({ item }) : null, words({ ...about[item], name: null }), about[item]?.price === null || about[item]?.price === undefined ? null : money(about[item].price)].filter(Boolean).join(" · ")), item === next ? h("em", { class: "state" }, t("answer.next")) : null),
              bar(value, most, old ? old.value : null),
            ),
            h(
              "span",
              { class: "numbers" },
              h("strong", {}, percent(value)),
              moved === null || moved === 0 ? null : h("span", { class: `moved ${moved === "new" || moved > 0 ? "raises" : "lowers"}` }, moved === "new" ? t("answer.new") : `${moved > 0 ? "▲" : "▼"} ${Math.abs(moved)}`),
            ),
            own.fallback[place] ? null : why(view, output, item, title),
          );
        }),
      ),
      h(
        "label",
        { class: "check" },
        h("input", { type: "checkbox", checked: !view.seen, "data-key": `seen ${view.model.name} ${output.name}`, onchange: (event) => ((view.seen = !event.target.checked), view.answer()) }),
        t("answer.seen"),
      ),
    ];
  },
};
