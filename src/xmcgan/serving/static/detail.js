// One image, large: press a word to see where it acted, press the image to see the words that acted there.

import { bytes } from "./api.js";

const SIDE = 16;
const DARK = 0.8; // how dark the rest of the image becomes
const at = (id) => document.getElementById(id);

export class Detail {
  // changed: called with the index of the pressed word, or undefined, for the link.
  constructor(changed) {
    this.changed = changed;
    const frame = at("frame");
    frame.addEventListener("pointerdown", (event) => this.touch(event));
    frame.addEventListener("pointermove", (event) => (event.pointerType === "mouse" || event.buttons) && this.touch(event));
    frame.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.leave());
    frame.addEventListener("keydown", (event) => this.key(event));
    frame.addEventListener("blur", () => this.leave());
  }

  show(image, settings, model, word) {
    this.image = image;
    this.maps = image.words.map((each) => (each.attention ? bytes(each.attention) : null));
    at("detail").hidden = false;
    at("large").src = image.address;
    at("large").alt = `${settings.caption}, seed ${image.seed}, by ${model}`;
    at("frame").setAttribute("aria-label", `Image of seed ${image.seed}: arrow keys move over it`);
    at("save").href = image.address;
    at("save").download = `${settings.caption.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60) || "no-words"}-${image.seed}.png`;
    at("words").replaceChildren(...image.words.map((each, index) => this.button(each, index)));
    at("detail-hint").hidden = !this.maps.some(Boolean);
    at("detail-status").textContent = `Seed ${image.seed}, ${model}`;
    this.region = null;
    at("ring").hidden = true;
    this.press(this.maps[word] ? word : undefined, false);
  }

  hide() {
    at("detail").hidden = true;
    this.image = null;
  }

  button(word, index) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = word.text;
    button.className = !word.read ? "unread" : word.known === false ? "unknown" : "";
    button.disabled = !word.attention || !word.read;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => this.press(this.pressed === index ? undefined : index));
    return button;
  }

  press(index, tell = true) {
    this.pressed = index;
    [...at("words").children].forEach((button, place) => {
      button.setAttribute("aria-pressed", String(place === index));
      button.style.removeProperty("--share");
    });
    at("light").style.opacity = index === undefined ? 0 : 1;
    if (index !== undefined) {
      spotlight(this.maps[index]);
      at("detail-status").textContent = `Bright: where “${this.image.words[index].text}” acted most, ${placeOf(this.maps[index])}`;
    }
    if (tell) this.changed(index);
  }

  touch(event) {
    const box = at("frame").getBoundingClientRect();
    const to = (from, length) => Math.min(SIDE - 1, Math.max(0, Math.floor((SIDE * from) / length)));
    this.look(to(event.clientX - box.left, box.width), to(event.clientY - box.top, box.height));
  }

  key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const [x, y] = this.region ?? [SIDE / 2 - step[0], SIDE / 2 - step[1]];
    const kept = (value) => Math.min(SIDE - 1, Math.max(0, value));
    this.look(kept(x + step[0]), kept(y + step[1]));
  }

  // The words that acted at a region.
  look(x, y) {
    if (!this.maps.some(Boolean)) return;
    this.region = [x, y];
    if (this.pressed !== undefined) this.press(undefined);
    Object.assign(at("ring").style, { left: `${(100 * x) / SIDE}%`, top: `${(100 * y) / SIDE}%` });
    at("ring").hidden = false;
    const shares = this.maps.map((map) => (map ? map[y * SIDE + x] / 255 : 0));
    const most = Math.max(...shares, 1 / 255);
    [...at("words").children].forEach((button, place) => button.style.setProperty("--share", shares[place] / most));
    const order = shares.map((_, place) => place).sort((a, b) => shares[b] - shares[a]).slice(0, 3);
    at("detail-status").textContent = `Here: ${order
      .map((place) => `${this.image.words[place].text} ${Math.round(100 * shares[place])} %`)
      .join(", ")}`;
  }

  leave() {
    at("ring").hidden = true;
    this.region = null;
    for (const button of at("words").children) button.style.removeProperty("--share");
  }
}

// Darkens the image where a word acted little; the brightest region is the word's own highest.
function spotlight(map) {
  const [low, high] = [Math.min(...map), Math.max(...map)];
  const pixels = new ImageData(SIDE, SIDE);
  map.forEach((value, place) => {
    const relative = high > low ? (value - low) / (high - low) : 1;
    pixels.data[4 * place + 3] = 255 * DARK * (1 - Math.sqrt(relative));
  });
  at("light").getContext("2d").putImageData(pixels, 0, 0);
}

// In words, for those who do not see the light.
function placeOf(map) {
  const place = map.indexOf(Math.max(...map));
  const third = (value) => Math.floor((3 * value) / SIDE);
  const down = ["at the top", "in the middle", "at the bottom"][third(Math.floor(place / SIDE))];
  const across = ["left", "centre", "right"][third(place % SIDE)];
  return `${down}, ${across}`;
}
