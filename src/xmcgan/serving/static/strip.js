// An interpolation between two captions or seeds: a slider over its steps, and a strip of all of them.

import { pngAddress } from "./api.js";

const at = (id) => document.getElementById(id);

export class Strip {
  // changed: called with the step that is shown, for the link.
  constructor(changed) {
    at("slide").addEventListener("input", () => {
      this.show(Number(at("slide").value));
      changed(this.step);
    });
  }

  load(entry, step) {
    this.entry = entry;
    at("strip").hidden = false;
    at("slide").max = entry.steps.length - 1;
    at("strip-row").replaceChildren(...entry.steps.map((address) => Object.assign(new Image(), { src: address, alt: "" })));
    at("strip-save").href = entry.strip;
    at("strip-save").download = `strip-${entry.settings.seed}-${entry.settings.second_seed}.png`;
    this.show(Math.min(step ?? 0, entry.steps.length - 1));
  }

  show(step) {
    this.step = step;
    const { settings, steps } = this.entry;
    const share = Math.round((100 * step) / (steps.length - 1));
    at("slide").value = step;
    at("slide-value").textContent = `${share} %`;
    at("slide").setAttribute("aria-valuetext", `${share} % of the way to the second`);
    at("strip-image").src = steps[step];
    at("strip-image").alt = `${share} % of the way from “${settings.caption}” to “${settings.second}”`;
    at("step-save").href = steps[step];
    at("step-save").download = `step-${settings.seed}-${settings.second_seed}-${step}.png`;
    [...at("strip-row").children].forEach((image, place) => image.classList.toggle("now", place === step));
  }

  hide() {
    at("strip").hidden = true;
  }
}

export function stripEntry(settings, answer) {
  return { settings, steps: answer.data.map((each) => pngAddress(each.b64_json)), strip: pngAddress(answer.strip.b64_json) };
}
