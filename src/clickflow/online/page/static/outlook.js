// What lies ahead of the shop: segments of customers, and demand with bands.

import { get, Problem } from "./api.js";
import { bar, lines } from "./charts.js";
import { debounced, h, named, swap } from "./dom.js";
import { button, choice, empty, fault, loading } from "./parts.js";
import { day, figure, local, money, number, percent, share, shortDay, t } from "./strings.js";

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
    const reply = await get(path);
    if (!alive()) return;
    if (reply.missing) swap(section, head, empty(t(`${name}.none`), t(`${name}.next`)));
    else draw(section, head, reply);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (alive()) swap(section, head, fault(problem, () => part(section, name, path, draw, alive)));
  }
}

const twice = (value) => number(value, 2);

const spanned = (value, form) =>
  !value || value.value === null ? "–" : h("span", {}, form(value.value), value.low === null ? null : h("span", { class: "soft" }, ` ${form(value.low)}–${form(value.high)}`));

function drawSegments(section, head, reply) {
  const most = Math.max(...reply.segments.map((each) => each.share));
  const names = ["segments.name", "segments.size", "segments.back", "segments.value", "segments.lift", "segments.what"];
  swap(
    section,
    head,
    h("p", { class: "soft" }, t("segments.as.of", { n: reply.customers, day: day(reply.as_of) })),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": `${t("segments")}: ${t("segments.what")}` },
      h(
        "table",
        { class: "wide" },
        h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, t(name, { n: reply.horizon_days }))))),
        h(
          "tbody",
          {},
          reply.segments.map((each) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, local(each.name)),
              h("td", { class: "num", "data-head": t(names[1]) }, number(each.customers), " ", h("span", { class: "soft" }, share(each.share)), bar(each.share, most)),
              h("td", { class: "num", "data-head": t(names[2], { n: reply.horizon_days }) }, spanned(each.came_back, share)),
              h("td", { class: "num", "data-head": t(names[3], { n: reply.horizon_days }) }, spanned(each.value, money)),
              h("td", { class: "num", "data-head": t(names[4]) }, spanned(each.lift, twice)),
              h("td", { class: "text", "data-head": t(names[5]) }, each.traits.map((trait) => local(trait.words)).join(t("and")) || "–"),
            ),
          ),
        ),
      ),
    ),
  );
}

function planned(plan) {
  if (!plan) return null;
  const names = (of) => plan[of].join(", ");
  return [
    plan.columns.length ? t("forecasts.plan", { names: names("columns"), day: day(plan.until) }) : null,
    plan.lacking.length ? t("forecasts.lacking", { names: names("lacking") }) : null,
    plan.not_learned.length ? t("forecasts.notlearned", { names: names("not_learned") }) : null,
  ]
    .filter(Boolean)
    .map((text) => h("p", { class: "soft" }, text));
}

function drawForecasts(section, head, first) {
  let reply = first;
  let chosen = reply.series[0]?.id;
  let q = "";
  const list = h("div", { class: "serieslist" });
  const pane = h("div", { class: "seriespane" });
  const drawList = async () => {
    const { series } = q ? await get("console/forecasts", { q, source: reply.source }) : reply;
    swap(
      list,
      h(
        "ol",
        { class: "ranked" },
        series.map((each) =>
          h(
            "li",
            {},
            button([h("span", { class: "what" }, named({ item: each.id })), h("strong", {}, figure(each.expected))], () => ((chosen = each.id), drawPane(each), mark()), { "data-key": `series ${each.id}`, "aria-pressed": String(each.id === chosen), class: "series" }),
          ),
        ),
      ),
    );
    const shown = series.find((each) => each.id === chosen) || series[0];
    if (shown) drawPane(shown);
    else swap(pane, h("p", { class: "soft" }, t("find.none")));
  };
  const mark = () => list.querySelectorAll("button").forEach((each) => each.setAttribute("aria-pressed", String(each.dataset.key === `series ${chosen}`)));
  const drawPane = (each) => {
    const sold = each.sold || [];
    const ahead = (name) => [...sold.map(() => null), ...each.periods.map((period) => period[name])];
    swap(
      pane,
      h("h3", {}, named({ item: each.id }), each.category && each.category !== each.id ? h("span", { class: "soft" }, " ", named({ item: each.category })) : null),
      h(
        "dl",
        { class: "facts" },
        [
          ["forecasts.expected", figure(each.expected)],
          ["forecasts.order", each.order_quantity ?? null],
          ["forecasts.reorder", each.reorder_point ?? null],
          ["forecasts.trend", each.trend ? `${t(`forecasts.${each.trend}`)} (${share(Math.max(each.rises, 1 - each.rises))})` : null],
        ]
          .map(([name, value]) => [t(name), typeof value === "number" ? number(value) : value])
          .concat(Object.entries(each.says || {}).map(([name, p]) => [t("forecasts.likely", { what: local(reply.means[name]) || name }), percent(p)]))
          .filter(([, value]) => value !== null)
          .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
      ),
      lines({
        series: [
          { name: t("forecasts.sold"), quiet: true, values: [...sold.map((period) => period.units), ...each.periods.map(() => null)] },
          { name: t("forecasts.expected").toLowerCase(), strong: true, values: ahead("expected"), band: [ahead("low_10"), ahead("high_90")] },
        ],
        labels: [...sold, ...each.periods].map((period) => shortDay(period.period)),
        format: figure,
        title: `${t("forecasts")}: ${each.id}`,
        height: 200,
      }),
      h("p", { class: "soft small" }, sold.length ? `${t("forecasts.before")} ` : null, t("chart.band")),
    );
  };
  const draw = async (source) => {
    reply = await get("console/forecasts", { source });
    [chosen, q] = [reply.series[0]?.id, ""];
    frame();
  };
  const soon = debounced(200, () => drawList().catch(() => {}));
  const by = (source) => (source === reply.source && reply.model ? t("answer.by", { model: source, n: String(reply.version) }) : source === "demand" ? "clickflow demand" : source);
  const frame = () => {
    swap(
      section,
      head,
      reply.sources.length > 1
        ? choice({ label: t("forecasts.by"), key: "source", value: reply.source, options: reply.sources.map((source) => [source, by(source)]), onchoose: (source) => draw(source).catch((problem) => swap(pane, fault(problem, () => draw(source)))) })
        : null,
      h(
        "p",
        { class: "soft" },
        reply.from ? t("forecasts.from", { n: reply.horizon, step: t(`step.${reply.step}`), day: day(reply.from) }) : t("find.none"), t("stop"),
        reply.coverage === null ? null : t("forecasts.worth", { share: percent(reply.coverage) }),
        reply.sources.length < 2 && reply.model ? t("answer.by", { model: reply.model, n: String(reply.version) }) : null,
      ),
      planned(reply.plan),
      h("div", { class: "series2" }, h("div", {}, h("label", { for: "series" }, t("forecasts.find")), h("input", { id: "series", type: "search", value: q, oninput: (event) => ((q = event.target.value.trim()), soon()) }), list), pane),
    );
    drawList();
  };
  frame();
}

