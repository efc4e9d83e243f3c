"""Words to regions, in the generator: which words each region of the image is about."""

import torch
from torch import Tensor
from torch.nn import functional as F

from xmcgan.ops.unit_vectors import unit_rows


def attend_to_words(regions_BRD: Tensor, words_BTD: Tensor, mask_BT: Tensor, rho_0: float) -> tuple[Tensor, Tensor]:
    """How much each region is about each word (attentional self-modulation), and the words it mixes.

    The word-context vector of region j is c_j = sum_i softmax_i(rho_0 cos(e_i, h_j)) e_i, over real words i only:
    attention @ words. It is never formed, as only linear functions of it are used. The words mixed are normalised,
    as the official implementation does and the paper does not say.

    Returns:
        attention_BRT (rows sum to 1; padding is exactly 0), and the unit words_BTD.
    """
    # Of a softmax of 15 cosines, half precision would leave little.
    with torch.autocast(regions_BRD.device.type, enabled=False):
        words_BTD = unit_rows(words_BTD)
        logits_BRT = rho_0 * (unit_rows(regions_BRD) @ words_BTD.mT)
        attention_BRT = F.softmax(logits_BRT.masked_fill(~mask_BT[:, None, :], -torch.inf), dim=-1)
        return attention_BRT, words_BTD
