"""One HTML page to look through a data set: images, captions, boxes, and mouse traces drawn while the words are said.

Nothing outside the page: it works from a file, and its policy forbids it the network. What comes from the data set
reaches the page as JSON and is only ever set as text; no script but the page's own would run.
"""

import base64
import html
import io
import json
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image

from xmcgan.data.images import open_image
from xmcgan.data.records import Narrative, Record, Slice
from xmcgan.runtime.files import write_text

MOST = 500
"""Records a page: each brings up to some 60 KB."""

STYLE = """
:root { color-scheme: light; --ink: #1d2330; --soft: #667085; --line: #e4e7ec; --paper: #fbfbfd; --blue: #3b5bdb;
        --time: linear-gradient(90deg, #5b4dd6, #0e83b8, #0f9070, #b7791f, #dd4f2d, #c2266b) }
* { box-sizing: border-box }
[hidden], .silent .timed, .bare .boxed { display: none !important }
body { margin: 0; height: 100vh; display: grid; grid-template: minmax(0, 1fr) / 19rem minmax(0, 1fr);
       color: var(--ink); background: var(--paper);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
h1 { font-size: 1.3rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere }
h2 { font-size: .85rem; font-weight: 600; color: var(--soft); margin: 0 0 .5rem }
.soft { color: var(--soft); font-size: .85rem } button, input, select { font: inherit; color: inherit }
:focus-visible { outline: 3px solid #91a7ff; outline-offset: 2px }

aside { display: flex; flex-direction: column; min-height: 0; border-right: 1px solid var(--line); background: #fff }
header { padding: 1.3rem 1.1rem .8rem; border-bottom: 1px solid var(--line) }
header p { margin: .2rem 0 .7rem }
#search { width: 100%; padding: .4rem .7rem; border: 1px solid #d0d5dd; border-radius: 8px; background: #fff }
#list { list-style: none; margin: 0; padding: .5rem; overflow-y: auto; flex: 1 }
#list li { content-visibility: auto; contain-intrinsic-size: auto 72px }
#list button { display: flex; gap: .7rem; align-items: center; width: 100%; padding: .4rem .5rem; border: 0;
               border-radius: 8px; background: none; text-align: left; cursor: pointer }
#list button:hover { background: #f2f4f7 } #list button[aria-current=true] { background: #e7ecff }
#list img { width: 64px; height: 56px; object-fit: cover; border-radius: 6px; background: var(--line); flex: none }
#list span { font-size: .85rem; line-height: 1.35; overflow: hidden; overflow-wrap: anywhere; display: -webkit-box;
             -webkit-line-clamp: 3; -webkit-box-orient: vertical }

main { overflow: auto; padding: 1.6rem 2rem 1rem }
#record { display: grid; grid-template-columns: minmax(0, 3fr) minmax(16rem, 2fr); gap: .5rem 2rem; max-width: 76rem;
          margin: 0 auto; align-items: start }
#picture { position: relative; margin: 24px auto; width: min(100% - 48px, 68vh * var(--aspect));
           aspect-ratio: var(--aspect) }
#picture img { display: block; width: 100%; height: 100%; border-radius: 6px }
#picture canvas { position: absolute; inset: -24px; width: calc(100% + 48px); height: calc(100% + 48px);
                  pointer-events: none }
.box { position: absolute; border: 2px solid var(--colour); border-radius: 3px; box-shadow: 0 0 0 1px #ffffffb0,
       inset 0 0 0 1px #ffffffb0 }
.box span { position: absolute; left: -2px; bottom: 100%; max-width: 12rem; padding: 0 .4em; font-size: .7rem;
            line-height: 1.45; color: #fff; background: var(--colour); border-radius: 3px 3px 0 0; overflow: hidden;
            white-space: nowrap; text-overflow: ellipsis }
.box.high span { bottom: auto; top: -2px; border-radius: 3px 0 3px 0 } .box.right span { left: auto; right: -2px }
.box.bright { background: color-mix(in srgb, var(--colour) 25%, transparent); z-index: 1 } .box.dim { opacity: .15 }
#player { display: flex; align-items: center; gap: .9rem; margin: 0 24px }
#play { flex: none; width: 2.6rem; height: 2.6rem; border: 0; border-radius: 50%; background: var(--ink); color: #fff;
        cursor: pointer; display: grid; place-items: center }
#play svg { width: 1.1rem; height: 1.1rem; fill: currentColor }
#time { flex: 1; min-width: 4rem; height: 8px; border-radius: 4px; background: var(--time); appearance: none }
#time::-webkit-slider-thumb { appearance: none; width: 18px; height: 18px; border-radius: 50%; background: #fff;
                              border: 4px solid var(--ink) }
#time::-moz-range-thumb { width: 10px; height: 10px; border-radius: 50%; background: #fff; border: 4px solid var(--ink)}
#clock { font-variant-numeric: tabular-nums; white-space: nowrap; font-size: .9rem }
#player select { border: 1px solid #d0d5dd; border-radius: 6px; background: #fff; padding: .1rem .2rem;
                 font-size: .9rem }
.switches { display: flex; gap: 1.2rem; margin: .8rem 24px; font-size: .9rem }
.switches label { display: flex; gap: .4rem; align-items: center; cursor: pointer }
.switches input { accent-color: var(--ink) }
.words { padding-top: 24px } section { margin: 0 0 1.8rem; overflow-wrap: anywhere }
#narrative { margin: 0; font-size: 1.06rem; line-height: 1.95 }
.said, .now, .later { padding: .1em .13em; margin: 0 -.13em; border-radius: 4px; cursor: pointer }
.later { color: #98a2b3 }
.said { background: linear-gradient(90deg, var(--from), var(--to)) left 92% / 100% 3px no-repeat }
.now { background: linear-gradient(90deg, var(--from), var(--to)); color: #fff }
#captions { margin: 0; padding: 0; list-style: none }
#captions li { padding: .3rem 0; border-top: 1px solid var(--line) }
#captions li:first-child { border: 0; padding-top: 0 }
#categories { display: flex; flex-wrap: wrap; gap: .4rem }
#categories button { border: 1px solid var(--line); border-left: 5px solid var(--colour); border-radius: 6px;
                     background: #fff; padding: .1rem .6rem; font-size: .85rem }
kbd { font: inherit; font-size: .8rem; padding: 0 .35rem; border: 1px solid #d0d5dd; border-radius: 4px;
      background: #fff; color: var(--ink) }
.keys { margin: .6rem 24px 0; grid-column: 1 / -1 } .keys span { margin-right: 1rem; white-space: nowrap }
@media (max-width: 1100px) { #record { grid-template-columns: minmax(0, 40rem) } .words { padding: 0 24px } }
@media (max-width: 640px) {
  body { height: auto; display: block } aside { border-right: 0 } #list { display: flex; overflow-x: auto; flex: none }
  #list li { flex: 0 0 13rem } main { padding: 0 } .keys { display: none }
}
"""

BODY = """
<aside>
  <header>
    <h1>{title}</h1>
    <p class="soft" id="count" role="status"></p>
    <input id="search" type="search" placeholder="Filter by words" aria-label="Filter by words" autocomplete="off">
  </header>
  <ol id="list" aria-label="Records"></ol>
</aside>
<main>
  <p class="soft" id="none" hidden>No record has all of these words.</p>
  <noscript>This page needs JavaScript.</noscript>
  <article id="record" hidden>
    <div>
      <div id="picture"><img alt=""><div id="boxes"></div><canvas aria-hidden="true"></canvas></div>
      <div id="player" class="timed">
        <button id="play" aria-label="Play"><svg viewBox="0 0 16 16" aria-hidden="true"><path/></svg></button>
        <input id="time" type="range" min="0" step="any" aria-label="Time">
        <span id="clock"></span>
        <select id="speed" aria-label="Speed"><option value="0.5">½&times;</option>
          <option value="1" selected>1&times;</option><option value="2">2&times;</option>
          <option value="4">4&times;</option></select>
      </div>
      <div class="switches">
        <label class="boxed"><input type="checkbox" id="show-boxes" checked>Boxes</label>
        <label class="timed"><input type="checkbox" id="show-trace" checked>Mouse trace</label>
        <span class="soft" id="name"></span>
      </div>
    </div>
    <div class="words">
      <section class="timed"><h2>Narrative</h2><p id="narrative"></p></section>
      <section id="written"><h2>Captions</h2><ol id="captions"></ol></section>
      <section class="boxed"><h2>Objects</h2><div id="categories"></div></section>
    </div>
    <p class="soft keys">
      <span><kbd>↑</kbd> <kbd>↓</kbd> record</span> <span class="timed"><kbd>space</kbd> play</span>
      <span class="timed"><kbd>←</kbd> <kbd>→</kbd> half a second</span> <span class="boxed"><kbd>b</kbd> boxes</span>
      <span class="timed"><kbd>t</kbd> trace</span> <span><kbd>/</kbd> filter</span>
    </p>
  </article>
</main>
"""

SCRIPT = r"""
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
"""


def write_browser(page: Path, records: Sequence[Record], *, title: str, side: int = 512) -> Path:
    """Writes the page and returns its path.

    Args:
        page: the file to write; an earlier page there is replaced, but only by a whole one.
        records: 1 to ``MOST``, with boxes and narratives where they were read.
        title: heading of the page.
        side: pixels of an image's longer side on the page; smaller images stay as they are.

    Raises:
        ValueError: if there are no records or too many, or naming an image that cannot be read.
    """
    if not records:
        raise ValueError("there are no records to show")
    if len(records) > MOST:
        raise ValueError(f"{len(records):,} records are too many for one page; it holds at most {MOST}")
    # What a script element holds ends at the first "</script" and reads "<!--" as its own: there is no < in the data.
    data = json.dumps(page_data(records, side), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    digest = base64.b64encode(sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    document = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>'
        f"{BODY.format(title=html.escape(title))}"
        f'<script type="application/json" id="data">{data}</script>\n<script>{SCRIPT}</script>\n</body></html>\n'
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    return write_text(page, document)


def page_data(records: Sequence[Record], side: int) -> dict[str, Any]:
    """What the page's script reads. Records of one image share its picture; boxes name categories by number."""
    counts = Counter(box.category for record in records for box in record.boxes)
    categories = sorted(counts, key=lambda category: (-counts[category], category))
    numbers = {category: number for number, category in enumerate(categories)}
    pictures: list[dict[str, Any]] = []
    places: dict[Path | Slice | bytes, int] = {}
    shown = []
    for record in records:
        if record.image not in places:
            places[record.image] = len(pictures)
            pictures.append(picture(open_image(record), side))
        shown.append(
            {
                "id": record.id,
                "picture": places[record.image],
                "captions": record.captions,
                "boxes": [[numbers[box.category], *(round(value, 4) for value in box[1:])] for box in record.boxes],
                "narrative": None if record.narrative is None else spoken(record.narrative),
            }
        )
    return {"records": shown, "pictures": pictures, "categories": categories}


def picture(image: Image.Image, side: int) -> dict[str, Any]:
    """A JPEG as a data URL, and its size."""
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=85)
    source = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"source": source, "width": image.width, "height": image.height}


def spoken(narrative: Narrative) -> dict[str, Any] | None:
    """A narrative with the length of its clock, in hundredths of a second; None of one whose clock never runs."""
    ends = [utterance.end for utterance in narrative.utterances]
    ends += [point.t for stroke in narrative.strokes for point in stroke]
    seconds = round(max(ends, default=0.0), 2)
    if seconds <= 0:
        return None
    return {
        "caption": narrative.caption,
        "seconds": seconds,
        "utterances": [[said.words, round(said.start, 2), round(said.end, 2)] for said in narrative.utterances],
        "strokes": [
            [[round(point.x, 4), round(point.y, 4), round(point.t, 2)] for point in stroke]
            for stroke in narrative.strokes
        ],
    }
