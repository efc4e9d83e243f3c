"""The gradient penalties of a discriminator step: which are due, computed in float32, as terms of its objective.

A penalty is one value per example, so micro-batches and ranks treat it like any feature: gradient caching passes its
gradient on as it does for the logits. It costs a second forward pass of the images and a backward pass through the
backward pass.
"""

import torch
from torch import Tensor

from xmcgan.losses.objective import Terms
from xmcgan.losses.penalties import gradient_penalty, matching_aware_penalty
from xmcgan.runtime.precision import float32_or_wider, no_half_precision
from xmcgan.training.state import TrainingState
from xmcgan.types import TextEmbedding


def due(state: TrainingState) -> bool:
    """Whether this training step computes the penalties: the first one, and every ``penalties.every``-th after it."""
    return bool(state.penalties.active) and state.ema.updates % state.penalties.every == 0


def penalty_columns(
    state: TrainingState, weights: dict[str, Tensor], real_B3HW: Tensor, fake_B3HW: Tensor, text: TextEmbedding
) -> Tensor | None:
    """Each penalty that has a weight, in the order of ``penalties.active``: (B, K); None if none is due.

    Args:
        weights: the discriminator's normalised weights, from this step's power iteration.
        real_B3HW: as the discriminator sees them, after augmentation; the generated images too.
    """
    if not due(state):
        return None

    def logit(images_B3HW: Tensor, sentence_BD: Tensor) -> Tensor:
        return state.discriminator.discriminate(images_B3HW, text._replace(sentence_BD=sentence_BD), weights).logits_B

    real_B3HW, fake_B3HW = float32_or_wider(real_B3HW), float32_or_wider(fake_B3HW)
    columns = []
    with no_half_precision(real_B3HW.device):
        for name in state.penalties.active:
            penalty = matching_aware_penalty if name == "matching_aware" else gradient_penalty
            columns.append(penalty(logit, fake_B3HW if name == "r2" else real_B3HW, text.sentence_BD))
    return torch.stack(columns, 1)


def with_penalties(terms: Terms, penalties_BK: Tensor | None, state: TrainingState) -> Terms:
    """The discriminator's terms with the penalties that were due.

    A penalty that is computed every k steps then counts k times, in its value and in the sum, so its mean in the log is
    right if the log's interval is a multiple of k.
    """
    if penalties_BK is None:
        return terms
    for (name, weight), column_B in zip(state.penalties.active.items(), penalties_BK.unbind(1), strict=True):
        terms.losses[f"d_{name}"] = state.penalties.every * column_B.mean()
        terms.weights[f"d_{name}"] = weight
    return terms
