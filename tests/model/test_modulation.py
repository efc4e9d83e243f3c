"""Self-modulation, by a vector and by word contexts, against the plain formula."""

import pytest
import torch

from comparison import assert_same, plain_modulation, random_condition, randomised
from xmcgan.model.modulation import AttentionalSelfModulation, SelfModulation

pytestmark = pytest.mark.usefixtures("float64")


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
