"use strict";
const EXAMPLES = [
  "Calculate 5 factorial using Python",
  "Use Python to find all prime numbers under 20",
  "Create a list of the first 10 squares and calculate their sum",
  "Generate sample sales data for 12 months and calculate quarterly totals",
  "Calculate the standard deviation of [2, 4, 4, 4, 5, 5, 7, 9]",
  "Implement a binary search function and test it with a sorted array",
];
const $ = (id) => document.getElementById(id);
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const state = { session: null, running: null, attached: [], key: sessionStorage.getItem("key") || "" };

/* ---- talking to the server ---- */
async function call(path, options = {}) {
  const headers = { ...options.headers };
  if (state.key) headers.Authorization = "Bearer " + state.key;
  const response = await fetch(path, { ...options, headers });
  if (response.status !== 401) return response;
  state.key = await askKey();
  sessionStorage.setItem("key", state.key);
  return state.key ? call(path, options) : response;
}
function askKey() {
  $("key").value = "";
  $("keydialog").showModal();
  return new Promise((done) => $("keydialog").addEventListener("close", () => done($("key").value.trim()), { once: true }));
}
async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  const error = body.error || "The server answered " + response.status;
  return typeof error === "string" ? error : error.message + (error.hint ? " (" + error.hint + ")" : "");
}
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const data = frame.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
      if (data) yield JSON.parse(data);
    }
  }
}
async function session() {
  if (state.session) return state.session;
  const response = await call("/api/sessions", { method: "POST" });
  if (!response.ok) throw new Error(await refusal(response));
  return (state.session = (await response.json()).id);
}

/* ---- markdown, as nodes; nothing is ever parsed as HTML ---- */
function inline(parent, text) {
  const rule = /(`+)([^`]|[^`].*?[^`])\1(?!`)|\*\*(.+?)\*\*|\*([^*\s][^*]*?)\*|\[([^\]]+)\]\(([^()\s]+(?:\([^()\s]*\)[^()\s]*)*)\)/gs;
  let at = 0;
  for (const found of text.matchAll(rule)) {
    parent.append(text.slice(at, found.index));
    at = found.index + found[0].length;
    if (found[2] !== undefined) parent.append(make("code", "", found[2]));
    else if (found[3] !== undefined) inline(parent.appendChild(make("strong")), found[3]);
    else if (found[4] !== undefined) inline(parent.appendChild(make("em")), found[4]);
    else parent.append(link(found[5], found[6]));
  }
  parent.append(text.slice(at));
}
function link(words, target) {
  const file = target.match(/^(?:sandbox:)?\/(?:workspace|mnt\/data)\/(.+)$/);
  if (file && state.session) {
    let name = file[1];
    try { name = decodeURIComponent(name); } catch { /* a name with a bare percent sign */ }
    return download(words, fileUrl(name), name);
  }
  if (!/^https?:\/\//.test(target)) return document.createTextNode(words);
  const anchor = make("a", "", words);
  Object.assign(anchor, { href: target, target: "_blank", rel: "noopener noreferrer" });
  return anchor;
}
function markdown(parent, text) {
  parent.replaceChildren();
  const lines = text.split("\n");
  const item = /^\s*(?:[-*•]|(\d+)[.)])\s+(.*)$/, row = /^\s*\|.*\|\s*$/;
  for (let at = 0; at < lines.length;) {
    const fence = lines[at].match(/^\s*(```+|~~~+)\s*(\w*)/);
    if (fence) {
      let end = at + 1;
      while (end < lines.length && !lines[end].trim().startsWith(fence[1])) end++;
      const code = make("code", "code");
      colour(code, lines.slice(at + 1, end).join("\n"), /^(py|python\d?)?$/.test(fence[2]));
      parent.appendChild(make("pre")).append(code);
      at = end + 1;
    } else if (/^#{1,6}\s/.test(lines[at])) {
      inline(parent.appendChild(make("h3")), lines[at++].replace(/^#+\s+/, ""));
    } else if (item.test(lines[at])) {
      const list = parent.appendChild(make(lines[at].match(item)[1] ? "ol" : "ul"));
      if (lines[at].match(item)[1]) list.start = Number(lines[at].match(item)[1]);
      while (at < lines.length && item.test(lines[at])) inline(list.appendChild(make("li")), lines[at++].match(item)[2]);
    } else if (row.test(lines[at]) && /^[\s|:-]+$/.test(lines[at + 1] || "")) {
      const table = parent.appendChild(make("table"));
      for (let first = true; at < lines.length && row.test(lines[at]); at++, first = false) {
        if (/^[\s|:-]+$/.test(lines[at])) continue;
        const line = table.appendChild(make("tr"));
        for (const cell of lines[at].trim().slice(1, -1).split("|")) inline(line.appendChild(make(first ? "th" : "td")), cell.trim());
      }
    } else if (!lines[at].trim()) {
      at++;
    } else {
      const from = at++;
      while (at < lines.length && lines[at].trim() && !/^\s*(```|~~~|#{1,6}\s)/.test(lines[at]) && !item.test(lines[at]) && !row.test(lines[at])) at++;
      inline(parent.appendChild(make("p")), lines.slice(from, at).join("\n"));
    }
  }
}
const TOKENS = /(#[^\n]*)|((?:\b[rbfuRBFU]{1,2})?(?:'''[\s\S]*?(?:'''|$)|"""[\s\S]*?(?:"""|$)|'(?:\\.|[^'\\\n])*'?|"(?:\\.|[^"\\\n])*"?))|\b(False|None|True|and|as|assert|async|await|break|class|continue|def|del|elif|else|except|finally|for|from|global|if|import|in|is|lambda|nonlocal|not|or|pass|raise|return|try|while|with|yield)\b|\b(\d[\w.]*)\b/g;
function colour(parent, code, python = true) {
  parent.replaceChildren();
  let at = 0;
  for (const found of python ? code.matchAll(TOKENS) : []) {
    parent.append(code.slice(at, found.index));
    parent.append(make("span", found[1] ? "c" : found[2] ? "s" : found[3] ? "k" : "n", found[0]));
    at = found.index + found[0].length;
  }
  parent.append(code.slice(at));
}

/* ---- files ---- */
const fileUrl = (name) => "/api/sessions/" + state.session + "/files/" + name.split("/").map(encodeURIComponent).join("/");
const size = (bytes) => bytes < 1000 ? bytes + " B" : bytes < 1e6 ? (bytes / 1e3).toFixed(1) + " kB" : (bytes / 1e6).toFixed(1) + " MB";
function download(words, url, name) {
  const anchor = make("a", "", words);
  anchor.href = url;
  anchor.download = name.split("/").pop();
  if (state.key) anchor.addEventListener("click", async (click) => {
    // A link cannot carry the key, so the file is fetched and handed over.
    if (url.startsWith("blob:")) return;
    click.preventDefault();
    const response = await call(url);
    if (!response.ok) return say(await refusal(response));
    const copy = make("a");
    copy.href = URL.createObjectURL(await response.blob());
    copy.download = anchor.download;
    copy.click();
  });
  return anchor;
}
function fileItem(file, preview) {
  const item = make("li");
  const url = file.url || fileUrl(file.name);
  item.append(download(file.name, url, file.name), make("small", "", size(file.size)));
  if (preview && /^image\/(png|jpeg|gif|webp)$/.test(file.mime) && file.size < 2e7) {
    call(url).then(async (response) => {
      if (!response.ok) return;
      const image = make("img");
      image.alt = file.name;
      image.src = URL.createObjectURL(await response.blob());
      item.prepend(image);
    });
  }
  return item;
}
async function attach(files) {
  for (const file of files) {
    try {
      const url = "/api/sessions/" + (await session()) + "/files/" + encodeURIComponent(file.name);
      const response = await call(url, { method: "PUT", body: file, headers: { "Content-Type": "application/octet-stream" } });
      if (!response.ok) throw new Error(await refusal(response));
      const entry = await response.json();
      state.attached = state.attached.filter((known) => known.name !== entry.name).concat(entry);
    } catch (error) { say("Could not attach " + file.name + ": " + error.message); }
  }
  $("attached").replaceChildren(...state.attached.map((entry) => fileItem(entry, false)));
  $("attached").hidden = !state.attached.length;
}

/* ---- one turn on the screen ---- */
class TurnView {
  constructor(prompt, files) {
    this.node = make("article", "turn");
    const asked = this.node.appendChild(make("div", "asked", prompt));
    if (files.length) asked.append(make("small", "", "with " + files.map((file) => file.name).join(", ")));
    this.body = this.node.appendChild(make("div"));
    this.wait = this.node.appendChild(make("div", "waiting", "Thinking…"));
    this.runs = new Map();
    $("log").append(this.node);
  }
  /* Text goes on in its part until something else comes between. */
  part(kind, className) {
    if (this.last?.kind !== kind) {
      this.last = { kind, node: this.body.appendChild(make("div", className)), text: "" };
    }
    return this.last;
  }
  show(event) {
    const follow = innerHeight + scrollY > document.documentElement.scrollHeight - 120;
    this.wait.hidden = event.type !== "turn_started" && event.type !== "finished";
    this[event.type]?.(event);
    if (follow) scrollTo(0, document.documentElement.scrollHeight);
  }
  turn_started(event) { state.session = event.session; $("fresh").hidden = false; if (!$("model").textContent) greet().catch(() => {}); }
  text(event) {
    const part = this.part("text", "said");
    part.text += event.delta;
    part.drawing ??= requestAnimationFrame(() => { part.drawing = null; markdown(part.node, part.text); });
  }
  reasoning(event) {
    if (this.last?.kind !== "reasoning") {
      const details = this.body.appendChild(make("details", "thought"));
      details.append(make("summary", "", "Reasoning"));
      this.last = { kind: "reasoning", node: details.appendChild(make("div")) };
    }
    this.last.node.append(event.delta);
  }
  run(call) {
    if (this.runs.has(call)) return this.runs.get(call);
    const node = this.body.appendChild(make("details", "run"));
    node.open = true;
    node.dataset.state = "running";
    const summary = node.appendChild(make("summary", "", "Python"));
    const stated = summary.appendChild(make("span", "state", "writing"));
    const copy = summary.appendChild(make("button", "copy", "Copy"));
    copy.type = "button";
    const code = node.appendChild(make("pre", "code"));
    const run = { node, stated, code, source: "", displays: new Map() };
    copy.addEventListener("click", async (click) => {
      click.preventDefault();
      await navigator.clipboard?.writeText(run.source);
      copy.textContent = "Copied";
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    });
    this.runs.set(call, run);
    this.last = { kind: "run" };
    return (this.current = run);
  }
  call_delta(event) { const run = this.run(event.call); run.source += event.delta; colour(run.code, run.source); }
  call(event) {
    const run = (this.current = this.run(event.call));
    run.source = event.code;
    colour(run.code, event.code);
    run.stated.textContent = "waiting";
  }
  started() { if (this.current) this.current.stated.textContent = "running"; }
  output(kind, text) {
    const run = this.current;
    if (!run) return;
    if (run.last?.kind !== kind) run.last = { kind, text: "", node: run.node.appendChild(make("pre", "out " + kind)) };
    run.last.text += text;
    // Progress bars write over their line; colours are for terminals.
    run.last.node.textContent = run.last.text.replace(/\x1b\[[0-?]*[ -/]*[@-~]/g, "").replace(/\r\n/g, "\n").replace(/^.*\r(?!$)/gm, "").replace(/\n$/, "");
  }
  stdout(event) { this.output("stdout", event.text); }
  stderr(event) { this.output("stderr", event.text); }
  put(node, id) {
    const run = this.current;
    if (!run) return;
    const before = id && run.displays.get(id);
    if (before) before.replaceWith(node); else run.node.append(node);
    if (id) run.displays.set(id, node);
    run.last = null;
  }
  display(event) { this.put(bundle(event.data), event.display_id); }
  update_display(event) { this.put(bundle(event.data), event.display_id); }
  result(event) { this.put(bundle(event.data)); }
  clear_output() { for (const node of [...(this.current?.node.children || [])].slice(2)) node.remove(); if (this.current) this.current.last = null; }
  error(event) { this.output("raised", event.traceback || event.name + ": " + event.message); }
  notice(event) { (this.current?.node || this.body).append(make("p", "note out", event.message)); }
  finished(event) {
    const run = this.current;
    if (!run) return;
    const seconds = event.duration_ms < 1000 ? event.duration_ms.toFixed(event.duration_ms < 10 ? 1 : 0) + " ms" : (event.duration_ms / 1000).toFixed(2) + " s";
    run.node.dataset.state = event.status === "ok" ? "ok" : "bad";
    run.stated.textContent = (event.status === "ok" ? "✓ " : "✗ " + event.status.replaceAll("_", " ") + " · ") + seconds;
  }
  files(event) {
    const list = make("ul", "files");
    const drawn = this.current?.node.querySelector(".figure");
    // A displayed figure is on the screen already; its saved copy needs no second picture.
    for (const file of event.files) list.append(fileItem(file, !drawn));
    this.body.append(list);
    this.last = null;
  }
  answer() { this.done = true; }
  problem(event) { this.fail(event.message + (event.hint ? " (" + event.hint + ")" : "")); }
  fail(words) { this.done = true; this.body.append(Object.assign(make("div", "failure", words), { role: "alert" })); }
  stop() { this.done = true; this.body.append(make("p", "note", "Stopped. The session goes on.")); }
  end() {
    this.wait.remove();
    for (const run of this.runs.values()) if (run.node.dataset.state === "running") { run.node.dataset.state = "ended"; run.stated.textContent = "not finished"; }
  }
}
function bundle(data) {
  for (const mime of ["image/png", "image/jpeg", "image/svg+xml"]) if (typeof data[mime] === "string") {
    const figure = make("div", "figure"), image = figure.appendChild(make("img"));
    image.alt = data["text/plain"] || "figure";
    image.src = mime === "image/svg+xml" ? "data:image/svg+xml," + encodeURIComponent(data[mime]) : "data:" + mime + ";base64," + data[mime].replace(/\s/g, "");
    return figure;
  }
  if (typeof data["text/html"] === "string") {
    // No scripts, no origin: markup of a sandbox is shown and nothing more.
    const frame = make("iframe");
    frame.setAttribute("sandbox", "");
    frame.title = "HTML output";
    frame.srcdoc = $("frame").innerHTML + data["text/html"];
    frame.height = Math.min(440, 24 + 31 * Math.max(2, (data["text/html"].match(/<(tr|p|li|h\d|div)\b/gi) || []).length));
    return frame;
  }
  if (typeof data["text/markdown"] === "string") { const node = make("div", "said out"); markdown(node, data["text/markdown"]); return node; }
  const text = data["text/plain"] ?? data["text/latex"] ?? data["application/json"] ?? Object.keys(data).join(", ");
  return make("pre", "out", typeof text === "string" ? text : JSON.stringify(text, null, 2));
}
function say(words) { $("log").append(Object.assign(make("p", "note", words), { role: "alert" })); }

/* ---- asking ---- */
async function ask(prompt) {
  const view = new TurnView(prompt, state.attached);
  const aborting = (state.running = new AbortController());
  state.attached = [];
  $("attached").hidden = true;
  $("welcome").hidden = true;
  draw();
  scrollTo(0, document.documentElement.scrollHeight);
  try {
    const body = { input: prompt, ...(state.session && { session: state.session }) };
    const request = { method: "POST", signal: aborting.signal, headers: { "Content-Type": "application/json", Accept: "text/event-stream" } };
    let response = await call("/run", { ...request, body: JSON.stringify(body) });
    if (response.status === 404 && state.session) {
      view.notice({ message: "The session had ended; a new one begins, without its variables and files." });
      state.session = null;
      response = await call("/run", { ...request, body: JSON.stringify({ input: prompt }) });
    }
    if (!response.ok) throw new Error(await refusal(response));
    for await (const event of events(response)) view.show(event);
    if (!view.done) view.fail("The connection ended before the answer did.");
  } catch (error) {
    if (error.name === "AbortError") view.stop(); else view.fail(error.message);
  }
  view.end();
  state.running = null;
  draw();
  $("prompt").focus();
}
function draw() {
  const field = $("prompt"), send = $("send");
  field.style.height = "auto";
  field.style.height = field.scrollHeight + "px";
  send.textContent = state.running ? "Stop" : "Run";
  send.classList.toggle("stop", !!state.running);
  send.disabled = !state.running && !field.value.trim();
}
function submit() {
  const prompt = $("prompt").value.trim();
  if (!prompt || state.running) return;
  $("prompt").value = "";
  ask(prompt);
}
$("composer").addEventListener("submit", (event) => { event.preventDefault(); if (state.running) state.running.abort(); else submit(); });
$("prompt").addEventListener("input", draw);
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); submit(); }
});
addEventListener("keydown", (event) => { if (event.key === "Escape") state.running?.abort(); });
$("attach").addEventListener("click", () => $("picker").click());
$("picker").addEventListener("change", async () => { await attach([...$("picker").files]); $("picker").value = ""; $("prompt").focus(); });
for (const kind of ["dragover", "dragleave", "drop"]) addEventListener(kind, (event) => {
  event.preventDefault();
  $("composer").classList.toggle("over", kind === "dragover");
  if (kind === "drop") attach([...event.dataTransfer.files]);
});
$("fresh").addEventListener("click", () => {
  state.running?.abort();
  if (state.session) call("/api/sessions/" + state.session, { method: "DELETE" });
  state.session = null;
  $("log").replaceChildren();
  $("welcome").hidden = false;
  $("fresh").hidden = true;
});
$("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark", true));
function theme(name, keep) {
  document.documentElement.dataset.theme = name;
  if (keep) localStorage.setItem("theme", name);
}
theme(localStorage.getItem("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
for (const example of EXAMPLES) {
  const chip = $("chips").appendChild(make("button", "", example));
  chip.type = "button";
  chip.addEventListener("click", () => { if (!state.running) ask(example); });
}
/* Which model speaks; strangers to a server with a key learn it after their first request. */
async function greet() {
  const { model } = await (await call("/health")).json();
  if (!model) return;
  $("model").textContent = model.demo ? "demo planner" : model.name;
  $("model").title = model.endpoint;
  $("banner").hidden = !model.demo;
  $("banner").firstElementChild.textContent = "The demo planner answers here. It is not a language model: it knows a short list of tasks and runs Python in a fence. Connect a model to ask anything.";
}
greet().catch(() => {});
