"""Estimates how long the demo takes on this machine, from its first images and training steps."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from xmcgan.config import Config
from xmcgan.evaluation.networks.dual_encoder import load_scenes_dual_encoder
from xmcgan.inference.pipeline import Pipeline
from xmcgan.profiling.flops import random_batch
from xmcgan.runtime.device import resolve_device
from xmcgan.scenes import World, render_scene, sample_scene
from xmcgan.training.state import initial_state
from xmcgan.training.step import train_step

NETWORKS = 3
"""An evaluated image goes through the dual encoder and the presence network, its real one through the dual encoder."""


@dataclass(frozen=True)
class Rates:
    """Seconds on this machine."""

    scene: float  # to draw and write a scene
    image: float  # to generate an image with the packaged model
    evaluated: float  # to evaluate an image
    step: float  # to train a step


def measure(pipe: Pipeline, recipe: Config) -> Rates:
    """Times a few of each, within a few seconds."""
    captions = [f"a red car number {number}" for number in range(16)]
    images = torch.zeros(16, 3, 64, 64, dtype=torch.uint8)
    encoder = load_scenes_dual_encoder()
    device = resolve_device(recipe.training.device)
    state = initial_state(recipe, pipe.encoder.dim, device)
    batches = [random_batch(recipe, pipe.encoder.dim, device) for _ in range(recipe.training.discriminator_steps)]
    return Rates(
        scene=seconds(lambda: [render_scene(sample_scene(0, "train", n, World()), 64) for n in range(16)]) / 16,
        image=seconds(lambda: pipe(captions)) / 16,
        evaluated=NETWORKS * seconds(lambda: encoder.encode_images(images)) / 16,
        step=seconds(lambda: train_step(state, batches), times=3),
    )


def seconds(work: Callable[[], object], *, times: int = 2) -> float:
    """The median time of a call, after an untimed first call."""
    work()
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def steps_within(budget: float, step: float, most: int) -> int:
    """The training steps that fit into a number of seconds: a multiple of 50, and at least 50."""
    return max(50, min(most, int(budget / step) // 50 * 50))


def spoken(duration: float) -> str:
    """A duration as people say it: ``40 seconds``, ``6.5 minutes``."""
    if duration < 90:
        return f"{max(5, round(duration / 5) * 5)} seconds"
    return f"{duration / 60:.1f} minutes"
