// The history, a row a step, the newest first: what was done, what it changes, what was expected; the chosen step can be changed.

import { effect } from "./charts.js";
import { itemBox, words } from "./combobox.js";
import { h, named, swap } from "./dom.js";
import { button, choice } from "./parts.js";
import { effects, isAmount, shown, track } from "./subject.js";
import { action, clock, figure, money, number, shortDay, signed, t } from "./strings.js";

const inNow = (row) => !row.removed;

export function timeline(section, view) {
  const list = h("ol", { class: "steps", reversed: true, onkeydown: (event) => keys(event, view) });
  const before = h("div", { class: "earlier" });
  swap(section, h("h2", { id: "historyhead" }, t("history")), heads(), list, before);
  let cells = [];

  const draw = () => {
    const from = Math.min(view.shownFrom, Math.max(0, view.rows.length - 1));
    swap(before, from > 0 ? button(t("history.earlier", { n: from }), () => ((view.shownFrom = 0), draw(), paint()), { "data-key": "earlier" }) : null);
    cells = [];
    let place = view.rows.slice(0, from).filter(inNow).length;
    const lines = view.rows.slice(from).map((row, offset) => {
      const index = from + offset;
      if (inNow(row)) place += 1;
      const own = row.step.time ? shortDay(row.step.time) : "";
      const next = view.rows[index + 1]?.step.time;
      const line = step(view, row, index, inNow(row) ? place : 0, !next || shortDay(next) !== own ? own : "");
      cells.push({ ...line, row, index });
      return line.node;
    });
    swap(list, lines.length ? lines.reverse() : h("li", { class: "none" }, h("p", {}, t("empty.history")), button(t("edit.first"), () => view.add(-1), { "data-key": "add" })));
    paint();
  };

  /** The numbers of the rows as they are; nothing that can be focused is made anew. */
  const paint = () => {
    const said = view.why && view.why.rows ? view.why : null;
    const single = new Map(said ? effects(said) : []);
    const most = Math.max(...[...single.values()].map(Math.abs), view.question && isAmount(view.question) ? 0 : 0.02);
    for (const { row, index, bar, change, after, rank } of cells) {
      const value = single.get(row.key);
      swap(bar, value === undefined ? null : effect(value, most));
      change.textContent = value === undefined ? "" : signed(value, !isAmount(view.question));
      change.className = `change ${value < 0 ? "lowers" : "raises"}`;
      const here = view.now && view.question && inNow(row) ? view.place(view.now, index) : -1;
      after.textContent = here < 0 ? "" : shown(view.question, track(view.now, view.question)[here]);
      const ranked = view.now && rankOf(view, index);
      rank.textContent = ranked ? t("rank", { n: ranked }) : "";
      rank.title = ranked ? t("rank.what", { n: ranked, of: number(view.model.items) }) : "";
      rank.classList.toggle("hit", Boolean(ranked) && ranked <= 20);
    }
  };
  return { draw, paint };
}

/** At which place the model had the item of a row before its step. */
function rankOf(view, index) {
  const row = view.rows[index];
  const output = view.model.outputs.find((each) => each.kind === "ranking");
  if (!output || !inNow(row)) return null;
  const before = view.place(view.now, view.rows.slice(0, index).findLastIndex(inNow));
  return before < 0 ? null : view.now.outputs[output.name].rank[before];
}

const heads = () =>
  h(
    "div",
    { class: "heads", "aria-hidden": "true" },
    ["step", "time", "action", "item", "effect", "after", "rank"].map((name) => h("span", { class: name }, t(`col.${name}`))),
  );

function step(view, row, index, place, day) {
  const { step: own, was } = row;
  const chosen = index === view.cursor;
  const state = row.removed ? "removed" : was === null ? "added" : own !== was ? "changed" : "";
  const about = words(own);
  const [bar, change, after, rank] = ["effectbar", "change", "after", "rank"].map((name) => h("span", { class: name }));
  const select = h(
    "button",
    {
      type: "button", class: "select", "data-key": `row ${row.key}`, tabindex: chosen || (view.cursor < 0 && index === 0) ? "0" : "-1",
      "aria-current": chosen ? "step" : null, onclick: () => view.select(index),
      "aria-label": t("step.select", { n: place || "×", action: action(own.action), item: named(own) }) + (state ? `, ${t(state)}` : ""),
    },
    place ? String(place) : "×",
  );
  const node = h(
    "li",
    { class: ["step", chosen ? "chosen" : "", state].join(" "), onclick: (event) => event.target.closest("button, input, select, .edit") || view.select(index) },
    h(
      "div",
      { class: "line" },
      h("span", { class: "number" }, select),
      h("span", { class: "time" }, day ? h("span", { class: "day" }, day) : null, own.time ? clock(own.time) : ""),
      h("span", { class: `action is-${own.action}` }, action(own.action)),
      h(
        "span",
        { class: "item" },
        h("b", {}, named(own)),
        h(
          "span",
          { class: "about" },
          [own.name ? named({ item: own.item }) : null, words({ ...own, name: null }), own.price === null || own.price === undefined ? null : money(own.price), own.quantity > 1 ? `× ${figure(own.quantity)}` : null]
            .filter(Boolean)
            .join(" · "),
        ),
        state ? h("em", { class: "state" }, t(state)) : null,
        own.known === false ? h("em", { class: "state" }, t("unknown")) : null,
      ),
      bar, change, after, rank,
    ),
    chosen ? editor(view, row, index, place, about) : null,
  );
  return { node, bar, change, after, rank };
}

/** What can be changed of the chosen step. */
function editor(view, row, index, place) {
  const { step: own } = row;
  const change = (words, fields) => view.edit(() => (row.step = { ...own, ...fields }), words);
  const actions = view.model.actions.includes(own.action) ? view.model.actions : [own.action, ...view.model.actions];
  return h(
    "div",
    { class: "edit", role: "group", "aria-label": t("edit.of", { n: place || "×" }) },
    row.removed
      ? button(t("edit.back"), () => view.edit(() => (row.removed = false), t("edit.back")), { "data-key": "back" })
      : [
          choice({ label: t("edit.action"), key: "action", value: own.action, options: actions.map((name) => [name, action(name)]), onchoose: (name) => change(t("changed"), { action: name }) }),
          h(
            "div",
            { class: "choice" },
            h("span", { "aria-hidden": "true" }, t("edit.item")),
            itemBox({ model: view.model.name, label: t("edit.item"), value: own.item, onchoose: (choice) => change(t("changed"), { ...choice, unsaid: ["category", "price"], known: true }) }),
          ),
          button(
            t("edit.remove"),
            () =>
              view.edit(() => {
                if (row.was === null) {
                  view.rows.splice(index, 1);
                  view.cursor = Math.max(Math.min(view.cursor, view.rows.length - 1), view.rows.length ? 0 : -1);
                } else row.removed = true;
              }, t("removed")),
            { "data-key": "remove" },
          ),
        ],
    button(t("edit.add"), () => view.add(index), { "data-key": "add" }),
  );
}

/** Arrows go from step to step; the newest stands first. */
function keys(event, view) {
  const step = { ArrowDown: -1, ArrowUp: 1, Home: Infinity, End: -Infinity }[event.key];
  if (!step || !event.target.classList.contains("select")) return;
  event.preventDefault();
  const least = view.shownFrom;
  view.select(Math.max(least, Math.min(view.rows.length - 1, view.cursor + step)));
  event.currentTarget.querySelector(".step.chosen .select")?.focus();
}
