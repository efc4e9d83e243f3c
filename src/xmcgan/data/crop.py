"""The middle square of a picture, and what is said of the whole picture as it is of the square."""

from xmcgan.data.records import Box, Narrative, Record, TracePoint

LEAST_LEFT = 0.25
"""A box of which less than this share is left in the square is dropped: of the object hardly anything is to be seen."""


def middle_square(width: int, height: int) -> tuple[int, int, int]:
    """Left, top and side, in pixels, of the largest square in the middle of a picture."""
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side


def crop_record(record: Record, width: int, height: int) -> Record:
    """A record whose boxes and narrative are of the middle square of its picture, which has this size in pixels.

    Its image is left as it is.
    """
    boxes = (crop_box(box, width, height) for box in record.boxes)
    narrative = record.narrative
    return record._replace(
        boxes=tuple(box for box in boxes if box is not None),
        narrative=narrative and crop_narrative(narrative, width, height),
    )


def crop_box(box: Box, width: int, height: int) -> Box | None:
    """What is left of a box in the middle square, in parts of its side; None if it is less than `LEAST_LEFT` of it."""
    left, top, side = middle_square(width, height)
    x, across, x_share = _overlap(box.left * width, box.width * width, left, side)
    y, down, y_share = _overlap(box.top * height, box.height * height, top, side)
    if x_share * y_share < LEAST_LEFT:
        return None
    return Box(box.category, x, y, across, down)


def _overlap(start: float, length: float, square_start: float, side: float) -> tuple[float, float, float]:
    """Start and length, in parts of the side, of what a stretch shares with the square; and that as a share of it."""
    first, last = max(start, square_start), min(start + length, square_start + side)
    if last < first:
        return 0.0, 0.0, 0.0
    # COCO has boxes of no width or height: they are inside, or they are not.
    share = (last - first) / length if length else 1.0
    return (first - square_start) / side, (last - first) / side, share


def crop_narrative(narrative: Narrative, width: int, height: int) -> Narrative:
    """A narrative whose trace is relative to the middle square; points beside it lie outside [0, 1]."""
    left, top, side = middle_square(width, height)
    strokes = tuple(
        tuple(TracePoint((point.x * width - left) / side, (point.y * height - top) / side, point.t) for point in stroke)
        for stroke in narrative.strokes
    )
    return narrative._replace(strokes=strokes)
