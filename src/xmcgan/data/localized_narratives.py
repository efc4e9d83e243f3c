"""Localized Narratives on COCO, as published: JSON lines beside the images (Pont-Tuset et al., ECCV 2020)."""

import json
from pathlib import Path

from xmcgan.data.captions import Record


def read_localized_narratives(root: Path, split: str) -> list[Record]:
    """One record a narrative of a split, in order of file and line; an image can have several.

    Args:
        root: the folder that holds ``localized_narratives/*.jsonl`` and the folders of images.
        split: the name of the folder of images, such as ``train2017``: the end of each line's ``dataset_id``.

    Raises:
        FileNotFoundError: if there is no such file or folder, or an image is missing.
        ValueError: naming file and line, if a line is not a narrative.
    """
    files, folder = sorted(root.glob("localized_narratives/*.jsonl")), root / split
    if not files or not folder.is_dir():
        missing = folder if files else root / "localized_narratives" / "*.jsonl"
        raise FileNotFoundError(f"{missing} is missing: the narratives and the folder of images they were told of")
    present = {entry.name for entry in folder.iterdir()}
    records = []
    for file in files:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    narrative = json.loads(line)
                    dataset_id, image_id, caption = (narrative[key] for key in ("dataset_id", "image_id", "caption"))
                    if not (isinstance(dataset_id, str) and isinstance(caption, str) and caption.strip()):
                        raise ValueError(f"dataset_id is {dataset_id!r} and caption is {caption!r}")
                    if not dataset_id.endswith(f"_{split}"):
                        continue
                    image_number = int(image_id)  # other data sets' ids are not numbers
                except (ValueError, KeyError, TypeError) as error:
                    raise ValueError(f"{file}, line {number} is not a narrative: {error!r}") from error
                names = (f"{image_number:012d}.jpg", f"COCO_{split}_{image_number:012d}.jpg")
                name = next((name for name in names if name in present), None)
                if name is None:
                    raise FileNotFoundError(f"{file}, line {number}: neither {' nor '.join(names)} is in {folder}")
                records.append(Record(folder / name, (" ".join(caption.split()),), str(image_id)))
    if not records:
        raise ValueError(f"no line of {root / 'localized_narratives'} is about {split}")
    return records
