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
    mean_loss,
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
    """The terms of one network's objective: unweighted losses, their weights, and statistics to log."""

    losses: dict[str, Tensor]
    weights: dict[str, float]
    statistics: dict[str, Tensor]

    @property
    def total(self) -> Tensor:
        """The weighted sum to minimise."""
        return torch.stack([self.weights[name] * loss for name, loss in self.losses.items()]).sum()


def build_terms(adversarial: dict[str, Tensor], contrastive: dict[str, tuple[float, ContrastiveLoss]]) -> Terms:
    """One adversarial loss with weight 1, and contrastive losses with their lambdas."""
    return Terms(
        losses=adversarial | {name: term.loss for name, (_, term) in contrastive.items()},
        weights=dict.fromkeys(adversarial, 1.0) | {name: weight for name, (weight, _) in contrastive.items()},
        statistics={f"{name}_accuracy": term.accuracy for name, (_, term) in contrastive.items()}
        | {f"{name}_entropy": term.entropy for name, (_, term) in contrastive.items()},
    )


@dataclass(frozen=True)
class Objective:
    """The two sums of Algorithm 1, with the official temperature tau and the word score's rho_1 and rho_2.

    With several processes, ``gather`` collects the rows of all of them, differentiably, so that the contrastive losses
    take their negatives from the whole batch. It collects features, words (which have no gradient) and rows of scores,
    but not the regions, which are large: each process scores its own images against every caption. The adversarial
    loss is a mean over images, so averaging the gradients is enough.
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

        With a trace weight, the word-region attention of real images is also trained to match the mouse traces.
        """
        result = build_terms(
            {f"d_{self.adversarial}": self.adversarial_loss(real, fake)}, self.text_losses("real", real, text)
        )
        if self.weights.trace and traces_BTR is not None:
            divergences = [
                trace_divergence(features.regions_BRD, text.words_BTD, traces_BTR, rho_1=self.rho_1, gather=self.gather)
                for features in real.features
            ]
            result.losses["real_trace"] = torch.stack(divergences).mean()
            result.weights["real_trace"] = self.weights.trace
        return result

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
        """L_G + lambda_1 L_sent(fake) + lambda_2 L_word(fake) + lambda_3 L_img(real, fake).

        L_img is computed with the discriminator's features and with a frozen image encoder's.

        Args:
            encoded: the frozen image encoder's features of the real and of the generated images.
            distances_B: distances between two images of one caption (``pooled_distance``), for the diversity term.
        """
        contrastive = self.text_losses("fake", fake, text)
        if self.weights.image_discriminator:
            pairs = zip(real.features, fake.features, strict=True)
            loss = mean_loss([self.gathered_nt_xent(one.images_BF, other.images_BF) for one, other in pairs])
            contrastive["image_discriminator"] = (self.weights.image_discriminator, loss)
        l2 = self.image_encoder_loss == "l2"
        if self.weights.image_encoder and encoded is not None and not l2:
            contrastive["image_encoder"] = (self.weights.image_encoder, self.gathered_nt_xent(*encoded))
        fake_logits = float32_or_wider(fake.logits_B)
        adversarial = (
            hinge_generator(fake_logits)
            if self.adversarial == "hinge"
            else relativistic_generator(float32_or_wider(real.logits_B), fake_logits)
        )
        result = build_terms({f"g_{self.adversarial}": adversarial}, contrastive)
        if self.weights.image_encoder and encoded is not None and l2:
            result.losses["image_encoder_l2"] = perceptual_l2(*encoded)
            result.weights["image_encoder_l2"] = self.weights.image_encoder
        if self.weights.diversity and distances_B is not None:
            result.losses["diversity"] = diversity_hinge(distances_B, self.diversity_distance)
            result.weights["diversity"] = self.weights.diversity
            result.statistics["distance"] = distances_B.mean()
        return result

    def text_losses(
        self, prefix: str, output: DiscriminatorOutput, text: TextEmbedding
    ) -> dict[str, tuple[float, ContrastiveLoss]]:
        """The image-sentence and region-word losses whose weight is not 0: means over the discriminator's networks."""
        losses = {}
        if self.weights.sentence:
            loss = mean_loss([self.gathered_nt_xent(each.images_BF, each.sentences_BF) for each in output.features])
            losses[f"{prefix}_sentence"] = (self.weights.sentence, loss)
        if self.weights.word:
            words_BTD, mask_BT = self.gather(text.words_BTD), self.gather(text.mask_BT)
            loss = mean_loss([self.word_loss(each.regions_BRD, words_BTD, mask_BT) for each in output.features])
            losses[f"{prefix}_word"] = (self.weights.word, loss)
        return losses

    def word_loss(self, regions_BRD: Tensor, words_BTD: Tensor, mask_BT: Tensor) -> ContrastiveLoss:
        """The region-word loss of one network's regions with the words of all processes."""
        scores_BB = region_word_scores(
            regions_BRD,
            words_BTD,
            mask_BT,
            rho_1=self.rho_1,
            rho_2=self.rho_2,
            temperature=self.word_temperature,
        )
        return symmetric_cross_entropy(self.gather(scores_BB))

    def gathered_nt_xent(self, a_BF: Tensor, b_BF: Tensor) -> ContrastiveLoss:
        """``nt_xent`` of the rows of all processes."""
        return nt_xent(self.gather(a_BF), self.gather(b_BF), self.temperature)
