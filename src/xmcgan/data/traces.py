"""Mouse traces as supervision: where in the image a narrator pointed while saying a word.

Localized Narratives (Pont-Tuset et al., ECCV 2020) have a mouse trace synchronised with the spoken words. The XMC-GAN
paper leaves its use to future work; ``losses.trace_divergence`` uses it here.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xmcgan.data.records import Narrative, one_line
from xmcgan.types import REGION_GRID

SLACK = 0.2
"""Seconds before and after an utterance in which points still count: hand and speech are not synchronous."""

BLUR = 1.0
"""Standard deviation, in regions, of the Gaussian around each point: people circle objects, they do not fill them."""


MARGIN = 1 / REGION_GRID
"""How far outside the image, relative to its side, a point still counts (as one at the edge): one region. Farther out
the mouse rests, or points at what ``crop`` removed."""


class TraceMaps(NamedTuple):
    """The U utterances of a caption (possibly 0) with a trace."""

    spans_U2: np.ndarray  # int: character range in the caption, [start, end)
    maps_UR: np.ndarray  # float32: distribution over the 16 x 16 regions, in row-major order


def trace_maps(caption: str, narrative: Narrative, *, flip: bool = False) -> TraceMaps:
    """Where each utterance of a narrative points, as distributions over the regions of the square image.

    An utterance gets no map if it is missing from the caption (in this order), or if the mouse was outside the image.
    Times are rounded to float32, as in shards, so that a point at the very end of an utterance is treated the same in
    source and prepared data.

    Args:
        caption: the narrative's caption, with single spaces.
        flip: whether the image is mirrored.
    """
    points = np.array([point for stroke in narrative.strokes for point in stroke], dtype=np.float32)
    points_N3 = points.reshape(-1, 3).astype(np.float64)
    points_N3 = points_N3[np.all(np.abs(points_N3[:, :2] - 0.5) <= 0.5 + MARGIN, axis=1)]
    times = points_N3[:, 2]
    spans, maps, position = [], [], 0
    for utterance in narrative.utterances:
        words = one_line(utterance.words)
        start = caption.find(words, position)
        if start < 0 or not words:
            continue
        position = start + len(words)
        begin, end = (float(np.float32(moment)) for moment in (utterance.start, utterance.end))
        during = (times >= begin - SLACK) & (times <= end + SLACK)
        if during.any():
            spans.append((start, position))
            maps.append(region_map(points_N3[during], flip))
    regions = REGION_GRID * REGION_GRID
    return TraceMaps(
        np.array(spans, dtype=np.int64).reshape(-1, 2), np.array(maps, dtype=np.float32).reshape(-1, regions)
    )


def region_map(points_N3: np.ndarray, flip: bool) -> np.ndarray:
    """The mean of Gaussians around the points: a distribution over regions (R,). Outside points count at the edge."""
    centres = (np.arange(REGION_GRID) + 0.5) / REGION_GRID
    x, y = np.clip(points_N3[:, :2], 0, 1).T
    x = 1 - x if flip else x
    width = BLUR / REGION_GRID
    across, down = (np.exp(-0.5 * ((centres - place[:, None]) / width) ** 2) for place in (x, y))
    spots = down[:, :, None] * across[:, None, :]
    spots /= spots.sum((1, 2), keepdims=True)
    return spots.mean(0).ravel()


def word_targets(maps: Sequence[TraceMaps | None], spans_BT2: np.ndarray) -> np.ndarray:
    """The distribution over regions that each word should attend to: (B, T, R) float32; zero for words without a trace.

    Args:
        maps: trace maps of B captions; None for captions without a trace.
        spans_BT2: character range of each word piece, [0, 0) for special tokens and padding.
    """
    if not any(traced is not None and len(traced.spans_U2) for traced in maps):
        warnings.warn("no word of this batch has a usable trace point: its trace loss is 0", stacklevel=2)
    targets_BTR = np.zeros((*spans_BT2.shape[:2], REGION_GRID * REGION_GRID), dtype=np.float32)
    for targets_TR, spans_T2, traced in zip(targets_BTR, spans_BT2, maps, strict=True):
        if traced is None or not len(traced.spans_U2):
            continue
        starts = np.maximum(spans_T2[:, None, 0], traced.spans_U2[None, :, 0])
        ends = np.minimum(spans_T2[:, None, 1], traced.spans_U2[None, :, 1])
        overlap_TU = np.clip(ends - starts, 0, None).astype(np.float32)
        total_T1 = overlap_TU.sum(1, keepdims=True)
        targets_TR[:] = np.divide(overlap_TU, total_T1, out=overlap_TU, where=total_T1 > 0) @ traced.maps_UR
    return targets_BTR
