"""Validation during training: generate images for some validation captions and evaluate them."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xmcgan.config import Config
from xmcgan.data.images import ImageTransform
from xmcgan.data.records import Record
from xmcgan.encoders.text import TextEncoder
from xmcgan.evaluation.chosen_networks import load_evaluation_networks
from xmcgan.evaluation.evaluate import evaluate
from xmcgan.evaluation.features import Reference
from xmcgan.evaluation.image_set import SETTINGS, generate_set, random_captions
from xmcgan.evaluation.metric_names import DISTRIBUTION, LOWER_IS_BETTER, metric_names
from xmcgan.inference.fused import fuse_generator
from xmcgan.inference.model_files import content_sha256, tensors
from xmcgan.inference.noise import NOISE
from xmcgan.inference.sample import sample
from xmcgan.model.generator import Generator
from xmcgan.runtime.distributed import on_main
from xmcgan.runtime.files import read_object
from xmcgan.runtime.progress import say
from xmcgan.training.checkpoint import read_best, save_best
from xmcgan.training.log import Log
from xmcgan.training.state import TrainingState


class Evaluation(NamedTuple):
    """Metrics of a generator."""

    values: dict[str, float]  # by metric
    score: float  # higher is better; selects the best generator


Evaluate = Callable[[Generator, int], Evaluation]
"""Evaluates the EMA generator at a step. Every rank calls it and gets the same result."""


def validate(
    evaluate: Evaluate, state: TrainingState, output: Path, step: int, config: Config, text_dim: int, log: Log
) -> None:
    """Evaluate the EMA generator, log its metrics, and keep it if it is the best so far."""
    evaluation = evaluate(state.ema.network, step)
    on_main(keep_best, state, output, step, config, text_dim, evaluation)
    log.write_evaluation(step, evaluation.values)  # last: its line says that the evaluation is complete


def keep_best(
    state: TrainingState, output: Path, step: int, config: Config, text_dim: int, evaluation: Evaluation
) -> None:
    """Write the EMA generator and its metrics to ``best/`` if its score is the highest so far.

    Scores with other metrics, counts, networks or noise are not comparable: then it replaces the one there.
    """
    known = read_best(output / "best")
    settings = asdict(config.evaluation) | {"noise": NOISE}
    comparable = known is not None and known.get("settings", settings) == settings
    if known is None or not comparable or evaluation.score > known["score"]:
        if known is not None and not comparable:
            say(f"best/ held a score of other evaluation settings; it now holds step {step}")
        description = {"step": step, **evaluation._asdict(), "settings": settings}
        save_best(output / "best", description, state.ema.network, config, text_dim, step)


def drop_other_images(folder: Path, drawn_by: dict[str, Any]) -> None:
    """Deletes images of an interrupted evaluation that other weights drew, such as the weights of an earlier run."""
    try:
        known = read_object(folder / SETTINGS)
    except FileNotFoundError:
        return
    except ValueError:  # damaged: it is unknown what drew them
        known = {}
    if known != drawn_by:
        shutil.rmtree(folder)


NETWORKS = ("extractor", "encoder", "detector")


def make_validation(config: Config, output: Path, held_out: Sequence[Record], *, device: torch.device) -> Evaluate:
    """Make the function with which ``train`` evaluates its EMA generator, always on the same captions and seeds.

    Generated images are kept under ``output/evaluation`` only during an evaluation; cached features of the real images
    stay there.

    Args:
        held_out: captioned images that are not trained on; all are references for fid and similar metrics.

    Raises:
        ValueError: on an unknown metric or network, or weights that do not fit.
    """
    settings = config.evaluation
    metrics = metric_names(settings.metrics)
    networks = load_evaluation_networks(
        metrics,
        {role: getattr(settings, role) for role in NETWORKS},
        {role: getattr(settings, f"{role}_weights") for role in NETWORKS},
        scenes=(Path(config.data) / "scenes.json").is_file(),
        device=device,
    )
    requests = random_captions(held_out, min(settings.count, sum(len(record.captions) for record in held_out)))
    transform = ImageTransform(config.image_size, config.dataset.fit)
    folder, split = output / "evaluation", config.dataset.validation_split
    encoder = TextEncoder.from_config(config.text, device=device)
    encoder_sha256 = content_sha256(tensors(encoder.model))

    def evaluate_generator(generator: Generator, step: int) -> Evaluation:
        fused = fuse_generator(generator)

        def generate(captions: Sequence[str], seeds: Sequence[int]) -> Tensor:
            return sample(fused, encoder(captions), seeds).images_B3HW

        images_folder = folder / f"step-{step:08d}"
        drawn_by = {
            "step": step,
            "noise": NOISE,
            "generator_sha256": content_sha256(tensors(generator)),
            "text_encoder_sha256": encoder_sha256,
        }
        on_main(drop_other_images, images_folder, drawn_by)
        images = generate_set(images_folder, requests, generate, settings=drawn_by, progress=False)
        results = evaluate(
            images,
            requests,
            transform=transform,
            networks=networks,
            metrics=metrics,
            system=f"step {step}",
            protocol={"split": split},
            reference=Reference(held_out, transform, folder / "cache", split)
            if any(name in DISTRIBUTION for name in metrics)
            else None,
            progress=False,
        )
        on_main(shutil.rmtree, images_folder)
        values, first = {result.metric: result.value for result in results}, results[0].value
        return Evaluation(values, -first if metrics[0] in LOWER_IS_BETTER else first)

    return evaluate_generator
