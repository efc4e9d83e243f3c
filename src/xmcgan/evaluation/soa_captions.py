"""Captions of semantic object accuracy (Hinz, Heinrich, Wermter 2019): the images to generate and their categories.

The official lists are 80 pickles, one per class. Unpickling runs code, so a restricted interpreter reads them: it
supports lists, dicts, strings and numbers, and cannot import or call anything.
"""

import gzip
import pickletools
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from xmcgan.data.readers.annotations import field, parse_json, printable, shown, text, whole_number
from xmcgan.data.records import one_line
from xmcgan.evaluation.image_set import Request
from xmcgan.evaluation.soa_rules import CATEGORIES, COCO_NAMES

Value = TypeVar("Value")

RENAMED = {
    "airplane": "plane",
    "fire hydrant": "hydrant",
    "sports ball": "ball",
    "tennis racket": "racket",
    "orange": "oranges",
    "couch": "sofa",
    "dining table": "table",
    "tv": "monitor",
    "mouse": "computermouse",
    "scissors": "scissor",
}
"""Names of classes in the lists where they differ from COCO's name without spaces."""

LISTS = {
    f"label_{category.label:02}_{RENAMED.get(category.name, category.name.replace(' ', ''))}": category.id
    for category in CATEGORIES
}
"""Official category id of each list, by file name without suffix."""

PERSON = 1
"""Official id of the class whose list is too long to use in full."""

MAX_BYTES = 2**27
"""Largest accepted size of a file after decompression, several times the size of all 80 lists."""


class ListedCaption(NamedTuple):
    """A caption of a list, unchanged, with surrounding spaces."""

    image_id: int
    caption: str
    id: int | None = None  # COCO id of the caption; only in pickles
    position: tuple[int, int] | None = None  # image and sentence index in AttnGAN's test list; only in pickles


def read_soa_captions(path: Path, *, partial: bool = False) -> dict[int, tuple[ListedCaption, ...]]:
    """Read the official lists, keyed by official category id, in official order.

    Args:
        path: a folder of ``label_NN_name.pkl`` and ``soa_captions.json`` or ``.json.gz`` (an object that maps the
            pickles' names without ``.pkl`` to lists of [image id, caption]), or one such JSON file. A list in both
            must be equal.
        partial: accept fewer than 80 lists.

    Raises:
        FileNotFoundError: if there are no lists, or naming missing ones unless ``partial`` is set.
        ValueError: naming the file and its invalid entry.
    """
    lists: dict[int, tuple[ListedCaption, ...]] = {}
    for file in list_files(path):
        try:
            found = pickled_list(file) if file.suffix == ".pkl" else json_lists(file)
        except ValueError as error:
            raise ValueError(f"{printable(file)} {error}") from error
        for category, captions in found.items():
            if category in lists and not same_captions(lists[category], captions):
                raise ValueError(
                    f"{printable(file)}: the list of {COCO_NAMES[category]} differs from the pickle in the same folder"
                )
            lists.setdefault(category, captions)
    missing = [name for name, category in LISTS.items() if category not in lists]
    if missing and not partial:
        raise FileNotFoundError(
            f"{printable(path)} lacks {len(missing)} of the 80 lists of SOA: {', '.join(missing)}. Use partial=True to "
            "read the others"
        )
    return {category: lists[category] for category in LISTS.values() if category in lists}


def soa_requests(
    lists: Mapping[int, Sequence[ListedCaption]],
    *,
    images_per_caption: int = 3,
    person_images: int = 30_000,
    seed: int = 0,
) -> list[Request]:
    """Requests of the official protocol: three images per listed caption, but 30,000 random captions of persons.

    Requests are in the order of the lists, with images of one caption next to each other. Request k has seed
    ``seed + k``.

    Args:
        lists: captions by official category id, from ``read_soa_captions``.
        images_per_caption: for every class except person.
        person_images: number of random person captions, one image each; all if there are fewer.

    Raises:
        ValueError: if there are no lists, or an argument is below 1 (seed: below 0).
    """
    if not lists:
        raise ValueError("there are no lists; SOA needs at least one")
    if images_per_caption < 1 or person_images < 1 or seed < 0:
        raise ValueError(
            f"images_per_caption is {images_per_caption}, person_images {person_images} and seed {seed}; they should "
            "be at least 1, 1 and 0"
        )
    selected: list[tuple[ListedCaption, int]] = []
    for category, captions in lists.items():
        if category == PERSON:
            numbers = random_numbers(len(captions), person_images, seed)
            selected += [(captions[number], category) for number in numbers]
        else:
            selected += [(caption, category) for caption in captions for _ in range(images_per_caption)]
    return [
        Request(f"soa-{number:06d}", str(caption.image_id), one_line(caption.caption), seed + number, category)
        for number, (caption, category) in enumerate(selected)
    ]


def random_numbers(available: int, count: int, seed: int) -> list[int]:
    """``count`` random numbers below ``available``, sorted; all if there are fewer."""
    generator = np.random.default_rng(seed)
    return sorted(generator.permutation(available)[:count].tolist())


def list_files(path: Path) -> list[Path]:
    """The files with lists at a path, pickles first."""
    if path.is_file():
        if not path.name.endswith((".json", ".json.gz")):
            raise ValueError(f"{printable(path)} should be a folder, a .json or a .json.gz file")
        return [path]
    files = [*sorted(path.glob("label_*.pkl")), *sorted(path.glob("soa_captions.json*"))]
    if not files:
        raise FileNotFoundError(f"{printable(path)} has no label_NN_name.pkl and no soa_captions.json or .json.gz")
    return files


def same_captions(listed: Sequence[ListedCaption], others: Sequence[ListedCaption]) -> bool:
    """Whether two lists have the same captions of the same images, in any order."""
    return sorted(caption[:2] for caption in listed) == sorted(caption[:2] for caption in others)


def pickled_list(file: Path) -> dict[int, tuple[ListedCaption, ...]]:
    """Read the list of a pickle; the file's name gives its class."""
    if file.stem not in LISTS:
        number = re.match(r"label_(\d\d)_", file.stem)
        expected = next((name for name in LISTS if number and name.startswith(number.group())), "label_15_cat")
        raise ValueError(f"has an unknown name; it should be {expected}.pkl or another list of SOA")
    return {LISTS[file.stem]: parse_list(load_plain_pickle(read_content(file)), "the list", pickled_caption)}


def json_lists(file: Path) -> dict[int, tuple[ListedCaption, ...]]:
    """Read the lists of a JSON file."""
    content = parse_json(read_content(file))
    if not isinstance(content, dict):
        raise ValueError("has no lists of SOA; its top level should be an object")
    unknown = [name for name in content if name not in LISTS]
    if unknown:
        raise ValueError(f"has a list {shown(unknown[0])}; it should be a name such as label_15_cat")
    return {LISTS[name]: parse_list(entries, name, json_caption) for name, entries in content.items()}


def read_content(file: Path) -> bytes:
    """Read and decompress a file of at most MAX_BYTES; a small gzip file could otherwise fill the memory."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"is not a complete gzip file: {error}") from error
    if len(content) > MAX_BYTES:
        raise ValueError(f"has more than {MAX_BYTES:,} bytes; all lists of SOA together have fewer")
    return content


def parse_list(entries: Any, name: str, parse: Callable[[Any], ListedCaption]) -> tuple[ListedCaption, ...]:
    """Parse the captions of a list, at least one."""
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"has no captions: {name} is {excerpt(entries)}; it should be a list of captions")
    captions = []
    for position, entry in enumerate(entries):
        try:
            captions.append(parse(entry))
        except ValueError as error:
            raise ValueError(f"has an invalid caption: {name}[{position}] {error}") from error
    return tuple(captions)


def pickled_caption(entry: Any) -> ListedCaption:
    """Parse a caption of a pickle: {"idx": [position, sentence], "image_id": ..., "id": ..., "caption": ...}."""
    position = field(entry, "idx", pair)
    try:
        image_and_sentence = (scalar(position[0], whole_number), scalar(position[1], whole_number))
    except ValueError as error:
        raise ValueError(f"idx has a value that {error}") from error
    image_id = field(entry, "image_id", lambda value: scalar(value, whole_number))
    id = field(entry, "id", lambda value: scalar(value, whole_number))
    return ListedCaption(image_id, field(entry, "caption", caption_text), id, image_and_sentence)


def json_caption(entry: Any) -> ListedCaption:
    """Parse a caption of the JSON file: [image id, caption]."""
    image_id, caption = pair(entry)
    return ListedCaption(scalar(image_id, whole_number), caption_text(caption))


def pair(value: Any) -> list[Any]:
    """Check for a list of two."""
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"is {excerpt(value)}; it should be a list of two")
    return value


def caption_text(value: Any) -> str:
    """Check for a caption that is not blank."""
    caption = scalar(value, text)
    if not one_line(caption):
        raise ValueError(f"is {shown(value)}; it should be words")
    return caption


def scalar(value: Any, check: Callable[[Any], Value]) -> Value:
    """Check a value that must be neither a list nor a dict."""
    if isinstance(value, list | dict):
        raise ValueError(f"is {excerpt(value)}; it should be a single value")
    return check(value)


def excerpt(value: Any) -> str:
    """A value for an error message; containers, which can contain themselves, only by type and length."""
    return f"a {type(value).__name__} of {len(value)}" if isinstance(value, list | dict) else shown(value)


class Mark:
    """Start of the elements of a list or dict on a pickle's stack."""


class UnsupportedPickle(ValueError):
    """A pickle that uses an operation other than the supported ones."""


def load_plain_pickle(content: bytes) -> Any:
    """Unpickle lists, dicts with string keys, strings, integers, booleans and None without running code.

    Implements pickle's stack machine without operations that import, call, build objects, or use persistent ids or
    extension codes. Memory is bounded by the size of the file.

    Raises:
        ValueError: naming an unsupported operation and its position, or if the pickle is damaged.
    """
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    position = 0
    try:
        for opcode, argument, position in pickletools.genops(content):
            match opcode.name:  # the most frequent first
                case "BINGET" | "LONG_BINGET":
                    stack.append(memo[argument])
                case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINUNICODE" | "SHORT_BINUNICODE":
                    stack.append(argument)
                case "BINPUT" | "LONG_BINPUT":
                    memo[argument] = top(stack)
                case "MEMOIZE":
                    memo[len(memo)] = top(stack)
                case "MARK":
                    stack.append(Mark)
                case "APPENDS" | "SETITEMS":
                    taken = []
                    while (value := stack.pop()) is not Mark:
                        taken.append(value)
                    extend(top(stack), taken[::-1])
                case "APPEND" | "SETITEM":
                    taken = [stack.pop() for _ in range(1 if opcode.name == "APPEND" else 2)]
                    extend(top(stack), taken[::-1])
                case "EMPTY_LIST":
                    stack.append([])
                case "EMPTY_DICT":
                    stack.append({})
                case "NONE" | "NEWTRUE" | "NEWFALSE":
                    stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
                case "PROTO" | "FRAME":
                    pass
                case "STOP":
                    [value] = stack
                    return top([value])
                case name:
                    raise UnsupportedPickle(
                        f"uses {name} at byte {position}; it should hold only lists, dicts, strings and numbers"
                    )
    except UnsupportedPickle:
        raise
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(f"is not a valid pickle at byte {position}: {error!r}") from error
    raise ValueError("is not a valid pickle: it has no STOP operation")


def top(stack: list[Any]) -> Any:
    """The value on top of the stack."""
    if stack[-1] is Mark:
        raise ValueError("a value is missing")
    return stack[-1]


def extend(target: Any, values: list[Any]) -> None:
    """Add elements to a list, or alternating keys and values to a dict."""
    if any(value is Mark for value in values):
        raise ValueError("there is a mark among the values")
    if isinstance(target, list):
        target.extend(values)
    elif isinstance(target, dict) and all(isinstance(key, str) for key in values[::2]):
        target.update(zip(values[::2], values[1::2], strict=True))
    else:
        raise ValueError(f"elements cannot be added to {excerpt(target)}")
