"""Plain formulations in float64, and how a fast computation is compared with one."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmcgan.model.modulation import AttentionalSelfModulation, SelfModulation, SpatialCondition
from xmcgan.types import TextEmbedding


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


def random_text(batch: int = 4, length: int = 5, dim: int = 6) -> TextEmbedding:
    mask = torch.arange(length) < torch.tensor([[length], [1], [3], [2]])[:batch]
    words = torch.randn(batch, length, dim) * mask[..., None]
    return TextEmbedding(words, mask, words.sum(1) / mask.sum(1, keepdim=True))
