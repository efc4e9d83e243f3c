"""The cache of real features: when it is computed again, and what a damaged one does."""

import os

import pytest
import torch

from xmcgan.data.records import Crop, Record, Slice
from xmcgan.evaluation.features import ExtractedFeatures, cached_tensors, fingerprint, read_cached
from xmcgan.inference.model_files import save_tensors
from xmcgan.metrics.frechet import FeatureStatistics


def extracted() -> ExtractedFeatures:
    statistics = FeatureStatistics(3)
    statistics.update(torch.rand(5, 3))
    return ExtractedFeatures(statistics, torch.rand(5, 3))


def test_the_cache_keeps_what_metrics_compare_with(tmp_path):
    before = extracted()
    save_tensors(cached_tensors(before), tmp_path / "features")
    found = read_cached(tmp_path / "features")
    assert torch.equal(found.features_NF, before.features_NF)
    assert torch.equal(found.statistics.scatter_FF, before.statistics.scatter_FF)
    assert (found.statistics.count, found.second, found.crops) == (5, None, None)


@pytest.mark.parametrize(
    ("lost", "reason"), [(None, "features is damaged"), ("statistics.scatter_FF", "scatter_FF is missing")]
)
def test_a_damaged_cache_is_computed_again_and_said_to_be(tmp_path, capsys, lost, reason):
    path = tmp_path / "features"
    tensors = cached_tensors(extracted())
    save_tensors({name: each for name, each in tensors.items() if name != lost}, path)
    if lost is None:
        path.write_bytes(path.read_bytes()[:-1])
    assert read_cached(path) is None
    said = capsys.readouterr().out
    assert said.startswith("computing the features of real images again: ")
    assert reason in said


def test_features_are_those_of_the_part_of_a_file(tmp_path):
    """Parts of an archive and crops of an image: another part, or other bytes, is another image."""
    file = tmp_path / "shard.tar"
    file.write_bytes(b"0123456789")
    time = file.stat().st_mtime_ns

    def seen(image) -> str:
        return fingerprint([Record(image, ("a car",), "1")])

    first, second, crop = (seen(each) for each in (Slice(file, 0, 5), Slice(file, 5, 5), Crop(file, 0, 0, 4, 4)))
    assert len({first, second, crop, seen(Crop(file, 0, 0, 4, 5)), seen(file)}) == 5
    file.write_bytes(b"0123x56789")  # the same length
    os.utime(file, ns=(time, time))
    assert seen(Slice(file, 0, 5)) != first
    assert seen(Slice(file, 5, 5)) == second
    assert seen(Crop(file, 0, 0, 4, 4)) != crop
