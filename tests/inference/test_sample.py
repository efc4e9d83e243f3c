"""The sampling loop: an image depends on its caption and its seed alone, to the last bit."""

import pytest
import torch

from xmcgan.encoders.text import TextEncoder
from xmcgan.inference.model_files import load_generator
from xmcgan.inference.sample import batch_rows, full_batches, sample, to_pixels

CAPTIONS = ["a red car left of the bus", "a bus", "", "the blue sky", "green on green", "a car under the sky"]


@pytest.fixture
def generator(trained):
    return load_generator(trained / "checkpoints/step-00000006")[0]


@pytest.fixture
def text(encoder_folder):
    return TextEncoder(str(encoder_folder))(CAPTIONS)


def test_images_do_not_depend_on_the_batch(generator, text):
    seeds = [3, 1, 4, 1, 5, 9]
    together = sample(generator, text, seeds, batch_size=4)
    assert together.images_B3HW.shape == (6, 3, 64, 64)
    assert together.images_B3HW.dtype == torch.uint8
    order = [5, 2, 0, 4, 1, 3]
    shuffled = sample(generator, text.rows(order), [seeds[k] for k in order], batch_size=4)
    assert torch.equal(shuffled.images_B3HW, together.images_B3HW[order])
    assert torch.equal(shuffled.attention_BRT, together.attention_BRT[order])
    for row in range(6):
        alone = sample(generator, text.rows([row]), [seeds[row]], batch_size=4)
        assert torch.equal(alone.images_B3HW[0], together.images_B3HW[row])
        assert torch.equal(alone.attention_BRT[0], together.attention_BRT[row])


def test_caption_and_seed_both_matter(generator, text):
    images = sample(generator, text.rows([0, 0, 1]), [0, 1, 0]).images_B3HW
    assert not torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


def test_truncation_and_the_kind_of_noise_reach_the_image(generator, text):
    full, none, old = (
        sample(generator, text.rows([0, 0]), [0, 1], **settings).images_B3HW
        for settings in ({}, {"truncation": 0.0}, {"noise": "numpy"})
    )
    assert torch.equal(none[0], none[1])  # without noise every seed is the same
    assert not torch.equal(none[0], full[0])
    assert not torch.equal(old[0], full[0])


def test_generator_is_not_changed(generator, text):
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    sample(generator, text, range(6))
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())


@pytest.mark.parametrize("size", [1, 4, 6, 10])
def test_order_and_progress(generator, text, size):
    calls = []
    images = sample(generator, text, range(6), batch_size=size, callback=lambda *call: calls.append(call)).images_B3HW
    assert len(images) == 6
    reference = sample(generator, text, range(6)).images_B3HW
    assert (images.int() - reference.int()).abs().max() <= 1  # another size of batch can change the last bit
    assert calls == [(min(done, 6), 6) for done in range(size, 6 + size, size)]


def test_bfloat16_is_close(generator, text):
    full, half = (sample(generator, text, range(6), dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    difference = (full.images_B3HW.float() - half.images_B3HW.float()).abs()
    assert 0 < difference.mean() < 8
    assert half.attention_BRT.dtype == torch.float32


def test_attention_is_a_distribution_over_the_real_words(generator, text):
    attention = sample(generator, text, range(6)).attention_BRT
    assert attention.shape == (6, 256, 17)
    torch.testing.assert_close(attention.sum(2), torch.ones(6, 256))
    assert not attention.transpose(1, 2)[~text.mask_BT].any()


def test_number_of_seeds_is_checked(generator, text):
    with pytest.raises(ValueError, match="6 captions but 5 seeds"):
        sample(generator, text, range(5))


@pytest.mark.parametrize(
    ("count", "rows", "batches"),
    [
        (1, 3, [[0, 0, 0]]),
        (3, 3, [[0, 1, 2]]),
        (4, 3, [[0, 1, 2], [3, 3, 3]]),
        (5, 2, [[0, 1], [2, 3], [4, 4]]),
        (0, 3, []),
    ],
)
def test_every_batch_is_full(count, rows, batches):
    assert list(full_batches(count, rows)) == batches


def test_default_batch_size():
    assert [batch_rows(size, torch.device("cpu")) for size in (64, 128, 256)] == [8, 4, 2]
    assert batch_rows(64, torch.device("cuda")) > 8


def test_pixels_round_to_the_nearest():
    images = torch.tensor([-1.0, 1.0, 0.0, -0.99, 2.0, -2.0, 2 / 255 * 100 - 1])
    assert to_pixels(images).tolist() == [0, 255, 128, 1, 255, 0, 100]


def test_an_image_that_is_nan_is_an_error_and_not_black(generator, text):
    with pytest.raises(ValueError, match="the generator gives NaN"):
        to_pixels(torch.tensor([0.0, float("nan")]))
    next(generator.parameters()).data.fill_(float("nan"))
    with pytest.raises(ValueError, match="the generator gives NaN"):
        sample(generator, text, [0] * 6)
