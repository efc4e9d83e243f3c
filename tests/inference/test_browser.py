"""The tokenizer of the browser example against that of transformers."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from xmcgan.encoders.text import TextEncoder

PAGE = Path(__file__).parents[2] / "examples" / "browser"
CAPTIONS = [
    "A red car left of a stop sign under a night sky.",
    "",
    "don't   over-think\tit!?",
    "Crème brûlée at an unbelievable café",
    "x" * 120 + " snow",
    "emoji 🚗 and 中文 words, \u200bhidden \u00a0spaces \ufffd",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen",
    "İstanbul ǅ ß ﬁ $5 + 3 = ~8 `a` ^b",
]
SCRIPT = """
import { readFileSync } from "node:fs";
import { WordPiece } from "./tokenizer.js";
const { vocabulary, settings, captions, length } = JSON.parse(readFileSync(0, "utf8"));
const tokenizer = new WordPiece(vocabulary, settings);
console.log(JSON.stringify(captions.map((caption) => tokenizer.encode(caption, length))));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_tokenizer_matches_transformers():
    encoder = TextEncoder("minilm", max_length=17)
    own = encoder.tokenizer
    pieces = sorted(own.get_vocab().items(), key=lambda pair: pair[1])
    settings = {"cls": own.cls_token_id, "sep": own.sep_token_id, "pad": own.pad_token_id, "unk": own.unk_token_id}
    asked = {
        "vocabulary": "".join(f"{piece}\n" for piece, _ in pieces),
        "settings": settings | {"lowercase": True},
        "captions": CAPTIONS,
        "length": 17,
    }
    answer = subprocess.run(
        ["node", "--input-type=module", "--eval", SCRIPT],
        input=json.dumps(asked), capture_output=True, text=True, cwd=PAGE, check=False, timeout=60,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    theirs = own(CAPTIONS, padding="max_length", truncation=True, max_length=17)
    for caption, found, ids, mask in zip(
        CAPTIONS, json.loads(answer.stdout), theirs["input_ids"], theirs["attention_mask"], strict=True
    ):
        assert found == {"ids": ids, "real": sum(mask)}, caption
