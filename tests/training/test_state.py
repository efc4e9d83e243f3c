"""The training state: its fields, its start from the seed, and the settings that make a step faster or smaller."""

import dataclasses
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from pairs import discriminate_pair
from steps import CPU, TEXT_DIM, batches_of, having, started
from tiny import tiny_config
from xmcgan.model.generator import Generator
from xmcgan.training.state import TrainingState, check_batch_size, initial_state, set_learning_rates
from xmcgan.training.step import train_step
from xmcgan.types import Batch


def test_the_parts_are_a_function_of_the_seed(config):
    torch.manual_seed(5)
    one = started(config)
    torch.manual_seed(6)
    two, other = started(config), started(having(config, training__seed=1))
    for left, right in zip(one.generator.parameters(), two.generator.parameters(), strict=True):
        assert torch.equal(left, right)
    assert not torch.equal(one.generator.stem.weight, other.generator.stem.weight)
    critics = [each.discriminator.network.unconditional.weight for each in (one, other)]
    assert not torch.equal(*critics)


def test_fields_of_a_training_are_known():
    """load_into and save name each part; a new one must be added there, and here."""
    assert [field.name for field in dataclasses.fields(TrainingState)] == [
        "generator",
        "discriminator",
        "ema",
        "generator_optimizer",
        "discriminator_optimizer",
        "objective",
        "image_encoder",
        "precision",
        "micro_batch",
        "augmentation",
        "adaptive",
        "penalties",
    ]


def reports(training: TrainingState, batches: list[Batch]) -> list[dict[str, float]]:
    """What steps of two batches each report."""
    pairs = zip(batches[::2], batches[1::2], strict=True)
    return [{name: float(value) for name, value in train_step(training, list(pair)).items()} for pair in pairs]


@pytest.fixture
def compiler(monkeypatch):
    """Makes torch.compile take networks whole or fail, and do with them as little as tests need.

    aot_eager traces the backward pass of the discriminator, which a step goes through twice. eager leaves that of the
    generator alone, which takes four times as long; test_ranks.py traces a block of it.
    """
    compiled = nn.Module.compile

    def compile(network: nn.Module) -> None:
        compiled(network, backend="eager" if isinstance(network, Generator) else "aot_eager", fullgraph=True)

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    monkeypatch.setattr(nn.Module, "compile", compile)
    with torch._functorch.config.patch(donated_buffer=True):  # which ``start`` sets for good
        yield
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def plain(scenes, encoder_folder) -> tuple[list[Batch], list[dict[str, float]]]:
    """Batches of two steps, and what the plain steps report of them."""
    config = tiny_config(scenes, encoder_folder)
    batches = batches_of(config, 4)
    return batches, reports(started(config), batches)


@pytest.mark.parametrize(
    "switches",
    [{"training__fused": True}, {"training__checkpoint_activations": True}, {"training__channels_last": False}],
    ids=lambda switches: next(iter(switches)),
)
def test_fused_checkpointed_and_channels_first_steps_have_the_same_losses(config, plain, switches):
    """Within float32's rounding, which Adam's first steps make larger; the switches are on."""
    batches, expected = plain
    training = initial_state(having(config, **switches), 32, CPU)
    assert training.generator_optimizer.defaults["fused"] == (True if "training__fused" in switches else None)
    for network in (training.generator, training.discriminator.network):
        assert network.checkpoint_activations == ("training__checkpoint_activations" in switches)
        assert network.channels_last == ("training__channels_last" not in switches)
    for ours, theirs in zip(reports(training, batches), expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("channels_last", [True, False])
def test_memory_format_of_all_maps_and_kernels(config, channels_last):
    """What is wider than one channel and one pixel, through both networks and all blocks, and the kernels."""
    training = initial_state(having(config, training__channels_last=channels_last), 32, CPU)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    seen = []

    def record(module, inputs, output):
        for each in (*inputs, output):
            if isinstance(each, torch.Tensor) and each.dim() == 4 and min(each.shape[1:]) > 1:
                seen.append((type(module).__name__, each.is_contiguous(memory_format=layout)))

    batch = batches_of(having(config, training__channels_last=channels_last), 1)[0]
    assert batch.images_B3HW.is_contiguous(memory_format=layout)
    for network in (training.generator, training.discriminator):
        for module in network.modules():
            module.register_forward_hook(record)
    images = training.generator(batch.noise_BZ, batch.text).images_B3HW
    discriminate_pair(training.discriminator, batch.images_B3HW, images, batch.text)
    assert len(seen) > 60
    assert {name for name, is_contiguous in seen if not is_contiguous} == set()
    weights = [*training.generator.parameters(), *training.discriminator.parameters()]
    kernels = [each for each in weights if each.dim() == 4 and min(each.shape[1:]) > 1]
    assert len(kernels) == 19
    assert all(kernel.is_contiguous(memory_format=layout) for kernel in kernels)


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_networks_compile_without_graph_breaks_or_recompilation(config):
    """No graph break in either forward pass; after the first step nothing is compiled again.

    In micro-batches and with checkpointing, where a graph break is likeliest.
    """
    config = having(config, training__micro_batch=2, training__checkpoint_activations=True)
    batches = batches_of(config, 4)
    plain = reports(initial_state(config, 32, CPU), batches)
    training = initial_state(having(config, training__compile=True), 32, CPU)
    assert set(training.generator.state_dict()) == set(training.ema.network.state_dict())  # names stay
    assert not torch._functorch.config.donated_buffer  # a step backpropagates twice through one graph
    first = reports(training, batches[:2])
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs >= 4  # each network, with and without a gradient
    with torch._dynamo.config.patch(error_on_recompile=True):
        later = reports(training, batches[2:])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
    assert not torch._dynamo.utils.counters["graph_break"]
    for ours, theirs in zip(first + later, plain, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)


def test_learning_rates_fall_along_a_cosine(plus):
    state = initial_state(plus, TEXT_DIM, CPU)
    settings = replace(plus.training, steps=100, lr_decay_from=0.5)
    rates = []
    for step in (0, 50, 75, 99):
        set_learning_rates(state, settings, step)
        rates.append(state.generator_optimizer.param_groups[0]["lr"] / settings.generator_lr)
    expected = [1.0, 1.0, 0.5, (1 + math.cos(math.pi * 0.98)) / 2]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rows", "losses", "message"),
    [
        (3, {"mismatched": 0.5}, "losses.mismatched exchanges the captions of neighbours"),
        (6, {"diversity": 1.0}, "losses.diversity generates every fourth example twice"),
    ],
)
def test_batches_that_do_not_fit_are_refused(plus, rows, losses, message):
    config = replace(
        plus,
        losses=replace(plus.losses, **({"mismatched": 0.0, "diversity": 0.0} | losses)),
        training=replace(plus.training, batch_size=rows),
    )
    with pytest.raises(ValueError, match=message):
        check_batch_size(config, 1)
