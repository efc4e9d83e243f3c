"""The discriminator on frozen features: Projected GAN (Sauer et al. 2021, arXiv:2111.01007) with contrastive heads.

A frozen network trained on ImageNet computes feature maps at four scales. Fixed random projections mix the scales, so
no head can rely on the few features that easily separate real from generated images. A small head on each mixed scale
computes a logit at every position, from the features and the sentence (projection discriminator). The contrastive
losses are the paper's, on the same features.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from xmcgan.model.spectral_norm import SpectralNorms
from xmcgan.ops.memory import to_memory_format
from xmcgan.runtime.precision import float32_or_wider
from xmcgan.types import REGION_GRID, ContrastiveFeatures, DiscriminatorOutput, TextEmbedding


class MapEncoder(Protocol):
    """A frozen module: images in [-1, 1] -> maps at strides 4, 8, 16 and 32, with ``scale_channels`` channels."""

    scale_channels: tuple[int, ...]

    def __call__(self, images_B3HW: Tensor, /) -> list[Tensor]: ...

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any: ...


class RandomMix(nn.Module):
    """Mixes each feature map with all coarser ones: maps, fine to coarse -> maps with ``out_channels`` channels.

    1 x 1 convolutions mix channels, then 3 x 3 convolutions mix scales from coarse to fine. All kernels are
    Kaiming-normal and never trained. They are buffers: saved in checkpoints, invisible to optimizers.
    """

    def __init__(self, in_channels: tuple[int, ...], out_channels: tuple[int, ...]):
        super().__init__()
        self.scales = len(in_channels)
        for scale, (inside, outside) in enumerate(zip(in_channels, out_channels, strict=True)):
            self.register_buffer(f"channels{scale}", kaiming_normal(outside, inside, 1))
            if scale + 1 < self.scales:
                self.register_buffer(f"scales{scale}", kaiming_normal(outside, out_channels[scale + 1], 3))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        mixed = [F.conv2d(x, self.get_buffer(f"channels{scale}")) for scale, x in enumerate(maps)]
        for scale in reversed(range(self.scales - 1)):
            coarse = resize(mixed[scale + 1], mixed[scale].shape[-1])
            coarse = F.conv2d(coarse, self.get_buffer(f"scales{scale}"), padding=1)
            mixed[scale] = (mixed[scale] + coarse) * 0.5**0.5
        return mixed


def kaiming_normal(out_channels: int, in_channels: int, side: int) -> Tensor:
    """A kernel that keeps the variance of its input."""
    return nn.init.kaiming_normal_(torch.empty(out_channels, in_channels, side, side), nonlinearity="linear")


class ScaleHead(nn.Module):
    """Two 3 x 3 convolutions on one scale's map, (B, C, S, S) -> (B, C', S, S), and a logit at every position."""

    def __init__(self, in_channels: int, channels: int, text_dim: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.unconditional = nn.Conv2d(channels, 1, 1)
        self.sentence_projection = nn.Linear(text_dim, channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(x), 0.2)), 0.2)

    def logits(self, x: Tensor, sentence_BD: Tensor) -> Tensor:
        """The projection discriminator's logit at every position: (B, S, S)."""
        sentence = self.sentence_projection(sentence_BD)[..., None, None]
        return self.unconditional(x).squeeze(1) + (x * sentence).sum(1) / x.shape[1] ** 0.5


class FrozenFeatureNetwork(nn.Module):
    """The trained layers, without spectral normalisation (``FrozenFeatureDiscriminator`` adds it)."""

    def __init__(self, *, in_channels: tuple[int, ...], channels: int, feature_dim: int | None, text_dim: int):
        super().__init__()
        mixed = tuple(channels * factor for factor in (1, 1, 2, 4))
        self.channels_last = True
        self.mix = RandomMix(in_channels, mixed)
        self.heads = nn.ModuleList([ScaleHead(inside, channels, text_dim) for inside in mixed])
        self.contrastive = feature_dim is not None
        if feature_dim is not None:
            self.region_projection = nn.Conv2d(2 * channels, text_dim, 1)
            self.image_projection = nn.Linear(len(mixed) * channels, feature_dim)
            self.sentence_projection = nn.Linear(text_dim, feature_dim)

    def forward(self, maps: list[Tensor], text: TextEmbedding, mismatched_BD: Tensor | None) -> DiscriminatorOutput:
        maps = [head(x) for head, x in zip(self.heads, self.mix(maps), strict=True)]
        logits = self.logits(maps, text.sentence_BD)
        mismatched = None if mismatched_BD is None else self.logits(maps, mismatched_BD)
        features = (self.contrastive_features(maps, text),) if self.contrastive else ()
        return DiscriminatorOutput(logits, features, mismatched)

    def contrastive_features(self, maps: list[Tensor], text: TextEmbedding) -> ContrastiveFeatures:
        """The image from all scales, the regions from the two finest."""
        fine, coarse = (resize(x, REGION_GRID) for x in maps[:2])
        regions = self.region_projection(torch.cat([fine, coarse], 1))
        pooled = torch.cat([x.mean((2, 3)) for x in maps], 1)
        return ContrastiveFeatures(
            float32_or_wider(self.image_projection(pooled)),
            float32_or_wider(self.sentence_projection(text.sentence_BD)),
            float32_or_wider(regions.flatten(2).mT),
        )

    def logits(self, maps: list[Tensor], sentence_BD: Tensor) -> Tensor:
        """The logits of all positions at all scales, (B, P). Coarse ones are repeated, so all scales weigh the same."""
        every = []
        for head, x in zip(self.heads, maps, strict=True):
            assert isinstance(head, ScaleHead)
            repeats = maps[0].shape[-1] // x.shape[-1]
            logits = head.logits(x, sentence_BD)
            every.append(logits.repeat_interleave(repeats, 1).repeat_interleave(repeats, 2))
        return float32_or_wider(torch.stack(every, 1).flatten(1))


class FrozenFeatureDiscriminator(nn.Module):
    """(images_B3HW in [-1, 1], text) -> logits of all positions, (B, P), and the features for the contrastive losses.

    Args:
        encoder: the frozen network.
        text_dim: width of the word and sentence embeddings, and of the region features.
        channels: width of each head.
        upsampling: factor by which images are enlarged before the encoder.
        feature_dim: width of the image and sentence features; None leaves the contrastive heads out, and then the
            output has no features.
    """

    def __init__(
        self,
        encoder: MapEncoder,
        *,
        text_dim: int,
        channels: int = 64,
        upsampling: int = 1,
        feature_dim: int | None = 256,
    ):
        super().__init__()
        # In a list, to keep its weights out of optimizers and checkpoints.
        self.frozen, self.upsampling = [encoder], upsampling
        self.network = FrozenFeatureNetwork(
            in_channels=encoder.scale_channels, channels=channels, feature_dim=feature_dim, text_dim=text_dim
        )
        heads = {name: weight for name, weight in self.network.named_parameters() if name.startswith("heads.")}
        self.spectral_norms = SpectralNorms(heads)

    def _apply(self, fn, recurse=True):
        self.frozen[0]._apply(fn, recurse)
        return super()._apply(fn, recurse)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The layers, without spectral normalisation."""
        return (self.network,)

    def normalised_weights(self) -> dict[str, Tensor]:
        """The heads' weights over their spectral norms; in training mode, advances each power iteration by one step."""
        return self.spectral_norms(self.network)

    def forward(self, images_B3HW: Tensor, text: TextEmbedding) -> DiscriminatorOutput:
        return self.discriminate(images_B3HW, text, self.normalised_weights())

    def discriminate(
        self,
        images_B3HW: Tensor,
        text: TextEmbedding,
        weights: dict[str, Tensor],
        mismatched_BD: Tensor | None = None,
    ) -> DiscriminatorOutput:
        """The output for images.

        Args:
            weights: from ``normalised_weights``; real and generated images of a step share one power iteration.
            mismatched_BD: sentences of other captions, for ``mismatched_logits_B``.
        """
        x = resize(images_B3HW, images_B3HW.shape[-1] * self.upsampling)
        maps = self.frozen[0](to_memory_format(x, channels_last=self.network.channels_last))
        return functional_call(self.network, weights, (maps, text, mismatched_BD))


def resize(x: Tensor, side: int) -> Tensor:
    """Resizes a map bilinearly to side x side; returns it unchanged if it has that size."""
    return x if x.shape[-1] == side else F.interpolate(x, size=(side, side), mode="bilinear")
