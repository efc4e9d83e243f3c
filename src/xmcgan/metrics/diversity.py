"""How different are the images of one caption?"""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from xmcgan.metrics.estimate import Estimate
from xmcgan.ops.unit_vectors import unit_rows


def diversity(features_NF: Tensor, groups: Sequence[Hashable]) -> Estimate:
    """Mean cosine distance between images of one group, averaged over the groups that have two images or more.

    A group holds the images of one caption: several seeds of a generator, or real images with equal captions. 0 means
    that all images of a caption have the same features.

    Args:
        features_NF: features of images; they need not be normalised.
        groups: the group of each image.

    Returns:
        the mean over groups, between 0 and 2, and its standard error.

    Raises:
        ValueError: if shapes differ, a feature is not finite or 0, or no group has two images.
    """
    if features_NF.ndim != 2 or len(features_NF) != len(groups):
        raise ValueError(
            f"features have shape {tuple(features_NF.shape)} and there are {len(groups)} groups; "
            "give features (N, F) and N groups"
        )
    if not features_NF.isfinite().all():
        raise ValueError("features contain NaN or infinity")
    members: dict[Hashable, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    rows_NF = unit_rows(features_NF.double())
    distances = []
    for places in members.values():
        if len(places) > 1:
            cosines = rows_NF[places] @ rows_NF[places].T
            distances.append(float(1 - (cosines.sum() - cosines.trace()) / (len(places) * (len(places) - 1))))
    if not distances:
        raise ValueError("no group has two images; give several images of each caption")
    found = torch.tensor(distances, dtype=torch.float64)
    error = float(found.std(unbiased=True)) / len(found) ** 0.5 if len(found) > 1 else 0.0
    return Estimate(float(found.mean()), error)
