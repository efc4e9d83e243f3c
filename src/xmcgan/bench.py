"""How fast a recipe is on this machine: training step, generation, text encoding, loading.

Times are of whole calls with the device waited for; medians with quartiles. Operations are convolutions and matrix
products, two a multiply-add, as torch's own counter sees them; the ceiling they are held against is the best rate of
one large matrix product in the same precision, measured in the same run. A training step is counted without running it
and as the plain step it stands for: what is computed a second time to save memory is no work done.
"""

import copy
import gc
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Adam
from torch.utils.flop_counter import FlopCounterMode

from xmcgan import __version__
from xmcgan.checkpoint import build_discriminator, build_generator
from xmcgan.config import Config
from xmcgan.data.captions import ExampleStream, ImageTransform, load_batches
from xmcgan.data.records import Record
from xmcgan.ema import EMA
from xmcgan.image_encoder import ResNetLogits, VGG19Features
from xmcgan.losses import Contrast, LossWeights, Objective, WordContextCosine
from xmcgan.model.generator import Generator
from xmcgan.model.layers import laid_out
from xmcgan.model.prepared import prepare_generator
from xmcgan.precision import float32_or_wider
from xmcgan.sample import batch_rows, sample
from xmcgan.text import TextEncoder
from xmcgan.train import Training, start, train_step
from xmcgan.types import Batch, DiscriminatorOutput, TextEmbedding

Part = Literal["training", "generation", "text", "loading"]
PARTS: tuple[Part, ...] = ("training", "generation", "text", "loading")


@dataclass(frozen=True)
class Schedule:
    """How often a call is timed.

    Args:
        repetitions: timed calls.
        warmup: untimed calls before them.
        tick: called with a few words after every call: progress.
    """

    repetitions: int = 9
    warmup: int = 2
    tick: Callable[[str], None] = lambda _: None

    def __post_init__(self):
        # Of one call there is no spread, and without a warm-up the first, slow one would be among them.
        for name, least in (("repetitions", 2), ("warmup", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it should be at least {least}")


@dataclass(frozen=True)
class Measurement:
    """One part's calls, timed.

    Args:
        part: what was called.
        variant: how: compiled or not, prepared or not.
        precision: of the layers, ``float32`` or ``bfloat16``: whose ceiling the operations are held against.
        images: images (or captions) of one call.
        seconds: of each call.
        gflop: counted operations of one call; 0 where none were counted. Of a training step those of the plain one.
        peak_mb: most memory during the calls: of the process (resident) on a CPU, allocated on a GPU; None where the
            system does not tell.
        first_seconds: of the first call, which is not in ``seconds``: compilation and allocation are in it.
        gflop_run: operations of one call as it is run, with those that micro-batches and checkpointed activations
            repeat; None where they are ``gflop``.
    """

    part: str
    variant: str
    precision: str
    images: int
    seconds: tuple[float, ...]
    gflop: float
    peak_mb: float | None
    first_seconds: float
    gflop_run: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        first, _, third = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return first, third

    @property
    def images_per_second(self) -> float:
        return self.images / self.median

    @property
    def tflops(self) -> float:
        """Counted operations a second, in units of 10^12."""
        return self.gflop / self.median / 1e3

    @property
    def tflops_run(self) -> float:
        """Operations a second as they are run, repeated ones included, in units of 10^12."""
        return (self.gflop if self.gflop_run is None else self.gflop_run) / self.median / 1e3

    def mfu(self, ceilings: dict[str, float]) -> float | None:
        """Model FLOP utilisation: counted operations a second over the measured ceiling of this precision."""
        return self.tflops / ceilings[self.precision] if self.gflop else None

    def summary(self, ceilings: dict[str, float]) -> dict[str, Any]:
        """What goes into the JSON file."""
        first, third = self.quartiles
        return asdict(self) | {
            "median_ms": 1e3 * self.median,
            "quartiles_ms": [1e3 * first, 1e3 * third],
            "images_per_second": self.images_per_second,
            "tflops": self.tflops,
            "tflops_run": self.tflops_run,
            "mfu": self.mfu(ceilings),
        }


@dataclass(frozen=True)
class OutOfMemory:
    """A part that the device's memory did not hold.

    Args:
        part: what was called.
        variant: how.
        precision: of the layers.
        reason: what the allocator said.
    """

    part: str
    variant: str
    precision: str
    reason: str


def attempt(
    part: str, variant: str, precision: str, call: Callable[[], Measurement], device: torch.device
) -> Measurement | OutOfMemory:
    """A measurement, or that there was not enough memory for it; what it took is free again."""
    try:
        found: Measurement | OutOfMemory = call()
    except RuntimeError as error:  # torch.OutOfMemoryError is one; of the CPU's memory torch says it in words alone
        if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        found = OutOfMemory(part, variant, precision, str(error).splitlines()[0])
    free(device)  # not before here: the error holds on to the frames it came through, and they to their tensors
    return found


def free(device: torch.device) -> None:
    """Gives back what nothing refers to any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def synchronise(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> bool:
    """Starts the count of peak memory anew; whether this system can do that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the resident set's high-water mark
    except OSError:
        return False
    return True


def peak_mb(device: torch.device) -> float:
    """Peak memory since ``reset_peak``, in megabytes of 2^20 bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if Path("/proc/self/status").exists():
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / 2**20 if sys.platform == "darwin" else largest / 2**10


def measure(
    part: str,
    variant: str,
    precision: str,
    call: Callable[[], object],
    *,
    images: int,
    device: torch.device,
    gflop: float,
    schedule: Schedule,
    gflop_run: float | None = None,
) -> Measurement:
    """Times ``call`` after untimed calls, of which the first is reported apart."""
    known = reset_peak(device)
    seconds = []
    for number in range(schedule.warmup + schedule.repetitions):
        began = time.perf_counter()
        call()
        synchronise(device)
        seconds.append(time.perf_counter() - began)
        schedule.tick(f"{part} {variant}: {'warm-up' if number < schedule.warmup else f'{1e3 * seconds[-1]:.0f} ms'}")
    peak = peak_mb(device) if known else None
    kept = tuple(seconds[schedule.warmup :])
    return Measurement(part, variant, precision, images, kept, gflop, peak, seconds[0], gflop_run)


def count_gflop(call: Callable[[], object]) -> float:
    """Operations of one call in units of 10^9. Of compiled code torch counts none: count before compiling."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9


@dataclass(frozen=True)
class CountedObjective(Objective):
    """The losses of fake tensors: how many words are real is a value, which a fake mask has none of."""

    words: int = 0

    def text_contrasts(
        self, whose: str, output: DiscriminatorOutput, text: TextEmbedding
    ) -> dict[str, tuple[float, Contrast]]:
        others = replace(self, weights=replace(self.weights, word=0.0))
        contrasts = Objective.text_contrasts(others, whose, output, text)
        if self.weights.word:
            words_ND = torch.randn(self.words, text.words_BTD.shape[2])
            regions_BRD = float32_or_wider(output.region_features_BRD)
            loss = WordContextCosine.apply(words_ND, regions_BRD, self.rho_1, self.words).sum()
            contrasts[f"{whose}_word"] = (self.weights.word, Contrast(loss, loss.detach(), loss.detach()))
        return contrasts


def count_step(config: Config, text_dim: int, words: int) -> float:
    """GFLOP of a training step, on tensors that have shapes and no memory: a batch of any size can be counted.

    Switches as configured: ``plainly`` leaves out what repeats operations. Of compiled code none are counted, and
    neither device nor precision changes any.

    Args:
        words: real words of a batch, all captions together: the region-word loss takes no others.
    """
    settings, losses = config.training, config.losses
    with FakeTensorMode(), FlopCounterMode(display=False) as counter:
        # Not by train.start: networks of fake tensors cannot be moved, and a copy is of another, copied mode.
        generator, discriminator = build_generator(config, text_dim), build_discriminator(config, text_dim)
        generator.checkpoint_activations = settings.checkpoint_activations
        discriminator.network.checkpoint_activations = settings.checkpoint_activations
        average: EMA[Any] = EMA(nn.Module())
        average.network = build_generator(config, text_dim).requires_grad_(False)
        encoder = None
        if losses.image_encoder > 0:
            encoder = VGG19Features() if losses.encoder == "vgg19" else ResNetLogits()
        training = Training(
            generator=generator,
            discriminator=discriminator,
            ema=average,
            generator_optimizer=Adam(generator.parameters()),
            discriminator_optimizer=Adam(discriminator.parameters()),
            objective=CountedObjective(
                LossWeights(losses.sentence, losses.word, losses.image_discriminator, losses.image_encoder),
                words=words,
            ),
            image_encoder=encoder and encoder.eval().requires_grad_(False),
            micro_batch=settings.micro_batch,
        )
        cpu = torch.device("cpu")
        train_step(training, [random_batch(config, text_dim, cpu) for _ in range(settings.discriminator_steps)])
    return counter.get_total_flops() / 1e9


def plainly(config: Config) -> Config:
    """The configuration without the switches that compute something a second time."""
    return replace(config, training=replace(config.training, micro_batch=None, checkpoint_activations=False))


def ceiling(device: torch.device, dtype: torch.dtype, *, side: int | None = None, repetitions: int = 10) -> float:
    """The best rate of a square matrix product, in units of 10^12 operations a second."""
    side = side or (8192 if device.type == "cuda" else 2048)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    fastest = float("inf")
    for _ in range(repetitions + 2):
        synchronise(device)
        began = time.perf_counter()
        a @ b
        synchronise(device)
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * side**3 / fastest / 1e12


def random_text(rows: int, length: int, text_dim: int, device: torch.device) -> TextEmbedding:
    """Standard-normal word vectors; lengths lie evenly between a third of ``length`` and all of it."""
    lengths = torch.linspace(max(1, length // 3), length, rows).round()
    mask_BT = torch.arange(length) < lengths[:, None]
    words_BTD = torch.randn(rows, length, text_dim) * mask_BT[..., None]
    return TextEmbedding(words_BTD, mask_BT, words_BTD.sum(1) / lengths[:, None]).to(device)


def random_batch(config: Config, text_dim: int, device: torch.device) -> Batch:
    """What a training step takes, made of noise: neither data nor a text encoder are needed."""
    rows, size = config.training.batch_size, config.image_size
    images = torch.rand(rows, 3, size, size, device=device) * 2 - 1
    images = laid_out(images, channels_last=config.training.channels_last)
    text = random_text(rows, config.text.max_length, text_dim, device)
    return Batch(images, text, torch.randn(rows, config.generator.noise_dim, device=device))


def can_be_timed(config: Config) -> tuple[Config, str]:
    """The configuration that a training step is timed with, and in words what sets it apart.

    Without ``losses.encoder_weights`` the frozen image encoder is left out: its weights would be downloaded.
    """
    settings, variant = config.training, []
    if config.losses.image_encoder > 0 and config.losses.encoder_weights is None:
        config = replace(config, losses=replace(config.losses, image_encoder=0.0, encoder="vgg19"))
        variant.append("no frozen image encoder")
    variant += [f"micro-batches of {settings.micro_batch}"] if settings.micro_batch is not None else []
    variant += ["activations twice"] if settings.checkpoint_activations else []
    variant += [] if settings.channels_last else ["channels first"]
    variant += ["Adam fused"] if settings.fused else []
    variant += ["TF32"] if settings.tf32 else []
    variant += ["compiled"] if settings.compile else []
    return config, ", ".join(variant)


def bench_training(
    config: Config,
    text_dim: int,
    device: torch.device,
    *,
    schedule: Schedule = Schedule(),
) -> Measurement:
    """Algorithm 1's whole step: ``discriminator_steps`` batches, every update, the average; switches as configured.

    But for ``training.tf32``, which is of the process (``device.use_tf32``).
    """
    config, variant = can_be_timed(config)
    training = start(config, text_dim, device)
    batches = [random_batch(config, text_dim, device) for _ in range(config.training.discriminator_steps)]
    words = int(batches[0].text.mask_BT.sum())
    return measure(
        "training",
        variant,
        config.training.precision,
        lambda: train_step(training, batches),
        images=config.training.batch_size * config.training.discriminator_steps,
        device=device,
        gflop=count_step(plainly(config), text_dim, words),
        gflop_run=count_step(config, text_dim, words),
        schedule=schedule,
    )


def bench_generation(
    generator: Generator,
    text_dim: int,
    device: torch.device,
    dtype: torch.dtype,
    *,
    length: int = 17,
    batch_size: int | None = None,
    prepared: bool = True,
    compile: bool = False,
    cuda_graphs: bool = False,
    schedule: Schedule = Schedule(),
) -> Measurement:
    """One full forward pass of ``sample``, to uint8 on the CPU: with prepared weights as ``Pipeline`` draws, or not.

    CUDA graphs are those of torch.compile.

    The generator itself stays as and where it is: neither moved nor compiled.
    """
    generator = copy.deepcopy(generator).eval().to(device).to(memory_format=torch.channels_last)
    rows = batch_rows(generator.image_size, device) if batch_size is None else batch_size
    text = random_text(rows, length, text_dim, device)
    network = prepare_generator(generator, dtype) if prepared else generator
    variant = ["prepared" if prepared else "as trained"]

    def call() -> None:
        sample(network, text, range(rows), batch_size=rows, dtype=torch.float32 if prepared else dtype)

    gflop = count_gflop(call)
    if cuda_graphs:
        variant.append("compiled with CUDA graphs")
        network.compile(mode="reduce-overhead")
    elif compile:
        variant.append("compiled")
        network.compile()
    return measure(
        "generation",
        ", ".join(variant),
        str(dtype).removeprefix("torch."),
        call,
        images=rows,
        device=device,
        gflop=gflop,
        schedule=schedule,
    )


def bench_text(encoder: TextEncoder, *, captions: int = 64, schedule: Schedule = Schedule()) -> Measurement:
    """Captions never seen before, tokenized and embedded; no cache can answer."""
    words = ["a", "red", "blue", "green", "car", "boat", "tree", "dog", "near", "under", "left", "of", "the", "street"]
    draw = np.random.default_rng(0)

    def call() -> None:
        encoder([" ".join(draw.choice(words, 12)) for _ in range(captions)])

    return measure(
        "text",
        f"{encoder.name}, {encoder.max_length} words",
        "float32",
        call,
        images=captions,
        device=encoder.device,
        gflop=count_gflop(call),
        schedule=schedule,
    )


def bench_loading(
    size: int,
    *,
    batch_size: int = 16,
    originals: int = 32,
    schedule: Schedule = Schedule(),
) -> Measurement:
    """JPEGs of 640 x 480 smooth noise, from the page cache: read, decoded, resized and flipped, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        records = list(write_photographs(Path(folder), originals))
        stream = ExampleStream(records, ImageTransform(size), seed=0, flip=True)
        batches = iter(load_batches(stream, start=0, batch_size=batch_size, workers=0))
        return measure(
            "loading",
            f"JPEG 640 x 480 to {size}, one process",
            "",
            lambda: next(batches),
            images=batch_size,
            device=torch.device("cpu"),
            gflop=0.0,
            schedule=schedule,
        )


def write_photographs(folder: Path, count: int) -> Iterator[Record]:
    """Pictures that compress about as photographs do."""
    draw = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(draw.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        file = folder / f"{number:04d}.jpg"
        coarse.resize((640, 480), Image.Resampling.BICUBIC).save(file, quality=95)
        yield Record(file, ("a picture of something",), file.stem)


def machine(device: torch.device) -> dict[str, Any]:
    """What was measured on, so that numbers can be told apart."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    return {
        "device": str(device),
        "name": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "xmcgan": __version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def cpu_name() -> str:
    """The processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return "unknown"
    return next((line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line), "?")


def report(device: torch.device, ceilings: dict[str, float], found: list[Measurement | OutOfMemory]) -> dict[str, Any]:
    """What goes into the JSON file, of all that was measured so far."""
    return {
        "machine": machine(device),
        "ceiling_tflops": ceilings,
        "measurements": [each.summary(ceilings) for each in found if isinstance(each, Measurement)],
        "out_of_memory": [asdict(each) for each in found if isinstance(each, OutOfMemory)],
    }


HEAD = """| part | how | images/s | ms, median | quartiles | peak MB | GFLOP | MFU |
|---|---|---|---|---|---|---|---|"""


def table(measurements: Sequence[Measurement | OutOfMemory], ceilings: dict[str, float]) -> str:
    """The measurements in Markdown."""
    return "\n".join([HEAD, *(row(each, ceilings) for each in measurements)])


def row(each: Measurement | OutOfMemory, ceilings: dict[str, float]) -> str:
    """One line of the table."""
    how = ", ".join(filter(None, (each.precision, each.variant)))
    if isinstance(each, OutOfMemory):
        return f"| {each.part} | {how} | out of memory |  |  |  |  |  |"
    first, third = each.quartiles
    mfu = each.mfu(ceilings)
    counted = ("", "") if mfu is None else (f"{each.gflop:.1f}", f"{mfu:.0%}")
    memory = "" if each.peak_mb is None else f"{each.peak_mb:.0f}"
    return (
        f"| {each.part} | {how} | {each.images_per_second:.2f} | {1e3 * each.median:.1f} | "
        f"{1e3 * first:.1f} to {1e3 * third:.1f} | {memory} | {counted[0]} | {counted[1]} |"
    )
