"""The average of the generator: decay, warm-up and buffers."""

import math

import pytest
import torch

from steps import batches_of, having, started
from xmcgan.training.ema import EMA
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
