"""What metrics are computed from, and what they return."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from xmcgan.data.images import ImageTransform
from xmcgan.data.records import Record
from xmcgan.evaluation.asking import Asking
from xmcgan.evaluation.chosen_networks import EvaluationNetworks, required
from xmcgan.evaluation.crop_colours import coloured_detections
from xmcgan.evaluation.features import ExtractedFeatures, check_finite
from xmcgan.evaluation.image_set import Request
from xmcgan.evaluation.networks.detections import Detections
from xmcgan.evaluation.networks.detector_probes import objects_of
from xmcgan.evaluation.results import Setting
from xmcgan.metrics.exact_questions import Answers, Question, answer, summarize
from xmcgan.metrics.memorization import Nearest, nearest_neighbours
from xmcgan.metrics.precision_recall import PrecisionRecall, precision_recall_density_coverage

NEIGHBOURS, DENSITY_NEIGHBOURS = 3, 5


class Measured(NamedTuple):
    """A metric's value, its uncertainty if it has one, and its own settings."""

    value: float
    uncertainty: float | None
    settings: Mapping[str, Setting]


@dataclass(frozen=True)
class MetricInputs:
    """Inputs of all metrics; values that several metrics share are computed once, on first use.

    Args:
        extracted: features of the evaluated images.
        real: features of the reference images; empty if no metric compares with them.
        training: features of the training images; empty if no metric needs them.
        images, transform: the evaluated images, for metrics that need their pixels again.
        asking: how exact questions are asked; None if no metric asks any.
    """

    extracted: ExtractedFeatures
    real: ExtractedFeatures
    training: ExtractedFeatures
    images: Sequence[Record]
    transform: ImageTransform
    requests: Sequence[Request]
    networks: EvaluationNetworks
    asking: Asking | None

    @cached_property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Image and caption embeddings."""
        return required(self.extracted.embeddings_NF), self.captions_NF("")

    def captions_NF(self, prompt: str) -> Tensor:
        """Embeddings of the captions, each prefixed with a prompt."""
        return self.encode([prompt + request.caption for request in self.requests])

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Embeddings of any captions."""
        encoder = required(self.networks.encoder)
        found = torch.cat([encoder.encode_captions(captions[k : k + 256]) for k in range(0, len(captions), 256)])
        check_finite(encoder, found)
        return found

    @cached_property
    def precision_recall(self) -> PrecisionRecall:
        """Precision, recall, density and coverage."""
        return precision_recall_density_coverage(
            required(self.real.features_NF),
            required(self.extracted.features_NF),
            neighbours=NEIGHBOURS,
            density_neighbours=DENSITY_NEIGHBOURS,
        )

    @cached_property
    def questions(self) -> list[list[Question]]:
        """The exact questions that each request asks."""
        return [required(self.asking).questions_of(request) for request in self.requests]

    @cached_property
    def coloured(self) -> list[Detections]:
        """The objects of each image, with colours where questions ask for them."""
        detections = required(self.extracted.detections)
        if self.networks.encoder is None or not detections or detections[0].colours is not None:
            return detections
        return coloured_detections(
            self.images, self.transform, detections, self.questions, self.networks.encoder, required(self.asking).rules
        )

    @cached_property
    def answers(self) -> Answers:
        """The answers to all exact questions.

        Raises:
            ValueError: if no caption asks a question.
        """
        rules = required(self.asking).rules
        given = [
            (question.task, answer(question, objects, rules))
            for asked, objects in zip(self.questions, map(objects_of, self.coloured), strict=True)
            for question in asked
        ]
        if not given:
            raise ValueError("exact: no caption asks an exact question; use captions of Scenes, or GenEval's prompts")
        return summarize([task for task, _ in given], [yes for _, yes in given])

    @cached_property
    def nearest(self) -> Nearest:
        """The training image nearest to each evaluated one."""
        return nearest_neighbours(required(self.extracted.features_NF), required(self.training.features_NF))
