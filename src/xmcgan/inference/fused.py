"""The EMA generator prepared for drawing: the same function of noise and text, with constants computed once.

Exact to rounding (tests/inference/test_fused.py). The weights are prepared from the EMA generator's, so that

- batch normalisation is a scale and a shift, and goes into the projections of gamma and beta, as conv1's bias does;
- gamma and beta of a block are one projection instead of two;
- the kernels of the upsampling convolutions are laid out for the nine-product form below, in the drawing precision.

There is no spectral norm to remove: only the discriminator's layers have one.
"""

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmcgan.model.attention import attend_to_words
from xmcgan.model.blocks import UpBlock
from xmcgan.model.generator import Generator
from xmcgan.model.modulation import AttentionalSelfModulation, Modulation, SpatialCondition
from xmcgan.ops.batch_norm import BATCH_NORM_EPS
from xmcgan.ops.blockwise_affine import bilinear_affine
from xmcgan.ops.resampling import UpsampleConv2d
from xmcgan.ops.word_context import project_word_context
from xmcgan.types import GeneratorOutput, TextEmbedding

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)

SMALL_MAP = 8
"""Side up to which an upsampling convolution is one matrix product: its large kernel is then read once, in order."""


class FusedGenerator(nn.Module):
    """(noise_BZ, text) -> GeneratorOutput, like the ``Generator`` that it was made from, in evaluation mode.

    The inputs are float32; attention and modulation are computed in float32, feature maps in the dtype of the
    weights. Images are float32 in [-1, 1].
    """

    def __init__(self, generator: Generator, dtype: torch.dtype):
        super().__init__()
        self.image_size, self.noise_dim = generator.image_size, generator.noise_dim
        self.stem_sees, self.rho_0 = generator.stem_sees, generator.rho_0
        self.sentence_projection = in_dtype(generator.sentence_projection, generator.sentence_projection.weight.dtype)
        self.stem = in_dtype(generator.stem, dtype)
        self.global_blocks, self.attentional_blocks = nn.ModuleList(), nn.ModuleList()
        side = 4
        for fused, plain in (
            (self.global_blocks, generator.global_blocks),
            (self.attentional_blocks, generator.attentional_blocks),
        ):
            for block in plain:
                assert isinstance(block, UpBlock)
                fused.append(FusedBlock(block, side <= SMALL_MAP, dtype))
                side *= 2
        projection = generator.region_projection
        self.region_projection = None if projection is None else in_dtype(projection, dtype)
        self.norm = FusedModulation(generator.norm)
        self.to_rgb = in_dtype(generator.to_rgb, dtype)

    def forward(self, noise_BZ: Tensor, text: TextEmbedding, weights_BT: Tensor | None = None) -> GeneratorOutput:
        """Generate images; ``weights_BT`` are factors on the words' attention (``attend_to_words``)."""
        condition_BC = torch.cat([self.sentence_projection(text.sentence_BD), noise_BZ], dim=1)
        seen = condition_BC if self.stem_sees == "condition" else noise_BZ
        x = self.stem(seen.to(self.stem.weight.dtype)).unflatten(1, (-1, 4, 4))
        x = x.contiguous(memory_format=torch.channels_last)
        for block in self.global_blocks:
            x = block(x, condition_BC)

        condition, attention_BRT = condition_BC, None
        if self.region_projection is not None:
            regions_BRD = self.region_projection(x).flatten(2).mT
            attention_BRT, words_BTD = attend_to_words(
                regions_BRD, text.words_BTD, text.mask_BT, self.rho_0, weights_BT
            )
            condition = SpatialCondition(attention_BRT, words_BTD, condition_BC)
        for block in self.attentional_blocks:
            x = block(x, condition)
        return GeneratorOutput(torch.tanh(self.to_rgb(self.norm(x, condition)).float()), attention_BRT)


def fuse_generator(generator: Generator, dtype: torch.dtype = torch.float32) -> FusedGenerator:
    """A generator that only draws, several times as fast: the same images, to the rounding of ``dtype``.

    Tensors that need no change are shared with the generator; it does not follow further training.

    Args:
        generator: in evaluation mode.
        dtype: of weights and feature maps: float32, bfloat16 or float16.

    Raises:
        ValueError: if the generator is in training mode, where batch norm has no fixed statistics.
    """
    if generator.training:
        raise ValueError("the generator is in training mode; call eval() first: only fixed statistics can be fused")
    with torch.no_grad():
        return FusedGenerator(generator, dtype).eval().requires_grad_(False)


def in_dtype(layer: Layer, dtype: torch.dtype) -> Layer:
    """A copy of a layer in that precision, without gradients; tensors that already have it are shared."""
    shared = {id(weight): nn.Parameter(weight.to(dtype), requires_grad=False) for weight in layer.parameters()}
    return copy.deepcopy(layer, shared)


class FusedModulation(nn.Module):
    """relu(norm(x + bias) * (1 + gamma) + beta) as relu(x * scale + shift), both linear in the condition."""

    def __init__(self, modulation: Modulation, bias: Tensor | None = None):
        super().__init__()
        self.upsampling = modulation.upsampling if isinstance(modulation, AttentionalSelfModulation) else None
        mean, var = modulation.norm.running_mean.double(), modulation.norm.running_var.double()
        if bias is not None:
            mean = mean - bias.double()
        gamma, beta = modulation.gamma, modulation.beta
        assert gamma.bias is not None
        assert beta.bias is not None
        inverse = torch.rsqrt(var + BATCH_NORM_EPS)
        scale = inverse[:, None] * gamma.weight.double().flatten(1)
        scale_bias = inverse * (1 + gamma.bias.double())
        shift = beta.weight.double().flatten(1) - mean[:, None] * scale
        shift_bias = beta.bias.double() - mean * scale_bias
        self.weight = nn.Parameter(torch.cat([scale, shift]).to(gamma.weight.dtype))
        self.bias = nn.Parameter(torch.cat([scale_bias, shift_bias]).to(gamma.weight.dtype))

    def forward(self, x: Tensor, condition: Tensor | SpatialCondition) -> Tensor:
        if isinstance(condition, SpatialCondition):
            both = project_word_context(self.weight, self.bias, *condition).to(x.dtype)
            if self.upsampling == "bilinear":  # affine in gamma and beta, as upsampling is: the order does not matter
                return bilinear_affine(x, *both.chunk(2, dim=1)).relu_()
            side = both.shape[-1]
            scale, shift = both[:, :, :, None, :, None].chunk(2, dim=1)
            squares = x.unflatten(3, (side, -1)).unflatten(2, (side, -1))  # B, C, 16, k, 16, k
            return torch.addcmul(shift, squares, scale).relu_().flatten(4, 5).flatten(2, 3)
        scale, shift = F.linear(condition, self.weight, self.bias).to(x.dtype)[..., None, None].chunk(2, dim=1)
        return torch.addcmul(shift, x, scale).relu_()


class FusedUpsampleConv(nn.Module):
    """Nearest upsampling x2, then a 3 x 3 convolution, without its bias, with nine products per input pixel.

    The summed 4 x 4 kernel of ``UpsampleConv2d`` needs sixteen. Upsampling spreads the pixels two apart and then sums
    every 2 x 2 of them, and that sum commutes with the convolution: so this is a transposed convolution of the plain
    kernel with stride 2, then the sum. On small maps the products are one matrix product, and the sum is one of shifts.
    """

    def __init__(self, convolution: UpsampleConv2d, small: bool, dtype: torch.dtype):
        super().__init__()
        kernel = convolution.weight.to(dtype)
        if small:  # (9 O, I), rows and columns of the kernel first
            weight = kernel.permute(2, 3, 0, 1).flatten(0, 2).contiguous()
        else:
            # The mean of four pixels, with four times the kernel (which is exact), is their sum.
            weight = 4 * kernel.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
        self.weight = nn.Parameter(weight)
        self.small = small

    def forward(self, x: Tensor) -> Tensor:
        if not self.small:
            return F.avg_pool2d(F.conv_transpose2d(x, self.weight, stride=2), 2, stride=1)
        products = F.linear(x.permute(0, 2, 3, 1), self.weight).unflatten(3, (3, 3, -1))  # B, H, W, 3, 3, O
        columns = [interleave(products[:, :, :, row].unbind(3), 2) for row in range(3)]
        return interleave(columns, 1).permute(0, 3, 1, 2)


def interleave(taps: Sequence[Tensor], dim: int) -> Tensor:
    """From products of three taps with every pixel, the even and odd pixels of the upsampled output, along ``dim``.

    Output 2i sees pixels i - 1, i, i through the three taps, and output 2i + 1 sees i, i, i + 1.
    """
    first, middle, last = taps
    even = middle + last + shifted(first, dim, 1)
    odd = first + middle + shifted(last, dim, -1)
    return torch.stack([even, odd], dim + 1).flatten(dim, dim + 1)


def shifted(x: Tensor, dim: int, by: int) -> Tensor:
    """x moved by one place along ``dim``, with zeros in the gap."""
    length = x.shape[dim]
    zero = torch.zeros_like(x.narrow(dim, 0, 1))
    if by > 0:
        return torch.cat([zero, x.narrow(dim, 0, length - 1)], dim)
    return torch.cat([x.narrow(dim, 1, length - 1), zero], dim)


class FusedBlock(nn.Module):
    """``UpBlock`` with fused parts; conv1's bias is in the modulation that follows it."""

    def __init__(self, block: UpBlock, small: bool, dtype: torch.dtype):
        super().__init__()
        self.norm1 = FusedModulation(block.norm1)
        self.conv1 = FusedUpsampleConv(block.conv1, small, dtype)
        self.norm2 = FusedModulation(block.norm2, block.conv1.bias)
        self.conv2 = in_dtype(block.conv2, dtype)
        self.shortcut = in_dtype(block.shortcut, dtype)

    def forward(self, x: Tensor, condition: Tensor | SpatialCondition) -> Tensor:
        y = self.conv2(self.norm2(self.conv1(self.norm1(x, condition)), condition))
        # Each pixel of the shortcut is added to its 2 x 2 pixels without writing it out four times.
        pairs = y.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # B, C, H, 2, W, 2
        return (pairs + self.shortcut(x)[:, :, :, None, :, None]).flatten(4, 5).flatten(2, 3)
