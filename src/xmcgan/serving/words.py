"""The words of a caption for the page: positions, whether they are in the model's vocabulary and read, attention."""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from xmcgan.inference.vocabulary import WORD, caption_words, unknown_words
from xmcgan.serving.models import ServedModel
from xmcgan.types import REGION_GRID


@dataclass(frozen=True)
class CaptionWord:
    """A word of a caption."""

    text: str
    start: int  # in characters (code points) of the caption
    end: int
    known: bool | None  # in the model's vocabulary; None if it has none
    pieces: tuple[int, ...]  # positions among the encoder's word pieces; empty if the caption is cut before the word

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "text": self.text,
            "start": self.start,
            "end": self.end,
            "known": self.known,
            "read": bool(self.pieces),
        }


def words_of(caption: str, model: ServedModel) -> list[CaptionWord]:
    """The words of a caption in order, without punctuation."""
    tokens = model.tokenizer(
        [caption],
        truncation=True,
        max_length=model.pipe.config.text.max_length,
        return_offsets_mapping=True,
    )
    offsets = tokens["offset_mapping"][0]
    vocabulary = model.pipe.words
    unknown = set() if vocabulary is None else set(unknown_words(caption, vocabulary))
    found = []
    for match in WORD.finditer(caption):
        if not caption_words(match[0]):
            continue
        start, end = match.span()
        pieces = tuple(k for k, (a, b) in enumerate(offsets) if a < end and b > start and b > a)
        known = None if vocabulary is None else match[0] not in unknown
        found.append(CaptionWord(match[0], start, end, known, pieces))
    return found


def attention_of(words: list[CaptionWord], attention_RT: Tensor) -> list[str]:
    """Each word's share of the attention of the 16 x 16 regions: 256 bytes in row order as base64; 255 is all of it.

    The shares of a word's pieces are added up. A word that is not read has none.
    """
    maps_TR = attention_RT.numpy().T
    shares = [maps_TR[list(word.pieces)].sum(0) if word.pieces else np.zeros(REGION_GRID**2) for word in words]
    return [base64.b64encode(np.clip(np.rint(255 * share), 0, 255).astype(np.uint8)).decode() for share in shares]
