"""Copies of training images, and images that are none."""

import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu

from xmcgan.metrics.memorization import authenticity, cluster, data_copying, data_copying_z, nearest_neighbours


def normal(count, width=4, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_nearest_neighbours_are_those_of_scipy():
    made, training = normal(30, seed=1), normal(50, seed=2)
    found = nearest_neighbours(made, training, chunk=7)
    distances = cdist(made.numpy(), training.numpy())
    assert found.positions_M.tolist() == distances.argmin(1).tolist()
    assert found.distances_M.numpy() == pytest.approx(distances.min(1), rel=1e-5)


def test_a_feature_is_not_its_own_neighbour():
    found = nearest_neighbours(torch.tensor([[0.0], [1.0], [5.0]]), chunk=2)
    assert found.positions_M.tolist() == [1, 0, 1]
    assert found.distances_M.tolist() == [1, 1, 4]


def test_authenticity_by_hand():
    training = torch.tensor([[0.0], [2.0], [10.0]])
    # 0.5 is nearer to 0 than 2 is: not authentic; 5 is 3 away from 2, whose neighbour is 2 away: authentic
    assert authenticity(training, torch.tensor([[0.5], [5.0]])) == 0.5
    assert authenticity(training, training) == 0


def test_fresh_images_of_the_same_kind_are_authentic_about_half_the_time():
    assert authenticity(normal(800, seed=1), normal(800, seed=2)) == pytest.approx(0.5, abs=0.06)


def test_the_z_score_is_that_of_scipys_mann_whitney_test():
    held, made = normal(40, 1, seed=1)[:, 0], normal(60, 1, seed=2)[:, 0] - 0.4
    u = mannwhitneyu(made.numpy(), held.numpy()).statistic
    expected = (u - 40 * 60 / 2) / (40 * 60 * 101 / 12) ** 0.5
    assert data_copying_z(held, made) == pytest.approx(expected)
    assert data_copying_z(held, held) == 0  # ties count half


def test_data_copying_tells_copies_from_fresh_and_from_far_images():
    training, held = normal(600, seed=1), normal(200, seed=2)
    copies = training[:200] + 0.01 * normal(200, seed=3)
    assert data_copying(training, held, copies).value < -5
    assert abs(data_copying(training, held, normal(200, seed=4)).value) < 2.5
    assert data_copying(training, held, normal(200, seed=4) * 3, least=5).value > 3


def test_data_copying_leaves_out_cells_without_generated_images():
    apart = torch.tensor([[100.0, 0, 0, 0]])
    training = torch.cat([normal(100, seed=1), normal(100, seed=2) + apart])
    held = torch.cat([normal(50, seed=3), normal(50, seed=4) + apart])
    found = data_copying(training, held, normal(60, seed=5), cells=2)
    assert (found.cells, found.left_out) == (1, 1)
    with pytest.raises(ValueError, match="no cell"):
        data_copying(training, held, normal(60, seed=5), cells=2, least=100)


def test_projection_keeps_the_directions_that_vary():
    training = torch.cat([normal(300, 3, seed=1) * 5, normal(300, 80, seed=2) * 1e-3], 1)
    held = torch.cat([normal(100, 3, seed=3) * 5, normal(100, 80, seed=4) * 1e-3], 1)
    copies = training[:100].clone()
    copies[:, 3:] = normal(100, 80, seed=5)  # differs only where real images hardly do
    assert data_copying(training, held, copies, dimensions=3).value < -5


def test_clusters_of_separate_points():
    points = torch.tensor([[0.0], [0.2], [10.0], [10.2], [20.0]]).double()
    assert sorted(cluster(points, 3, seed=0)[:, 0].tolist()) == pytest.approx([0.1, 10.1, 20.0])


@pytest.mark.parametrize(
    ("made", "training", "message"),
    [
        (torch.zeros(3, 4), torch.zeros(5, 2), r"shapes \(3, 4\) and \(5, 2\); both should be \(N, F\)"),
        (torch.zeros(3), torch.zeros(3), r"shapes \(3,\) and \(3,\); both should be \(N, F\)"),
        (torch.tensor([[torch.nan]]), torch.zeros(2, 1), "contain NaN or infinity"),
        (torch.zeros(2, 1), torch.tensor([[0.0], [torch.inf]]), "contain NaN or infinity"),
        (torch.zeros(2, 1), torch.zeros(0, 1), "there are 0 features to look among; there should be at least one"),
        (torch.zeros(1, 1), None, "there are 1 features to look among; there should be at least one other"),
    ],
)
def test_features_that_have_no_nearest_neighbour_are_refused(made, training, message):
    with pytest.raises(ValueError, match=message):
        nearest_neighbours(made, training)


@pytest.mark.parametrize(("held", "made"), [(0, 3), (2, 0)])
def test_a_z_score_needs_held_out_and_generated_images(held, made):
    with pytest.raises(ValueError, match=f"there are {held} held-out and {made} generated images; both need at least"):
        data_copying_z(torch.zeros(held), torch.zeros(made))


@pytest.mark.parametrize("cells", [0, 11])
def test_there_are_as_many_cells_as_training_images_at_most(cells):
    with pytest.raises(ValueError, match=f"cells is {cells}; it should be 1 to 10, the number of training images"):
        data_copying(normal(10), normal(10), normal(10), cells=cells)


def test_features_of_another_network_are_refused():
    with pytest.raises(ValueError, match="features have widths 4, 5; they should be equal"):
        data_copying(normal(10, 5), normal(10, 5), normal(10, 4))
