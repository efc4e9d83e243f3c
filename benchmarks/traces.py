"""Do mouse traces help? Trains scenes-narratives-64 with and without losses.trace and evaluates on held-out scenes.

    python benchmarks/traces.py --output runs/traces [--steps 500] [--seeds 0 1 2] [--weights 0 1 10]

Existing runs are resumed: the same command, or one with more seeds, evaluates all of them. Prints these metrics for
each run as JSON lines, and then their means and standard deviations:
attention in the box  share of a word's attention (discriminator, real held-out images) inside the box of the one object
                      that it names; uniform attention would give the box's share of the area
retrieval             top-1 accuracy among 100 narratives by the region-word score, for real held-out images

OUTPUT/attention.png shows the attention of words in a few held-out images, for the first seed.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.nn import functional as F

from xmcgan.config import Config
from xmcgan.data.images import ImageTransform, open_image, to_images
from xmcgan.data.layouts import read_records
from xmcgan.data.records import Box, Record
from xmcgan.encoders.text import TextEncoder
from xmcgan.inference.model_files import newest_checkpoint
from xmcgan.losses.contrastive import region_word_scores
from xmcgan.ops.unit_vectors import unit_rows
from xmcgan.recipes import RECIPES
from xmcgan.scenes import World, write_scenes
from xmcgan.training.loop import train
from xmcgan.training.state import initial_state, load_state
from xmcgan.types import REGION_GRID, TextEmbedding

HELD_OUT = 400

WORLD = World(
    most_objects=2,
    backgrounds=("field", "beach", "snow", "street"),
    kinds=("car", "bus", "sheep", "bird", "umbrella", "kite", "bench", "stop sign"),
)
"""Few enough kinds of objects to learn in minutes; up to two objects, so that a word has to choose."""


def regions_of(box: Box) -> Tensor:
    """The share of each of the 16 x 16 regions that lies in a box: (R,)."""
    edges = np.arange(REGION_GRID + 1) / REGION_GRID

    def covered(first: float, length: float) -> np.ndarray:
        overlap = np.minimum(edges[1:], first + length) - np.maximum(edges[:-1], first)
        return np.clip(overlap, 0, None) * REGION_GRID

    shares = np.outer(covered(box.top, box.height), covered(box.left, box.width))
    return torch.from_numpy(shares.ravel()).float()


class Features(NamedTuple):
    """A trained discriminator's region features of B held-out images, and the attention of the words over regions."""

    text: TextEmbedding
    regions_BRD: Tensor
    alpha_BTR: Tensor
    words: list[list[str]]


@torch.no_grad()
def extract_features(config: Config, run: Path, held_out: list[Record]) -> Features:
    """Features of held-out images from the newest discriminator of a run."""
    encoder = TextEncoder(
        config.text.encoder, max_length=config.text.max_length, layers=config.text.layers, cache_mb=256
    )
    training = initial_state(config, encoder.dim, torch.device("cpu"))
    checkpoint = newest_checkpoint(run / "checkpoints")
    assert checkpoint is not None, run
    load_state(training, checkpoint)
    discriminator = training.discriminator.eval()
    transform = ImageTransform(config.image_size)
    captions = [record.captions[0] for record in held_out]
    text = encoder(captions)
    images = to_images(torch.stack([transform(record) for record in held_out]))
    regions = torch.cat(
        [
            discriminator(images[rows], text.rows(rows)).features[0].regions_BRD
            for rows in torch.arange(len(captions)).split(25)
        ]
    )
    alpha_BTR = F.softmax(config.losses.rho_1 * (unit_rows(text.words_BTD) @ unit_rows(regions).mT), dim=-1)
    return Features(text, regions, alpha_BTR, [encoder.tokens(caption) for caption in captions])


def named(record: Record, words: list[str]) -> list[tuple[Box, int]]:
    """The boxes with a unique category in the image, each with the position of its word in the caption."""
    names = [box.category for box in record.boxes]
    lone = [box for box in record.boxes if names.count(box.category) == 1 and box.category.split()[-1] in words]
    return [(box, words.index(box.category.split()[-1])) for box in lone]


def evaluate(features: Features, held_out: list[Record]) -> dict[str, float]:
    """The metrics of a run, and the mean share of the image area in the boxes."""
    inside, area = [], []
    for record, alpha_TR, words in zip(held_out, features.alpha_BTR, features.words, strict=True):
        for box, place in named(record, words):
            shares = regions_of(box)
            inside.append(float(alpha_TR[place] @ shares))
            area.append(float(shares.mean()))
    text = features.text
    right = [
        region_word_scores(features.regions_BRD[rows], text.words_BTD[rows], text.mask_BT[rows]).argmax(1)
        == torch.arange(len(rows))
        for rows in torch.arange(len(held_out)).split(100)
    ]
    return {
        "attention_in_box": float(np.mean(inside)),
        "box_area": float(np.mean(area)),
        "words": len(inside),
        "retrieval_top1_of_100": float(torch.cat(right).float().mean()),
    }


def plot_attention(by_weight: dict[float, Features], held_out: list[Record], path: Path, columns: int = 6) -> None:
    """Plots images of two objects, the box of one, and the attention of its word for each weight of the loss."""
    shown = [
        (number, *found[0])
        for number, record in enumerate(held_out)
        if len(found := named(record, next(iter(by_weight.values())).words[number])) == 2
    ][:columns]
    figure, axes = plt.subplots(
        1 + len(by_weight), columns, figsize=(1.7 * columns, 1.85 * (1 + len(by_weight))), squeeze=False
    )
    for column, (number, box, place) in zip(axes.T, shown, strict=True):
        edges = (64 * box.left - 0.5, 64 * box.top - 0.5), 64 * box.width, 64 * box.height
        column[0].imshow(open_image(held_out[number]).resize((64, 64)))
        column[0].set_title(box.category)
        for axis, features in zip(column[1:], by_weight.values(), strict=True):
            alpha = features.alpha_BTR[number, place].view(REGION_GRID, REGION_GRID)
            axis.imshow(alpha, extent=(-0.5, 63.5, 63.5, -0.5), cmap="magma", vmin=0)
        for axis in column:
            axis.add_patch(Rectangle(*edges, fill=False, edgecolor="white", linewidth=1.2))
            axis.set(xticks=[], yticks=[])
    for axis, label in zip(axes[:, 0], ["picture", *(f"trace {weight:g}" for weight in by_weight)], strict=True):
        axis.set_ylabel(label)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


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
    by_weight: dict[float, Features] = {}
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
            features = extract_features(config, run, held_out)
            by_weight.setdefault(weight, features)
            found.append(evaluate(features, held_out))
            print(json.dumps({"weight": weight, "seed": seed, "steps": options.steps, **found[-1]}), flush=True)
    for weight, found in results.items():
        for name in found[0]:
            values = [each[name] for each in found]
            print(f"weight {weight:g}: {name} {np.mean(values):.3f} +- {np.std(values):.3f}")
    plot_attention(by_weight, held_out, options.output / "attention.png")


if __name__ == "__main__":
    main()
