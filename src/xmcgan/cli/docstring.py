"""Turns Google-style docstrings into help texts."""

import inspect
import re
from dataclasses import dataclass

SECTIONS = ("Args", "Examples", "Raises", "Returns", "Yields")


@dataclass(frozen=True)
class Docstring:
    """The parts of a docstring that the help shows.

    Args:
        text: paragraphs; the first is the summary.
        arguments: the description of each argument or field.
        examples: the lines of ``Examples:``, indented by two.
    """

    text: tuple[str, ...]
    arguments: dict[str, str]
    examples: str

    @property
    def summary(self) -> str:
        """The first paragraph, in one line."""
        return self.text[0] if self.text else ""


def read_docstring(docstring: str | None) -> Docstring:
    """A docstring's parts, without its double backticks for code."""
    text = inspect.cleandoc(docstring or "").replace("``", "")
    head, *rest = re.split(rf"(?m)^({'|'.join(SECTIONS)}):\n", text)
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    paragraphs = tuple(" ".join(part.split()) for part in head.strip().split("\n\n") if part.strip())
    arguments = {
        found["name"]: " ".join(found["text"].split())
        for found in re.finditer(r"(?ms)^ {4}(?P<name>\w+): (?P<text>.*?)(?=^ {4}\w|\Z)", sections.get("Args", ""))
    }
    examples = "\n".join(f"  {line.strip()}" for line in sections.get("Examples", "").strip().splitlines())
    return Docstring(paragraphs, arguments, examples)
