"""Table 1 of a data set: worked by hand, over a stream, in little memory."""

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from xmcgan.data.records import Box, Narrative, Problem, Record, Slice, TracePoint, Utterance
from xmcgan.data.statistics import Histogram, count, plot, table, to_json


def lengths(captions: list[str]) -> list[int]:
    """A tokenizer for which every word is a token, and [CLS] and [SEP] are two."""
    return [len(caption.split()) + 2 for caption in captions]


def words(number: int) -> str:
    return " ".join(["word"] * number)


def boxes(*categories: str) -> tuple[Box, ...]:
    return tuple(Box(category, 0, 0, 0.5, 0.5) for category in categories)


SPOKEN = Narrative(
    words(4),
    (Utterance("word word", 0.5, 1.5), Utterance("word word", 2.0, 4.0)),
    ((TracePoint(0, 0, 0.5), TracePoint(1, 1, 1.0)), (TracePoint(0, 1, 4.25),)),
)
SET = [
    Record(Path("a.jpg"), (words(3), words(5)), "a", boxes("dog", "cat", "dog")),
    Problem("b.jpg", "it is no image"),
    Record(Path("c.jpg"), (words(4), words(16), words(4)), "c"),
    Record(Path("d.jpg"), (words(15),), "d", boxes("cat")),
]
TOLD = [
    Record(Path("a.jpg"), (words(4),), "a-1", boxes("dog", "cat"), SPOKEN),
    Record(Path("b.jpg"), (words(6),), "b-1", boxes("dog"), Narrative(words(6), (), ())),
    Record(Path("a.jpg"), (words(8),), "a-2", boxes("dog", "cat"), SPOKEN),
]


# ------------------------------------------------------------------------------------------------- what is counted


def test_a_set_counted_by_hand():
    stats = count(SET, tokens=lengths, max_length=17)
    assert (stats.images, stats.records, stats.captions, stats.problems) == (3, 3, 6, 1)
    assert stats.captions_an_image.counts == {1: 1, 2: 1, 3: 1}
    assert stats.words.counts == {3: 1, 4: 2, 5: 1, 15: 1, 16: 1}
    assert stats.words.mean == (3 + 5 + 4 + 16 + 4 + 15) / 6
    assert stats.tokens.counts == {5: 1, 6: 2, 7: 1, 17: 1, 18: 1}
    assert stats.max_length == 17
    assert stats.truncated == 1 / 6  # 17 tokens fit
    assert stats.objects.counts == {1: 1, 3: 1}
    assert stats.objects.mean == 2  # of the two images that have boxes
    assert list(stats.categories.items()) == [("cat", 2), ("dog", 2)]
    assert (stats.narratives, stats.seconds, stats.trace_points) == (0, 0, 0)


def test_image_with_several_narratives_counts_once():
    stats = count(TOLD, tokens=None, max_length=64)
    assert (stats.images, stats.records, stats.captions) == (2, 3, 3)
    assert stats.captions_an_image.counts == {1: 1, 2: 1}
    assert stats.objects.counts == {1: 1, 2: 1}
    assert list(stats.categories.items()) == [("dog", 2), ("cat", 1)]
    assert (stats.narratives, stats.seconds, stats.trace_points) == (3, 8.5, 6)


@pytest.mark.parametrize(
    ("images", "different"),
    [
        ([Path("a.jpg"), Path("a.jpg"), Path("b/a.jpg")], 2),
        ([Slice(Path("a.tar"), 512, 9), Slice(Path("a.tar"), 1024, 9), Slice(Path("a.tar"), 512, 9)], 2),
        ([b"one", b"other", b"one"], 2),
        ([Path("caf\udce9.jpg"), Path("caf\udce8.jpg")], 2),  # names that are not UTF-8
    ],
)
def test_what_makes_an_image_the_same(images, different):
    records = [Record(image, ("A word.",), str(number)) for number, image in enumerate(images)]
    assert count(records, tokens=None, max_length=17).images == different


def test_without_a_tokenizer_tokens_are_none():
    stats = count(SET, tokens=None, max_length=17)
    assert stats.tokens is stats.max_length is stats.truncated is None
    assert "token" not in table({"train": stats})


def test_a_set_without_boxes_has_no_objects():
    stats = count([SET[2]], tokens=None, max_length=17)
    assert stats.objects is None
    assert stats.categories == {}


def test_the_tokenizer_gets_every_caption_once():
    seen: list[str] = []

    def tokens(captions: list[str]) -> list[int]:
        seen.extend(captions)
        return [3] * len(captions)

    records = [Record(Path(f"{number}.jpg"), (f"{number} a", f"{number} b"), str(number)) for number in range(1500)]
    stats = count(iter(records), tokens=tokens, max_length=17)
    assert seen == [caption for record in records for caption in record.captions]
    assert stats.tokens.counts == {3: 3000}


def test_a_tokenizer_that_loses_captions_is_refused():
    with pytest.raises(ValueError, match="tokens returned 2 numbers for 6 captions"):
        count(SET, tokens=lambda captions: [3, 4], max_length=17)


def test_empty_set_counts_zero():
    stats = count([], tokens=lengths, max_length=17)
    assert (stats.images, stats.captions) == (0, 0)
    assert [line.split() for line in table({"empty": stats}).splitlines()[2:]] == [["images", "0"], ["captions", "0"]]
    assert json.loads(to_json({"empty": stats}))["empty"]["words"] is None
    assert plot({"empty": stats}).axes


# --------------------------------------------------------------------------------------------------- the stream


def test_entries_are_not_kept_in_memory():
    """6,000 records of 3 KB each: 18 MB, of which 2 stay at most."""

    def stream() -> Iterator[Record]:
        for number in range(6_000):
            content = number.to_bytes(4, "big") * 600
            yield Record(content, (f"{number} " + "word " * 100,), str(number), boxes("dog"))

    count([], tokens=lengths, max_length=17)
    tracemalloc.start()
    stats = count(stream(), tokens=lengths, max_length=17)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert stats.images == 6_000
    assert most < 2e6


def test_statistics_preparation_and_pages_import_no_torch():
    """It would take seconds in each of their processes."""
    modules = ("data.statistics", "data.prepared.prepare", "data.prepared.verify", "pages.dataset", "scenes")
    imported = ", ".join(f"xmcgan.{each}" for each in modules)
    code = f"import sys, {imported}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ------------------------------------------------------------------------------------------------- the histogram


def test_histogram_agrees_with_numpy():
    rng = np.random.default_rng(0)
    for size in (1, 2, 19, 20, 21, 500):
        numbers = rng.poisson(9, size)
        values, counts = np.unique(numbers, return_counts=True)
        histogram = Histogram(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        assert histogram.total == size
        assert histogram.mean == pytest.approx(numbers.mean(), rel=1e-12)
        for percent in (0, 5, 50, 95, 99, 100):
            assert histogram.percentile(percent) == np.percentile(numbers, percent, method="inverted_cdf")
        for limit in (0, 9, 100):
            assert histogram.share_above(limit) == (numbers > limit).mean()


def test_nineteen_of_twenty_are_95_percent():
    assert Histogram({10: 19, 11: 1}).percentile(95) == 10
    assert Histogram({10: 18, 11: 2}).percentile(95) == 11


# ---------------------------------------------------------------------------------------------------- the table


def test_the_table():
    stats = {
        "train": count(SET, tokens=lengths, max_length=17),
        "narratives": count(TOLD, tokens=lengths, max_length=64),
    }
    lines = table(stats).splitlines()
    assert lines[0].split() == ["train", "narratives"]
    assert set(lines[1]) == {"─"}
    assert len({len(line) for line in lines}) == 1  # aligned
    rows = [(line[:27].strip(), *line[27:].split()) for line in lines[2:]]
    assert rows == [
        ("images", "3", "2"),
        ("captions", "6", "3"),
        ("captions an image", "2.00", "1.50"),
        ("words a caption", "7.8", "6.0"),
        ("words, 95th percentile", "16", "8"),
        ("tokens a caption", "9.8", "8.0"),
        ("tokens, 95th percentile", "18", "10"),
        ("tokens kept", "17", "64"),
        ("captions cut", "16.7%", "0.0%"),
        ("images with boxes", "2", "2"),
        ("objects an image with boxes", "2.0", "1.5"),
        ("categories", "2", "2"),
        ("narratives", "-", "3"),
        ("seconds a narrative", "-", "2.8"),
        ("trace points a narrative", "-", "2"),
        ("problems", "1", "-"),
    ]


def test_the_table_in_markdown():
    stats = count([SET[2]], tokens=None, max_length=17)
    assert table({"a|b": stats}, markdown=True).splitlines() == [
        r"|                        | a\|b |",
        "| ---------------------- | ---: |",
        "| images                 |    1 |",
        "| captions               |    3 |",
        "| captions an image      | 3.00 |",
        "| words a caption        |  8.0 |",
        "| words, 95th percentile |   16 |",
    ]


def test_the_json():
    content = json.loads(to_json({"train": count(SET, tokens=lengths, max_length=17)}))
    assert content == {
        "train": {
            "images": 3,
            "records": 3,
            "captions": 6,
            "problems": 1,
            "captions_an_image": {"mean": 2.0, "percentile_95": 3, "histogram": [[1, 1], [2, 1], [3, 1]]},
            "words": {
                "mean": pytest.approx(47 / 6),
                "percentile_95": 16,
                "histogram": [[3, 1], [4, 2], [5, 1], [15, 1], [16, 1]],
            },
            "tokens": {
                "mean": pytest.approx(59 / 6),
                "percentile_95": 18,
                "histogram": [[5, 1], [6, 2], [7, 1], [17, 1], [18, 1]],
            },
            "max_length": 17,
            "truncated": pytest.approx(1 / 6),
            "objects": {"mean": 2.0, "percentile_95": 3, "histogram": [[1, 1], [3, 1]]},
            "categories": {"cat": 2, "dog": 2},
            "narratives": 0,
            "seconds": 0.0,
            "trace_points": 0,
        }
    }


# ----------------------------------------------------------------------------------------------------- the plot


def drawn(figure, title: str):
    (axis,) = [axis for axis in figure.axes if axis.get_title().startswith(title)]
    return axis


def test_the_plot_shows_what_was_counted(tmp_path):
    stats = {
        "$x_$": count(SET, tokens=lengths, max_length=17),
        "narratives": count(TOLD, tokens=lengths, max_length=64),
    }
    figure = plot(stats)
    figure.savefig(tmp_path / "stats.png")  # a category or split like a formula is drawn as it is
    assert [axis.get_title().split(",")[0] for axis in figure.axes] == [
        "Words a caption",
        "Tokens a caption",
        "Objects an image",
        "Categories",
    ]
    shares = drawn(figure, "Words").patches[0].get_data()
    assert shares.edges[0] == 2.5
    np.testing.assert_allclose(shares.values[:3], [1 / 6, 2 / 6, 1 / 6])
    assert shares.values.sum() == pytest.approx(1)
    assert [line.get_xdata()[0] for line in drawn(figure, "Tokens").lines] == [17.5, 64.5]
    categories = drawn(figure, "Categories")
    assert [label.get_text() for label in categories.get_yticklabels()] == ["dog", "cat"]
    assert [bar.get_width() for bar in categories.patches] == [0.5, 0.5, 2 / 3, 1 / 3]


def test_plot_leaves_out_missing_quantities():
    figure = plot({"train": count([SET[2]], tokens=None, max_length=17)})
    assert [axis.get_title() for axis in figure.axes] == ["Words a caption"]
    assert len(plot({"train": count(SET, tokens=None, max_length=17)}).axes) == 3


def test_one_endless_caption_does_not_hide_the_others():
    stats = count([*SET * 1000, Record(Path("x.jpg"), (words(5000),), "x")], tokens=None, max_length=17)
    assert drawn(plot({"train": stats}), "Words").get_xlim()[1] < 20
