"""The training loop: batches, steps, logging, validation and checkpoints."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Event

import torch
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from xmcgan.config import Config
from xmcgan.data.records import Record
from xmcgan.encoders.text import TextEncoder
from xmcgan.inference.model_files import newest_checkpoint
from xmcgan.inference.sample import sample
from xmcgan.runtime.device import keep_freed_memory, resolve_device, use_tf32
from xmcgan.runtime.distributed import any_rank, barrier, is_main, on_main, process_group, world_size
from xmcgan.runtime.files import atomic_file, make_folder
from xmcgan.runtime.progress import ProgressBar, say
from xmcgan.training.batches import embedded_batches, prefetched
from xmcgan.training.checkpoint import load_unwritten_log
from xmcgan.training.ema import estimate_batch_norm
from xmcgan.training.initial_weights import load_initial_weights
from xmcgan.training.log import Log, already_evaluated
from xmcgan.training.rescue import RunProgress, saving_on_error
from xmcgan.training.run_folder import open_run_folder
from xmcgan.training.signals import stop_signals
from xmcgan.training.state import (
    TrainingState,
    check_batch_size,
    check_finite,
    initial_state,
    load_state,
    save,
    set_learning_rates,
)
from xmcgan.training.step import train_step
from xmcgan.training.validation import Evaluate, validate
from xmcgan.types import Batch, TextEmbedding


def train(
    config: Config,
    output: Path,
    *,
    records: Sequence[Record],
    sample_captions: Sequence[str],
    evaluate: Evaluate | None = None,
) -> int:
    """Train up to step ``config.training.steps``, resuming from the newest checkpoint under ``output``.

    Writes ``config.json``, ``checkpoints/``, ``samples/`` (image grids of the EMA generator), ``log.jsonl`` and
    ``tensorboard/`` under ``output``; with ``evaluate`` also ``evaluations.jsonl`` and ``best/``. On a CPU an
    interrupted and resumed run gives the same bits as an uninterrupted one with the same number of threads and ranks.

    Under torchrun or srun, ranks share every batch and rank 0 writes (docs/distributed.md).

    Args:
        output: folder of the run.
        records: captioned images to train on, the same on every rank.
        sample_captions: captions of the image grids.
        evaluate: evaluates the EMA generator before the first step, every ``config.evaluation.every`` steps, and after
            the last step.

    Returns:
        the last step; below ``config.training.steps`` if a checkpoint was saved after SIGINT or SIGTERM on any rank.

    Raises:
        TrainingDiverged: naming the step and the term that is not finite.
        ValueError: naming the settings or data in which the run under ``output`` differs.
        distributed.RankLost: if another rank has ended.
        distributed.RankZeroFailed: on the other ranks, if rank 0 alone raises one of these errors.
    """
    with (
        process_group(resolve_device(config.training.device), compiling=config.training.compile) as device,
        ExitStack() as stack,
    ):
        return training_loop(config, output, device, records, sample_captions, evaluate, stack)


def training_loop(
    config: Config,
    output: Path,
    device: torch.device,
    records: Sequence[Record],
    sample_captions: Sequence[str],
    evaluate: Evaluate | None,
    stack: ExitStack,
) -> int:
    """``train`` inside the process group; ``stack`` holds the run folder's lock until it ends."""
    settings = config.training
    if device.type == "cpu":
        keep_freed_memory()
    use_tf32(device, settings.tf32)
    check_batch_size(config, world_size())
    encoder = TextEncoder.from_config(config.text, device=device)
    state = initial_state(config, encoder.dim, device)
    started_from = None
    if settings.init is not None and newest_checkpoint(output / "checkpoints") is None:
        started_from = load_initial_weights(state, config, settings.init)
    # Opened only now, so that rejected settings leave no run folder behind.
    checkpoint = on_main(open_run_folder, output, config, records, stack)
    step = load_state(state, checkpoint) if checkpoint else 0
    if is_main() and (started_from or checkpoint):
        say(started_from or f"resuming from step {step} ({checkpoint})")
    log = Log(output, step, load_unwritten_log(checkpoint) if checkpoint else None)
    sample_text = encoder(sample_captions)
    batches = embedded_batches(config, records, encoder, device, start=step * settings.discriminator_steps)
    if settings.prefetch:
        batches = prefetched(batches, settings.prefetch, device)
    run = Run(config, output, state, encoder.dim, log, evaluate, RunProgress(step))
    with stop_signals() as stopped, closing(batches), saving_on_error(run.progress, output, run.save):
        run_steps(run, batches, sample_text, stopped)
    return run.progress.step


@dataclass
class Run:
    """A run in progress."""

    config: Config
    output: Path
    state: TrainingState
    text_dim: int
    log: Log
    evaluate: Evaluate | None
    progress: RunProgress

    def save(self, step: int) -> None:
        """Writes a checkpoint; on rank 0 alone."""
        save(self.state, self.output, step, self.config, self.text_dim, self.log.unwritten())

    def validate_if_due(self, step: int) -> None:
        """Evaluates the EMA generator, unless that was done before an interruption."""
        every, steps = self.config.evaluation.every, self.config.training.steps
        if self.evaluate is None or not every or (step % every and step != steps):
            return
        if not on_main(already_evaluated, self.output, step):
            validate(self.evaluate, self.state, self.output, step, self.config, self.text_dim, self.log)


def run_steps(run: Run, batches: Iterator[Batch], sample_text: TextEmbedding, stopped: Event) -> None:
    """Runs the remaining steps."""
    settings, state, log, step = run.config.training, run.state, run.log, run.progress.step
    with ProgressBar(
        total=settings.steps, initial=step, unit="step", desc=run.output.name, disable=not is_main()
    ) as bar:
        if log.count and step % settings.log_every == 0:
            log.write(step)  # interrupted after the checkpoint, before its line was written
        run.validate_if_due(step)
        last = step >= settings.steps
        while not last:
            with log.waiting():
                fresh = [next(batches) for _ in range(settings.discriminator_steps)]
                barrier()  # so that waiting for the slowest rank's data counts as waiting for data, too
            with run.progress.updating():
                set_learning_rates(state, settings, step)
                alone = step < settings.discriminator_warmup
                losses = check_finite(train_step(state, fresh, discriminator_alone=alone), step + 1)
            step = run.progress.step = step + 1
            log.add(losses, images=settings.batch_size * settings.discriminator_steps)
            # Checked once per step: a signal during saving stops the run after the next step.
            stopping = any_rank(stopped.is_set())
            last = step == settings.steps or stopping
            if stopping and is_main():
                say("stopping after saving a checkpoint")
            if step % settings.log_every == 0 or step == settings.steps:
                bar.set_postfix_str(log.write(step))
            bar.update()
            if step == settings.steps and settings.batch_norm_batches:
                with run.progress.updating():
                    reestimate_batch_norm(state, islice(batches, settings.batch_norm_batches))
            if step % settings.sample_every == 0 or last:
                on_main(save_sample_grid, state, sample_text, run.output / "samples" / f"step-{step:08d}.png")
            if step % settings.checkpoint_every == 0 or last:
                on_main(run.save, step)
            run.validate_if_due(step)


def reestimate_batch_norm(state: TrainingState, batches: Iterable[Batch]) -> None:
    """Re-estimates the batch-norm statistics of the EMA generator (``training.batch_norm_batches``)."""
    with state.layers_in_precision():
        estimate_batch_norm(state.ema.network, ((batch.noise_BZ, batch.text) for batch in batches))


def save_sample_grid(state: TrainingState, text: TextEmbedding, path: Path) -> None:
    """Save a grid with one image per caption by the EMA generator; caption k always has seed k."""
    count = len(text.mask_BT)
    samples = sample(state.ema.network, text, list(range(count)), dtype=state.precision)
    make_folder(path.parent)
    grid = make_grid(samples.images_B3HW, nrow=math.ceil(math.sqrt(count)), padding=2, pad_value=255)
    with atomic_file(path) as partial:
        to_pil_image(grid).save(partial, format="PNG")
