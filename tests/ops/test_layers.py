"""Layers of ops/ and model/ against the plain formulation, written out here, in float64."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmcgan.model.blocks import DownBlock, OptimizedDownBlock, UpBlock
from xmcgan.model.discriminator import Discriminator
from xmcgan.model.modulation import AttentionalSelfModulation, SelfModulation, SpatialCondition
from xmcgan.model.spectral_norm import SpectralNorm, unit
from xmcgan.ops import batch_norm, resampling
from xmcgan.ops.batch_norm import BatchNorm2d
from xmcgan.ops.resampling import ConvAveragePool2d, UpsampleConv2d
from xmcgan.types import TextEmbedding


@pytest.fixture(autouse=True)
def float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(params=[0, 64], ids=["nine products", "sixteen"])
def products(request, monkeypatch):
    """Runs both implementations of a resampling convolution; these narrow layers would never choose the first."""
    monkeypatch.setattr(resampling, "BOX_CHANNELS", request.param)


def assert_same(ours, plain, inputs: list[Tensor]) -> None:
    """Asserts that two computations have the same output, and the same gradients of a random projection of it."""
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-11)
    projection = torch.randn_like(plain)
    of_ours = torch.autograd.grad((ours * projection).sum(), inputs)
    of_plain = torch.autograd.grad((plain * projection).sum(), inputs)
    for one, other in zip(of_ours, of_plain, strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def randomised(module: nn.Module) -> nn.Module:
    """Makes every parameter of a module random, biases included."""
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 5), (8, 8), (7, 2)])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (3, 5), (4, 2)])
def test_upsample_conv_is_interpolate_then_conv(size, in_channels, out_channels, products):
    layer = randomised(UpsampleConv2d(in_channels, out_channels))
    x = torch.randn(2, in_channels, *size, requires_grad=True)
    plain = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), layer.weight, layer.bias, padding=1)
    assert_same(layer(x), plain, [x, layer.weight, layer.bias])


@pytest.mark.parametrize("size", [(2, 2), (2, 6), (6, 10), (8, 8)])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (3, 5), (4, 2)])
def test_conv_average_pool_is_conv_then_pool(size, in_channels, out_channels, products):
    layer = randomised(ConvAveragePool2d(in_channels, out_channels))
    x = torch.randn(2, in_channels, *size, requires_grad=True)
    plain = F.avg_pool2d(F.conv2d(x, layer.weight, layer.bias, padding=1), 2)
    assert_same(layer(x), plain, [x, layer.weight, layer.bias])


def plain_batch_norm(x: Tensor) -> Tensor:
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def plain_modulation(
    modulation: SelfModulation | AttentionalSelfModulation, x: Tensor, condition: Tensor | SpatialCondition
) -> Tensor:
    """x_hat * (1 + gamma) + beta, with gamma and beta projected at the full size of x from full condition vectors."""
    if isinstance(condition, SpatialCondition):
        context_BRD = torch.einsum("brt,btd->brd", condition.attention_BRT, condition.words_BTD)
        global_BRC = condition.global_BC[:, None].expand(-1, context_BRD.shape[1], -1)
        side = int(context_BRD.shape[1] ** 0.5)
        condition = torch.cat([context_BRD, global_BRC], dim=2).mT.unflatten(2, (side, side))
        condition = F.interpolate(condition, scale_factor=x.shape[-1] // side, mode="nearest")
    else:
        condition = condition[:, :, None, None].expand(-1, -1, *x.shape[2:])
    gamma, beta = (
        torch.einsum("oi,bihw->bohw", layer.weight.flatten(1), condition) + layer.bias[:, None, None]
        for layer in (modulation.gamma, modulation.beta)
    )
    return plain_batch_norm(x) * (1 + gamma) + beta


def random_condition(batch: int, side: int, words: int, word_dim: int, global_dim: int) -> SpatialCondition:
    return SpatialCondition(
        torch.randn(batch, side * side, words).softmax(2).requires_grad_(),
        torch.randn(batch, words, word_dim, requires_grad=True),
        torch.randn(batch, global_dim, requires_grad=True),
    )


@pytest.mark.parametrize(("side", "times"), [(16, 1), (16, 2), (16, 4), (4, 8), (3, 3)])
@pytest.mark.parametrize("words", [1, 7])
def test_attentional_self_modulation_equals_full_size_projection(side, times, words):
    modulation = randomised(AttentionalSelfModulation(3, 4 + 5))
    x = torch.randn(2, 3, side * times, side * times, requires_grad=True)
    condition = random_condition(2, side, words, word_dim=4, global_dim=5)
    plain = plain_modulation(modulation, x, condition)
    assert_same(modulation(x, condition), plain, [x, *condition, *modulation.parameters()])


def test_self_modulation():
    modulation = randomised(SelfModulation(3, 5))
    x, condition = torch.randn(4, 3, 5, 7, requires_grad=True), torch.randn(4, 5, requires_grad=True)
    plain = plain_modulation(modulation, x, condition)
    assert_same(modulation(x, condition), plain, [x, condition, *modulation.parameters()])


@pytest.mark.parametrize("kind", [SelfModulation, AttentionalSelfModulation])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(3, 5), (4, 4)])
def test_up_block(kind, in_channels, out_channels):
    block = randomised(UpBlock(in_channels, out_channels, 6, kind))
    x = torch.randn(3, in_channels, 8, 8, requires_grad=True)
    inputs = [torch.randn(3, 6, requires_grad=True)]
    condition = inputs[0]
    if kind is AttentionalSelfModulation:
        condition = random_condition(3, 4, words=5, word_dim=2, global_dim=4)
        inputs = list(condition)

    def upsample(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    y = F.relu(plain_modulation(block.norm1, x, condition))
    y = F.conv2d(upsample(y), block.conv1.weight, block.conv1.bias, padding=1)
    y = F.relu(plain_modulation(block.norm2, y, condition))
    y = F.conv2d(y, block.conv2.weight, block.conv2.bias, padding=1)
    plain = y + F.conv2d(upsample(x), block.shortcut.weight, block.shortcut.bias)
    # The bias of conv1 has no gradient: the norm after it removes constants.
    live = [parameter for name, parameter in block.named_parameters() if name != "conv1.bias"]
    assert_same(block(x, condition), plain, [x, *inputs, *live])


@pytest.mark.parametrize(("in_channels", "out_channels", "downsample"), [(3, 5, True), (4, 4, True), (3, 5, False)])
def test_down_block(in_channels, out_channels, downsample):
    block = randomised(DownBlock(in_channels, out_channels, downsample=downsample))
    x = torch.randn(2, in_channels, 6, 10, requires_grad=True)
    y = F.conv2d(F.relu(x), block.conv1.weight, block.conv1.bias, padding=1)
    y = F.conv2d(F.relu(y), block.conv2.weight, block.conv2.bias, padding=1)
    y = y + F.conv2d(x, block.shortcut.weight, block.shortcut.bias)
    plain = F.avg_pool2d(y, 2) if downsample else y
    assert_same(block(x), plain, [x, *block.parameters()])


def test_down_block_of_same_shape_has_identity_shortcut():
    block = randomised(DownBlock(4, 4, downsample=False))
    x = torch.randn(2, 4, 5, 5, requires_grad=True)
    y = F.conv2d(F.relu(x), block.conv1.weight, block.conv1.bias, padding=1)
    plain = x + F.conv2d(F.relu(y), block.conv2.weight, block.conv2.bias, padding=1)
    assert_same(block(x), plain, [x, *block.parameters()])


def test_optimized_down_block():
    block = randomised(OptimizedDownBlock(3, 5))
    x = torch.randn(2, 3, 6, 10, requires_grad=True)
    y = F.relu(F.conv2d(x, block.conv1.weight, block.conv1.bias, padding=1))
    y = F.avg_pool2d(F.conv2d(y, block.conv2.weight, block.conv2.bias, padding=1), 2)
    plain = y + F.conv2d(F.avg_pool2d(x, 2), block.shortcut.weight, block.shortcut.bias)
    assert_same(block(x), plain, [x, *block.parameters()])


def test_batch_norm_keeps_the_biased_variance():
    norm, x = BatchNorm2d(3), torch.randn(2, 3, 2, 1) * 3 + 1
    torch.testing.assert_close(norm(x), plain_batch_norm(x))
    biased = x.var((0, 2, 3), correction=0)
    torch.testing.assert_close(norm.running_mean, 0.1 * x.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * biased)
    # With four values a channel the unbiased variance is a third larger, which is not a rounding error.
    theirs = nn.BatchNorm2d(3, affine=False)
    theirs(x)
    torch.testing.assert_close(theirs.running_var - norm.running_var, 0.1 * biased / 3)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_batch_norm_kernels_agree(layout):
    """The first is that of bfloat16 and of one process on CUDA. Output, statistics, gradient; around 50."""
    x = (torch.randn(5, 3, 4, 6) + 50).contiguous(memory_format=layout).requires_grad_()
    whole, parts = batch_norm.normalise(x), batch_norm.SynchronisedNormalise.apply(x)
    assert_same(parts[0], whole[0], [x])
    torch.testing.assert_close(parts[1:], whole[1:], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(whole[2], x.var((0, 2, 3), correction=0), rtol=1e-9, atol=0)
    assert not any(each.requires_grad for each in (*whole[1:], *parts[1:]))


def test_batch_norm_in_evaluation_uses_and_keeps_the_running_statistics():
    norm = BatchNorm2d(3).eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(1, 2)
    before, x = copy.deepcopy(norm.state_dict()), torch.randn(2, 3, 4, 4)
    mean, var = (value[:, None, None] for value in (norm.running_mean, norm.running_var))
    torch.testing.assert_close(norm(x), (x - mean) / (var + 1e-5).sqrt())
    torch.testing.assert_close(norm.state_dict(), before, rtol=0, atol=0)


def plain_power_step(matrix: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """One step of power iteration on an (out, in) matrix: the new u, and sigma with u and v held constant."""
    with torch.no_grad():
        v = matrix.T @ u
        v = v / (v.square().sum() + 1e-10).sqrt()
        u = matrix @ v
        u = u / (u.square().sum() + 1e-10).sqrt()
    return u, u @ matrix @ v


@pytest.mark.parametrize("shape", [(5, 7), (1, 6), (5, 3, 3, 3), (4, 6, 1, 1)])
def test_spectral_norm_is_one_power_iteration(shape):
    norm, weight = SpectralNorm(shape[0]), torch.randn(shape, requires_grad=True)
    u = norm.u.clone()
    for _ in range(3):
        u, sigma = plain_power_step(weight.flatten(1), u)
        assert_same(norm(weight), weight / (sigma + 1e-10), [weight])
        torch.testing.assert_close(norm.u, u)
    norm.eval()
    kept = norm.u.clone()
    _, sigma = plain_power_step(weight.flatten(1), u)
    assert_same(norm(weight), weight / (sigma + 1e-10), [weight])
    torch.testing.assert_close(norm.u, kept, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(5, 7), (6, 2, 3, 3)])
def test_spectral_norm_converges_to_the_largest_singular_value(shape):
    norm, weight = SpectralNorm(shape[0]), torch.randn(shape)
    sigma = torch.linalg.matrix_norm(weight.flatten(1), ord=2)
    errors = []
    for _ in range(4):
        for _ in range(100):
            divided = norm(weight)
        errors.append((divided - weight / sigma).norm() / (weight / sigma).norm())
    assert errors[-1] < 1e-9
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(errors))
    torch.testing.assert_close(unit(weight).norm(), torch.tensor(1.0))


def test_discriminate_pair_is_one_concatenated_batch():
    discriminator = Discriminator(image_size=64, width=2, text_dim=5)
    together = copy.deepcopy(discriminator)
    real, fake = torch.rand(2, 3, 3, 64, 64) * 2 - 1
    text = TextEmbedding(torch.randn(3, 4, 5), torch.ones(3, 4, dtype=torch.bool), torch.randn(3, 5))

    pair = discriminator.discriminate_pair(real, fake, text)
    ours = [torch.cat(halves) for halves in zip(*pair, strict=True)]
    both = TextEmbedding(*(torch.cat([tensor, tensor]) for tensor in text))
    plain = together(torch.cat([real, fake]), both)
    cotangents = [torch.randn_like(value) for value in plain]
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other)
    for values in (ours, plain):
        sum((value * cotangent).sum() for value, cotangent in zip(values, cotangents, strict=True)).backward()
    for (name, one), other in zip(discriminator.named_parameters(), together.parameters(), strict=True):
        assert other.grad.abs().max() > 0, name
        torch.testing.assert_close(one.grad, other.grad, msg=name)
    # Only one power iteration for the pair: u is that of a single step.
    for one, other in zip(discriminator.buffers(), together.buffers(), strict=True):
        torch.testing.assert_close(one, other)
    u = discriminator.spectral_norms["stem_conv1"].u.clone()
    discriminator(real, text)
    assert (discriminator.spectral_norms["stem_conv1"].u - u).norm() > 1e-6
