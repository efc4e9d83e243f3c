"""Train the detector of Scenes on pictures whose objects, colours and boxes are known."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from xmcgan.data.images import ImageTransform
from xmcgan.data.records import Record
from xmcgan.data.stream import ExampleBatch
from xmcgan.evaluation.networks.folder import read_folder
from xmcgan.evaluation.networks.image_network import CHUNK
from xmcgan.evaluation.networks.scene_detector import (
    CONFIDENCE,
    Heads,
    SceneDetector,
    SceneDetectorNetwork,
    SceneDetectorShape,
    box_overlaps,
)
from xmcgan.scenes import Scene
from xmcgan.training.evaluators.fitting import (
    Fitting,
    Loss,
    check_counts,
    claimed,
    finish,
    fit,
    image_precision,
    load_pixels,
    pixel_stream,
    save_weights,
    settings_of,
)

SPREAD = 0.8
"""Standard deviation, in cells, of the Gaussian around each centre within which other cells are penalised less."""

PLACE_WEIGHT, COLOUR_WEIGHT = 0.5, 0.5


class Labelled(NamedTuple):
    """A record and the scene that its picture shows."""

    record: Record
    scene: Scene


def train_scene_detector(
    output: Path,
    labelled: Sequence[Labelled],
    held_out: Sequence[Labelled],
    *,
    shape: SceneDetectorShape,
    fitting: Fitting,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a detector of Scenes: focal loss on the centres, L1 on the boxes, cross-entropy on the colours.

    Writes the same files as :func:`train_dual_encoder`.

    Args:
        output: folder of the evaluator.
        labelled: records with boxes, and their scenes.
        held_out: others, to measure the accuracy with.

    Returns:
        the result of :func:`detection_accuracy`, and the number of held-out ``images``.

    Raises:
        ValueError: if there are too few images, a record does not show its scene, or ``output`` has other settings,
            other data or other content.
    """
    records = [to_labels(each, shape) for each in labelled]
    others = [each.record for each in held_out]
    check_counts(records, others, fitting, 1)
    settings = settings_of("scene-detector", shape, fitting, records, others)
    with claimed(output, settings) as finished:
        if finished:
            return read_folder(output, "scene-detector")["measured"]
        torch.manual_seed(fitting.seed)
        network = SceneDetectorNetwork(shape)

        def loss_of(images_B3HW: Tensor, batch: ExampleBatch) -> Loss:
            with image_precision(fitting, images_B3HW.device):
                heads = network(images_B3HW)
            return detection_loss(heads, batch.captions)

        fit(network, loss_of, pixel_stream(records, shape.image_size, fitting), fitting, output, progress=progress)
        sha256 = save_weights(network, output)
        detector = SceneDetector(network, shape, name=output.name, sha256=sha256)
        measured = detection_accuracy(detector, held_out) | {"images": len(held_out)}
        finish(output, settings | {"weights_sha256": sha256, "measured": measured})
        return read_folder(output, "scene-detector")["measured"]


def to_labels(labelled: Labelled, shape: SceneDetectorShape) -> Record:
    """Replace a record's captions by its objects as JSON: kind and colour as numbers of the outputs, and the box.

    Labels can then use the same stream of examples as captions. Invisible objects (empty boxes) are left out.

    Raises:
        ValueError: naming the record, if its boxes do not match the scene.
    """
    record, scene = labelled
    if [box.category for box in record.boxes] != [thing.kind for thing in scene.objects]:
        raise ValueError(
            f"record {record.id} has boxes of {', '.join(box.category for box in record.boxes)}, but its scene has "
            f"{', '.join(thing.kind for thing in scene.objects)}; give each record with its own scene"
        )
    kinds = list(shape.categories)
    objects = [
        [kinds.index(box.category), shape.colours.index(thing.colour), box.left, box.top, box.width, box.height]
        for box, thing in zip(record.boxes, scene.objects, strict=True)
        if box.width and box.height
    ]
    return record._replace(captions=(json.dumps(objects),))


def detection_loss(heads: Heads, labels: Sequence[str]) -> Loss:
    """The loss of a batch, and the share of objects whose own cell gives the right kind and colour the highest scores.

    The centres' loss is the focal loss of Law and Deng (CornerNet, arXiv 1808.01244, equation 1), as in Objects as
    Points (equation 1).
    """
    objects = torch.tensor(
        [[image, *each] for image, label in enumerate(labels) for each in json.loads(label)],
        device=heads.kinds_BKHW.device,
    )
    image, kind, colour = objects[:, :3].long().unbind(1)
    _, _, height, width = heads.kinds_BKHW.shape
    cells = torch.tensor([width, height], device=objects.device)
    sizes_N2 = objects[:, 5:] * cells
    centres_N2 = objects[:, 3:5] * cells + sizes_N2 / 2
    corner_N2 = torch.minimum(centres_N2.floor(), cells - 1).long()
    column, row = corner_N2.unbind(1)

    wanted_BKHW = centre_targets(heads.kinds_BKHW.shape, image, kind, corner_N2)
    logits_BKHW = heads.kinds_BKHW.float()
    log_yes, log_no = F.logsigmoid(logits_BKHW), F.logsigmoid(-logits_BKHW)
    chance = logits_BKHW.sigmoid()
    at_centre = wanted_BKHW == 1
    focal = torch.where(at_centre, (1 - chance) ** 2 * log_yes, (1 - wanted_BKHW) ** 4 * chance**2 * log_no)
    centre_loss = -focal.sum() / len(objects)

    places_N4 = heads.places_B4HW.float()[image, :, row, column]
    true_N4 = torch.cat([centres_N2 - corner_N2, sizes_N2.log()], 1)
    place_loss = F.l1_loss(places_N4, true_N4)
    colours_NC = heads.colours_BCHW.float()[image, :, row, column]
    colour_loss = F.cross_entropy(colours_NC, colour)
    right = (logits_BKHW[image, :, row, column].argmax(1) == kind) & (colours_NC.argmax(1) == colour)
    return Loss(centre_loss + PLACE_WEIGHT * place_loss + COLOUR_WEIGHT * colour_loss, right.float().mean())


def centre_targets(shape: torch.Size, image: Tensor, kind: Tensor, corner_N2: Tensor) -> Tensor:
    """wanted_BKHW: 1 in the cell of each object's centre, falling off as a Gaussian around it."""
    _, _, height, width = shape
    x_NW = (torch.arange(width, device=image.device) - corner_N2[:, :1]).float()
    y_NH = (torch.arange(height, device=image.device) - corner_N2[:, 1:]).float()
    bumps_NHW = torch.exp(-(y_NH[:, :, None] ** 2 + x_NW[:, None] ** 2) / (2 * SPREAD**2))
    wanted_BKHW = torch.zeros(shape, device=image.device)
    flat = (image * shape[1] + kind)[:, None, None].expand_as(bumps_NHW)
    merged = wanted_BKHW.view(-1, height, width)
    return merged.scatter_reduce(0, flat, bumps_NHW, "amax").view(shape)


def detection_accuracy(detector: SceneDetector, labelled: Sequence[Labelled]) -> dict[str, Any]:
    """Accuracies of a detector on scenes, at the confidence that SOA uses, rounded to four digits.

    Returns:
        ``exact``: the share of pictures whose detected kinds and colours are the scene's, with the same counts;
        ``kinds``: the same without colours; ``present``: the share whose set of kinds is right, as the presence model
        is measured; ``colour``: of objects found, the share with the right colour; ``overlap``: their mean
        intersection over union with the true box.
    """
    exact, kinds, present, colours, overlaps = [], [], [], [], []
    transform = ImageTransform(detector.shape.image_size, "squash")
    for start in range(0, len(labelled), CHUNK):
        chosen = labelled[start : start + CHUNK]
        found = detector.detect_objects(load_pixels([each.record for each in chosen], transform))
        for each, detections in zip(chosen, found, strict=True):
            sure = detections.select(detections.scores_N >= CONFIDENCE)
            assert sure.colours is not None
            categories = [detector.shape.categories[thing.kind] for thing in each.scene.objects]
            wanted = Counter(zip(categories, (thing.colour for thing in each.scene.objects), strict=True))
            exact.append(Counter(zip(sure.categories_N.tolist(), sure.colours, strict=True)) == wanted)
            kinds.append(Counter(sure.categories_N.tolist()) == Counter(categories))
            present.append(set(sure.categories_N.tolist()) == set(categories))
            boxes = [(box.left, box.top, box.left + box.width, box.top + box.height) for box in each.record.boxes]
            overlap_NM = box_overlaps(sure.boxes_N4, torch.tensor(boxes))
            for number, box_M in enumerate(overlap_NM):
                best = int(box_M.argmax())
                if sure.categories_N[number] == categories[best] and box_M[best] > 0:
                    colours.append(sure.colours[number] == each.scene.objects[best].colour)
                    overlaps.append(box_M[best].item())
    shares = {"exact": exact, "kinds": kinds, "present": present, "colour": colours, "overlap": overlaps}
    return {name: round(sum(values) / max(len(values), 1), 4) for name, values in shares.items()}
