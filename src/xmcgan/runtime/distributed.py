"""Ranks: the processes that share one training, and how tensors and objects travel between them.

Every function is the identity, or does nothing, where no process group runs: a single process pays for none of it.

Two groups of the same ranks. The *control* one (Gloo, on the CPU) is for what may rightly take minutes: one rank's
slow disk, a checkpoint that rank 0 writes. The *tensor* one (NCCL on CUDA, Gloo elsewhere) carries tensors in a step,
which all ranks begin together: who does not answer there for a minute is gone.
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

Value = TypeVar("Value")
Arguments = ParamSpec("Arguments")

CONTROL_TIMEOUT = timedelta(minutes=30)
"""Of a rank that waits for others to start, read or write."""

TENSOR_TIMEOUT = timedelta(seconds=50)
"""Of a rank that waits for others within a training step, unless its networks are being compiled."""

_tensor_group: Any = None  # the group of tensors; None where one process is all there is


class RankLost(RuntimeError):
    """Another rank has ended, or does not answer."""


class EndedByMain(RuntimeError):
    """Rank 0 has failed at something it does for all, and has said at what."""


def rank() -> int:
    """The number of this process, 0 to world_size() - 1."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes share the work."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is rank 0, the one that writes files and shows progress."""
    return rank() == 0


# Starting and ending


class Launch(NamedTuple):
    """What a launcher says of this process."""

    rank: int
    world_size: int
    local_rank: int  # among the processes of its machine
    address: str | None  # of rank 0, "tcp://HOST:PORT"; None leaves it to torchrun's own variables

    @property
    def by_srun(self) -> bool:
        return self.address is not None


def launch(environment: Mapping[str, str]) -> Launch | None:
    """What torchrun's variables say, or else those of a step of SLURM's srun; None where neither started us.

    The variables that sbatch and salloc set are not enough: a script that starts one process itself has them too. The
    tasks are those of the step: an interactive step of one task has SLURM_NTASKS of the whole job.

    Raises:
        ValueError: naming the variable that is missing, or is not a number.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return Launch(*(number_in(environment, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")), None)
    if "SLURM_PROCID" in environment and "SLURM_STEP_NUM_TASKS" in environment:
        numbers = [number_in(environment, name) for name in ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")]
        if numbers[1] > 1 and "MASTER_ADDR" not in environment:
            raise ValueError(
                "MASTER_ADDR is not set: srun does not say where rank 0 is. In the batch script, before srun: "
                'export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)'
            )
        port = number_in({"MASTER_PORT": "29500", **environment}, "MASTER_PORT")
        return Launch(*numbers, f"tcp://{environment.get('MASTER_ADDR', 'localhost')}:{port}")
    return None


def number_in(environment: Mapping[str, str], name: str) -> int:
    """A variable that has to be a whole number."""
    value = environment.get(name, "")
    if not value.isdecimal():
        raise ValueError(f"{name} is {value!r} in the environment; a launcher sets it to a whole number")
    return int(value)


@contextmanager
def process_group(device: torch.device, *, compiling: bool = False) -> AbstractGenerator[torch.device]:
    """Joins the other ranks that torchrun or srun started, if one did, until the end of the block.

    Args:
        device: the kind of device the ranks compute on; ``cuda`` becomes the GPU of this process' local rank.
        compiling: in a first step one rank may compile for minutes while another has it from a cache.

    Yields:
        the device of this rank. Within a group that runs already nothing is started or ended.

    Raises:
        ValueError: if the launcher's variables are not whole, or this machine has fewer GPUs than ranks.
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
        within = CONTROL_TIMEOUT if compiling else TENSOR_TIMEOUT
        _tensor_group = dist.new_group(backend=backend, timeout=within, device_id=device if on_cuda else None)
    try:
        yield device
        # A rank that is done with everything may not leave while another still wants an answer of it.
        barrier()
    finally:
        _tensor_group = None
        dist.destroy_process_group()


def own_device(device: torch.device, launched: Launch) -> torch.device:
    """The device of one of several ranks."""
    if device.type != "cuda":
        return device
    if device.index is not None:
        raise ValueError(
            f"training.device is {device}, but {launched.world_size} ranks share the work; say cuda: each takes its own"
        )
    count = torch.cuda.device_count()
    # srun --gpus-per-task=1 shows each rank its own GPU alone. (Were it the same one, NCCL would refuse.)
    index = 0 if launched.by_srun and count == 1 else launched.local_rank
    if index >= count:
        raise ValueError(
            f"rank {launched.rank} is number {index} on its machine, which has {count} GPUs; "
            "start at most one rank a GPU"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


@contextmanager
def detect_lost_ranks() -> AbstractGenerator[None]:
    """A conversation of all ranks: that one of them has gone shows as an error of the network, or as silence."""
    try:
        yield
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise  # this rank's own
    except RuntimeError as error:
        # Gloo begins with a place in its source and ends with advice.
        reason = re.sub(r"^\[\S+\] ", "", str(error).strip().splitlines()[0]).partition(". ")[0]
        raise RankLost(
            f"rank {rank()}: another rank has ended or does not answer ({reason}). What it said last, if anything, is "
            "further up; the same command goes on from the newest checkpoint, with any number of ranks"
        ) from error


# Objects, on the control group


def barrier() -> None:
    """Waits until every rank is here."""
    if world_size() > 1:
        with detect_lost_ranks():
            dist.barrier()


def gather_objects(value: Value) -> list[Value]:
    """Every rank's value, in order, on every rank. Values travel pickled."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    with detect_lost_ranks():
        dist.all_gather_object(values, value)
    return values


def on_main(work: Callable[Arguments, Value], *arguments: Arguments.args, **named: Arguments.kwargs) -> Value:
    """The result of what rank 0 alone does, on every rank; the others wait. It travels pickled.

    Raises:
        EndedByMain: on the other ranks, if it fails on rank 0, where its own error is raised.
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
        raise EndedByMain(f"rank 0: {result[1]}")
    return result[0]


def any_rank(here: bool) -> bool:
    """Whether it is so on any rank: the same answer on all."""
    if world_size() == 1:
        return here
    flag = torch.tensor(int(here))
    with detect_lost_ranks():
        dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)


# Tensors, on the tensor group. Each conversation is an operator that torch.compile does not look into: inlined in a
# graph it would lose its ``detect_lost_ranks``, and a lost rank its name.


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
    """Every rank's rows, in the order of the ranks."""
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
    """Averages a report over ranks, which hold equal parts of a batch."""
    values = sum_over_ranks(torch.stack([value.detach() for value in report.values()])) / world_size()
    return dict(zip(report, values, strict=True))


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Makes every rank's gradients their mean over ranks, in one message."""
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    mean = sum_over_ranks(torch.cat([gradient.reshape(-1) for gradient in gradients])).div_(world_size())
    for gradient, part in zip(gradients, mean.split([each.numel() for each in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def gather(tensor: Tensor) -> Tensor:
    """Every rank's rows, in the order of the ranks: (B/N, ...) on each -> (B, ...) on all, with a gradient.

    The gradient of a rank's rows is the sum of what all ranks have to say of them. So if every rank computes the same
    loss of gathered rows, and gradients of parameters are averaged over ranks, they are those of one process that has
    all rows; with a gather that keeps its own rank's gradient alone they would be 1/N of it.
    """
    return tensor if world_size() == 1 else Gather.apply(tensor)


class Gather(torch.autograd.Function):
    """Gather forward, reduce-scatter backward."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return all_gather(tensor)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return reduce_scatter(grad_outputs[0])
