"""A table in three formats: every cell at its place, and nothing in a name taken for a mark."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from xmcgan.evaluation.tables import Cell, Column, Group, Protocol, Row, Table, to_html, to_latex, to_markdown

NASTY = r"*A_b* _c_ | 50% & $x$ <script>alert(1)</script> [d] {e} #1 ~^\`"
TABLE = Table(
    "COCO-14 (Table 2 of the paper)",
    (Column("IS", better="higher"), Column("FID", better="lower"), Column("SOA-C", "%", "higher"), Column("odd")),
    (
        Group("published", "the paper's own", (Row("AttnGAN", (Cell("23.61"), Cell("33.10"), Cell("25.88"), None)),)),
        Group(
            "measured",
            "here",
            (
                Row(NASTY, (Cell("28.12", "0.41", "30,000", best=True), Cell("9.50"), None, Cell("0.1000"))),
                Row("[x]", (Cell("27.90", "0.30", "5,000"), Cell("24.90"), Cell("71.00", best=True), None)),
            ),
        ),
    ),
    (f"A note on {NASTY}.",),
    (Protocol("FID", (("weights_sha256", "6f6f"), ("resize", "<tf1> 50%"))),),
)


# Markdown


def cells_of_markdown(text: str) -> list[list[str]]:
    """The cells of the lines of a table; a bar after a backslash is part of a cell."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_markdown_cell_by_cell():
    head, rule, *rows = cells_of_markdown(to_markdown([TABLE]))
    assert head == ["System", "Source", "IS ↑", "FID ↓", "SOA-C (%) ↑", "odd"]
    assert all(re.fullmatch(":-+" if place < 2 else "-+:", text) for place, text in enumerate(rule))
    none = "\N{EN DASH}"
    assert rows[0] == ["AttnGAN", "published", "23.61", "33.10", "25.88", none]
    assert rows[1][1:] == ["measured", "**28.12** ± 0.41 (n = 30,000)", "9.50", none, "0.1000"]
    assert rows[2] == [r"\[x\]", "measured", "27.90 ± 0.30 (n = 5,000)", "24.90", "**71.00**", none]


def test_markdown_takes_no_name_for_a_mark():
    name = cells_of_markdown(to_markdown([TABLE]))[3][0]
    assert name == r"\*A_b\* \_c\_ \| 50% & $x$ \<script\>alert(1)\</script\> \[d\] {e} #1 ~^\\\`"
    assert re.sub(r"\\(.)", r"\1", name) == NASTY


def test_markdown_stands_in_columns_in_a_terminal():
    lines = [line for line in to_markdown([TABLE]).splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1


def test_markdown_says_notes_and_protocols():
    text = to_markdown([TABLE])
    assert text.startswith("## COCO-14 (Table 2 of the paper)\n\n| System")
    assert "\n- A note on \\*A_b\\*" in text
    assert "\n- Protocol of FID: weights_sha256: 6f6f; resize: \\<tf1\\> 50%.\n" in text


# LaTeX


def cells_of_latex(text: str) -> list[list[str]]:
    """The cells of the lines that end in a double backslash; an ampersand after a backslash is part of a cell."""
    lines = [line.strip().removesuffix(r" \\") for line in text.splitlines() if line.endswith(r"\\")]
    return [re.split(r" (?<!\\)& ", line) for line in lines]


def test_latex_cell_by_cell():
    head, published, attngan, measured, nasty, other = cells_of_latex(to_latex([TABLE]))
    assert head == ["System", r"IS $\uparrow$", r"FID $\downarrow$", r"SOA-C (\%) $\uparrow$", "odd"]
    assert published == [r"\multicolumn{5}{l}{\textit{Published: the paper's own}}"]
    assert attngan == ["AttnGAN", "23.61", "33.10", "25.88", "--"]
    assert measured == [r"\multicolumn{5}{l}{\textit{Measured: here}}"]
    assert nasty[1:] == [r"\textbf{28.12} $\pm$ 0.41 ($n$ = 30,000)", "9.50", "--", "0.1000"]
    assert other == ["{[}x{]}", r"27.90 $\pm$ 0.30 ($n$ = 5,000)", "24.90", r"\textbf{71.00}", "--"]


def test_latex_takes_no_name_for_a_command():
    name = cells_of_latex(to_latex([TABLE]))[4][0]
    assert name == (
        r"{*}A\_b{*} \_c\_ \textbar{} 50\% \& \$x\$ "
        r"\textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{}"
        r" {[}d{]} \{e\} \#1 \textasciitilde{}\textasciicircum{}\textbackslash{}`"
    )


def test_latex_is_balanced():
    """What can be counted where no LaTeX is at hand."""
    text = to_latex([TABLE, TABLE])
    opened = re.findall(r"\\begin\{(\w+)\}", text)
    closed = re.findall(r"\\end\{(\w+)\}", text)
    assert opened == ["table", "tabular", "minipage"] * 2
    assert closed == ["tabular", "minipage", "table"] * 2
    bare = re.sub(r"\\[\\{}%&$#_]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert not re.search(r"#|\^|~|[^\x00-\x7f]", bare)
    assert re.findall(r"%.*", bare)[1:] == []  # the first line is the one comment
    assert r"\begin{tabular}{lrrrr}" in text
    assert [text.count(rf"\{rule}rule") for rule in ("top", "mid", "bottom")] == [2, 4, 2]


def test_latex_compiles(tmp_path):
    if (
        shutil.which("pdflatex") is None
        or subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True).returncode
    ):
        pytest.skip("there is no pdflatex with booktabs")
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{tables}\end{document}"
    (tmp_path / "tables.tex").write_text(to_latex([TABLE]), encoding="utf-8")
    (tmp_path / "document.tex").write_text(document)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "document.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    assert (tmp_path / "document.pdf").is_file()


# HTML


class Page(HTMLParser):
    """The groups of tables with their cells' text, and all tags."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.groups: list[tuple[str, list[list[str]]]] = []
        self.inside = self.padding = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        kind = dict(attrs).get("class") or ""
        if tag in ("tbody", "thead"):
            self.groups.append((kind, []))
        elif tag == "tr":
            self.groups[-1][1].append([])
        elif tag in ("td", "th"):
            self.groups[-1][1][-1].append("")
            self.inside = True
        self.padding = "pad" in kind.split()

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.inside = False
        self.padding = False

    def handle_data(self, data):
        if self.inside and not self.padding:
            self.groups[-1][1][-1][-1] += data


@pytest.fixture(scope="module")
def page() -> str:
    return to_html([TABLE], title="Numbers & more", about="3 results")


def test_html_cell_by_cell(page):
    (_, [head]), (published, [_, attngan]), (measured, [_, nasty, other]) = Page(page).groups
    none = "\N{EN DASH}"
    assert head == ["System", "IS ↑", "FID ↓", "SOA-C (%) ↑", "odd"]
    assert (published, measured) == ("published", "measured")
    assert attngan == ["AttnGAN", "23.61", "33.10", "25.88", none]
    assert nasty == [NASTY, "28.12± 0.41n = 30,000", "9.50", none, "0.1000"]
    assert other == ["[x]", "27.90± 0.30n = 5,000", "24.90", "71.00", none]
    assert re.findall(r'<td class="best"><b>(.*?)</b>', page) == ["28.12", "71.00"]


def test_html_has_nothing_outside_and_no_script(page):
    assert page.startswith("<!doctype html>")
    assert not {"script", "link", "img", "a", "iframe"} & set(Page(page).tags)
    assert not re.search(r"url\(|@import|https?://", page)
    assert "<title>Numbers &amp; more</title>" in page
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page


def test_html_tags_are_closed(page):
    body = page[page.index("<body>") :]
    for tag in (
        "table",
        "thead",
        "tbody",
        "tr",
        "td",
        "th",
        "span",
        "b",
        "div",
        "section",
        "ul",
        "li",
        "details",
        "dl",
    ):
        assert len(re.findall(rf"<{tag}[ >]", body)) == body.count(f"</{tag}>"), tag


def test_html_says_notes_and_protocols(page):
    assert "<li>A note on *A_b* _c_ | 50% &amp; $x$ &lt;script&gt;" in page
    assert "<summary>Protocol of <b>FID</b></summary>" in page
    assert "<dt>weights_sha256</dt><dd>6f6f</dd><dt>resize</dt><dd>&lt;tf1&gt; 50%</dd>" in page
