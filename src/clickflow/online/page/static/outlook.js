// What lies ahead of the shop: segments of customers, and demand with bands.

import { get, Problem } from "./api.js";
import { bar, lines } from "./charts.js";
import { debounced, h, swap } from "./dom.js";
import { button, empty, fault, loading } from "./parts.js";
import { current, day, figure, money, number, percent, share, shortDay, t } from "./strings.js";

export function outlook(main, alive) {
  const segments = h("section", { class: "segments", "aria-labelledby": "segments" });
  const forecasts = h("section", { class: "forecasts", "aria-labelledby": "forecasts" });
  swap(main, h("div", { class: "plain" }, h("h1", { class: "unseen" }, t("nav.outlook")), segments, forecasts));
  part(segments, "segments", "console/segments", drawSegments, alive);
  part(forecasts, "forecasts", "console/forecasts", drawForecasts, alive);
}

async function part(section, name, path, draw, alive) {
  const head = h("h2", { id: name }, t(name));
  swap(section, head, loading());
  try {
    const found = await get(path);
    if (!alive()) return;
    if (found.missing) swap(section, head, empty(t(`${name}.none`), t(`${name}.next`)));
    else draw(section, head, found);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (alive()) swap(section, head, fault(problem, () => part(section, name, path, draw, alive)));
  }
}

const twice = (value) => number(value, 2);

const spanned = (value, form) =>
  !value || value.value === null ? "–" : h("span", {}, form(value.value), value.low === null ? null : h("span", { class: "soft" }, ` ${form(value.low)}–${form(value.high)}`));

function drawSegments(section, head, found) {
  const most = Math.max(...found.segments.map((each) => each.share));
  const names = ["segments.name", "segments.size", "segments.back", "segments.value", "segments.lift", "segments.what"];
  swap(
    section,
    head,
    h("p", { class: "soft" }, t("segments.as.of", { n: found.customers, day: day(found.as_of) })),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": t("segments") },
      h(
        "table",
        { class: "wide" },
        h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, t(name, { n: found.horizon_days }))))),
        h(
          "tbody",
          {},
          found.segments.map((each) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, each.name[current()] || each.name.en),
              h("td", { class: "num" }, number(each.customers), " ", h("span", { class: "soft" }, share(each.share)), bar(each.share, most)),
              h("td", { class: "num" }, spanned(each.came_back, share)),
              h("td", { class: "num" }, spanned(each.value, money)),
              h("td", { class: "num" }, spanned(each.lift, twice)),
              h("td", { class: "text" }, each.traits.map((trait) => trait.words[current()] || trait.words.en).join("; ") || "–"),
            ),
          ),
        ),
      ),
    ),
  );
}

function drawForecasts(section, head, found) {
  let chosen = found.series[0]?.id;
  let q = "";
  const list = h("div", { class: "serieslist" });
  const pane = h("div", { class: "seriespane" });
  const drawList = async () => {
    const { series } = q ? await get("console/forecasts", { q }) : found;
    swap(
      list,
      h(
        "ol",
        { class: "ranked" },
        series.map((each) =>
          h(
            "li",
            {},
            button([h("span", { class: "what" }, each.id), h("strong", {}, figure(each.expected))], () => ((chosen = each.id), drawPane(each), mark()), { "data-key": `series ${each.id}`, "aria-pressed": String(each.id === chosen), class: "series" }),
          ),
        ),
      ),
    );
    const first = series.find((each) => each.id === chosen) || series[0];
    if (first) drawPane(first);
  };
  const mark = () => list.querySelectorAll("button").forEach((each) => each.setAttribute("aria-pressed", String(each.dataset.key === `series ${chosen}`)));
  const drawPane = (each) => {
    const column = (name) => each.periods.map((period) => period[name]);
    swap(
      pane,
      h("h3", {}, each.id, each.category ? h("span", { class: "soft" }, ` ${each.category}`) : null),
      h(
        "dl",
        { class: "facts" },
        [
          ["forecasts.expected", figure(each.expected)],
          ["forecasts.order", each.order_quantity === null ? null : number(each.order_quantity)],
          ["forecasts.reorder", each.reorder_point === null ? null : number(each.reorder_point)],
          ["forecasts.trend", each.trend ? `${t(`forecasts.${each.trend}`)} (${share(Math.max(each.rises, 1 - each.rises))})` : null],
        ]
          .filter(([, value]) => value !== null)
          .map(([name, value]) => h("div", {}, h("dt", {}, t(name)), h("dd", {}, value))),
      ),
      lines({
        series: [{ name: t("forecasts.expected").toLowerCase(), strong: true, values: column("expected"), band: [column("low_10"), column("high_90")] }],
        labels: each.periods.map((period) => shortDay(period.period)),
        format: figure,
        title: `${t("forecasts")}: ${each.id}`,
        height: 200,
      }),
      h("p", { class: "soft small" }, t("chart.band")),
    );
  };
  const soon = debounced(200, () => drawList().catch(() => {}));
  swap(
    section,
    head,
    h("p", { class: "soft" }, t("forecasts.from", { n: found.horizon, step: t(`step.${found.step}`), day: day(found.from) }), ". ", found.coverage === null ? null : t("forecasts.worth", { share: percent(found.coverage) })),
    h("div", { class: "series2" }, h("div", {}, h("label", { for: "series" }, t("forecasts.find")), h("input", { id: "series", type: "search", oninput: (event) => ((q = event.target.value.trim()), soon()) }), list), pane),
  );
  drawList();
}

