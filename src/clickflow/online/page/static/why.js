// Why the answer is what it is: what mattered, what each feature adds, and the nearest change that gives another answer.

import { Problem } from "./api.js";
import { asTable, effect } from "./charts.js";
import { h, named, swap } from "./dom.js";
import { featureName } from "./features.js";
import { button } from "./parts.js";
import { isAmount, points, questionText, shown } from "./subject.js";
import { action, current, figure, number as fixed, percent, rough, signed, t } from "./strings.js";

const MOST = 4;
const TOLD = 6;

export function why(section, view) {
  const { question, now } = view;
  if (!question || !now || !view.why) return void swap(section);
  const head = h("h2", { id: "whyhead" }, t("why"), " ", h("span", { class: "soft" }, questionText(view)));
  if (view.why === "wait") return void swap(section, head, h("p", { class: "soft loading" }, t("why.wait")));
  if (view.why instanceof Problem) {
    const gone = view.why.status === 404 || view.why.status === 405;
    return void swap(section, head, h("p", { class: "soft" }, gone ? t("why.not") : view.why.detail || view.why.message));
  }
  const said = view.why;
  swap(
    section,
    head,
    said.contributions ? features(view, said) : steps(view, said),
    change(view, said),
    alone(said),
    alike(said),
    h("p", { class: "soft small" }, said.sentences[current()].at(-1)),
  );
}

const name = (view, said, place) => {
  const row = view.rows.find((each) => each.key === said.rows[place]);
  return row ? `${action(row.step.action)} ${named(row.step)}` : "";
};

const numberOf = (view, said, place) => {
  const at = view.rows.findIndex((each) => each.key === said.rows[place]);
  return view.rows.slice(0, at + 1).filter((row) => !row.removed).length;
};

const together = (view, said, places) => {
  const last = places.slice(-TOLD).map((place) => numberOf(view, said, place));
  return t("why.together", { steps: `${places.length > TOLD ? "… " : ""}${last.join(", ")}` });
};

const difference = (view, value) => (isAmount(view.question) ? signed(value, false) : points(value));

function steps(view, said) {
  const large = said.effects.map((each) => ({ ...each, by: said.answer - each.without })).filter((each) => Math.abs(each.by) >= (isAmount(view.question) ? 0.005 : 0.0005)).sort((a, b) => Math.abs(b.by) - Math.abs(a.by)).slice(0, MOST);
  if (!large.length) return h("p", {}, t("why.nothing"));
  const most = Math.max(...large.map((each) => Math.abs(each.by)));
  return h(
    "ul",
    { class: "reasons" },
    large.map((each) =>
      h(
        "li",
        { title: t("why.without", { value: shown(view.question, each.without) }) },
        h("span", { class: "of" }, each.what === "step" ? numberOf(view, said, each.steps[0]) : null),
        h("span", { class: "what" }, each.what === "earlier" ? t("why.earlier") : each.what === "step" ? name(view, said, each.steps[0]) : `${each.name || each.item ? named(each) : action(each.action)} (${together(view, said, each.steps)})`),
        effect(each.by, most),
        h("span", { class: each.by < 0 ? "lowers" : "raises" }, difference(view, each.by)),
        h("span", { class: "soft without" }, t("why.without", { value: shown(view.question, each.without) })),
      ),
    ),
  );
}

function features(view, said) {
  const { typical, features: all } = said.contributions;
  const most = Math.max(...all.map((each) => Math.abs(each.effect)), 1e-9);
  const rows = all.slice(0, 8);
  const number = (value) => (value === null ? "–" : rough(value));
  const changed = (value) => (said.unit === "amount" ? signed(value, false) : `× ${fixed(Math.exp(value), 2)}`);
  return [
    h(
      "ul",
      { class: "reasons features" },
      rows.map((each) =>
        h(
          "li",
          {},
          h("span", { class: "what" }, featureName(each), " ", h("b", {}, number(each.value)), h("span", { class: "soft" }, ` ${t("why.usual").toLowerCase()} ${number(each.typical)}`)),
          effect(each.effect, most),
          h("span", { class: each.effect < 0 ? "lowers" : "raises" }, changed(each.effect)),
        ),
      ),
    ),
    h("p", { class: "soft small" }, `${t("why.typical")}: ${shown(view.question, typical)}`),
    asTable(
      t("why"),
      [t("why.feature"), t("why.value"), t("why.usual"), t("why.effect")],
      all.map((each) => [featureName(each), number(each.value), number(each.typical), changed(each.effect)]),
    ),
  ];
}

/** What the answer then is; of several that are possible, what becomes of the one that is asked about too. */
function then(view, nearest, after) {
  if (nearest.after in ASWELL) return [t("change.then", { after }), t("comma")];
  const { kind, target } = view.question;
  return [t("change.then.other", { after, what: kind === "classes" ? action(target) : named({ ...view.now.items[target], item: target }) }), " "];
}

const ASWELL = { above: "change.above", below: "change.below" };

function change(view, said) {
  const { change: nearest, tried, why_not } = said.search;
  const head = h("h3", {}, t("change"));
  if (!nearest) return h("div", { class: "nearest" }, head, h("p", { class: "soft" }, why_not === "no_threshold" ? t("change.no.threshold") : t("change.none", { n: tried })));
  const after = nearest.after in ASWELL ? t(isAmount(view.question) ? `${ASWELL[nearest.after]}.amount` : ASWELL[nearest.after], { n: figure(said.threshold ?? 0) }) : said.kind === "classes" ? action(nearest.after) : named({ item: nearest.after });
  const words = nearest.edits.map((edit) =>
    t(`change.${edit.what}`, {
      step: String(edit.what === "add" ? "" : numberOf(view, said, edit.step)),
      what: `${action(edit.action)} ${named(edit)}`,
      to: action(edit.to || edit.action),
      item: named(edit),
    }),
  );
  return h(
    "div",
    { class: "nearest" },
    head,
    h(
      "p",
      {},
      words.join(t("comma")), t("colon"), then(view, nearest, after), h("b", {}, shown(view.question, nearest.value)), " ",
      button(t("change.try"), () => view.carryOut(nearest.edits), { "data-key": "try", class: "small" }),
    ),
  );
}

function alike(said) {
  const neighbours = (said.neighbours || []).slice(0, MOST);
  return neighbours.length ? h("p", { class: "small" }, `${t("why.alike")}: `, neighbours.map(named).join(" · ")) : null;
}

function alone(said) {
  const best = (said.associated || [])[0];
  if (!best) return null;
  const values = { item: named(best), p: percent(best.alone), lift: figure(best.lift) };
  return h("p", { class: "small" }, t("why.alone", values));
}
