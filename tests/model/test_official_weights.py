"""Round trips between our weights and the official ones; test_parity.py shows that the mapping is right."""

import copy

import numpy as np
import pytest
import torch

from golden_arrays import below, golden
from xmcgan.model.discriminator import Discriminator
from xmcgan.model.generator import Generator
from xmcgan.model.official_weights import load_official_weights, official_name, to_official


def make_generator(**options) -> Generator:
    return randomised(Generator(**{"image_size": 64, "width": 4, "text_dim": 6, "noise_dim": 5} | options))


def make_discriminator(**options) -> Discriminator:
    return randomised(Discriminator(**{"image_size": 64, "width": 4, "text_dim": 6} | options))


def randomised(network):
    """Changes every array of a network's state from its initial value."""
    for tensor in network.state_dict().values():
        tensor.normal_()
    return network


def assert_same_state(one, other) -> None:
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("stem", ["condition", "noise"])
@pytest.mark.parametrize("text_dim", [6, 20])
@pytest.mark.parametrize("width", [4, 6])
@pytest.mark.parametrize("image_size", [64, 128, 256])
def test_generator_round_trip(image_size, width, text_dim, stem):
    options = {"image_size": image_size, "width": width, "text_dim": text_dim, "stem": stem}
    network, other = make_generator(**options), make_generator(**options)
    arrays = to_official(network)
    assert len(arrays) == len(network.state_dict())  # no two of ours under one name
    load_official_weights(other, arrays)
    assert_same_state(other, network)


@pytest.mark.parametrize("text_dim", [6, 20])
@pytest.mark.parametrize("width", [4, 6])
@pytest.mark.parametrize("image_size", [64, 128, 256])
def test_discriminator_round_trip(image_size, width, text_dim):
    options = {"image_size": image_size, "width": width, "text_dim": text_dim}
    network, other = make_discriminator(**options), make_discriminator(**options)
    arrays = to_official(network)
    assert len(arrays) == len(network.state_dict())
    load_official_weights(other, arrays)
    assert_same_state(other, network)


@pytest.mark.parametrize(
    ("network", "prefix"),
    [
        (Generator(image_size=128, width=4, text_dim=20, noise_dim=12, stem="noise"), "g/"),
        (Discriminator(image_size=128, width=4, text_dim=20), "d/"),
    ],
)
def test_the_authors_own_arrays_round_trip(network, prefix):
    theirs = below(golden("xmcgan_128"), prefix)
    load_official_weights(network, theirs)
    ours = to_official(network)
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)


@pytest.mark.parametrize("make", [make_generator, make_discriminator])
def test_mismatched_arrays_are_all_listed_and_nothing_is_loaded(make):
    network = make()
    before = copy.deepcopy(network)
    arrays = to_official(make())
    names = list(arrays)
    missing, misshapen = names[0], names[3]
    del arrays[missing]
    arrays[misshapen] = np.zeros((*arrays[misshapen].shape, 2), np.float32)
    arrays["params/Another_0/kernel"] = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="do not fit this network") as error:
        load_official_weights(network, arrays)
    for complaint in (
        f"{missing} is missing",
        f"{misshapen} has shape {arrays[misshapen].shape}",
        "params/Another_0/kernel is not part of this network",
    ):
        assert complaint in str(error.value)
    assert_same_state(network, before)


def test_weights_of_another_width_do_not_fit():
    with pytest.raises(ValueError, match="this network needs"):
        load_official_weights(make_generator(), to_official(make_generator(width=6)))


def test_networks_refuse_each_others_weights():
    with pytest.raises(ValueError, match="is missing"):
        load_official_weights(make_generator(), to_official(make_discriminator()))


def test_official_weights_need_attentional_modulation():
    with pytest.raises(ValueError, match="plain self-modulation has no counterpart in the official implementation"):
        to_official(make_generator(modulation="plain"))


@pytest.mark.parametrize("head_layers", [1, 2])
def test_official_weights_need_zero_head_layers(head_layers):
    with pytest.raises(ValueError, match=r"_head.* has no counterpart in the official implementation"):
        to_official(make_discriminator(head_layers=head_layers))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (make_generator, "extra.weight"),
        (make_generator, "global_blocks.0.conv1.scale"),
        (make_generator, "global_blocks.0.conv3.weight"),
        (make_discriminator, "extra.weight"),
        (make_discriminator, "network.blocks.0.conv3.weight"),
    ],
)
def test_a_tensor_that_theirs_has_not_is_named(make, name):
    with pytest.raises(ValueError, match=rf"^{name} has no counterpart in the official implementation"):
        official_name(make(), name)


def test_loading_copies():
    network, arrays = make_generator(), to_official(make_generator())
    load_official_weights(network, arrays)
    before = copy.deepcopy(network)
    for array in arrays.values():
        array[...] = 0
    assert_same_state(network, before)
