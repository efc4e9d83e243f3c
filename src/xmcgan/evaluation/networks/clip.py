"""CLIP as a dual encoder (R-precision, CLIPScore) and as a feature extractor.

Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021. Tested with random
weights only: the published weights were not available during development.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPModel

from xmcgan.evaluation.networks.preparation import CHUNK, as_pil, in_chunks, strict_float32
from xmcgan.evaluation.networks.pretrained import (
    image_protocol,
    load_image_processor,
    load_model,
    load_tokenizer,
    pretrained_folder,
    pretrained_sha256,
)
from xmcgan.evaluation.networks.protocols import ImageFeatures
from xmcgan.ops.unit_vectors import unit_rows

CLIP = "openai/clip-vit-base-patch32"
"""The model of CLIPScore (Hessel et al., EMNLP 2021)."""


class Clip:
    """CLIP embeddings: normalised as a dual encoder, unnormalised as a feature extractor.

    Images go through the model's own processor. Captions longer than CLIP's 77 tokens (two of them special) are
    truncated, so only the beginning of long captions such as Localized Narratives counts.

    Args:
        source: a local folder of transformers, or a hub name to download.

    Raises:
        ValueError: naming the source, if it is not a CLIP model with its processor and tokenizer.
    """

    def __init__(self, name: str, source: Path | str = CLIP, *, device: torch.device | str = "cpu"):
        folder = pretrained_folder(source)
        self.name, self.device = name, torch.device(device)
        self.model = load_model(CLIPModel, folder, ("clip",)).to(self.device)
        self.processor = load_image_processor(folder)
        self.tokenizer = load_tokenizer(folder)
        self.dim: int = self.model.config.projection_dim
        self.max_length: int = self.model.config.text_config.max_position_embeddings
        self.weights_sha256 = pretrained_sha256(folder)
        self.protocol = {**image_protocol(self.processor), "caption_length": str(self.max_length)}

    def __call__(self, images_B3HW: Tensor) -> ImageFeatures:
        """uint8 images to unnormalised embeddings (B, F), as in clean-fid's CLIP FID; no logits."""
        return ImageFeatures(self.project_images(images_B3HW), None)

    def encode_images(self, images_B3HW: Tensor) -> Tensor:
        """uint8 images to unit rows (B, F), float32 on the CPU."""
        return unit_rows(self.project_images(images_B3HW))

    def project_images(self, images_B3HW: Tensor) -> Tensor:
        pixels = self.processor(as_pil(images_B3HW), return_tensors="pt")["pixel_values"]
        with strict_float32(self.device):
            return in_chunks(self.project, pixels.to(self.device)).cpu()

    def project(self, pixels_B3HW: Tensor) -> Tensor:
        return self.model.get_image_features(pixel_values=pixels_B3HW).pooler_output

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """Captions, without a prompt, to unit rows (B, F), float32 on the CPU.

        Every forward pass has CHUNK captions of full length, padded with empty ones, so that an embedding does not
        depend on the other captions.
        """
        rows = []
        for start in range(0, len(captions), CHUNK):
            chunk = list(captions[start : start + CHUNK])
            tokens = self.tokenizer(
                chunk + [""] * (CHUNK - len(chunk)),
                padding="max_length",
                truncation=True,
                max_length=self.max_length,
                return_tensors="pt",
            ).to(self.device)
            with strict_float32(self.device):
                rows.append(self.model.get_text_features(**tokens).pooler_output[: len(chunk)].cpu())
        return unit_rows(torch.cat(rows))
