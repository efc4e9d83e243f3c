"""Reads WebDataset, img2dataset's output format: tars in which members with the same name are a sample."""

from collections.abc import Iterator
from typing import Any

from xmcgan.data.readers.annotations import (
    array,
    box,
    elements,
    field,
    good_ones,
    lines,
    narrative,
    number,
    parse_json,
    printable,
    shown,
    stroke,
    text,
    utterance,
    whole_number,
    words,
)
from xmcgan.data.readers.files import text_of
from xmcgan.data.readers.tars import Sample, find_tars, missing_tars, not_read, samples
from xmcgan.data.records import Box, Narrative, Problem, Record, Utterance, details
from xmcgan.data.remote import SourcePath

CAPTIONS = ("captions", "caption", "text")


def read_webdataset(root: SourcePath, split: str, *, annotations: bool = False) -> Iterator[Record | Problem]:
    """The samples of a split's shards, in order; images are read in place from the tar.

    A sample is one image and its captions: "captions" (a list), "caption" or "text" in a ``.json``; otherwise the lines
    of a ``.txt`` or ``.caption``. Its id is the "id" in the ``.json``, otherwise the sample's key.

    Args:
        root: the folder of the tars, or of a subfolder that holds them.
        split: the name of the tars before their number, or of their folder, or a pattern (`find_tars`).
        annotations: also read boxes from the ``.json``, as "boxes": [[category, left, top, width, height], ...], and a
            narrative, as "narrative": {"caption", "utterances": [[words, start, end], ...],
            "strokes": [[[x, y, t], ...], ...]}.

    Raises:
        FileNotFoundError: if there is no shard.
        ValueError: if all shards are compressed, or no sample is usable.
    """
    found = find_tars(root, split)
    if not found:
        raise FileNotFoundError(missing_tars(root, split))
    empty = True
    yield from not_read(root, split, found)
    for file in found:
        count = 0
        for sample in samples(file):
            count += isinstance(sample, Sample)
            for entry in [sample] if isinstance(sample, Problem) else read_sample(file, sample, annotations):
                empty = empty and isinstance(entry, Problem)
                yield entry
        yield from check_count(file, count)
    if empty:
        raise ValueError(f"{', '.join(map(str, found[:3]))}{' ...' if found[3:] else ''}: no sample is usable")


def check_count(file: SourcePath, count: int) -> Iterator[Problem]:
    """A problem if a tar's samples do not match the statistics file that img2dataset writes beside it."""
    stats = file.with_name(f"{file.stem}_stats.json")
    if not stats.is_file():
        if next(file.parent.glob("*_stats.json"), None):
            yield Problem(
                str(file), f"has no {stats.name} beside it: img2dataset may not have finished it", detail=True
            )
        return
    try:
        successes = field(parse_json(text_of(stats)), "successes", whole_number)
        if successes != count:
            raise ValueError(f"says {successes:,} successes; {file.name} has {count:,} samples")
    except ValueError as error:
        yield Problem(str(stats), str(error), detail=True)


def read_sample(file: SourcePath, sample: Sample, annotations: bool) -> Iterator[Record | Problem]:
    """A sample's record, and its problems."""
    where, texts = f"{file}, sample {printable(sample.key)}", dict(sample.texts)
    try:
        if len(sample.images) != 1 or len(texts) != len(sample.texts):
            suffixes = [suffix for suffix, _ in (*sample.images, *sample.texts)]
            raise ValueError(f"has {', '.join(suffixes)}; it should have one image, and at most one text of each kind")
        if "." in sample.images[0][0]:
            raise ValueError(f"has {sample.images[0][0]}; its image should have the name of its captions")
        content = parse_json(texts["json"]) if "json" in texts else {}
        if not isinstance(content, dict):
            raise ValueError(f"its json is {shown(content)}; it should be an object")
        record_id = field(content, "id", identity) if "id" in content else text(sample.key)
        found_captions = captions_of(content, texts)
    except ValueError as error:
        yield Problem(where, str(error))
        return
    captions = yield from details(good_ones(where, "caption", found_captions, words))
    boxes, spoken = (), None
    if annotations:
        try:
            listed = field(content, "boxes", array) if "boxes" in content else []
            boxes = yield from details(good_ones(where, "boxes", listed, read_box))
            spoken = field(content, "narrative", read_narrative) if content.get("narrative") is not None else None
        except ValueError as error:
            yield Problem(where, f"{error} (the captions are kept)", detail=True)
    if captions:
        yield Record(sample.images[0][1], captions, record_id, boxes, spoken)
    else:
        yield Problem(where, "has no usable caption")


def captions_of(content: dict[str, Any], texts: dict[str, bytes]) -> list[Any]:
    """The captions of a sample from its json, otherwise from its other texts."""
    if keys := [key for key in CAPTIONS if key in content]:
        if len(keys) > 1:
            raise ValueError(f"its json has {' and '.join(keys)}; it should have only one of them")
        found_captions = content[keys[0]]
        found_captions = found_captions if isinstance(found_captions, list) else [found_captions]
    else:
        found_captions = next((list(lines(texts[suffix])) for suffix in ("txt", "caption") if suffix in texts), [])
    if not found_captions:
        raise ValueError("has no captions, neither in a .json nor in a .txt or .caption")
    return found_captions


def identity(value: Any) -> str:
    """A record's id."""
    if isinstance(value, int):
        return str(whole_number(value))
    if not text(value):
        raise ValueError("is empty")
    return value


def read_box(value: Any) -> Box:
    """A box from [category, left, top, width, height]."""
    if len(array(value)) != 5:
        raise ValueError(f"is {shown(value)}; it should be category, left, top, width and height")
    left, top, width, height = map(number, value[1:])
    return box(words(value[0]), left, top, width, height)


def read_narrative(value: Any) -> Narrative:
    """A narrative from an object with caption, utterances and strokes."""
    utterances, strokes = elements(value, "utterances", read_utterance), elements(value, "strokes", stroke)
    return narrative(field(value, "caption", words), utterances, strokes)


def read_utterance(value: Any) -> Utterance:
    """An utterance from [words, start, end]."""
    if len(array(value)) != 3:
        raise ValueError(f"is {shown(value)}; it should be words, start and end")
    return utterance(*value)
