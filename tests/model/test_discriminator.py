"""The discriminator on a pair of batches and on their concatenation."""

import copy

import pytest
import torch

from pairs import discriminate_pair
from xmcgan.model.discriminator import Discriminator
from xmcgan.types import TextEmbedding

pytestmark = pytest.mark.usefixtures("float64")


def test_a_pair_is_one_concatenated_batch():
    discriminator = Discriminator(image_size=64, width=2, text_dim=5)
    together = copy.deepcopy(discriminator)
    real, fake = torch.rand(2, 3, 3, 64, 64) * 2 - 1
    text = TextEmbedding(torch.randn(3, 4, 5), torch.ones(3, 4, dtype=torch.bool), torch.randn(3, 5))

    pair = discriminate_pair(discriminator, real, fake, text)
    ours = [torch.cat(halves) for halves in zip(*(half.tensors for half in pair), strict=True)]
    both = TextEmbedding(*(torch.cat([tensor, tensor]) for tensor in text))
    plain = together(torch.cat([real, fake]), both).tensors
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


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 512}, "image_size is 512; it can be 64, 128, 256"),
        ({"head_layers": 3}, "head_layers is 3; it can be 0, 1 or 2"),
    ],
)
def test_an_unknown_setting_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Discriminator(**{"image_size": 64, "width": 2, "text_dim": 5, **wrong})
