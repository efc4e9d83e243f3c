"""Hours and memory of a training at scale, projected from counted operations and a device's rate.

A small model, every assumption of which is a field with a name. What is counted is exact: operations of the networks by
torch's counter, parameters, bytes of gradients and features. What is not known is how fast a device works through
them: ``tflops`` (its peak) times ``mfu`` (the share of it that a step reaches). Nothing here was measured on a GPU; the
defaults are assumptions, and a JSON file of ``xmcgan bench --output``, measured on the device itself, replaces both.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from xmcgan.config import Config
from xmcgan.encoders.image import untrained_image_encoder, untrained_map_encoder
from xmcgan.model.build import build_discriminator, build_generator
from xmcgan.types import REGION_GRID, TextEmbedding

PAIRS = {"coco14": 82_783, "12-million": 12_000_000}
"""Images of the data sets that are projected; an epoch sees each once."""


@dataclass(frozen=True)
class Assumptions:
    """What is assumed of machines, each with a reason; of these numbers ``images_per_worker`` alone was measured here.

    Args:
        tflops: peak of one device in bfloat16, dense, in 10^12 operations a second; 989 is an H100 SXM's data sheet.
        mfu: share of that peak that a training step reaches on its counted operations; 0.30 is a guess, two thirds
            of the 0.45 that is aimed at.
        memory_gb: of one device, in 10^9 bytes.
        bandwidth_gbs: of one device to the others, each way, in 10^9 bytes a second: 50 is one 400 Gbit/s port a
            device, between nodes; within a node NVLink gives several times that.
        latency_us: of one collective operation, microseconds.
        overlap: share of the gradients' averaging hidden behind the backward pass; 0 hides nothing.
        score_mfu: share of the peak that the region-word loss reaches: its products are float32, whose own peak on
            that card is 0.07 of bfloat16's.
        activation_bytes: of one element kept for the backward pass, in bfloat16.
        reserve: of allocator and workspaces, as a share of what is counted.
        images_per_worker: images that one CPU core reads and decodes a second, from prepared shards (docs/data.md).
        tflops_source: where the peak is from, in words.
        mfu_source: where the share is from.
    """

    tflops: float = 989.0
    mfu: float = 0.30
    memory_gb: float = 80.0
    bandwidth_gbs: float = 50.0
    latency_us: float = 20.0
    overlap: float = 0.0
    score_mfu: float = 0.05
    activation_bytes: float = 2
    reserve: float = 0.1
    images_per_worker: float = 1000.0
    tflops_source: str = "assumed: an H100 SXM's data sheet"
    mfu_source: str = "assumed: a guess"

    def __post_init__(self):
        for name in ("tflops", "memory_gb", "bandwidth_gbs", "images_per_worker", "activation_bytes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it should be more than 0")
        for name in ("mfu", "score_mfu"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share, more than 0 and at most 1")
        if not 0 <= self.overlap <= 1:
            raise ValueError(f"overlap is {self.overlap}; it is a share, from 0 to 1")
        for name in ("latency_us", "reserve"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it should be 0 or more")


@dataclass(frozen=True)
class Counted:
    """What is exact of a configuration.

    Args:
        generator_gflop: forward pass of the generator, an image, without the losses.
        discriminator_gflop: forward pass of the discriminator, an image.
        encoder_gflop: forward pass of the frozen image encoder, an image; 0 where it is left out.
        encoder_dim: width of its features; 0 where it is left out.
        generator_parameters: trained numbers of the generator.
        discriminator_parameters: of the discriminator.
        generator_elements: outputs of convolutions, linear layers and norms in the generator, an image: what autograd
            keeps, about.
        discriminator_elements: the same of the discriminator.
        norms: batch norms of the generator, each one collective operation a pass when synchronised.
        batch_size: images of a batch, over all devices.
        batches: batches of a step (discriminator steps).
        words: real words of a caption at most (T).
        text_dim: width of a word (D).
        feature_dim: width of an image feature (F).
    """

    generator_gflop: float
    discriminator_gflop: float
    encoder_gflop: float
    encoder_dim: int
    generator_parameters: int
    discriminator_parameters: int
    generator_elements: int
    discriminator_elements: int
    norms: int
    batch_size: int
    batches: int
    words: int
    text_dim: int
    feature_dim: int

    @property
    def step_gflop_per_image(self) -> float:
        """A whole step, a real image consumed; a backward pass counts twice a forward pass.

        n - 1 discriminator steps: G forward, D forward on two halves, their gradient to D's weights. The shared step:
        G and D forward once, the gradient of D's loss to D's weights (both halves), and of G's loss through D (the
        generated half, images only) and G; the frozen encoder on both halves, and back through the generated one.
        """
        g, d, encoder = self.generator_gflop, self.discriminator_gflop, self.encoder_gflop
        alone = g + 2 * d + 2 * 2 * d
        shared = g + 2 * d + 2 * 2 * d + d + 2 * g + 3 * encoder
        return ((self.batches - 1) * alone + shared) / self.batches

    @property
    def again_gflop_per_image(self) -> float:
        """What micro-batches repeat, a real image consumed: the features are made once without a graph, then with one.

        D of every batch, on both halves; of the last batch also G and the frozen encoder on what it drew. Drawings of
        the others and what the encoder sees in real images are made once in any case.
        """
        d = 2 * self.discriminator_gflop
        return (self.batches * d + self.generator_gflop + self.encoder_gflop) / self.batches

    @property
    def score_gflop_per_step(self) -> float:
        """The region-word scores of a step, over the whole batch: real images each batch, generated ones once.

        Similarities (B T, B R, D) and attended (B T, B R, R) forward, once more in the backward pass, and as much for
        the gradient to the regions (words have none); Gram matrices (B, R, R, D) forward and backward.
        """
        b, t, r, d = self.batch_size, self.words, REGION_GRID**2, self.text_dim
        products = 3 * (b * t * b * r * d + b * t * b * r * r) + 2 * b * r * r * d
        return 2 * products * (self.batches + 1) / 1e9


def count(config: Config, text_dim: int) -> Counted:
    """Counts the networks of a configuration, without making their weights."""
    with FakeTensorMode():  # shapes without memory, of which a counter knows the operations
        generator = build_generator(config, text_dim)
        discriminator = build_discriminator(config, text_dim, untrained_map_encoder(config.discriminator))
        length, size = config.text.max_length, config.image_size
        text = TextEmbedding(
            torch.randn(2, length, text_dim), torch.ones(2, length, dtype=torch.bool), torch.randn(2, text_dim)
        )
        noise, images = torch.randn(2, config.generator.noise_dim), torch.randn(2, 3, size, size)
        made = [counted(generator.eval(), noise, text), counted(discriminator.eval(), images, text)]
        encoder_gflop, encoder_dim = 0.0, 0
        if config.losses.image_encoder > 0:
            encoder = untrained_image_encoder(config.losses.encoder)
            encoder_gflop = counted(encoder.eval(), images)[0] / 2
            encoder_dim = encoder(images).shape[1]
        feature_dim = discriminator.network.sentence_projection.out_features
    (generator_gflop, generator_elements), (discriminator_gflop, discriminator_elements) = made
    return Counted(
        generator_gflop=generator_gflop / 2,
        discriminator_gflop=discriminator_gflop / 2,
        encoder_gflop=encoder_gflop,
        encoder_dim=encoder_dim,
        generator_parameters=sum(weight.numel() for weight in generator.parameters()),
        discriminator_parameters=sum(weight.numel() for weight in discriminator.parameters()),
        generator_elements=generator_elements // 2,
        discriminator_elements=discriminator_elements // 2,
        norms=sum(name.endswith("running_mean") for name, _ in generator.named_buffers()),
        batch_size=config.training.batch_size,
        batches=config.training.discriminator_steps,
        words=config.text.max_length,
        text_dim=text_dim,
        feature_dim=feature_dim,
    )


def counted(network: nn.Module, *inputs: Any) -> tuple[float, int]:
    """GFLOP of a forward pass, and the elements of what its layers put out."""
    elements = 0

    def add(_module: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal elements
        if isinstance(output, torch.Tensor):
            elements += output.numel()

    hooks = [module.register_forward_hook(add) for module in network.modules() if not list(module.children())]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*inputs)
    for hook in hooks:
        hook.remove()
    return counter.get_total_flops() / 1e9, elements


@dataclass(frozen=True)
class Projection:
    """A training on some devices: seconds of one step, and where they go."""

    devices: int
    images_per_step: int
    compute_s: float
    again_s: float
    scores_s: float
    gradients_s: float
    features_s: float
    norms_s: float
    memory_gb: float
    fits: bool
    micro_batch: int
    loader_cores: float

    @property
    def step_s(self) -> float:
        """Seconds of one step."""
        return self.compute_s + self.again_s + self.scores_s + self.gradients_s + self.features_s + self.norms_s

    @property
    def communication(self) -> float:
        """Share of the step spent sending."""
        return (self.gradients_s + self.features_s + self.norms_s) / self.step_s

    def hours(self, images: int, epochs: float) -> float:
        """Of so many passes over a data set."""
        return images * epochs / self.images_per_step * self.step_s / 3600


def project(counted: Counted, devices: int, assumed: Assumptions) -> Projection:
    """One global batch split over ``devices``; every contrastive loss sees all of it (``negatives: global``).

    Each device scores its own images against every sentence: B^2 / N pairs. A ring moves 2 (N - 1) / N of the
    gradients; a gather moves (N - 1) / N of what is gathered, and its backward pass as much again.

    Raises:
        ValueError: if the batch does not split evenly.
    """
    if devices < 1 or counted.batch_size % devices:
        raise ValueError(f"{devices} devices do not share a batch of {counted.batch_size} images evenly")
    rate = assumed.tflops * 1e12 * assumed.mfu
    images = counted.batch_size * counted.batches
    compute = counted.step_gflop_per_image * 1e9 * images / devices / rate
    memory, micro_batch = memory_of(counted, devices, assumed)
    repeated = micro_batch < counted.batch_size // devices
    again = counted.again_gflop_per_image * 1e9 * images / devices / rate if repeated else 0.0
    scores = counted.score_gflop_per_step * 1e9 / devices / (assumed.tflops * 1e12 * assumed.score_mfu)
    sent = (devices - 1) / devices
    bandwidth = assumed.bandwidth_gbs * 1e9
    latency = assumed.latency_us * 1e-6 if devices > 1 else 0.0
    parameters = counted.batches * counted.discriminator_parameters + counted.generator_parameters
    gradients = 2 * sent * 4 * parameters / bandwidth * (1 - assumed.overlap) + (counted.batches + 1) * latency
    received, messages = gathered(counted)
    features = sent * 4 * counted.batch_size * received / bandwidth + messages * latency
    norms = counted.norms * (counted.batches + 1) * latency  # forward in every pass, backward in the shared one
    step = compute + again + scores + gradients + features + norms
    return Projection(
        devices=devices,
        images_per_step=images,
        compute_s=compute,
        again_s=again,
        scores_s=scores,
        gradients_s=gradients,
        features_s=features,
        norms_s=norms,
        memory_gb=memory,
        fits=memory <= assumed.memory_gb,
        micro_batch=micro_batch,
        loader_cores=images / step / assumed.images_per_worker,
    )


def gathered(counted: Counted) -> tuple[int, int]:
    """Numbers an example that a step gathers over the devices (those with a gradient twice), and messages for it.

    Of each batch and of the generated images of the last: image and sentence features, words (without a gradient) and
    mask, a row of scores; and of the last both images' features once more, and what the frozen encoder makes of both.
    Regions stay where they are.
    """
    sentence, scores = 2 * counted.feature_dim, counted.batch_size
    contrasts = counted.batches + 1
    numbers = 2 * (contrasts * (sentence + scores) + 2 * counted.feature_dim + 2 * counted.encoder_dim)
    numbers += contrasts * counted.words * counted.text_dim
    return numbers, contrasts * (2 * 3 + 2) + 2 * 2 * (1 + (counted.encoder_dim > 0))


def memory_of(counted: Counted, devices: int, assumed: Assumptions) -> tuple[float, int]:
    """Gigabytes of a device in the shared step, and the largest micro-batch that divides the share and fits; 0: none.

    Weights, gradients and two moments in float32 of both networks and the average; activations of G and of D on both
    halves. The memory is that of the whole share at once.
    """
    fixed = 4 * (4 * (counted.generator_parameters + counted.discriminator_parameters) + counted.generator_parameters)
    image = assumed.activation_bytes * (counted.generator_elements + 2 * counted.discriminator_elements)
    share = counted.batch_size // devices

    def needed(images: int) -> float:
        return (1 + assumed.reserve) * (fixed + images * image) / 1e9

    fitting = (rows for rows in range(share, 0, -1) if share % rows == 0 and needed(rows) <= assumed.memory_gb)
    return needed(share), next(fitting, 0)


def crossings(counted: Counted, assumed: Assumptions, most: int = 2**16) -> dict[str, int | None]:
    """Where the shares turn over: devices at which a fixed batch spends half its step sending, and the global batch
    (at the same images a device) at which the gathered negatives cost as much as the networks.
    """
    half: int | None = None
    devices = 1
    while devices <= counted.batch_size:
        if counted.batch_size % devices == 0 and project(counted, devices, assumed).communication >= 0.5:
            half = devices
            break
        devices *= 2
    negatives: int | None = None
    batch = counted.batch_size
    while batch <= most * counted.batch_size:
        larger = project(replace(counted, batch_size=batch), batch // counted.batch_size, assumed)
        if larger.scores_s + larger.features_s >= larger.compute_s:
            negatives = batch
            break
        batch *= 2
    return {"devices_half_sending": half, "batch_negatives_equal_networks": negatives}


def measured(path: Path, assumed: Assumptions) -> Assumptions:
    """The rate of a training step that ``xmcgan bench --output`` measured, in place of the assumed one.

    The bench may have had another width, size or batch: what carries over is operations a second, of the step that is
    fastest for its plain operations. Those that its micro-batches repeated were work too, and where micro-batches are
    projected they are counted again: the rate is that of all. The region-word scores were part of the step, and are
    projected at its rate, too, in place of ``score_mfu``.

    Raises:
        ValueError: if the file holds no training step.
    """
    try:
        content = json.loads(path.read_text())
        steps = [each for each in content["measurements"] if each["part"] == "training"]
        fastest = max(steps, key=lambda each: each["tflops"])
        rate = fastest["tflops_run"]
        peak = content["ceiling_tflops"][fastest["precision"]]
        name = content["machine"]["name"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not what xmcgan bench --output writes, or has no training step: {error}") from None
    return replace(
        assumed,
        tflops=peak,
        mfu=rate / peak,
        score_mfu=rate / peak,
        tflops_source=f"measured: {path.name}, {name}, a matrix product in {fastest['precision']}",
        mfu_source=f"measured: {path.name}, a training step",
    )


def table(projections: Iterable[Projection], epochs: dict[str, tuple[int, float]]) -> str:
    """Projections in Markdown; ``epochs`` names (images, epochs) of every training.

    Shares of a step: networks, what micro-batches repeat of them, region-word scores, sending.
    """
    names = list(epochs)
    head = ["devices", "ms a step", "images/s", *(f"hours, {name}" for name in names)]
    head += ["networks", "again", "scores", "sending", "GB", "micro-batch", "loader cores"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for each in projections:
        cells = [f"{each.devices}", f"{1e3 * each.step_s:.0f}", f"{each.images_per_step / each.step_s:.0f}"]
        cells += [f"{each.hours(*epochs[name]):,.0f}" for name in names]
        cells += [f"{share / each.step_s:.0%}" for share in (each.compute_s, each.again_s, each.scores_s)]
        fits = "" if each.fits else ", too much"
        cells += [f"{each.communication:.0%}", f"{each.memory_gb:.0f}{fits}", f"{each.micro_batch or 'none'}"]
        cells += [f"{each.loader_cores:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
