// WordPiece as in BERT's uncased models: clean, split at spaces and punctuation, then match the longest known pieces.
// Gives the same ids as the tokenizer of transformers (compared in tests/inference/test_browser.py).

const MAX_LETTERS = 100; // longer words are unknown

export class WordPiece {
  // vocabulary: the text of vocab.txt, one piece per line; settings: `tokenizer` of export.json.
  constructor(vocabulary, settings) {
    this.pieces = vocabulary.replace(/\n$/, "").split("\n");
    this.ids = new Map(this.pieces.map((piece, id) => [piece, id]));
    this.settings = settings;
  }

  // `length` ids of a caption ([CLS], pieces, [SEP], padding), and the number of ids before the padding.
  encode(caption, length) {
    const { cls, sep, pad } = this.settings;
    const inner = words(caption, this.settings.lowercase).flatMap((word) => this.split(word));
    const ids = [cls, ...inner.slice(0, length - 2), sep];
    return { ids: [...ids, ...Array(length - ids.length).fill(pad)], real: ids.length };
  }

  // The ids of a word's pieces, or [UNK] if the pieces do not cover it.
  split(word) {
    const letters = [...word];
    if (letters.length > MAX_LETTERS) return [this.settings.unk];
    const found = [];
    for (let start = 0; start < letters.length; ) {
      let end = letters.length;
      let id;
      for (; end > start; end--) {
        id = this.ids.get((start ? "##" : "") + letters.slice(start, end).join(""));
        if (id !== undefined) break;
      }
      if (id === undefined) return [this.settings.unk];
      found.push(id);
      start = end;
    }
    return found;
  }
}

function words(caption, lowercase) {
  let text = [...caption].filter((c) => !isControl(c)).map((c) => (isSpace(c) ? " " : c)).join("");
  text = [...text].map((c) => (isChinese(c) ? ` ${c} ` : c)).join("");
  if (lowercase) text = text.normalize("NFD").replace(/\p{Mn}/gu, "").toLowerCase();
  text = [...text].map((c) => (isPunctuation(c) ? ` ${c} ` : c)).join("");
  return text.split(" ").filter(Boolean);
}

function isSpace(c) {
  return /[\t\n\r]|\p{White_Space}/u.test(c);
}

function isControl(c) {
  return c === "\0" || c === "\ufffd" || (/\p{C}/u.test(c) && !/\p{Cn}/u.test(c) && !/[\t\n\r]/.test(c));
}

function isPunctuation(c) {
  return /[!-/:-@[-`{-~]|\p{P}/u.test(c);
}

function isChinese(c) {
  const code = c.codePointAt(0);
  return [
    [0x4e00, 0x9fff], [0x3400, 0x4dbf], [0x20000, 0x2a6df], [0x2a700, 0x2b73f],
    [0x2b740, 0x2b81f], [0x2b920, 0x2ceaf], [0xf900, 0xfaff], [0x2f800, 0x2fa1f],
  ].some(([first, last]) => code >= first && code <= last);
}
