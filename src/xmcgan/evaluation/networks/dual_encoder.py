"""A small dual encoder of images and captions, trained independently of any generator.

Its image network is trained too, or is a head on the features of a frozen one. Its text network learns its own word
embeddings. The generator is conditioned on MiniLM's embeddings, and an evaluation network that used them too would have
the same blind spots; the paper uses a dual encoder trained on Conceptual Captions for the same reason (section 5).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xmcgan.evaluation.networks.folder import CONFIG_FILE, SCENES_DUAL_ENCODER, load_network, read_folder, read_shape
from xmcgan.evaluation.networks.frozen_images import FeatureHead, FrozenImages
from xmcgan.evaluation.networks.image_network import CHUNK, ImageNetwork, to_network_size
from xmcgan.evaluation.networks.protocols import ImageFeatures
from xmcgan.evaluation.networks.shapes import HEAD_WIDTH, DualEncoderShape
from xmcgan.ops.unit_vectors import unit_rows
from xmcgan.runtime.field_types import shortened

PADDING, UNKNOWN, FIRST_WORD = 0, 1, 2


class TextNetwork(nn.Module):
    """Word ids words_BT, padded with PADDING -> (B, dim): a transformer, averaged over real words."""

    def __init__(self, *, vocabulary: int, words: int, width: int, layers: int, dim: int):
        super().__init__()
        self.words = nn.Embedding(FIRST_WORD + vocabulary, width)
        self.places = nn.Parameter(torch.randn(words, width) * 0.1)
        layer = nn.TransformerEncoderLayer(
            width, width // HEAD_WIDTH, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, dim)
        nn.init.normal_(self.words.weight, std=0.3)

    def forward(self, words_BT: Tensor) -> Tensor:
        real_BT = words_BT != PADDING
        x_BTD = self.words(words_BT) + self.places[: words_BT.shape[1]]
        x_BTD = self.layers(x_BTD, src_key_padding_mask=~real_BT) * real_BT[..., None]
        return self.head(x_BTD.sum(1) / real_BT.sum(1, keepdim=True))


class DualEncoderNetwork(nn.Module):
    """Image network, text network, and a learned inverse temperature of at most 100, as in CLIP.

    If the shape names a frozen image network, ``image`` is the head on its features.
    """

    def __init__(self, shape: DualEncoderShape, vocabulary: int):
        super().__init__()
        self.image = (
            ImageNetwork(image_size=shape.image_size, width=shape.width, dim=shape.dim)
            if shape.image_network is None
            else FeatureHead(shape.dim)
        )
        self.text = TextNetwork(
            vocabulary=vocabulary,
            words=shape.words,
            width=shape.text_width,
            layers=shape.text_layers,
            dim=shape.dim,
        )
        self.log_scale = nn.Parameter(torch.tensor(20.0).log())

    def scores(self, images_BF: Tensor, captions_BF: Tensor) -> Tensor:
        """Scaled cosine similarity of every image (row) and every caption (column), from the networks' outputs."""
        return self.log_scale.exp().clamp(max=100) * (unit_rows(images_BF) @ unit_rows(captions_BF).T)


def split_words(caption: str) -> list[str]:
    """The words of a caption: runs of letters and digits, in lower case."""
    return re.findall(r"\w+", unicodedata.normalize("NFKC", caption).casefold())


class Vocabulary:
    """Maps words to ids; unknown words have the id UNKNOWN.

    Args:
        words: distinct words, in the order of their embeddings.
    """

    def __init__(self, words: Sequence[str]):
        self.words = tuple(words)
        self.numbers = {word: number for number, word in enumerate(self.words, FIRST_WORD)}

    @classmethod
    def from_captions(cls, captions: Iterable[str], *, size: int) -> "Vocabulary":
        """The ``size`` most frequent words of captions; ties are broken alphabetically."""
        counts = Counter(word for caption in captions for word in split_words(caption))
        return cls(sorted(sorted(counts, key=lambda word: (-counts[word], word))[:size]))

    def __len__(self) -> int:
        return len(self.words)

    def __call__(self, captions: Sequence[str], *, length: int) -> Tensor:
        """Word ids (B, length) of B captions, padded with PADDING; a caption without words is a single UNKNOWN.

        The length is fixed so that a caption's embedding does not depend on the others in the batch.
        """
        words_BT = torch.full((len(captions), length), PADDING)
        for row, caption in zip(words_BT, captions, strict=True):
            numbers = [self.numbers.get(word, UNKNOWN) for word in split_words(caption)[:length]] or [UNKNOWN]
            row[: len(numbers)] = torch.tensor(numbers)
        return words_BT


class Exchange:
    """Makes hard negative captions by exchanging one word for another of its kind: "a red car", "a blue car".

    Captions of other images differ in so many ways that a dual encoder can ignore sides or counts; a caption with one
    wrong word differs only there (Yuksekgonul et al., When and Why Vision-Language Models Behave like Bags-of-Words,
    ICLR 2023).

    Args:
        kinds: groups of words that may replace each other.

    Raises:
        ValueError: if the vocabulary has fewer than two words of a kind, or a word belongs to two kinds.
    """

    def __init__(self, kinds: Sequence[Sequence[str]], vocabulary: Vocabulary):
        self.others: dict[int, list[int]] = {}
        self.kind: dict[int, int] = {}
        for number, kind in enumerate(kinds):
            known = [vocabulary.numbers[word] for word in kind if word in vocabulary.numbers]
            if len(known) < 2:
                raise ValueError(
                    f"the captions contain {len(known)} of the words {', '.join(kind)}; they should contain at least 2"
                )
            for word in known:
                if word in self.kind:
                    raise ValueError(
                        f"the word {vocabulary.words[word - FIRST_WORD]!r} is in two kinds; it should be in one"
                    )
                self.others[word], self.kind[word] = [other for other in known if other != word], number

    def __call__(self, words_BT: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """Exchange one random word of each caption; captions without an exchangeable word stay unchanged.

        The kind is drawn before the word, so that rare kinds are exchanged as often as common ones.
        """
        rows = words_BT.tolist()
        for row, generator in zip(rows, generators, strict=True):
            kinds = sorted({self.kind[word] for word in row if word in self.kind})
            if not kinds:
                continue
            kind = kinds[generator.integers(len(kinds))]
            places = [place for place, word in enumerate(row) if self.kind.get(word) == kind]
            place = places[generator.integers(len(places))]
            others = self.others[row[place]]
            row[place] = others[generator.integers(len(others))]
        return torch.tensor(rows)


class TrainedDualEncoder:
    """A trained dual encoder: implements protocols.DualEncoder and, for images, protocols.FeatureExtractor.

    Args:
        frozen: the frozen image network, if the shape names one.
    """

    def __init__(
        self,
        network: DualEncoderNetwork,
        shape: DualEncoderShape,
        vocabulary: Vocabulary,
        *,
        name: str,
        sha256: str,
        frozen: FrozenImages | None = None,
    ):
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.shape, self.vocabulary, self.frozen = shape, vocabulary, frozen
        self.name, self.dim, self.weights_sha256 = name, shape.dim, sha256
        self.protocol = (
            {"resize": f"bilinear-antialiased {shape.image_size}"} if frozen is None else dict(frozen.protocol)
        )

    def __call__(self, images_B3HW: Tensor) -> ImageFeatures:
        """Image embeddings as features; no logits."""
        return ImageFeatures(self.encode_images(images_B3HW), None)

    @torch.no_grad()
    def encode_images(self, images_B3HW: Tensor) -> Tensor:
        """uint8 pixels (B, 3, H, W) of any size to unit rows (B, dim), float32."""
        return torch.cat([self.encode_inputs(self.network_inputs(chunk)) for chunk in images_B3HW.split(CHUNK)])

    def network_inputs(self, images_B3HW: Tensor) -> Tensor:
        """The inputs of the image network: images of its size, or features of the frozen network."""
        if self.frozen is not None:
            return self.frozen(images_B3HW)
        return to_network_size(images_B3HW, self.shape.image_size)

    @torch.no_grad()
    def encode_inputs(self, inputs: Tensor) -> Tensor:
        """Inputs from :meth:`network_inputs` to unit rows (B, dim)."""
        return unit_rows(self.network.image(inputs))

    @torch.no_grad()
    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """Captions to unit rows (B, dim), float32; words outside the vocabulary count as unknown."""
        chunks = self.vocabulary(captions, length=self.shape.words).split(CHUNK)
        return torch.cat([unit_rows(self.network.text(words_BT)) for words_BT in chunks])


def load_dual_encoder_folder(folder: Path | str) -> TrainedDualEncoder:
    """Load a dual encoder written by ``xmcgan train-dual-encoder`` or ``xmcgan train-evaluators``.

    Raises:
        FileNotFoundError: if the configuration or the weights are missing.
        ValueError: if a file is damaged, or describes another kind of network.
    """
    folder = Path(folder)
    description = read_folder(folder, "dual-encoder")
    shape, words = read_shape(DualEncoderShape, folder, description), description.get("vocabulary")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{folder / CONFIG_FILE} is damaged: vocabulary should be a list of words")
    vocabulary = Vocabulary(words)
    network = load_network(lambda: DualEncoderNetwork(shape, len(vocabulary)), folder, description)
    return TrainedDualEncoder(
        network,
        shape,
        vocabulary,
        name=description["name"],
        sha256=description["weights_sha256"],
        frozen=frozen_images(shape, folder, description),
    )


def frozen_images(shape: DualEncoderShape, folder: Path, description: dict[str, Any]) -> FrozenImages | None:
    """The frozen image network that a folder's head was trained on; None if it has its own image network.

    Raises:
        ValueError: if the network's weights are not installed, or differ from those used in training.
    """
    if shape.image_network is None:
        return None
    frozen, expected = FrozenImages(shape.image_network, shape.image_size), description.get("image_network_sha256")
    if frozen.sha256 != expected:
        raise ValueError(
            f"{folder} was trained on {shape.image_network} with weights of SHA-256 {shortened(expected)}; those "
            f"installed have {frozen.sha256}"
        )
    return frozen


def load_scenes_dual_encoder() -> TrainedDualEncoder:
    """Load the dual encoder of Scenes that ships with the package (docs/evaluators.md)."""
    return load_dual_encoder_folder(SCENES_DUAL_ENCODER)
