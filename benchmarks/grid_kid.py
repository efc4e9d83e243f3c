"""Kernel distance (KID) of the images of a grid to real held-out Scenes, in the features of an extractor.

    python benchmarks/grid_kid.py ablations/scenes/grids/*.png --data data/scenes-64

Sixty-four images are too few for a Fréchet distance; this estimate has no bias at any number. Cubic kernel, no subsets
(Binkowski et al. 2018). As many real images as a grid has are held back, and compared with the rest first.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xmcgan.data.images import ImageTransform
from xmcgan.data.layouts import read_records
from xmcgan.evaluation.chosen_networks import load_evaluation_networks, required
from xmcgan.recipes import RECIPES


def kid(x_MF: Tensor, y_NF: Tensor) -> float:
    """The unbiased estimate of the squared MMD."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def mean_of_pairs(rows: Tensor) -> Tensor:
        products = kernel(rows, rows)
        return (products.sum() - products.trace()) / (len(rows) * (len(rows) - 1))

    return float(mean_of_pairs(x_MF) + mean_of_pairs(y_NF) - 2 * kernel(x_MF, y_NF).mean())


def tiles(path: Path, side: int) -> Tensor:
    """The images of a grid without gaps: (N, 3, H, W) uint8."""
    pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB")))
    if any(length % side for length in pixels.shape[:2]):
        raise SystemExit(f"{path} is {pixels.shape[1]} x {pixels.shape[0]}; it should be images of {side} without gaps")
    return pixels.unfold(0, side, side).unfold(1, side, side).flatten(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grids", type=Path, nargs="+", help="PNG files")
    parser.add_argument("--data", type=Path, required=True, help="Scenes")
    parser.add_argument("--real", type=int, default=1000, help="held-out images to compare with")
    parser.add_argument("--extractor", default="efficientnet-lite2")
    options = parser.parse_args()
    if missing := [str(path) for path in options.grids if not path.is_file()]:
        raise SystemExit(f"{missing[0]} is missing; a grid is a PNG file, such as gpu_study.py writes")
    config = RECIPES["scenes-64"]
    roles = dict.fromkeys(("extractor", "encoder", "detector"))
    networks = load_evaluation_networks(
        ["fid"], roles | {"extractor": options.extractor}, roles, scenes=True, device=torch.device("cpu")
    )

    def features(images_N3HW: Tensor) -> Tensor:
        return torch.cat([required(networks.extractor)(part).features_BF for part in images_N3HW.split(50)]).double()

    records = read_records(options.data, config.dataset.layout, config.dataset.validation_split)
    transform = ImageTransform(config.image_size, config.dataset.fit)
    real_NF = features(torch.stack([transform(records[n]) for n in range(min(options.real, len(records)))]))
    for number, path in enumerate(options.grids):
        found_MF = features(tiles(path, config.image_size))
        held_MF, rest_NF = real_NF[: len(found_MF)], real_NF[len(found_MF) :]
        if number == 0:
            print(f"{kid(held_MF, rest_NF):8.4f} {len(held_MF)} real images", flush=True)
        print(f"{kid(found_MF, rest_NF):8.4f} {path.stem}", flush=True)


if __name__ == "__main__":
    main()
