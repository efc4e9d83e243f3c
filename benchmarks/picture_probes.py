"""How well a model of Scenes follows a caption, and how much two of its images differ, beside real pictures.

    python benchmarks/picture_probes.py --model scenes-64 --count 1000

Mistakes: the share of captions that the packaged dual encoder finds nearer to their image than the same caption with
one word exchanged (side, colour, kind, background, weather). Diversity: the mean distance of two images of one caption,
generated from two seeds, and of two real pictures that have a caption in common; in the dual encoder's features (cosine
distance), in EfficientNet-Lite0's, and of pixels averaged over blocks of 4 x 4. The model was trained with
EfficientNet-Lite0's features; the dual encoder it never saw.
"""

import argparse
import json
import random
from collections import defaultdict

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xmcgan import Pipeline
from xmcgan.data.images import to_images
from xmcgan.encoders.efficientnet import EfficientNetLite0
from xmcgan.evaluation.networks.dual_encoder import load_scenes_dual_encoder
from xmcgan.evaluation.networks.probes import MISTAKES, fresh_scenes
from xmcgan.scenes import World, describe, render_scene, sample_scene
from xmcgan.scenes.scene import stream

WORLD = World(most_objects=2, sides=1.0)


def generate(pipe: Pipeline, captions: list[str], seeds: list[int]) -> Tensor:
    """Images as uint8 (B, 3, H, W)."""
    images = pipe(captions, seed=seeds).images
    return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])


def mistakes(pipe: Pipeline, count: int) -> dict[str, dict[str, float]]:
    """By mistake, the share found of real pictures and of generated ones, each generated for the caption tested."""
    encoder = load_scenes_dual_encoder()
    scenes, real_B3HW = fresh_scenes(count, WORLD)
    real_BF, rng = encoder.encode_images(real_B3HW), random.Random(0)
    pairs: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for number, scene in enumerate(scenes):
        caption = rng.choice(describe(scene, rng, sides=WORLD.sides))
        for mistake, make in MISTAKES.items():
            if (wrong := make(caption, scene, rng)) is not None:
                pairs[mistake].append((number, caption, wrong))
    captions = list({caption: number for made in pairs.values() for number, caption, _ in made})
    fake_CF = encoder.encode_images(generate(pipe, captions, list(range(len(captions)))))
    position = {caption: place for place, caption in enumerate(captions)}
    found = {}
    for mistake, made in pairs.items():
        numbers, right, wrong = zip(*made, strict=True)
        difference = encoder.encode_captions(right) - encoder.encode_captions(wrong)
        of = {"real": real_BF[list(numbers)], "generated": fake_CF[[position[caption] for caption in right]]}
        found[mistake] = {name: ((x * difference).sum(1) > 0).float().mean().item() for name, x in of.items()}
        found[mistake]["captions"] = len(made)
    return found


def pairs_of_one_caption(count: int) -> list[tuple[str, int, int]]:
    """Captions that two scenes of the validation split share, with the numbers of the scenes."""
    owners: dict[str, list[int]] = defaultdict(list)
    for number in range(12 * count):
        for caption in set(
            describe(sample_scene(0, "val", number, WORLD), stream(0, "val", number, "captions"), sides=1.0)
        ):
            owners[caption].append(number)
    shared = [(caption, *numbers[:2]) for caption, numbers in owners.items() if len(numbers) > 1]
    random.Random(0).shuffle(shared)
    return shared[:count]


def diversity(pipe: Pipeline, count: int) -> dict[str, dict[str, float]]:
    """Mean distances of real and generated pairs, and of generated images of different captions."""
    encoder, network = load_scenes_dual_encoder(), EfficientNetLite0.pretrained()
    shared = pairs_of_one_caption(count)
    captions = [caption for caption, _, _ in shared]

    def draw(numbers: list[int]) -> Tensor:
        pictures = [np.array(render_scene(sample_scene(0, "val", number, WORLD), 64).picture) for number in numbers]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)

    sets = {
        "real": (draw([a for _, a, _ in shared]), draw([b for _, _, b in shared])),
        "generated": tuple(generate(pipe, captions, [seed] * len(captions)) for seed in (0, 1)),
    }
    sets["generated, other captions"] = (sets["generated"][0], sets["generated"][1].roll(1, 0))
    found: dict[str, dict[str, float]] = {}
    for name, (a, b) in sets.items():
        pooled = [F.avg_pool2d(to_images(x), 4) for x in (a, b)]
        with torch.no_grad():
            lite = [F.normalize(network.features(to_images(x)), dim=1) for x in (a, b)]
        dual = [encoder.encode_images(x) for x in (a, b)]
        found[name] = {
            "dual encoder": (1 - (dual[0] * dual[1]).sum(1)).mean().item(),
            "efficientnet-lite0": (1 - (lite[0] * lite[1]).sum(1)).mean().item(),
            "pooled pixels": (pooled[0] - pooled[1]).abs().mean().item(),
            "pairs": len(a),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="scenes-64")
    parser.add_argument("--count", type=int, default=1000, help="scenes of the probes; a third as many pairs")
    options = parser.parse_args()
    pipe = Pipeline.from_pretrained(options.model)
    print(
        json.dumps(
            {"mistakes": mistakes(pipe, options.count), "diversity": diversity(pipe, options.count // 3)}, indent=2
        )
    )


if __name__ == "__main__":
    main()
