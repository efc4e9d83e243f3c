"""Do mouse traces help? scenes-narratives-64 with and without losses.trace, over seeds, judged on held-out scenes.

    python benchmarks/traces.py --output runs/traces [--steps 500] [--seeds 0 1 2] [--weights 0 1 10]

Runs that are there already go on where they stood: the same command again, or with more seeds, judges them all.
Printed for each run, as JSON lines, and then as means with standard deviations:
attention in the box  share of a word's attention (discriminator, real held-out images) that falls into the box of the
                      one object it names; a word without knowledge would have the share of the box's area
retrieval             top 1 of 100 by the region-word score: the right narrative of a real held-out image
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xmcgan.checkpoint import newest_checkpoint
from xmcgan.config import RECIPES, Config
from xmcgan.data.captions import ImageTransform, to_images
from xmcgan.data.layouts import read_records
from xmcgan.data.records import Box, Record
from xmcgan.data.scenes import World, write_scenes
from xmcgan.losses import region_word_scores
from xmcgan.precision import unit_rows
from xmcgan.text import TextEncoder
from xmcgan.train import load_into, start, train
from xmcgan.types import REGION_GRID

HELD_OUT = 400

WORLD = World(
    most_objects=2,
    backgrounds=("field", "beach", "snow", "street"),
    kinds=("car", "bus", "sheep", "bird", "umbrella", "kite", "bench", "stop sign"),
)
"""Few enough things that a training of minutes learns them; up to two, so that a word has to choose."""


def regions_of(box: Box) -> Tensor:
    """How much of each of the 16 x 16 regions lies in a box: (R,)."""
    edges = np.arange(REGION_GRID + 1) / REGION_GRID

    def covered(first: float, length: float) -> np.ndarray:
        overlap = np.minimum(edges[1:], first + length) - np.maximum(edges[:-1], first)
        return np.clip(overlap, 0, None) * REGION_GRID

    shares = np.outer(covered(box.top, box.height), covered(box.left, box.width))
    return torch.from_numpy(shares.ravel()).float()


@torch.no_grad()
def judge(config: Config, run: Path, held_out: list[Record]) -> dict[str, float]:
    """The two figures of a run, and the share of the picture that the boxes take."""
    encoder = TextEncoder(
        config.text.encoder, max_length=config.text.max_length, layers=config.text.layers, cache_mb=256
    )
    training = start(config, encoder.dim, torch.device("cpu"))
    checkpoint = newest_checkpoint(run / "checkpoints")
    assert checkpoint is not None, run
    load_into(training, checkpoint)
    discriminator = training.discriminator.eval()
    transform = ImageTransform(config.image_size)
    captions = [record.captions[0] for record in held_out]
    text = encoder(captions)
    images = to_images(torch.stack([transform(record) for record in held_out]))
    regions = torch.cat(
        [discriminator(images[rows], text[rows]).region_features_BRD for rows in torch.arange(len(captions)).split(25)]
    )
    alpha_BTR = F.softmax(config.losses.rho_1 * (unit_rows(text.words_BTD) @ unit_rows(regions).mT), dim=-1)
    inside, area = [], []
    for record, alpha_TR in zip(held_out, alpha_BTR, strict=True):
        words = encoder.tokens(record.captions[0])
        names = [box.category for box in record.boxes]
        for box in record.boxes:
            if names.count(box.category) == 1 and box.category.split()[-1] in words:
                shares = regions_of(box)
                inside.append(float(alpha_TR[words.index(box.category.split()[-1])] @ shares))
                area.append(float(shares.mean()))
    right = [
        region_word_scores(regions[rows], text.words_BTD[rows], text.mask_BT[rows]).argmax(1) == torch.arange(len(rows))
        for rows in torch.arange(len(captions)).split(100)
    ]
    return {
        "attention_in_box": float(np.mean(inside)),
        "box_area": float(np.mean(area)),
        "words": len(inside),
        "retrieval_top1_of_100": float(torch.cat(right).float().mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 1.0, 10.0])
    options = parser.parse_args()
    data = options.output / "scenes"
    write_scenes(data, size=64, train=3000, val=HELD_OUT, evaluator=0, world=WORLD)
    recipe = RECIPES["scenes-narratives-64"]
    results: dict[float, list[dict[str, float]]] = {weight: [] for weight in options.weights}
    for seed in options.seeds:
        for weight, found in results.items():
            config = replace(
                recipe,
                data=str(data),
                losses=replace(recipe.losses, trace=weight),
                training=replace(
                    recipe.training, steps=options.steps, seed=seed, sample_every=10**6, checkpoint_every=options.steps
                ),
            )
            layout = config.dataset.layout
            records = read_records(data, layout, "train2014", annotations=True)
            held_out = list(read_records(data, layout, "val2014", annotations=True))
            run = options.output / f"weight-{weight:g}-seed-{seed}"
            train(config, run, records=records, sample_captions=["a red car"])
            found.append(judge(config, run, held_out))
            print(json.dumps({"weight": weight, "seed": seed, "steps": options.steps, **found[-1]}), flush=True)
    for weight, found in results.items():
        for name in found[0]:
            values = [each[name] for each in found]
            print(f"weight {weight:g}: {name} {np.mean(values):.3f} +- {np.std(values):.3f}")


if __name__ == "__main__":
    main()
