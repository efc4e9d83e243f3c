"""Mouse traces as a signal: where in the picture a narrator pointed while saying a word.

Localized Narratives (Pont-Tuset et al., ECCV 2020) carry a mouse trace on the clock of the spoken words. The paper
names it as future work for XMC-GAN; ``losses.trace_divergence`` is what is made of it here.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xmcgan.data.records import Narrative, one_line
from xmcgan.types import REGION_GRID

SLACK = 0.2
"""Seconds before and after an utterance whose points still count: the hand and the tongue are not in step."""

BLUR = 1.0
"""Standard deviation, in regions, of the spot that a point makes: people circle things, they do not fill them."""


BEYOND = 1 / REGION_GRID
"""How far outside the picture, in parts of its side, a point still counts, at the edge: one region. Farther out the
mouse rests, or points at what ``crop`` cut away."""


class TraceMaps(NamedTuple):
    """The utterances of a caption that were pointed at: U of them, possibly 0."""

    spans_U2: np.ndarray  # int: first and one past last character in the caption
    maps_UR: np.ndarray  # float32: distribution over the 16 x 16 regions, row after row of the picture


def trace_maps(caption: str, narrative: Narrative, *, flip: bool = False) -> TraceMaps:
    """Where each utterance of a narrative points, over the square that the narrative's picture becomes.

    An utterance that the caption does not have in this order, or during which the mouse rested outside, has no map.
    Numbers count as float32, as shards hold them, so that a point at the very end of an utterance is in it or not
    wherever it is read.

    Args:
        caption: the narrative's, with single blanks.
        flip: for a picture that was mirrored.
    """
    points = np.array([point for stroke in narrative.strokes for point in stroke], dtype=np.float32)
    points_N3 = points.reshape(-1, 3).astype(np.float64)
    points_N3 = points_N3[np.all(np.abs(points_N3[:, :2] - 0.5) <= 0.5 + BEYOND, axis=1)]
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
    """A Gaussian spot a point, summed to a distribution over the regions (R,); points outside count at the edge."""
    centres = (np.arange(REGION_GRID) + 0.5) / REGION_GRID
    x, y = np.clip(points_N3[:, :2], 0, 1).T
    x = 1 - x if flip else x
    width = BLUR / REGION_GRID
    across, down = (np.exp(-0.5 * ((centres - place[:, None]) / width) ** 2) for place in (x, y))
    spots = down[:, :, None] * across[:, None, :]
    spots /= spots.sum((1, 2), keepdims=True)
    return spots.mean(0).ravel()


def word_targets(maps: Sequence[TraceMaps | None], spans_BT2: np.ndarray) -> np.ndarray:
    """The distribution over regions that each word should attend to: (B, T, R) float32; zero where nobody pointed.

    Args:
        maps: of B captions; None has no trace.
        spans_BT2: characters of each word piece, [0, 0) for special tokens and padding.
    """
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
