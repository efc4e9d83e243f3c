"""The results of a study as a folder: page, figure, numbers, raw answers, lines for ``xmcgan compare``."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xmcgan import __version__
from xmcgan.evaluation.results import Result, Setting, to_line
from xmcgan.runtime import files
from xmcgan.runtime.locks import locked_folder
from xmcgan.study import raw_answers
from xmcgan.study.analysis.figure import figure_3, rendered
from xmcgan.study.analysis.page import render
from xmcgan.study.analysis.results import Results
from xmcgan.study.records import Answer

FILES = {
    "figure-3.svg": "Figure 3 as SVG",
    "figure-3.png": "Figure 3 as PNG",
    "results.json": "all numbers",
    "results.jsonl": "lines for xmcgan compare",
    "answers.csv": "raw answers as CSV",
    "answers.json": "raw answers as JSON",
}
"""Files beside results.html, by name."""


def write_results(
    folder: Path, results: Results, answers: Sequence[Answer], *, data: str | None = None, seconds: float = 0.0
) -> list[Path]:
    """Write the folder of results and return its files, the page first.

    Args:
        folder: made if missing.
        results: the results of ``analyse``.
        answers: the answers that they come from, of all kinds.
        data: name of the data set in ``xmcgan compare``, such as coco14; the study's name if None.
        seconds: duration of the computation, for the lines.

    Raises:
        ValueError: if no answer counts.
        FileExistsError: naming the files that exist with other content; nothing is written then.
    """
    if not results.criteria:
        why = ": all are left out by the study's rules" if results.excluded else " yet"
        raise ValueError(f"no annotator's answers count{why}")
    figure = figure_3(results)
    lines = "".join(f"{to_line(line)}\n" for line in comparison_lines(results, data=data, seconds=seconds))
    content = {
        "results.html": render(results, downloads=FILES).encode(),
        "figure-3.svg": rendered(figure, "svg"),
        "figure-3.png": rendered(figure, "png"),
        "results.json": files.to_json(to_dict(results), ensure_ascii=False).encode(),
        "results.jsonl": lines.encode(),
        "answers.csv": raw_answers.to_csv(answers).encode(),
        "answers.json": raw_answers.to_json(results.study, answers).encode(),
    }
    with locked_folder(folder, "written into", wait=True):
        others = [name for name, text in content.items() if differs(folder / name, text)]
        if others:
            raise FileExistsError(f"{folder} holds {', '.join(others)} with other content; choose another --output")
        return [files.write_bytes(folder / name, text) for name, text in content.items()]


def differs(path: Path, content: bytes) -> bool:
    """Whether a path exists and is anything but a file with this content."""
    return path.exists() and not (path.is_file() and path.read_bytes() == content)


def to_dict(results: Results) -> dict[str, Any]:
    """All numbers as plain values, for JSON."""
    study = asdict(results.study)
    return {
        "version": __version__,
        "study": study,
        "method": {
            "intervals": "crossed bootstrap of captions, annotators and answers, 95 %, t quantiles by part",
            "replicates": results.replicates,
            "seed": results.seed,
            "p": "two-sided, of a win rate of 1/2; p_holm over all pairs of all criteria",
        },
        "criteria": [criterion_dict(each) for each in results.criteria],
        "without_exclusion": [criterion_dict(each) for each in results.everyone],
        "annotators": [asdict(each) | {"excluded": each.excluded} for each in results.conducts],
    }


def criterion_dict(criterion: Any) -> dict[str, Any]:
    """A criterion with its named tuples as objects."""
    return {name: plain(getattr(criterion, name)) for name in criterion.__dataclass_fields__}


def plain(value: Any) -> Any:
    """Named tuples and dataclasses as dictionaries."""
    if hasattr(value, "_asdict"):
        return {name: plain(each) for name, each in value._asdict().items()}
    if hasattr(value, "__dataclass_fields__"):
        return criterion_dict(value)
    return [plain(each) for each in value] if isinstance(value, tuple) else value


def comparison_lines(results: Results, *, data: str | None = None, seconds: float = 0.0) -> list[Result]:
    """Share ranked best of each system and criterion, as ``xmcgan compare`` reads it."""
    study, rules = results.study, results.study.exclusion
    lines = []
    for each in results.criteria:
        protocol: dict[str, Setting] = {
            "data": study.name if data is None else data,
            "study": study.id,
            "task": {"rank": "ranking", "pairs": "pairs", "pairs-ties": "pairs with ties"}[study.mode],
            "systems": ", ".join(sorted(study.systems)),
            "annotators_per_item": study.annotators_per_item,
            "answers": each.answers,
            "annotators": each.annotators,
            "min_attention_correct": rules.min_attention_correct,
            "min_seconds_median": rules.min_seconds_median,
            "min_self_agreement": rules.min_self_agreement,
            "uncertainty": "standard error, crossed bootstrap",
            "seed": results.seed,
        }
        lines += [
            Result(
                f"human-{each.criterion}", system.best.value, system.best.error, each.captions, system.system, protocol,
                seconds,
            )
            for system in each.systems
        ]  # fmt: skip
    return lines
