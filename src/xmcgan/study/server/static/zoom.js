// Pictures enlarged in the same place, one after the other, so that they can be compared.

export function setUpZoom(cards, describe) {
  const dialog = document.getElementById("zoom");
  const image = document.getElementById("zoomed");
  const name = document.getElementById("zoom-name");
  let at = 0;

  function draw(position) {
    at = (position + cards().length) % cards().length;
    image.src = cards()[at].image.src;
    image.alt = `Picture ${at + 1}`;
    name.textContent = describe(at);
  }
  document.getElementById("zoom-back").addEventListener("click", () => draw(at - 1));
  document.getElementById("zoom-on").addEventListener("click", () => draw(at + 1));
  document.getElementById("zoom-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") draw(at - 1);
    if (event.key === "ArrowRight") draw(at + 1);
  });
  return {
    open(position) {
      if (!cards().length) return;
      draw(position);
      dialog.showModal();
    },
  };
}
