"""Semantic object accuracy (SOA): does a detector find the objects that the caption names?

Hinz, Heinrich and Wermter 2019, "Semantic Object Accuracy for Generative Text-to-Image Synthesis". The caller chooses
and records the captions, the detector and its confidence threshold.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple


class SOA(NamedTuple):
    """Detector recall on images whose captions name a label; all values are fractions between 0 and 1.

    Labels are sorted by number of images, then by label, and halved; on the 80 COCO classes the halves are the authors'
    Top40 and Bot40. The middle one of an odd number of labels is frequent. With a single label ``c_rare`` is None.
    """

    c: float  # SOA-C: mean recall over labels
    i: float  # SOA-I: mean recall over images
    c_frequent: float  # SOA-C of the half of the labels with the most images
    c_rare: float | None  # SOA-C of the other half
    per_class: dict[int, float]  # recall of each label, sorted by label
    counts: dict[int, int]  # images of each label


def semantic_object_accuracy(detected: Sequence[Collection[int]], wanted: Sequence[int]) -> SOA:
    """SOA-C and SOA-I of N images. An image is correct if its label is detected; other detections do not matter.

    Args:
        detected: category ids detected in each image.
        wanted: the category id that each caption is listed under. Repeat an image for each list that holds its caption.

    Raises:
        ValueError: if there are no images, or the lengths differ.
    """
    if len(detected) != len(wanted):
        raise ValueError(f"{len(detected)} images but {len(wanted)} labels; give one label per image")
    if not wanted:
        raise ValueError("there are no images; SOA needs at least one")
    totals = Counter(wanted)
    correct = Counter(label for found, label in zip(detected, wanted, strict=True) if label in found)
    counts = {label: totals[label] for label in sorted(totals)}
    recall = {label: correct[label] / count for label, count in counts.items()}
    by_frequency = sorted(counts, key=lambda label: (counts[label], label))
    rare, frequent = by_frequency[: len(counts) // 2], by_frequency[len(counts) // 2 :]
    return SOA(
        c=sum(recall.values()) / len(recall),
        i=correct.total() / len(wanted),
        c_frequent=sum(recall[label] for label in frequent) / len(frequent),
        c_rare=sum(recall[label] for label in rare) / len(rare) if rare else None,
        per_class=recall,
        counts=counts,
    )
