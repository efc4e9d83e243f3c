"""Tables in three formats against golden files, and properties that hold for any names.

To accept a deliberate change, run this file with UPDATE_GOLDEN=1 and review the difference.
"""

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from xmcgan.evaluation.tables import Cell, Column, Group, Protocol, Row, Table, to_html, to_latex, to_markdown

GOLDEN = Path(__file__).parent / "golden"

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


def page() -> str:
    return to_html([TABLE], title="Numbers & more", about="3 results")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("table.md", to_markdown([TABLE])),
        ("table.tex", to_latex([TABLE])),
        ("table.html", re.sub(r"<style>.*?</style>", "", page(), flags=re.DOTALL)),
    ],
)
def test_golden_file(name, text):
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_markdown_columns_are_aligned():
    lines = [line for line in to_markdown([TABLE]).splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    "name",
    [
        "A & B",
        "&copy; &#64; &lt;b&gt; &amp;",
        "~~struck~~ and ~sub~",
        "$a$ and $$b$$",
        "https://example.com/x and HTTP://example.com, ftp://example.com",
        "www.example.com",
        "mail a.b+c@example.com, mailto:a@b.de, xmpp:a@b.de",
        "ends in #",
        NASTY,
    ],
)
def test_no_name_has_a_meaning_in_markdown(name):
    """What a reader sees is the name, and nothing in it is a link, an entity or a mark."""
    from html import unescape

    markdown_it = pytest.importorskip("markdown_it")
    row = Row(name, (Cell("1"),))
    text = to_markdown([Table(name, (Column("FID"),), (Group("measured", "here", (row,)),), (f"Of {name}",))])
    parser = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    shown = parser.render(text).replace("<!---->", "")
    assert not re.search(r"<(?!/?(h2|table|thead|tbody|tr|th|td|ul|li|p)\b)", shown)
    texts = [unescape(each) for each in re.findall(r">([^<]+)<", shown)]
    assert {name, f"Of {name}"} <= set(texts)
    assert texts.count(name) == 2
    # What GitHub links besides, whether escaped or not, and sets as mathematics.
    assert not re.search(r"(?i)(https?|ftp|mailto|xmpp):|www\.|\w@\w|(?<!\\)\$", text)


def test_latex_is_balanced():
    """Environments, braces and dollars match, which needs no LaTeX."""
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


class Tags(HTMLParser):
    """All tags of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)


def test_html_is_self_contained_and_has_no_script():
    assert page().startswith("<!doctype html>")
    assert not {"script", "link", "img", "a", "iframe"} & Tags(page()).tags
    assert not re.search(r"url\(|@import|https?://", page())
    assert "<title>Numbers &amp; more</title>" in page()
    assert 'name="viewport"' in page()
    assert "prefers-color-scheme: dark" in page()


def test_html_tags_are_closed():
    body = page()[page().index("<body>") :]
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
