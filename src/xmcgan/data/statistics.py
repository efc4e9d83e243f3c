"""Statistics of a data set (paper, Table 1), counted over a stream of records. No torch, no pixels."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from xmcgan.data.records import ImageSource, Narrative, Problem, Record, Slice

CHUNK = 1024
"""Captions tokenized at once; fast tokenizers are several times faster on large batches."""

COLOURS = ("#3b5bdb", "#e8590c", "#0c8599", "#9c36b5")
"""Colours of the splits in plots."""

TOP = 20
"""Number of categories in plots."""


@dataclass(frozen=True)
class Histogram:
    """The count of each distinct integer, in ascending order of the integers."""

    counts: Mapping[int, int]

    @property
    def total(self) -> int:
        """The number of values."""
        return sum(self.counts.values())

    @property
    def mean(self) -> float:
        """The mean of the values; NaN if there are none."""
        return sum(value * count for value, count in self.counts.items()) / self.total if self.total else float("nan")

    def percentile(self, percent: float) -> int:
        """The smallest value that at least ``percent`` % of the values do not exceed; requires a value."""
        values, counts = (np.array(list(each), dtype=np.int64) for each in (self.counts.keys(), self.counts.values()))
        return int(values[np.searchsorted(counts.cumsum() * 100, percent * self.total)])

    def share_above(self, limit: int) -> float:
        """The share of values greater than the limit; NaN if there are none."""
        above = sum(count for value, count in self.counts.items() if value > limit)
        return above / self.total if self.total else float("nan")


@dataclass(frozen=True)
class SplitStatistics:
    """The statistics of one split.

    Args:
        images: number of distinct images. Records with the same file, the same part of a file or the same bytes share
            an image, as when an image of Localized Narratives has several narratives.
        records: usable entries; Localized Narratives has one for each narrative.
        captions: captions of all records.
        problems: entries that cannot be used; they are not counted anywhere else.
        captions_an_image: number of captions of each image.
        words: number of space-separated words of each caption.
        tokens: word pieces of each caption without truncation, [CLS] and [SEP] included; None without a tokenizer.
        max_length: tokens kept of a caption; None without a tokenizer.
        objects: boxes of each image that has any, since a record does not tell whether an image without boxes is empty
            or was not annotated. None if there are no boxes.
        categories: boxes of each category, most frequent first. The boxes of an image count once.
        narratives: records with a narrative.
        seconds: total duration of all narratives, each up to its last word or trace point.
        trace_points: trace points of all narratives.
    """

    images: int
    records: int
    captions: int
    problems: int
    captions_an_image: Histogram
    words: Histogram
    tokens: Histogram | None
    max_length: int | None
    objects: Histogram | None
    categories: Mapping[str, int]
    narratives: int
    seconds: float
    trace_points: int

    @property
    def truncated(self) -> float | None:
        """The share of captions truncated at ``max_length``; None without a tokenizer."""
        return None if self.tokens is None or self.max_length is None else self.tokens.share_above(self.max_length)


def count(
    entries: Iterable[Record | Problem], *, tokens: Callable[[list[str]], list[int]] | None, max_length: int
) -> SplitStatistics:
    """Counts the entries of a split in one pass.

    Memory holds only counts, and eight bytes for each image to recognise it.

    Args:
        entries: the split's entries, in any order.
        tokens: maps captions to their numbers of tokens, without truncation, [CLS] and [SEP] included; None to skip.
        max_length: tokens that the text encoder keeps.

    Raises:
        ValueError: if ``tokens`` does not return one number for each caption.
    """
    records = problems = narratives = trace_points = 0
    seconds = 0.0
    captions_of: Counter[bytes] = Counter()
    words: Counter[int] = Counter()
    pieces: Counter[int] = Counter()
    objects: Counter[int] = Counter()
    categories: Counter[str] = Counter()
    waiting: list[str] = []  # for the tokenizer

    for entry in entries:
        if isinstance(entry, Problem):
            problems += not entry.unused
            continue
        records += 1
        image = identity(entry.image)
        if entry.boxes and image not in captions_of:
            objects[len(entry.boxes)] += 1
            categories.update(box.category for box in entry.boxes)
        captions_of[image] += len(entry.captions)
        words.update(len(caption.split()) for caption in entry.captions)
        waiting += entry.captions
        if len(waiting) >= CHUNK:
            pieces.update(token_counts(waiting, tokens))
            waiting.clear()
        if entry.narrative is not None:
            narratives += 1
            seconds += duration(entry.narrative)
            trace_points += sum(map(len, entry.narrative.strokes))
    pieces.update(token_counts(waiting, tokens))
    return SplitStatistics(
        images=len(captions_of),
        records=records,
        captions=words.total(),
        problems=problems,
        captions_an_image=histogram(Counter(captions_of.values())),
        words=histogram(words),
        tokens=None if tokens is None else histogram(pieces),
        max_length=None if tokens is None else max_length,
        objects=histogram(objects) if objects else None,
        categories=dict(sorted(categories.items(), key=lambda item: (-item[1], item[0]))),
        narratives=narratives,
        seconds=seconds,
        trace_points=trace_points,
    )


def token_counts(captions: list[str], tokens: Callable[[list[str]], list[int]] | None) -> list[int]:
    """The number of tokens of each caption; empty without a tokenizer.

    Raises:
        ValueError: if the tokenizer does not return one number for each caption.
    """
    if tokens is None or not captions:
        return []
    lengths = tokens(captions)
    if len(lengths) != len(captions):
        raise ValueError(f"tokens returned {len(lengths)} numbers for {len(captions)} captions; it should be as many")
    return lengths


def identity(image: ImageSource) -> bytes:
    """A hash of eight bytes; in a set of half a million images, the probability of a collision is about 10^-8."""
    match image:
        case bytes(content):
            name = content
        case Slice(file, offset):
            name = f"{offset} {file}".encode(errors="surrogateescape")
        case path:
            name = str(path).encode(errors="surrogateescape")
    return blake2b(name, digest_size=8).digest()


def duration(narrative: Narrative) -> float:
    """Duration of a narrative up to its last word or trace point, in seconds."""
    ends = [utterance.end for utterance in narrative.utterances]
    return max([0.0, *ends, *(point.t for stroke in narrative.strokes for point in stroke)])


def histogram(counts: Counter[int]) -> Histogram:
    """The histogram of a counter."""
    return Histogram(dict(sorted(counts.items())))


# ------------------------------------------------------------------------------------------------------- as text


def table(stats: Mapping[str, SplitStatistics], *, markdown: bool = False) -> str:
    """The statistics as a table: a column for each split, a row for each quantity that some split has.

    Args:
        stats: the statistics, by split.
        markdown: a Markdown table instead of aligned text.
    """
    lines = [["", *stats]]
    for row in zip(*(quantities(split) for split in stats.values()), strict=True):
        if any(cell is not None for _, cell in row):
            lines.append([row[0][0], *("-" if cell is None else cell for _, cell in row)])
    if markdown:
        lines = [[cell.replace("|", r"\|") for cell in line] for line in lines]
    widths = [max(2, *map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [
        [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        for line in lines
    ]
    if markdown:
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        return "\n".join(f"| {' | '.join(line)} |" for line in [aligned[0], rule, *aligned[1:]])
    rule = "─" * (sum(widths) + 3 * (len(widths) - 1))
    return "\n".join(["   ".join(aligned[0]), rule, *("   ".join(line) for line in aligned[1:])])


def quantities(split: SplitStatistics) -> list[tuple[str, str | None]]:
    """The rows of the table, always the same; None for quantities that the split does not have."""
    words = split.words if split.words.total else None
    tokens = split.tokens if split.tokens and split.tokens.total else None
    objects = split.objects
    narratives = split.narratives or None
    return [
        ("images", f"{split.images:,}"),
        ("captions", f"{split.captions:,}"),
        ("captions an image", f"{split.captions_an_image.mean:.2f}" if split.images else None),
        ("words a caption", f"{words.mean:.1f}" if words else None),
        ("words, 95th percentile", str(words.percentile(95)) if words else None),
        ("tokens a caption", f"{tokens.mean:.1f}" if tokens else None),
        ("tokens, 95th percentile", str(tokens.percentile(95)) if tokens else None),
        ("tokens kept", str(split.max_length) if tokens else None),
        ("captions cut", f"{split.truncated:.1%}" if tokens else None),
        ("images with boxes", f"{objects.total:,}" if objects else None),
        ("objects an image with boxes", f"{objects.mean:.1f}" if objects else None),
        ("categories", f"{len(split.categories)}" if split.categories else None),
        ("narratives", f"{narratives:,}" if narratives else None),
        ("seconds a narrative", f"{split.seconds / narratives:.1f}" if narratives else None),
        ("trace points a narrative", f"{split.trace_points / narratives:.0f}" if narratives else None),
        ("problems", f"{split.problems:,}" if split.problems else None),
    ]


def to_json(stats: Mapping[str, SplitStatistics]) -> str:
    """All statistics by split, as JSON; histograms are lists of [value, count]."""
    return json.dumps({name: plain(split) for name, split in stats.items()}, indent=2) + "\n"


def plain(split: SplitStatistics) -> dict[str, Any]:
    """A split's statistics for JSON; None for quantities that the split does not have."""
    return {
        "images": split.images,
        "records": split.records,
        "captions": split.captions,
        "problems": split.problems,
        "captions_an_image": summary(split.captions_an_image),
        "words": summary(split.words),
        "tokens": summary(split.tokens),
        "max_length": split.max_length,
        "truncated": split.truncated if split.captions else None,
        "objects": summary(split.objects),
        "categories": dict(split.categories),
        "narratives": split.narratives,
        "seconds": round(split.seconds, 3),
        "trace_points": split.trace_points,
    }


def summary(numbers: Histogram | None) -> dict[str, Any] | None:
    """A histogram with its mean and 95th percentile; None if empty."""
    if numbers is None or not numbers.total:
        return None
    return {
        "mean": numbers.mean,
        "percentile_95": numbers.percentile(95),
        "histogram": [[value, count] for value, count in numbers.counts.items()],
    }


# ---------------------------------------------------------------------------------------------------- as a figure


def plot(stats: Mapping[str, SplitStatistics]) -> Figure:
    """Plots words and tokens per caption, objects per image, and the most frequent categories, as far as available.

    Args:
        stats: the statistics, by split. Values are shares of each split's own total, so that splits of any size can be
            compared.
    """
    panels = [show_words]
    if any(split.tokens is not None for split in stats.values()):
        panels.append(show_tokens)
    if any(split.objects is not None for split in stats.values()):
        panels += [show_objects, show_categories]
    columns, heights = (2, (2.8, 3.8)) if len(panels) > 2 else (len(panels), (3.3,))
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(5.2 * columns, sum(heights)), dpi=110, layout=layout)
    axes = np.ravel(figure.subplots(len(heights), columns, height_ratios=heights))
    for axis in axes[len(panels) :]:
        axis.remove()
    for axis, panel in zip(axes, panels, strict=False):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x" if panel is show_categories else "y", alpha=0.25)
        axis.set_axisbelow(True)
        panel(axis, stats)
    if len(stats) > 1:
        legend = figure.axes[0].legend(frameon=False, fontsize=9)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


def show_words(axis: Axes, stats: Mapping[str, SplitStatistics]) -> None:
    """Plots words per caption."""
    shares(axis, {name: split.words for name, split in stats.items()})
    axis.set(title="Words a caption", ylabel="share of captions")


def show_tokens(axis: Axes, stats: Mapping[str, SplitStatistics]) -> None:
    """Plots tokens per caption, and the length at which the text encoder truncates."""
    shares(axis, {name: split.tokens for name, split in stats.items()})
    axis.margins(y=0.2)  # room for the labels above the bars
    for limit in sorted({split.max_length for split in stats.values() if split.max_length is not None}):
        cut = [f"{split.truncated:.1%}" for split in stats.values() if split.max_length == limit and split.captions]
        axis.axvline(limit + 0.5, color="#1d2330", linewidth=1, linestyle=(0, (4, 3)))
        on_the_left = limit > sum(axis.get_xlim()) / 2
        axis.annotate(
            f"{limit} kept: cuts {', '.join(cut)}",
            (limit + 0.5, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-5 if on_the_left else 5, -2),
            textcoords="offset points",
            ha="right" if on_the_left else "left",
            va="top",
            fontsize=9,
        )
    axis.set(title="Tokens a caption, [CLS] and [SEP] counted", ylabel="share of captions")


def show_objects(axis: Axes, stats: Mapping[str, SplitStatistics]) -> None:
    """Plots boxes per image."""
    shares(axis, {name: split.objects for name, split in stats.items()})
    axis.set(title="Objects an image", ylabel="share of images with boxes")


def show_categories(axis: Axes, stats: Mapping[str, SplitStatistics]) -> None:
    """Plots the categories with the most boxes over all splits, as shares of each split's boxes."""
    together: Counter[str] = Counter()
    for split in stats.values():
        together.update(split.categories)
    names = [name for name, _ in together.most_common(TOP)]
    thick = 0.8 / len(stats)
    for number, split in enumerate(stats.values()):
        total = max(1, sum(split.categories.values()))
        places = np.arange(len(names)) + (number - (len(stats) - 1) / 2) * thick
        axis.barh(places, [split.categories.get(name, 0) / total for name in names], thick, color=colour(number))
    axis.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axis.invert_yaxis()
    axis.margins(y=0.01)
    in_percent(axis.xaxis)
    more = len(together) - len(names)
    axis.set(title=f"Categories, the first {len(names)} of {len(together)}" if more else "Categories")
    axis.set_xlabel("share of boxes")


def shares(axis: Axes, histograms: Mapping[str, Histogram | None]) -> None:
    """Plots overlaid histograms, each normalised to its total; the last 0.1 % of the tail is left out."""
    shown = {name: each for name, each in histograms.items() if each is not None and each.total}
    if shown:
        low = min(each.percentile(0) for each in shown.values())
        high = max(each.percentile(99.9) for each in shown.values())
        wide = 1 + (high - low) // 60  # width of a bar, so that a wide range does not give hundreds of bars
        edges = np.arange(low, high + wide + 1, wide) - 0.5
        for number, (name, each) in enumerate(histograms.items()):
            if name in shown and each is not None:
                bars, _ = np.histogram(list(each.counts), edges, weights=list(each.counts.values()))
                axis.stairs(bars / each.total, edges, fill=True, color=colour(number), alpha=0.3 / len(shown))
                axis.stairs(bars / each.total, edges, color=colour(number), linewidth=1.4, label=name)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    in_percent(axis.yaxis)


def in_percent(axis: Axis) -> None:
    """Formats an axis of shares in round percentages."""
    axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(lambda share, _place: f"{100 * share:.4g}%")


def colour(number: int) -> str:
    """The colour of the n-th split."""
    return COLOURS[number % len(COLOURS)]
