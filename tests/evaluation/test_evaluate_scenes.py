"""The evaluation networks of Scenes: chance level without captions, near the maximum for real images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tiny import tiny_config
from xmcgan.data.images import ImageTransform
from xmcgan.data.layouts import read_records
from xmcgan.encoders.text import TextEncoder
from xmcgan.evaluation.chosen_networks import load_evaluation_networks
from xmcgan.evaluation.evaluate import evaluate
from xmcgan.evaluation.image_set import generate_set, random_captions
from xmcgan.evaluation.metric_names import metric_names
from xmcgan.inference.sample import sample
from xmcgan.scenes import write_scenes
from xmcgan.training.state import initial_state

METRICS = metric_names("r-precision,contrastive-accuracy,soa")
COUNT = 150


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(root, size=64, train=0, val=COUNT, evaluator=0, seed=5, workers=1, progress=False)
    return read_records(root, "coco", "val2014")


@pytest.fixture(scope="module")
def requests(records):
    return random_captions(records, COUNT)


@pytest.fixture(scope="module")
def score(requests):
    """The metrics of images for the requests."""
    networks = load_evaluation_networks(METRICS, {}, {}, scenes=True, device="cpu")

    def scored(images) -> dict[str, float]:
        results = evaluate(
            images,
            requests,
            transform=ImageTransform(64),
            networks=networks,
            metrics=METRICS,
            system="a system",
            protocol={},
            progress=False,
        )
        return {result.metric: result.value for result in results}

    return scored


@pytest.fixture(scope="module")
def real(records, requests, score):
    by_id = {record.id: record for record in records}
    return score([by_id[request.image_id] for request in requests])


def test_real_images_score_near_the_maximum(real):
    assert real["r-precision"] > 0.9
    assert real["contrastive-accuracy"] > 0.85
    assert real["soa-i"] > 0.97


def test_shuffled_captions_score_chance(records, requests, score, real):
    by_id = {record.id: record for record in records}
    order = np.random.default_rng(1).permutation(COUNT)
    shuffled = score([by_id[requests[position].image_id] for position in order])
    assert shuffled["r-precision"] < 0.06  # chance is 0.01
    assert all(shuffled[metric] < real[metric] for metric in METRICS)


def test_a_random_generator_scores_chance(requests, score, real, encoder_folder, tmp_path):
    config = tiny_config(Path("none"), encoder_folder)
    encoder = TextEncoder(config.text.encoder, max_length=17)
    generator = initial_state(config, encoder.dim, torch.device("cpu")).ema.network

    def draw(captions, seeds):
        return sample(generator, encoder(captions), seeds).images_B3HW

    images = generate_set(tmp_path / "set", requests, draw, settings={}, progress=False)
    drawn = score(images)
    assert drawn["r-precision"] < 0.06
    assert all(drawn[metric] < real[metric] for metric in METRICS)
