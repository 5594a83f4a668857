// The page: what is looked at, how it is shown, and what was decided. All that comes from outside is set as text.
import { differing, paint, pixelsOf } from "/viewer.js";

const find = (id) => document.getElementById(id);
const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
const SUGGESTED = "suggested";

let session;
let queue = null; // { entries, list, command }
let place = 0; // in the queue
let looking = null; // { title, pictures: names, frames: pixels of each, results: by model }
let turn = 0; // counts what was asked for, so that late answers are dropped
let pending = []; // the first picture of a pair that waits for the second

async function ask(path, body, headers = {}) {
  const options = body === undefined ? {} : { method: "POST", body, headers };
  const answer = await fetch(path, options).catch(() => null);
  if (!answer) throw new Error("The server does not answer: was `semiseg app` stopped?");
  if (answer.ok) return answer;
  const text = await answer.text();
  let said = text;
  try { said = JSON.parse(text).error; } catch { /* plain text says it */ }
  throw new Error(said);
}

const askJson = async (path, content) => (await ask(path, content && JSON.stringify(content))).json();

function make(kind, attributes = {}, ...children) {
  const element = Object.assign(document.createElement(kind), attributes);
  element.append(...children);
  return element;
}

function say(text) { find("status").textContent = text; }

async function guarded(work) {
  find("error").hidden = true;
  try {
    await work();
  } catch (error) {
    find("error").textContent = error.message;
    find("error").hidden = false;
    say("");
  }
}

// What is looked at

async function look(title, pictures) {
  const mine = ++turn;
  say("Reading the picture …");
  const frames = await Promise.all(
    pictures.map(async (name) => pixelsOf(await (await ask(`/api/pictures/${name}`)).blob())),
  );
  if (mine !== turn) return;
  looking = { title, pictures, frames, results: {} };
  find("work").hidden = false;
  showModels();
  await answerAll(mine);
}

async function answerAll(mine = ++turn) {
  for (const key of shownModels()) {
    if (looking.results[key]) continue;
    say(`${labelOf(key)} looks at it …`);
    const result = await answerOf(key);
    if (mine !== turn) return;
    looking.results[key] = result;
    draw();
  }
  say("");
  draw();
}

async function answerOf(key) {
  const facts = key === SUGGESTED
    ? await askJson(`/api/queue/${place}/mask`, {})
    : await askJson("/api/results", { pictures: looking.pictures, model: key });
  const bytes = new Uint8Array(await (await ask(`/api/results/${facts.result}/maps`)).arrayBuffer());
  const half = bytes.length / 2;
  return { ...facts, classes: bytes.subarray(0, half), confidence: bytes.subarray(half) };
}

function labelOf(key) {
  return key === SUGGESTED ? "suggested label" : session.models.find((model) => model.key === key).label;
}

function shownModels() {
  return [...new Set([find("model").value, find("other").value])].filter(Boolean);
}

function showModels() {
  const has = !find("queue").hidden && queue.entries[place].mask;
  const known = session.models.map(({ key, label, detail }) => [key, detail ? `${label} (${detail})` : label]);
  const all = has ? [[SUGGESTED, "suggested label"], ...known] : known;
  fill("model", all, has ? SUGGESTED : "model");
  fill("other", [["", "nothing"], ...all], "");
  find("other-field").hidden = all.length < 2;
}

function fill(id, options, first) {
  const select = find(id);
  const before = [...select.options].some((option) => option.value === SUGGESTED) ? first : select.value;
  select.replaceChildren(...options.map(([value, text]) => make("option", { value, textContent: text })));
  select.value = options.some(([value]) => value === before) && options[0][0] !== SUGGESTED ? before : first;
}

// How it is shown

function lookNow() {
  return {
    layer: document.querySelector("input[name=layer]:checked").value,
    opacity: find("opacity").value / 100,
    threshold: (find("threshold").value / 100) * 255,
    visible: session.classes.map((_, id) => !hidden.has(id)),
    colours: session.classes.map(({ colour }) => colour),
  };
}

const hidden = new Set();

function draw() {
  if (!looking) return;
  const other = looking.results[find("other").value];
  find("difference").hidden = !find("other").value;
  if (find("difference").hidden && lookNow().layer === "difference") setLayer("classes");
  const seen = lookNow();
  find("ramp").hidden = seen.layer !== "confidence";
  find("opacity-out").textContent = percent(seen.opacity);
  find("threshold-out").textContent = percent(find("threshold").value / 100);
  const last = looking.frames.at(-1);
  const parts = looking.frames.slice(0, -1).map((frame) => ({ name: "before", frame }));
  for (const key of shownModels()) {
    parts.push({ name: labelOf(key), frame: last, result: looking.results[key], note: noteOf(looking.results[key]) });
  }
  if (parts.length === looking.frames.length && looking.frames.length === 1) parts.unshift({ name: "picture", frame: last });
  if (looking.frames.length === 2 && parts.length === 2) parts.splice(1, 0, { name: "after", frame: last });
  drawParts(parts, seen, other);
  showClasses();
  showFacts(other);
}

function noteOf(result) { return result ? `${percent(result.sure)} sure` : "looking …"; }

function drawParts(parts, seen, other) {
  const figures = find("figures");
  while (figures.children.length > parts.length) figures.lastChild.remove();
  parts.forEach(({ name, frame, result, note }, number) => {
    const figure = figures.children[number] ?? figures.appendChild(newFigure());
    const [caption, canvas] = figure.children;
    caption.replaceChildren(make("b", { textContent: name }), make("span", { textContent: note ?? "" }));
    canvas.setAttribute("aria-label", `${name}, ${looking.title}`);
    canvas.shown = result;
    const against = other === result ? looking.results[find("model").value] : other;
    paint(canvas, frame, result, seen, against);
  });
}

function newFigure() {
  const canvas = make("canvas");
  canvas.setAttribute("role", "img");
  canvas.addEventListener("mousemove", readOut);
  canvas.addEventListener("mouseleave", () => { find("readout").textContent = "\u00a0"; });
  return make("figure", {}, make("figcaption"), canvas);
}

function readOut({ target: canvas, offsetX, offsetY }) {
  if (!canvas.shown) return;
  const scale = Math.min(canvas.clientWidth / canvas.width, canvas.clientHeight / canvas.height);
  const x = Math.floor((offsetX - (canvas.clientWidth - canvas.width * scale) / 2) / scale);
  const y = Math.floor((offsetY - (canvas.clientHeight - canvas.height * scale) / 2) / scale);
  if (x < 0 || y < 0 || x >= canvas.width || y >= canvas.height) return;
  const pixel = y * canvas.width + x;
  const name = session.classes[canvas.shown.classes[pixel]]?.name ?? "ignored";
  find("readout").textContent = `${name}, ${percent(canvas.shown.confidence[pixel] / 255)} sure`;
}

function showClasses() {
  const result = looking.results[find("model").value];
  if (!result) return;
  const order = session.classes.map((_, id) => id).sort((a, b) => result.shares[b] - result.shares[a] || a - b);
  const focused = document.activeElement?.dataset?.id;
  find("classes").replaceChildren(...order.map((id) => classRow(id, result.shares[id])));
  if (focused) find("classes").querySelector(`[data-id="${focused}"]`)?.focus();
}

function classRow(id, share) {
  const { name, colour } = session.classes[id];
  const box = make("input", { type: "checkbox", checked: !hidden.has(id) });
  box.dataset.id = id;
  box.addEventListener("change", () => { box.checked ? hidden.delete(id) : hidden.add(id); draw(); });
  const swatch = make("span", { className: "swatch" });
  swatch.style.background = `rgb(${colour.join(" ")})`;
  const bar = make("span", { className: "bar" });
  bar.style.width = `${100 * share}%`;
  bar.style.background = swatch.style.background;
  return make(
    "label", { className: share ? "" : "absent" }, box, swatch,
    make("span", { className: "name", textContent: name }),
    make("span", { className: "share", textContent: share ? percent(share, 1) : "-" }),
    ...(share ? [make("span", { className: "track" }, bar)] : []),
  );
}

function showFacts(other) {
  const result = looking.results[find("model").value];
  find("save").hidden = !result;
  if (!result) return;
  find("save").href = `/api/results/${result.result}/mask.png`;
  const words = [`${result.size[0]} x ${result.size[1]} pixels`];
  if (result.seconds) words.push(`${result.seconds.toFixed(2)} s`);
  if (other && other !== result) words.push(`the two differ in ${percent(differing(result, other), 1)} of the pixels`);
  find("facts").textContent = words.join(", ");
}

function setLayer(name) { document.querySelector(`input[name=layer][value=${name}]`).checked = true; }

function nextLayer() {
  const layers = ["classes", "confidence", ...(find("other").value ? ["difference"] : [])];
  setLayer(layers[(layers.indexOf(lookNow().layer) + 1) % layers.length]);
  draw();
}

let shownOpacity = 55;
function switchOverlay() {
  const slider = find("opacity");
  if (Number(slider.value)) shownOpacity = slider.value;
  slider.value = Number(slider.value) ? 0 : shownOpacity;
  draw();
}

// Pictures from the person

async function take(files) {
  const names = [...pending];
  for (const file of [...files].slice(0, session.frames - pending.length)) {
    const suffix = file.name.includes(".") ? file.name.slice(file.name.lastIndexOf(".")) : "";
    say(`Taking in ${file.name} …`);
    const answer = await ask(`/api/pictures?suffix=${encodeURIComponent(suffix)}`, file, { "Content-Type": "application/octet-stream" });
    names.push((await answer.json()).picture);
  }
  pending = names.length < session.frames ? names : [];
  find("drop-words").replaceChildren(...dropWords());
  if (pending.length) { say(""); return; }
  press(null);
  await look([...files].map((file) => file.name).join(", "), names);
}

function dropWords() {
  const what = { 1: "Drop a picture", 2: pending.length ? "Now the later picture" : "Drop two pictures of one place" }[session.frames];
  return [make("b", { textContent: what }), session.frames === 2 && !pending.length ? ", the earlier one first, or choose them" : " here, or choose one"];
}

function press(button) {
  for (const one of find("examples").children) one.setAttribute("aria-pressed", one === button);
}

function showExamples() {
  find("examples").replaceChildren(...session.examples.map(({ name, pictures }) => {
    const image = make("img", { src: `/api/pictures/${pictures.at(-1)}`, alt: name, loading: "lazy" });
    const button = make("button", { type: "button", title: name }, image);
    button.addEventListener("click", () => { press(button); guarded(() => look(name, pictures)); });
    return button;
  }));
}

// The queue

async function showEntry() {
  const entry = queue.entries[place];
  const tally = (word) => queue.entries.filter(({ decision }) => decision === word).length;
  find("open-count").textContent = queue.entries.length - tally("accepted") - tally("rejected");
  find("accepted").hidden = find("queue").hidden || !tally("accepted");
  find("tally").textContent = `${tally("accepted")} accepted, ${tally("rejected")} rejected.`;
  find("list").textContent = queue.list;
  find("command").textContent = queue.command;
  find("previous").disabled = place === 0;
  find("next").disabled = place === queue.entries.length - 1;
  find("entry-place").textContent = `${place + 1} of ${queue.entries.length}, score ${entry.score}`;
  const cut = entry.name.lastIndexOf("/") + 1;
  find("entry-name").textContent = entry.name.slice(cut);
  find("entry-folder").textContent = entry.name.slice(0, cut);
  find("entry-reasons").replaceChildren(...entry.reasons.map((reason) => make("li", { textContent: reason })));
  find("accept").setAttribute("aria-pressed", entry.decision === "accepted");
  find("reject").setAttribute("aria-pressed", entry.decision === "rejected");
  find("reopen").disabled = !entry.decision;
}

async function go(number) {
  if (number < 0 || number >= queue.entries.length) return;
  place = number;
  looking = null; // what is accepted from now on is a label of the new image
  await showEntry();
  await look(queue.entries[place].name, queue.entries[place].pictures);
}

async function decide(decision) {
  const result = looking?.results[find("model").value]?.result;
  if (decision === "accept" && !result) return say("Wait until the mask is there.");
  const threshold = find("threshold").value / 100;
  queue = await askJson(`/api/queue/${place}`, { decision, result, threshold });
  const open = queue.entries.findIndex((entry, number) => number > place && !entry.decision);
  await showEntry();
  say({ accept: "Accepted.", reject: "Rejected.", reopen: "Undecided." }[decision]);
  if (decision !== "reopen" && open >= 0) await go(open);
}

async function turnTo(tab) {
  const toQueue = tab === "queue";
  find("look").hidden = toQueue;
  find("queue").hidden = !toQueue;
  find("accepted").hidden = true;
  find("work").hidden = true;
  find("figures").replaceChildren();
  looking = null;
  turn += 1;
  find("to-look").toggleAttribute("aria-current", !toQueue);
  find("to-queue").toggleAttribute("aria-current", toQueue);
  say("");
  if (toQueue) await go(place);
  else press(null);
}

// Wiring

function listen(id, event, work) { find(id).addEventListener(event, (happened) => guarded(() => work(happened))); }

function wire() {
  listen("files", "change", async ({ target }) => { const files = [...target.files]; target.value = ""; await take(files); });
  for (const event of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(event, (happened) => {
      happened.preventDefault();
      find("drop").classList.toggle("over", event === "dragover");
      if (event === "drop" && !find("look").hidden && happened.dataTransfer.files.length) guarded(() => take(happened.dataTransfer.files));
    });
  }
  for (const id of ["opacity", "threshold"]) listen(id, "input", async () => draw());
  for (const id of ["model", "other"]) listen(id, "change", () => answerAll());
  listen("layers", "change", async () => draw());
  listen("all", "click", async () => { hidden.clear(); draw(); });
  listen("none", "click", async () => { session.classes.forEach((_, id) => hidden.add(id)); draw(); });
  listen("swap", "click", () => look(looking.title, [...looking.pictures].reverse()));
  for (const id of ["accept", "reject", "reopen"]) listen(id, "click", () => decide(id));
  listen("previous", "click", () => go(place - 1));
  listen("next", "click", () => go(place + 1));
  listen("to-look", "click", () => turnTo("look"));
  listen("to-queue", "click", () => turnTo("queue"));
  document.addEventListener("keydown", (happened) => guarded(() => onKey(happened)));
}

async function onKey(happened) {
  const { key, target } = happened;
  if (happened.ctrlKey || happened.metaKey || happened.altKey) return;
  if (target.matches("select, input[type=range], input[type=radio]") && key.startsWith("Arrow")) return;
  if (target.matches("select")) return;
  const always = { o: switchOverlay, l: nextLayer };
  const judging = {
    a: () => decide("accept"), r: () => decide("reject"), u: () => decide("reopen"),
    ArrowLeft: () => go(place - 1), ArrowRight: () => go(place + 1),
  };
  await (always[key.toLowerCase()] ?? (find("queue").hidden ? null : judging[key] ?? judging[key.toLowerCase()]))?.();
}

async function begin() {
  session = await askJson("/api/session");
  document.title = `${session.run} - semiseg app`;
  find("run").textContent = session.run;
  find("files").multiple = session.frames === 2;
  find("files").accept = session.suffixes.join(",");
  find("drop-words").replaceChildren(...dropWords());
  find("drop-note").textContent = session.suffixes.join(" ").replaceAll(".", "");
  find("swap").hidden = session.frames === 1;
  find("tabs").hidden = !session.queue;
  showExamples();
  if (session.queue) {
    queue = await askJson("/api/queue");
    await showEntry();
  }
  wire();
  document.body.dataset.ready = "yes";
  find("examples").firstChild?.click();
}

guarded(begin);
