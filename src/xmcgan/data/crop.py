"""Crops boxes and mouse traces to the middle square of an image."""

from xmcgan.data.records import Box, Narrative, Record, TracePoint

MIN_VISIBLE = 0.25
"""A box is dropped if less than this share of its area lies in the square: the object is hardly visible."""


def middle_square(width: int, height: int) -> tuple[int, int, int]:
    """Left, top and side, in pixels, of the largest centred square of an image."""
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side


def crop_record(record: Record, width: int, height: int) -> Record:
    """The record with boxes and narrative relative to the middle square; the image itself is not cropped.

    Args:
        width, height: the image's size, in pixels.
    """
    boxes = (crop_box(box, width, height) for box in record.boxes)
    narrative = record.narrative
    return record._replace(
        boxes=tuple(box for box in boxes if box is not None),
        narrative=narrative and crop_narrative(narrative, width, height),
    )


def crop_box(box: Box, width: int, height: int) -> Box | None:
    """The part of a box inside the middle square, relative to its side; None if less than `MIN_VISIBLE` remains."""
    left, top, side = middle_square(width, height)
    x, across, x_share = _overlap(box.left * width, box.width * width, left, side)
    y, down, y_share = _overlap(box.top * height, box.height * height, top, side)
    if x_share * y_share < MIN_VISIBLE:
        return None
    return Box(box.category, x, y, across, down)


def _overlap(start: float, length: float, square_start: float, side: float) -> tuple[float, float, float]:
    """Start and length, relative to the side, of an interval's overlap with the square; and the share that overlaps."""
    first, last = max(start, square_start), min(start + length, square_start + side)
    if last < first:
        return 0.0, 0.0, 0.0
    # COCO has boxes of zero width or height, which are inside or outside as a whole.
    share = (last - first) / length if length else 1.0
    return (first - square_start) / side, (last - first) / side, share


def crop_narrative(narrative: Narrative, width: int, height: int) -> Narrative:
    """The narrative with its trace relative to the middle square; points beside it are outside [0, 1]."""
    left, top, side = middle_square(width, height)
    strokes = tuple(
        tuple(TracePoint((point.x * width - left) / side, (point.y * height - top) / side, point.t) for point in stroke)
        for stroke in narrative.strokes
    )
    return narrative._replace(strokes=strokes)
