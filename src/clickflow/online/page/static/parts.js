// What every view uses: faults with what to do next, sentences with commands in them, buttons.

import { Problem } from "./api.js";
import { h } from "./dom.js";
import { t } from "./strings.js";

/** A sentence in which `…` is code. */
export const sentence = (text) => text.split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));

/** Nothing is here: why, and what to do. */
export const empty = (what, next) => h("div", { class: "empty" }, h("p", {}, what), next ? h("p", { class: "soft" }, sentence(next)) : null);

export const loading = () => h("p", { class: "soft loading" }, t("loading"));

/** What went wrong, with the server's words, and a button that tries again. */
export function fault(problem, again) {
  if (!(problem instanceof Problem)) throw problem;
  if (problem.status === 401) return h("div", { class: "empty" }, h("p", {}, t("fault.key")));
  const what = problem.status === 403 ? t("fault.scope") : problem.down ? t("down") : problem.message || t("fault");
  return h(
    "div",
    { class: "empty" },
    h("p", {}, what),
    problem.detail ? h("p", { class: "soft" }, sentence(problem.detail)) : null,
    problem.next ? h("p", { class: "soft" }, sentence(problem.next)) : null,
    again ? h("p", {}, h("button", { type: "button", onclick: again, "data-key": "again" }, t("fault.again"))) : null,
  );
}

export const button = (text, onclick, props) => h("button", { type: "button", onclick, ...props }, text);

/** A choice of few, of which one holds. */
export function choice({ label, options, value, onchoose, key }) {
  return h(
    "label",
    { class: "choice" },
    h("span", {}, label),
    h(
      "select",
      { "data-key": key || label, onchange: (event) => onchoose(event.target.value) },
      options.map(([name, text]) => h("option", { value: name, selected: name === value }, text)),
    ),
  );
}

/** A pseudonym, cut short; whole for who hovers or reads aloud. */
export const brief = (id) => h("span", { class: "id", title: id }, id.length > 13 ? `${id.slice(0, 12)}…` : id);
