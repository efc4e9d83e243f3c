"""A small dual encoder of images and captions, trained from scratch and apart from every generator.

Its text network has its own words rather than MiniLM's embeddings: those condition the generator, and a judge that
reads with the same eyes as the judged would overlook the same things (the paper takes a dual encoder trained on
Conceptual Captions for the same reason, section 5).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from xmcgan.evaluation.networks.folder import SCENES_DUAL_ENCODER, load_network, read_folder
from xmcgan.evaluation.networks.image_network import CHUNK, ImageNetwork, to_network_size
from xmcgan.evaluation.networks.protocols import ImageFeatures
from xmcgan.ops.unit_vectors import unit_rows

PADDING, UNKNOWN, FIRST_WORD = 0, 1, 2
HEAD_WIDTH = 32


@dataclass(frozen=True)
class DualEncoderShape:
    """What the networks are built from.

    Args:
        image_size: images are resized to this side in pixels, a multiple of 16.
        width: channels of the image network's first block.
        dim: of the space that images and captions share.
        text_width: of the word embeddings, a multiple of 32, the width of a head.
        text_layers: of the text network.
        words: read of a caption; the rest is cut off.
    """

    image_size: int = 64
    width: int = 32
    dim: int = 256
    text_width: int = 96
    text_layers: int = 2
    words: int = 32

    def __post_init__(self):
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name} is {value}; it should be at least 1")
        if self.text_width % HEAD_WIDTH:
            raise ValueError(f"text_width is {self.text_width}; it should be a multiple of {HEAD_WIDTH}")


class TextNetwork(nn.Module):
    """words_BT, numbers of words, PADDING where there is none -> (B, dim): a transformer, averaged over real words."""

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
    """Both networks and the learnt temperature of their scores (as CLIP has it, its inverse kept under 100)."""

    def __init__(self, shape: DualEncoderShape, vocabulary: int):
        super().__init__()
        self.image = ImageNetwork(image_size=shape.image_size, width=shape.width, dim=shape.dim)
        self.text = TextNetwork(
            vocabulary=vocabulary,
            words=shape.words,
            width=shape.text_width,
            layers=shape.text_layers,
            dim=shape.dim,
        )
        self.log_scale = nn.Parameter(torch.tensor(20.0).log())

    def scores(self, images_BF: Tensor, captions_BF: Tensor) -> Tensor:
        """Of every image (row) with every caption (column), from what the two networks make of them."""
        return self.log_scale.exp().clamp(max=100) * (unit_rows(images_BF) @ unit_rows(captions_BF).T)


def spelled(caption: str) -> list[str]:
    """The words of a caption: runs of letters and digits, in lower case."""
    return re.findall(r"\w+", unicodedata.normalize("NFKC", caption).casefold())


class Vocabulary:
    """Words and their numbers; one that is not among them has the number UNKNOWN.

    Args:
        words: all different, in the order of their embeddings.
    """

    def __init__(self, words: Sequence[str]):
        self.words = tuple(words)
        self.numbers = {word: number for number, word in enumerate(self.words, FIRST_WORD)}

    @classmethod
    def of(cls, captions: Iterable[str], *, most: int) -> "Vocabulary":
        """The ``most`` commonest words of some captions; of equally common ones the first in the alphabet."""
        counts = Counter(word for caption in captions for word in spelled(caption))
        return cls(sorted(sorted(counts, key=lambda word: (-counts[word], word))[:most]))

    def __len__(self) -> int:
        return len(self.words)

    def __call__(self, captions: Sequence[str], *, length: int) -> Tensor:
        """words_BT, B captions of ``length`` words, PADDING behind them; one without a word is a single UNKNOWN.

        The length is the same whatever is asked for, so that a caption's embedding does not depend on its company.
        """
        words_BT = torch.full((len(captions), length), PADDING)
        for row, caption in zip(words_BT, captions, strict=True):
            numbers = [self.numbers.get(word, UNKNOWN) for word in spelled(caption)[:length]] or [UNKNOWN]
            row[: len(numbers)] = torch.tensor(numbers)
        return words_BT


class Exchange:
    """Puts one word of a caption for another of its kind: "a red car" becomes "a blue car".

    A caption and the same with a mistake are told apart by an image alone, where random captions of other images differ
    in so much that sides or counts need not be looked at (Yuksekgonul et al., When and Why Vision-Language Models
    Behave like Bags-of-Words, ICLR 2023).

    Args:
        kinds: words that stand for one another.

    Raises:
        ValueError: if the vocabulary has fewer than two words of a kind, or a word is of two kinds.
    """

    def __init__(self, kinds: Sequence[Sequence[str]], vocabulary: Vocabulary):
        self.others: dict[int, list[int]] = {}
        self.kind: dict[int, int] = {}
        for number, kind in enumerate(kinds):
            known = [vocabulary.numbers[word] for word in kind if word in vocabulary.numbers]
            if len(known) < 2:
                raise ValueError(f"of the words {', '.join(kind)} the captions have {len(known)}; it should be two")
            for word in known:
                if word in self.kind:
                    raise ValueError(f"the word {vocabulary.words[word - FIRST_WORD]!r} is to be exchanged in two ways")
                self.others[word], self.kind[word] = [other for other in known if other != word], number

    def __call__(self, words_BT: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """The same captions with a mistake each, a random one; those without a word to exchange stay as they are.

        A kind is chosen before one of its words, so that a rare one is exchanged as often as a common one.
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
    """A trained dual encoder: a protocols.DualEncoder, and a protocols.FeatureExtractor of the images' unit vectors."""

    def __init__(
        self, network: DualEncoderNetwork, shape: DualEncoderShape, vocabulary: Vocabulary, *, name: str, sha256: str
    ):
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.shape, self.vocabulary = shape, vocabulary
        self.name, self.dim, self.weights_sha256 = name, shape.dim, sha256
        self.protocol = {"resize": f"bilinear-antialiased {shape.image_size}"}

    def __call__(self, images_B3HW: Tensor) -> ImageFeatures:
        """The unit vectors of images as features to compare as distributions; there are no logits."""
        return ImageFeatures(self.encode_images(images_B3HW), None)

    @torch.no_grad()
    def encode_images(self, images_B3HW: Tensor) -> Tensor:
        """uint8 pixels (B, 3, H, W) of any size to unit rows (B, dim), float32."""
        chunks = images_B3HW.split(CHUNK)
        return torch.cat(
            [unit_rows(self.network.image(to_network_size(chunk, self.shape.image_size))) for chunk in chunks]
        )

    @torch.no_grad()
    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """Captions to unit rows (B, dim), float32; a word that was not learnt counts as unknown."""
        chunks = self.vocabulary(captions, length=self.shape.words).split(CHUNK)
        return torch.cat([unit_rows(self.network.text(words_BT)) for words_BT in chunks])


def load_dual_encoder_folder(folder: Path | str) -> TrainedDualEncoder:
    """A dual encoder that ``xmcgan train-dual-encoder`` or ``xmcgan train-evaluators`` wrote.

    Raises:
        FileNotFoundError: if the folder holds none, or its weights are missing.
        ValueError: if a file is damaged, or of another kind.
    """
    folder = Path(folder)
    description = read_folder(folder, "dual-encoder")
    shape, vocabulary = DualEncoderShape(**description["shape"]), Vocabulary(description["vocabulary"])
    network = load_network(DualEncoderNetwork(shape, len(vocabulary)), folder, description)
    return TrainedDualEncoder(
        network, shape, vocabulary, name=description["name"], sha256=description["weights_sha256"]
    )


def load_scenes_dual_encoder() -> TrainedDualEncoder:
    """The dual encoder of Scenes, as it ships with the package (docs/evaluators.md)."""
    return load_dual_encoder_folder(SCENES_DUAL_ENCODER)
