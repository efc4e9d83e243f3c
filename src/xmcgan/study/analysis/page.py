"""The results page of a study: one self-contained file for light and dark, wide and narrow screens."""

import base64
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from xmcgan.study.analysis.agreement import Agreement
from xmcgan.study.analysis.estimates import Estimate
from xmcgan.study.analysis.results import REPLICATES, CriterionResult, PairResult, Results, analyse
from xmcgan.study.records import Answer, Study, criterion_name

HERE = Path(__file__).parent / "templates"
STYLE = (HERE / "results.css").read_text(encoding="utf-8")
STYLE_HASH = "sha256-" + base64.b64encode(sha256(STYLE.encode()).digest()).decode()

PAGE_POLICY = f"default-src 'none'; img-src 'self' data:; style-src '{STYLE_HASH}'; base-uri 'none'; form-action 'none'"
"""Content security policy of the page: its own style, no script, no network. A server sends it with the page."""

NONE = "\N{EN DASH}"


def results_page(study: Study, answers: Sequence[Answer], *, replicates: int = REPLICATES) -> str:
    """The results of a study as a page, for the server; it takes some seconds for thousands of answers.

    Args:
        study: the study.
        answers: answers of all kinds, in any number.
        replicates: replicates of each bootstrap.
    """
    return render(analyse(study, answers, replicates=replicates))


def render(results: Results, *, downloads: Mapping[str, str] | None = None, note: str = "") -> str:
    """The page of results.

    Args:
        results: the results of ``analyse``.
        downloads: names of files beside the page, by their description.
        note: shown first, such as that the answers are simulated.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "percent": percent, "interval": interval, "number": number, "p": p_text, "share": share, "shade": shade,
        "agreement": agreement, "title": criterion_name,
        "count": lambda value: f"{value:,}",
        "counted": lambda value, what: f"{value:,} {what}{'s' * (value != 1)}",
    }  # fmt: skip
    return environment.get_template("results.html").render(
        results=results,
        study=results.study,
        criteria=results.criteria,
        everyone={each.criterion: each for each in results.everyone},
        style=STYLE,
        policy=PAGE_POLICY,
        downloads=downloads or {},
        note=note,
        leading=leading,
        matrix=matrix,
        tests=sum(pair.p is not None for each in results.criteria for pair in each.pairs),
    )


def percent(value: float | None) -> str:
    """A share in per cent."""
    return NONE if value is None else f"{100 * value:.1f}"


def share(value: float) -> str:
    """A share as a coordinate of a drawing that is 100 wide."""
    return f"{100 * value:.2f}"


def number(value: float | None, digits: int = 2) -> str:
    """A number with ``digits`` digits after the point."""
    return NONE if value is None else f"{value:.{digits}f}"


def interval(estimate: Estimate | Agreement, scale: float = 100, digits: int = 1) -> str:
    """An interval in words; empty if there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{scale * estimate.low:.{digits}f} to {scale * estimate.high:.{digits}f}"


def agreement(found: Agreement, scale: float = 1, digits: int = 2) -> str:
    """A measure with its interval."""
    if found.value is None:
        return NONE
    ends = interval(found, scale, digits)
    return f"{scale * found.value:.{digits}f}" + f" ({ends})" * bool(ends)


def p_text(value: float | None) -> str:
    """A p value as papers print it."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def shade(value: float) -> int:
    """One of eleven shades of a cell, 0 to 10, for a win rate."""
    return round(10 * value)


def leading(criterion: CriterionResult) -> str:
    """The result of a criterion in one sentence."""
    ordered = sorted(criterion.systems, key=lambda each: -each.best.value)
    first = ordered[0]
    ends = interval(first.best)
    text = f"{first.system} was ranked best in {percent(first.best.value)} % of answers"
    text += f" (95 % interval {ends})" if ends else ""
    if len(ordered) > 1:
        second = ordered[1]
        text += f", {second.system} in {percent(second.best.value)} %"
        both = {first.system, second.system}
        p = next((pair.p_holm for pair in criterion.pairs if {pair.first, pair.second} == both), None)
        if p is not None and p >= 0.05:
            text += "; which of the two is put above the other more often is not certain"
    return text + "."


def matrix(criterion: CriterionResult) -> dict[tuple[str, str], tuple[float, PairResult]]:
    """The win rate of each system over each other system, with the pair it comes from."""
    cells = {}
    for pair in criterion.pairs:
        cells[pair.first, pair.second] = (pair.wins.value, pair)
        cells[pair.second, pair.first] = (1 - pair.wins.value, pair)
    return cells
