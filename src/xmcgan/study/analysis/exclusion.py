"""Exclusion of annotators by rules that were fixed before the study. Answers are left out here, never deleted."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from xmcgan.study.analysis.tally import pair_orders
from xmcgan.study.records import Answer, ExclusionRules, Study


@dataclass(frozen=True, slots=True)
class Conduct:
    """The data that the rules look at, for one annotator in one criterion.

    Args:
        answers: number of answers to main items.
        attention: share of attention checks answered correctly, 0 to 1; None without checks.
        attention_checks: number of checks answered.
        seconds: median time of a main item; None without main items.
        self_agreement: share of pairs of systems ordered alike in repeated items; None without repeats.
        repeats: number of repeated items.
        reasons: the rules that were broken, as text; empty if the answers count.
    """

    annotator: int
    criterion: str
    answers: int
    attention: float | None
    attention_checks: int
    seconds: float | None
    self_agreement: float | None
    repeats: int
    reasons: tuple[str, ...] = ()

    @property
    def excluded(self) -> bool:
        """Whether the answers are left out."""
        return bool(self.reasons)


def conduct(study: Study, answers: Sequence[Answer]) -> tuple[Conduct, ...]:
    """The conduct of each annotator in each criterion, by criterion as in the study and then by annotator."""
    groups: dict[tuple[int, int], list[Answer]] = defaultdict(list)
    for answer in answers:
        if answer.kind != "practice":
            groups[study.criteria.index(answer.criterion), answer.annotator].append(answer)
    return tuple(conduct_of(own, study.exclusion) for _, own in sorted(groups.items(), key=lambda item: item[0]))


def conduct_of(answers: Sequence[Answer], rules: ExclusionRules) -> Conduct:
    """The conduct of one annotator in one criterion."""
    main = {answer.item_id: answer for answer in answers if answer.kind == "main"}
    checks = [answer.attentive for answer in answers if answer.kind == "attention"]
    repeats = [answer for answer in answers if answer.kind == "repeat" and answer.item_id in main]
    alike = [share for again in repeats if (share := ordered_alike(main[again.item_id], again)) is not None]
    attention = sum(checks) / len(checks) if checks else None
    seconds = median(answer.seconds for answer in main.values()) if main else None
    agreement = sum(alike) / len(alike) if alike else None
    reasons = []
    if attention is not None and attention < rules.min_attention_correct:
        reasons.append(
            f"{sum(checks)} of {len(checks)} attention checks right; the rule is at least "
            f"{100 * rules.min_attention_correct:.0f} %"
        )
    if seconds is not None and seconds < rules.min_seconds_median:
        reasons.append(f"median time {seconds:.2g} s; the rule is at least {rules.min_seconds_median:g} s")
    if agreement is not None and rules.min_self_agreement is not None and agreement < rules.min_self_agreement:
        reasons.append(
            f"{100 * agreement:.0f} % of pairs ordered alike in repeated items; the rule is at least "
            f"{100 * rules.min_self_agreement:.0f} %"
        )
    first = answers[0]
    return Conduct(
        first.annotator, first.criterion, len(main), attention, len(checks), seconds, agreement, len(alike),
        tuple(reasons),
    )  # fmt: skip


def ordered_alike(one: Answer, other: Answer) -> float | None:
    """Share of pairs of systems that two answers order alike, a tie in both counting as alike; None without pairs."""
    first, second = pair_orders(one.ranking), pair_orders(other.ranking)
    common = first.keys() & second.keys()
    return sum(first[pair] == second[pair] for pair in common) / len(common) if common else None


def counted(answers: Sequence[Answer], conducts: Sequence[Conduct]) -> list[Answer]:
    """The answers of annotators that no rule excludes from a criterion."""
    excluded = {(each.criterion, each.annotator) for each in conducts if each.excluded}
    return [answer for answer in answers if (answer.criterion, answer.annotator) not in excluded]
