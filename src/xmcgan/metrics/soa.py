"""Semantic object accuracy: does a detector see what the caption names?

Hinz, Heinrich and Wermter 2019, "Semantic Object Accuracy for Generative Text-to-Image Synthesis". Which captions name
an object, and which detector looks at which confidence, is for the caller to choose and to name.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple


class SOA(NamedTuple):
    """Recall of a detector on images that were asked to show a label; every value a share in 0 to 1.

    With the 80 classes of COCO the halves are the authors' Top40 and Bot40. They divide the labels by their number of
    images, the fewer images first and, of equal ones, the smaller label; the middle of an odd number of labels is
    among the frequent ones. With a single label there is no rare half, and ``c_rare`` is None.
    """

    c: float  # SOA-C: mean recall over the labels
    i: float  # SOA-I: the same, weighted by images; the share of images that show what was asked for
    c_frequent: float  # SOA-C of the half of the labels with most images
    c_rare: float | None  # SOA-C of the other half
    per_class: dict[int, float]  # recall of each label, in the order of the labels
    counts: dict[int, int]  # images of each label


def semantic_object_accuracy(detected: Sequence[Collection[int]], wanted: Sequence[int]) -> SOA:
    """SOA-C and SOA-I of N images; an image is right if its label is among those detected in it, whatever else is.

    Args:
        detected: category ids that the detector sees in each image.
        wanted: the category id that each image's caption is listed for. An image that several lists ask for comes
            once for each.

    Raises:
        ValueError: if there is no image, or not one label an image.
    """
    if len(detected) != len(wanted):
        raise ValueError(f"{len(detected)} images but {len(wanted)} labels; each image was asked to show one")
    if not wanted:
        raise ValueError("no image was asked to show an object")
    totals = Counter(wanted)
    right = Counter(label for seen, label in zip(detected, wanted, strict=True) if label in seen)
    counts = {label: totals[label] for label in sorted(totals)}
    recall = {label: right[label] / count for label, count in counts.items()}
    by_frequency = sorted(counts, key=lambda label: (counts[label], label))
    rare, frequent = by_frequency[: len(counts) // 2], by_frequency[len(counts) // 2 :]
    return SOA(
        c=sum(recall.values()) / len(recall),
        i=right.total() / len(wanted),
        c_frequent=sum(recall[label] for label in frequent) / len(frequent),
        c_rare=sum(recall[label] for label in rare) / len(rare) if rare else None,
        per_class=recall,
        counts=counts,
    )
