"""Train a presence model on images with boxes."""

from collections.abc import Sequence
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
    batched,
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


def train_presence(
    output: Path,
    records: Sequence[Record],
    held_out: Sequence[Record],
    *,
    shape: PresenceShape,
    fitting: Fitting,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a classifier of the categories present in an image, with binary cross-entropy per category.

    Writes the same files as :func:`train_dual_encoder`.

    Args:
        output: folder of the evaluator.
        records: images with boxes of the categories of ``shape``.
        held_out: other images with boxes; each category must be present in some and absent from others.

    Returns:
        accuracies as in :meth:`PresenceAccuracy.rounded`, and the number of held-out ``images``.

    Raises:
        ValueError: if there are too few images, a box has an unknown category, a category cannot be evaluated, or
            ``output`` has other settings, other data or other content.
    """
    check_counts(records, held_out, fitting, 1)
    categories_present(held_out, shape)
    settings = settings_of("presence", shape, fitting, records, held_out)
    with claimed(output, settings) as finished:
        if finished:
            return read_folder(output, "presence")["measured"]
        torch.manual_seed(fitting.seed)
        network = presence_network(shape)

        def loss_of(images_B3HW: Tensor, batch: ExampleBatch) -> Loss:
            present_BC = targets(batch.captions, shape).to(images_B3HW.device)
            with image_precision(fitting, images_B3HW.device):
                logits_BC = network(images_B3HW)
            logits_BC = logits_BC.float()
            exact = ((logits_BC > 0) == present_BC.bool()).all(1).float().mean()
            return Loss(F.binary_cross_entropy_with_logits(logits_BC, present_BC), exact)

        labelled = [to_labels(record, shape) for record in records]
        fit(network, loss_of, pixel_stream(labelled, shape.image_size, fitting), fitting, output, progress=progress)
        sha256 = save_weights(network, output)
        detector = PresenceModel(network, shape, name=output.name, sha256=sha256)
        measured = presence_accuracy(detector, held_out, fit=fitting.fit).rounded() | {"images": len(held_out)}
        finish(output, settings | {"weights_sha256": sha256, "measured": measured})
        return read_folder(output, "presence")["measured"]


SEPARATOR = "\n"


def to_labels(record: Record, shape: PresenceShape) -> Record:
    """Replace a record's captions by the names of its categories, one per line.

    Labels can then use the same stream of examples as captions.

    Raises:
        ValueError: naming the record, if a box has a category that is not in the shape.
    """
    names = sorted({box.category for box in record.boxes})
    unknown = [name for name in names if name not in shape.categories]
    if unknown:
        raise ValueError(
            f"record {record.id} has a box of {unknown[0]!r}; it should be one of {', '.join(shape.categories)}"
        )
    return record._replace(captions=(SEPARATOR.join(names),))


def categories_present(records: Sequence[Record], shape: PresenceShape) -> Tensor:
    """present_NC, bool: whether each record has a box of each category.

    Raises:
        ValueError: naming a category that all records or none have, for which balanced accuracy is undefined.
    """
    present_NC = targets([to_labels(record, shape).captions[0] for record in records], shape).bool()
    for name, count in zip(shape.categories, present_NC.sum(0).tolist(), strict=True):
        if count in (0, len(records)):
            raise ValueError(
                f"{name} is in {count} of the {len(records)} held-out images; it should be in some but not in all"
            )
    return present_NC


def targets(labels: Sequence[str], shape: PresenceShape) -> Tensor:
    """present_BC, float32: 1 for each category named in a label."""
    names = list(shape.categories)
    present_BC = torch.zeros(len(labels), len(names))
    for row, label in zip(present_BC, labels, strict=True):
        for name in filter(None, label.split(SEPARATOR)):
            row[names.index(name)] = 1
    return present_BC


class PresenceAccuracy(NamedTuple):
    """Accuracies of a presence model.

    ``balanced`` is the mean of true positive rate and true negative rate, so that never detecting a rare category does
    not score high.
    """

    accuracy: dict[str, float]  # of each category
    balanced: dict[str, float]  # of each category
    exact: float  # fraction of images with all categories correct

    def rounded(self) -> dict[str, Any]:
        """Mean and minimum over categories, then all values, rounded to four digits."""
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
    """Evaluate a presence model on records with boxes.

    Raises:
        ValueError: as in :func:`categories_present`.
    """
    shape = model.shape
    present_NC = categories_present(records, shape)
    transform = ImageTransform(shape.image_size, fit)
    detected = [ids for batch in batched(records) for ids in model(load_pixels(batch, transform))]
    detected_NC = torch.tensor([[id in ids for id in shape.categories.values()] for ids in detected])
    correct_NC = detected_NC == present_NC
    accuracy, balanced = {}, {}
    for column, name in enumerate(shape.categories):
        present, correct = present_NC[:, column], correct_NC[:, column].float()
        accuracy[name] = correct.mean().item()
        balanced[name] = (correct[present].mean().item() + correct[~present].mean().item()) / 2
    return PresenceAccuracy(accuracy, balanced, correct_NC.all(1).float().mean().item())
