"""Switches that make a step faster or smaller and leave its losses as they are: compile, fused, checkpointing, ...

benchmarks/switches.py compares 200 steps; here are the first ten, and what a compiler is given.
"""

import threading
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from functools import partialmethod
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import nn

from tiny import contents, different, run
from xmcgan.config import Config
from xmcgan.data.layouts import read_records
from xmcgan.encoders.text import TextEncoder
from xmcgan.inference.model_files import newest_checkpoint
from xmcgan.runtime.device import use_tf32
from xmcgan.training.batches import embedded_batches, prefetched
from xmcgan.training.state import TrainingState, initial_state
from xmcgan.training.step import train_step
from xmcgan.types import Batch

CPU = torch.device("cpu")


def switched(config: Config, **switches) -> Config:
    return replace(config, training=replace(config.training, **switches))


def stream_of(config: Config) -> Generator[Batch]:
    """The batches of a run."""
    records = read_records(Path(config.data), "coco", "train2014")
    encoder = TextEncoder(config.text.encoder, max_length=config.text.max_length, layers=config.text.layers)
    return embedded_batches(config, records, encoder, CPU, start=0)


def batches_of(config: Config, count: int) -> list[Batch]:
    """The first of them."""
    with closing(stream_of(config)) as batches:
        return list(islice(batches, count))


def prefetching() -> bool:
    """Whether a thread that makes batches is there."""
    return any(thread.name.startswith("batches") for thread in threading.enumerate())


def reports(training: TrainingState, batches: list[Batch]) -> list[dict[str, float]]:
    """What steps of two batches each report."""
    pairs = zip(batches[::2], batches[1::2], strict=True)
    return [{name: float(value) for name, value in train_step(training, list(pair)).items()} for pair in pairs]


@pytest.fixture
def compiler(monkeypatch):
    """Makes torch.compile take networks whole or fail, and hand them to a backend that is quick at a test's sizes."""

    def chosen(backend: str) -> None:
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=backend, fullgraph=True))

    with torch._functorch.config.patch(donated_buffer=True):  # which ``start`` sets for good
        yield chosen
    torch._dynamo.reset()


@pytest.mark.parametrize(
    "switches",
    [{"fused": True}, {"checkpoint_activations": True}, {"channels_last": False}],
    ids=lambda switches: next(iter(switches)),
)
def test_losses_of_ten_steps_are_the_same(config, switches):
    """Within float32's rounding, which Adam's first steps make larger; not one switched off in secret."""
    batches = batches_of(config, 20)
    plain = reports(initial_state(config, 32, CPU), batches)
    training = initial_state(switched(config, **switches), 32, CPU)
    assert training.generator_optimizer.defaults["fused"] == (True if "fused" in switches else None)
    for network in (training.generator, training.discriminator.network):
        assert network.checkpoint_activations == ("checkpoint_activations" in switches)
        assert network.channels_last == ("channels_last" not in switches)
    for ours, theirs in zip(reports(training, batches), plain, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("channels_last", [True, False])
def test_every_map_lies_as_it_should(config, channels_last):
    """What is wider than one channel and one pixel, through both networks and all blocks, and the kernels."""
    training = initial_state(switched(config, channels_last=channels_last), 32, CPU)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    seen = []

    def look(module, inputs, output):
        for each in (*inputs, output):
            if isinstance(each, torch.Tensor) and each.dim() == 4 and min(each.shape[1:]) > 1:
                seen.append((type(module).__name__, each.is_contiguous(memory_format=layout)))

    batch = batches_of(switched(config, channels_last=channels_last), 1)[0]
    assert batch.images_B3HW.is_contiguous(memory_format=layout)
    for network in (training.generator, training.discriminator):
        for module in network.modules():
            module.register_forward_hook(look)
    images = training.generator(batch.noise_BZ, batch.text).images_B3HW
    training.discriminator.discriminate_pair(batch.images_B3HW, images, batch.text)
    assert len(seen) > 60
    assert {name for name, lies in seen if not lies} == set()
    weights = [*training.generator.parameters(), *training.discriminator.parameters()]
    kernels = [each for each in weights if each.dim() == 4 and min(each.shape[1:]) > 1]
    assert len(kernels) == 19
    assert all(kernel.is_contiguous(memory_format=layout) for kernel in kernels)


@pytest.mark.parametrize(("micro_batch", "checkpointed", "backend"), [(None, False, "aot_eager"), (2, True, "eager")])
def test_networks_compile_whole_and_once(config, compiler, micro_batch, checkpointed, backend):
    """No graph break in either forward pass; after the first step nothing is compiled again.

    aot_eager traces the backward passes too: the last discriminator step's graph and the generator's are one, used
    twice.
    """
    compiler(backend)
    config = switched(config, micro_batch=micro_batch, checkpoint_activations=checkpointed)
    batches = batches_of(config, 6)
    plain = reports(initial_state(config, 32, CPU), batches)
    training = initial_state(switched(config, compile=True), 32, CPU)
    assert set(training.generator.state_dict()) == set(training.ema.network.state_dict())  # names stay
    first = reports(training, batches[:2])
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs >= 4  # each network, with and without a gradient
    with torch._dynamo.config.patch(error_on_recompile=True):
        later = reports(training, batches[2:])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
    assert not torch._dynamo.utils.counters["graph_break"]
    for ours, theirs in zip(first + later, plain, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)


def test_a_run_goes_on_compiled_and_fused(config, compiler, tmp_path):
    compiler("eager")
    run(switched(config, steps=2), tmp_path / "run")
    assert run(switched(config, steps=3, compile=True, fused=True), tmp_path / "run") == 3


# ------------------------------------------------------------------------------------------------- prefetched batches


@pytest.mark.parametrize("workers", [0, 2])
def test_prefetched_batches_are_the_same(config, workers):
    config = replace(config, dataset=replace(config.dataset, workers=workers))
    plain = batches_of(config, 5)
    with closing(prefetched(stream_of(config), 2, CPU)) as batches:
        ahead = list(islice(batches, 5))
        assert prefetching()
    assert not prefetching()
    for ours, theirs in zip(ahead, plain, strict=True):
        assert torch.equal(ours.images_B3HW, theirs.images_B3HW)
        assert torch.equal(ours.text.words_BTD, theirs.text.words_BTD)
        assert torch.equal(ours.noise_BZ, theirs.noise_BZ)


def test_prefetched_batches_are_made_while_one_is_used_and_no_further(config):
    made = []

    def counted():
        for batch in stream_of(config):
            made.append(threading.current_thread() is threading.main_thread())
            yield batch

    with closing(prefetched(counted(), 2, CPU)) as batches:
        next(batches)
        deadline = time.monotonic() + 60
        while len(made) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        assert made == [True, False, False]  # loading processes are forked where no thread is beside


def test_an_error_in_the_thread_ends_the_run(config):
    def broken():
        yield from batches_of(config, 2)
        raise ValueError("train2014/x.jpg cannot be read as an image")

    with closing(prefetched(broken(), 2, CPU)) as batches:
        assert len(list(islice(batches, 2))) == 2
        with pytest.raises(ValueError, match=r"x\.jpg cannot be read"):
            next(batches)
    assert not prefetching()


def test_a_run_goes_on_with_prefetched_batches(config, tmp_path):
    """The same bits, interrupted or not, and nothing of what was read ahead is lost."""
    run(switched(config, steps=4), tmp_path / "plain")
    run(switched(config, steps=2, prefetch=3), tmp_path / "ahead")
    assert run(switched(config, steps=4, prefetch=1), tmp_path / "ahead") == 4
    plain, ahead = (contents(newest_checkpoint(tmp_path / name / "checkpoints")) for name in ("plain", "ahead"))
    assert different(plain, ahead) == []


# ------------------------------------------------------------------------------------------------- TF32


def test_tf32_is_refused_where_there_is_none(config, tmp_path):
    with pytest.raises(ValueError, match="tf32 is true, but the device is cpu"):
        run(switched(config, tf32=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_tf32_is_used_only_where_it_is_wanted():
    a = torch.randn(256, 256, device="cuda")
    exact = a.double() @ a.double()
    errors = []
    for wanted in (True, False):
        use_tf32(torch.device("cuda"), wanted)
        errors.append(float((a @ a - exact).abs().max()))
    assert errors[1] < 1e-3 < errors[0]
