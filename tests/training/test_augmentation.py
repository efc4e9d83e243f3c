"""Augmentation of what the discriminator sees: exact shifts, gradients, nothing where it is off."""

import pytest
import torch

from xmcgan.config import AugmentationConfig
from xmcgan.training.augmentation import (
    NUMBERS,
    augment,
    change_colours,
    cut_out,
    shifts,
    translate,
    translate_traces,
)


def images(count: int = 5, side: int = 16) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(count, 3, side, side, dtype=torch.float64) * 2 - 1


def test_all_off_is_the_identity():
    x = images()
    assert augment(x, torch.rand(5, NUMBERS), AugmentationConfig()) is x


def test_a_shift_moves_pixels_and_brings_in_zeros():
    x = images(1)
    moved = translate(x, torch.tensor([2]), torch.tensor([-3]))
    torch.testing.assert_close(moved[..., 2:, :-3], x[..., :-2, 3:], rtol=0, atol=0)
    assert not moved[..., :2, :].any()
    assert not moved[..., -3:].any()
    torch.testing.assert_close(translate(x, torch.tensor([0]), torch.tensor([0])), x, rtol=0, atol=0)


def test_each_image_has_its_own_shift():
    x = images(2)
    moved = translate(x, torch.tensor([1, 0]), torch.tensor([0, 4]))
    torch.testing.assert_close(moved[0, :, 1:], x[0, :, :-1], rtol=0, atol=0)
    torch.testing.assert_close(moved[1, :, :, 4:], x[1, :, :, :-4], rtol=0, atol=0)


def test_all_shifts_are_equally_likely_and_reach_the_largest():
    found = shifts((torch.arange(1700) + 0.5) / 1700, 64, 0.125)
    assert found.unique(return_counts=True)[1].tolist() == [100] * 17
    assert (found.min(), found.max()) == (-8, 8)


def test_cutout_covers_a_square_of_half_the_side():
    covered = cut_out(torch.ones(1, 1, 16, 16), torch.tensor([0.5]), torch.tensor([0.5])) == 0
    assert covered.sum() == 64
    assert covered[..., 4:12, 4:12].all()


def test_colours_change_only_with_other_numbers_than_the_middle():
    x, middle = images(), torch.full((5,), 0.5, dtype=torch.float64)
    torch.testing.assert_close(change_colours(x, middle, middle, middle), x)
    grey = change_colours(x, middle, torch.zeros_like(middle), middle)
    torch.testing.assert_close(grey, grey.mean(1, keepdim=True).expand_as(grey))
    brighter = change_colours(x, middle + 0.25, middle, middle)
    torch.testing.assert_close(brighter.mean((1, 2, 3)), x.mean((1, 2, 3)) + 0.25)


def test_probabilities_choose_images():
    x, numbers = images(), torch.rand(5, NUMBERS)
    numbers[:, 4] = torch.tensor([0.1, 0.9, 0.1, 0.9, 0.1])  # cutout's
    changed = (augment(x, numbers, AugmentationConfig(cutout=0.5)) != x).flatten(1).any(1)
    assert changed.tolist() == [True, False, True, False, True]


def test_gradients():
    config = AugmentationConfig(translation=0.25, cutout=1.0, colour=1.0)
    numbers, x = torch.rand(2, NUMBERS, dtype=torch.float64), images(2, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: augment(x, numbers, config), (x,), fast_mode=True)


def test_traces_move_with_their_images():
    traces = torch.zeros(1, 2, 256)
    traces[0, 0, 8 * 16 + 8] = 1.0
    uniform = torch.zeros(1, NUMBERS)  # the largest shift up and to the left: 8 of 64 pixels, 2 regions
    moved = translate_traces(traces, uniform, AugmentationConfig(translation=0.125), 64)
    assert moved[0, 0].nonzero().item() == 6 * 16 + 6
    assert not moved[0, 1].any()


@pytest.mark.parametrize(("translation", "strength"), [(0.0, 1.0), (0.125, 0.0)])
def test_traces_stay_where_images_are_not_moved(translation, strength):
    traces = torch.rand(2, 3, 256)
    config = AugmentationConfig(translation=translation, cutout=1.0)
    assert translate_traces(traces, torch.rand(2, NUMBERS), config, 64, strength) is traces


def test_a_trace_partly_outside_keeps_its_sum_and_one_outside_is_gone():
    traces = torch.zeros(1, 2, 256)
    traces[0, 0, 0], traces[0, 0, 5 * 16 + 5] = 0.5, 0.5
    traces[0, 1, 0] = 1.0
    moved = translate_traces(traces, torch.zeros(1, NUMBERS), AugmentationConfig(translation=0.125), 64)
    torch.testing.assert_close(moved.sum(-1), torch.tensor([[1.0, 0.0]]))
