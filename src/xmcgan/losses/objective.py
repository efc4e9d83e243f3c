"""The two sums of Algorithm 1: what the discriminator and the generator minimise."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from xmcgan.config import LossConfig
from xmcgan.losses.adversarial import (
    diversity_hinge,
    hinge_discriminator,
    hinge_generator,
    matching_aware_hinge_discriminator,
)
from xmcgan.losses.contrastive import (
    ContrastiveLoss,
    local_rows,
    nt_xent,
    region_word_scores,
    symmetric_cross_entropy,
    trace_divergence,
)
from xmcgan.losses.perceptual import perceptual_l2
from xmcgan.losses.relativistic import relativistic_discriminator, relativistic_generator
from xmcgan.runtime.precision import float32_or_wider
from xmcgan.types import DiscriminatorOutput, TextEmbedding


@dataclass(frozen=True)
class LossWeights:
    """The lambdas of the paper; a weight of 0 leaves its term out altogether."""

    sentence: float = 1.0
    word: float = 1.0
    image_discriminator: float = 1.0
    image_encoder: float = 1.0
    trace: float = 0.0
    mismatched: float = 0.0
    diversity: float = 0.0

    @classmethod
    def from_config(cls, config: LossConfig) -> "LossWeights":
        """The weights of a configuration's ``losses`` section."""
        return cls(**{field.name: getattr(config, field.name) for field in fields(cls)})

    def __post_init__(self):
        for name, value in vars(self).items():
            if not 0 <= value < float("inf"):
                raise ValueError(f"losses.{name} is {value}; a weight is 0 (off) or a positive number")


@dataclass(frozen=True)
class Terms:
    """The terms of one network's objective: unweighted losses, their weights, and the statistics beside them."""

    losses: dict[str, Tensor]
    weights: dict[str, float]
    statistics: dict[str, Tensor]

    @property
    def total(self) -> Tensor:
        """The weighted sum that is minimised."""
        return torch.stack([self.weights[name] * loss for name, loss in self.losses.items()]).sum()


def terms(hinge: dict[str, Tensor], contrasts: dict[str, tuple[float, ContrastiveLoss]]) -> Terms:
    """One adversarial loss, weighted 1, and contrastive losses with their lambdas."""
    return Terms(
        losses=hinge | {name: contrast.loss for name, (_, contrast) in contrasts.items()},
        weights=dict.fromkeys(hinge, 1.0) | {name: weight for name, (weight, _) in contrasts.items()},
        statistics={f"{name}_accuracy": contrast.accuracy for name, (_, contrast) in contrasts.items()}
        | {f"{name}_entropy": contrast.entropy for name, (_, contrast) in contrasts.items()},
    )


@dataclass(frozen=True)
class Objective:
    """The two sums of Algorithm 1, with the official temperatures (tau, and the word score's rho_1, rho_2).

    Where several processes hold equal parts of a batch, ``gather`` joins their rows, with a gradient: then a
    contrastive loss, the same in every process, is that of the whole batch. What is gathered is small: features,
    words (which have no gradient) and rows of scores. The regions, the largest of all, stay where they are: each
    process scores its own images against every sentence. The hinge, a mean, is left to the mean of the gradients.
    """

    weights: LossWeights = LossWeights()
    adversarial: Literal["hinge", "relativistic"] = "hinge"
    image_encoder_loss: Literal["contrastive", "l2"] = "contrastive"
    temperature: float = 0.1
    word_temperature: float = 1 / 50
    rho_1: float = 5.0
    rho_2: float = 5.0
    diversity_distance: float = 0.08
    gather: Callable[[Tensor], Tensor] = local_rows

    @classmethod
    def from_config(cls, config: LossConfig, *, gather: Callable[[Tensor], Tensor] = local_rows) -> "Objective":
        """The objective of a configuration's ``losses`` section; ``gather`` is for global negatives."""
        return cls(
            weights=LossWeights.from_config(config),
            adversarial=config.adversarial,
            image_encoder_loss=config.image_encoder_loss,
            temperature=config.temperature,
            word_temperature=config.word_temperature,
            rho_1=config.rho_1,
            rho_2=config.rho_2,
            diversity_distance=config.diversity_distance,
            gather=gather if config.negatives == "global" else local_rows,
        )

    def discriminator(
        self,
        real: DiscriminatorOutput,
        fake: DiscriminatorOutput,
        text: TextEmbedding,
        traces_BTR: Tensor | None = None,
    ) -> Terms:
        """L_D + lambda_1 L_sent(real) + lambda_2 L_word(real): the contrastive heads learn from real images only.

        With a trace weight the words of real images are also taught to look where they were pointed at.
        """
        learnt = terms(
            {f"d_{self.adversarial}": self.adversarial_loss(real, fake)}, self.text_contrasts("real", real, text)
        )
        if self.weights.trace and traces_BTR is not None:
            divergence = trace_divergence(
                real.region_features_BRD, text.words_BTD, traces_BTR, rho_1=self.rho_1, gather=self.gather
            )
            learnt.losses["real_trace"], learnt.weights["real_trace"] = divergence, self.weights.trace
        return learnt

    def adversarial_loss(self, real: DiscriminatorOutput, fake: DiscriminatorOutput) -> Tensor:
        """The discriminator's adversarial loss, with mismatched captions among the negatives if there are some."""
        logits = float32_or_wider(real.logits_B), float32_or_wider(fake.logits_B)
        mismatched = None if real.mismatched_logits_B is None else float32_or_wider(real.mismatched_logits_B)
        if self.adversarial == "relativistic":
            return relativistic_discriminator(*logits, mismatched, self.weights.mismatched)
        if mismatched is None:
            return hinge_discriminator(*logits)
        return matching_aware_hinge_discriminator(*logits, mismatched, self.weights.mismatched)

    def generator(
        self,
        real: DiscriminatorOutput,
        fake: DiscriminatorOutput,
        text: TextEmbedding,
        encoded: tuple[Tensor, Tensor] | None = None,
        distances_B: Tensor | None = None,
    ) -> Terms:
        """L_G + lambda_1 L_sent(fake) + lambda_2 L_word(fake) + lambda_3 L_img(real, fake), by D and by an encoder.

        Args:
            encoded: the frozen image encoder's features of the real and of the generated images.
            distances_B: of pairs of images with one caption each (``pooled_distance``), for the diversity term.
        """
        contrasts = self.text_contrasts("fake", fake, text)
        if self.weights.image_discriminator:
            contrast = self.nt_xent(real.image_features_BF, fake.image_features_BF)
            contrasts["image_discriminator"] = (self.weights.image_discriminator, contrast)
        contrastive = self.image_encoder_loss == "contrastive"
        if self.weights.image_encoder and encoded is not None and contrastive:
            contrasts["image_encoder"] = (self.weights.image_encoder, self.nt_xent(*encoded))
        fake_logits = float32_or_wider(fake.logits_B)
        adversarial = (
            hinge_generator(fake_logits)
            if self.adversarial == "hinge"
            else relativistic_generator(float32_or_wider(real.logits_B), fake_logits)
        )
        minimised = terms({f"g_{self.adversarial}": adversarial}, contrasts)
        if self.weights.image_encoder and encoded is not None and not contrastive:
            minimised.losses["image_encoder_l2"] = perceptual_l2(*encoded)
            minimised.weights["image_encoder_l2"] = self.weights.image_encoder
        if self.weights.diversity and distances_B is not None:
            minimised.losses["diversity"] = diversity_hinge(distances_B, self.diversity_distance)
            minimised.weights["diversity"] = self.weights.diversity
            minimised.statistics["distance"] = distances_B.mean()
        return minimised

    def text_contrasts(
        self, whose: str, output: DiscriminatorOutput, text: TextEmbedding
    ) -> dict[str, tuple[float, ContrastiveLoss]]:
        """Image-sentence and region-word, each where its weight is not 0."""
        contrasts = {}
        if self.weights.sentence:
            contrast = self.nt_xent(output.image_features_BF, output.sentence_features_BF)
            contrasts[f"{whose}_sentence"] = (self.weights.sentence, contrast)
        if self.weights.word:
            scores_BB = region_word_scores(
                output.region_features_BRD,
                self.gather(text.words_BTD),
                self.gather(text.mask_BT),
                rho_1=self.rho_1,
                rho_2=self.rho_2,
                temperature=self.word_temperature,
            )
            contrasts[f"{whose}_word"] = (self.weights.word, symmetric_cross_entropy(self.gather(scores_BB)))
        return contrasts

    def nt_xent(self, a_BF: Tensor, b_BF: Tensor) -> ContrastiveLoss:
        """``nt_xent`` of all rows."""
        return nt_xent(self.gather(a_BF), self.gather(b_BF), self.temperature)
