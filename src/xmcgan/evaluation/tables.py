"""Tables as Markdown, LaTeX and HTML, with the same cells, groups, marks and notes in each.

Tables hold plain text, and names come from results files, so each format escapes its own special characters.
"""

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

EMPTY = "\N{EN DASH}"
"""Text of an empty cell."""


class Column(NamedTuple):
    """One metric."""

    name: str
    unit: str = ""
    better: str = ""  # higher, lower, or empty if unknown


class Cell(NamedTuple):
    """One formatted number."""

    value: str
    uncertainty: str = ""
    samples: str = ""  # only if the numbers of images in a column differ
    best: bool = False
    mark: str = ""  # a sign behind the value that a note explains


class Row(NamedTuple):
    """One system: a cell or None for each column."""

    name: str
    cells: tuple[Cell | None, ...]


class Group(NamedTuple):
    """Rows from one source."""

    source: str  # published or measured
    about: str
    rows: tuple[Row, ...]


class Protocol(NamedTuple):
    """Settings shared by the numbers of one column, or of all columns."""

    of: str
    settings: tuple[tuple[str, str], ...]


class Table(NamedTuple):
    """Content of a table, independent of its format."""

    title: str
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()
    protocols: tuple[Protocol, ...] = ()


# Markdown


def to_markdown(tables: Sequence[Table]) -> str:
    """Tables with a column for the source of each row, padded for reading in a terminal."""
    return "\n".join(markdown_table(table) for table in tables)


def markdown_table(table: Table) -> str:
    """One table, its notes, and the protocol of its columns."""
    lines = [["System", "Source", *(markdown(heading(column)) for column in table.columns)]]
    for group in table.groups:
        for row in group.rows:
            lines.append([markdown(row.name), group.source, *map(markdown_cell, row.cells)])
    widths = [max(3, *(len(line[place]) for line in lines)) for place in range(len(lines[0]))]
    rule = [f":{'-' * (width - 1)}" if place < 2 else f"{'-' * (width - 1)}:" for place, width in enumerate(widths)]
    padded = [
        [text.ljust(width) if place < 2 else text.rjust(width)
         for place, (text, width) in enumerate(zip(line, widths, strict=True))]
        for line in (lines[0], rule, *lines[1:])
    ]  # fmt: skip
    rows = [f"| {' | '.join(line)} |" for line in padded]
    about = [f"- {markdown(text)}" for text in (*table.notes, *map(sentence, table.protocols))]
    return "\n".join([f"## {markdown(table.title)}", "", *rows, "", *about, ""])


def markdown_cell(cell: Cell | None) -> str:
    """A number with its uncertainty and number of images."""
    if cell is None:
        return EMPTY
    value = (f"**{cell.value}**" if cell.best else cell.value) + cell.mark
    return value + f" ± {cell.uncertainty}" * bool(cell.uncertainty) + f" (n = {cell.samples})" * bool(cell.samples)


def heading(column: Column) -> str:
    """A column's name, its unit, and an arrow that shows whether higher or lower is better."""
    arrow = {"higher": " ↑", "lower": " ↓", "": ""}[column.better]
    return column.name + f" ({column.unit})" * bool(column.unit) + arrow


def sentence(protocol: Protocol) -> str:
    """A protocol as one sentence."""
    settings = "; ".join(f"{name}: {value}" for name, value in protocol.settings)
    return f"Protocol of {protocol.of}: {settings}."


MARKDOWN = (
    (r"([\\`*<>\[\]|~$]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)|#(?=#*$))", r"\\\1"),
    (r"(?i)\b(https?|ftp|mailto|xmpp):", r"\1\\:"),
    (r"(?i)(?<!\w)(www)\.", r"\1\\."),
    (r"(?<=[\w.+-])@(?=\w)", "<!---->@"),  # GitHub links a mail address even where its @ is escaped
)
"""What has a meaning in GitHub's Markdown, and how to escape it: marks, entities, mathematics, bare addresses."""


def markdown(text: str) -> str:
    """Escape plain text for Markdown; underscores inside words need no escape."""
    for pattern, escaped in MARKDOWN:
        text = re.sub(pattern, escaped, text)
    return text


# LaTeX

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "\N{EN DASH}": "--",
    "\N{DAGGER}": r"\dag{}",
    "…": r"\ldots{}", "[": "{[}", "]": "{]}", "*": "{*}",  # the \\ before a row would read these as its arguments
}  # fmt: skip


def to_latex(tables: Sequence[Table]) -> str:
    """One float per table for ``\\input``, in booktabs style."""
    return "% \\usepackage{booktabs}\n\n" + "\n".join(latex_table(table) for table in tables)


def latex_table(table: Table) -> str:
    """One float: caption, grouped rows, notes."""
    count = 1 + len(table.columns)
    lines = [" & ".join(["System", *(latex(heading(column)) for column in table.columns)]) + r" \\"]
    for group in table.groups:
        about = f"{group.source.capitalize()}: {group.about}"
        lines += [r"\midrule", rf"\multicolumn{{{count}}}{{l}}{{\textit{{{latex(about)}}}}} \\"]
        lines += [" & ".join([latex(row.name), *map(latex_cell, row.cells)]) + r" \\" for row in group.rows]
    notes = [*table.notes, *map(sentence, table.protocols)]
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering\small\setlength{\tabcolsep}{4pt}",
            rf"  \caption{{{latex(table.title)}}}",
            rf"  \begin{{tabular}}{{l{'r' * (count - 1)}}}",
            r"    \toprule",
            *(f"    {line}" for line in lines),
            r"    \bottomrule",
            r"  \end{tabular}",
            "",
            r"  \medskip",
            r"  \begin{minipage}{\linewidth}",
            r"    \footnotesize\raggedright",
            *(rf"    {latex(note)}\par" for note in notes),
            r"  \end{minipage}",
            r"\end{table}",
            "",
        ]
    )


def latex_cell(cell: Cell | None) -> str:
    """A number with its uncertainty and number of images."""
    if cell is None:
        return latex(EMPTY)
    value = (rf"\textbf{{{latex(cell.value)}}}" if cell.best else latex(cell.value)) + latex(cell.mark)
    return (
        value
        + rf" $\pm$ {latex(cell.uncertainty)}" * bool(cell.uncertainty)
        + f" ($n$ = {latex(cell.samples)})" * bool(cell.samples)
    )


def latex(text: str) -> str:
    """Escape plain text for LaTeX."""
    return "".join(LATEX.get(letter, letter) for letter in text)


# HTML

STYLE = Path(__file__).with_name("tables.css").read_text(encoding="utf-8")


def to_html(tables: Sequence[Table], *, title: str, about: str) -> str:
    """One self-contained page of tables, for wide and narrow screens, light and dark."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>\n'
        f'<h1>{html.escape(title)}</h1>\n<p class="soft">{html.escape(about)}</p>\n'
        + "\n".join(html_table(table) for table in tables)
        + "\n</body></html>\n"
    )


def html_table(table: Table) -> str:
    """One table with its notes and collapsible protocols."""
    headings = "".join(f'<th scope="col">{html.escape(heading(column))}</th>' for column in table.columns)
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in table.notes)
    rows = [row for group in table.groups for row in group.rows]
    pads = [
        max((cell.uncertainty for row in rows if (cell := row.cells[place])), key=len, default="")
        for place in range(len(table.columns))
    ]
    return "\n".join(
        [
            f"<section><h2>{html.escape(table.title)}</h2>",
            f'<div class="frame" tabindex="0" role="region" aria-label="{html.escape(table.title)}"><table>',
            f'<thead><tr><th scope="col">System</th>{headings}</tr></thead>',
            *(html_group(group, pads) for group in table.groups),
            "</table></div>",
            f"<ul>{notes}</ul>" if notes else "",
            *map(html_protocol, table.protocols),
            "</section>",
        ]
    )


def html_group(group: Group, pads: Sequence[str]) -> str:
    """Rows from one source, under a heading row.

    Args:
        pads: the longest uncertainty of each column, to align numbers.
    """
    rows = "\n".join(
        f'<tr><th scope="row">{html.escape(row.name)}</th>{"".join(map(html_cell, row.cells, pads))}</tr>'
        for row in group.rows
    )
    about = f"<span><b>{html.escape(group.source)}</b>{html.escape(group.about)}</span>"
    band = f'<tr class="group"><th scope="rowgroup" colspan="{1 + len(pads)}">{about}</th></tr>'
    return f'<tbody class="{html.escape(group.source)}">{band}\n{rows}</tbody>'


def html_cell(cell: Cell | None, pad: str) -> str:
    """A number with its uncertainty and number of images, padded with an invisible uncertainty to align numbers."""
    if cell is None:
        text, shown = EMPTY, ""
    else:
        text, shown = html.escape(cell.value + cell.mark), html.escape(cell.uncertainty)
    if shown:
        beside = f'<span class="pm">± {shown}</span>'
    else:
        beside = f'<span class="pm pad" aria-hidden="true">± {html.escape(pad)}</span>' * bool(pad)
    if cell is None:
        return f'<td class="none">{text}{beside}</td>'
    samples = f'<span class="n">n = {html.escape(cell.samples)}</span>' * bool(cell.samples)
    return (f'<td class="best"><b>{text}</b>' if cell.best else f"<td>{text}") + f"{beside}{samples}</td>"


def html_protocol(protocol: Protocol) -> str:
    """Settings in a collapsed block."""
    pairs = (f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in protocol.settings)
    summary = f"<summary>Protocol of <b>{html.escape(protocol.of)}</b></summary>"
    return f"<details>{summary}<dl>{''.join(pairs)}</dl></details>"
