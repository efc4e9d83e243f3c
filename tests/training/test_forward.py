"""Forward passes of the networks in a step."""

import torch

from xmcgan.training.forward import swap_neighbours


def test_swap_neighbours():
    assert swap_neighbours(torch.arange(6)).tolist() == [1, 0, 3, 2, 5, 4]
