// An item is found by typing: a combobox with a list of choices, all of it by keyboard too.

import { get } from "./api.js";
import { debounced, h, named } from "./dom.js";
import { money, t } from "./strings.js";

let boxes = 0;

/** Name, brand and category of an item, the last part of its path; what there is. */
export const words = (about) =>
  [about?.name, about?.brand, (about?.category || "").split(".").pop()].filter(Boolean).map((name) => named({ name })).join(" · ");

/** `onchoose` is told {item, name, brand, category, price}. */
export function itemBox({ model, label, value, onchoose }) {
  const id = `box${boxes++}`;
  let choices = [];
  let active = -1;
  const list = h("ul", { id, role: "listbox", class: "choices", "aria-label": label, hidden: true });
  const input = h("input", {
    type: "text", role: "combobox", "aria-expanded": "false", "aria-controls": id, "aria-autocomplete": "list",
    autocomplete: "off", spellcheck: "false", placeholder: t("edit.search"), "aria-label": label, value, "data-key": label,
  });
  const mark = (place) => {
    active = place;
    [...list.children].forEach((each, index) => each.setAttribute("aria-selected", String(index === active)));
    const chosen = list.children[active];
    if (chosen?.id) input.setAttribute("aria-activedescendant", chosen.id);
    else input.removeAttribute("aria-activedescendant");
    chosen?.scrollIntoView({ block: "nearest" });
  };
  const shut = () => {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    mark(-1);
  };
  const take = (place) => {
    if (!choices[place]) return;
    shut();
    input.value = choices[place].item;
    onchoose(choices[place]);
  };
  const look = debounced(150, async () => {
    try {
      choices = (await get("console/items", { model, q: input.value.trim(), limit: 12 })).items;
    } catch {
      return shut(); // the notice says that the server is away
    }
    if (document.activeElement !== input) return;
    list.replaceChildren(
      ...(choices.length
        ? choices.map((each, index) =>
            h(
              "li",
              { role: "option", id: `${id}-${index}`, "aria-selected": "false", onmousedown: (event) => (event.preventDefault(), take(index)) },
              h("b", {}, named({ item: each.item })), " ", h("span", {}, words(each)),
              each.price === null ? null : h("span", { class: "price" }, money(each.price)),
            ),
          )
        : [h("li", { role: "option", "aria-selected": "false", "aria-disabled": "true" }, t("edit.none"))]),
    );
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark(choices.length && input.value.trim() ? 0 : -1);
  });
  input.addEventListener("input", look);
  input.addEventListener("focus", () => (input.select(), look()));
  input.addEventListener("blur", shut);
  input.addEventListener("keydown", (event) => {
    const open = !list.hidden;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      event.stopPropagation();
      if (!open) return look();
      const step = event.key === "ArrowDown" ? 1 : -1;
      mark((active + step + choices.length) % Math.max(1, choices.length));
    } else if (event.key === "Enter" && open && active >= 0) {
      event.preventDefault();
      take(active);
    } else if (event.key === "Escape" && open) {
      event.stopPropagation();
      shut();
    }
  });
  return h("div", { class: "box" }, input, list);
}
