"""The fused generator draws what the generator draws: to rounding, in every form it can have."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from xmcgan.inference.fused import FusedUpsampleConv, fuse_generator, interleave
from xmcgan.model.generator import Generator
from xmcgan.ops.resampling import UpsampleConv2d
from xmcgan.types import TextEmbedding

LENGTHS = torch.tensor([3, 7, 5])


def generator(**settings: object) -> Generator:
    """One in which nothing is as it was initialised: statistics, biases and weights are all random."""
    made = Generator(**({"image_size": 64, "width": 3, "text_dim": 6, "noise_dim": 5} | settings))  # type: ignore[arg-type]
    for name, tensor in made.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.3, 3.0)
        elif name.endswith("running_mean"):
            tensor.normal_()
        elif name.endswith("bias"):
            tensor.normal_(std=0.1)
    return made.eval().requires_grad_(False)


def inputs() -> tuple[torch.Tensor, TextEmbedding]:
    mask_BT = torch.arange(7)[None] < LENGTHS[:, None]
    return torch.randn(3, 5), TextEmbedding(torch.randn(3, 7, 6), mask_BT, torch.randn(3, 6))


@pytest.mark.parametrize(
    ("image_size", "stem", "modulation", "upsampling"),
    [
        (64, "condition", "attentional", "nearest"),
        (64, "condition", "attentional", "bilinear"),
        (64, "noise", "plain", "nearest"),
        (128, "noise", "attentional", "bilinear"),
        (128, "noise", "attentional", "nearest"),
        (256, "noise", "plain", "nearest"),
    ],
)
def test_the_same_images_and_attention(image_size, stem, modulation, upsampling):
    settings = {"stem": stem, "modulation": modulation, "modulation_upsampling": upsampling}
    made = generator(image_size=image_size, width=1, **settings).double()
    noise_BZ, text = inputs()
    text = TextEmbedding(text.words_BTD.double(), text.mask_BT, text.sentence_BD.double())
    plain = made(noise_BZ.double(), text)
    ours = fuse_generator(made, torch.float64)(noise_BZ.double(), text)
    # Images leave the fused generator in float32.
    torch.testing.assert_close(ours.images_B3HW, plain.images_B3HW.float(), rtol=1e-6, atol=1e-6)
    assert plain.images_B3HW.std() > 0.1
    if modulation == "attentional":
        torch.testing.assert_close(ours.attention_BRT, plain.attention_BRT, rtol=1e-10, atol=1e-12)
    else:
        assert ours.attention_BRT is None
        assert plain.attention_BRT is None


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03), (torch.float16, 4e-3)])
def test_precision(dtype, tolerance):
    made = generator(width=4)
    noise_BZ, text = inputs()
    plain, ours = made(noise_BZ, text).images_B3HW, fuse_generator(made, dtype)(noise_BZ, text).images_B3HW
    assert ours.dtype == torch.float32
    error = (ours - plain).norm() / plain.norm()
    assert error < tolerance
    if dtype != torch.float32:
        assert error > 0


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (3, 5)])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (3, 5), (4, 2)])
def test_both_forms_of_upsampling_are_interpolate_then_conv(small, size, in_channels, out_channels):
    layer = UpsampleConv2d(in_channels, out_channels).double()
    x = torch.randn(2, in_channels, *size, dtype=torch.float64)
    plain = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), layer.weight, padding=1)
    ours = FusedUpsampleConv(layer, small, torch.float64)(x)
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-12)


def test_interleaved_taps_are_a_convolution_of_doubled_pixels():
    taps, x = torch.randn(3, dtype=torch.float64), torch.randn(1, 6, dtype=torch.float64)
    plain = F.conv1d(x.repeat_interleave(2, 1)[None], taps[None, None], padding=1)[0]
    torch.testing.assert_close(interleave([tap * x for tap in taps], 1), plain)


def test_a_quarter_of_the_products_of_upsampling_and_convolving():
    layer = UpsampleConv2d(8, 8)
    x = torch.randn(1, 8, 16, 16)
    plain = 9 * 8 * 8 * 32 * 32 * 2
    for small in (True, False):
        with FlopCounterMode(display=False) as counter:
            FusedUpsampleConv(layer, small, torch.float32)(x)
        assert counter.get_total_flops() * 4 == plain


def test_fusing_leaves_the_generator_unchanged_and_shares_unchanged_weights():
    made = generator().requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    ready = fuse_generator(made)
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.state_dict().items())
    assert ready.to_rgb.weight.data_ptr() == made.to_rgb.weight.data_ptr()
    assert not any(parameter.requires_grad for parameter in ready.parameters())
    assert all(parameter.requires_grad for parameter in made.parameters())
    half = fuse_generator(made, torch.bfloat16)
    assert half.to_rgb.weight.dtype == torch.bfloat16
    assert made.to_rgb.weight.dtype == torch.float32


def test_a_generator_in_training_is_refused():
    with pytest.raises(ValueError, match=r"in training mode; call eval\(\) first"):
        fuse_generator(generator().train())


def test_an_image_does_not_depend_on_the_rows_beside_it():
    # Widths that fill a CPU's vectors: with an odd one the generator itself gives every row other last bits.
    made = generator(width=4, noise_dim=8, text_dim=8)
    ready = fuse_generator(made)
    noise_BZ = torch.randn(4, 8)
    text = TextEmbedding(torch.randn(4, 7, 8), torch.arange(7)[None] < LENGTHS[[0, 1, 2, 0], None], torch.randn(4, 8))
    together = ready(noise_BZ, text).images_B3HW
    order = [2, 0, 3, 1]
    assert torch.equal(ready(noise_BZ[order], text.rows(order)).images_B3HW, together[order])


def test_no_batch_norm_is_left():
    ready = fuse_generator(generator())
    assert not any("norm.running" in name for name in ready.state_dict())
    assert sum(isinstance(module, nn.Conv2d) for module in ready.modules()) == 10  # 4 x (conv2, shortcut), 2 others
