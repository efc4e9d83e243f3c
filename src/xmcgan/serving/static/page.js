// The page: reads the form, draws, and shows what came.

import * as api from "./api.js";
import { CaptionField } from "./caption.js";
import { Detail } from "./detail.js";
import { Past } from "./history.js";
import { Strip, stripEntry } from "./strip.js";
import { fromHash, randomSeed, read, showFields, toHash, viewOf, write } from "./settings.js";

const at = (id) => document.getElementById(id);
const fields = ["caption", "second"].map((name) => new CaptionField(name, () => at("model").value));
const detail = new Detail((word) => look({ word }));
const strip = new Strip((step) => look({ step }));
const past = new Past(showEntry, () => openAddress());
let names = [];
let present = null; // the entry that is seen
let view = {}; // which of its images, which word
let drawing = null; // aborts the request that runs

function look(changes) {
  view = { ...view, ...changes };
  past.rename(toHash(present.settings, view));
}

function fail(error) {
  at("error").hidden = false;
  at("error").textContent = error.message;
  const field = { prompt: "caption", second_prompt: "second", seed: "seed", second_seed: "second-seed", steps: "steps" }[error.param];
  if (field) at(field).focus();
}

const busy = (seconds) => (at("status").textContent = `The server is busy. Trying again in ${seconds} s ...`);

// Draws what the form says, or `wanted`; with `remembered` from a link, shows that image and word.
async function draw(wanted = read(), remembered = {}) {
  drawing?.abort();
  drawing = new AbortController();
  const { signal } = drawing;
  at("error").hidden = true;
  at("results").setAttribute("aria-busy", "true");
  at("status").textContent = "Drawing ...";
  try {
    const entry = wanted.mode === "strip" ? await drawStrip(wanted, signal) : await drawGrid(wanted, signal);
    [present, view] = [entry, remembered];
    past.add(entry, toHash(wanted, view));
    showEntry(entry, remembered);
  } catch (error) {
    if (error.name === "AbortError") return;
    at("status").textContent = "";
    if (present) showEntry(present, view);
    else at("grids").replaceChildren();
    if (error.status === 401) at("token-dialog").showModal();
    else fail(error);
  } finally {
    if (!signal.aborted) at("results").setAttribute("aria-busy", "false");
  }
}

async function drawStrip(wanted, signal) {
  const { model, caption, seed, second, second_seed, steps, truncation } = wanted;
  const body = { model, prompt: caption, seed, second_prompt: second, second_seed, steps, truncation };
  const entry = stripEntry(wanted, await api.strip(body, busy, signal));
  entry.thumbnail = () => entry.steps[Math.floor(entry.steps.length / 2)];
  return entry;
}

async function drawGrid(wanted, signal) {
  const sides = [wanted.model, ...(wanted.compare ? [wanted.compare] : [])];
  const entry = { settings: wanted, sides: sides.map((model) => ({ model, images: [] })) };
  entry.thumbnail = () => entry.sides[0].images[0].address;
  showGrids(entry);
  const { caption, seed, count, truncation } = wanted;
  await Promise.all(entry.sides.map((side) => {
    const body = { model: side.model, prompt: caption, seed, n: count, truncation };
    const came = (image) => {
      side.images[image.index] = { ...image, address: api.pngAddress(image.b64_json) };
      if (!signal.aborted) showGrids(entry);
    };
    return api.draw(body, came, busy, signal);
  }));
  return entry;
}

// The images that have come, and places for those that have not.
function showGrids(entry) {
  strip.hide();
  at("grids").hidden = false;
  at("grids").classList.toggle("two", entry.sides.length > 1);
  at("grids").replaceChildren(...entry.sides.map((side, number) => {
    const [box, grid] = [document.createElement("div"), document.createElement("div")];
    grid.className = `grid ${{ 1: "one", 4: "few" }[entry.settings.count] ?? ""}`;
    for (let index = 0; index < entry.settings.count; index++) grid.append(tile(entry, number, index));
    if (entry.sides.length > 1) {
      const title = document.createElement("h2");
      title.textContent = side.model;
      box.append(title);
    }
    box.append(grid);
    return box;
  }));
}

function tile(entry, number, index) {
  const image = entry.sides[number].images[index];
  const button = document.createElement("button");
  button.type = "button";
  if (!image) {
    button.className = "empty";
    button.disabled = true;
    button.setAttribute("aria-label", "not drawn yet");
    return button;
  }
  button.append(Object.assign(new Image(), { src: image.address, alt: "" }));
  button.setAttribute("aria-label", `Seed ${image.seed}`);
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    if (present !== entry) return;
    select(number, index);
    at("frame").scrollIntoView({ block: "nearest", behavior: "smooth" });
  });
  return button;
}

function showEntry(entry, remembered = {}) {
  [present, view] = [entry, remembered];
  const { settings } = entry;
  write(settings);
  fields.forEach((field) => field.changed());
  at("grids").hidden = settings.mode === "strip";
  if (settings.mode === "strip") {
    detail.hide();
    strip.load(entry, remembered.step);
    at("status").textContent = `${settings.steps} steps from seed ${settings.seed} to seed ${settings.second_seed}`;
    return;
  }
  showGrids(entry);
  const several = settings.count > 1 ? `${settings.count} images, seeds ${settings.seed} to ${settings.seed + settings.count - 1}` : `Seed ${settings.seed}`;
  at("status").textContent = `${several}, ${entry.sides.map((side) => side.model).join(" and ")}`;
  const side = entry.sides[remembered.side] ? remembered.side : 0;
  const image = entry.sides[side].images[remembered.image] ? remembered.image : 0;
  select(side, image, remembered.word, false);
}

function select(side, image, word, tell = true) {
  const { model, images } = present.sides[side];
  [...document.querySelectorAll("#grids .grid")].forEach((grid, number) =>
    [...grid.children].forEach((button, index) =>
      button.setAttribute("aria-pressed", String(number === side && index === image))));
  view = { side: side || undefined, image: image || undefined, word };
  detail.show(images[image], present.settings, model, word);
  present.selected = images[image];
  if (tell) past.rename(toHash(present.settings, view));
}

// Interpolates from the image that is seen, or to it: the other end is the second caption, or the next seed.
function interpolate(end) {
  const { settings, selected } = present;
  const here = { caption: settings.caption, seed: selected.seed };
  const there = { caption: at("second").value.trim() || settings.caption, seed: selected.seed + 1 };
  const [first, last] = end === "from" ? [here, there] : [there, here];
  const { model, truncation } = settings;
  draw({ model, truncation, mode: "strip", caption: first.caption, seed: first.seed, second: last.caption, second_seed: last.seed, steps: 9 });
}

async function copyLink() {
  const button = at("link");
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Copy it from the address bar";
  }
  setTimeout(() => (button.textContent = "Copy link"), 2000);
}

// Draws what the address says; without one, the first example.
function openAddress() {
  try {
    const settings = fromHash(location.hash, names);
    if (settings) draw(settings, viewOf(location.hash));
    else draw();
  } catch (error) {
    fail(error);
  }
}

function showExamples(models) {
  const own = models.find((model) => model.id === at("model").value);
  at("examples").replaceChildren(...own.examples.map((caption) => {
    const [item, button] = [document.createElement("li"), document.createElement("button")];
    button.type = "button";
    button.textContent = caption;
    button.addEventListener("click", () => {
      at("caption").value = caption;
      draw();
    });
    item.append(button);
    return item;
  }));
}

async function start() {
  let models;
  try {
    models = await api.models();
  } catch (error) {
    if (error.status === 401) at("token-dialog").showModal();
    else fail(error);
    return;
  }
  names = models.map((model) => model.id);
  at("model").replaceChildren(...names.map((name) => new Option(name)));
  at("compare").replaceChildren(new Option("none", ""), ...names.map((name) => new Option(name)));
  at("steps").max = models[0].max_images;
  for (const input of document.querySelectorAll('input[name="count"]')) {
    input.parentElement.hidden = Number(input.value) > models[0].max_images;
  }
  showExamples(models);
  at("model").addEventListener("change", () => showExamples(models));
  at("caption").value = models[0].examples[0] ?? "";
  openAddress();
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  draw();
});
for (const name of ["caption", "second"]) {
  at(name).addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    draw();
  });
}
for (const input of document.querySelectorAll("input[name=mode], #truncation, #model, #compare")) input.addEventListener("input", showFields);
at("model").addEventListener("change", () => fields.forEach((field) => field.changed()));
at("dice").addEventListener("click", () => {
  at("seed").value = randomSeed();
  draw();
});
at("next").addEventListener("click", () => present && draw({ ...present.settings, seed: present.settings.seed + present.settings.count }));
at("link").addEventListener("click", copyLink);
at("from-here").addEventListener("click", () => interpolate("from"));
at("to-here").addEventListener("click", () => interpolate("to"));
at("token-form").addEventListener("submit", () => {
  api.setToken(at("token").value);
  start();
});
addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName);
  if (typing || !(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
  event.preventDefault();
  at(event.shiftKey ? "redo" : "undo").click();
});
showFields();
start();
