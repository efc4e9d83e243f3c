"""What a metric needs is checked before images are drawn."""

from types import SimpleNamespace

import pytest

from xmcgan.evaluation.checks import check_metrics
from xmcgan.evaluation.chosen_networks import EvaluationNetworks
from xmcgan.evaluation.image_set import Request

REQUESTS = [Request(str(number), str(number), "a red car on a street", number) for number in range(20)]
SHEEP = EvaluationNetworks(detector=SimpleNamespace(detectable=frozenset({20})))


@pytest.mark.parametrize(
    ("metric", "least"),
    [("fid", 2), ("fid-infinity", 2), ("fd-dinov2", 2), ("o-fid", 2), ("kid", 2), ("precision", 4), ("density", 6)],
)
def test_a_distribution_needs_real_images(metric, least):
    check_metrics([metric], REQUESTS, least, EvaluationNetworks())
    message = f"{metric} needs at least {least} real images, but the reference split has {least - 1}"
    with pytest.raises(ValueError, match=message):
        check_metrics([metric], REQUESTS, least - 1, EvaluationNetworks())


def test_an_extrapolation_needs_three_sizes_of_subsets():
    check_metrics(["fid-infinity"], REQUESTS[:4], 2, EvaluationNetworks())
    with pytest.raises(ValueError, match="fid-infinity needs at least 4 images, but there are 3"):
        check_metrics(["fid-infinity"], REQUESTS[:3], 2, EvaluationNetworks())


def test_object_accuracy_needs_an_object_that_the_detector_knows():
    with pytest.raises(ValueError, match="soa: no caption names a category that the detector knows; leave it out"):
        check_metrics(["soa-i"], REQUESTS, 0, SHEEP)
    check_metrics(["soa-i"], [*REQUESTS, Request("s", "s", "two sheep on a meadow", 20)], 0, SHEEP)
    check_metrics(["soa-c"], [request._replace(category=3) for request in REQUESTS], 0, SHEEP)  # by the official lists
