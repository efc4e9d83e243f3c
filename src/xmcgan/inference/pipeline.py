"""Captions to images in two lines.

pipe = Pipeline.from_pretrained("scenes-64")
pipe("a red car left of a stop sign under a night sky", seed=7).images[0].save("car.png")
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xmcgan.config import Config, to_dict
from xmcgan.encoders.text import TextEncoder
from xmcgan.inference.fused import fuse_generator
from xmcgan.inference.interpolation import Drawing, between, draw
from xmcgan.inference.model_files import (
    CONFIG_FILE,
    GENERATOR_FILE,
    content_sha256,
    find_model,
    load_generator,
    read_description,
    read_tensors,
    save_generator,
    tensors,
)
from xmcgan.inference.noise import NOISE, Noise
from xmcgan.inference.sample import sample, to_image
from xmcgan.inference.vocabulary import unknown_words
from xmcgan.model.generator import Generator
from xmcgan.runtime.device import resolve_device
from xmcgan.runtime.files import atomic_folder, write_text
from xmcgan.runtime.locks import locked_folder
from xmcgan.types import REGION_GRID

CARD_FILE = "README.md"

MOST_IMAGES = 100_000
"""Most images of one call."""


@dataclass(frozen=True)
class PipelineOutput:
    """The images of a call; every list has one entry per image."""

    images: list[Image.Image]
    captions: list[str]
    seeds: list[int]
    words: list[list[str]]  # the text encoder's word pieces, [CLS] and [SEP] included
    attention: list[np.ndarray] | None
    """Each word's map over the image, (words, 16, 16); at every place the words' shares sum to 1. None if the generator
    has plain self-modulation."""
    unknown_words: list[list[str]]
    """For each caption, its words that are in no training caption; empty if the model has no vocabulary."""


class Pipeline:
    """A text encoder and the EMA generator: captions in, PIL images out.

    The same caption and seed give the same image: bit for bit on one device, whatever else is in the batch, and up to
    rounding on others. The noise of a seed is the same everywhere, even in a browser.

    Args:
        generator: in evaluation mode.
        config: configuration of the run that it comes from.
        step: training step of the generator.
        device: ``auto``, ``cpu``, ``cuda``, ...
        dtype: of the weights and feature maps when drawing: float32, bfloat16 or float16.
        batch_size: images per forward pass; chosen by image size and device unless given. It can change the last bit.
        words: the vocabulary of the training captions, if it is known.
    """

    def __init__(
        self,
        generator: Generator,
        config: Config,
        step: int,
        *,
        device: str = "auto",
        dtype: torch.dtype = torch.float32,
        batch_size: int | None = None,
        words: Sequence[str] | None = None,
    ):
        self.words = words
        self.config, self.step, self.dtype, self.batch_size = config, step, dtype, batch_size
        self.device = resolve_device(device)
        self.generator = generator.to(self.device).to(memory_format=torch.channels_last)
        self.fused = fuse_generator(self.generator, dtype)
        self.encoder = TextEncoder.from_config(config.text, device=self.device, cache_mb=16)
        wanted = generator.sentence_projection.in_features
        if self.encoder.dim != wanted:
            raise ValueError(
                f"the text encoder {config.text.encoder} has word embeddings of {self.encoder.dim} dimensions, but the "
                f"generator takes {wanted}: it was trained with another encoder"
            )

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str = "auto",
        dtype: torch.dtype = torch.float32,
        batch_size: int | None = None,
        revision: str | None = None,
    ) -> "Pipeline":
        """A pipeline from a run, a checkpoint, a saved pipeline, a packaged model (``scenes-64``), or the hub.

        A local folder comes before a packaged model of the same name.

        Raises:
            FileNotFoundError: if it is neither a folder of this library nor a model on the hub.
            ValueError: naming the file that is damaged.
        """
        folder = find_model(source, revision)
        generator, config, step = load_generator(folder)
        words = read_description(folder).get("words")
        return cls(generator, config, step, device=device, dtype=dtype, batch_size=batch_size, words=words)

    def __call__(
        self,
        captions: str | Sequence[str],
        *,
        seed: int | Sequence[int] = 0,
        num_images: int = 1,
        truncation: float = 1.0,
        noise: Noise = NOISE,
        callback: Callable[[int, int], None] | None = None,
    ) -> PipelineOutput:
        """Draws ``num_images`` images of every caption, one caption after the other.

        Any string is a caption. An empty one gives an image without a description, one longer than
        ``config.text.max_length`` word pieces is cut, and letters outside the encoder's vocabulary become [UNK].

        Args:
            captions: one or several.
            seed: image k of a caption has seed + k; or a list with one seed for every image.
            num_images: images of each caption.
            truncation: factor of the noise, 0 to 1; smaller gives images that are more alike and more typical.
            noise: what a seed stands for: ``philox``, or ``numpy`` to repeat images of earlier versions.
            callback: called with (images done, all images).

        Raises:
            TypeError: if a caption is not a string.
            ValueError: if there is no caption, the number of seeds is wrong, or one is not 0 to 2^53 - 1.
        """
        chosen, repeated, seeds = requested(captions, seed, num_images)
        text = self.encoder(chosen)  # refuses anything but strings; the tokenizer would take lists of words
        words = {caption: self.encoder.tokens(caption) for caption in dict.fromkeys(chosen)}
        samples = sample(
            self.fused,
            text.rows([position for position in range(len(chosen)) for _ in range(num_images)]),
            seeds,
            noise=noise,
            truncation=truncation,
            batch_size=self.batch_size,
            callback=callback,
        )
        maps = None
        if samples.attention_BRT is not None:
            maps = [word_maps(a, len(words[c])) for a, c in zip(samples.attention_BRT, repeated, strict=True)]
        return PipelineOutput(
            images=[to_image(pixels_3HW) for pixels_3HW in samples.images_B3HW],
            captions=repeated,
            seeds=seeds,
            words=[words[caption] for caption in repeated],
            attention=maps,
            unknown_words=[self.unknown_words(caption) for caption in repeated],
        )

    def interpolate(
        self,
        captions: tuple[str, str],
        *,
        seeds: tuple[int, int] = (0, 0),
        steps: int = 9,
        truncation: float = 1.0,
        noise: Noise = NOISE,
    ) -> list[Image.Image]:
        """``steps`` images from one caption and seed to another (``xmcgan.inference.interpolation``).

        The first and last images are the ones of the two captions with their seeds.

        Raises:
            ValueError: if there are fewer than 2 steps, or a seed or truncation is out of range.
        """
        drawings = between(captions, seeds, steps=steps, truncation=truncation)

        def images(group: list[Drawing]) -> list[Image.Image]:
            drawn = draw(self.fused, self.encoder, group, batch_size=self.batch_size, noise=noise)
            return [to_image(pixels_3HW) for pixels_3HW in drawn.images_B3HW]

        first, last = images([drawings[0], drawings[-1]])  # ends and mixtures need batches of different shapes
        return [first, *(images(drawings[1:-1]) if steps > 2 else []), last]

    def unknown_words(self, caption: str) -> list[str]:
        """The words of a caption that are in no training caption; empty if the model has no vocabulary."""
        return [] if self.words is None else unknown_words(caption, self.words)

    def fingerprint(self) -> dict[str, str | int | None]:
        """What determines the image of a caption and seed: hashes of all weights, and how captions are encoded."""
        return {
            "generator_sha256": content_sha256(tensors(self.generator)),
            "text_encoder_sha256": content_sha256(tensors(self.encoder.model)),
            "max_length": self.config.text.max_length,
            "layers": self.config.text.layers,
        }

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Writes the pipeline into a folder that ``from_pretrained`` can read: safetensors, JSON and a model card.

        Args:
            overwrite: replace another model in the folder.

        Raises:
            FileExistsError: if the folder holds something else, or another process is saving into it.
            WriteFailed: naming the file that could not be written; a model that was there is still intact.
        """
        folder = Path(folder).resolve()
        with locked_folder(folder, "saved into", beside=True):
            self.save_locked(folder, overwrite=overwrite)
        return folder

    def save_locked(self, folder: Path, *, overwrite: bool) -> None:
        """``save_pretrained`` while the folder is locked."""
        names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        if folder.exists() and (not folder.is_dir() or names - {CONFIG_FILE, GENERATOR_FILE, CARD_FILE}):
            raise FileExistsError(f"{folder} holds other files; choose a new or empty folder")
        known = GENERATOR_FILE in names and not overwrite
        if known and not holds(folder / GENERATOR_FILE, tensors(self.generator)):
            raise FileExistsError(f"{folder} holds another model; choose a new or empty folder, or overwrite it")
        card = model_card(self.config, self.step)
        if CARD_FILE in names:  # a card written by somebody else stays
            card = (folder / CARD_FILE).read_text(encoding="utf-8")
        with atomic_folder(folder, replace=True) as partial:
            save_generator(partial, self.generator, self.config, self.encoder.dim, self.step, self.words)
            write_text(partial / CARD_FILE, card)

    def push_to_hub(self, repository: str, *, private: bool = False, token: str | None = None) -> str:
        """Uploads the pipeline to a model repository on the hub, created if need be, and returns its address.

        Raises:
            ValueError: if the text encoder is a local folder, which nobody else has.
        """
        if Path(self.config.text.encoder).is_dir():
            raise ValueError(
                f"the text encoder is the local folder {self.config.text.encoder}, which others do not have; push it "
                "to the hub first and train with its name"
            )
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            url = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=folder)
        return str(url)


def holds(path: Path, weights: dict[str, Tensor]) -> bool:
    """Whether a safetensors file holds these weights; a damaged one does not."""
    try:
        return content_sha256(read_tensors(path)) == content_sha256(weights)
    except ValueError:
        return False


def requested(
    captions: str | Sequence[str], seed: int | Sequence[int], num_images: int
) -> tuple[list[str], list[str], list[int]]:
    """The captions, and the caption and seed of every image.

    Raises:
        ValueError: if there is no caption, too many images, or the wrong number of seeds.
    """
    if not isinstance(captions, str | Sequence):
        raise TypeError(f"captions is {captions!r}; it should be a string or a list of strings")
    chosen = [captions] if isinstance(captions, str) else list(captions)
    if not chosen:
        raise ValueError("no caption was given")
    if num_images < 1:
        raise ValueError(f"num_images is {num_images}; it should be at least 1")
    if len(chosen) * num_images > MOST_IMAGES:
        raise ValueError(
            f"num_images is {num_images:,}, times {len(chosen):,} captions; a call holds its images in memory and "
            f"generates at most {MOST_IMAGES:,}. Call it several times, with other seeds"
        )
    repeated = [caption for caption in chosen for _ in range(num_images)]
    seeds = [seed + k for _ in chosen for k in range(num_images)] if isinstance(seed, int) else list(seed)
    if len(seeds) != len(repeated):
        raise ValueError(
            f"{len(seeds)} seeds do not fit {len(repeated)} images; give one number, or a seed for each image"
        )
    return chosen, repeated, seeds


def word_maps(attention_RT: Tensor, words: int) -> np.ndarray:
    """Attention of the regions over T words as one 16 x 16 map for each real word."""
    return attention_RT[:, :words].T.reshape(words, REGION_GRID, REGION_GRID).numpy()


def attention_overlay(image: Image.Image, word_map: np.ndarray) -> Image.Image:
    """A word's map over the picture: bright and coloured where the word shaped it most, elsewhere grey and dim.

    The map is scaled to its own range, so the brightness of two words' maps cannot be compared.
    """
    import matplotlib

    low, high = word_map.min(), word_map.max()
    relative = (word_map - low) / (high - low if high > low else 1.0)
    smooth = Image.fromarray(relative.astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC)
    heat = np.clip(np.asarray(smooth), 0, 1)
    colours = matplotlib.colormaps["inferno"](heat)[..., :3]
    grey = np.asarray(image.convert("L").convert("RGB"), dtype=np.float32) / 255
    mixed = 0.45 * grey + 0.55 * colours
    return Image.fromarray((255 * np.clip(mixed, 0, 1)).astype(np.uint8))


def model_card(config: Config, step: int) -> str:
    """The README of a saved pipeline, which the hub shows."""
    front = "---\nlibrary_name: xmcgan\npipeline_tag: text-to-image\nlicense: apache-2.0\n---\n\n"
    return front + (
        f"# XMC-GAN, {config.image_size} px\n\n"
        "A one-stage text-to-image GAN with cross-modal contrastive losses (Zhang et al., CVPR 2021).\n\n"
        f"Trained for {step:,} steps of {config.training.batch_size} images on {code(config.data)}; captions are read "
        f"by {code(config.text.encoder)}.\n\n"
        "```python\nfrom xmcgan import Pipeline\n\n"
        'pipe = Pipeline.from_pretrained("this repository")\n'
        'pipe("a caption", seed=0).images[0].save("picture.png")\n```\n\n'
        f"The whole configuration:\n\n```json\n{json.dumps(to_dict(config), indent=2)}\n```\n"
    )


def code(text: str) -> str:
    """Text as inline code in Markdown, whatever it contains."""
    text = text.replace("`", "'")
    return f"`{text}`"
