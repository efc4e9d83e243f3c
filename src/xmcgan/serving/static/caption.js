// A caption's field: words that the model does not know are underlined, those behind its limit struck out.

import { words } from "./api.js";

const WAIT = 200; // ms after the last key before a request

export class CaptionField {
  constructor(name, model) {
    this.field = document.getElementById(name);
    this.underlines = document.getElementById(`${name}-underlines`);
    this.note = document.getElementById(`${name}-note`);
    this.model = model;
    this.field.addEventListener("input", () => this.changed());
  }

  changed() {
    this.field.style.height = "auto";
    this.field.style.height = `${this.field.scrollHeight + 2}px`;
    this.underlines.replaceChildren();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.check(), WAIT);
  }

  async check() {
    this.asking?.abort();
    this.asking = new AbortController();
    const caption = this.field.value;
    try {
      const found = caption.trim() ? await words(caption, this.model(), this.asking.signal) : [];
      if (caption === this.field.value) this.show(caption, found);
    } catch (error) {
      if (error.name !== "AbortError") this.note.textContent = "";
    }
  }

  show(caption, found) {
    const letters = [...caption]; // the server counts code points, not UTF-16
    const parts = [];
    let end = 0;
    for (const word of found) {
      parts.push(letters.slice(end, word.start).join(""));
      const mark = document.createElement("span");
      mark.textContent = letters.slice(word.start, word.end).join("");
      mark.className = !word.read ? "unread" : word.known === false ? "unknown" : "";
      parts.push(mark);
      end = word.end;
    }
    this.underlines.replaceChildren(...parts, `${letters.slice(end).join("")}\u200b`);
    this.underlines.dir = getComputedStyle(this.field).direction;
    this.explain(found);
  }

  explain(found) {
    const unknown = [...new Set(found.filter((word) => word.read && word.known === false).map((word) => word.text))];
    const unread = found.filter((word) => !word.read);
    const parts = [];
    if (unknown.length) parts.push("Not in the training captions: ", bold(unknown.join(", ")), ". ");
    if (unread.length) parts.push("Too long: the model does not read ", bold(unread[0].text), " and what follows.");
    this.note.replaceChildren(...parts);
  }
}

function bold(text) {
  const element = document.createElement("b");
  element.textContent = text;
  return element;
}
