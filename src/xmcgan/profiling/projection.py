"""Projects the time and memory of training at scale from counted operations and the rate of a device.

A simple model: each assumption is a named field. The counts are exact: operations by torch's counter, parameters, bytes
of gradients and features. The rate of a device is not known exactly: ``tflops`` (its peak) times ``mfu`` (the share of
the peak that a step reaches). The defaults are assumptions, not measurements; a JSON file of ``xmcgan bench --output``,
measured on the device, replaces both.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from xmcgan.config import Config
from xmcgan.encoders.image import untrained_image_encoder, untrained_map_encoder
from xmcgan.model.build import build_discriminator, build_generator
from xmcgan.runtime.files import read_json
from xmcgan.types import REGION_GRID, TextEmbedding

PAIRS = {"coco14": 82_783, "12-million": 12_000_000}
"""Number of images of each projected data set; an epoch uses each once."""


@dataclass(frozen=True)
class Assumptions:
    """Assumptions about the machines; only ``images_per_worker`` was measured.

    Args:
        tflops: dense bfloat16 peak of one device, in 10^12 operations a second; 989 is from an H100 SXM's data sheet.
        mfu: share of the peak that a training step reaches; 0.30 is a guess, two thirds of the target of 0.45.
        memory_gb: memory of one device, in 10^9 bytes.
        bandwidth_gbs: bandwidth between devices in each direction, in 10^9 bytes a second; 50 is a 400 Gbit/s port
            for each device, between nodes. NVLink within a node is several times faster.
        latency_us: latency of one collective operation, in microseconds.
        overlap: share of the gradient averaging that is hidden behind the backward pass, 0 to 1.
        score_mfu: share of the peak that the region-word loss reaches. Its products are in float32, whose peak on an
            H100 is 0.07 of bfloat16's.
        activation_bytes: bytes of one element kept for the backward pass, in bfloat16.
        reserve: memory of allocator and workspaces, as a share of the counted memory.
        images_per_worker: images that one CPU core decodes in a second from prepared shards (docs/data.md).
        tflops_source: origin of ``tflops``, for the report.
        mfu_source: origin of ``mfu``, for the report.
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
                raise ValueError(f"{name} is {getattr(self, name)}; it should be a share, more than 0 and at most 1")
        if not 0 <= self.overlap <= 1:
            raise ValueError(f"overlap is {self.overlap}; it should be a share, from 0 to 1")
        for name in ("latency_us", "reserve"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it should be 0 or more")


@dataclass(frozen=True)
class Counted:
    """The counted quantities of a configuration.

    Args:
        generator_gflop: forward pass of the generator for one image, without losses.
        discriminator_gflop: forward pass of the discriminator for one image.
        encoder_gflop: forward pass of the frozen image encoder for one image; 0 without it.
        encoder_dim: width of the frozen image encoder's features; 0 without it.
        generator_parameters: number of the generator's parameters.
        discriminator_parameters: number of the discriminator's parameters.
        generator_elements: outputs of convolutions, linear layers and norms in the generator for one image, which is
            roughly what autograd keeps.
        discriminator_elements: the same for the discriminator.
        norms: batch norms of the generator; synchronised, each needs one collective operation per pass.
        batch_size: images in a batch, over all devices.
        batches: batches in a step (discriminator steps).
        words: maximum number of real words in a caption (T).
        text_dim: width of a word embedding (D).
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
        """A whole step, per real image; a backward pass counts as two forward passes.

        The first n - 1 discriminator steps: G forward, D forward on real and generated images, and D's weight gradient.
        The last step, shared with the generator: G and D forward once, D's weight gradient, the gradient of G's loss
        through D (generated images only) and G, and the frozen encoder forward on both and backward on the generated.
        """
        g, d, encoder = self.generator_gflop, self.discriminator_gflop, self.encoder_gflop
        alone = g + 2 * d + 2 * 2 * d
        shared = g + 2 * d + 2 * 2 * d + d + 2 * g + 3 * encoder
        return ((self.batches - 1) * alone + shared) / self.batches

    @property
    def again_gflop_per_image(self) -> float:
        """Operations that micro-batches repeat, per real image: features are computed first without a graph, then with.

        This repeats D on the real and generated images of every batch, and for the last batch G and the frozen encoder
        on the generated images. Everything else is computed only once.
        """
        d = 2 * self.discriminator_gflop
        return (self.batches * d + self.generator_gflop + self.encoder_gflop) / self.batches

    @property
    def score_gflop_per_step(self) -> float:
        """The region-word scores of a step over the global batch: real images in each batch, generated ones once.

        Similarities (B T, B R, D) and G alpha (B T, B R, R) forward, their recomputation in the backward pass, and as
        much for the gradient of the regions (words have none); Gram matrices (B, R, R, D) forward and backward.
        """
        b, t, r, d = self.batch_size, self.words, REGION_GRID**2, self.text_dim
        products = 3 * (b * t * b * r * d + b * t * b * r * r) + 2 * b * r * r * d
        return 2 * products * (self.batches + 1) / 1e9


def count(config: Config, text_dim: int) -> Counted:
    """Counts the operations, parameters and activations of a configuration's networks, on the meta device."""
    with torch.device("meta"):
        generator = build_generator(config, text_dim)
        discriminator = build_discriminator(config, text_dim, untrained_map_encoder(config.discriminator))
        length, size = config.text.max_length, config.image_size
        text = TextEmbedding(
            torch.randn(2, length, text_dim), torch.ones(2, length, dtype=torch.bool), torch.randn(2, text_dim)
        )
        noise, images = torch.randn(2, config.generator.noise_dim), torch.randn(2, 3, size, size)
        generator_gflop, generator_elements = count_forward(generator.eval(), noise, text)
        discriminator_gflop, discriminator_elements = count_forward(discriminator.eval(), images, text)
        feature_dim = sum(each.images_BF.shape[1] for each in discriminator(images, text).features)
        encoder_gflop, encoder_dim = 0.0, 0
        if config.losses.image_encoder > 0:
            encoder = untrained_image_encoder(config.losses.encoder)
            encoder_gflop = count_forward(encoder.eval(), images)[0] / 2
            encoder_dim = encoder(images).shape[1]

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


def count_forward(network: nn.Module, *inputs: Any) -> tuple[float, int]:
    """GFLOP of a forward pass, and the number of elements of its layers' outputs."""
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
    """Training on a number of devices: the seconds of one step by cause, and the memory."""

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
        """Share of the step spent on communication."""
        return (self.gradients_s + self.features_s + self.norms_s) / self.step_s

    def hours(self, images: int, epochs: float) -> float:
        """Hours for a number of epochs over a data set of ``images`` images."""
        return images * epochs / self.images_per_step * self.step_s / 3600


def project(counted: Counted, devices: int, assumed: Assumptions) -> Projection:
    """Splits one global batch over N devices; contrastive losses use all of it (``negatives: global``).

    Each device scores its own images against every sentence: B^2 / N pairs. A ring all-reduce sends 2 (N - 1) / N of
    the gradients; an all-gather sends (N - 1) / N of the gathered tensor, and its backward pass the same again.

    Raises:
        ValueError: if ``devices`` does not divide the batch size.
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
    """Numbers that a step gathers per example (those with a gradient count twice), and the messages this takes.

    For each batch of real images, and for the last batch's generated images: image and sentence features, words
    (without a gradient), mask, and a row of scores. For the last batch, also the image features and frozen-encoder
    features of real and generated images. Region features are not gathered.
    """
    sentence, scores = 2 * counted.feature_dim, counted.batch_size
    contrasts = counted.batches + 1
    numbers = 2 * (contrasts * (sentence + scores) + 2 * counted.feature_dim + 2 * counted.encoder_dim)
    numbers += contrasts * counted.words * counted.text_dim
    return numbers, contrasts * (2 * 3 + 2) + 2 * 2 * (1 + (counted.encoder_dim > 0))


def memory_of(counted: Counted, devices: int, assumed: Assumptions) -> tuple[float, int]:
    """Gigabytes that a device needs in the last step of Algorithm 1, and the largest micro-batch that fits; 0 if none.

    Counts float32 weights, gradients and two moments of both networks, the EMA, and the activations of G and of D on
    real and generated images, for the device's whole part of the batch at once.
    """
    fixed = 4 * (4 * (counted.generator_parameters + counted.discriminator_parameters) + counted.generator_parameters)
    image = assumed.activation_bytes * (counted.generator_elements + 2 * counted.discriminator_elements)
    share = counted.batch_size // devices

    def needed(images: int) -> float:
        return (1 + assumed.reserve) * (fixed + images * image) / 1e9

    fitting = (rows for rows in range(share, 0, -1) if share % rows == 0 and needed(rows) <= assumed.memory_gb)
    return needed(share), next(fitting, 0)


def crossings(counted: Counted, assumed: Assumptions, most: int = 2**16) -> dict[str, int | None]:
    """Break-even points: the number of devices from which a fixed batch spends half of its step on communication, and
    the global batch (with a constant batch per device) from which the negatives cost as much as the networks.
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
    """Replaces the assumed rate by the rate of a training step measured by ``xmcgan bench --output``.

    The measured step may have another width, size or batch; only its operations per second are used. If the file has
    several steps, the one with the highest rate without recomputation is used, but its rate includes recomputation,
    which the projection counts separately. The rate also replaces ``score_mfu``, since the step included the scores.

    Raises:
        ValueError: if the file holds no training step.
    """
    try:
        content = read_json(path)
        steps = [each for each in content["measurements"] if each["part"] == "training"]
        fastest = max(steps, key=lambda each: each["tflops"])
        rate = fastest["tflops_run"]
        peak = content["ceiling_tflops"][fastest["precision"]]
        name = str(content["machine"]["name"])
        return replace(
            assumed,
            tflops=peak,
            mfu=rate / peak,
            score_mfu=rate / peak,
            tflops_source=f"measured: {path.name}, {name}, a matrix product in {fastest['precision']}",
            mfu_source=f"measured: {path.name}, a training step",
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        what = f"{path} is not what xmcgan bench --output writes, or has no training step"
        raise ValueError(f"{what}: {str(error)[:300]}") from None


def table(projections: Iterable[Projection], epochs: dict[str, tuple[int, float]]) -> str:
    """Projections as a Markdown table.

    Args:
        epochs: (images, epochs) of each training, by name.
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
