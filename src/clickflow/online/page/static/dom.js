// Elements are made from values, never from HTML: what a shop calls an item is shown as text and cannot run.

const SVG = "http://www.w3.org/2000/svg";

/** Text as it may stand beside other text: no character that would turn that around, or hide. */
const plain = (text) => text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, "\ufffd");

const LONG = 120;

/** What something is called in the shop: its name, else its id; cut where it is endless. */
export function named({ name, item }) {
  const whole = [...(name || item || "")];
  return whole.length > LONG ? `${whole.slice(0, LONG).join("")}…` : whole.join("");
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "vars") for (const [key, text] of Object.entries(value)) node.style.setProperty(`--${key}`, text);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : name === "title" || name === "aria-label" ? plain(String(value)) : String(value));
  }
  const shown = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== "");
  node.append(...shown.map((child) => (child instanceof Node ? child : plain(String(child)))));
  return node;
}

/** An HTML element; `on…` are listeners, `vars` CSS variables, children nodes or text. */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);

/** The same of SVG. */
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

/** Put new children into a node; what had the focus has it again, by its `data-key`. */
export function swap(node, ...children) {
  const focused = node.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  node.replaceChildren(...children.flat(Infinity).filter(Boolean));
  if (focused) [...node.querySelectorAll("[data-key]")].find((each) => each.dataset.key === focused)?.focus({ preventScroll: true });
  return node;
}

/** `act`, once nobody has called for it for a while. */
export function debounced(milliseconds, act) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...values), milliseconds);
  };
}

/** Tell a screen reader. */
export function speak(text) {
  document.getElementById("spoken").textContent = text;
}

/** What was chosen here before, and what is; kept in this browser. */
export const kept = {
  get(name) {
    try {
      return localStorage.getItem(`clickflow.${name}`);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`clickflow.${name}`, value);
    } catch {
      // storage is off: it holds until the page is left
    }
  },
};

/** A link that looks like one, within the page. */
export const link = (route, text, props) => h("a", { href: `#/${route}`, ...props }, text);
