"""The training state: its fields, and its start from the seed."""

import dataclasses

import torch

from steps import having, started
from xmcgan.training.state import TrainingState


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
    ]
