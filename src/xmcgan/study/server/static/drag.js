// Dragging a picture to a place: with a mouse or pen from anywhere, with a finger from the places below, so that a page
// can still be scrolled by its pictures.

const FAR = 8; // pixels that make a press a drag

export function makeDraggable(element, {from, image, places, drop, ready}) {
  element.addEventListener("pointerdown", (down) => {
    const finger = down.pointerType === "touch";
    if (down.button !== 0 || !ready() || (finger && from !== "places")) return;
    let ghost = null;

    const placeAt = (event) => places().findIndex((place) => {
      const box = place.getBoundingClientRect();
      return event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
    });
    const mark = (at) => places().forEach((place, index) => place.classList.toggle("over", index === at));

    function move(event) {
      if (!ghost && Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) < FAR) return;
      if (!ghost) {
        ghost = new Image();
        ghost.src = image;
        ghost.className = "ghost";
        ghost.alt = "";
        document.body.append(ghost);
        document.body.classList.add("dragging");
      }
      event.preventDefault();
      ghost.style.left = `${event.clientX}px`;
      ghost.style.top = `${event.clientY}px`;
      mark(placeAt(event));
    }

    function end(event) {
      document.removeEventListener("pointermove", move);
      document.removeEventListener("pointerup", end);
      document.removeEventListener("pointercancel", end);
      if (!ghost) return;
      ghost.remove();
      document.body.classList.remove("dragging");
      mark(-1);
      // The click that follows a drag is no click.
      const swallow = (click) => { click.stopPropagation(); click.preventDefault(); };
      document.addEventListener("click", swallow, {capture: true, once: true});
      setTimeout(() => document.removeEventListener("click", swallow, {capture: true}), 0);
      const at = placeAt(event);
      if (event.type === "pointerup" && at >= 0) drop(at);
    }

    document.addEventListener("pointermove", move);
    document.addEventListener("pointerup", end);
    document.addEventListener("pointercancel", end);
  });
  element.addEventListener("dragstart", (event) => event.preventDefault());
}
