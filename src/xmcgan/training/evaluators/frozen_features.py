"""Features of a frozen image network, computed once for all training images and kept beside the training."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from xmcgan.data.images import ImageTransform
from xmcgan.data.records import Record
from xmcgan.data.stream import Example, ExampleStream
from xmcgan.evaluation.networks.dual_encoder import DualEncoderNetwork
from xmcgan.evaluation.networks.frozen_images import FeatureHead, FrozenImages
from xmcgan.evaluation.networks.preparation import CHUNK
from xmcgan.inference.model_files import read_tensors, save_tensors
from xmcgan.runtime.files import make_folder
from xmcgan.runtime.progress import ProgressBar, say
from xmcgan.training.evaluators.settings import Fitting

FEATURES_FOLDER = "features"

BATCH = 4 * CHUNK

PART = 13 * BATCH
"""Images per file of features: after a stop, at most this many are computed again."""


class FeatureStream(Dataset):
    """The same endless examples as an ExampleStream's, with an image's features in place of its pixels.

    Args:
        examples: choose image, caption and mirroring.
        features_VNF: features of every record; if examples are mirrored, the second view is the mirror images.
    """

    def __init__(self, examples: ExampleStream, features_VNF: Tensor):
        self.examples, self.features_VNF = examples, features_VNF

    def __getitem__(self, index: int) -> Example:
        chosen = self.examples.choice(index)
        return Example(self.features_VNF[int(chosen.flip), chosen.index].float(), chosen.caption, index)


def feature_stream(
    frozen: FrozenImages,
    network: DualEncoderNetwork,
    examples: ExampleStream,
    fitting: Fitting,
    output: Path,
    progress: bool,
) -> FeatureStream:
    """The examples with features in place of pixels; the network's head learns to standardise from all features."""
    features_VNF = image_features(frozen, examples.records, fitting, output, progress=progress)
    assert isinstance(network.image, FeatureHead)
    network.image.standardise(features_VNF.flatten(0, 1).float())
    return FeatureStream(examples, features_VNF)


def image_features(
    frozen: FrozenImages, records: Sequence[Record], fitting: Fitting, output: Path, *, progress: bool
) -> Tensor:
    """Features (V, N, F) of N images, float16; V is 2 if the training mirrors images, else 1.

    They are computed in parts, one file each under ``output/features``; existing files are read. The folder belongs to
    one training, whose settings name images and network, so it holds no other features.
    """
    folder, transform = output / FEATURES_FOLDER, ImageTransform(frozen.image_size, fitting.fit)
    make_folder(folder)
    parts = []
    shown = progress and any(not part_file(folder, start).exists() for start in range(0, len(records), PART))
    with ProgressBar(total=len(records), unit="image", desc="features", disable=not shown) as bar:
        for start in range(0, len(records), PART):
            part = records[start : start + PART]
            features_VNF = read_part(part_file(folder, start), (1 + fitting.flip, len(part)))
            if features_VNF is None:
                batches = [part[first : first + BATCH] for first in range(0, len(part), BATCH)]
                features_VNF = torch.cat([views_of(frozen, batch, transform, fitting, bar) for batch in batches], 1)
                save_tensors({"features_VNF": features_VNF}, part_file(folder, start))
            else:
                bar.update(len(part))
            parts.append(features_VNF)
    return torch.cat(parts, 1)


def views_of(
    frozen: FrozenImages, records: Sequence[Record], transform: ImageTransform, fitting: Fitting, bar: ProgressBar
) -> Tensor:
    """Features (V, B, F) of a batch."""
    pixels_B3HW = torch.stack([transform(record) for record in records])
    views = [pixels_B3HW, pixels_B3HW.flip(3)] if fitting.flip else [pixels_B3HW]
    features_VBF = torch.stack([frozen(view) for view in views]).half()
    bar.update(len(records))
    return features_VBF


def part_file(folder: Path, start: int) -> Path:
    return folder / f"{start:08d}.safetensors"


def read_part(path: Path, shape: tuple[int, int]) -> Tensor | None:
    """A part's features; None if the file is missing or damaged: then they are computed again."""
    if not path.is_file():
        return None
    try:
        features_VNF = read_tensors(path)["features_VNF"]
    except (ValueError, KeyError, OSError) as error:
        say(f"computing features again: {error}")
        return None
    return features_VNF if features_VNF.shape[:2] == shape else None
