"""Colours of detected objects in photographs, by the crop and a dual encoder, as in GenEval."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from xmcgan.data.images import ImageTransform
from xmcgan.data.records import Record
from xmcgan.evaluation.asking import GENEVAL_COLOURS
from xmcgan.evaluation.networks.detections import Detections
from xmcgan.evaluation.networks.protocols import DualEncoder
from xmcgan.evaluation.object_crops import pixel_range
from xmcgan.evaluation.soa_rules import COCO_NAMES
from xmcgan.metrics.exact_questions import Question, Rules
from xmcgan.ops.unit_vectors import unit_rows

TEMPLATES = ("a photo of a {c} {name}", "a photo of a {c}-colored {name}", "a photo of a {c} object")
"""GenEval's prompts for the classifier; a colour's embedding is the mean of its three unit embeddings."""

COLOUR_PROTOCOL = "crop of the box, background kept, zero-shot by the dual encoder"
"""GenEval also greys the background by the detector's mask."""


def coloured_detections(
    images: Sequence[Record],
    transform: ImageTransform,
    detections: Sequence[Detections],
    questions: Sequence[Sequence[Question]],
    encoder: DualEncoder,
    rules: Rules,
) -> list[Detections]:
    """The detections, with colours if a question asks for one; otherwise unchanged.

    Colours are recognised only for the objects that :func:`xmcgan.metrics.exact_questions.answer` looks at: the most
    confident ones of the category that is asked for. All others get an empty text as colour.
    """
    classifiers: dict[int, Tensor] = {}
    coloured = []
    for image, found, asked in zip(images, detections, questions, strict=True):
        wanted = {each.category: each.count for question in asked for each in question.include if each.colour}
        chosen = {
            place: category
            for category, count in wanted.items()
            for place in places_of(found, category, rules.confidence, count)
        }
        if not chosen:
            coloured.append(found)
            continue
        for category in set(chosen.values()) - classifiers.keys():
            classifiers[category] = colour_embeddings(COCO_NAMES[category], encoder)
        names = [""] * len(found.scores_N)
        for place, name in colours_of(transform(image), found, chosen, classifiers, encoder).items():
            names[place] = name
        coloured.append(found._replace(colours=tuple(names)))
    return coloured


def places_of(found: Detections, category: int, confidence: float, count: int) -> list[int]:
    """Positions of the most confident detections of a category."""
    own = (found.categories_N == category) & (found.scores_N > confidence)
    return own.nonzero().flatten().tolist()[:count]


def colours_of(
    image_3HW: Tensor,
    found: Detections,
    chosen: Mapping[int, int],
    classifiers: Mapping[int, Tensor],
    encoder: DualEncoder,
) -> dict[int, str]:
    """The colour of each chosen detection, by its position."""
    _, height, width = image_3HW.shape
    named = {}
    for place, category in chosen.items():
        left, top, right, bottom = found.boxes_N4[place].tolist()
        crop = image_3HW[None, :, pixel_range(top, bottom, height), pixel_range(left, right, width)]
        scores_C = encoder.encode_images(crop)[0] @ classifiers[category].T
        named[place] = GENEVAL_COLOURS[int(scores_C.argmax())]
    return named


def colour_embeddings(name: str, encoder: DualEncoder) -> Tensor:
    """A unit row for each of GenEval's colours, for objects of a category."""
    rows = [
        encoder.encode_captions([template.format(c=colour, name=name) for template in TEMPLATES]).mean(0)
        for colour in GENEVAL_COLOURS
    ]
    return unit_rows(torch.stack(rows))
