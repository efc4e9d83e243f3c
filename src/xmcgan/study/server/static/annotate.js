// The annotator's page: one screen at a time, as the server says what comes next.

import {Refused, connect, newKey} from "./api.js";
import {makeDraggable} from "./drag.js";
import {showPictures} from "./pictures.js";
import {createRanking} from "./ranking.js";
import {setUpZoom} from "./zoom.js";

const $ = (id) => document.getElementById(id);
const {token, mode, count: countText, ranks: rankText} = $("app").dataset;
const count = Number(countText);
const ranks = mode === "rank" ? rankText.split("|") : ["Better"];
const screens = [...document.querySelectorAll(".screen")];
const places = () => [...document.querySelectorAll("#places li")];

let step = null; // what the server sent last
let cards = []; // of the item, once every picture has loaded; empty before
let ranking = null;
let busy = false;
let drawn = 0; // items shown so far: a picture that loads late belongs to an earlier one
let paused = false;

const api = connect(token, (text) => {
  $("problem").textContent = text;
  $("problem").hidden = !text;
});
const zoom = setUpZoom(() => cards, (position) => describe(position));
const say = (text) => { $("status").textContent = text; };

// Seconds for which the item could be seen

let seenSince = null;
let seen = 0;
function startTimer() { seen = 0; seenSince = document.hidden ? null : performance.now(); }
function seconds() { return (seen + (seenSince === null ? 0 : performance.now() - seenSince)) / 1000; }
document.addEventListener("visibilitychange", () => {
  if (document.hidden && seenSince !== null) { seen += performance.now() - seenSince; seenSince = null; }
  else if (!document.hidden && seenSince === null) seenSince = performance.now();
});

// Screens

function show(name) {
  for (const screen of screens) screen.hidden = screen.id !== `screen-${name}`;
  $("bar").hidden = !["task", "instructions"].includes(name);
  $(`screen-${name}`).querySelector("h1")?.focus({preventScroll: true});
  window.scrollTo(0, 0);
}

function take(next) {
  step = next;
  cards = [];
  drawn += 1;
  const {progress} = step;
  if (progress) {
    $("part").textContent = progress.blocks > 1
      ? `Part ${progress.block} of ${progress.blocks}: ${step.criterion_name}` : step.criterion_name;
    $("done").max = Math.max(1, progress.total);
    $("done").value = progress.done;
    $("count").textContent = step.task?.practice ? "Practice" : `${Math.min(progress.done + 1, progress.total)} of ${progress.total}`;
  }
  if (step.screen === "instructions") showInstructions();
  if (step.screen === "task") showTask();
  if (step.screen === "wait") setTimeout(() => { if (step.screen === "wait") run(api.next); }, 20000);
  for (const id of ["undo", "undo-finished"]) $(id).hidden = !step.can_undo;
  show(step.screen);
}

function showInstructions() {
  $("instructions-part").textContent = $("part").textContent;
  $("instructions-question").textContent = step.question;
  for (const each of document.querySelectorAll("[data-criterion]")) each.hidden = each.dataset.criterion !== step.criterion;
  $("count").textContent = "Instructions";
}

function showTask() {
  const {task} = step;
  const number = drawn;
  $("practice").hidden = !task.practice;
  $("question").textContent = step.question;
  $("caption").hidden = task.caption === null;
  $("caption").textContent = task.caption ?? "";
  delete $("pictures").dataset.ready;
  ranking = createRanking(count, mode, drawRanking);
  drawRanking();
  const actions = {pick, zoom: (position) => zoom.open(position), report};
  showPictures($("pictures"), task.pictures, actions).then((loaded) => {
    if (number !== drawn) return;
    cards = loaded;
    for (const card of cards) {
      if (mode === "rank") makeDraggable(card.button, {from: "pictures", image: card.image.src, places, ready, drop: (at) => move(card.position, at)});
    }
    ranking.restore(kept());
    drawRanking();
    startTimer();
    $("pictures").dataset.ready = task.key;
    say(task.caption === null ? "All pictures are shown." : `All pictures are shown. The caption is: ${task.caption}`);
  });
}

// The ranking so far survives a reload of the page

function kept() {
  try {
    const found = JSON.parse(sessionStorage.getItem("study-ranking"));
    return found?.key === step.task.key ? found.held : null;
  } catch { return null; }
}
function keep() {
  try { sessionStorage.setItem("study-ranking", JSON.stringify({key: step.task.key, held: ranking.held})); } catch { /* private */ }
}
function forget() {
  try { sessionStorage.removeItem("study-ranking"); } catch { /* private */ }
}

// The ranking on the page

const ready = () => cards.length > 0 && !busy;
const rankName = (place) => (place < 0 ? "" : ranks[place]);
function describe(position) {
  const place = ranking.place(position);
  return `Picture ${position + 1}${place < 0 ? "" : `: ${rankName(place)}`}`;
}

function drawRanking() {
  for (const card of cards) {
    const place = ranking.place(card.position);
    card.badge.hidden = place < 0;
    card.badge.textContent = rankName(place);
    card.button.setAttribute("aria-pressed", String(place >= 0));
    card.button.setAttribute("aria-label", describe(card.position));
  }
  places().forEach((place, at) => fill(place, cards[ranking.held[at]], at));
  $("tie")?.setAttribute("aria-pressed", String(ranking.tied));
  if ($("tie")) $("tie").disabled = !cards.length;
  if ($("clear")) $("clear").disabled = !cards.length || ranking.empty;
  $("next").disabled = !cards.length || !ranking.complete;
}

function fill(place, card, at) {
  place.classList.toggle("filled", Boolean(card));
  const slot = place.querySelector(".slot");
  if (!card) { slot.replaceChildren(); return; }
  const button = document.createElement("button");
  button.type = "button";
  button.title = "Drag to another place, or use the arrow keys";
  button.setAttribute("aria-label", `${describe(card.position)}. Arrow keys move it, Delete takes it out`);
  const image = new Image(44, 44);
  image.src = card.image.src;
  image.alt = "";
  const name = document.createElement("kbd");
  name.textContent = String(card.position + 1);
  button.append(image, name);
  makeDraggable(button, {from: "places", image: card.image.src, places, ready, drop: (to) => move(card.position, to)});
  button.addEventListener("keydown", (event) => {
    const by = {ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1}[event.key];
    if (by && ranks[at + by] !== undefined) {
      event.preventDefault();
      move(card.position, at + by);
      places()[at + by].querySelector("button").focus();
    } else if (event.key === "Delete") pick(card.position);
  });
  slot.replaceChildren(button);
}

function changed(position) {
  keep();
  const place = ranking.place(position);
  const left = ranking.complete ? "Your answer is complete: press Next." : "";
  say(`Picture ${position + 1}${place < 0 ? " has no place" : ` is ${rankName(place).toLowerCase()}`}. ${left}`);
}
function pick(position) {
  if (!ready()) return;
  ranking.pick(position);
  changed(position);
}
function move(position, to) {
  if (!ready()) return;
  ranking.move(position, to);
  changed(position);
}

// Requests

async function run(action) {
  if (busy) return;
  busy = true;
  $("app").setAttribute("aria-busy", "true");
  try {
    take(await action());
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 409) {
      take(await api.next());
      $("problem").textContent = error.message;
      $("problem").hidden = false;
    } else {
      $("problem").textContent = error.status === 404 ? "This link is not known any more." : error.message;
      $("problem").hidden = false;
    }
  } finally {
    busy = false;
    $("app").removeAttribute("aria-busy");
  }
}

function report(position) {
  run(() => api.report(step.task.key, position));
}
function answer() {
  if (!ready() || !ranking.complete) return;
  const body = {key: step.task.key, client_key: newKey(), ranking: ranking.groups(), seconds: Math.min(86400, seconds())};
  $("next").disabled = true;
  forget(); // an item that comes again, after an undo, is ranked anew
  run(() => api.answer(body));
}
function undo() {
  if (step.can_undo) run(api.undo);
}

$("agree").addEventListener("click", () => run(api.consent));
$("begin").addEventListener("click", () => run(() => api.introduced(step.criterion)));
$("next").addEventListener("click", answer);
$("undo").addEventListener("click", undo);
$("undo-finished").addEventListener("click", undo);
$("again").addEventListener("click", () => run(api.next));
$("clear")?.addEventListener("click", () => { if (ready()) { ranking.clear(); keep(); say("No picture has a place."); } });
$("tie")?.addEventListener("click", () => { if (ready()) { ranking.tie(); keep(); } });
$("pause").addEventListener("click", () => { paused = true; show("paused"); });
$("resume").addEventListener("click", () => { paused = false; run(api.next); });
$("link").textContent = new URL($("link").getAttribute("href"), location.href).href;
$("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText($("link").textContent);
  say("The link is copied.");
  $("copy").textContent = "Copied";
});

// Keys

const keysOn = () => $("keys").checked;
try { $("keys").checked = localStorage.getItem("study-keys") !== "off"; } catch { /* private */ }
$("keys").addEventListener("change", () => {
  try { localStorage.setItem("study-keys", keysOn() ? "on" : "off"); } catch { /* private */ }
});
$("help").addEventListener("click", () => {
  $("help-question").textContent = step?.question ?? "";
  $("help-text").showModal();
});
$("help-close").addEventListener("click", () => $("help-text").close());

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !keysOn() || paused || $("screen-task").hidden || !ready()) return;
  if (document.querySelector("dialog[open]")) return;
  const onControl = event.target.closest("button, a, input");
  const actions = {Backspace: () => { ranking.back(); keep(); }, z: () => zoom.open(0), u: undo};
  if (/^[0-9]$/.test(event.key)) {
    if (event.key === "0" && mode === "pairs-ties") { ranking.tie(); keep(); }
    else if (event.key >= "1" && Number(event.key) <= count) pick(Number(event.key) - 1);
  } else if (event.key === "Enter" && !onControl) answer();
  else if (actions[event.key.length === 1 ? event.key.toLowerCase() : event.key]) {
    event.preventDefault();
    actions[event.key.length === 1 ? event.key.toLowerCase() : event.key]();
  }
});

await api.resend();
await run(api.next);
