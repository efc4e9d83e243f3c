"""Which exact questions are asked of which images: captions of Scenes, or GenEval's prompts of COCO's 80 classes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

import numpy as np

from xmcgan.evaluation.image_set import Request
from xmcgan.evaluation.results import Setting
from xmcgan.evaluation.soa_rules import COCO_NAMES
from xmcgan.metrics.exact_questions import RELATIONS, Question, Rules, Wanted
from xmcgan.scenes.questions import SCENES_RULES, questions_of_caption

GENEVAL_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")

GENEVAL_SEED, GENEVAL_PROMPTS, GENEVAL_IMAGES = 43, 100, 4
"""Seed, prompts per task except the first, and images per prompt, as in GenEval."""

NUMBERS = ("zero", "one", "two", "three", "four")


class Asking(NamedTuple):
    """How exact questions are made and answered; a result's protocol records all of it."""

    name: str
    rules: Rules
    questions_of: Callable[[Request], list[Question]]

    def protocol(self) -> dict[str, Setting]:
        """Settings for a result."""
        return {"questions": self.name, **{f"rule_{name}": value for name, value in asdict(self.rules).items()}}


def scenes_asking() -> Asking:
    """Questions that captions of Scenes ask, by rule."""
    return Asking(
        "captions of Scenes by rule, positions also in the picture",
        SCENES_RULES,
        lambda request: questions_of_caption(request.caption),
    )


class Prompt(NamedTuple):
    """A caption made for one question."""

    caption: str
    question: Question


def geneval_asking(prompts: Sequence[Prompt]) -> Asking:
    """GenEval's questions with GenEval's rules; captions that are not among the prompts ask nothing."""
    by_caption: Mapping[str, Question] = {prompt.caption: prompt.question for prompt in prompts}

    def questions_of(request: Request) -> list[Question]:
        return [by_caption[request.caption]] if request.caption in by_caption else []

    return Asking("GenEval's six tasks, prompts by rule from COCO's 80 classes", Rules(), questions_of)


def geneval_prompts(*, count: int = GENEVAL_PROMPTS, seed: int = GENEVAL_SEED) -> list[Prompt]:
    """Prompts for the six tasks, made as GenEval makes them: one for each class, and ``count`` of each other task.

    The templates, tasks and ranges are GenEval's; the random choices are not, so the prompts differ from its published
    553. Equal prompts are kept once.

    Raises:
        ValueError: if count is below 1.
    """
    if count < 1:
        raise ValueError(f"count is {count}; it should be at least 1")
    generator = np.random.default_rng(seed)
    ids = list(COCO_NAMES)
    things = [each for each in ids if COCO_NAMES[each] != "person"]  # persons get no colour

    def draw(among: Sequence, size: int) -> list:
        return [among[k] for k in generator.choice(len(among), size, replace=False)]

    prompts = [Prompt(f"a photo of {article(name)}", Question("single-object", (Wanted(id),)))
               for id, name in COCO_NAMES.items()]  # fmt: skip
    for _ in range(count):
        prompts.append(two_objects(*draw(ids, 2)))
    for _ in range(count):
        prompts.append(counting(*draw(ids, 1), int(generator.integers(2, 5))))
    for _ in range(count):
        prompts.append(coloured(*draw(things, 1), *draw(GENEVAL_COLOURS, 1)))
    for _ in range(count):
        prompts.append(position(*draw(ids, 2), *draw(RELATIONS, 1)))
    for _ in range(count):
        prompts.append(colour_attribution(*draw(things, 2), *draw(GENEVAL_COLOURS, 2)))
    return list({prompt.caption: prompt for prompt in prompts}.values())


def two_objects(first: int, second: int) -> Prompt:
    names = article(COCO_NAMES[first]), article(COCO_NAMES[second])
    return Prompt(f"a photo of {names[0]} and {names[1]}", Question("two-objects", (Wanted(first), Wanted(second))))


def counting(id: int, number: int) -> Prompt:
    name = COCO_NAMES[id]
    plural = f"{name}es" if name.endswith("s") else f"{name}s"
    exactly = (Wanted(id, number),)
    return Prompt(f"a photo of {NUMBERS[number]} {plural}", Question("counting", exactly, exactly))


def coloured(id: int, colour: str) -> Prompt:
    return Prompt(f"a photo of {article(colour)} {COCO_NAMES[id]}", Question("colour", (Wanted(id, 1, colour),)))


def position(first: int, second: int, relation: str) -> Prompt:
    question = Question("position", (Wanted(second), Wanted(first, relation=relation, target=0)))
    return Prompt(f"a photo of {article(COCO_NAMES[first])} {relation} {article(COCO_NAMES[second])}", question)


def colour_attribution(first: int, second: int, colour: str, other: str) -> Prompt:
    question = Question("colour-attribution", (Wanted(first, 1, colour), Wanted(second, 1, other)))
    return Prompt(
        f"a photo of {article(colour)} {COCO_NAMES[first]} and {article(other)} {COCO_NAMES[second]}", question
    )


def article(name: str) -> str:
    """A name with its article, a or an."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def geneval_requests(prompts: Sequence[Prompt], *, images: int = GENEVAL_IMAGES, seed: int = 0) -> list[Request]:
    """``images`` requests of each prompt, each with its own seed."""
    return [
        Request(f"prompt-{number:04}-{k}", f"prompt-{number:04}", prompt.caption, seed + number * images + k)
        for number, prompt in enumerate(prompts)
        for k in range(images)
    ]
