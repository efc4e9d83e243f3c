"""Simulated studies with a known truth, to test the intervals with and to plan studies.

An annotator sees a system's picture with the utility ``care * clarity * (log worth + luck + taste)`` plus Gumbel
noise, and ranks by it. Without the factors this is the Plackett-Luce model. ``care`` depends on the annotator,
``clarity`` on the caption, ``luck`` on caption and system, and ``taste`` on annotator and system.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xmcgan.study.records import REFERENCE, Answer, ExclusionRules, Kind, Study

PAPER = {"XMC-GAN": 0.77, "OP-GAN": 0.10, "SD-GAN": 0.08, "CP-GAN": 0.05}
"""Worths near the shares of the paper's Figure 3, where it states them; SD-GAN's and CP-GAN's are made up."""


CHECKS = 6
"""How many attention checks, and repeated items, an annotator gets in a criterion."""

WHEN = "2026-01-01T00:00:00+00:00"
"""The moment of every simulated answer."""


@dataclass(frozen=True)
class Population:
    """The population of captions and annotators. Values are standard deviations; of the log, if called a factor.

    Args:
        clarity: factor of a caption: how far apart the systems are on it.
        luck: luck of a system on a caption, in log worth.
        care: factor of an annotator: near 0 is random clicking.
        taste: taste of an annotator for a system, in log worth.
        load: factor of an annotator: how many items they take relative to others.
        random: share of annotators, 0 to 1, who click at random and fast.
        ties: utilities closer than this are tied; 0 for no ties.
    """

    clarity: float = 0.3
    luck: float = 0.6
    care: float = 0.3
    taste: float = 0.3
    load: float = 0.3
    random: float = 0.0
    ties: float = 0.0


@dataclass(frozen=True)
class Draw:
    """Utilities of N answers.

    Args:
        caption_N: index of the caption.
        annotator_N: index of the annotator, from 0.
        utility_NK: utility of each system; the largest is ranked best.
        random_A: which annotators click at random.
    """

    caption_N: np.ndarray
    annotator_N: np.ndarray
    utility_NK: np.ndarray
    random_A: np.ndarray


def draw(
    log_worth_K: np.ndarray,
    population: Population,
    *,
    captions: int,
    per_caption: int,
    annotators: int,
    random: np.random.Generator,
) -> Draw:
    """Draw captions, annotators and their answers: each caption gets ``per_caption`` different annotators.

    Raises:
        ValueError: if there are fewer annotators than a caption needs.
    """
    if annotators < per_caption:
        raise ValueError(f"annotators is {annotators}; it should be at least per_caption, {per_caption}")
    count = len(log_worth_K)
    clarity_C = np.exp(population.clarity * random.standard_normal(captions))
    luck_CK = population.luck * random.standard_normal((captions, count))
    care_A = np.exp(population.care * random.standard_normal(annotators))
    taste_AK = population.taste * random.standard_normal((annotators, count))
    load_A = population.load * random.standard_normal(annotators)
    random_A = random.random(annotators) < population.random
    care_A[random_A] = 0
    order_CA = np.argsort(load_A + random.gumbel(size=(captions, annotators)), 1)
    annotator_N = order_CA[:, annotators - per_caption :].ravel()
    caption_N = np.repeat(np.arange(captions), per_caption)
    scale_N = care_A[annotator_N] * clarity_C[caption_N]
    utility_NK = scale_N[:, None] * (log_worth_K + luck_CK[caption_N] + taste_AK[annotator_N])
    return Draw(caption_N, annotator_N, utility_NK + random.gumbel(size=utility_NK.shape), random_A)


def true_shares(log_worth_K: np.ndarray, population: Population, *, draws: int = 1_000_000) -> np.ndarray:
    """Share ranked best of each system in the whole population of captions and annotators, by Monte Carlo, (K,).

    Its standard error is below 0.0005 with a million draws. Ties are not counted.
    """
    utility_NK = expected_utilities(log_worth_K, population, draws, np.random.default_rng(20210615))
    weights_NK = np.exp(utility_NK - utility_NK.max(1, keepdims=True))
    return (weights_NK / weights_NK.sum(1, keepdims=True)).mean(0)


def expected_utilities(
    log_worth_K: np.ndarray, population: Population, draws: int, random: np.random.Generator
) -> np.ndarray:
    """Utilities without their noise, (draws, K), each of another caption and another annotator."""
    factor_N = np.exp(np.hypot(population.clarity, population.care) * random.standard_normal(draws))
    factor_N[random.random(draws) < population.random] = 0
    spread = np.hypot(population.luck, population.taste)
    return factor_N[:, None] * (log_worth_K + spread * random.standard_normal((draws, len(log_worth_K))))


def log_worths(worths: Mapping[str, float]) -> np.ndarray:
    """Logs of worths, of mean 0, (K,)."""
    logs = np.log(np.array(list(worths.values())))
    return logs - logs.mean()


def simulated_study(
    worths: Mapping[str, Mapping[str, float]],
    population: Population | None = None,
    *,
    captions: int = 100,
    per_caption: int = 5,
    annotators: int = 20,
    seed: int = 0,
    rules: ExclusionRules | None = None,
    name: str = "Simulated study",
) -> tuple[Study, list[Answer]]:
    """A study and its answers: to main items, and to each annotator's attention checks and repeats.

    Args:
        worths: worths of each system, by criterion; all criteria have the same systems.
        population: the population of captions and annotators.
        captions: number of captions rated in each criterion.
        per_caption: number of annotators that rate a caption.
        annotators: number of annotators that take part.
        seed: seed of everything.
        rules: rules of exclusion; the defaults if None.
        name: the study's name.
    """
    population = Population() if population is None else population
    random = np.random.default_rng(seed)
    systems = tuple(next(iter(worths.values())))
    study = Study(
        f"simulated-{seed}", name, seed, tuple(worths), "rank", per_caption, systems, rules or ExclusionRules(),
        WHEN,
    )  # fmt: skip
    answers: list[Answer] = []
    for criterion, of_system in worths.items():
        drawn = draw(
            log_worths(of_system),
            population,
            captions=captions,
            per_caption=per_caption,
            annotators=annotators,
            random=random,
        )
        answers += main_and_repeats(criterion, systems, drawn, population.ties, random)
        for annotator in np.unique(drawn.annotator_N):
            careless = bool(drawn.random_A[annotator])
            answers += [check(criterion, number, int(annotator) + 1, careless, random) for number in range(CHECKS)]
    return study, answers


def main_and_repeats(
    criterion: str, systems: tuple[str, ...], drawn: Draw, ties: float, random: np.random.Generator
) -> list[Answer]:
    """Answers to main items, and to each annotator's first items again, with a little extra noise."""
    answers = []
    again_NK = drawn.utility_NK + 0.7 * random.gumbel(size=drawn.utility_NK.shape)
    seen: dict[int, int] = {}
    for row, (caption, annotator) in enumerate(zip(drawn.caption_N, drawn.annotator_N, strict=True)):
        careless = bool(drawn.random_A[annotator])
        seen[annotator] = seen.get(annotator, 0) + 1
        kinds: tuple[Kind, ...] = ("main", "repeat") if seen[annotator] <= CHECKS else ("main",)
        for kind in kinds:
            utility_K = drawn.utility_NK[row] if kind == "main" else again_NK[row]
            if careless:
                utility_K = random.gumbel(size=len(systems))
            answers.append(
                Answer(
                    item_id=f"{criterion}-{caption}",
                    caption_id=f"caption-{caption}",
                    caption=f"simulated caption {caption}",
                    criterion=criterion,
                    kind=kind,
                    annotator=int(annotator) + 1,
                    ranking=ranked(utility_K, systems, ties),
                    shown_order=tuple(systems[place] for place in random.permutation(len(systems))),
                    seconds=round(float(random.lognormal(np.log(0.8 if careless else 9.0), 0.5)), 3),
                    answered_at=WHEN,
                )
            )
    return answers


def check(criterion: str, number: int, annotator: int, careless: bool, random: np.random.Generator) -> Answer:
    """The answer to an attention check: correct in 98 % of cases, or by chance."""
    shown = (REFERENCE, "noise-1", "noise-2", "noise-3")
    right = random.random() < (1 / len(shown) if careless else 0.98)
    order = shown if right else (*shown[1:], shown[0])
    return Answer(
        f"{criterion}-check-{number}", f"check-{number}", "", criterion, "attention", annotator,
        tuple((name,) for name in order), shown, 0.8 if careless else 4.0, WHEN,
    )  # fmt: skip


def ranked(utility_K: np.ndarray, systems: tuple[str, ...], ties: float) -> tuple[tuple[str, ...], ...]:
    """Systems by decreasing utility; neighbours closer than ``ties`` are tied."""
    groups: list[list[str]] = []
    last = np.inf
    for place in np.argsort(-utility_K):
        if groups and last - utility_K[place] < ties:
            groups[-1].append(systems[place])
        else:
            groups.append([systems[place]])
        last = utility_K[place]
    return tuple(tuple(group) for group in groups)
