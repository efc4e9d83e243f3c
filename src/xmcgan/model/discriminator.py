"""The contrastive discriminator: one network that judges images and encodes them for the contrastive losses."""

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from xmcgan.model.blocks import DownBlock, OptimizedDownBlock, glorot_normal
from xmcgan.model.spectral_norm import SpectralNorms
from xmcgan.ops.memory import checkpointed, to_memory_format
from xmcgan.runtime.precision import float32_or_wider, no_half_precision
from xmcgan.types import REGION_GRID, ContrastiveFeatures, DiscriminatorOutput, TextEmbedding

CHANNEL_MULTIPLIERS = {64: (2, 4, 8, 16), 128: (2, 4, 8, 16, 16), 256: (2, 4, 8, 8, 16, 16)}
"""Widths of the blocks after the first, in units of the base width; all but the last halve the size."""


class DiscriminatorNetwork(nn.Module):
    """The layers, without spectral normalisation (``Discriminator`` adds it).

    Two attributes may be set after construction. With ``checkpoint_activations``, blocks keep only their inputs for the
    backward pass (``ops.memory.checkpointed``). With ``channels_last``, the default, feature maps are in the
    channels-last memory format; ``to(memory_format=...)`` sets the weights' format.
    """

    def __init__(self, *, image_size: int, width: int, text_dim: int, head_layers: int):
        super().__init__()
        multipliers = CHANNEL_MULTIPLIERS[image_size]
        self.checkpoint_activations, self.channels_last = False, True
        self.stem = OptimizedDownBlock(3, width)
        self.blocks = nn.ModuleList()
        channels, side = width, image_size // 2
        for position, out_channels in enumerate(m * width for m in multipliers):
            if side == REGION_GRID:
                region_channels = channels
            downsample = position < len(multipliers) - 1
            self.blocks.append(DownBlock(channels, out_channels, downsample=downsample))
            channels, side = out_channels, side // 2 if downsample else side
        self.region_projection = nn.Conv2d(region_channels, text_dim, 1)
        self.unconditional = nn.Linear(channels, 1)
        self.sentence_projection = nn.Linear(text_dim, channels)
        self.image_head = projection_head(channels, head_layers)
        self.sentence_head = projection_head(channels, head_layers)
        self.region_head = projection_head(text_dim, head_layers)
        self.apply(glorot_normal)

    def forward(
        self, images_B3HW: Tensor, text: TextEmbedding, mismatched_BD: Tensor | None = None
    ) -> DiscriminatorOutput:
        images_in_01 = (images_B3HW + 1) / 2  # what the official implementation's weights expect
        x = to_memory_format(images_in_01, channels_last=self.channels_last)
        x = checkpointed(self.stem, x) if self.checkpoint_activations else self.stem(x)
        for block in self.blocks:
            if x.shape[-1] == REGION_GRID:
                regions_BRD = self.region_projection(x).flatten(2).mT
            x = checkpointed(block, x) if self.checkpoint_activations else block(x)
        # From here on in float32: what follows is small, and the losses depend on it.
        with no_half_precision(x.device):
            h_BF = float32_or_wider(F.relu(x)).sum((2, 3))
            sentence_BF = self.sentence_projection(text.sentence_BD)
            features = ContrastiveFeatures(
                self.image_head(h_BF),
                self.sentence_head(sentence_BF),
                self.region_head(float32_or_wider(regions_BRD)),
            )
            return DiscriminatorOutput(
                self.logits(h_BF, sentence_BF),
                (features,),
                None if mismatched_BD is None else self.logits(h_BF, self.sentence_projection(mismatched_BD)),
            )

    def logits(self, h_BF: Tensor, sentence_BF: Tensor) -> Tensor:
        """The projection discriminator: how real an image is, and how well it agrees with the sentence."""
        return self.unconditional(h_BF).squeeze(1) + (h_BF * sentence_BF).sum(1)


def projection_head(features: int, layers: int) -> nn.Sequential:
    """The extra layers before a contrastive loss: none is the paper's best (Figure 5)."""
    return nn.Sequential(*(part for _ in range(layers) for part in (nn.ReLU(), nn.Linear(features, features))))


class Discriminator(nn.Module):
    """(images_B3HW in [-1, 1], text) -> logits, and the features that the contrastive losses compare.

    Every layer's weight is divided by its spectral norm, which one power iteration per forward pass estimates.

    Args:
        image_size: 64, 128 or 256 pixels.
        width: base width, defined as in the generator.
        text_dim: width of the word and sentence embeddings, and of the region features compared with them.
        head_layers: extra layers of the contrastive heads, 0 (the paper's best), 1 or 2 (paper, Figure 5).
    """

    def __init__(self, *, image_size: int, width: int, text_dim: int, head_layers: int = 0):
        super().__init__()
        if image_size not in CHANNEL_MULTIPLIERS:
            raise ValueError(f"image_size is {image_size}; it can be {', '.join(map(str, CHANNEL_MULTIPLIERS))}")
        if head_layers not in (0, 1, 2):
            raise ValueError(f"head_layers is {head_layers}; it can be 0, 1 or 2")
        self.image_size = image_size
        self.network = DiscriminatorNetwork(
            image_size=image_size, width=width, text_dim=text_dim, head_layers=head_layers
        )
        self.spectral_norms = SpectralNorms(dict(self.network.named_parameters()))

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The layers, without spectral normalisation."""
        return (self.network,)

    def normalised_weights(self) -> dict[str, Tensor]:
        """Every weight divided by its spectral norm; in training mode this advances the power iterations one step."""
        return self.spectral_norms(self.network)

    def forward(self, images_B3HW: Tensor, text: TextEmbedding) -> DiscriminatorOutput:
        return functional_call(self.network, self.normalised_weights(), (images_B3HW, text))

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
            mismatched_BD: sentence embeddings of other captions, for ``mismatched_logits_B``.
        """
        return functional_call(self.network, weights, (images_B3HW, text, mismatched_BD))
