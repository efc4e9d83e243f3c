"""DINOv2 as a feature extractor: Fréchet distances on its features agree better with human rankings of generators.

Stein et al., Exposing flaws of generative model evaluation metrics and their unfair treatment of diffusion models,
NeurIPS 2023. Tested with random weights only: the published weights were not available during development.
"""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from transformers import Dinov2Model

from xmcgan.evaluation.networks.preparation import as_pil, in_chunks, strict_float32
from xmcgan.evaluation.networks.pretrained import (
    colour,
    load_image_processor,
    load_model,
    pretrained_folder,
    pretrained_sha256,
)
from xmcgan.evaluation.networks.protocols import ImageFeatures

DINOV2 = "facebook/dinov2-large"
"""ViT-L/14, the model of the published Fréchet distances."""


class DinoV2:
    """The class token after DINOv2's last norm.

    PIL resizes the whole image (bicubic, rounded) to the processor's crop size, as Stein et al. did for their published
    distances; transformers' default would crop a border. transformers also interpolates the position embeddings
    slightly differently from Meta's code (no offset of 0.1), so the last digits of a distance may differ from published
    ones; the difference was not measured.

    Args:
        source: a local folder of transformers, or a hub name to download.

    Raises:
        ValueError: naming the source, if it is not a DINOv2 with its processor.
    """

    def __init__(self, name: str, source: Path | str = DINOV2, *, device: torch.device | str = "cpu"):
        folder = pretrained_folder(source)
        self.name, self.device = name, torch.device(device)
        self.model = load_model(Dinov2Model, folder, ("dinov2",)).to(self.device)
        self.processor = load_image_processor(folder)
        self.dim: int = self.model.config.hidden_size
        self.weights_sha256 = pretrained_sha256(folder)
        cropped = self.processor.crop_size
        if not cropped or cropped.height != cropped.width:
            raise ValueError(f"{folder}: crop_size in preprocessor_config.json is {cropped}; it should be a square")
        self.side: int = cropped.height
        self.protocol = {
            "resize": f"pil-bicubic {self.side}",
            "features": "class token after the last norm",
            "mean": colour(self.processor.image_mean),
            "std": colour(self.processor.image_std),
        }

    def __call__(self, images_B3HW: Tensor) -> ImageFeatures:
        """uint8 images of any size to features (B, F), float32 on the CPU; no logits."""
        pixels = self.processor(
            as_pil(images_B3HW),
            size={"height": self.side, "width": self.side},
            do_center_crop=False,
            resample=Image.Resampling.BICUBIC,
            return_tensors="pt",
        )["pixel_values"]
        with strict_float32(self.device):
            features_BF = in_chunks(lambda chunk: self.model(chunk).pooler_output, pixels.to(self.device))
        return ImageFeatures(features_BF.cpu(), None)
