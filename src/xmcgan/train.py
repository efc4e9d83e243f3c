"""Algorithm 1: the training step, and the run around it."""

import hashlib
import json
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Generator as AbstractGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch._functorch.config
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Adam
from torch.utils.tensorboard import SummaryWriter
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid
from tqdm import tqdm

from xmcgan.checkpoint import (
    build_discriminator,
    build_generator,
    keep_newest,
    load_checkpoint,
    newest_checkpoint,
    read_best,
    read_json,
    remove_leftovers,
    save_best,
    save_checkpoint,
)
from xmcgan.config import Config, EvaluationConfig, differences, from_dict, to_dict
from xmcgan.data.captions import ExampleBatch, ExampleStream, ImageTransform, load_batches, noise, to_images
from xmcgan.data.records import Record
from xmcgan.data.traces import word_targets
from xmcgan.device import keep_freed_memory, resolve_device, use_tf32
from xmcgan.distributed import (
    any_rank,
    average_gradients,
    barrier,
    gather,
    is_main,
    on_main,
    process_group,
    rank,
    sum_over_ranks,
    world_size,
)
from xmcgan.ema import EMA
from xmcgan.image_encoder import frozen_image_encoder
from xmcgan.losses import LossWeights, Objective, Terms, own_rows
from xmcgan.model.discriminator import Discriminator
from xmcgan.model.generator import Generator
from xmcgan.model.layers import BATCH_NORM_MOMENTUM, BatchNorm2d, laid_out
from xmcgan.precision import float32_or_wider
from xmcgan.sample import sample
from xmcgan.text import TextEncoder
from xmcgan.types import Batch, DiscriminatorOutput, TextEmbedding

MAY_CHANGE = {
    "data",
    "dataset.workers",
    "dataset.pin_memory",
    "text.cache_mb",
    "training.checkpoint_activations",
    "training.channels_last",
    "training.compile",
    "training.fused",
    "training.tf32",
    "training.prefetch",
    "training.device",
    "training.steps",
    "training.log_every",
    "training.sample_every",
    "training.checkpoint_every",
    "training.keep_checkpoints",
}
MAY_CHANGE |= {f"evaluation.{field.name}" for field in fields(EvaluationConfig)}
"""Settings that a run may be continued with other values of: none changes what the next step computes, but for the
rounding of another device, compiler or kernel (``training.device``, ``.compile``, ``.fused``, ``.tf32``,
``.channels_last``)."""


class Evaluation(NamedTuple):
    """What a generator was measured to be worth."""

    values: dict[str, float]  # by metric
    score: float  # the higher, the better: by it the best checkpoint is chosen


Evaluate = Callable[[Generator, int], Evaluation]
"""Judges the averaged generator of a step. Every rank calls it, and it says the same to all."""


@dataclass
class Training:
    """The parts of a run that change with every step, and those that judge it."""

    generator: Generator
    discriminator: Discriminator
    ema: EMA[Generator]
    generator_optimizer: Adam
    discriminator_optimizer: Adam
    objective: Objective
    image_encoder: nn.Module | None = None
    precision: torch.dtype = torch.float32
    micro_batch: int | None = None  # rows that go through the networks at a time; None takes all

    def layers_in_precision(self) -> torch.autocast:
        """The context in which the networks run: parameters stay float32, layers compute in ``precision``."""
        device = next(self.generator.parameters()).device.type
        return torch.autocast(device, self.precision, enabled=self.precision != torch.float32)


def train_step(training: Training, batches: list[Batch]) -> dict[str, Tensor]:
    """One iteration of Algorithm 1: a discriminator step a batch, and with the last one the generator's.

    The last discriminator step and the generator step share a forward pass: both gradients are taken at the same
    parameters, then both updates are made (as the release does).

    Args:
        batches: one for each discriminator step; where several ranks share the work, this rank's parts of them.

    Returns:
        every loss and statistic, of the whole batch, detached.
    """
    generator, discriminator, objective = training.generator, training.discriminator, training.objective
    generator_weights = list(generator.parameters())
    discriminator_weights = list(discriminator.parameters())

    for batch in batches[:-1]:
        normalised, parts = discriminator.normalised_weights(), parts_of(batch, training.micro_batch)
        with torch.no_grad():
            drawn = [draw(training, part) for part in parts]
        looks = [partial(judge, training, normalised, *each) for each in zip(parts, drawn, strict=True)]
        seen, go_back = observe(looks)
        terms = objective.discriminator(seen.real, seen.fake, batch.text, batch.traces_BTR)
        go_back((terms, discriminator_weights))
        update(training.discriminator_optimizer)

    batch = batches[-1]
    normalised, parts = discriminator.normalised_weights(), parts_of(batch, training.micro_batch)
    with torch.no_grad():
        encoded = [encode_images(training, part.images_B3HW) for part in parts]
    looks = [partial(draw_and_judge, training, normalised, *each) for each in zip(parts, encoded, strict=True)]
    seen, go_back = observe(looks)
    discriminator_terms = objective.discriminator(seen.real, seen.fake, batch.text, batch.traces_BTR)
    generator_terms = objective.generator(seen.real, seen.fake, batch.text, seen.encoded)
    go_back((discriminator_terms, discriminator_weights), (generator_terms, generator_weights))
    update(training.discriminator_optimizer)
    update(training.generator_optimizer)
    training.ema.update(generator)

    report = {"d_loss": discriminator_terms.total, "g_loss": generator_terms.total}
    for terms in (discriminator_terms, generator_terms):
        report |= terms.losses | terms.statistics
    return mean_over_ranks(report)


class Features(NamedTuple):
    """What discriminator and frozen encoder see in a batch's images: of this, and of text, the losses are made."""

    real: DiscriminatorOutput
    fake: DiscriminatorOutput
    encoded: tuple[Tensor, Tensor] | None = None  # of real and generated images

    @property
    def tensors(self) -> list[Tensor]:
        """All of them, each a row an example."""
        return [*self.real, *self.fake, *(self.encoded or ())]


def parts_of(batch: Batch, rows: int | None) -> list[Batch]:
    """The batch in parts of so many rows (``check_shares`` has seen that they come out even), or whole."""
    if rows is None:
        return [batch]
    slices = [slice(start, start + rows) for start in range(0, len(batch.noise_BZ), rows)]
    traces = batch.traces_BTR
    return [
        Batch(batch.images_B3HW[part], batch.text[part], batch.noise_BZ[part], None if traces is None else traces[part])
        for part in slices
    ]


def observe(looks: Sequence[Callable[[], Features]]) -> tuple[Features, Callable[..., None]]:
    """The features of a whole batch of which each look sees a part, and the way back from losses to weights.

    The features are leaves. Losses of them give gradients of features, and these go on into the networks. So what the
    networks keep for a backward pass need be that of one part at a time, while a contrastive loss is of the whole
    batch: gradient caching (Gao et al. 2021, arXiv:2101.06983). All parts are looked at without a graph; on the way
    back each is looked at again, and its own rows of the gradients pass through. A single part is looked at once.

    Returns:
        the features, and a function of pairs (terms, weights): it adds the gradient of each terms' total to the
        ``grad`` of its weights.
    """
    if len(looks) == 1:
        kept = looks[0]()
        seen, looks = joined([kept]), [lambda: kept]
    else:
        with torch.no_grad():
            seen = joined([look() for look in looks])

    def go_back(*aims: tuple[Terms, list[nn.Parameter]]) -> None:
        gradients = [torch.autograd.grad(terms.total, seen.tensors, allow_unused=True) for terms, _ in aims]
        pulls = [(each, weights) for each, (_, weights) in zip(gradients, aims, strict=True)]
        for number, look in enumerate(looks):
            pass_on(look(), pulls, number, len(looks))

    return seen, go_back


def joined(parts: list[Features]) -> Features:
    """The features of all parts as one, and as leaves."""
    rows = zip(*(part.tensors for part in parts), strict=True)
    tensors = [(torch.cat(each) if len(each) > 1 else each[0]).detach().requires_grad_() for each in rows]
    count = len(DiscriminatorOutput._fields)
    real, fake, rest = tensors[:count], tensors[count : 2 * count], tensors[2 * count :]
    encoded = (rest[0], rest[1]) if rest else None
    return Features(DiscriminatorOutput(*real), DiscriminatorOutput(*fake), encoded)


def pass_on(
    features: Features, pulls: Sequence[tuple[Sequence[Tensor | None], list[nn.Parameter]]], number: int, count: int
) -> None:
    """Adds to the ``grad`` of each pull's weights what part ``number`` of the features' gradients makes of it."""
    for pull, (gradients, weights) in enumerate(pulls):
        pairs = [
            (feature, gradient.chunk(count)[number])
            for feature, gradient in zip(features.tensors, gradients, strict=True)
            if feature.requires_grad and gradient is not None
        ]
        # Pulls share the graph of a part, and parts that of the normalised weights: only the very last may free them.
        more = number < count - 1 or pull < len(pulls) - 1
        torch.autograd.backward(*zip(*pairs, strict=True), retain_graph=more, inputs=weights)


def judge(training: Training, normalised: dict[str, Tensor], batch: Batch, fake_B3HW: Tensor) -> Features:
    """What the discriminator, by its normalised weights, sees in real images and in ones that are drawn already."""
    with training.layers_in_precision():
        return Features(*training.discriminator.judge_pair(batch.images_B3HW, fake_B3HW, batch.text, normalised))


def draw_and_judge(training: Training, normalised: dict[str, Tensor], batch: Batch, real_BF: Tensor | None) -> Features:
    """``judge`` of images drawn for it, and of both what the frozen encoder sees; of the real ones it is known."""
    fake_B3HW = draw(training, batch)
    fake_BF = encode_images(training, fake_B3HW)
    encoded = None if real_BF is None or fake_BF is None else (real_BF, fake_BF)
    return judge(training, normalised, batch, fake_B3HW)._replace(encoded=encoded)


def draw(training: Training, batch: Batch) -> Tensor:
    """Images in training mode. Only where they get a graph, once a step, do they move the running statistics."""
    generator = training.generator
    with training.layers_in_precision():
        if torch.is_grad_enabled():
            return generator(batch.noise_BZ, batch.text).images_B3HW
        statistics = {name: buffer.clone() for name, buffer in generator.named_buffers()}
        return functional_call(generator, statistics, (batch.noise_BZ, batch.text)).images_B3HW


def encode_images(training: Training, images_B3HW: Tensor) -> Tensor | None:
    """What the frozen encoder sees in images, if there is one."""
    if training.image_encoder is None:
        return None
    with training.layers_in_precision():
        # Generated images may come in half precision, in which a CPU cannot resize with antialiasing.
        return float32_or_wider(training.image_encoder(float32_or_wider(images_B3HW)))


def update(optimizer: Adam) -> None:
    """One step along the mean of all ranks' gradients, which are then gone."""
    average_gradients(weight for group in optimizer.param_groups for weight in group["params"])
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def mean_over_ranks(report: dict[str, Tensor]) -> dict[str, Tensor]:
    """What ranks say of equal parts of a batch, as it is of the whole."""
    values = sum_over_ranks(torch.stack([value.detach() for value in report.values()])) / world_size()
    return dict(zip(report, values, strict=True))


# The run


class TrainingDiverged(RuntimeError):
    """A loss or a weight is no longer a number; the newest checkpoint is from before."""


def train(
    config: Config,
    output: Path,
    *,
    records: Sequence[Record],
    sample_captions: Sequence[str],
    evaluate: Evaluate | None = None,
) -> int:
    """Trains until ``config.training.steps``, going on from the newest checkpoint under ``output``.

    Writes there: ``config.json``, ``checkpoints/``, ``samples/`` (grids of the averaged generator), ``log.jsonl``,
    ``tensorboard/``, and where it is evaluated ``evaluations.jsonl`` and ``best/``. On a CPU a run that was interrupted
    gives the same bits as one that was not, if the number of threads and of ranks is the same.

    Started by torchrun or srun, the ranks share every batch, and rank 0 writes (docs/distributed.md).

    Args:
        records: what is trained on, the same on every rank.
        sample_captions: the captions of the grids.
        evaluate: judges the averaged generator before the first step, every ``config.evaluation.every`` steps, and
            after the last one.

    Returns:
        the step reached; less than ``config.training.steps`` if SIGINT or SIGTERM came to any rank, after saving.

    Raises:
        TrainingDiverged: naming the step and the term that is not finite.
        ValueError: if the run under ``output`` was made with other settings or data; they are named.
        distributed.RankLost: if another rank has ended.
        distributed.EndedByMain: on other ranks than 0, where rank 0 raises one of the others alone.
    """
    with process_group(resolve_device(config.training.device), compiling=config.training.compile) as device:
        return run(config, output, device, records, sample_captions, evaluate)


def run(
    config: Config,
    output: Path,
    device: torch.device,
    records: Sequence[Record],
    sample_captions: Sequence[str],
    evaluate: Evaluate | None,
) -> int:
    """``train`` as one of the ranks."""
    settings = config.training
    if device.type == "cpu":
        keep_freed_memory()
    use_tf32(device, settings.tf32)
    check_shares(config, world_size())
    encoder = TextEncoder(
        config.text.encoder,
        max_length=config.text.max_length,
        layers=config.text.layers,
        device=device,
        cache_mb=config.text.cache_mb,
    )
    training = start(config, encoder.dim, device)
    # Only now: a setting that encoder or networks refuse is not remembered, and the folder stays free to be used.
    checkpoint = on_main(open_run, output, config, records)
    step = load_into(training, checkpoint) if checkpoint else 0
    bar = tqdm(
        total=settings.steps, initial=step, unit="step", desc=output.name, dynamic_ncols=True, disable=not is_main()
    )
    if checkpoint and is_main():
        tqdm.write(f"going on from step {step} ({checkpoint})")
    sample_text = encoder(sample_captions)
    batches = embedded_batches(config, records, encoder, device, start=step * settings.discriminator_steps)
    if settings.prefetch:
        batches = prefetched(batches, settings.prefetch, device)
    with stop_signals() as stopped, closing(batches), closing(Log(output, step)) as log, bar:
        if evaluate is not None and config.evaluation.every and step == 0:
            assess(evaluate, training, output, step, config, encoder.dim, log)
        last = step >= settings.steps
        while not last:
            with log.waiting():
                fresh = [next(batches) for _ in range(settings.discriminator_steps)]
                barrier()  # all ranks begin a step together: it waits for the slowest one's data
            report = train_step(training, fresh)
            step += 1
            losses = finite(report, step)
            log.add(losses, images=settings.batch_size * settings.discriminator_steps)
            # Asked once a step: a signal that comes while this one is saved ends the run after the next.
            stopping = any_rank(stopped.is_set())
            last = step == settings.steps or stopping
            if stopping and is_main():
                tqdm.write("stopping: saving first")
            if step % settings.log_every == 0 or last:
                bar.set_postfix_str(log.write(step))
            bar.update()
            if step % settings.sample_every == 0 or last:
                on_main(draw_grid, training, sample_text, output / "samples" / f"step-{step:08d}.png")
            if step % settings.checkpoint_every == 0 or last:
                on_main(save, training, output, step, config, encoder.dim)
            due = config.evaluation.every and (step % config.evaluation.every == 0 or step == settings.steps)
            if evaluate is not None and due:
                assess(evaluate, training, output, step, config, encoder.dim, log)
    return step


def check_shares(config: Config, ranks: int) -> None:
    """Refuses a batch that the ranks cannot share, or a rank's part that micro-batches cannot.

    Raises:
        ValueError: naming the field, and what would be right.
    """
    batch_size, contrastive = config.training.batch_size, ("sentence", "word", "image_discriminator", "image_encoder")
    micro_batch = config.training.micro_batch
    if batch_size % ranks:
        raise ValueError(
            f"training.batch_size is {batch_size}, of all ranks together, which {ranks} ranks cannot share equally; it "
            f"should be a multiple of {ranks}"
        )
    share = batch_size // ranks
    if micro_batch is not None and share % micro_batch:
        whose = f"of training.batch_size {batch_size}" if ranks == 1 else f"that each of {ranks} ranks has"
        raise ValueError(
            f"training.micro_batch is {micro_batch}, which does not divide the {share} examples {whose}; it should"
        )
    alone = config.losses.negatives == "local" and batch_size == ranks > 1
    if alone and any(getattr(config.losses, name) for name in contrastive):
        raise ValueError(
            f"training.batch_size is {batch_size}, one example for each of {ranks} ranks, and losses.negatives local: "
            f"a contrastive loss has nothing to tell it from; it should be at least {2 * ranks}, or negatives global"
        )


def start(config: Config, text_dim: int, device: torch.device) -> Training:
    """The parts of a run before its first step, a function of the configuration alone."""
    settings, losses = config.training, config.losses
    torch.manual_seed(settings.seed)
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    generator = build_generator(config, text_dim).to(device).to(memory_format=layout)
    discriminator = build_discriminator(config, text_dim).to(device).to(memory_format=layout)
    generator.channels_last = discriminator.network.channels_last = settings.channels_last
    if settings.micro_batch is not None:
        # A whole batch moves the running statistics as far as it does in one piece.
        parts = settings.batch_size // world_size() // settings.micro_batch
        for module in generator.modules():
            if isinstance(module, BatchNorm2d):
                module.momentum = 1 - (1 - BATCH_NORM_MOMENTUM) ** (1 / parts)
    ema = EMA(generator, decay=settings.ema_decay, warmup=settings.ema_warmup)
    generator.checkpoint_activations = discriminator.network.checkpoint_activations = settings.checkpoint_activations
    if settings.compile:
        # The last discriminator step and the generator's go back through one graph: its buffers may not be given up.
        torch._functorch.config.donated_buffer = False  # ty: ignore[invalid-assignment]
        generator.compile()
        discriminator.network.compile()
    betas, fused = (settings.beta1, settings.beta2), settings.fused or None  # None: torch's choice of the others
    encoder = None
    if losses.image_encoder > 0:
        weights = Path(losses.encoder_weights) if losses.encoder_weights else None
        encoder = frozen_image_encoder(losses.encoder, weights).to(device)
    return Training(
        generator=generator,
        discriminator=discriminator,
        ema=ema,
        generator_optimizer=Adam(generator.parameters(), settings.generator_lr, betas, fused=fused),
        discriminator_optimizer=Adam(discriminator.parameters(), settings.discriminator_lr, betas, fused=fused),
        objective=Objective(
            LossWeights(losses.sentence, losses.word, losses.image_discriminator, losses.image_encoder, losses.trace),
            temperature=losses.temperature,
            word_temperature=losses.word_temperature,
            rho_1=losses.rho_1,
            rho_2=losses.rho_2,
            gather=gather if losses.negatives == "global" else own_rows,
        ),
        image_encoder=encoder,
        precision=getattr(torch, settings.precision),
        micro_batch=settings.micro_batch,
    )


def embedded_batches(
    config: Config, records: Sequence[Record], encoder: TextEncoder, device: torch.device, *, start: int
) -> AbstractGenerator[Batch]:
    """The run's batches from number ``start`` on, as a step takes them: this rank's part of each."""
    settings, dataset = config.training, config.dataset
    traces = config.losses.trace > 0
    stream = ExampleStream(
        records,
        ImageTransform(config.image_size, dataset.fit),
        seed=settings.seed,
        flip=dataset.flip,
        traces=traces,
    )
    loaded: Iterator[ExampleBatch] = load_batches(
        stream,
        start=start * settings.batch_size,
        batch_size=settings.batch_size,
        workers=dataset.workers,
        pin_memory=dataset.pin_memory and device.type == "cuda",
        part=(rank(), world_size()),
    )
    for batch in loaded:
        yield Batch(
            laid_out(to_images(batch.pixels.to(device, non_blocking=True)), channels_last=settings.channels_last),
            encoder(batch.captions),
            noise(settings.seed, batch.numbers, config.generator.noise_dim).to(device),
            torch.from_numpy(word_targets(batch.traces, encoder.spans(batch.captions))).to(device) if traces else None,
        )


def prefetched(batches: AbstractGenerator[Batch], count: int, device: torch.device) -> AbstractGenerator[Batch]:
    """The same endless batches, so many of them made ahead by a thread, on CUDA in a stream of their own."""
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def following() -> Batch:
        with torch.cuda.stream(stream):
            batch = next(batches)
        if stream is not None:
            stream.synchronize()
        return batch

    # The first is made here: whoever forks loading processes should have no thread beside it.
    first = following()
    with closing(batches), ThreadPoolExecutor(1, "batches") as thread:
        ahead = deque([thread.submit(following) for _ in range(count)])
        try:
            batch = first
            while True:
                if device.type == "cuda":
                    # Made in another stream: its memory is not to be given away before this one has done with it.
                    for tensor in (batch.images_B3HW, *batch.text, batch.noise_BZ, batch.traces_BTR):
                        if tensor is not None:
                            tensor.record_stream(torch.cuda.current_stream(device))
                yield batch
                batch = ahead.popleft().result()
                ahead.append(thread.submit(following))
        finally:
            thread.shutdown(cancel_futures=True)


def finite(report: dict[str, Tensor], step: int) -> dict[str, float]:
    """The losses of a step as numbers.

    Raises:
        TrainingDiverged: if one is not finite.
    """
    losses = dict(zip(report, torch.stack([value.float() for value in report.values()]).tolist(), strict=True))
    broken = [name for name, value in losses.items() if not math.isfinite(value)]
    terms = [name for name in broken if name not in ("d_loss", "g_loss")] or broken
    if terms:
        values = ", ".join(f"{name} is {losses[name]}" for name in terms)
        raise TrainingDiverged(
            f"step {step}: {values}. The newest checkpoint is from before; the usual remedies are a lower "
            "training.discriminator_lr or generator_lr, and training.precision float32"
        )
    return losses


def save(training: Training, output: Path, step: int, config: Config, text_dim: int) -> None:
    """Writes a checkpoint, unless a weight is not finite: then the last good one stays the newest."""
    for network in (training.generator, training.discriminator):
        for name, weight in network.named_parameters():
            if not weight.isfinite().all():
                raise TrainingDiverged(f"step {step}: {type(network).__name__}'s weight {name} is not finite")
    save_checkpoint(
        output / "checkpoints",
        step,
        config,
        text_dim,
        generator=training.generator,
        discriminator=training.discriminator,
        ema=training.ema,
        generator_optimizer=training.generator_optimizer,
        discriminator_optimizer=training.discriminator_optimizer,
    )
    keep_newest(output / "checkpoints", config.training.keep_checkpoints)


def assess(
    evaluate: Evaluate, training: Training, output: Path, step: int, config: Config, text_dim: int, log: "Log"
) -> None:
    """Judges the averaged generator, writes down its values, and keeps it if it is the best."""
    evaluation = evaluate(training.ema.network, step)
    log.write_evaluation(step, evaluation.values)
    on_main(keep_best, training, output, step, config, text_dim, evaluation)


def keep_best(
    training: Training, output: Path, step: int, config: Config, text_dim: int, evaluation: Evaluation
) -> None:
    """Makes ``best/`` the averaged generator of this step, with its values, unless the one there is worth more."""
    known = read_best(output / "best")
    if known is None or evaluation.score > known["score"]:
        told = {"step": step, **evaluation._asdict()}
        save_best(output / "best", told, training.ema.network, config, text_dim, step)


def load_into(training: Training, checkpoint: Path) -> int:
    """Puts a checkpoint into the parts of a run; the step it was saved at."""
    return load_checkpoint(
        checkpoint,
        generator=training.generator,
        discriminator=training.discriminator,
        ema=training.ema,
        generator_optimizer=training.generator_optimizer,
        discriminator_optimizer=training.discriminator_optimizer,
    )


def draw_grid(training: Training, text: TextEmbedding, path: Path) -> None:
    """A grid of one image a caption by the averaged generator; caption k always with seed k."""
    count = len(text.mask_BT)
    samples = sample(training.ema.network, text, list(range(count)), dtype=training.precision)
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = make_grid(samples.images_B3HW, nrow=math.ceil(math.sqrt(count)), padding=2, pad_value=255)
    to_pil_image(grid).save(path)


def open_run(output: Path, config: Config, records: Sequence[Record]) -> Path | None:
    """The checkpoint that a run goes on from, if there is one; the folder is then this run's (``remember_run``)."""
    remember_run(output, config, records)
    remove_leftovers(output / "checkpoints")
    return newest_checkpoint(output / "checkpoints")


def remember_run(output: Path, config: Config, records: Sequence[Record]) -> None:
    """Writes the configuration beside a new run, or checks that a run there is the same one.

    Raises:
        ValueError: naming the settings that differ, or if the data are others.
    """
    path = output / "config.json"
    lines = (line for record in records for line in (record.id, *record.captions))
    data = {"records": len(records), "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}
    if not path.exists():
        if output.exists() and any(output.iterdir()):
            raise ValueError(f"{output} is neither empty nor a training run; choose another --output")
        output.mkdir(parents=True, exist_ok=True)
        write_json(path, {"config": to_dict(config), "data": data})
        return
    known = read_json(path)
    if not isinstance(known, dict) or not {"config", "data"} <= known.keys():
        raise ValueError(f"{path} is not a training run's; choose another --output")
    changed = {
        name: values
        for name, values in differences(from_dict(known["config"]), config).items()
        if name not in MAY_CHANGE
    }
    if changed:
        listed = "; ".join(f"{name} was {old!r} and is {new!r}" for name, (old, new) in changed.items())
        raise ValueError(
            f"{output} holds a run with other settings: {listed}. Choose another --output, or delete that one"
        )
    if known["data"] != data:
        raise ValueError(
            f"{output} holds a run on other data: {known['data']['records']} records then, {len(records)} now, or "
            f"others of the same number. Choose another --output, give the same --data, or delete the run"
        )
    write_json(path, {"config": to_dict(config), "data": data})


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file whole or not at all."""
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    partial.replace(path)


class Log:
    """The mean of every loss and statistic since the last line, as JSON lines and in TensorBoard; rank 0 writes."""

    def __init__(self, output: Path, step: int):
        self.path = output / "log.jsonl"
        self.board: SummaryWriter | None = None
        self.evaluations = output / "evaluations.jsonl"
        if is_main():
            forget_after(self.path, step)
            forget_after(self.evaluations, step)
            self.board = SummaryWriter(str(output / "tensorboard"), purge_step=step + 1)
        self.sums: dict[str, float] = {}
        self.count, self.images, self.waited, self.since = 0, 0, 0.0, time.perf_counter()

    @contextmanager
    def waiting(self) -> AbstractGenerator[None]:
        """Counts the time inside as time spent waiting for data (reading, decoding, embedding captions)."""
        began = time.perf_counter()
        yield
        self.waited += time.perf_counter() - began

    def add(self, losses: dict[str, float], *, images: int) -> None:
        """Takes in one step."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count, self.images = self.count + 1, self.images + images

    def write(self, step: int) -> str:
        """Writes a line and starts the next; what a progress bar shows of it."""
        seconds = time.perf_counter() - self.since
        means = {name: total / self.count for name, total in self.sums.items()}
        means["images_per_second"] = self.images / seconds
        means["data_wait"] = self.waited / seconds
        if self.board is not None:
            with self.path.open("a") as file:
                file.write(json.dumps({"step": step, "time": time.time(), **means}) + "\n")
            for name, value in means.items():
                self.board.add_scalar(name, value, step)
        self.sums, self.count, self.images, self.waited, self.since = {}, 0, 0, 0.0, time.perf_counter()
        return (
            f"D {means['d_loss']:.2f}, G {means['g_loss']:.2f}, {means['images_per_second']:.0f} images/s, "
            f"{means['data_wait']:.0%} waiting for data"
        )

    def write_evaluation(self, step: int, values: dict[str, float]) -> None:
        """Writes a line of metrics; the time they took is no training's."""
        if self.board is not None:
            with self.evaluations.open("a") as file:
                file.write(json.dumps({"step": step, "time": time.time(), **values}) + "\n")
            for name, value in values.items():
                self.board.add_scalar(f"evaluation/{name}", value, step)
            told = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            tqdm.write(f"step {step}: {told}")
        self.images, self.waited, self.since = 0, 0.0, time.perf_counter()

    def close(self) -> None:
        """Writes what TensorBoard holds back."""
        if self.board is not None:
            self.board.close()


def forget_after(path: Path, step: int) -> None:
    """Drops the lines of a log that are later than the checkpoint a run goes on from, and a torn last line."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError):
            break
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text("".join(kept))
    partial.replace(path)


@contextmanager
def stop_signals() -> AbstractGenerator[threading.Event]:
    """An event that SIGINT (Ctrl-C) and SIGTERM set, once each; a second Ctrl-C interrupts as usual.

    Not where there are several ranks: torchrun hands on the Ctrl-C that the terminal has sent to every rank already,
    and one that has not stopped after half a minute it kills. There an error leaves the handlers in place: torchrun
    sends SIGTERM as soon as one rank has died, and the others should still say why they stopped.
    """
    stopped = threading.Event()

    def stop(number: Any, _frame: Any) -> None:
        if world_size() == 1:
            signal.signal(number, previous[number])
        stopped.set()

    in_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if in_main else ()
    previous = {number: signal.signal(number, stop) for number in numbers}
    failed = True
    try:
        yield stopped
        failed = False
    finally:
        if not (failed and world_size() > 1):
            for number, handler in previous.items():
                signal.signal(number, handler)
