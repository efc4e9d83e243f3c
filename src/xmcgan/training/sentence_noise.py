"""Noise on the sentence that the generator sees in training.

The generator learns to draw a picture of the caption for a whole neighbourhood of its embedding. The perturbation is
LAFITE's (Zhou et al. 2021, arXiv:2111.13792, section 3.1), without its final normalisation, because our embeddings
differ in length. The discriminator sees the sentence as it is.
"""

import torch
from torch import Tensor

from xmcgan.types import Batch, TextEmbedding


def perturb(sentence_BD: Tensor, noise_BD: Tensor, share: float) -> Tensor:
    """s + share |s| n / |n|: every sentence moved by the same share of its length, in the direction of its noise."""
    lengths_B1, noise_lengths_B1 = (torch.linalg.vector_norm(x, dim=1, keepdim=True) for x in (sentence_BD, noise_BD))
    return sentence_BD + share * lengths_B1 * noise_BD / noise_lengths_B1


def text_for_generator(batch: Batch, share: float) -> TextEmbedding:
    """The batch's text; with noise on the sentence if the batch has some."""
    if batch.sentence_noise_BD is None:
        return batch.text
    sentence_BD = perturb(batch.text.sentence_BD, batch.sentence_noise_BD.to(batch.text.sentence_BD.dtype), share)
    return batch.text._replace(sentence_BD=sentence_BD)
