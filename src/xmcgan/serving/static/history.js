// What was drawn in this visit: undo and redo, in step with the browser's own back and forward.

const at = (id) => document.getElementById(id);

export class Past {
  // show: called with an entry that is to be seen again; redraw: with an address whose images are not here.
  constructor(show, redraw) {
    this.entries = [];
    this.place = -1;
    this.visit = crypto.getRandomValues(new Uint32Array(1))[0]; // numbers of a visit before a reload mean nothing here
    this.show = show;
    addEventListener("popstate", (event) => {
      const { visit, place } = event.state ?? {};
      if (visit === this.visit && this.entries[place]) this.go(place);
      else redraw();
    });
    at("undo").addEventListener("click", () => history.back());
    at("redo").addEventListener("click", () => history.forward());
  }

  // Adds an entry after the present one; later ones are gone, as in every undo.
  add(entry, address) {
    this.entries = [...this.entries.slice(0, this.place + 1), entry];
    this.place = this.entries.length - 1;
    const state = { visit: this.visit, place: this.place };
    if (this.place === 0) history.replaceState(state, "", address);
    else history.pushState(state, "", address);
    this.list();
  }

  // The present entry's address, after another image or word was pressed.
  rename(address) {
    history.replaceState(history.state, "", address);
  }

  go(place) {
    this.place = place;
    this.list();
    this.show(this.entries[place]);
  }

  list() {
    at("undo").disabled = this.place <= 0;
    at("redo").disabled = this.place >= this.entries.length - 1;
    at("past").hidden = this.entries.length < 2;
    at("entries").replaceChildren(...this.entries.map((entry, place) => this.item(entry, place)));
    const now = at("entries").children[this.place];
    now.parentElement.scrollTo({ left: now.offsetLeft - now.parentElement.offsetLeft - 200 });
  }

  item(entry, place) {
    const [item, button, image, text] = ["li", "button", "img", "span"].map((name) => document.createElement(name));
    image.src = entry.thumbnail();
    image.alt = "";
    text.textContent = entry.settings.caption || "no words";
    text.dir = "auto";
    button.type = "button";
    button.setAttribute("aria-current", String(place === this.place));
    button.append(image, text);
    button.addEventListener("click", () => place !== this.place && history.go(place - this.place));
    item.append(button);
    return item;
  }
}
