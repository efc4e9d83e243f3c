"""The bench: what it times, counts and reports, with tiny networks."""

import mmap
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from xmcgan.config import CONTRASTIVE_LOSSES
from xmcgan.encoders.text import TextEncoder
from xmcgan.losses.objective import LossWeights
from xmcgan.model.generator import Generator
from xmcgan.profiling import bench, flops, projection, timing
from xmcgan.profiling.timing import Measurement, Schedule
from xmcgan.recipes import RECIPES
from xmcgan.training.state import initial_state
from xmcgan.training.step import train_step

CPU = torch.device("cpu")
QUICK = Schedule(repetitions=2, warmup=1)


def measurement(**values: object) -> Measurement:
    given = {
        "part": "training",
        "variant": "",
        "precision": "float32",
        "images": 8,
        "seconds": (0.1, 0.2, 0.4),
        "gflop": 30.0,
        "peak_mb": 12.0,
        "first_seconds": 3.0,
    }
    return Measurement(**(given | values))  # type: ignore[arg-type]


def test_medians_rates_and_utilisation():
    found = measurement()
    assert found.median == 0.2
    assert found.quartiles == pytest.approx((0.15, 0.3))
    assert found.images_per_second == 40
    assert found.tflops == pytest.approx(0.15)
    assert found.mfu({"float32": 0.6}) == pytest.approx(0.25)
    assert measurement(gflop=0.0).mfu({}) is None
    summary = found.summary({"float32": 0.6})
    assert summary["median_ms"] == 200
    assert summary["seconds"] == (0.1, 0.2, 0.4)


def test_the_table_has_a_cell_for_everything():
    rows = [measurement(variant="compiled"), measurement(part="loading", precision="", gflop=0.0, peak_mb=None)]
    lines = bench.table(rows, {"float32": 0.6}).splitlines()
    assert lines[2] == "| training | float32, compiled | 40.00 | 200.0 | 150.0 to 300.0 | 12 | 30.0 | 25% |"
    assert lines[3] == "| loading |  | 40.00 | 200.0 | 150.0 to 300.0 |  |  |  |"


def test_warm_up_is_not_timed_and_every_call_ticks():
    calls, words = [], []
    found = timing.measure(
        "training", "", "float32", lambda: calls.append(1), images=1, device=CPU, gflop=0.0,
        schedule=Schedule(repetitions=3, warmup=2, tick=words.append),
    )  # fmt: skip
    assert len(calls) == len(words) == 5
    assert len(found.seconds) == 3
    assert [word.endswith("warm-up") for word in words] == [True, True, False, False, False]


@pytest.mark.parametrize(("values", "message"), [((1, 1), "repetitions is 1"), ((2, 0), "warmup is 0")])
def test_too_few_repetitions_or_warm_ups_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Schedule(*values)


def test_peak_memory_counts_a_large_tensor_and_resets():
    if not timing.reset_peak(CPU):
        pytest.skip("this system does not let a process reset its peak of memory")
    before = timing.peak_mb(CPU)
    # Not a tensor: freed, its memory stays with a process whose allocator was told to keep it (keep_freed_memory).
    with mmap.mmap(-1, 2**27) as large:
        for _ in range(2**7):
            large.write(b"1" * 2**20)
        assert timing.peak_mb(CPU) > before + 100
    timing.reset_peak(CPU)
    assert timing.peak_mb(CPU) < before + 100


def test_where_the_peak_cannot_be_reset_none_is_reported(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(timing.Path, "write_text", refuse)
    found = timing.measure("training", "", "float32", lambda: None, images=1, device=CPU, gflop=0.0, schedule=QUICK)
    assert found.peak_mb is None
    assert bench.table([found], {}).splitlines()[2].endswith("|  |  |  |")


@pytest.mark.parametrize(("system", "unit"), [("linux", 2**10), ("darwin", 2**20)])
def test_without_proc_the_peak_and_the_processor_are_asked_of_the_system(monkeypatch, system, unit):
    monkeypatch.setattr(timing.Path, "exists", lambda path: False)
    monkeypatch.setattr(timing.sys, "platform", system)
    monkeypatch.setattr(timing.resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=3 * unit))
    assert timing.peak_mb(CPU) == 3
    assert timing.cpu_name() == "unknown"


def test_operations_of_a_product():
    linear = nn.Linear(10, 20, bias=False)
    assert flops.count_gflop(lambda: linear(torch.zeros(5, 10))) == pytest.approx(2 * 5 * 10 * 20 / 1e9)


@pytest.mark.slow
@pytest.mark.parametrize("switches", [{}, {"micro_batch": 2, "checkpoint_activations": True, "discriminator_steps": 1}])
def test_a_step_counted_without_running_it_is_the_step_that_runs(config, switches):
    config = replace(config, training=replace(config.training, **switches))
    training = initial_state(config, 32, CPU)
    batches = [flops.random_batch(config, 32, CPU) for _ in range(config.training.discriminator_steps)]
    words = int(batches[0].text.mask_BT.sum())
    run = flops.count_gflop(lambda: train_step(training, batches))
    assert flops.count_step(config, 32, words) == pytest.approx(run, rel=1e-12)


@pytest.mark.slow
def test_the_papers_model_takes_two_fifths_of_the_authors_operations():
    """Width 96, 256 px: 0.30 of G's forward pass, 0.48 of D's, 0.38 of a step, by their own count (performance.md)."""
    recipe = RECIPES["coco14-256"]
    counted = projection.count(recipe, 768)
    assert counted.generator_gflop / 240.7 < 0.31
    assert counted.discriminator_gflop / 73.3 < 0.49
    losses, training = replace(recipe.losses, image_encoder=0.0), replace(recipe.training, batch_size=2)
    step = flops.count_step(replace(recipe, losses=losses, training=training), 768, words=2 * 17)
    assert step / (2 * training.discriminator_steps) / 996.3 < 0.39  # a real image


@pytest.mark.slow
def test_training_and_recomputation_that_is_not_counted_as_work(config):
    config = replace(config, training=replace(config.training, discriminator_steps=1))
    plain = bench.bench_training(config, 32, CPU, schedule=QUICK)
    assert plain.images == config.training.batch_size * config.training.discriminator_steps
    assert plain.gflop > 0
    assert plain.variant == ""
    switched = replace(config, training=replace(config.training, micro_batch=2, checkpoint_activations=True))
    found = bench.bench_training(switched, 32, CPU, schedule=QUICK)
    assert found.variant == "micro-batches of 2, activation checkpointing"
    assert found.gflop == plain.gflop == plain.gflop_run < found.gflop_run
    assert found.tflops < found.tflops_run


def test_out_of_memory_is_reported_as_a_row():
    def large() -> Measurement:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 88 GiB.\nAnd more")

    found = [timing.attempt("training", "compiled", "bfloat16", large, CPU), measurement()]
    assert bench.table(found, {"float32": 0.6}).splitlines()[2] == (
        "| training | bfloat16, compiled | out of memory |  |  |  |  |  |"
    )
    report = bench.report(CPU, {"float32": 0.6}, found)
    assert report["out_of_memory"][0]["reason"] == "CUDA out of memory. Tried to allocate 88 GiB."
    assert len(report["measurements"]) == 1


def test_only_out_of_memory_errors_become_rows():
    found = timing.attempt("training", "", "float32", lambda: torch.empty(2**60), CPU)  # type: ignore[arg-type,return-value]
    assert isinstance(found, timing.OutOfMemory)

    def wrong() -> Measurement:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        timing.attempt("training", "", "float32", wrong, CPU)


def test_the_ceiling_is_a_rate():
    assert 1e-4 < timing.ceiling(CPU, torch.float32, side=256, repetitions=2) < 100


def test_random_text_has_every_length_and_zero_padding():
    text = flops.random_text(13, 17, 4, CPU)
    assert sorted(text.mask_BT.sum(1).tolist()) == list(range(5, 18))
    assert not text.words_BTD[~text.mask_BT].any()
    torch.testing.assert_close(text.sentence_BD[0], text.words_BTD[0, :5].mean(0))


def test_random_traces_share_each_real_word_among_the_regions():
    plain = RECIPES["scenes-64"]
    dataset = replace(plain.dataset, layout="localized-narratives")
    batch = flops.random_batch(replace(plain, dataset=dataset, losses=replace(plain.losses, trace=1.0)), 8, CPU)
    assert batch.traces_BTR.shape == (*batch.text.mask_BT.shape, 256)
    torch.testing.assert_close(batch.traces_BTR.sum(-1), batch.text.mask_BT.float())
    assert flops.random_batch(plain, 8, CPU).traces_BTR is None


def test_a_recipe_with_a_frozen_encoder_is_measured_without_it(config):
    training = replace(config.training, discriminator_steps=1)
    with_encoder = replace(config, losses=replace(config.losses, image_encoder=1.0), training=training)
    assert bench.bench_training(with_encoder, 32, CPU, schedule=QUICK).variant == "no frozen image encoder"


def test_fused_generation_needs_fewer_operations():
    generator = Generator(image_size=64, width=4, text_dim=8, noise_dim=8)
    plain, ready = (
        bench.bench_generation(generator, 8, CPU, torch.float32, batch_size=2, fused=fused, schedule=QUICK)
        for fused in (False, True)
    )
    assert (plain.variant, ready.variant) == ("as trained", "fused")
    assert 0 < ready.gflop <= plain.gflop
    assert ready.images == 2


def test_a_generator_is_not_compiled_by_being_timed(monkeypatch):
    generator = Generator(image_size=64, width=4, text_dim=8, noise_dim=8).train()
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))
    for fused in (False, True):
        bench.bench_generation(
            generator, 8, CPU, torch.float32, batch_size=2, fused=fused, compile=True, schedule=QUICK
        )
    assert len(compiled) == 2
    assert all(each is not generator for each in compiled)
    assert generator.training


def test_cuda_graphs_are_a_variant_of_their_own(monkeypatch):
    generator, modes = Generator(image_size=64, width=4, text_dim=8, noise_dim=8), []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **settings: modes.append(settings))
    found = bench.bench_generation(generator, 8, CPU, torch.float32, batch_size=1, cuda_graphs=True, schedule=QUICK)
    assert found.variant == "fused, compiled with CUDA graphs"
    assert modes == [{"mode": "reduce-overhead"}]


def test_text(encoder_folder):
    found = bench.bench_text(TextEncoder(str(encoder_folder), cache_mb=0), captions=8, schedule=QUICK)
    assert found.images == 8
    assert found.gflop > 0


def test_loading():
    found = bench.bench_loading(64, batch_size=4, originals=4, schedule=QUICK)
    assert found.images == 4
    assert found.gflop == 0


@pytest.mark.slow
def test_every_contrastive_loss_and_the_trace_loss_are_counted(config):
    """A weight that the counted step does not know would leave its operations out."""
    config = replace(config, training=replace(config.training, discriminator_steps=1))
    losses = {name: getattr(config.losses, name) for name in vars(LossWeights())}
    assert set(losses) == {*CONTRASTIVE_LOSSES, "trace", "mismatched", "diversity"}
    traced = replace(
        config,
        dataset=replace(config.dataset, layout="localized-narratives"),
        losses=replace(config.losses, trace=1.0),
    )
    plain, more = (flops.count_step(each, 32, words=20) for each in (config, traced))
    rows = config.training.batch_size
    # Similarities of every word with every region: forward, and backward to the regions.
    once = 2 * rows * config.text.max_length * 256 * 32 / 1e9
    assert more - plain == pytest.approx(2 * once, rel=1e-6)
    for name in ("mismatched", "diversity"):
        changed = replace(config, losses=replace(config.losses, **{name: 0.5}))
        assert flops.count_step(changed, 32, words=20) > plain


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["frozen-features", "combined"])
def test_a_step_on_frozen_features_is_counted(config, kind):
    training = replace(config.training, discriminator_steps=1)
    discriminator = replace(config.discriminator, kind=kind, channels=4)
    frozen = replace(config, discriminator=discriminator, training=training)
    assert flops.count_step(frozen, 32, words=20) > 0
    counted = projection.count(frozen, 32)
    assert counted.discriminator_parameters == sum(
        weight.numel() for weight in initial_state(frozen, 32, torch.device("cpu")).discriminator.parameters()
    )


def test_counting_names_its_device(config, monkeypatch):
    """transformers, loading a model, can leave torch.linspace on the CPU whatever the default device."""
    linspace = torch.linspace
    monkeypatch.setattr(torch, "linspace", lambda *given, **named: linspace(*given, **{"device": "cpu", **named}))
    config = replace(config, training=replace(config.training, discriminator_steps=1))
    assert flops.count_step(config, 32, words=20) > 0
