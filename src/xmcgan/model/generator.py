"""The generator with attentional self-modulation: noise and text to an image."""

from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmcgan.model.attention import attend_to_words
from xmcgan.model.blocks import UpBlock, glorot_normal
from xmcgan.model.modulation import AttentionalSelfModulation, SelfModulation, SpatialCondition, Upsampling
from xmcgan.ops.memory import checkpointed, to_memory_format
from xmcgan.types import REGION_GRID, GeneratorOutput, TextEmbedding

Stem = Literal["condition", "noise"]
ModulationKind = Literal["attentional", "plain"]

CHANNEL_MULTIPLIERS = {64: (16, 8, 4, 2), 128: (16, 8, 4, 2, 1), 256: (16, 8, 8, 4, 2, 1)}
"""Widths of the up-blocks, in units of the base width. 128 and 256 are the official ones; 64 follows their pattern."""


class Generator(nn.Module):
    """(noise_BZ, text) -> images_B3HW in [-1, 1], and each region's attention over the words.

    Two attributes may be set after construction. With ``checkpoint_activations``, blocks keep only their inputs for the
    backward pass (``ops.memory.checkpointed``). With ``channels_last``, the default, feature maps are in the
    channels-last memory format; ``to(memory_format=...)`` sets the weights' format.

    Args:
        image_size: 64, 128 or 256 pixels.
        width: base width; the paper's best model has 96, its ablations 64.
        noise_dim: dimensions of the noise z, and of the projected sentence.
        text_dim: width of the word and sentence embeddings.
        stem: input of the first layer: the global condition (paper) or the noise alone (official implementation).
        modulation: ``attentional`` from 16 x 16 on, or ``plain`` self-modulation throughout (paper, Table 5).
        modulation_upsampling: how the 16 x 16 scale and shift are enlarged: ``nearest`` (official) or ``bilinear``.
        rho_0: sharpness of the attention over words; 15 in the official implementation.
    """

    def __init__(
        self,
        *,
        image_size: int,
        width: int,
        text_dim: int,
        noise_dim: int = 128,
        stem: Stem = "condition",
        modulation: ModulationKind = "attentional",
        modulation_upsampling: Upsampling = "nearest",
        rho_0: float = 15.0,
    ):
        super().__init__()
        if image_size not in CHANNEL_MULTIPLIERS:
            raise ValueError(f"image_size is {image_size}; it can be {', '.join(map(str, CHANNEL_MULTIPLIERS))}")
        if stem not in get_args(Stem):
            raise ValueError(f"stem is {stem!r}; it can be {', '.join(get_args(Stem))}")
        if modulation not in get_args(ModulationKind):
            raise ValueError(f"modulation is {modulation!r}; it can be {', '.join(get_args(ModulationKind))}")
        if modulation_upsampling not in get_args(Upsampling):
            raise ValueError(
                f"modulation_upsampling is {modulation_upsampling!r}; it can be {', '.join(get_args(Upsampling))}"
            )
        attentional = partial(AttentionalSelfModulation, upsampling=modulation_upsampling)
        self.image_size, self.noise_dim, self.stem_sees, self.rho_0 = image_size, noise_dim, stem, rho_0
        self.checkpoint_activations, self.channels_last = False, True
        multipliers = CHANNEL_MULTIPLIERS[image_size]
        global_dim = 2 * noise_dim

        self.sentence_projection = nn.Linear(text_dim, noise_dim)
        self.stem = nn.Linear(global_dim if stem == "condition" else noise_dim, multipliers[0] * width * 4 * 4)

        channels, side = multipliers[0] * width, 4
        self.global_blocks, self.attentional_blocks = nn.ModuleList(), nn.ModuleList()
        self.region_projection: nn.Conv2d | None = None
        for out_channels in (m * width for m in multipliers):
            if modulation == "attentional" and side >= REGION_GRID:
                if self.region_projection is None:
                    self.region_projection = nn.Conv2d(channels, text_dim, 1)
                block = UpBlock(channels, out_channels, text_dim + global_dim, attentional)
                self.attentional_blocks.append(block)
            else:
                self.global_blocks.append(UpBlock(channels, out_channels, global_dim, SelfModulation))
            channels, side = out_channels, side * 2
        self.norm = (
            attentional(channels, text_dim + global_dim)
            if modulation == "attentional"
            else SelfModulation(channels, global_dim)
        )
        self.to_rgb = nn.Conv2d(channels, 3, 3, padding=1)
        self.apply(glorot_normal)

    def forward(self, noise_BZ: Tensor, text: TextEmbedding) -> GeneratorOutput:
        condition_BC = torch.cat([self.sentence_projection(text.sentence_BD), noise_BZ], dim=1)
        stem = self.stem(condition_BC if self.stem_sees == "condition" else noise_BZ)
        x = to_memory_format(stem.unflatten(1, (-1, 4, 4)), channels_last=self.channels_last)
        for block in self.global_blocks:
            x = checkpointed(block, x, condition_BC) if self.checkpoint_activations else block(x, condition_BC)

        condition, attention_BRT = condition_BC, None
        if self.region_projection is not None:
            regions_BRD = self.region_projection(x).flatten(2).mT
            attention_BRT, words_BTD = attend_to_words(regions_BRD, text.words_BTD, text.mask_BT, self.rho_0)
            condition = SpatialCondition(attention_BRT, words_BTD, condition_BC)
        for block in self.attentional_blocks:
            x = checkpointed(block, x, condition) if self.checkpoint_activations else block(x, condition)
        images_B3HW = torch.tanh(self.to_rgb(F.relu(self.norm(x, condition))))
        return GeneratorOutput(images_B3HW, attention_BRT)
