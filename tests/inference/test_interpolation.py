"""Pictures between two captions and two seeds: exact ends, smooth steps, noise of the right size."""

from dataclasses import replace

import pytest
import torch

from xmcgan import Pipeline
from xmcgan.inference.interpolation import Drawing, between, draw, mixed_noise

CAPTIONS = ("a red car left of the bus", "the blue sky")


@pytest.fixture(scope="module")
def pipe(trained) -> Pipeline:
    return Pipeline.from_pretrained(trained, device="cpu")


def test_the_ends_are_the_pictures_of_the_captions(pipe):
    strip = pipe.interpolate(CAPTIONS, seeds=(3, 9), steps=5)
    ends = pipe(CAPTIONS, seed=[3, 9]).images
    assert [image.tobytes() for image in (strip[0], strip[-1])] == [image.tobytes() for image in ends]
    assert len({image.tobytes() for image in strip}) == 5


def test_a_mixture_begins_where_the_caption_is(pipe):
    """Near an end the picture is the end's, though its batch has the words of both captions."""
    end, near, middle = (Drawing(CAPTIONS[0], 3, CAPTIONS[1], 9, share) for share in (0.0, 1e-6, 0.5))
    plain = draw(pipe.fused, pipe.encoder, [end])
    mixed = draw(pipe.fused, pipe.encoder, [near, middle])
    assert (mixed.images_B3HW[0].int() - plain.images_B3HW[0].int()).abs().max() <= 1
    assert (mixed.images_B3HW[1].int() - plain.images_B3HW[0].int()).abs().max() > 1
    torch.testing.assert_close(mixed.attention_BRT[0, :, :17], plain.attention_BRT[0], rtol=0, atol=1e-3)
    torch.testing.assert_close(mixed.attention_BRT.sum(2), torch.ones(2, 256))
    assert mixed.attention_BRT[1, :, 17:].sum() > 1


def test_a_mixture_does_not_depend_on_the_batch(pipe):
    drawings = between(CAPTIONS, (3, 9), steps=12)[1:-1]
    together = draw(pipe.fused, pipe.encoder, drawings).images_B3HW
    for place in (0, 4, 9):
        assert torch.equal(draw(pipe.fused, pipe.encoder, [drawings[place]]).images_B3HW[0], together[place])


def test_mixed_noise_keeps_its_size():
    noise = mixed_noise([Drawing("", seed, None, seed + 1, 0.5) for seed in range(400)], 64, "philox")
    assert abs(noise.std() - 1) < 0.02
    assert not mixed_noise([Drawing("", 1, None, 2, 0.5, truncation=0.0)], 8, "philox").any()


def test_one_caption_and_two_seeds_is_no_mixture_of_words(pipe):
    drawings = between((CAPTIONS[0], CAPTIONS[0]), (3, 9), steps=4)
    assert {drawing.captions for drawing in drawings} == {(CAPTIONS[0],)}
    assert [drawing.seeds for drawing in drawings] == [(3,), (3, 9), (3, 9), (9,)]
    assert draw(pipe.fused, pipe.encoder, drawings).attention_BRT.shape == (4, 256, 17)


def test_mistakes_are_named(pipe):
    with pytest.raises(ValueError, match="steps is 1; it should be at least 2"):
        pipe.interpolate(CAPTIONS, steps=1)
    first, second = between(CAPTIONS, (0, 1), steps=3)[:2]
    with pytest.raises(ValueError, match="cannot share a batch"):
        draw(pipe.fused, pipe.encoder, [first, second])
    with pytest.raises(ValueError, match=r"share is 1.5; it should be 0 to 1"):
        replace(first, share=1.5)
