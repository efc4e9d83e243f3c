"""The models of a server."""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmcgan.inference.pipeline import Pipeline
from xmcgan.inference.sample import batch_rows

EXAMPLES = (
    "two umbrellas on a beach at sunset",
    "a red car left of a stop sign under a night sky",
    "a white sheep on a meadow near a mountain",
    "two sailboats on the sea",
    "a chocolate cake and a mug of coffee on a wooden table",
    "a pink kite over a green field",
    "a yellow bus on a snowy street",
    "a traffic light and a green truck on a rainy street",
)
"""Captions to start from. A model with a vocabulary offers only captions whose words are all in it."""


@dataclass(frozen=True)
class ServedModel:
    """A model and the name that clients choose it by."""

    id: str
    pipe: Pipeline
    tokenizer: Any  # a copy: the encoder's own belongs to the thread that draws
    created: int

    @property
    def rows(self) -> int:
        """Images per forward pass. It is constant, because another batch size could change an image's last bit."""
        return self.pipe.batch_size or batch_rows(self.pipe.config.image_size, self.pipe.device)

    def describe(self, max_images: int) -> dict[str, Any]:
        """Its entry in GET /v1/models."""
        return {
            "id": self.id,
            "object": "model",
            "created": self.created,
            "owned_by": "xmcgan",
            "image_size": self.pipe.config.image_size,
            "step": self.pipe.step,
            "max_images": max_images,
            "max_words": self.pipe.config.text.max_length - 2,
            "vocabulary": self.pipe.words is not None,
            "attention": self.pipe.config.generator.modulation == "attentional",
            "examples": [caption for caption in EXAMPLES if not self.pipe.unknown_words(caption)],
        }


def load_models(sources: Sequence[str], *, device: str = "auto") -> dict[str, ServedModel]:
    """Models by name; the first is the default.

    Args:
        sources: as ``Pipeline.from_pretrained`` takes them, or NAME=SOURCE; without a NAME, the folder's name.

    Raises:
        ValueError: if two have the same name, or a model is damaged.
        FileNotFoundError: if there is no such model.
    """
    models: dict[str, ServedModel] = {}
    for source in sources:
        name, equals, path = source.partition("=")
        path = path if equals else source
        name = name if equals else Path(source).resolve().name if Path(source).is_dir() else source
        if name in models:
            raise ValueError(f"two models are called {name}; give one another name with NAME={path}")
        pipe = Pipeline.from_pretrained(path, device=device)
        models[name] = ServedModel(name, pipe, copy.deepcopy(pipe.encoder.tokenizer), int(time.time()))
    return models
