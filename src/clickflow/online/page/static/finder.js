// Who can be looked at: the latest, or those whose id or pseudonym begins so.

import { get, Problem } from "./api.js";
import { debounced, h, link, speak, swap } from "./dom.js";
import { brief, empty, fault, loading } from "./parts.js";
import { action, local, minute, t } from "./strings.js";

const MOST = 40;

let last = { unit: null, q: "" };

export function finder(unit, chosen) {
  if (last.unit !== unit) last = { unit, q: "" };
  const list = h("div", { class: "found" }, loading());
  let abort = null;
  let entered = false; // Enter opens who alone is found
  const look = async () => {
    abort?.abort();
    abort = new AbortController();
    const { q } = last;
    try {
      const { subjects, note } = await get("console/subjects", { unit, q, limit: MOST }, abort.signal);
      swap(
        list,
        q ? null : link(`${unit}/new`, t("find.new"), { class: "new", "data-key": "new" }),
        h("h2", {}, t(q ? "find.found" : "find.latest")),
        note ? h("p", { class: "note" }, local(note)) : null,
        subjects.length
          ? h("ol", {}, subjects.map((each) => h("li", {}, entry(each, chosen))))
          : q
            ? empty(t("find.none"), t("find.none.next"))
            : empty(t("find.empty"), t("find.empty.next")),
      );
      if (q) speak(`${t("find.found")}: ${subjects.length}`);
      if (q && entered && subjects.length === 1) location.hash = `#/${subjects[0].unit}/${encodeURIComponent(subjects[0].id)}`;
    } catch (problem) {
      if (problem.name === "AbortError") return;
      if (!(problem instanceof Problem)) throw problem;
      swap(list, fault(problem, look));
    }
  };
  const soon = debounced(200, look);
  const search = h("input", {
    type: "search", id: "find", value: last.q, placeholder: t("find.hint"), autocomplete: "off", spellcheck: "false",
    oninput: (event) => {
      last.q = event.target.value.trim();
      entered = false;
      soon();
    },
  });
  look();
  return h(
    "aside",
    { class: "finder", "aria-label": t(`find.${unit}`) },
    h("form", { role: "search", onsubmit: (event) => (event.preventDefault(), (entered = true), look()) }, h("label", { for: "find" }, t(`find.${unit}`)), search),
    list,
  );
}

function entry(each, chosen) {
  const here = each.id === chosen;
  return link(
    `${each.unit}/${encodeURIComponent(each.id)}`,
    [
      h("span", { class: "first" }, brief(each.id), each.source === "live" ? h("span", { class: "live" }, t("source.live")) : null, h("span", { class: "count" }, t("steps", { n: each.steps }))),
      h("span", { class: "second" }, each.last_action ? action(each.last_action) : null, each.last ? h("time", { datetime: new Date(each.last / 1000).toISOString() }, minute(each.last)) : null),
    ],
    { "aria-current": here ? "page" : null, "data-key": each.id },
  );
}
