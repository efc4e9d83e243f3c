"""Attention of image regions over words, for the generator's attentional self-modulation (paper, section 4.2)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from xmcgan.ops.unit_vectors import unit_rows
from xmcgan.runtime.precision import no_half_precision


def attend_to_words(
    regions_BRD: Tensor, words_BTD: Tensor, mask_BT: Tensor, rho_0: float, weights_BT: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The attention of each region over the words, and the unit word embeddings that it averages.

    The word-context vector of region j is c_j = sum_i softmax_i(rho_0 cos(e_i, h_j)) e_i, over real words i only:
    attention_BRT @ words_BTD. The caller needs only linear functions of it, so it is never formed. The paper does not
    say whether the averaged words are normalised; they are here, as in the official implementation.

    Args:
        rho_0: sharpness of the attention.
        weights_BT: a positive factor on each word's attention before normalisation, for mixtures of captions.

    Returns:
        attention_BRT (rows sum to 1; padding is exactly 0), and the unit words_BTD.
    """
    # In float32: half precision has too few digits for a sharp softmax of cosines.
    with no_half_precision(regions_BRD.device):
        words_BTD = unit_rows(words_BTD)
        logits_BRT = rho_0 * (unit_rows(regions_BRD) @ words_BTD.mT)
        if weights_BT is not None:
            logits_BRT = logits_BRT + weights_BT.log()[:, None, :]
        attention_BRT = F.softmax(logits_BRT.masked_fill(~mask_BT[:, None, :], -torch.inf), dim=-1)
        return attention_BRT, words_BTD
