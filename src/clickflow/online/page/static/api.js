// The server's JSON. A fault is a `Problem` that says what happened and what to do (RFC 9457); `down`: nobody answered.

const KEY = "clickflow.key";
let key = null;
try {
  key = sessionStorage.getItem(KEY);
} catch {
  // storage is off: the key holds until the page is left
}

export class Problem extends Error {
  constructor(status, title, detail, next, said = false) {
    super(title);
    this.status = status;
    this.said = said; // by the server itself, not by what stands before it
    this.detail = detail;
    this.next = next;
  }
  get down() {
    return this.status === 0 || (!this.said && [502, 503, 504].includes(this.status));
  }
}

export const signedIn = () => Boolean(key);

/** Keep a key for as long as this tab is open; null: forget it. */
export function sign(text) {
  key = text;
  try {
    if (text) sessionStorage.setItem(KEY, text);
    else sessionStorage.removeItem(KEY);
  } catch {
    // as above
  }
}

const watchers = new Set();

/** Call `act(problem or null)` whenever the server begins or ceases to answer. */
export const onReach = (act) => watchers.add(act);

async function ask(method, path, body, signal) {
  const headers = { accept: "application/json", "accept-language": document.documentElement.lang };
  if (key) headers.authorization = `Bearer ${key}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const problem = new Problem(0, "no answer");
    watchers.forEach((act) => act(problem));
    throw problem;
  }
  let content = null;
  try {
    content = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // not JSON: the status says it
  }
  if (!answer.ok) {
    const problem = new Problem(answer.status, content?.title || answer.statusText, content?.detail || "", content?.next || "", Boolean(content?.type));
    watchers.forEach((act) => act(problem.down ? problem : null));
    throw problem;
  }
  watchers.forEach((act) => act(null));
  return content;
}

const query = (values) => {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
};

export const get = (path, values = {}, signal) => ask("GET", `/v1/${path}${query(values)}`, undefined, signal);
export const post = (path, body, signal) => ask("POST", `/v1/${path}`, body, signal);
