"""Ranks for the tests: a process that forks itself into groups of 1 to 4, which import nothing again.

``main(FOLDER, SCENES, ENCODER)`` leaves in the folder what every rank found.
"""

import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import xmcgan.training.loop as loop_module
from tiny import flags, run, tiny_config
from xmcgan.cli.main import main as cli
from xmcgan.losses.contrastive import nt_xent
from xmcgan.ops.batch_norm import BatchNorm2d
from xmcgan.recipes import RECIPES
from xmcgan.runtime import distributed
from xmcgan.training.state import TrainingState, initial_state
from xmcgan.training.step import train_step
from xmcgan.types import Batch, TextEmbedding

BATCH, WORDS, TEXT_DIM = 8, 7, 12
CPU = torch.device("cpu")


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def as_ranks(size: int, work: Callable[..., None], *arguments: object) -> list[int | None]:
    """Runs work(*arguments) in as many forked processes, each with a launcher's variables; their exit statuses."""
    processes = started_ranks(size, work, *arguments)
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def started_ranks(size: int, work: Callable[..., None], *arguments: object) -> list[BaseProcess]:
    """The processes of ``as_ranks``, as they begin."""
    port, forked = free_port(), multiprocessing.get_context("fork")
    processes = [forked.Process(target=as_rank, args=(number, size, port, work, *arguments)) for number in range(size)]
    for process in processes:
        process.start()
    return processes


def as_rank(number: int, size: int, port: int, work: Callable[..., None], *arguments: object) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    work(*arguments)


# One step of tiny networks, whose gradients are kept


class KeepingGradients(torch.optim.SGD):
    """Plain steps: Adam's first would make as much of a gradient's rounding error as of a gradient."""

    def __init__(self, network: nn.Module):
        super().__init__(network.parameters(), lr=1e-3)
        self.names = [name for name, _ in network.named_parameters()]
        self.kept: list[dict[str, Tensor]] = []

    def step(self, closure=None):
        weights = self.param_groups[0]["params"]
        self.kept.append({name: weight.grad.clone() for name, weight in zip(self.names, weights, strict=True)})
        return super().step(closure)


def training_of(dtype: torch.dtype, negatives: Literal["global", "local"] = "global") -> TrainingState:
    """Tiny networks with every loss there is."""
    recipe = RECIPES["scenes-64"]
    config = replace(
        recipe,
        generator=replace(recipe.generator, width=4, noise_dim=8),
        discriminator=replace(recipe.discriminator, width=4, head_layers=1),
        losses=replace(recipe.losses, negatives=negatives),
    )
    training = initial_state(config, TEXT_DIM, CPU)
    weights = replace(training.objective.weights, trace=1.0, image_encoder=1.0)
    training.objective = replace(training.objective, weights=weights)
    training.image_encoder = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(2), nn.AdaptiveAvgPool1d(2), nn.Flatten())
    training.image_encoder.requires_grad_(False)
    for network in (training.generator, training.discriminator, training.ema.network, training.image_encoder):
        network.to(dtype)
    training.generator_optimizer = KeepingGradients(training.generator)  # ty: ignore[invalid-assignment]
    training.discriminator_optimizer = KeepingGradients(training.discriminator)  # ty: ignore[invalid-assignment]
    return training


def batch_of(number: int, dtype: torch.dtype) -> Batch:
    """A rank's part of a batch whose captions have 1 to 7 words, a third of them pointed at."""
    random = torch.Generator().manual_seed(number)
    mask_BT = torch.arange(WORDS) < torch.randint(1, WORDS + 1, (BATCH, 1), generator=random)
    words_BTD = torch.randn(BATCH, WORDS, TEXT_DIM, generator=random) * mask_BT[..., None]
    pointed_BT = mask_BT & (torch.rand(BATCH, WORDS, generator=random) < 1 / 3)
    traces_BTR = torch.rand(BATCH, WORDS, 256, generator=random) * pointed_BT[..., None]
    traces_BTR = traces_BTR / traces_BTR.sum(-1, keepdim=True).clamp_min(1e-9)
    images_B3HW = torch.rand(BATCH, 3, 64, 64, generator=random) * 2 - 1
    noise_BZ = torch.randn(BATCH, 8, generator=random)
    share = BATCH // distributed.world_size()
    rows = slice(distributed.rank() * share, (distributed.rank() + 1) * share)
    sentence_BD = words_BTD.sum(1) / mask_BT.sum(1, keepdim=True)
    text = TextEmbedding(words_BTD[rows].to(dtype), mask_BT[rows], sentence_BD[rows].to(dtype))
    return Batch(images_B3HW[rows].to(dtype), text, noise_BZ[rows].to(dtype), traces_BTR[rows].to(dtype))


def step_of(training: TrainingState, dtype: torch.dtype, discriminator_steps: int) -> dict:
    """A training step's report and gradients, and what it left."""
    report = train_step(training, [batch_of(number, dtype) for number in range(discriminator_steps)])
    networks = {"generator": training.generator, "discriminator": training.discriminator}
    gradients = {
        f"{name} {number}": gradient
        for name in networks
        for number, gradient in enumerate(getattr(training, f"{name}_optimizer").kept)
    }
    left = {f"{name}.{key}": value for name, net in networks.items() for key, value in net.state_dict().items()}
    left |= {f"average.{key}": value for key, value in training.ema.network.state_dict().items()}
    return {"report": report, "gradients": gradients, "left": left}


def compiled_step(folder: Path) -> None:
    """A block whose batch norms are synchronised, whole or not at all, its backward pass traced too.

    A block, because only batch norms know of ranks, and the whole generator takes ten times as long (test_state.py
    compiles it in one process). Compiled on rank 0 alone: the plain rank 1 must still meet it in
    every collective. Then rank 1 is killed, and rank 0 says how its next step ended.
    """
    with distributed.process_group(CPU, compiling=True), torch._functorch.config.patch(donated_buffer=False):
        training = training_of(torch.float32)
        if distributed.is_main():
            training.generator.attentional_blocks[-1].compile(backend="aot_eager", fullgraph=True)
        torch.save(step_of(training, torch.float32, 2), folder / f"compiled-{distributed.rank()}.pt")
        distributed.barrier()
        if not distributed.is_main():
            kill()
        ended, began = {}, time.monotonic()
        try:
            train_step(training, [batch_of(0, torch.float32)])
        except Exception as error:
            ended = {"error": type(error).__name__, "said": str(error), "seconds": time.monotonic() - began}
        (folder / "killed-compiled-6-0.json").write_text(json.dumps(ended))
        os._exit(0)  # without rank 1 the group cannot end in order


def in_half_precision() -> dict:
    training = training_of(torch.float32)
    training.precision = torch.bfloat16
    return step_of(training, torch.float32, 1)


# Parts


class OwnSlice(torch.autograd.Function):
    """The gather that must not be: its backward keeps what this rank alone has to say of its rows."""

    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:
        return distributed.gather(tensor)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0].chunk(distributed.world_size())[distributed.rank()]


def contrast_gradient(gather: Callable[[Tensor], Tensor]) -> Tensor:
    """Of a weight shared by two kinds of features, averaged over ranks, in float64."""
    random = torch.Generator().manual_seed(3)
    whole = torch.randn(2, BATCH, 5, generator=random, dtype=torch.float64)
    weight = nn.Parameter(torch.randn(5, 4, generator=random, dtype=torch.float64))
    one, other = whole.chunk(distributed.world_size(), dim=1)[distributed.rank()] @ weight
    nt_xent(gather(one), gather(other)).loss.backward()
    distributed.average_gradients([weight])
    assert weight.grad is not None
    return weight.grad


def normalised(dtype: torch.dtype) -> list[Tensor]:
    """Batch norm of numbers around 50, others on each rank; the gradient; the running statistics."""
    random = torch.Generator().manual_seed(4)
    whole = torch.randn(BATCH, 3, 4, 4, generator=random, dtype=torch.float64)
    whole += 50 + torch.arange(BATCH)[:, None, None, None]
    cotangent = torch.randn(BATCH, 3, 4, 4, generator=random, dtype=torch.float64)
    x, g = (each.chunk(distributed.world_size())[distributed.rank()].to(dtype) for each in (whole, cotangent))
    norm = BatchNorm2d(3).to(dtype if dtype == torch.float64 else torch.float32)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    y = norm(x)
    (gradient,) = torch.autograd.grad((y * g).sum(), x)
    assert y.dtype == gradient.dtype == dtype
    return [distributed.gather(y.detach()), distributed.gather(gradient), norm.running_mean, norm.running_var]


def conversation() -> dict:
    """What every function of ``distributed`` gives."""
    rank, size = distributed.rank(), distributed.world_size()
    said: dict = {"rank": rank, "size": size, "main": distributed.is_main()}
    said["objects"] = distributed.gather_objects({"rank": rank})
    said["mask"] = distributed.gather(torch.tensor([[rank == 0, True]]))
    said["numbers"] = distributed.gather(torch.tensor([rank]))
    said["sum"] = distributed.sum_over_ranks(torch.tensor([float(rank), 1.0]))
    said["any"] = [distributed.any_rank(rank == size - 1), distributed.any_rank(False)]
    said["from main"] = distributed.on_main(lambda text: f"{text} {rank}", "said by")
    try:
        distributed.on_main(lambda: 1 // rank)
    except Exception as error:
        said["failure"] = f"{type(error).__name__}: {error}"
    return said


EVERY_STEP = tuple((dtype, count) for dtype in (torch.float32, torch.float64) for count in (1, 2))
"""Kinds of step: the precision, and how many steps of the discriminator it has."""


def everything(folder: Path, kinds: Sequence[tuple[torch.dtype, int]] = EVERY_STEP) -> None:
    with distributed.process_group(CPU):
        found = {
            "conversation": conversation(),
            "contrast": contrast_gradient(distributed.gather),
            "own slice": contrast_gradient(OwnSlice.apply),
            "norm": {dtype: normalised(dtype) for dtype in (torch.float64, torch.float32, torch.bfloat16)},
            "steps": {(dtype, count): step_of(training_of(dtype), dtype, count) for dtype, count in kinds},
            "local": step_of(training_of(torch.float64, "local"), torch.float64, 1),
        }
        if kinds == EVERY_STEP:
            found["half"] = in_half_precision()
        torch.save(found, folder / f"{distributed.world_size()}-{distributed.rank()}.pt")


# Whole runs, undisturbed and not


def disturb(before: Callable[[int], None]) -> None:
    """Calls ``before`` with the number of each step of this process, before the step."""
    calls = 0

    def disturbed(training, batches, **options):
        nonlocal calls
        calls += 1
        before(calls)
        return train_step(training, batches, **options)

    loop_module.train_step = disturbed


def trains(
    name: str,
    folder: Path,
    data: tuple[Path, Path],
    steps: int,
    before: Callable[[int], None] | None = None,
):
    """A tiny run in ``folder/name``, before each step of which something may happen; how it ended, as JSON."""
    if before is not None:
        disturb(before)
    began = time.monotonic()
    try:
        ended = {"reached": run(tiny_config(*data, steps=steps), folder / name)}
    except Exception as error:
        ended = {"error": type(error).__name__, "said": str(error)}
    number = os.environ["RANK"]
    ended["seconds"] = time.monotonic() - began
    (folder / f"{name}-{steps}-{number}.json").write_text(json.dumps(ended))


def on_rank_1(at: int, action: Callable[[], object]) -> Callable[[int], None]:
    def before(call: int) -> None:
        if call == at and distributed.rank() == 1:
            action()

    return before


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise ValueError("train2014/x.jpg cannot be read as an image")


def falls_silent(folder: Path, data: tuple[Path, Path]) -> None:
    distributed.TENSOR_TIMEOUT = timedelta(seconds=3)
    trains("silent", folder, data, 6, on_rank_1(2, lambda: time.sleep(8)))


def print_to(path: Path) -> None:
    """What this process and its children print goes into a file."""
    printed = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))  # not pytest's


def alone(work: Callable[..., None], *arguments: object) -> None:
    """Runs work(*arguments) in one forked process."""
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    process.join()


def launched(folder: Path, data: tuple[Path, Path]) -> None:
    """The command line under torchrun's agent, whose ranks are forks here; rank 1 is killed before its second step."""
    print_to(folder / "launched.txt")
    settings = LaunchConfig(
        1, 1, 2, rdzv_backend="c10d", rdzv_endpoint="localhost:0", max_restarts=0, start_method="fork"
    )
    failed, began = False, time.monotonic()
    try:
        elastic_launch(settings, command_line)(flags(tiny_config(*data, steps=2000), folder / "launched"))
    except ChildFailedError:
        failed = True
    ended = {"failed": failed, "seconds": time.monotonic() - began}
    (folder / "launched.json").write_text(json.dumps(ended))


def command_line(command: list[str]) -> None:
    disturb(on_rank_1(2, kill))
    sys.exit(cli(command))


def runs(folder: Path, data: tuple[Path, Path]) -> None:
    silent = started_ranks(2, falls_silent, folder, data)  # it waits most of the time
    # Two ranks, then one, then two again.
    for size, steps in ((2, 1), (1, 2), (2, 3)):
        as_ranks(size, trains, "resumed", folder, data, steps)
    shutil.copytree(folder / "resumed", folder / "launched")
    alone(launched, folder, data)
    as_ranks(2, trains, "signalled", folder, data, 6, on_rank_1(3, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    as_ranks(2, trains, "killed", folder, data, 6, on_rank_1(4, kill))
    as_ranks(2, trains, "killed", folder, data, 4)
    as_ranks(2, trains, "failed", folder, data, 6, on_rank_1(2, fail))
    as_ranks(3, trains, "unequal", folder, data, 6)
    (folder / "taken").mkdir()
    (folder / "taken/notes.txt").write_text("mine")
    as_ranks(2, trains, "taken", folder, data, 6)
    for process in silent:
        process.join()


def main(folder: Path, *data: Path) -> None:
    """All of it, in a process of its own, whose exit status is the worst of its ranks'."""
    print_to(folder / "printed.txt")
    everything(folder)  # here: what a first step loads is there before the forks
    statuses = as_ranks(2, everything, folder)
    statuses += as_ranks(4, everything, folder, ((torch.float32, 1), (torch.float64, 2)))
    statuses += as_ranks(2, compiled_step, folder)[:1]
    runs(folder, (data[0], data[1]))
    sys.exit(max(abs(status or 0) for status in statuses))
