// Charts in SVG, drawn by hand: labels stand at their lines, and each has its numbers as a table beside it.

import { h, s } from "./dom.js";
import { t } from "./strings.js";

const round = (value) => Math.round(value * 10) / 10;

/** A round number at or above `value`, for the end of an axis. */
function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((each) => each * power).find((each) => each >= value - 1e-12);
}

/** Places of labels that do not cover each other: as near as may be to `wanted`, at least `gap` apart, within `high`. */
function apart(wanted, gap, high) {
  const order = wanted.map((y, index) => ({ y, index })).sort((a, b) => a.y - b.y);
  for (let pass = 0; pass < 3; pass++) {
    for (let k = 1; k < order.length; k++) order[k].y = Math.max(order[k].y, order[k - 1].y + gap);
    const over = order.length ? order[order.length - 1].y - high : 0;
    if (over > 0) order[order.length - 1].y = high;
    for (let k = order.length - 2; k >= 0; k--) order[k].y = Math.min(order[k].y, order[k + 1].y - gap);
  }
  const places = [];
  for (const { y, index } of order) places[index] = y;
  return places;
}


/** Drawn over gaps: a step that is only in one of two histories does not break the line of the other. */
const joined = (values, x, y) =>
  values
    .map((value, index) => [index, value])
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([index, value], n) => `${n ? "L" : "M"}${round(x(index))} ${round(y(value))}`)
    .join("");

const last = (values) => values.reduce((place, value, index) => (value === null || value === undefined ? place : index), -1);

/**
 * Lines over steps. `series`: [{name, values, strong, quiet: not named at its end, before, band: [low[], high[]]}], `format` of a value,
 * `labels` of the steps; `selected` is a place, `onselect` is told another one; `most` the least end of the axis.
 * `marks` of the steps: {kind, text}, kind `cart` and `purchase` drawn large. `effects`: {label, values}, a bar a step
 * below it, on the same places.
 */
export function lines({ series, labels, format, selected = null, onselect, title, height = 170, most = 0, marks = [], effects = null }) {
  const figure = h("figure", { class: "chart" });
  const n = labels.length;
  const names = series.map((each) => each.name).join(", ");
  const draw = (width) => {
    const small = width < 460;
    const shown = series.filter((each) => last(each.values) >= 0);
    const named = shown.filter((each) => !each.quiet);
    const longest = named.length > 1 ? Math.max(...named.map((each) => breadth(each.name))) : 0;
    const right = Math.min(small ? 124 : 180, 56 + 6.8 * longest);
    const whole = height + (effects ? STRIP : 0);
    const [left, top, bottom] = [40, 12, 22];
    const all = series.flatMap((each) => [...each.values, ...(each.before || []), ...(each.band ? each.band[1] : [])]);
    const end = Math.max(most, ceiling(Math.max(0, ...all.filter((value) => value !== null && value !== undefined))));
    const x = (index) => left + (n < 2 ? 0.5 : index / (n - 1)) * (width - left - right);
    const y = (value) => top + (1 - Math.min(value, end) / end) * (height - top - bottom);
    const svg = s("svg", { viewBox: `0 0 ${width} ${whole}`, width, height: whole, role: "img", "aria-label": `${title}: ${names}` });
    for (const tick of [0, end / 2, end]) {
      svg.append(
        s("line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }),
        s("text", { class: "tick", x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, format(tick, true)),
      );
    }
    const apiece = Math.max(34, 14 + 6 * Math.max(...labels.map(breadth)));
    const every = Math.max(1, Math.ceil(n / Math.max(2, Math.floor((width - left - right) / apiece))));
    labels.forEach((label, index) => {
      if (index % every === 0 || index === n - 1) {
        if (index !== n - 1 && n - 1 - index < every) return;
        svg.append(s("text", { class: "tick", x: x(index), y: height - 6, "text-anchor": "middle" }, label));
      }
    });
    if (selected !== null && selected >= 0 && selected < n)
      svg.append(s("line", { class: "guide", x1: x(selected), x2: x(selected), y1: top - 6, y2: height - bottom }));
    if (effects) strip(svg, effects, x, n, { left, right: width - right, at: height });
    for (const each of shown) {
      if (each.band) {
        const [low, high] = each.band;
        const there = low.map((value, index) => [index, value, high[index]]).filter(([, a]) => a !== null && a !== undefined);
        const outline = [...there.map(([index, , b]) => [index, b]), ...there.reverse().map(([index, a]) => [index, a])];
        svg.append(s("path", { class: "band", d: `M${outline.map(([i, v]) => `${round(x(i))} ${round(y(v))}`).join("L")}Z` }));
      }
      if (each.before) svg.append(s("path", { class: "before", d: joined(each.before, x, y) }));
      svg.append(s("path", { class: each.strong ? "line strong" : "line", d: joined(each.values, x, y) }));
      if (each.strong)
        each.values.forEach((value, index) => {
          const plain = !["cart", "purchase"].includes(marks[index]?.kind);
          if (!(plain && n > 40) && value !== null && value !== undefined) svg.append(point(x(index), y(value), marks[index], labels[index], format(value)));
        });
      const here = selected === null ? null : each.values[selected];
      if (here !== null && here !== undefined)
        svg.append(s("circle", { class: each.strong ? "here strong" : "here", cx: x(selected), cy: y(here), r: each.strong ? 5 : 3 }));
    }
    const ends = named.map((each) => ({ ...each, at: last(each.values) })).sort((a, b) => b.strong - a.strong || b.values[b.at] - a.values[a.at]).slice(0, LABELS);
    const places = apart(ends.map((each) => y(each.values[each.at]) + 4), 14, height - bottom + 4);
    ends.forEach((each, index) =>
      svg.append(
        s(
          "text",
          { class: each.strong ? "label strong" : "label", x: width - right + 10, y: places[index] },
          s("tspan", { class: "value" }, format(each.values[each.at])),
          named.length > 1 ? ` ${each.name}` : "",
        ),
      ),
    );
    if (onselect)
      svg.addEventListener("click", (event) => {
        const at = ((event.clientX - svg.getBoundingClientRect().left) / svg.getBoundingClientRect().width) * width;
        const share = (at - left) / (width - left - right);
        onselect(Math.max(0, Math.min(n - 1, Math.round(share * (n - 1)))));
      });
    figure.querySelector("svg")?.remove();
    figure.prepend(svg);
  };
  figure.append(
    asTable(
      title,
      [t("chart.step"), ...series.flatMap((each) => (each.before ? [each.name, `${each.name}, ${t("chart.before")}`] : [each.name]))],
      labels.map((label, index) => [
        label,
        ...series.flatMap((each) =>
          [each.values, ...(each.before ? [each.before] : [])].map((values) =>
            values[index] === null || values[index] === undefined ? "–" : format(values[index]),
          ),
        ),
      ]),
    ),
  );
  wide(figure, draw);
  return figure;
}

const STRIP = 62;
const LABELS = 7;

/** How broad a word is, in latin letters. */
const breadth = (text) => [...text].reduce((sum, letter) => sum + (letter > "\u2e7f" ? 1.85 : 1), 0);

/** A step on the line: what was put in the cart is a ring, what was bought a diamond. */
function point(x, y, mark, label, value) {
  const title = s("title", {}, [label, mark?.text, value].filter(Boolean).join(" · "));
  if (mark?.kind === "purchase") return s("path", { class: "dot purchase", d: `M${round(x)} ${round(y - 6.5)}l6.5 6.5l-6.5 6.5l-6.5 -6.5Z` }, title);
  if (mark?.kind === "cart") return s("circle", { class: "dot cart", cx: x, cy: y, r: 4.5 }, title);
  return s("circle", { class: "dot", cx: x, cy: y, r: 2.5 }, title);
}

/** A bar a step: up for what raises, down for what lowers. */
function strip(svg, { label, values, least }, x, n, { left, right, at }) {
  const middle = at + 38;
  const most = Math.max(least, ...values.map((value) => Math.abs(value ?? 0)));
  const wide = Math.max(2, Math.min(16, (0.62 * (right - left)) / Math.max(n - 1, 1)));
  svg.append(
    s("text", { class: "tick", x: left, y: at + 11 }, label),
    s("line", { class: "grid", x1: left - wide / 2, x2: right + wide / 2, y1: middle, y2: middle }),
  );
  values.forEach((value, index) => {
    const size = (21 * Math.abs(value ?? 0)) / most;
    if (size < 0.4) return;
    svg.append(s("rect", { class: value < 0 ? "lowers" : "raises", x: round(x(index) - wide / 2), y: round(value < 0 ? middle : middle - size), width: round(wide), height: round(size), rx: 1 }));
  });
}

/** Draw now, where the width is known, and again whenever it changes. */
function wide(figure, draw) {
  let known = 0;
  new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width > 0 && width !== known) {
      known = width;
      draw(width);
    }
  }).observe(figure);
}

const opened = new Set();

/** The same numbers for whoever does not see the chart, or wants them. */
export function asTable(title, heads, rows) {
  const details = h("details", { class: "numbers", open: opened.has(title) }, h("summary", { "data-key": `table ${title}` }, t("table")));
  details.addEventListener(
    "toggle",
    () => {
      if (details.open) opened.add(title);
      else opened.delete(title);
      if (details.open && details.children.length === 1) details.append(
        h(
          "div",
          { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
          h(
            "table",
            {},
            h("caption", { class: "unseen" }, title),
            h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
            h(
              "tbody",
              {},
              rows.map(([first, ...cells]) => h("tr", {}, h("th", { scope: "row" }, first), cells.map((cell) => h("td", {}, cell)))),
            ),
          ),
        ),
      );
    },
  );
  return details;
}

/** A bar that says how much of `most` a value is, of an earlier value a mark. */
export function bar(value, most, before = null) {
  const share = (each) => `${round(100 * Math.max(0, Math.min(1, most ? each / most : 0)))}%`;
  return h(
    "span",
    { class: "bar", "aria-hidden": "true", vars: { size: share(value ?? 0) } },
    before === null || before === undefined ? null : h("i", { vars: { at: share(before) } }),
  );
}

/** A bar to the right of a middle for what raises, to the left for what lowers. */
export function effect(value, most) {
  const size = most ? Math.min(1, Math.abs(value) / most) : 0;
  return h("span", { class: `effect ${value < 0 ? "lowers" : "raises"}`, "aria-hidden": "true", vars: { size: `${round(50 * size)}%` } });
}

/** Where an interval, what was seen and a bound lie: {low, high, observed, bound} from 0 to 100. */
export function interval(line, label) {
  const x = (value) => 4 + 0.92 * value * 1.2;
  return s(
    "svg",
    { class: "interval", viewBox: "0 0 120 18", width: 120, height: 18, role: "img", "aria-label": label },
    s("line", { class: "span", x1: x(line.low), x2: x(line.high), y1: 9, y2: 9 }),
    s("line", { class: "bound", x1: x(line.bound), x2: x(line.bound), y1: 1, y2: 17 }),
    s("circle", { class: "seen", cx: x(line.observed), cy: 9, r: 3.5 }),
  );
}
