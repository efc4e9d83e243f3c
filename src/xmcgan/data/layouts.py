"""Data folders by the name of their layout."""

from pathlib import Path

from xmcgan.data.captions import Record
from xmcgan.data.coco import read_coco_captions
from xmcgan.data.localized_narratives import read_localized_narratives

READERS = {"coco": read_coco_captions, "localized-narratives": read_localized_narratives}
"""How each layout is read: (root, split) -> records."""


def read_records(root: Path, layout: str, split: str) -> list[Record]:
    """The captioned images of one split of a data folder, in its layout."""
    return READERS[layout](root, split)
