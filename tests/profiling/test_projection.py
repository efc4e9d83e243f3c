"""The projection: counts against the networks themselves, and times that add up as its formulas say."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from xmcgan.model.build import build_generator
from xmcgan.profiling.flops import count_step
from xmcgan.profiling.projection import (
    Assumptions,
    Counted,
    count,
    crossings,
    gathered,
    measured,
    memory_of,
    project,
    table,
)
from xmcgan.recipes import RECIPES
from xmcgan.types import TextEmbedding

SMALL = Counted(
    generator_gflop=90.0,
    discriminator_gflop=45.0,
    encoder_gflop=20.0,
    encoder_dim=0,
    generator_parameters=93_000_000,
    discriminator_parameters=99_000_000,
    generator_elements=50_000_000,
    discriminator_elements=40_000_000,
    norms=13,
    batch_size=256,
    batches=2,
    words=17,
    text_dim=768,
    feature_dim=1536,
)


def test_counts_are_those_of_the_networks():
    config = RECIPES["scenes-64"]
    counted = count(config, 32)
    generator = build_generator(config, 32).eval()
    assert counted.generator_parameters == sum(weight.numel() for weight in generator.parameters())
    length = config.text.max_length
    text = TextEmbedding(torch.randn(1, length, 32), torch.ones(1, length, dtype=torch.bool), torch.randn(1, 32))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        generator(torch.randn(1, config.generator.noise_dim), text)
    assert counted.generator_gflop == pytest.approx(counter.get_total_flops() / 1e9)
    assert counted.norms == 9
    assert counted.encoder_gflop == 0
    assert counted.batch_size == config.training.batch_size


@pytest.mark.parametrize(("encoder", "gflop"), [("vgg19", 51.0), ("resnet50", 8.2)])
def test_the_frozen_encoder_counts(encoder, gflop):
    """Published: VGG-19's convolutions 19.5 and ResNet-50 4.1 thousand million multiply-adds at 224 pixels."""
    config = RECIPES["coco14-256"]
    narrow = replace(
        config,
        generator=replace(config.generator, width=2),
        discriminator=replace(config.discriminator, width=2),
        losses=replace(config.losses, encoder=encoder),
    )
    assert count(narrow, 8).encoder_gflop == pytest.approx(gflop, rel=0.02)


def test_one_device_needs_no_communication():
    one, eight = (project(SMALL, devices, Assumptions()) for devices in (1, 8))
    assert one.gradients_s == one.features_s == one.norms_s == one.communication == 0
    assert eight.compute_s == pytest.approx(one.compute_s / 8)
    assert eight.scores_s == pytest.approx(one.scores_s / 8)
    assert 0 < eight.communication < 1
    assert one.step_s / 8 < eight.step_s < one.step_s


def test_compute_is_operations_over_rate():
    # (G + 6 D) and (G + 6 D + D + 2 G + 3 V), a mean of the two batches.
    assert SMALL.step_gflop_per_image == pytest.approx((4 * 90 + 13 * 45 + 3 * 20) / 2)
    found = project(SMALL, 1, Assumptions(tflops=100, mfu=0.5))
    assert found.compute_s == pytest.approx(502.5e9 * 512 / 50e12)
    assert found.hours(82_783, 1000) == pytest.approx(82_783e3 / 512 * found.step_s / 3600)


def test_micro_batches_add_passes_without_a_graph():
    # D on both halves of both batches, G and the encoder once: a real image is one of two batches.
    assert SMALL.again_gflop_per_image == pytest.approx((2 * 2 * 45 + 90 + 20) / 2)
    tight, roomy = (project(SMALL, 1, Assumptions(tflops=100, mfu=0.5, memory_gb=gb)) for gb in (24, 1000))
    assert roomy.again_s == 0
    assert tight.again_s == pytest.approx(145e9 * 512 / 50e12)
    assert tight.step_s == pytest.approx(roomy.step_s + tight.again_s)


@pytest.mark.slow
def test_projected_recomputation_matches_the_counter(config):
    from xmcgan.profiling.flops import count_step

    training = replace(config.training, discriminator_steps=1)
    settings = replace(config, losses=replace(config.losses, image_encoder=1.0), training=training)
    whole, parts = (
        count_step(replace(settings, training=replace(settings.training, micro_batch=rows)), 32, words=40)
        for rows in (None, 2)
    )
    counted = count(settings, 32)
    again = counted.again_gflop_per_image * counted.batch_size * counted.batches
    # The power iteration of no layer is repeated, and a weight's merged kernel is none of torch's products.
    assert parts - whole == pytest.approx(again, rel=1e-3)


def test_micro_batch_divides_the_devices_batch():
    share = replace(SMALL, batch_size=15)
    assert memory_of(share, 1, Assumptions(memory_gb=6.9))[1] in (1, 3, 5)
    assert memory_of(share, 1, Assumptions(memory_gb=1))[1] == 0
    row = table([project(share, 1, Assumptions(memory_gb=1))], {}).splitlines()[2]
    assert "| none |" in row


def test_scores_grow_with_the_square_of_the_batch():
    twice = replace(SMALL, batch_size=512)
    # All but the Gram matrices, which grow with the batch.
    gram = 3 * 2 * 2 * 256 * 256 * 256 * 768 / 1e9
    assert twice.score_gflop_per_step - 2 * gram == pytest.approx(4 * (SMALL.score_gflop_per_step - gram))


def test_overlapped_gradients_cost_only_latency():
    assumed = Assumptions(overlap=1.0, latency_us=7)
    assert project(SMALL, 8, assumed).gradients_s == pytest.approx(3 * 7e-6)


def test_memory_falls_with_devices_and_micro_batch_fits():
    assumed = Assumptions(memory_gb=24)
    whole, share = memory_of(SMALL, 1, assumed)
    assert whole > 24
    assert math.log2(share).is_integer()
    alone, _ = memory_of(replace(SMALL, batch_size=share), 1, assumed)
    double, _ = memory_of(replace(SMALL, batch_size=2 * share), 1, assumed)
    assert alone <= 24 < double
    assert memory_of(SMALL, 8, assumed)[0] < whole / 4


def test_break_even_points():
    turns = crossings(SMALL, Assumptions())
    devices, batch = turns["devices_half_sending"], turns["batch_negatives_equal_networks"]
    assert project(SMALL, devices, Assumptions()).communication >= 0.5
    assert project(SMALL, devices // 2, Assumptions()).communication < 0.5
    larger = project(replace(SMALL, batch_size=batch), batch // 256, Assumptions())
    assert larger.scores_s + larger.features_s >= larger.compute_s
    slow = Assumptions(mfu=1e-5)  # so slow that sending never takes half
    assert crossings(SMALL, slow)["devices_half_sending"] is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mfu": 0.0}, "mfu is 0.0; it should be a share"),
        ({"mfu": 1.5}, "mfu is 1.5; it should be a share"),
        ({"overlap": -0.1}, "overlap is -0.1"),
        ({"tflops": 0.0}, "tflops is 0.0; it should be more than 0"),
        ({"latency_us": -1.0}, "latency_us is -1.0"),
        ({"reserve": -1.0}, "reserve is -1.0"),
    ],
)
def test_impossible_assumptions_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Assumptions(**values)


@pytest.mark.parametrize("devices", [0, 3])
def test_a_batch_that_does_not_split_is_refused(devices):
    with pytest.raises(ValueError, match=f"{devices} devices do not share a batch of 256 images evenly"):
        project(SMALL, devices, Assumptions())


def test_a_measured_rate_replaces_the_assumed_one(tmp_path):
    path = tmp_path / "bench.json"
    # The second does more work a second, but repeats of it what the first does once.
    rates = ((280.0, 300.0), (250.0, 330.0))
    steps = [{"part": "training", "precision": "bfloat16", "tflops": a, "tflops_run": b} for a, b in rates]
    content = {"measurements": steps, "ceiling_tflops": {"bfloat16": 600.0}, "machine": {"name": "a card"}}
    path.write_text(json.dumps(content))
    found = measured(path, Assumptions())
    assert (found.tflops, found.mfu, found.score_mfu) == (600.0, 0.5, 0.5)
    assert found.tflops_source == "measured: bench.json, a card, a matrix product in bfloat16"
    assert found.mfu_source == "measured: bench.json, a training step"


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"measurements": []}'])
def test_a_file_without_a_training_step_is_refused(tmp_path, content):
    path = tmp_path / "bench.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"bench.json is not what xmcgan bench --output writes"):
        measured(path, Assumptions())


def test_table_marks_what_does_not_fit():
    rows = [project(SMALL, devices, Assumptions(memory_gb=40)) for devices in (1, 64)]
    lines = table(rows, {"COCO-14": (82_783, 1000)}).splitlines()
    assert len(lines) == 4
    assert "too much" in lines[2]
    assert "too much" not in lines[3]
    assert len({line.count("|") for line in lines}) == 1


def test_gathered_numbers_and_messages():
    tiny = replace(SMALL, batches=1, feature_dim=3, words=5, text_dim=7, batch_size=11)
    # Real and generated images: two features, a row of scores, the words; then both features of the image contrast.
    numbers, messages = gathered(tiny)
    assert numbers == 2 * (2 * 2 * 3 + 2 * 11 + 2 * 3) + 2 * 5 * 7
    assert messages == 2 * 8 + 4
    more, messages = gathered(replace(tiny, encoder_dim=13))  # of both images, and of what they give back
    assert (more - numbers, messages) == (2 * 2 * 13, 2 * 8 + 8)


@pytest.mark.slow
def test_projection_reproduces_a_measured_step(tmp_path):
    recipe = RECIPES["coco14-256"]
    training = replace(recipe.training, batch_size=32, micro_batch=None, discriminator_steps=1)
    config = replace(recipe, training=training, losses=replace(recipe.losses, image_encoder=0.0))
    path, seconds = tmp_path / "bench.json", 0.25
    gflop = count_step(config, 768, words=32 * config.text.max_length)
    step = {"part": "training", "precision": "bfloat16", "tflops": gflop / seconds / 1e3}
    content = {
        "measurements": [step | {"tflops_run": step["tflops"]}],
        "ceiling_tflops": {"bfloat16": 600.0},
        "machine": {"name": "a card"},
    }
    path.write_text(json.dumps(content))
    projected = project(count(config, 768), 1, measured(path, Assumptions(memory_gb=1000)))
    assert projected.step_s == pytest.approx(seconds, rel=0.03)
