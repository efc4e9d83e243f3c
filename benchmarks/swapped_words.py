"""Does a discriminator see which objects an image shows, or only colours? Swaps one word in captions of real images.

    xmcgan scenes data/scenes-64
    python benchmarks/swapped_words.py --model runs/plus             # the discriminator of a run or checkpoint
    python benchmarks/swapped_words.py --train scenes-64             # or contrastive heads trained on real images alone
    python benchmarks/swapped_words.py --train scenes-64-frozen

Of 400 held-out images of Scenes, prints the share for which the true caption scores higher than the same caption with
another object of the same place ("bus" for "car"), and than with another colour; 50 % is chance. Scores are the
image-sentence similarity and the region-word score, of each network with contrastive heads, and the mean logit.
``--train`` takes the discriminator of a recipe and trains it for the image-sentence and region-word losses, without a
generator, so its logit means nothing then.

Only the word itself is replaced, so some false captions are odd ("a fire bench"), and "orange" counts as a colour even
where it is the fruit. That makes them a little easier to tell, for every discriminator alike.
"""

import argparse
import random
import re
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from xmcgan.config import Config
from xmcgan.data.images import ImageTransform, to_images
from xmcgan.data.layouts import read_records
from xmcgan.data.records import Record
from xmcgan.encoders.efficientnet import EfficientNetLite0
from xmcgan.encoders.text import TextEncoder
from xmcgan.inference.model_files import find_model, load
from xmcgan.losses.contrastive import region_word_scores
from xmcgan.losses.objective import LossWeights, Objective
from xmcgan.model.build import AnyDiscriminator, build_discriminator
from xmcgan.recipes import RECIPES
from xmcgan.scenes.scene import BACKGROUNDS, COLOURS
from xmcgan.training.initial_weights import discriminator_file, model_config
from xmcgan.types import TextEmbedding

NOUNS = {
    "airplane": ("airplane", "plane"), "apple": ("apple",), "banana": ("banana",), "bench": ("bench",),
    "bird": ("bird",), "boat": ("boat",), "bus": ("bus",), "cake": ("cake",), "car": ("car",), "clock": ("clock",),
    "couch": ("couch", "sofa"), "cup": ("cup", "mug"), "donut": ("donut",), "fire hydrant": ("hydrant",),
    "kite": ("kite",), "sheep": ("sheep",), "sports ball": ("ball",), "teddy bear": ("bear",), "train": ("train",),
    "truck": ("truck",), "umbrella": ("umbrella",), "vase": ("vase",),
}  # fmt: skip
"""Kinds whose name can replace another's without another change of the caption."""

PLACES = [*({*background.low} for background in BACKGROUNDS.values()), {"bird", "kite", "airplane"}]
HELD_OUT = 400


class Swapped(NamedTuple):
    """A held-out image, a true caption, and the caption with another object, and with another colour."""

    record: Record
    true: str
    kind: str
    colour: str


def swapped(record: Record, rng: random.Random) -> Swapped | None:
    """The first caption of a record and two false ones; None if it names no object of ``NOUNS`` or no colour."""
    caption = record.captions[0].lower()
    words = re.findall(r"[a-z]+", caption)
    nouns = [(kind, noun) for kind, forms in NOUNS.items() for noun in forms if noun in words]
    colours = [colour for colour in COLOURS if colour in words]
    if not nouns or not colours:
        return None
    kind, noun = rng.choice(nouns)
    named = {each for each, _ in nouns}
    beside = set().union(*(place for place in PLACES if kind in place))
    others = sorted(other for other in beside - named if other in NOUNS)
    if not others:
        return None
    colour = rng.choice(colours)
    other_colour = rng.choice([each for each in COLOURS if each not in colours])
    return Swapped(
        record,
        caption,
        re.sub(rf"\b{noun}\b", NOUNS[rng.choice(others)][0], caption, count=1),
        re.sub(rf"\b{colour}\b", other_colour, caption, count=1),
    )


@torch.no_grad()
def scores(discriminator: AnyDiscriminator, images_B3HW: Tensor, text: TextEmbedding) -> dict[str, Tensor]:
    """Each score of images with their captions: (B,)."""
    output = discriminator(images_B3HW, text)
    found = {"logit": output.logits_B.flatten(1).mean(1) if output.logits_B.ndim > 1 else output.logits_B}
    for number, features in enumerate(output.features, 1):
        found[f"sentence, network {number}"] = torch.cosine_similarity(features.images_BF, features.sentences_BF)
        rows = [slice(row, row + 1) for row in range(len(images_B3HW))]
        words = [region_word_scores(features.regions_BRD[row], text.words_BTD[row], text.mask_BT[row]) for row in rows]
        found[f"word, network {number}"] = torch.cat(words).flatten()
    return found


def report(discriminator: AnyDiscriminator, config: Config, encoder: TextEncoder, held_out: list[Swapped]) -> None:
    """Prints the shares."""
    discriminator.eval()
    transform = ImageTransform(config.image_size)
    right: dict[str, list[Tensor]] = {}
    for start in range(0, len(held_out), 100):
        part = held_out[start : start + 100]
        images = to_images(torch.stack([transform(each.record) for each in part]))
        true, kind, colour = (
            scores(discriminator, images, encoder(captions)) for captions in list(zip(*part, strict=True))[1:]
        )
        for name, values in true.items():
            right.setdefault(name, []).append(torch.stack([values > kind[name], values > colour[name]]))
    for name, found in right.items():
        of_kind, of_colour = torch.cat(found, 1).float().mean(1).tolist()
        print(f"  {name}: object {of_kind:.1%}, colour {of_colour:.1%}", flush=True)
    discriminator.train()


def train(discriminator: AnyDiscriminator, config: Config, encoder: TextEncoder, options: argparse.Namespace) -> None:
    """Trains a discriminator for its text losses on real images alone; reports three times."""
    settings = RECIPES["scenes-64"].training
    records = read_records(options.data, config.dataset.layout, "train2014")
    held_out = held_out_images(options.data, config)
    objective = Objective(weights=LossWeights(sentence=1.0, word=1.0))
    betas = settings.beta1, settings.beta2
    optimizer = torch.optim.Adam(discriminator.parameters(), settings.discriminator_lr, betas)
    transform, rng = ImageTransform(config.image_size), random.Random(options.seed)
    steps = options.images // settings.batch_size
    reported = {steps // 3, 2 * steps // 3, steps}
    for step in range(1, steps + 1):
        batch = rng.choices(records, k=settings.batch_size)
        text = encoder([rng.choice(record.captions) for record in batch])
        real = discriminator(to_images(torch.stack([transform(record) for record in batch])), text)
        losses = objective.text_losses("real", real, text)
        optimizer.zero_grad()
        torch.stack([weight * loss.loss for weight, loss in losses.values()]).sum().backward()
        optimizer.step()
        if step in reported:
            print(f"{options.train}, after {step * settings.batch_size:,} images")
            report(discriminator, config, encoder, held_out)


def held_out_images(data: Path, config: Config) -> list[Swapped]:
    """The first held-out images whose captions can be changed."""
    rng = random.Random(0)
    records = read_records(data, config.dataset.layout, "val2014")
    return [found for record in records if (found := swapped(record, rng))][:HELD_OUT]


def main(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    folder = None if options.train else find_model(options.model)
    config = RECIPES[options.train] if folder is None else model_config(folder)
    encoder = TextEncoder.from_config(config.text, device="cpu", cache_mb=512)
    frozen = EfficientNetLite0.pretrained(None) if config.discriminator.uses_frozen_features else None
    discriminator = build_discriminator(config, encoder.dim, frozen).to(memory_format=torch.channels_last)
    if folder is None:
        train(discriminator, config, encoder, options)
        return
    path = discriminator_file(folder)
    if path is None:
        raise FileNotFoundError(f"{options.model} has no discriminator; name a run or a checkpoint")
    load(discriminator, path)
    print(options.model)
    report(discriminator, config, encoder, held_out_images(options.data, config))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", help="a run or a checkpoint")
    what.add_argument("--train", choices=[name for name in RECIPES if name.startswith("scenes-64")])
    parser.add_argument("--data", type=Path, default=Path("data/scenes-64"))
    parser.add_argument("--images", type=int, default=14_400, help="images to train on, at least 72")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.images < 72:
        parser.error(f"--images is {options.images}; it should be at least 72, three batches")
    try:
        main(options)
    except (ValueError, OSError) as error:
        sys.exit(f"swapped_words.py: {error}")
