"""The words of captions, and the words that a model has never learnt."""

import re
import unicodedata
from collections.abc import Iterable

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]")  # noqa: RUF001


def caption_words(caption: str) -> list[str]:
    """The words of a caption as they are written, and its emoji; no punctuation."""
    found = WORD.findall(caption)
    return [word for word in found if len(word) > 1 or word.isalnum() or unicodedata.category(word) == "So"]


def vocabulary(captions: Iterable[str]) -> list[str]:
    """All words of captions, in lower case, sorted."""
    return sorted({word.lower() for caption in captions for word in caption_words(caption)})


def unknown_words(caption: str, words: Iterable[str]) -> list[str]:
    """The words of a caption that are not among ``words``, each once, in the caption's order."""
    known = {word.lower() for word in words}
    return [word for word in dict.fromkeys(caption_words(caption)) if word.lower() not in known]
