"""A presence model, trained on images with boxes."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xmcgan.data.images import Fit, ImageTransform
from xmcgan.data.records import Record
from xmcgan.data.stream import ExampleBatch
from xmcgan.evaluation.networks.folder import read_folder
from xmcgan.evaluation.networks.presence import PresenceModel, PresenceShape, presence_network
from xmcgan.training.evaluators.fitting import (
    Fitting,
    Loss,
    already_there,
    batched,
    check_counts,
    data_of,
    finish,
    fit,
    image_precision,
    pixels_of,
    save_weights,
)


def train_presence(
    output: Path,
    records: Sequence[Record],
    held_out: Sequence[Record],
    *,
    shape: PresenceShape,
    fitting: Fitting,
    progress: bool = True,
) -> dict[str, Any]:
    """Trains a presence model: of each category, whether it is seen in an image (binary cross entropy).

    Writes the same files as :func:`train_dual_encoder`.

    Args:
        records: with boxes, whose categories are those of ``shape``.
        held_out: other images, with boxes; each category is in some of them and not in all.

    Returns:
        what was measured: see :class:`PresenceAccuracy`.

    Raises:
        ValueError: if there are too few images, a box is of another category, a category cannot be measured, or
            ``output`` holds something else.
    """
    check_counts(records, held_out, fitting, 1)
    present_in(held_out, shape)
    settings = {
        "kind": "presence",
        "shape": asdict(shape),
        "fitting": asdict(fitting),
        "data": data_of(records),
        "held_out": data_of(held_out),
    }
    if already_there(output, settings):
        return read_folder(output, "presence")["measured"]
    torch.manual_seed(fitting.seed)
    network = presence_network(shape)

    def loss_of(images_B3HW: Tensor, batch: ExampleBatch) -> Loss:
        present_BC = targets(batch.captions, shape).to(images_B3HW.device)
        with image_precision(fitting, images_B3HW.device):
            logits_BC = network(images_B3HW)
        logits_BC = logits_BC.float()
        right = ((logits_BC > 0) == present_BC.bool()).all(1).float().mean()
        return Loss(F.binary_cross_entropy_with_logits(logits_BC, present_BC), right)

    labelled = [to_labels(record, shape) for record in records]
    fit(network, loss_of, labelled, shape.image_size, fitting, output, progress=progress)
    sha256 = save_weights(network, output)
    detector = PresenceModel(network, shape, name=output.name, sha256=sha256)
    measured = presence_accuracy(detector, held_out, fit=fitting.fit).rounded() | {"images": len(held_out)}
    finish(output, settings | {"weights_sha256": sha256, "measured": measured})
    return read_folder(output, "presence")["measured"]


SEPARATOR = "\n"


def to_labels(record: Record, shape: PresenceShape) -> Record:
    """The record with one caption: the names of the categories seen in it, a line each.

    So labels go through the same stream of examples as captions do.

    Raises:
        ValueError: naming the record, if a box is of no category of the shape.
    """
    names = sorted({box.category for box in record.boxes})
    unknown = [name for name in names if name not in shape.categories]
    if unknown:
        raise ValueError(f"record {record.id} has a box of {unknown[0]!r}, which is none of the model's categories")
    return record._replace(captions=(SEPARATOR.join(names),))


def present_in(records: Sequence[Record], shape: PresenceShape) -> Tensor:
    """present_NC, bool: which categories each record has a box of.

    Raises:
        ValueError: naming a category that no record or every record has: a model could not be wrong, or not be right.
    """
    present_NC = targets([to_labels(record, shape).captions[0] for record in records], shape).bool()
    for name, count in zip(shape.categories, present_NC.sum(0).tolist(), strict=True):
        if count in (0, len(records)):
            raise ValueError(f"{name} is in {count} of the {len(records)} images to measure with")
    return present_NC


def targets(labels: Sequence[str], shape: PresenceShape) -> Tensor:
    """present_BC, 1 where a category is named and 0 elsewhere, float32."""
    names = list(shape.categories)
    present_BC = torch.zeros(len(labels), len(names))
    for row, label in zip(present_BC, labels, strict=True):
        for name in filter(None, label.split(SEPARATOR)):
            row[names.index(name)] = 1
    return present_BC


class PresenceAccuracy(NamedTuple):
    """How right a presence model is.

    ``balanced`` is a category's mean of two shares: of the images with it in which it is found, and of those without it
    in which it is not. So a category that is rare counts no more when it is never found.
    """

    accuracy: dict[str, float]  # of each category: the share of images in which it is rightly found or not found
    balanced: dict[str, float]  # of each category
    exact: float  # share of images of which every category is right

    def rounded(self) -> dict[str, Any]:
        """The least and the mean of the categories, and the rest, to four digits."""
        kinds = {"accuracy": self.accuracy, "balanced": self.balanced}
        found: dict[str, Any] = {"exact": round(self.exact, 4)}
        for name, values in kinds.items():
            least = min(values, key=lambda category: values[category])
            found[f"{name}_mean"] = round(float(np.mean(list(values.values()))), 4)
            found[f"{name}_least"], found[f"{name}_least_of"] = round(values[least], 4), least
        for name, values in kinds.items():
            found[name] = {category: round(value, 4) for category, value in values.items()}
        return found


def presence_accuracy(model: PresenceModel, records: Sequence[Record], *, fit: Fit = "squash") -> PresenceAccuracy:
    """Measured on records with boxes; what :func:`present_in` refuses is refused."""
    shape = model.shape
    present_NC = present_in(records, shape)
    transform = ImageTransform(shape.image_size, fit)
    found = [ids for batch in batched(records) for ids in model(pixels_of(batch, transform))]
    found_NC = torch.tensor([[id in ids for id in shape.categories.values()] for ids in found])
    right_NC = found_NC == present_NC
    accuracy, balanced = {}, {}
    for column, name in enumerate(shape.categories):
        present, right = present_NC[:, column], right_NC[:, column].float()
        accuracy[name] = right.mean().item()
        balanced[name] = (right[present].mean().item() + right[~present].mean().item()) / 2
    return PresenceAccuracy(accuracy, balanced, right_NC.all(1).float().mean().item())
