"""Raw answers as CSV and JSON, and back. An annotator is a number; there is no personal information in them."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from xmcgan.study.records import Answer, ExclusionRules, Study

COLUMNS = (
    "item_id", "caption_id", "caption", "criterion", "kind", "annotator", "ranking", "shown_order", "seconds",
    "answered_at",
)  # fmt: skip


def to_csv(answers: Sequence[Answer]) -> str:
    """Answers as CSV, one line each. In ``ranking``, ``>`` separates groups and ``=`` ties: ``a>b=c>d``.

    A text that a spreadsheet could run as a formula (it begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage
    return) gets an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for answer in answers:
        row: dict[str, Any] = {name: getattr(answer, name) for name in COLUMNS}
        row["ranking"] = ">".join("=".join(group) for group in answer.ranking)
        row["shown_order"] = " ".join(answer.shown_order)
        writer.writerow([inert(row[name]) for name in COLUMNS])
    return text.getvalue()


def inert(value: Any) -> Any:
    """A cell's value, which no spreadsheet runs as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def to_json(study: Study, answers: Sequence[Answer]) -> str:
    """The study and its answers as one JSON document."""
    content = {"study": asdict(study), "answers": [asdict(answer) for answer in answers]}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> tuple[Study, list[Answer]]:
    """The study and answers that ``to_json`` wrote.

    Raises:
        ValueError: if it is anything else.
    """
    try:
        content = json.loads(text)
        held = content["study"]
        rules = ExclusionRules(**held["exclusion"])
        study = Study(**held | {"exclusion": rules, "criteria": (*held["criteria"],), "systems": (*held["systems"],)})
        answers = [
            Answer(
                **line
                | {
                    "ranking": tuple(tuple(group) for group in line["ranking"]),
                    "shown_order": tuple(line["shown_order"]),
                }
            )
            for line in content["answers"]
        ]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"not the raw answers of a study: {error!r}") from error
    return study, answers
