"""The page to look through a data set: all that was asked for, nothing outside it, and no caption taken for HTML."""

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from xmcgan.data.layouts import read_records
from xmcgan.data.records import Box, Narrative, Record, TracePoint, Utterance
from xmcgan.pages import dataset as browse
from xmcgan.pages.dataset import write_browser

NASTY = """</script><script>document.title = "taken"</script> <!-- " ' & <b>bold</b> 🚗 一辆汽车 \u2028 ]]> \\"""


def png(width: int, height: int, colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, format="PNG")
    return buffer.getvalue()


SPOKEN = Narrative(
    "A red car. Um, a bus on the left.",
    (Utterance("A red car.", 0.5, 1.5), Utterance("Um,", 2.0, 2.2), Utterance("a bus on the left.", 2.2, 4.0)),
    (
        (TracePoint(0.1, 0.2, 0.5), TracePoint(0.4, 0.2, 1.5)),
        (TracePoint(0.7, 0.71234567, 2.0), TracePoint(1.02, 0.9, 4.126)),
    ),
)
CAR, BUS, OTHER_CAR = (
    Box("car", 0.1, 0.2, 0.3, 0.4),
    Box("school bus", 0.5, 0.25, 0.5, 0.75),
    Box("car", 0, 0, 0.1, 0.1),
)
TOLD = Record(png(40, 20), (SPOKEN.caption,), "7-12", (CAR, BUS, OTHER_CAR), SPOKEN)
PLAIN = Record(png(30, 30, "blue"), ("A scarf.", "A blue scarf."), "plain & simple")
BAD = Record(png(8, 8), (NASTY,), NASTY, (Box(NASTY, 0, 0, 1, 1),))


class Page(HTMLParser):
    """The tags of a page with their attributes, and the text that each begins with."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.beginning = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.texts.append("")
        self.beginning = True

    def handle_endtag(self, tag):
        self.beginning = False

    def handle_data(self, data):
        if self.beginning:
            self.texts[-1] += data

    @property
    def title(self) -> str:
        return self.texts[[tag for tag, _ in self.tags].index("title")]

    def text(self, **wanted: str) -> list[str]:
        """The texts of the elements with these attributes; ``class_`` for class."""
        wanted = {name.rstrip("_"): value for name, value in wanted.items()}
        return [
            text
            for (_, attributes), text in zip(self.tags, self.texts, strict=True)
            if all(attributes.get(name) == value for name, value in wanted.items())
        ]

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def written(folder: Path, *records: Record, title: str = "A set", side: int = 512) -> str:
    page = folder / "deep/browse.html"
    assert write_browser(page, records, title=title, side=side, overwrite=True) == page
    return page.read_text(encoding="utf-8")


def data_of(text: str) -> dict[str, Any]:
    """What the page's script reads."""
    (content,) = Page(text).text(id="data")
    return json.loads(content)


def picture_of(entry: dict[str, Any]) -> Image.Image:
    head, _, content = entry["source"].partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


# -------------------------------------------------------------------------------------------------- what is on it


def test_every_record_is_on_the_page(tmp_path):
    data = data_of(written(tmp_path, TOLD, PLAIN))
    assert data["categories"] == ["car", "school bus"]  # the most frequent first
    narrated, plain = data["records"]
    assert narrated == {
        "id": "7-12",
        "picture": 0,
        "captions": [SPOKEN.caption],
        "boxes": [[0, 0.1, 0.2, 0.3, 0.4], [1, 0.5, 0.25, 0.5, 0.75], [0, 0, 0, 0.1, 0.1]],
        "narrative": {
            "caption": SPOKEN.caption,
            "seconds": 4.13,
            "utterances": [["A red car.", 0.5, 1.5], ["Um,", 2.0, 2.2], ["a bus on the left.", 2.2, 4.0]],
            "strokes": [[[0.1, 0.2, 0.5], [0.4, 0.2, 1.5]], [[0.7, 0.7123, 2.0], [1.02, 0.9, 4.13]]],
        },
    }
    assert plain == {
        "id": "plain & simple",
        "picture": 1,
        "captions": ["A scarf.", "A blue scarf."],
        "boxes": [],
        "narrative": None,
    }


def test_pictures_are_jpegs_that_keep_their_shape(tmp_path):
    large = Record(png(300, 150, "#204060"), ("Large.",), "large")
    data = data_of(written(tmp_path, large, TOLD, side=100))
    assert [(each["width"], each["height"]) for each in data["pictures"]] == [(100, 50), (40, 20)]  # none is enlarged
    pictures = [picture_of(each) for each in data["pictures"]]
    assert [each.size for each in pictures] == [(100, 50), (40, 20)]
    assert max(abs(got - want) for got, want in zip(pictures[0].getpixel((50, 25)), (32, 64, 96), strict=True)) < 6


def test_narratives_of_one_image_share_its_picture(scenes, tmp_path):
    first, second = read_records(scenes, "coco", "train2014")[:2]
    data = data_of(written(tmp_path, first, second, first._replace(id="again")))
    assert [record["picture"] for record in data["records"]] == [0, 1, 0]
    assert len(data["pictures"]) == 2


def test_a_narrative_without_a_clock_is_a_caption(tmp_path):
    silent = TOLD._replace(narrative=Narrative(SPOKEN.caption, (), ()))
    (record,) = data_of(written(tmp_path, silent))["records"]
    assert record["narrative"] is None
    assert record["captions"] == [SPOKEN.caption]


# --------------------------------------------------------------------------------------- nothing in, nothing out


def test_data_cannot_inject_markup(tmp_path):
    text = written(tmp_path, BAD, title=NASTY)
    page = Page(text)
    assert [script.get("type") for script in page.all("script")] == ["application/json", None]
    assert not page.all("b")
    (content,) = page.text(id="data")
    assert "<" not in content
    data = json.loads(content)
    assert data["records"][0]["captions"] == [NASTY]
    assert data["records"][0]["id"] == NASTY
    assert data["categories"] == [NASTY]


def test_lone_surrogates_are_harmless(tmp_path):
    """JSON can hold a lone surrogate, which no UTF-8 file can."""
    (record,) = data_of(written(tmp_path, PLAIN._replace(captions=("A \ud83d car.",))))["records"]
    assert record["captions"] == ["A \ud83d car."]


def test_nothing_is_outside_the_page(tmp_path):
    text = written(tmp_path, TOLD, PLAIN)
    page = Page(text)
    assert not re.search(r"""(src|href)\s*=\s*["']|url\(|@import|https?:|fetch\(|import\(|XMLHttp""", text)
    assert not page.all("link")
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]


def test_controls_have_names(tmp_path):
    page = Page(written(tmp_path, TOLD))
    assert page.all("html") == [{"lang": "en"}]
    for control in [*page.all("button"), *page.all("select")]:
        assert control["aria-label"]
    for control in page.all("input"):
        assert control["type"] == "checkbox" or control["aria-label"]
    assert page.text(id="none") == ["No record has all of these words."]


def test_what_is_there_is_replaced_only_on_request(tmp_path):
    page = tmp_path / "notes.html"
    page.write_text("mine")
    with pytest.raises(FileExistsError, match=r"notes\.html is there with other content and stays as it is"):
        write_browser(page, [PLAIN], title="A set")
    assert page.read_text() == "mine"


def test_page_is_replaced_atomically(tmp_path):
    before = written(tmp_path, PLAIN)
    damaged = TOLD._replace(image=tmp_path / "damaged.jpg")
    damaged.image.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"damaged\.jpg cannot be read as an image"):
        written(tmp_path, PLAIN, damaged)
    assert (tmp_path / "deep/browse.html").read_text(encoding="utf-8") == before
    assert written(tmp_path, TOLD) != before
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["browse.html"]


def test_no_records_and_too_many_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no records to show"):
        written(tmp_path)
    monkeypatch.setattr(browse, "MAX_RECORDS", 2)
    with pytest.raises(ValueError, match="3 records are too many for one page; it holds at most 2"):
        written(tmp_path, PLAIN, TOLD, BAD)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def opened() -> Iterator[Callable[..., Page]]:
    """Opens a page in Chromium: as it is two seconds later, after a script of the test has run in it.

    All of them in one tab, with a clock of its own: the two seconds take no time.
    """
    sync_api = pytest.importorskip("playwright.sync_api")
    from browsers import chromium, launch

    if chromium() is None:
        pytest.skip("there is no chromium to open the page in")
    numbers = count()

    def open_page(page: Path, place: str = "", *, script: str = "", keep_policy: bool = False) -> Page:
        text = page.read_text(encoding="utf-8")
        if not keep_policy:
            text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
        copy = page.with_name(f"opened-{next(numbers)}.html")  # another place in the same file would load nothing
        copy.write_text(text.replace("</body>", f"<script>{{ {script} }}</script></body>"), encoding="utf-8")
        tab.goto(f"{copy.as_uri()}{place}")
        tab.clock.run_for(2000)
        return Page(tab.content())

    with sync_api.sync_playwright() as playwright:
        browser = launch(playwright)
        tab = browser.new_page(viewport={"width": 1300, "height": 800})
        tab.clock.install(time=0)
        tab.clock.pause_at(1000)
        yield open_page
        browser.close()


@pytest.fixture
def page(tmp_path) -> Path:
    written(tmp_path, TOLD, PLAIN, BAD)
    return tmp_path / "deep/browse.html"


def test_the_page_opens_at_its_first_record(page, opened):
    seen = opened(page, keep_policy=True)
    assert seen.text(id="count") == ["3 records"]
    assert seen.text(id="name") == ["7-12"]
    assert seen.text(class_="said") == ["A red car.", "Um,", "a bus on the left."]  # all of it, until it is played
    assert seen.text(id="clock") == ["4.1 / 4.1 s"]
    boxes = [tag for tag in seen.all("div") if "box" in (tag.get("class") or "").split()]
    assert [re.findall(r"(?:left|top|width|height): ([\d.]+%)", box["style"] or "") for box in boxes] == [
        ["50%", "25%", "50%", "75%"],  # the largest lies lowest
        ["10%", "20%", "30%", "40%"],
        ["0%", "0%", "10%", "10%"],
    ]
    assert "2 \u00d7 car" in seen.texts


def test_spoken_words_are_highlighted(page, opened):
    seen = opened(page, "#record=7-12&t=2.1")
    assert (seen.text(class_="said"), seen.text(class_="now"), seen.text(class_="later")) == (
        ["A red car."],
        ["Um,"],
        ["a bus on the left."],
    )


def test_the_trace_grows_with_the_clock(page, opened):
    """Pixels of the canvas that are not clear, at three moments, and without the trace."""
    script = """
        const canvas = document.querySelector("canvas"), pixels = canvas.getContext("2d");
        const inked = moment => {
          seek(moment);
          const { data } = pixels.getImageData(0, 0, canvas.width, canvas.height);
          return data.filter((value, place) => place % 4 == 3 && value).length;
        };
        const counts = [0.2, 0.8, 1.5, 3.9].map(inked);
        document.getElementById("show-trace").click();
        document.title = [...counts, inked(3.9)].join(" ");
    """
    before, early, later, late, hidden = map(int, opened(page, "#record=7-12", script=script).title.split())
    assert before == hidden == 0
    assert 0 < early < later < late


PLAY = "document.getElementById('play').click();"


def test_play_moves_the_clock_and_ends_at_the_end(page, opened):
    midway = opened(page, "#record=7-12&t=0.5", script=PLAY)
    now = float(midway.text(id="clock")[0].split()[0])
    assert 1 < now < 4
    assert [tag["aria-label"] for tag in midway.all("button") if tag.get("id") == "play"] == ["Pause"]
    ended = opened(page, "#record=7-12&t=3.5", script=PLAY)
    assert ended.text(id="clock") == ["4.1 / 4.1 s"]
    assert [tag["aria-label"] for tag in ended.all("button") if tag.get("id") == "play"] == ["Play"]


def typed(words: str) -> str:
    return (
        f"const box = document.getElementById('search'); box.value = {words!r}; box.dispatchEvent(new Event('input'))"
    )


@pytest.mark.parametrize(
    ("words", "count", "name"),
    [
        ("CAR red", "1 of 3 records", "7-12"),  # a word is found from its beginning on: not in "scarf"
        ("scarf", "1 of 3 records", "plain & simple"),
        ("school", "1 of 3 records", "7-12"),  # a category
        ("汽车 🚗", "1 of 3 records", NASTY),
        ("(", "0 of 3 records", None),
        ("", "3 records", "7-12"),
    ],
)
def test_the_search_box_filters_by_words(page, opened, words, count, name):
    seen = opened(page, script=typed(words))
    assert seen.text(id="count") == [count]
    (record,) = seen.all("article")
    assert ("hidden" in record) == (name is None)
    if name is not None:
        assert seen.text(id="name") == [name]


def pressed(*keys: str) -> str:
    return "".join(
        f"document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: {key!r}, bubbles: true}}));" for key in keys
    )


def test_the_arrows_lead_through_records_and_time(page, opened):
    assert opened(page, script=pressed("ArrowDown")).text(id="name") == ["plain & simple"]
    assert opened(page, script=pressed("ArrowUp", "ArrowDown", "ArrowDown", "ArrowUp", "ArrowUp")).text(id="name") == [
        "7-12"
    ]
    assert opened(page, "#record=7-12&t=2", script=pressed("ArrowLeft")).text(id="clock") == ["1.5 / 4.1 s"]
    hidden = opened(page, script=pressed("b"))
    assert ["hidden" in tag for tag in hidden.all("div") if tag.get("id") == "boxes"] == [True]


def test_a_malicious_record_is_shown_and_not_run(page, opened):
    seen = opened(page, script=pressed("ArrowDown", "ArrowDown"))
    assert seen.text(id="name") == [NASTY]
    assert seen.title == "A set"
    assert not seen.all("b")


def test_no_other_script_runs(page, opened):
    script = "document.title = 'taken'"
    assert opened(page, script=script).title == "taken"
    assert opened(page, script=script, keep_policy=True).title == "A set"
