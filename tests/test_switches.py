"""Switches that make a step faster or smaller and leave its losses as they are: compile, fused, checkpointing.

benchmarks/switches.py compares 200 steps; here are the first ten, and what a compiler is given.
"""

from dataclasses import replace
from functools import partialmethod
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import nn

from tiny import run
from xmcgan.config import Config
from xmcgan.data.layouts import read_records
from xmcgan.text import TextEncoder
from xmcgan.train import Training, embedded_batches, start, train_step
from xmcgan.types import Batch

CPU = torch.device("cpu")


def switched(config: Config, **switches) -> Config:
    return replace(config, training=replace(config.training, **switches))


def batches_of(config: Config, count: int) -> list[Batch]:
    """The first batches of a run."""
    records = read_records(Path(config.data), "coco", "train2014")
    encoder = TextEncoder(config.text.encoder, max_length=config.text.max_length, layers=config.text.layers)
    return list(islice(embedded_batches(config, records, encoder, CPU, start=0), count))


def reports(training: Training, batches: list[Batch]) -> list[dict[str, float]]:
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
    "switches", [{"fused": True}, {"checkpoint_activations": True}], ids=lambda switches: next(iter(switches))
)
def test_losses_of_ten_steps_are_the_same(config, switches):
    """Within float32's rounding, which Adam's first steps make larger; not one switched off in secret."""
    batches = batches_of(config, 20)
    plain = reports(start(config, 32, CPU), batches)
    training = start(switched(config, **switches), 32, CPU)
    assert training.generator_optimizer.defaults["fused"] == (True if "fused" in switches else None)
    assert training.discriminator.network.checkpoint_activations == ("checkpoint_activations" in switches)
    for ours, theirs in zip(reports(training, batches), plain, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(("micro_batch", "checkpointed"), [(None, False), (2, True)])
def test_networks_compile_whole_and_once(config, compiler, micro_batch, checkpointed):
    """No graph break in either forward pass; after the first step nothing is compiled again."""
    compiler("eager")
    config = switched(config, micro_batch=micro_batch, checkpoint_activations=checkpointed)
    batches = batches_of(config, 6)
    plain = reports(start(config, 32, CPU), batches)
    training = start(switched(config, compile=True), 32, CPU)
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


@pytest.mark.slow
def test_compiled_backward_passes_are_the_same(config, compiler):
    """Traced by autograd too: the last discriminator step's graph and the generator's are one, used twice."""
    compiler("aot_eager")
    batches = batches_of(config, 4)
    plain = reports(start(config, 32, CPU), batches)
    for ours, theirs in zip(reports(start(switched(config, compile=True), 32, CPU), batches), plain, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)


def test_a_run_goes_on_compiled_and_fused(config, compiler, tmp_path):
    compiler("eager")
    run(switched(config, steps=2), tmp_path / "run")
    assert run(switched(config, steps=3, compile=True, fused=True), tmp_path / "run") == 3
