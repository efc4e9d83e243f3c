"""Probe a detector of Scenes: which exact questions pass on real pictures, and which on changed ones?

They are the upper and lower bounds between which numbers of generated pictures are meaningful.
"""

import random
from typing import NamedTuple

import numpy as np
import torch

from xmcgan.evaluation.networks.detections import Detections, ObjectDetector
from xmcgan.evaluation.networks.probes import fresh_scenes
from xmcgan.metrics.exact_questions import Answers, Found, answer, summarize
from xmcgan.scenes import World, render_scene
from xmcgan.scenes.exchange import exchanged
from xmcgan.scenes.questions import SCENES_RULES, questions_of_scene


class Probed(NamedTuple):
    """Shares of questions answered with yes."""

    real: Answers  # on pictures for which they are true
    exchanged: Answers  # on the same pictures with one thing changed


def probe_detector(
    detector: ObjectDetector, world: World, *, count: int = 1000, size: int = 64, seed: int = 0
) -> Probed:
    """Ask every question of the first ``count`` scenes of the validation split, on its picture and on a changed one.

    Args:
        size: side of the pictures in pixels.
        seed: seed of the changes.
    """
    scenes, images_B3HW = fresh_scenes(count, world, size=size)
    rng = random.Random(seed)
    asked = [(number, question) for number, scene in enumerate(scenes) for question in questions_of_scene(scene)]
    changed = [(question, exchanged(scenes[number], question, rng)) for number, question in asked]
    kept = [(question, scene) for question, scene in changed if scene is not None]
    pixels = [torch.from_numpy(np.array(render_scene(scene, size).picture)).permute(2, 0, 1) for _, scene in kept]
    found = [objects_of(each) for each in detector.detect_objects(images_B3HW)]
    other = [objects_of(each) for each in detector.detect_objects(torch.stack(pixels))]
    return Probed(
        summarize(
            [question.task for _, question in asked],
            [answer(question, found[number], SCENES_RULES) for number, question in asked],
        ),
        summarize(
            [question.task for question, _ in kept],
            [answer(question, objects, SCENES_RULES) for (question, _), objects in zip(kept, other, strict=True)],
        ),
    )


def objects_of(detections: Detections) -> list[Found]:
    """Detections as the objects that questions are asked about."""
    colours = detections.colours or (None,) * len(detections.scores_N)
    return [
        Found(category, (left, top, right, bottom), score, colour)
        for category, (left, top, right, bottom), score, colour in zip(
            detections.categories_N.tolist(),
            detections.boxes_N4.tolist(),
            detections.scores_N.tolist(),
            colours,
            strict=True,
        )
    ]
