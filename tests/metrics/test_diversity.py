"""Distances within groups."""

import pytest
import torch

from xmcgan.metrics.diversity import diversity


def test_diversity_by_hand():
    # a right angle in one group, equal directions in another; the single image does not count
    features = torch.tensor([[1.0, 0], [0, 2.0], [1.0, 1.0], [3.0, 3.0], [0.0, 1.0]])
    found = diversity(features, ["a", "a", "b", "b", "c"])
    assert found.value == pytest.approx(0.5)
    assert found.deviation == pytest.approx(0.5)


def test_every_pair_of_a_group_counts_once():
    features = torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0]])  # distances 0, 1, 1
    assert diversity(features, [7, 7, 7]).value == pytest.approx(2 / 3)


def test_groups_of_one_say_nothing():
    with pytest.raises(ValueError, match="no group has two images"):
        diversity(torch.eye(3), [1, 2, 3])


@pytest.mark.parametrize(
    ("features", "groups", "message"),
    [
        (torch.ones(4), "aabb", r"shape \(4,\) and there are 4 groups; give features \(N, F\) and N groups"),
        (torch.ones(4, 3), "aab", r"shape \(4, 3\) and there are 3 groups"),
        (torch.tensor([[1.0], [torch.inf]]), "aa", "contain NaN or infinity"),
    ],
)
def test_features_that_fit_no_groups_are_refused(features, groups, message):
    with pytest.raises(ValueError, match=message):
        diversity(features, groups)
