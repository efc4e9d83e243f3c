// The pictures of an item: load them all, or say which does not.

const GLASS = '<svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="10.5" cy="10.5" r="6"/><path d="m15 15 5 5M10.5 8v5M8 10.5h5"/></svg>';

function load(image, address) {
  image.src = address;
  return image.decode();
}

// Fills the list and resolves when every picture is there; `pick`, `zoom` and `report` get positions.
export async function showPictures(list, addresses, {pick, zoom, report}) {
  const cards = addresses.map((address, position) => card(address, position, {pick, zoom}));
  list.replaceChildren(...cards.map((each) => each.item));
  list.setAttribute("aria-busy", "true");
  await Promise.all(cards.map((each, position) => whole(each, addresses[position], () => report(position))));
  list.removeAttribute("aria-busy");
  for (const each of cards) each.button.disabled = each.zoom.disabled = false;
  return cards;
}

function card(address, position, {pick, zoom}) {
  const item = document.createElement("li");
  item.className = "picture loading";
  const name = `Picture ${position + 1}`;
  item.innerHTML = `<button type="button" class="pick" aria-pressed="false" disabled><img alt="" width="256" height="256">
    <span class="badge" hidden></span></button>
    <div class="under"><span class="name" aria-hidden="true"><kbd>${position + 1}</kbd></span>
    <button type="button" class="quiet zoom" disabled aria-label="Enlarge picture ${position + 1}">${GLASS}</button></div>`;
  const found = {item, position, name, address, image: item.querySelector("img"), button: item.querySelector(".pick"),
    badge: item.querySelector(".badge"), zoom: item.querySelector(".zoom")};
  found.button.setAttribute("aria-label", name);
  found.button.addEventListener("click", (event) => {
    pick(position);
    if (event.detail > 0) found.button.blur(); // after a mouse's click, Enter means the next item
  });
  found.zoom.addEventListener("click", () => zoom(position));
  return found;
}

// Resolves when the picture is decoded. Where it does not load, its card offers to try again or to report it.
async function whole({item, image, name}, address, report) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await load(image, attempt ? `${address}?again=${attempt}` : address);
      item.classList.remove("loading");
      return;
    } catch {
      item.classList.remove("loading");
      await new Promise((again) => { item.append(note(name, again, report)); });
      item.classList.add("loading");
    }
  }
}

function note(name, again, report) {
  const found = document.createElement("div");
  found.className = "broken-note";
  found.setAttribute("role", "alert");
  found.innerHTML = `<p>${name} did not load.</p><button type="button">Try again</button>
    <button type="button">Report and skip</button>`;
  const [retry, skip] = found.querySelectorAll("button");
  retry.addEventListener("click", () => { found.remove(); again(); });
  skip.addEventListener("click", () => { skip.disabled = retry.disabled = true; report(); });
  return found;
}
