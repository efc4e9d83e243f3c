// What is drawn, in the form and in the address: a link holds all that decides what is seen.

const at = (id) => document.getElementById(id);
const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`)?.value;
const choose = (name, value) => {
  const input = document.querySelector(`input[name="${name}"][value="${value}"]`);
  if (input) input.checked = true;
};

export const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

export function read() {
  const whole = (id) => Math.max(0, Math.floor(Number(at(id).value) || 0));
  const settings = {
    caption: at("caption").value,
    model: at("model").value,
    seed: whole("seed"),
    truncation: Number(at("truncation").value),
    mode: chosen("mode"),
  };
  if (at("compare").value) settings.compare = at("compare").value;
  if (settings.mode === "strip") {
    const second = at("second").value.trim() ? at("second").value : settings.caption;
    return { ...settings, second, second_seed: whole("second-seed"), steps: whole("steps") };
  }
  return { ...settings, count: Number(chosen("count")) };
}

export function write(settings) {
  at("caption").value = settings.caption;
  at("model").value = settings.model;
  at("compare").value = settings.compare ?? "";
  at("seed").value = settings.seed;
  at("truncation").value = settings.truncation;
  choose("mode", settings.mode);
  if (settings.mode === "strip") {
    at("second").value = settings.second === settings.caption ? "" : settings.second;
    at("second-seed").value = settings.second_seed;
    at("steps").value = settings.steps;
  } else {
    choose("count", settings.count);
  }
  showFields();
}

// The fields that belong to the mode.
export function showFields() {
  const strip = chosen("mode") === "strip";
  for (const id of ["second-field", "second-seed-field", "steps-field"]) at(id).hidden = !strip;
  for (const id of ["count-field", "examples"]) at(id).hidden = strip;
  at("compare-label").hidden = strip || at("model").options.length < 2;
  at("truncation-value").textContent = at("truncation").value;
  at("next").hidden = strip;
}

export function toHash(settings, view = {}) {
  const parts = Object.entries({ ...settings, ...view }).filter(([, value]) => value !== undefined && value !== null);
  return `#${new URLSearchParams(parts)}`;
}

// The settings of an address, or null if it has none; `models` are the names that the server has.
export function fromHash(hash, models) {
  const found = new URLSearchParams(hash.slice(1));
  if (!found.has("caption")) return null;
  const whole = (name, other) => (/^\d{1,16}$/.test(found.get(name) ?? "") ? Number(found.get(name)) : other);
  const settings = {
    caption: found.get("caption"),
    model: found.get("model") ?? models[0],
    seed: whole("seed", 0),
    truncation: Math.min(1, Math.max(0, Number(found.get("truncation") ?? 1) || 0)),
    mode: found.get("mode") === "strip" ? "strip" : "grid",
  };
  if (!models.includes(settings.model)) throw new Error(`this link is of the model ${settings.model}, which this server does not have`);
  if (models.includes(found.get("compare"))) settings.compare = found.get("compare");
  if (settings.mode === "strip") {
    settings.second = found.get("second") ?? settings.caption;
    settings.second_seed = whole("second_seed", settings.seed);
    settings.steps = whole("steps", 9);
  } else {
    settings.count = whole("count", 4);
  }
  return settings;
}

export function viewOf(hash) {
  const found = new URLSearchParams(hash.slice(1));
  const whole = (name) => (/^\d{1,4}$/.test(found.get(name) ?? "") ? Number(found.get(name)) : undefined);
  return { side: whole("side"), image: whole("image"), word: whole("word"), step: whole("step") };
}
