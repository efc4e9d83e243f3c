"""Which terms of the loss pull most at generated images, and how steady is the pull of the frozen features?

    xmcgan scenes data/scenes-64
    python benchmarks/generator_gradients.py --model runs/plus     # a run or checkpoint, discriminator.kind combined

Draws images of the first 24 held-out captions with the averaged generator and prints, for each term of the generator's
loss, without its weight:

- the length of its gradient with respect to an image, mean over the images, and of the part that is left after
  averaging blocks of 4 x 4 pixels;
- for the adversarial loss on frozen features, the cosine between its gradients at an image and at slightly changed
  copies: moved by up to m pixels, or with a little noise. A smooth function's gradients would hardly turn.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xmcgan.data.images import ImageTransform, to_images
from xmcgan.data.layouts import read_records
from xmcgan.encoders.efficientnet import EfficientNetLite0
from xmcgan.inference.model_files import find_model, load
from xmcgan.inference.pipeline import Pipeline
from xmcgan.losses.contrastive import mean_loss
from xmcgan.losses.objective import Objective
from xmcgan.model.build import build_discriminator
from xmcgan.model.combined_discriminator import CombinedDiscriminator
from xmcgan.training.initial_weights import discriminator_file, model_config
from xmcgan.types import TextEmbedding

IMAGES = 24
COPIES = 4
MARGIN = 8


def term_gradients(
    discriminator: CombinedDiscriminator,
    objective: Objective,
    real_B3HW: Tensor,
    fake_B3HW: Tensor,
    text: TextEmbedding,
) -> dict[str, Tensor]:
    """Each term's gradient with respect to the generated images, times their number: (B, 3, H, W)."""
    with torch.no_grad():
        real = discriminator(real_B3HW, text)
    images = fake_B3HW.clone().requires_grad_()
    fake = discriminator(images, text)
    paper, frozen = fake.logits_B.chunk(2, 1)
    terms = {"adversarial, the paper's network": -paper.mean(), "adversarial, frozen features": -frozen.mean()}
    terms |= {name: loss.loss for name, (_, loss) in objective.text_losses("fake", fake, text).items()}
    pairs = zip(real.features, fake.features, strict=True)
    losses = [objective.gathered_nt_xent(one.images_BF, other.images_BF) for one, other in pairs]
    terms["image_discriminator"] = mean_loss(losses).loss
    return {name: torch.autograd.grad(term, images, retain_graph=True)[0] * len(images) for name, term in terms.items()}


def frozen_gradient(
    discriminator: CombinedDiscriminator, images_B3HW: Tensor, text: TextEmbedding, change: Callable[[Tensor], Tensor]
) -> Tensor:
    """The gradient of the adversarial loss on frozen features, at changed images, with respect to the inner pixels."""
    images = images_B3HW.clone().requires_grad_()
    logits_BP = discriminator.frozen(change(images), text).logits_B
    (gradient,) = torch.autograd.grad(-logits_BP.mean(1).sum(), images)
    return gradient[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


def moves(most: int) -> list[Callable[[Tensor], Tensor]]:
    """Different moves by up to ``most`` pixels down and right; the edges are repeated."""
    steps = 2 * most + 1
    return [partial(moved, most, *divmod(place, steps)) for place in torch.randperm(steps**2)[:COPIES].tolist()]


def moved(most: int, down: int, right: int, images_B3HW: Tensor) -> Tensor:
    side = images_B3HW.shape[-1]
    return F.pad(images_B3HW, (most,) * 4, mode="replicate")[..., down : down + side, right : right + side]


def noisy(sigma: float, images_B3HW: Tensor) -> Tensor:
    return images_B3HW + sigma * torch.randn_like(images_B3HW)


def mean_length(gradient_B3HW: Tensor) -> float:
    return float(gradient_B3HW.flatten(1).norm(dim=1).mean())


def main(options: argparse.Namespace) -> None:
    torch.manual_seed(0)
    folder = find_model(options.model)
    config, path = model_config(folder), discriminator_file(folder)
    kind = config.discriminator.kind
    if kind != "combined":
        raise ValueError(
            f"{options.model} has discriminator.kind {kind}; it should be combined, two networks to compare"
        )
    if path is None:
        raise FileNotFoundError(f"{options.model} has no discriminator; name a run or a checkpoint")
    pipeline = Pipeline.from_pretrained(options.model)
    discriminator = build_discriminator(config, pipeline.encoder.dim, EfficientNetLite0.pretrained(None))
    assert isinstance(discriminator, CombinedDiscriminator)
    load(discriminator, path)
    discriminator.eval()

    records = read_records(options.data, config.dataset.layout, config.dataset.validation_split)[:IMAGES]
    captions, transform = [record.captions[0] for record in records], ImageTransform(config.image_size)
    real = to_images(torch.stack([transform(record) for record in records]))
    drawn = [torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in pipeline(captions).images]
    fake = to_images(torch.stack(drawn))
    text = pipeline.encoder(captions)

    print(f"{options.model}: length of each term's gradient, and of its mean over 4 x 4 pixels")
    for name, gradient in term_gradients(discriminator, Objective.from_config(config.losses), real, fake, text).items():
        coarse = F.avg_pool2d(gradient, 4) * 4  # as long as the gradient where it is constant in each block
        print(f"  {name}: {mean_length(gradient):.2f}, {mean_length(coarse):.2f}", flush=True)

    print("cosine between the frozen features' gradients at copies of an image, and their length")
    changes = {f"moved by up to {most} pixels": moves(most) for most in (1, 8)}
    changes |= {f"noise of {sigma}": [partial(noisy, sigma)] * COPIES for sigma in (0.02, 0.05, 0.1)}
    for name, each in changes.items():
        copies = [frozen_gradient(discriminator, fake, text, change) for change in each]
        cosines = [torch.cosine_similarity(a.flatten(1), b.flatten(1)).mean() for a, b in combinations(copies, 2)]
        length = sum(mean_length(copy) for copy in copies) / COPIES
        print(f"  {name}: {float(torch.stack(cosines).mean()):.2f}, {length:.2f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a run or a checkpoint")
    parser.add_argument("--data", type=Path, default=Path("data/scenes-64"))
    try:
        main(parser.parse_args())
    except (ValueError, OSError) as error:
        sys.exit(f"generator_gradients.py: {error}")
