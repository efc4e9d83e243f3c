"""The average of the generator: decay, warm-up and buffers."""

import math

import pytest
import torch

from steps import TEXT_DIM, batches_of, having, random_batch, started
from xmcgan.model.generator import Generator
from xmcgan.training.ema import EMA, estimate_batch_norm
from xmcgan.training.step import train_step


class Weights(torch.nn.Module):
    def __init__(self, value: float):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((2,), value))
        self.register_buffer("running_mean", torch.full((2,), value))


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_the_average_is_exponential_and_copies_buffers(decay):
    network = Weights(0.0)
    ema, expected = EMA(network, decay=decay), 0.0
    for value in (1.0, 4.0, -2.0):
        with torch.no_grad():
            network.weight.fill_(value)
            network.running_mean.fill_(value)
        ema.update(network)
        expected = decay * expected + (1 - decay) * value
        assert ema.network.weight.tolist() == pytest.approx([expected] * 2)
        assert ema.network.running_mean.tolist() == [value] * 2
    assert ema.updates == 3


def test_the_warm_up_holds_the_decay_down_at_first():
    network = Weights(0.0)
    ema, expected = EMA(network, decay=0.5, warmup=True), 0.0
    for number in range(20):
        with torch.no_grad():
            network.weight.fill_(number)
        ema.update(network)
        decay = min(0.5, (1 + number) / (10 + number))  # 0.1, 2/11, ...; 0.5 from the ninth on
        expected = decay * expected + (1 - decay) * number
        assert ema.network.weight.tolist() == pytest.approx([expected] * 2)


def test_the_average_starts_as_a_frozen_copy():
    network = Weights(3.0)
    ema = EMA(network)
    assert ema.network is not network
    assert not ema.network.training
    assert not ema.network.weight.requires_grad
    assert ema.network.weight.tolist() == [3.0, 3.0]
    assert network.training
    assert network.weight.requires_grad


@pytest.mark.parametrize("decay", [1.0, -0.1, math.nan])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=rf"training\.ema_decay is {decay}"):
        EMA(Weights(0.0), decay=decay)


def test_the_average_is_taken_after_the_update(config):
    config = having(config, training__ema_decay=0.0)
    training = started(config)
    train_step(training, batches_of(config, 1))
    for average, weight in zip(training.ema.network.parameters(), training.generator.parameters(), strict=True):
        assert torch.equal(average, weight)


def test_after_a_half_life_the_past_weighs_half():
    torch.manual_seed(0)
    network = Generator(image_size=64, width=1, text_dim=TEXT_DIM, noise_dim=4)
    average = EMA(network, half_life=3)
    average.updates = 1000  # far behind the ramp
    with torch.no_grad():
        for weight in average.network.parameters():
            weight.fill_(1.0)
        for weight in network.parameters():
            weight.zero_()
    for _ in range(3):
        average.update(network)
    torch.testing.assert_close(average.network.stem.bias, torch.full_like(network.stem.bias, 0.5))
    assert EMA(network, half_life=1000).next_decay() == pytest.approx(0.5**20)  # early on nearly all is new


def test_estimated_statistics_are_those_of_the_generators_own_maps():
    torch.manual_seed(0)
    generator = Generator(image_size=64, width=1, text_dim=TEXT_DIM, noise_dim=4).eval()
    batches = [random_batch(6, 4) for _ in range(2)]
    stem = []
    for batch in batches:
        condition = torch.cat([generator.sentence_projection(batch.text.sentence_BD), batch.noise_BZ], 1)
        stem.append(generator.stem(condition).unflatten(1, (-1, 4, 4)))
    norm = generator.global_blocks[0].norm1.norm
    momentum = norm.momentum
    estimate_batch_norm(generator, ((batch.noise_BZ, batch.text) for batch in batches))
    mean = torch.stack([x.mean((0, 2, 3)) for x in stem]).mean(0)
    variance = torch.stack([x.var((0, 2, 3), unbiased=False) for x in stem]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, variance, rtol=1e-4, atol=1e-5)
    assert norm.momentum == momentum
    assert not generator.training
