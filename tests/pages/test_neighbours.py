"""The page of nearest training images."""

import io

from PIL import Image

from xmcgan.data.records import Record
from xmcgan.pages.neighbours import Closest, Pair, write_neighbours_page


def record(colour: str, caption: str) -> Record:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(stream, format="PNG")
    return Record(stream.getvalue(), (caption,), caption)


def test_the_page_shows_pairs_and_marks_copies(tmp_path):
    copy = Pair(record("red", "a <b>red</b> car"), record("red", "a red bus"), 0.1, 0.3)
    fresh = Pair(record("blue", "a blue car"), record("green", "a boat"), 0.5, 0.3)
    page = write_neighbours_page(
        tmp_path / "pages/ours.html", Closest([copy, fresh], 20, 0.61, 0.58), title="ours & co"
    )
    text = page.read_text()
    assert text.count("data:image/png") == 4
    assert text.count('class="copied"') == 1
    assert text.index("0.100") < text.index("0.500")
    assert "a &lt;b&gt;red&lt;/b&gt; car" in text
    assert "<b>red</b>" not in text
    assert "ours &amp; co" in text
    assert "0.610" in text
    assert "0.580" in text
    assert "<script" not in text
    assert "Between two captions" not in text  # there is no pipeline
