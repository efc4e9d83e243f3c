// The answer to one item: which picture (by position, from 0) is at which place. It knows nothing of the page.

export function createRanking(count, mode, onChange) {
  const size = mode === "rank" ? count : 1;
  let held = Array(size).fill(null); // by place, the best first
  let recent = []; // positions in the order in which they were placed
  let tied = false;

  function changed() {
    recent = recent.filter((position) => held.includes(position));
    onChange();
  }

  function put(position, place) {
    held[place] = position;
    recent = [...recent.filter((other) => other !== position), position];
  }

  const place = (position) => held.indexOf(position);
  const nearestFree = (to) => held.map((position, at) => (position === null ? at : -1)).filter((at) => at >= 0)
    .sort((one, other) => Math.abs(one - to) - Math.abs(other - to))[0];

  return {
    place,
    get held() { return [...held]; },
    get tied() { return tied; },
    get complete() { return tied || !held.includes(null); },
    get empty() { return !tied && held.every((position) => position === null); },
    // The first free place; a picture that has a place gives it back.
    pick(position) {
      const at = place(position);
      if (at >= 0) held[at] = null;
      else if (mode === "rank") put(position, held.indexOf(null));
      else put(position, 0);
      tied = false;
      changed();
    },
    // A certain place. Who has it goes to the free place, or to the one that becomes free.
    move(position, to) {
      const from = place(position);
      const other = held[to];
      if (from >= 0) held[from] = null;
      if (other !== null && other !== position) {
        held[to] = null;
        put(other, from >= 0 ? from : nearestFree(to));
      }
      put(position, to);
      changed();
    },
    back() {
      const last = recent.at(-1);
      tied = false;
      if (last !== undefined) held[place(last)] = null;
      changed();
    },
    tie() {
      tied = !tied;
      held.fill(null);
      changed();
    },
    clear() {
      tied = false;
      held.fill(null);
      changed();
    },
    restore(kept) {
      const valid = Array.isArray(kept) && kept.length === size
        && kept.every((position) => position === null || (Number.isInteger(position) && position >= 0 && position < count));
      if (!valid || new Set(kept.filter((each) => each !== null)).size < kept.filter((each) => each !== null).length) return;
      held = [...kept];
      recent = held.filter((position) => position !== null);
      changed();
    },
    // Groups of positions, as the server takes them.
    groups() {
      if (mode === "rank") return held.map((position) => [position]);
      return tied ? [[0, 1]] : [[held[0]], [1 - held[0]]];
    },
  };
}
