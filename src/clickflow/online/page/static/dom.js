// Elements are made from values, never from HTML: what a shop calls an item is shown as text and cannot run.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "vars") for (const [key, text] of Object.entries(value)) node.style.setProperty(`--${key}`, text);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
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
