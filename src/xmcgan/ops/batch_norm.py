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


# Generator: batch normalisation whose scale and shift come from the condition


class BatchNorm2d(nn.Module):
    """Batch normalisation without an affine of its own: (B, C, H, W) -> the same shape.

    The running variance takes the biased batch variance, as Flax does; torch.nn.BatchNorm2d takes the unbiased. The
    batch is that of all ranks. ``momentum`` is how far a forward pass moves the running statistics.
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
    """A batch less its mean, over its deviation; with them its mean and its biased variance, without a gradient."""
    mean = float32_or_wider(x.new_zeros(x.shape[1]))
    var = torch.ones_like(mean)
    # With momentum 1 these two become the batch's own mean and (unbiased) variance.
    normalised = F.batch_norm(x, mean, var, training=True, momentum=1.0, eps=BATCH_NORM_EPS)
    count = x.numel() // x.shape[1]
    return normalised, mean, var * ((count - 1) / count)


def uses_example_statistics(x: Tensor) -> bool:
    """Whether the statistics of a batch are those of its examples, combined: in full precision on the CPU.

    There torch's kernel adds up a whole batch one number after another, which costs float32 two digits; and what every
    example has to say is the same to the last bit, whichever rank holds it. CUDA's kernels add up as a tree, and half
    precision has not that many digits.
    """
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (P, C) of equal parts of a batch: its examples, or all that there is."""
    if uses_example_statistics(x):
        mean = x.mean((2, 3), keepdim=True)
        return mean[..., 0, 0], (x - mean).square_().mean((2, 3))
    _, mean, var = normalise(x)
    return mean[None], var[None]


class SynchronisedNormalise(torch.autograd.Function):
    """``normalise`` by the statistics of equal parts of a batch: of its examples, of what each rank holds, or both.

    Means and variances are combined, not sums of squares, which would leave nothing of a variance that is small beside
    the mean. The backward pass keeps the output, which the layer behind keeps anyway, and not the input. (torch's
    SyncBatchNorm refuses the CPU.)
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
        """With n the count of a channel, d x = (g - sum(g) / n - x_hat sum(g x_hat) / n) / deviation."""
        (x_hat, var), gradient = ctx.saved_tensors, grad_outputs[0]
        zero, one = torch.zeros_like(var), torch.ones_like(var)
        # Only the two sums are asked of torch's kernel, which has them in one pass as the gradients of an affine.
        _, times_x_hat, plain = torch.ops.aten.native_batch_norm_backward(
            gradient, x_hat, one, None, None, zero, one, True, BATCH_NORM_EPS, [False, True, True]
        )
        inverse = (var + BATCH_NORM_EPS).rsqrt()
        count = x_hat.numel() // x_hat.shape[1] * world_size()
        of_one, of_x_hat = sum_over_ranks(torch.stack([plain, times_x_hat])) * (-inverse / count)
        shift, slope, scale = torch.stack([of_one, of_x_hat, inverse]).to(x_hat.dtype)[..., None, None]
        return torch.addcmul(shift, x_hat, slope).addcmul_(gradient, scale)


def batch_norm_reference(x: Tensor) -> Tensor:
    """A batch less its mean, over its deviation."""
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
    return (x - mean) / (variance + BATCH_NORM_EPS).sqrt()
