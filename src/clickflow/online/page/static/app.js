// Which view is on show, the bar above it, and whether the server answers.

import { get, onReach, Problem, sign, signedIn } from "./api.js";
import { h, kept, link, speak, swap } from "./dom.js";
import { models } from "./models.js";
import { outlook } from "./outlook.js";
import { button, choice, fault, loading } from "./parts.js";
import { choose, current, LANGUAGES, t } from "./strings.js";
import { subject } from "./subject.js";

const VIEWS = ["session", "customer", "outlook", "models"];
const EVERY = 20_000;
const AGAIN = [2, 5, 10, 20];

const main = document.getElementById("main");
const top_ = document.getElementById("top");
const notice = document.getElementById("notice");
let server = null;
let turn = 0;

const decoded = (text) => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a broken address is nobody's, and that is said
  }
};

const route = () => {
  const [view, id] = location.hash.replace(/^#\/?/, "").split("/");
  return [VIEWS.includes(view) ? view : VIEWS[0], id === undefined ? undefined : decoded(id)];
};

function bar() {
  const [view] = route();
  document.title = `${t(`nav.${view}`)} · clickflow`;
  document.getElementById("skip").textContent = t("skip");
  const theme = document.documentElement.dataset.theme;
  swap(
    top_,
    h("a", { class: "brand", href: "#/session", "data-key": "brand" }, "clickflow"),
    h(
      "nav",
      { "aria-label": t("nav") },
      h("ul", {}, VIEWS.map((name) => h("li", {}, link(name, t(`nav.${name}`), { "aria-current": name === view ? "page" : null, "data-key": `nav ${name}` })))),
    ),
    h(
      "div",
      { class: "tools" },
      choice({ label: t("language"), key: "language", value: current(), options: Object.entries(LANGUAGES), onchoose: (name) => (choose(name), draw()) }),
      choice({
        label: t("theme"),
        key: "theme",
        value: theme,
        options: ["auto", "light", "dark"].map((name) => [name, t(`theme.${name}`)]),
        onchoose: (name) => {
          kept.set("theme", name);
          document.documentElement.dataset.theme = name;
        },
      }),
      server?.health?.wrong.length ? link("models", t("health.wrong", { n: server.health.wrong.length }), { class: "wrong", "data-key": "wrong" }) : null,
      server?.keys || signedIn()
        ? server?.person
          ? [h("span", { class: "person" }, t("sign.as", { name: server.person.name })), button(t("sign.out"), () => (sign(null), start()), { "data-key": "sign" })]
          : button(t("sign.in"), signIn, { "data-key": "sign" })
        : null,
    ),
  );
}

function signIn() {
  const key = h("input", { type: "password", id: "key", required: true, autocomplete: "off", spellcheck: "false" });
  const said = h("p", { class: "note", role: "status" });
  const dialog = h(
    "dialog",
    { "aria-labelledby": "signhead", onclose: () => dialog.remove() },
    h(
      "form",
      {
        onsubmit: async (event) => {
          event.preventDefault();
          sign(key.value.trim());
          try {
            const answer = await get("console");
            if (!answer.person) throw new Problem(401, "", "");
            dialog.close();
            start();
          } catch (problem) {
            if (!(problem instanceof Problem)) throw problem;
            sign(null);
            said.textContent = problem.down ? t("down") : t("sign.wrong");
          }
        },
      },
      h("h2", { id: "signhead" }, t("sign.in")),
      h("p", { class: "soft" }, t("sign.what")),
      h("label", { for: "key" }, t("sign.key")),
      key,
      said,
      h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, t("sign.in")), button(t("cancel"), () => dialog.close())),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
}

/** Show the view of the address anew. */
function draw() {
  bar();
  const [view, id] = route();
  const mine = ++turn;
  const alive = () => mine === turn;
  if (!server) return void swap(main, h("h1", { class: "unseen" }, "clickflow"), loading());
  main.className = view;
  if (view === "models") models(main, server, alive);
  else if (view === "outlook") outlook(main, alive);
  else subject(main, [view, id], server, alive);
}

async function start() {
  try {
    server = await get("console");
    draw();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    server = null;
    bar();
    const needed = problem.status === 401 || problem.status === 403;
    swap(main, h("h1", { class: "unseen" }, "clickflow"), fault(problem, needed ? null : start), needed ? h("p", { class: "empty" }, button(t("sign.in"), signIn, { class: "primary", "data-key": "sign here" })) : null);
  }
}

// Whether the server answers: said once, tried again at longer and longer intervals, and said when it is back.
let away = null;
function reach(problem) {
  if (problem && !away) {
    away = { tries: 0, timer: null };
    again();
  } else if (!problem && away) {
    clearTimeout(away.timer);
    away = null;
    swap(notice);
    speak(t("up"));
    if (!server) start();
  }
}
function again() {
  const seconds = AGAIN[Math.min(away.tries, AGAIN.length - 1)];
  away.tries += 1;
  const retry = async () => {
    clearTimeout(away?.timer);
    try {
      await get("console");
    } catch {
      if (away) again();
    }
  };
  swap(notice, h("p", {}, t("down"), " ", t("down.again", { n: seconds }), " ", button(t("down.now"), retry, { "data-key": "retry" })));
  away.timer = setTimeout(retry, 1000 * seconds);
}

onReach(reach);
setInterval(async () => {
  if (document.hidden || away) return;
  const before = JSON.stringify(server?.models.map((each) => [each.name, each.version]));
  const ill = JSON.stringify(server?.health);
  const fresh = await get("console").catch(() => null);
  if (!fresh) return;
  server = fresh;
  if (JSON.stringify(fresh.health) !== ill) bar();
  if (JSON.stringify(fresh.models.map((each) => [each.name, each.version])) !== before && route()[0] === "models") draw(); // elsewhere the next answer names its version, and edits stay
}, EVERY);

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
let was = route()[0];
addEventListener("hashchange", () => {
  if (!location.hash.startsWith("#/")) return;
  draw();
  const [view] = route();
  if (view !== was) main.focus({ preventScroll: true });
  was = view;
  scrollTo(0, 0);
});
choose(current());
bar();
swap(main, h("h1", { class: "unseen" }, "clickflow"), loading());
start();
