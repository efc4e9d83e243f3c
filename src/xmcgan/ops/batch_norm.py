"""Batch normalisation over the batch of all ranks, with running statistics as Flax keeps them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from xmcgan.runtime.distributed import gather, sum_over_ranks, world_size
from xmcgan.runtime.precision import float32_or_wider

BATCH_NORM_EPS = 1e-5

BATCH_NORM_MOMENTUM = 0.1


class BatchNorm2d(nn.Module):
    """Batch normalisation over the batch of all ranks, without an affine: (B, C, H, W) -> the same shape.

    The running variance averages the biased batch variance, as in Flax; torch.nn.BatchNorm2d averages the unbiased one.
    ``momentum`` is the weight of the new batch in the running statistics.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.momentum = BATCH_NORM_MOMENTUM
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, eps=BATCH_NORM_EPS)
        in_parts = world_size() > 1 or uses_example_statistics(x)
        normalised, mean, var = SynchronisedNormalise.apply(x) if in_parts else normalise(x)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var, self.momentum)
        return normalised


def normalise(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normalises each channel of a batch; also returns its mean and biased variance, (C,), without a gradient."""
    mean = float32_or_wider(x.new_zeros(x.shape[1]))
    var = torch.ones_like(mean)
    # With momentum 1, torch writes the batch's mean and unbiased variance into these two.
    normalised = F.batch_norm(x, mean, var, training=True, momentum=1.0, eps=BATCH_NORM_EPS)
    count = x.numel() // x.shape[1]
    return normalised, mean, var * ((count - 1) / count)


def uses_example_statistics(x: Tensor) -> bool:
    """Whether to combine the batch statistics from those of single examples: in full precision on the CPU.

    torch's CPU kernel sums a whole batch sequentially, which costs float32 two digits. Statistics of single examples
    avoid that, and are identical to the last bit whichever rank holds the example. CUDA's kernels sum pairwise, and
    half precision does not have these digits anyway.
    """
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance, each (P, C), of P equal parts of a batch: its examples, or the whole batch (P = 1)."""
    if uses_example_statistics(x):
        mean = x.mean((2, 3), keepdim=True)
        return mean[..., 0, 0], (x - mean).square_().mean((2, 3))
    _, mean, var = normalise(x)
    return mean[None], var[None]


class SynchronisedNormalise(torch.autograd.Function):
    """``normalise`` with statistics combined from equal parts of the batch: its examples, each rank's share, or both.

    It combines means and variances rather than sums of squares, which cancel where the variance is small beside the
    mean. The backward pass keeps the output, which the next layer keeps anyway, instead of the input. (torch's
    SyncBatchNorm does not run on the CPU.)
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        means, variances = gather(torch.stack(moments(x), 1)).unbind(1)
        mean = means.mean(0)
        var = (variances + (means - mean).square()).mean(0)
        x_hat = F.batch_norm(x, mean, var, eps=BATCH_NORM_EPS)
        ctx.save_for_backward(x_hat, var)
        ctx.mark_non_differentiable(mean, var)
        return x_hat, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        """dx = (g - sum(g) / n - x_hat sum(g x_hat) / n) / std, with n the number of values in a channel."""
        (x_hat, var), gradient = ctx.saved_tensors, grad_outputs[0]
        zero, one = torch.zeros_like(var), torch.ones_like(var)
        # torch's kernel computes both sums in one pass, as the gradients of an affine; nothing else is asked of it.
        _, times_x_hat, plain = torch.ops.aten.native_batch_norm_backward(
            gradient, x_hat, one, None, None, zero, one, True, BATCH_NORM_EPS, [False, True, True]
        )
        inverse = (var + BATCH_NORM_EPS).rsqrt()
        count = x_hat.numel() // x_hat.shape[1] * world_size()
        offset, slope = sum_over_ranks(torch.stack([plain, times_x_hat])) * (-inverse / count)
        shift, slope, scale = torch.stack([offset, slope, inverse]).to(x_hat.dtype)[..., None, None]
        return torch.addcmul(shift, x_hat, slope).addcmul_(gradient, scale)


def batch_norm_reference(x: Tensor) -> Tensor:
    """``normalise``, written as its definition; returns the normalised batch alone."""
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
    return (x - mean) / (variance + BATCH_NORM_EPS).sqrt()
