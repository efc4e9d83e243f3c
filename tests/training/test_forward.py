"""Forward passes of the networks in a step."""

from types import SimpleNamespace

import torch

from xmcgan.config import AugmentationConfig
from xmcgan.training.augmentation import NUMBERS
from xmcgan.training.forward import augmented_traces, swap_neighbours
from xmcgan.types import Batch


def test_swap_neighbours():
    assert swap_neighbours(torch.arange(6)).tolist() == [1, 0, 3, 2, 5, 4]


def test_traces_move_with_the_real_images():
    """By the first half of the numbers; the second half moves the generated images."""
    traces = torch.zeros(1, 2, 256)
    traces[0, 0, 8 * 16 + 8] = 1.0
    numbers = torch.cat([torch.zeros(1, NUMBERS), torch.full((1, NUMBERS), 0.999)], 1)  # up and left; down and right
    batch = Batch(torch.zeros(1, 3, 64, 64), None, None, traces, numbers)
    state = SimpleNamespace(augmentation=AugmentationConfig(translation=0.125), strength=1.0)
    moved = augmented_traces(state, batch)
    assert moved[0, 0].nonzero().item() == 6 * 16 + 6  # 8 of 64 pixels are 2 regions
    assert augmented_traces(state, batch._replace(augmentation_BU=None)) is traces
    assert augmented_traces(state, batch._replace(traces_BTR=None)) is None
