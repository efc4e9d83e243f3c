
"use strict";
const { records, pictures, categories } = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const picture = $("picture").querySelector("img"), canvas = $("picture").querySelector("canvas");
const pen = canvas.getContext("2d");
const MARGIN = 24;  // CSS pixels of the canvas around the picture: the mouse may leave it
const RECENT = 3;  // seconds for which a stroke is drawn in full colour
const STOPS = [[91, 77, 214], [14, 131, 184], [15, 144, 112], [183, 121, 31], [221, 79, 45], [194, 38, 107]];  // --time

let shown = [], current = -1, time = 0, playing = false, before = 0, words = [];

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// ---------------------------------------------------------------------------------------------- colours

/** Of a share of the narrative's time. */
function timeColour(share) {
  const place = Math.min(Math.max(share, 0), 1) * (STOPS.length - 1);
  const stop = Math.min(Math.floor(place), STOPS.length - 2);
  const mixed = STOPS[stop].map((from, channel) => from + (STOPS[stop + 1][channel] - from) * (place - stop));
  return `rgb(${mixed.map(Math.round).join(" ")})`;
}

/** Of the n-th category: the golden angle keeps neighbours apart. */
const categoryColour = number => `hsl(${(215 + number * 137.508) % 360} 68% 38%)`;

// ------------------------------------------------------------------------------------------------- list

const inView = new IntersectionObserver(entries => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    target.querySelector("img").src = pictures[records[target.dataset.number].picture].source;
    inView.unobserve(target);
  }
}, { root: $("list"), rootMargin: "400px" });

const items = records.map((record, number) => {
  const button = element("button", { type: "button", onclick: () => select(number) },
    element("img", { alt: "", decoding: "async" }), element("span", { textContent: record.captions[0] ?? "" }));
  const item = element("li", {}, button);
  item.dataset.number = number;
  inView.observe(item);
  return item;
});
$("list").append(...items);

const texts = records.map(record => [record.id, ...record.captions, record.narrative?.caption ?? "",
  ...record.boxes.map(([category]) => categories[category])].join("\n"));

/** Shows the records that have every word; a word is found from its beginning on ("car" in "cars", not in "scarf"). */
function filter() {
  const patterns = $("search").value.split(/\s+/).filter(Boolean).map(word =>
    new RegExp("(?<!\\p{Script=Latin})" + word.replace(/[\\^$.*+?()[\]{}|\/]/g, "\\$&"), "iu"));
  shown = records.map((_, number) => number).filter(number => patterns.every(each => each.test(texts[number])));
  const visible = new Set(shown);
  items.forEach((item, number) => { item.hidden = !visible.has(number); });
  const all = `${records.length} ${records.length === 1 ? "record" : "records"}`;
  $("count").textContent = shown.length === records.length ? all : `${shown.length} of ${all}`;
  $("none").hidden = shown.length > 0;
  $("record").hidden = shown.length === 0;
  if (!shown.length) pause();
  else if (!visible.has(current)) select(shown[0]);
  else items[current].scrollIntoView({ block: "nearest" });
}

// ----------------------------------------------------------------------------------------------- record

function select(number) {
  pause();
  if (current >= 0) items[current].firstChild.removeAttribute("aria-current");
  current = number;
  items[current].firstChild.setAttribute("aria-current", "true");
  items[current].scrollIntoView({ block: "nearest", inline: "nearest" });
  const { id, picture: image, captions, boxes, narrative } = records[current];
  const { source, width, height } = pictures[image];
  picture.src = source;
  picture.alt = captions[0] ?? "";
  $("picture").style.setProperty("--aspect", width / height);
  $("name").textContent = id;
  showBoxes(boxes);
  $("record").classList.toggle("silent", !narrative);
  $("record").classList.toggle("bare", !boxes.length);
  words = [];
  if (narrative) {
    words = narrative.utterances.map(([text, start, end]) => {
      const word = element("span", { textContent: text, onclick: () => { seek(start); remember(); } });
      word.style.setProperty("--from", timeColour(start / narrative.seconds));
      word.style.setProperty("--to", timeColour(end / narrative.seconds));
      return word;
    });
    $("narrative").replaceChildren(...words.flatMap(word => [word, " "]));
    $("time").max = narrative.seconds;
  }
  const others = captions.filter(caption => caption !== narrative?.caption);
  $("written").hidden = !others.length;
  $("captions").replaceChildren(...others.map(caption => element("li", { textContent: caption })));
  seek(narrative?.seconds ?? 0);  // all of it, until it is played
  remember();
}

/** Small boxes lie over large ones; a label stands on its box, or in it at the upper edge of the picture. */
function showBoxes(all) {
  const boxes = [...all].sort((one, other) => other[3] * other[4] - one[3] * one[4]);
  const made = boxes.map(([category, left, top, width, height]) => {
    const box = element("div", { className: "box" }, element("span", { textContent: categories[category] }));
    for (const [side, share] of Object.entries({ left, top, width, height })) box.style[side] = `${100 * share}%`;
    box.style.setProperty("--colour", categoryColour(category));
    box.classList.toggle("high", top < .05);
    box.classList.toggle("right", left + width > .9 && left > .5);
    return box;
  });
  $("boxes").replaceChildren(...made);
  const counts = new Map();
  for (const [category] of all) counts.set(category, (counts.get(category) ?? 0) + 1);
  $("categories").replaceChildren(...[...counts].map(([category, count]) => {
    const highlight = on => made.forEach((box, number) => {
      box.classList.toggle("bright", on && boxes[number][0] === category);
      box.classList.toggle("dim", on && boxes[number][0] !== category);
    });
    const chip = element("button", { type: "button",
      textContent: count > 1 ? `${count} \u00d7 ${categories[category]}` : categories[category],
      onmouseenter: () => highlight(true), onmouseleave: () => highlight(false),
      onfocus: () => highlight(true), onblur: () => highlight(false) });
    chip.style.setProperty("--colour", categoryColour(category));
    return chip;
  }));
}

/** The next (or an earlier) record of those shown. */
function move(by) {
  const place = shown.indexOf(current) + by;
  if (place >= 0 && place < shown.length) select(shown[place]);
}

// ------------------------------------------------------------------------------------------------ clock

/** Puts the clock of the narrative at a moment: words, trace and scrubber follow. */
function seek(moment) {
  const { narrative } = records[current];
  time = Math.min(Math.max(moment, 0), narrative?.seconds ?? 0);
  if (narrative) {
    const resting = time === narrative.seconds && !playing;
    let saying = "";
    words.forEach((word, number) => {
      const [text, start, end] = narrative.utterances[number];
      const now = start <= time && time < end && !resting;
      word.className = now ? "now" : start <= time ? "said" : "later";
      if (now) saying = text;
    });
    $("time").value = time;
    $("time").setAttribute("aria-valuetext", `${time.toFixed(1)} seconds ${saying}`);
    $("clock").textContent = `${time.toFixed(1)} / ${narrative.seconds.toFixed(1)} s`;
  }
  drawTrace();
}

function play() {
  const { narrative } = records[current];
  if (!narrative) return;
  playing = true;
  before = 0;
  if (time >= narrative.seconds) seek(0);
  showButton();
  requestAnimationFrame(tick);
}

function tick(now) {
  if (!playing) return;
  seek(time + (before ? (now - before) / 1000 * Number($("speed").value) : 0));
  before = now;
  if (time < records[current].narrative.seconds) requestAnimationFrame(tick);
  else pause();
}

function pause() {
  if (!playing) return;
  playing = false;
  showButton();
  seek(time);
  remember();
}

function showButton() {
  $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  $("play").querySelector("path").setAttribute("d", playing ? "M3 2h4v12H3zM9 2h4v12H9z" : "M4 1.5v13L14.5 8z");
}

// ------------------------------------------------------------------------------------------------ trace

/** Draws the strokes up to the clock, in the colours of their time, with a white rim; earlier ones fade. */
function drawTrace() {
  const { width, height } = $("picture").getBoundingClientRect(), ratio = devicePixelRatio || 1;
  canvas.width = (width + 2 * MARGIN) * ratio;  // clears it as well
  canvas.height = (height + 2 * MARGIN) * ratio;
  const { narrative } = records[current];
  if (!narrative || !$("show-trace").checked) return;
  pen.setTransform(ratio, 0, 0, ratio, MARGIN * ratio, MARGIN * ratio);
  pen.lineCap = pen.lineJoin = "round";
  const resting = time === narrative.seconds && !playing, fresh = resting ? -1 : time - RECENT;
  const lines = [];
  let mouse = null;
  for (const stroke of narrative.strokes) {
    for (let place = 0; place < stroke.length && stroke[place][2] <= time; place++) {
      const [x, y, t] = stroke[place], next = stroke[place + 1] ?? stroke[place];
      const share = next[2] > time ? (time - t) / (next[2] - t) : 1;
      const end = [x + (next[0] - x) * share, y + (next[1] - y) * share];
      lines.push({ from: [x * width, y * height], to: [end[0] * width, end[1] * height], t });
      if (next[2] >= time) mouse = lines.at(-1);
    }
  }
  const draw = some => {
    for (const rim of [true, false]) {
      pen.lineWidth = rim ? 6 : 3.2;
      for (const { from, to, t } of some) {
        pen.strokeStyle = rim ? "#fff" : timeColour(t / narrative.seconds);
        pen.beginPath();
        pen.moveTo(...from);
        pen.lineTo(...to);
        pen.stroke();
      }
    }
  };
  draw(lines.filter(line => line.t < fresh));
  // Fading what is drawn as a whole: translucent lines would show their joints.
  pen.globalCompositeOperation = "destination-in";
  pen.fillStyle = "rgb(0 0 0 / 40%)";
  pen.fillRect(-MARGIN, -MARGIN, width + 2 * MARGIN, height + 2 * MARGIN);
  pen.globalCompositeOperation = "source-over";
  draw(lines.filter(line => line.t >= fresh));
  if (!mouse || resting) return;
  pen.beginPath();
  pen.arc(...mouse.to, 8, 0, 2 * Math.PI);
  pen.fillStyle = timeColour(time / narrative.seconds);
  pen.strokeStyle = "#fff";
  pen.lineWidth = 3;
  pen.fill();
  pen.stroke();
}

// -------------------------------------------------------------------------------------------- the reader

/** The address names the record and the moment, so that a link leads there. */
function remember() {
  if (playing) return;
  const { id, narrative } = records[current], place = new URLSearchParams({ record: id });
  if (narrative && time < narrative.seconds) place.set("t", time.toFixed(2));
  history.replaceState(null, "", `#${place}`);
}

function follow() {
  const place = new URLSearchParams(location.hash.slice(1));
  const number = records.findIndex(record => record.id === place.get("record")), moment = Number(place.get("t"));
  if (number < 0) return;
  select(number);
  if (place.has("t") && Number.isFinite(moment)) { seek(moment); remember(); }
}

function setBoxes() { $("boxes").hidden = !$("show-boxes").checked; }

$("search").oninput = filter;
$("play").onclick = () => playing ? pause() : play();
$("time").oninput = () => { pause(); seek(Number($("time").value)); };
$("time").onchange = remember;
$("show-boxes").onchange = setBoxes;
$("show-trace").onchange = drawTrace;
new ResizeObserver(drawTrace).observe($("picture"));
addEventListener("hashchange", follow);

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target === $("speed")) return;
  const typing = event.target === $("search");
  const actions = { ArrowUp: () => move(-1), ArrowDown: () => move(1) };
  if (typing) actions.Escape = () => { $("search").value = ""; filter(); $("search").blur(); };
  else {
    Object.assign(actions, {
      ArrowLeft: () => { pause(); seek(time - .5); remember(); },
      ArrowRight: () => { pause(); seek(time + .5); remember(); },
      b: () => { $("show-boxes").checked ^= 1; setBoxes(); },
      t: () => { $("show-trace").checked ^= 1; drawTrace(); },
      "/": () => $("search").focus(),
    });
    if (!event.target.matches("button, [type=checkbox]")) actions[" "] = () => playing ? pause() : play();
  }
  if (!Object.hasOwn(actions, event.key) || !shown.length && !typing) return;
  event.preventDefault();
  actions[event.key]();
});

showButton();
follow();
filter();
