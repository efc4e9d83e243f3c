"""Distributed training: starting ranks, and communication between them.

Without a process group every function is the identity or does nothing, so a single process pays no cost.

There are two groups with the same ranks. The *control* group (Gloo, on the CPU) serves operations that may take
minutes, such as rank 0 writing a checkpoint. The *tensor* group (NCCL on CUDA, Gloo elsewhere) carries tensors within a
step, which all ranks begin together: a rank that does not answer within a minute is lost.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Generator as AbstractGenerator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from xmcgan.runtime.field_types import first_line

Value = TypeVar("Value")
Arguments = ParamSpec("Arguments")

CONTROL_TIMEOUT = timedelta(minutes=30)
"""How long a rank waits for others to start, read or write."""

TENSOR_TIMEOUT = timedelta(seconds=50)
"""How long a rank waits for others within a training step, unless networks are being compiled."""

_tensor_group: Any = None  # None if there is only one process


class RankLost(RuntimeError):
    """Another rank has ended or does not answer."""


class RankZeroFailed(RuntimeError):
    """Rank 0 has failed at work that it does for all ranks; its own error gives the reason."""


def rank() -> int:
    """The rank of this process, 0 to world_size() - 1."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """The number of processes that share the work."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is rank 0, the one that writes files and shows progress."""
    return rank() == 0


# Starting and ending


class Launch(NamedTuple):
    """How torchrun or srun started this process."""

    rank: int
    world_size: int
    local_rank: int  # among the processes on this machine
    address: str | None  # rank 0's, "tcp://HOST:PORT"; None if torchrun's own variables hold it

    @property
    def by_srun(self) -> bool:
        return self.address is not None


def launch(environment: Mapping[str, str]) -> Launch | None:
    """Reads the variables of torchrun or of a SLURM srun step; None if neither started this process.

    The variables of sbatch and salloc are not enough, because a script that starts a single process has them too. The
    ranks are the tasks of the step: SLURM_NTASKS counts the whole job's tasks, even in a step of one task.

    Raises:
        ValueError: naming the variable that is missing or not a number.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return Launch(*(number_in(environment, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")), None)
    if "SLURM_PROCID" in environment and "SLURM_STEP_NUM_TASKS" in environment:
        numbers = [number_in(environment, name) for name in ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")]
        if numbers[1] > 1 and "MASTER_ADDR" not in environment:
            raise ValueError(
                "MASTER_ADDR is not set; srun does not set it. In the batch script, before srun: "
                'export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)'
            )
        port = number_in({"MASTER_PORT": "29500", **environment}, "MASTER_PORT")
        return Launch(*numbers, f"tcp://{environment.get('MASTER_ADDR', 'localhost')}:{port}")
    return None


def number_in(environment: Mapping[str, str], name: str) -> int:
    """The value of an environment variable that must be a whole number."""
    value = environment.get(name, "")
    if not value.isdecimal():
        raise ValueError(f"the environment variable {name} is {value!r}; it should be a whole number")
    return int(value)


@contextmanager
def process_group(device: torch.device, *, compiling: bool = False) -> AbstractGenerator[torch.device]:
    """Joins the ranks that torchrun or srun started, until the end of the block.

    Does nothing in a single process, or inside a process group that already runs.

    Args:
        device: where the ranks compute; ``cuda`` becomes the GPU of this process' local rank.
        compiling: use the longer timeout, because one rank may compile for minutes while another has a cache.

    Yields:
        this rank's device.

    Raises:
        ValueError: if the launcher's variables are incomplete, or this machine has fewer GPUs than ranks.
        RankLost: if not all ranks arrive.
    """
    global _tensor_group
    launched = launch(os.environ)
    if launched is None or launched.world_size == 1:
        yield device
        return
    device = own_device(device, launched)
    if dist.is_initialized():
        yield device
        return
    on_cuda = device.type == "cuda"
    with detect_lost_ranks():
        dist.init_process_group(
            "gloo", launched.address, timeout=CONTROL_TIMEOUT, rank=launched.rank, world_size=launched.world_size
        )
        backend = "nccl" if on_cuda else "gloo"
        timeout = CONTROL_TIMEOUT if compiling else TENSOR_TIMEOUT
        _tensor_group = dist.new_group(backend=backend, timeout=timeout, device_id=device if on_cuda else None)
    try:
        yield device
        # A rank that has finished must not leave while another still waits for it.
        barrier()
    finally:
        _tensor_group = None
        dist.destroy_process_group()


def own_device(device: torch.device, launched: Launch) -> torch.device:
    """The device of this rank, one of several.

    Raises:
        ValueError: if ``device`` names one GPU for all ranks, or this machine has too few GPUs.
    """
    if device.type != "cuda":
        return device
    if device.index is not None:
        raise ValueError(
            f"training.device is {device}, but there are {launched.world_size} ranks; it should be cuda: each rank "
            "then uses its own GPU"
        )
    count = torch.cuda.device_count()
    # With srun --gpus-per-task=1 each rank sees only its own GPU. (If it were the same GPU, NCCL would fail.)
    index = 0 if launched.by_srun and count == 1 else launched.local_rank
    if index >= count:
        raise ValueError(
            f"rank {launched.rank} needs GPU {index} of its machine, which has {count} GPUs; "
            "start at most one rank a GPU"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


@contextmanager
def detect_lost_ranks() -> AbstractGenerator[None]:
    """Raises ``RankLost`` if communication within the block fails or times out: another rank has ended."""
    try:
        yield
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise  # this rank's own error
    except RuntimeError as error:
        # Keep Gloo's reason only: its message begins with a source location and ends with advice.
        reason = re.sub(r"^\[\S+\] ", "", first_line(error)).partition(". ")[0]
        raise RankLost(
            f"rank {rank()}: another rank has ended or does not answer ({reason}). Its own error, if any, is further "
            "up; the same command resumes from the newest checkpoint, with any number of ranks"
        ) from error


# Objects, over the control group


def barrier() -> None:
    """Waits until every rank has arrived."""
    if world_size() > 1:
        with detect_lost_ranks():
            dist.barrier()


def gather_objects(value: Value) -> list[Value]:
    """The values of all ranks, in order of rank, on every rank. Values are pickled."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    with detect_lost_ranks():
        dist.all_gather_object(values, value)
    return values


def on_main(work: Callable[Arguments, Value], *arguments: Arguments.args, **named: Arguments.kwargs) -> Value:
    """Runs ``work`` on rank 0 alone and returns its result, pickled, on every rank; the others wait.

    Raises:
        RankZeroFailed: on the other ranks, if ``work`` fails on rank 0, which raises the original error.
    """
    if world_size() == 1:
        return work(*arguments, **named)
    result: list[Any] = [None, None]
    try:
        if is_main():
            result[0] = work(*arguments, **named)
    except BaseException as error:
        result[1] = str(error)
        raise
    finally:
        with detect_lost_ranks():
            dist.broadcast_object_list(result, src=0)
    if result[1] is not None:
        raise RankZeroFailed(f"rank 0: {result[1]}")
    return result[0]


def any_rank(here: bool) -> bool:
    """Whether ``here`` is true on any rank; all ranks get the same answer."""
    if world_size() == 1:
        return here
    flag = torch.tensor(int(here))
    with detect_lost_ranks():
        dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)


# Tensors, over the tensor group. Each collective is a custom operator, opaque to torch.compile: inlined into a graph it
# would lose its ``detect_lost_ranks``.


@torch.library.custom_op("xmcgan::all_reduce", mutates_args=())
def all_reduce(tensor: Tensor) -> Tensor:
    """The sum of every rank's tensor, on every rank."""
    total = tensor.clone(memory_format=torch.contiguous_format)
    with detect_lost_ranks():
        dist.all_reduce(total, group=_tensor_group)
    return total


@all_reduce.register_fake
def _(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


@torch.library.custom_op("xmcgan::all_gather", mutates_args=())
def all_gather(tensor: Tensor) -> Tensor:
    """The rows of all ranks, in order of rank."""
    tensor = tensor.contiguous()
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    with detect_lost_ranks():
        dist.all_gather(parts, tensor, group=_tensor_group)
    return torch.cat(parts)


@all_gather.register_fake
def _(tensor: Tensor) -> Tensor:
    return tensor.new_empty(world_size() * tensor.shape[0], *tensor.shape[1:])


@torch.library.custom_op("xmcgan::reduce_scatter", mutates_args=())
def reduce_scatter(tensor: Tensor) -> Tensor:
    """This rank's share of the rows of the sum of every rank's tensor."""
    parts = list(tensor.contiguous().chunk(world_size()))
    own = torch.empty_like(parts[0])
    with detect_lost_ranks():
        dist.reduce_scatter(own, parts, group=_tensor_group)
    return own


@reduce_scatter.register_fake
def _(tensor: Tensor) -> Tensor:
    return tensor.new_empty(tensor.shape[0] // world_size(), *tensor.shape[1:])


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of every rank's tensor, on every rank, without a gradient."""
    return tensor if world_size() == 1 else all_reduce(tensor.detach())


def average_over_ranks(report: dict[str, Tensor]) -> dict[str, Tensor]:
    """Averages a report over ranks, each of which holds an equal part of the batch."""
    values = sum_over_ranks(torch.stack([value.detach() for value in report.values()])) / world_size()
    return dict(zip(report, values, strict=True))


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replaces the gradients on every rank by their mean over ranks, in one all-reduce."""
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    mean = sum_over_ranks(torch.cat([gradient.reshape(-1) for gradient in gradients])).div_(world_size())
    for gradient, part in zip(gradients, mean.split([each.numel() for each in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def gather(tensor: Tensor) -> Tensor:
    """The rows of all ranks, in order of rank: (B/N, ...) on each -> (B, ...) on all, with a gradient.

    The gradient of a rank's rows is the sum of their gradients on all ranks. So if every rank computes the same loss
    from the gathered rows and parameter gradients are averaged over ranks, the result equals that of one process with
    all rows. A gather that kept only its own rank's gradient would give 1/N of it.
    """
    return tensor if world_size() == 1 else Gather.apply(tensor)


class Gather(torch.autograd.Function):
    """All-gather in the forward pass, reduce-scatter in the backward pass."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return all_gather(tensor)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return reduce_scatter(grad_outputs[0])
