"""The layers of both networks, written with exact identities that save most of their operations.

A parameter is always the plain 3 x 3 (or 1 x 1) kernel of the paper; only the way it is applied differs. Each
identity is tested against the plain formulation in tests/model/test_layers.py.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from xmcgan.distributed import gather, sum_over_ranks, world_size
from xmcgan.precision import float32_or_wider

BATCH_NORM_EPS = 1e-5
BATCH_NORM_MOMENTUM = 0.1
SPECTRAL_NORM_EPS = 1e-10


BOX_CHANNELS = 64
"""Channels (the fewer of in and out) from which resampling convolutions take nine products a pixel instead of sixteen.

Upsampling is spreading the pixels apart and summing every 2 x 2 of them, and pooling is such a sum. It commutes with
the convolution, which is then the plain 3 x 3 one with stride 2. With few channels the pass over memory costs more
than the products it saves (docs/performance.md).
"""


def spread(kernel: Tensor) -> Tensor:
    """Sum of a 3 x 3 kernel's four shifts in a 4 x 4 window: (..., 3, 3) -> (..., 4, 4).

    Convolving with it at stride 2 does the work of a 3 x 3 convolution beside a 2 x 2 box, so it serves both
    nearest upsampling before, and average pooling after, a convolution: 4 products where there were 9.
    """
    rows = F.pad(kernel, (0, 0, 0, 1)) + F.pad(kernel, (0, 0, 1, 0))
    return F.pad(rows, (0, 1)) + F.pad(rows, (1, 0))


class Box(torch.autograd.Function):
    """Mean of the four pixels at every place of a 2 x 2 window: (B, C, H, W) -> (B, C, H + 2p - 1, W + 2p - 1).

    With a padding of 0 or 1; the gradient of either is the other. torch's own adds up in half precision, one number
    after another, and takes three times as long on the CPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: int) -> Tensor:
        ctx.padding = padding
        return F.avg_pool2d(x, 2, stride=1, padding=padding)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        return Box.apply(grad_outputs[0], 1 - ctx.padding), None


class BiasGradient(torch.autograd.Function):
    """A map (B, C, H, W) that holds a bias without a gradient, given one.

    oneDNN's transposed convolution takes as long for its bias in bfloat16 as for all other gradients together.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, bias: Tensor) -> Tensor:
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        return grad_outputs[0], grad_outputs[0].sum((0, 2, 3))


class UpsampleConv2d(nn.Conv2d):
    """Nearest upsampling x2, then a 3 x 3 convolution: (B, I, H, W) -> (B, O, 2H, 2W)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        assert self.bias is not None
        if min(self.weight.shape[:2]) < BOX_CHANNELS:
            kernel = spread(self.weight).flip(2, 3).transpose(0, 1)
            y = F.conv_transpose2d(input, kernel, self.bias.detach(), stride=2, padding=1)
            return BiasGradient.apply(y, self.bias)
        # Four times the kernel, which is exact, and the mean of four pixels are their sum.
        kernel = 4 * self.weight.flip(2, 3).transpose(0, 1)
        # The bias afterwards: with it oneDNN's transposed convolution takes up to ten times as long in bfloat16.
        y = Box.apply(F.conv_transpose2d(input, kernel, stride=2), 0)
        return y.add_(self.bias.to(y.dtype)[:, None, None])


class ConvAveragePool2d(nn.Conv2d):
    """A 3 x 3 convolution, then 2 x 2 average pooling: (B, I, H, W) -> (B, O, H/2, W/2)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        if min(self.weight.shape[:2]) < BOX_CHANNELS:
            return F.conv2d(input, spread(self.weight) / 4, self.bias, stride=2, padding=1)
        return F.conv2d(Box.apply(input, 1), self.weight, self.bias, stride=2)


def laid_out(x: Tensor, *, channels_last: bool) -> Tensor:
    """A map (B, C, H, W) whose memory holds pixel after pixel, or channel after channel."""
    return x.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def upsample_nearest(x: Tensor) -> Tensor:
    """Each pixel twice in both directions: (B, C, H, W) -> (B, C, 2H, 2W)."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def glorot_normal(module: nn.Module) -> None:
    """Glorot-normal kernels and zero biases, the release's initialisation, for any linear or convolution."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def recomputed(block: nn.Module, *inputs: Any) -> Tensor:
    """``block(*inputs)``, of which only the inputs are kept: the backward pass computes what lies between once more.

    It does so with the weights that the block has now (the discriminator's are divided ones, for the time of a forward
    pass), and running statistics move in the forward pass alone.
    """
    if not torch.is_grad_enabled():
        return block(*inputs)
    weights = dict(block.named_parameters())
    before = {name: buffer.clone() for name, buffer in block.named_buffers()}

    def compute(*inputs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        after = {name: buffer.clone() for name, buffer in before.items()}
        return functional_call(block, weights | after, inputs), after

    output, after = checkpoint(compute, *inputs, use_reentrant=False, preserve_rng_state=False)
    with torch.no_grad():
        for name, buffer in block.named_buffers():
            buffer.copy_(after[name])
    return output


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
        in_parts = world_size() > 1 or is_taken_by_example(x)
        normalised, mean, var = NormaliseInParts.apply(x) if in_parts else normalise(x)
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


def is_taken_by_example(x: Tensor) -> bool:
    """Whether the statistics of a batch are those of its examples, combined: in full precision on the CPU.

    There torch's kernel adds up a whole batch one number after another, which costs float32 two digits; and what every
    example has to say is the same to the last bit, whichever rank holds it. CUDA's kernels add up as a tree, and half
    precision has not that many digits.
    """
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (P, C) of equal parts of a batch: its examples, or all that there is."""
    if is_taken_by_example(x):
        mean = x.mean((2, 3), keepdim=True)
        return mean[..., 0, 0], (x - mean).square_().mean((2, 3))
    _, mean, var = normalise(x)
    return mean[None], var[None]


class NormaliseInParts(torch.autograd.Function):
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


class SelfModulation(nn.Module):
    """x_hat * (1 + gamma) + beta, with gamma and beta linear in the global condition: one pair a channel.

    The paper writes gamma * x_hat; the release's 1 + gamma starts at the identity (docs/parity.md).
    """

    def __init__(self, channels: int, condition_dim: int):
        super().__init__()
        self.norm = BatchNorm2d(channels)
        self.gamma = nn.Linear(condition_dim, channels)
        self.beta = nn.Linear(condition_dim, channels)

    def forward(self, x: Tensor, condition_BC: Tensor) -> Tensor:
        gamma, beta = self.gamma(condition_BC)[..., None, None], self.beta(condition_BC)[..., None, None]
        return torch.addcmul(beta.to(x.dtype), self.norm(x), (1 + gamma).to(x.dtype))


class SpatialCondition(NamedTuple):
    """The condition of every region, [word-context vector ; global condition], before the words are mixed."""

    attention_BRT: Tensor  # of each region over the words
    words_BTD: Tensor  # what is mixed by it
    global_BC: Tensor


class AttentionalSelfModulation(nn.Module):
    """x_hat_j * (1 + gamma_j) + beta_j at every location j, linear in [word context of j ; global condition].

    Two identities keep this cheap. A 1 x 1 convolution commutes with nearest upsampling: gamma and beta are computed
    for the 16 x 16 regions, and each serves its whole square of x, any multiple of that size. And as it is linear, it
    commutes with mixing: the T words are projected and then mixed for the R regions, instead of the reverse.
    """

    def __init__(self, channels: int, condition_dim: int):
        super().__init__()
        self.norm = BatchNorm2d(channels)
        self.gamma = nn.Conv2d(condition_dim, channels, 1)
        self.beta = nn.Conv2d(condition_dim, channels, 1)

    def forward(self, x: Tensor, condition: SpatialCondition) -> Tensor:
        x = self.norm(x)
        # Made of words and regions, they come channels_last; as x lies, so does what is made of it.
        channels_last = x.is_contiguous(memory_format=torch.channels_last)
        gamma, beta = (
            laid_out(project(each, condition), channels_last=channels_last) for each in (self.gamma, self.beta)
        )
        return OverSquares.apply(x, (1 + gamma).to(x.dtype), beta.to(x.dtype))


class OverSquares(torch.autograd.Function):
    """x * scale + shift, where each value of the (B, C, 16, 16) scale and shift serves its whole square of x.

    Written out for the gradients of scale and shift, sums over the squares: autograd's sum over (B, C, 16, k, 16, k)
    takes up to sixty times as long as pooling (docs/performance.md).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale)
        scale, shift = scale[:, :, :, None, :, None], shift[:, :, :, None, :, None]
        return torch.addcmul(shift, squares(x, scale.shape[2]), scale).flatten(4, 5).flatten(2, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        (gradient,) = grad_outputs
        x, scale = ctx.saved_tensors
        side = scale.shape[2]
        times = x.shape[2] // side
        to_x = (squares(gradient, side) * scale[:, :, :, None, :, None]).flatten(4, 5).flatten(2, 3)
        to_scale, to_shift = (F.avg_pool2d(each, times, divisor_override=1) for each in (gradient * x, gradient))
        return to_x, to_scale, to_shift


def squares(x: Tensor, side: int) -> Tensor:
    """A map cut into side x side squares: (B, C, H, W) -> (B, C, side, H / side, side, W / side)."""
    return x.unflatten(3, (side, -1)).unflatten(2, (side, -1))


def project(convolution: nn.Conv2d, condition: SpatialCondition) -> Tensor:
    """A 1 x 1 convolution of [attention mix of words ; global condition] at every region: (B, C, 16, 16)."""
    attention_BRT, words_BTD, global_BC = condition
    weight = convolution.weight.flatten(1)
    of_words, of_global = weight.split([words_BTD.shape[2], global_BC.shape[1]], dim=1)
    everywhere = F.linear(global_BC, of_global, convolution.bias)[:, None]
    regions = attention_BRT @ F.linear(words_BTD, of_words) + everywhere
    side = math.isqrt(regions.shape[1])
    return regions.mT.unflatten(2, (side, side))


Modulation = SelfModulation | AttentionalSelfModulation


class UpBlock(nn.Module):
    """Residual block of the generator: (B, I, H, W) -> (B, O, 2H, 2W).

    norm, relu, upsample, conv 3 x 3, norm, relu, conv 3 x 3; shortcut: upsample, conv 1 x 1. The shortcut convolves
    before it upsamples, which is the same and a quarter of the work.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        condition_dim: int,
        modulation: type[Modulation] = SelfModulation,
    ):
        super().__init__()
        self.norm1 = modulation(in_channels, condition_dim)
        self.conv1 = UpsampleConv2d(in_channels, out_channels)
        self.norm2 = modulation(out_channels, condition_dim)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, condition: Tensor | SpatialCondition) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x, condition)))
        y = self.conv2(F.relu(self.norm2(y, condition)))
        return y + upsample_nearest(self.shortcut(x))


# Discriminator: spectrally normalised layers


def unit(x: Tensor) -> Tensor:
    """x / |x|, with the release's epsilon inside the root."""
    return x * torch.rsqrt(x.square().sum() + SPECTRAL_NORM_EPS)


class SpectralNorm(nn.Module):
    """One layer's power iteration: its weight divided by an estimate of its largest singular value.

    The layer itself stays plain; ``Discriminator`` asks for the divided weights once a forward pass and applies
    the network with them, so that two batches judged together share one iteration. Weights of any shape
    (O, I, ...) are seen as O x I... matrices.
    """

    u: Tensor

    def __init__(self, out_features: int):
        super().__init__()
        self.register_buffer("u", unit(torch.randn(out_features)))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight over its spectral norm. Training keeps the iterated vector; evaluation iterates, keeps none."""
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            with torch.no_grad():
                v = unit(matrix.T @ self.u)
                u = unit(matrix @ v)
                if self.training:
                    self.u.copy_(u)
            sigma = torch.dot(u, matrix @ v)
            return weight / (sigma + SPECTRAL_NORM_EPS)


class OptimizedDownBlock(nn.Module):
    """First block of the discriminator, straight from the image: (B, I, H, W) -> (B, O, H/2, W/2).

    conv, relu, conv, pool; shortcut: pool, conv 1 x 1.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = ConvAveragePool2d(out_channels, out_channels)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(x))) + self.shortcut(F.avg_pool2d(x, 2))


class DownBlock(nn.Module):
    """Residual block of the discriminator: (B, I, H, W) -> (B, O, H/2, W/2), or the same size.

    relu, conv, relu, conv, (pool); shortcut on the raw input: (pool), conv 1 x 1, or the identity where neither the
    size nor the width changes. Pooling before the 1 x 1 convolution is the same as after, at a quarter of the work.
    """

    def __init__(self, in_channels: int, out_channels: int, *, downsample: bool):
        super().__init__()
        self.downsample = downsample
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = (
            ConvAveragePool2d(out_channels, out_channels)
            if downsample
            else nn.Conv2d(out_channels, out_channels, 3, padding=1)
        )
        changes = downsample or in_channels != out_channels
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(F.relu(x))))
        return y + self.shortcut(F.avg_pool2d(x, 2) if self.downsample else x)
