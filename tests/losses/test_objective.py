"""The objectives of both networks: weights, absent terms, and where each gradient flows."""

import math

import pytest
import torch
from torch import Tensor

from comparison import random_text
from pairs import discriminate_pair
from xmcgan.losses.adversarial import hinge_discriminator, hinge_generator
from xmcgan.losses.objective import LossWeights, Objective
from xmcgan.model.discriminator import Discriminator
from xmcgan.model.generator import Generator
from xmcgan.types import ContrastiveFeatures, DiscriminatorOutput, TextEmbedding


@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_a_weight_is_zero_or_positive(value):
    with pytest.raises(ValueError, match=r"losses\.word"):
        LossWeights(word=value)


class Networks:
    """Tiny networks in float64, one batch, and the outputs of its real and generated halves."""

    def __init__(self, head_layers: int = 0):
        self.generator = Generator(image_size=64, width=4, text_dim=6, noise_dim=5).double()
        self.discriminator = Discriminator(image_size=64, width=4, text_dim=6, head_layers=head_layers).double()
        for parameter in (*self.generator.parameters(), *self.discriminator.parameters()):
            if parameter.dim() == 1:
                torch.nn.init.normal_(parameter, std=0.1)  # a bias of 0 may hide that nothing reaches it
        text = random_text()
        self.text = TextEmbedding(text.words_BTD.double(), text.mask_BT, text.sentence_BD.double())
        self.real_B3HW = torch.rand(4, 3, 64, 64, dtype=torch.float64) * 2 - 1
        self.fake_B3HW = self.generator(torch.randn(4, 5, dtype=torch.float64), self.text).images_B3HW

    def discriminate(self, fake_B3HW: Tensor) -> tuple[DiscriminatorOutput, DiscriminatorOutput]:
        return discriminate_pair(self.discriminator, self.real_B3HW, fake_B3HW, self.text)


def reached(loss: Tensor, parameters: dict[str, Tensor]) -> set[str]:
    """Names of the parameters to which a loss gives a gradient that is not zero."""
    gradients = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True)
    return {
        name for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None and gradient.any()
    }


def contrastive_part(terms) -> Tensor:
    return sum(terms.weights[name] * loss for name, loss in terms.losses.items() if not name.endswith("hinge"))


def test_the_discriminators_total_has_no_gradient_for_the_generator():
    networks = Networks()
    generator, discriminator = networks.generator, networks.discriminator
    # A step of the discriminator alone: the images come detached, and no path leads back.
    total = Objective().discriminator(*networks.discriminate(networks.fake_B3HW.detach()), networks.text).total
    gradients = torch.autograd.grad(total, list(generator.parameters()), retain_graph=True, allow_unused=True)
    assert all(gradient is None for gradient in gradients)
    # The shared step: the path is there for the generator's own loss, and the discriminator's does not take it.
    total = Objective().discriminator(*networks.discriminate(networks.fake_B3HW), networks.text).total
    total.backward(inputs=list(discriminator.parameters()))
    assert all(parameter.grad is None for parameter in generator.parameters())
    assert all(parameter.grad is not None for parameter in discriminator.parameters())


@pytest.mark.parametrize("head_layers", [0, 2])
def test_the_discriminators_contrastive_terms_ignore_generated_images(head_layers):
    networks = Networks(head_layers)
    real, fake = networks.discriminate(networks.fake_B3HW)
    terms = Objective().discriminator(real, fake, networks.text)
    assert set(terms.losses) == {"d_hinge", "real_sentence", "real_word"}
    contrastive = contrastive_part(terms)
    of_fake = [fake.logits_B, *fake.features[0], networks.fake_B3HW]
    gradients = torch.autograd.grad(contrastive, of_fake, retain_graph=True, allow_unused=True)
    assert all(gradient is None for gradient in gradients)
    # Nor does the hinge know of any region.
    regions = [real.features[0].regions_BRD, fake.features[0].regions_BRD]
    gradients = torch.autograd.grad(terms.losses["d_hinge"], regions, retain_graph=True, allow_unused=True)
    assert all(gradient is None for gradient in gradients)

    features = ContrastiveFeatures(*(torch.randn_like(feature) for feature in fake.features[0]))
    others = DiscriminatorOutput(fake.logits_B, (features,))
    again = Objective().discriminator(real, others, networks.text)
    for name in terms.losses:
        torch.testing.assert_close(again.losses[name], terms.losses[name], rtol=0, atol=0)
    torch.testing.assert_close(again.statistics, terms.statistics, rtol=0, atol=0)


def test_the_contrastive_heads_learn_from_real_images_only():
    networks = Networks(head_layers=2)
    networks.discriminator.eval()  # every pass below has the same normalised weights
    heads = {
        name: parameter
        for name, parameter in networks.discriminator.named_parameters()
        if "_head." in name or "region_projection" in name
    }
    assert len(heads) == 3 * 4 + 2
    gradients = []
    for images in (networks.fake_B3HW, torch.zeros_like(networks.fake_B3HW), torch.randn_like(networks.fake_B3HW)):
        total = Objective().discriminator(*networks.discriminate(images), networks.text).total
        gradients.append(torch.autograd.grad(total, list(heads.values())))
    for other in gradients[1:]:
        for name, one, another in zip(heads, gradients[0], other, strict=True):
            assert one.any(), name
            torch.testing.assert_close(one, another, rtol=0, atol=0, msg=name)
    # With other real images they are others.
    networks.real_B3HW = -networks.real_B3HW
    total = Objective().discriminator(*networks.discriminate(networks.fake_B3HW), networks.text).total
    changed = torch.autograd.grad(total, list(heads.values()))
    assert all(not torch.equal(one, another) for one, another in zip(gradients[0], changed, strict=True))


def test_generated_images_teach_the_discriminator_by_the_hinge_alone():
    networks = Networks()
    fake = networks.fake_B3HW.detach().requires_grad_()
    terms = Objective().discriminator(*networks.discriminate(fake), networks.text)
    (of_total,) = torch.autograd.grad(terms.total, fake, retain_graph=True)
    (of_hinge,) = torch.autograd.grad(terms.losses["d_hinge"], fake, retain_graph=True)
    assert of_hinge.any()
    torch.testing.assert_close(of_total, of_hinge, rtol=1e-12, atol=0)


def test_every_discriminator_weight_learns():
    networks = Networks(head_layers=1)
    terms = Objective().discriminator(*networks.discriminate(networks.fake_B3HW), networks.text)
    parameters = dict(networks.discriminator.named_parameters())
    # The bias of the logit gets -1/N and +1/N from every pair inside both corners of the hinge: it may cancel.
    assert reached(terms.total, parameters) >= set(parameters) - {"network.unconditional.bias"}


def test_the_generators_total_reaches_every_live_weight():
    networks = Networks()
    parameters = dict(networks.generator.named_parameters())
    # A constant in each channel is taken away by the batch norm that follows (tests/golden/README.md, "dead").
    dead = {name for name in parameters if name.startswith("global_blocks.") and name.endswith("conv1.bias")}
    layers = ("conv1.bias", "conv2.bias", "shortcut.bias")
    dead |= {name for name in parameters if name.startswith("attentional_blocks.") and name.endswith(layers)}
    terms = Objective().generator(*networks.discriminate(networks.fake_B3HW), networks.text)
    assert set(terms.losses) == {"g_hinge", "fake_sentence", "fake_word", "image_discriminator"}
    gradients = torch.autograd.grad(terms.total, list(parameters.values()), retain_graph=True)
    sizes = {name: gradient.abs().max().item() for name, gradient in zip(parameters, gradients, strict=True)}
    assert {name for name, size in sizes.items() if size < 1e-12} == dead
    for name, loss in terms.losses.items():
        assert reached(loss, {"stem": parameters["stem.weight"]}), name


@pytest.mark.parametrize(
    ("weight", "name"),
    [
        ("sentence", "fake_sentence"),
        ("word", "fake_word"),
        ("image_discriminator", "image_discriminator"),
        ("image_encoder", "image_encoder"),
    ],
)
def test_a_weight_of_0_leaves_its_term_out(weight, name):
    networks = Networks()
    outputs, encoded = networks.discriminate(networks.fake_B3HW), tuple(torch.randn(2, 4, 7).double())
    whole = Objective().generator(*outputs, networks.text, encoded)
    without = Objective(LossWeights(**{weight: 0.0})).generator(*outputs, networks.text, encoded)
    assert set(whole.losses) - set(without.losses) == {name}
    assert not any(statistic.startswith(name) for statistic in without.statistics)
    torch.testing.assert_close(without.total, whole.total - whole.losses[name])
    twice = Objective(LossWeights(**{weight: 2.0})).generator(*outputs, networks.text, encoded)
    torch.testing.assert_close(twice.total, whole.total + whole.losses[name])

    terms = Objective(LossWeights(**{weight: 0.0})).discriminator(*outputs, networks.text)
    gone = {"d_hinge", "real_sentence", "real_word"} - set(terms.losses)
    assert gone == ({f"real_{weight}"} if weight in ("sentence", "word") else set())
    region_projection = {"weight": networks.discriminator.network.region_projection.weight}
    assert bool(reached(terms.total, region_projection)) == (weight != "word")


def test_without_an_encoder_its_term_is_absent():
    networks = Networks()
    terms = Objective().generator(*networks.discriminate(networks.fake_B3HW), networks.text, encoded=None)
    assert "image_encoder" not in terms.losses


def test_all_weights_0_leave_the_hinge_which_takes_a_batch_of_one():
    networks = Networks()
    outputs = networks.discriminate(networks.fake_B3HW)
    real, fake = (DiscriminatorOutput(output.logits_B[:1], ()) for output in outputs)
    objective = Objective(LossWeights(0.0, 0.0, 0.0, 0.0))
    d_terms = objective.discriminator(real, fake, networks.text.rows(slice(1)))
    g_terms = objective.generator(real, fake, networks.text.rows(slice(1)))
    torch.testing.assert_close(d_terms.total, hinge_discriminator(real.logits_B, fake.logits_B))
    torch.testing.assert_close(g_terms.total, hinge_generator(fake.logits_B))
