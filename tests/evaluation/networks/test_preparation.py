"""Resizing: against values of clean-fid itself, against TensorFlow's rule written out, and what is refused."""

import numpy as np
import pytest
import torch
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from xmcgan.evaluation.networks.preparation import CHUNK, as_pil, in_chunks, network_precision, resize, strict_float32

# What cleanfid.resize.make_resizer of clean-fid 0.1.35 (Pillow 12, torch 2.14) gives for picture(): pixels at (row,
# column, channel) of ``points``, and the mean of all.
CLEAN_FID = {
    ("antialiased", 299): ([0.0, 15.843, 182.971, 217.173, 214.704, 112.958], 127.0518),
    ("antialiased", 64): ([0.547, 139.088, 120.193, 128.45, 127.13, 86.797], 127.0557),
    ("legacy-pytorch", 299): ([0.0, 25.211, 183.979, 215.733, 196.225, 113.079], 127.0581),
    ("legacy-pytorch", 64): ([0.0, 81.375, 27.0, 225.375, 97.125, 50.125], 127.0393),
}


def picture() -> torch.Tensor:
    """320 x 240 pixels full of edges, the same everywhere."""
    y, x, channel = np.mgrid[:320, :240, :3]
    pixels = (x * x * 3 + y * y * 5 + x * y + channel * 71) // 37 % 256
    return torch.from_numpy(pixels.astype(np.uint8)).permute(2, 0, 1)[None]


@pytest.mark.parametrize(("mode", "size"), CLEAN_FID)
def test_values_are_those_of_clean_fid(mode, size):
    last = size - 1
    points = (
        (0, 0, 0),
        (0, last, 1),
        (last, 0, 2),
        (last, last, 0),
        (last // 2, last // 3, 1),
        (last // 5, last // 2, 2),
    )
    values, mean = CLEAN_FID[mode, size]
    resized = resize(picture(), size, mode)
    assert resized.shape == (1, 3, size, size)
    assert resized.dtype == torch.float32
    assert [resized[0, channel, row, column].item() for row, column, channel in points] == pytest.approx(
        values, abs=2e-3
    )
    assert resized.mean().item() == pytest.approx(mean, abs=2e-3)


@pytest.mark.parametrize("size", [299, 64])
def test_tensorflow_1_takes_a_pixel_at_its_corner(size):
    """Output k lies at k * (input / output), between two pixels, in TensorFlow's float32; the last has no next."""
    pixels = picture()[0].double().numpy()

    def along(values, axis):
        places = np.arange(size) * (values.shape[axis] / size)
        low = places.astype(int)
        high = np.minimum(low + 1, values.shape[axis] - 1)
        share = np.expand_dims(places - low, 1) if axis == 1 else places - low
        return np.take(values, low, axis) * (1 - share) + np.take(values, high, axis) * share

    theirs = along(along(pixels, 2), 1)
    np.testing.assert_allclose(resize(picture(), size, "legacy-tensorflow")[0].numpy(), theirs, atol=1e-2)


@pytest.mark.parametrize("size", [299, 64])
def test_it_has_the_bits_of_torch_fidelity(size):
    theirs = interpolate_bilinear_2d_like_tensorflow1x(picture().float(), size=(size, size), align_corners=False)
    assert torch.equal(resize(picture(), size, "legacy-tensorflow"), theirs)


def test_by_hand():
    """Two pixels to four: corners aligned as TensorFlow 1 does, and centres aligned as PyTorch does."""
    row = torch.tensor([0, 100], dtype=torch.uint8).expand(1, 3, 2, 2)
    assert resize(row, 4, "legacy-tensorflow")[0, 0, 0].tolist() == [0, 50, 100, 100]
    assert resize(row, 4, "legacy-pytorch")[0, 0, 0].tolist() == [0, 25, 75, 100]


def test_antialiasing_sees_every_pixel():
    """A checkerboard made eight times smaller is grey; the legacy ways pick the pixels of one colour."""
    board = (torch.arange(64)[:, None] + torch.arange(64)).remainder(2).mul(255).to(torch.uint8).expand(1, 3, 64, 64)
    grey = resize(board, 8, "antialiased")[..., 1:-1, 1:-1]
    torch.testing.assert_close(grey, torch.full_like(grey, 127.5), atol=2, rtol=0)
    assert resize(board, 8, "legacy-tensorflow").unique().tolist() == [0]


def test_overshoot_is_cut_off_and_nothing_is_rounded():
    edge = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    edge[..., 8:] = 255
    resized = resize(edge, 40, "antialiased")
    assert resized.min() == 0
    assert resized.max() == 255
    assert (resized != resized.round()).any()


@pytest.mark.parametrize("mode", ["antialiased", "legacy-tensorflow", "legacy-pytorch"])
def test_an_image_of_the_right_size_is_left_as_it_is(mode):
    image = torch.randint(256, (2, 3, 20, 20), dtype=torch.uint8)
    assert torch.equal(resize(image, 20, mode), image.float())


@pytest.mark.parametrize("mode", ["antialiased", "legacy-tensorflow", "legacy-pytorch"])
def test_an_image_does_not_depend_on_its_batch(mode):
    images = torch.randint(256, (3, 3, 50, 40), dtype=torch.uint8)
    together = resize(images, 31, mode)
    assert all(torch.equal(resize(images[[k]], 31, mode)[0], together[k]) for k in range(3))


def test_pil_sees_the_same_pixels():
    images = torch.randint(256, (2, 3, 5, 7), dtype=torch.uint8)
    one, other = as_pil(images)
    assert one.size == (7, 5)
    assert np.array_equal(np.array(other).transpose(2, 0, 1), images[1].numpy())


@pytest.mark.parametrize(
    "images",
    [
        torch.rand(1, 3, 8, 8),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        torch.zeros(1, 1, 8, 8, dtype=torch.uint8),
        torch.zeros(1, 8, 8, 3, dtype=torch.uint8),
        torch.zeros(0, 3, 8, 8, dtype=torch.uint8),
    ],
)
def test_what_is_no_batch_of_pixels_is_refused(images):
    with pytest.raises(ValueError, match=r"should be torch\.uint8 \(B, 3, H, W\)"):
        resize(images, 8, "antialiased")
    with pytest.raises(ValueError, match=r"should be torch\.uint8 \(B, 3, H, W\)"):
        as_pil(images)


def test_an_unknown_resizing_is_refused():
    with pytest.raises(ValueError, match="mode is 'clean'; it can be antialiased, legacy-tensorflow, legacy-pytorch"):
        resize(picture(), 8, "clean")  # type: ignore[arg-type]


def test_strict_float32_restores_settings():
    torch.set_float32_matmul_precision("high")
    weight = torch.rand(4, 4, requires_grad=True)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with strict_float32(torch.device("cpu")):
                product = weight @ weight
                assert torch.get_float32_matmul_precision() == "highest"
                assert product.dtype == torch.float32
                assert not product.requires_grad
            assert (weight @ weight).dtype == torch.bfloat16
        with pytest.raises(KeyError), strict_float32(torch.device("cpu")):
            raise KeyError
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("count", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_every_forward_pass_has_one_shape(count):
    shapes, rows = [], torch.rand(count, 2)
    doubled = in_chunks(lambda chunk: shapes.append(chunk.shape) or 2 * chunk, rows)
    assert torch.equal(doubled, 2 * rows)
    assert shapes == [(CHUNK, 2)] * -(-count // CHUNK)


def test_half_precision_reaches_networks_that_are_strict_otherwise():
    layer, x = torch.nn.Linear(64, 64), torch.randn(8, 64)
    cpu = torch.device("cpu")
    with strict_float32(cpu):
        exact = layer(x)
    with network_precision("bfloat16"), strict_float32(cpu):
        rounded = layer(x)
    with strict_float32(cpu):
        again = layer(x)
    assert exact.dtype == again.dtype == torch.float32
    assert rounded.dtype == torch.bfloat16
    assert torch.equal(exact, again)
    torch.testing.assert_close(rounded.float(), exact, rtol=0.02, atol=0.02)
