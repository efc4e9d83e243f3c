"""The captions of semantic object accuracy (Hinz, Heinrich, Wermter 2019): which images to draw, and what each wants.

The official lists come as 80 pickles, one a class. A pickle is a program, so they are read by an interpreter of our own
that knows lists, dicts, texts and numbers: there is nothing in it that could call or import anything.
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
"""What the lists call a class, where it is not COCO's name without blanks."""

LISTS = {
    f"label_{category.label:02}_{RENAMED.get(category.name, category.name.replace(' ', ''))}": category.id
    for category in CATEGORIES
}
"""The official id of every list, by the list's name."""

PERSON = 1
"""The official id of the class whose list is too long to be drawn whole."""

LARGEST = 2**27
"""Bytes of a file of lists, unpacked: several times those of all 80."""


class ListedCaption(NamedTuple):
    """A caption of a list, as its file has it: blanks around it are kept."""

    image_id: int
    caption: str
    id: int | None = None  # COCO's, of the caption; only pickles have it
    position: tuple[int, int] | None = None  # in AttnGAN's test list: image, and sentence of it; only pickles have it


def read_soa_captions(path: Path, *, partial: bool = False) -> dict[int, tuple[ListedCaption, ...]]:
    """The official lists by the official id of their class, in the official order.

    Args:
        path: a folder of ``label_NN_name.pkl`` and ``soa_captions.json`` or ``.json.gz`` (an object of lists of
            [image id, caption] by the names of the pickles, without ``.pkl``), or one such JSON file. A list that is
            in both has to be the same.
        partial: fewer than 80 lists will do, and SOA is of those.

    Raises:
        FileNotFoundError: if there is no list, or some are missing, by name, and ``partial`` is off.
        ValueError: naming the file and the entry that is wrong.
    """
    lists: dict[int, tuple[ListedCaption, ...]] = {}
    for file in list_files(path):
        try:
            found = pickled_list(file) if file.suffix == ".pkl" else json_lists(file)
        except ValueError as error:
            raise ValueError(f"{printable(file)} {error}") from error
        for category, captions in found.items():
            if category in lists and not same(lists[category], captions):
                raise ValueError(
                    f"{printable(file)} has another list of {COCO_NAMES[category]} than the pickle beside it"
                )
            lists.setdefault(category, captions)
    missing = [name for name, category in LISTS.items() if category not in lists]
    if missing and not partial:
        raise FileNotFoundError(
            f"{printable(path)} lacks {len(missing)} of the 80 lists of SOA: {', '.join(missing)}. With partial=True "
            "those that are there will do"
        )
    return {category: lists[category] for category in LISTS.values() if category in lists}


def soa_requests(
    lists: Mapping[int, Sequence[ListedCaption]],
    *,
    images_per_caption: int = 3,
    person_images: int = 30_000,
    seed: int = 0,
) -> list[Request]:
    """The images of the official protocol: three of every listed caption; of persons, one of 30,000 random ones.

    Captions are in the order of the lists, the images of a caption side by side. Request k has seed ``seed + k``.

    Args:
        lists: by official id, as ``read_soa_captions`` returns them.
        images_per_caption: of every class but persons.
        person_images: of as many random captions of persons; of all where there are no more.

    Raises:
        ValueError: if there is nothing to draw, or an argument is below 1 (a seed: below 0).
    """
    if not lists:
        raise ValueError("there are no lists: no image is asked for")
    if images_per_caption < 1 or person_images < 1 or seed < 0:
        raise ValueError(
            f"images_per_caption is {images_per_caption}, person_images {person_images} and seed {seed}; they should "
            "be at least 1, 1 and 0"
        )
    asked: list[tuple[ListedCaption, int]] = []
    for category, captions in lists.items():
        if category == PERSON:
            asked += [(captions[number], category) for number in chosen(len(captions), person_images, seed)]
        else:
            asked += [(caption, category) for caption in captions for _ in range(images_per_caption)]
    return [
        Request(f"soa-{number:06d}", str(caption.image_id), one_line(caption.caption), seed + number, category)
        for number, (caption, category) in enumerate(asked)
    ]


def chosen(available: int, count: int, seed: int) -> list[int]:
    """A random choice of so many, in order; all where there are no more."""
    generator = np.random.default_rng(seed)
    return sorted(generator.permutation(available)[:count].tolist())


def list_files(path: Path) -> list[Path]:
    """The files that a path stands for, pickles first."""
    if path.is_file():
        if not path.name.endswith((".json", ".json.gz")):
            raise ValueError(f"{printable(path)} is neither a folder nor a .json or .json.gz")
        return [path]
    files = [*sorted(path.glob("label_*.pkl")), *sorted(path.glob("soa_captions.json*"))]
    if not files:
        raise FileNotFoundError(f"{printable(path)} has no label_NN_name.pkl and no soa_captions.json or .json.gz")
    return files


def same(listed: Sequence[ListedCaption], others: Sequence[ListedCaption]) -> bool:
    """Whether two lists hold the same captions of the same images."""
    return sorted(caption[:2] for caption in listed) == sorted(caption[:2] for caption in others)


def pickled_list(file: Path) -> dict[int, tuple[ListedCaption, ...]]:
    """The one list of a pickle, whose class its name says."""
    if file.stem not in LISTS:
        number = re.match(r"label_(\d\d)_", file.stem)
        right = next((name for name in LISTS if number and name.startswith(number.group())), "label_15_cat")
        raise ValueError(f"is no list of SOA by its name; it should be as {right}.pkl")
    return {LISTS[file.stem]: checked(plain_pickle(content_of(file)), "the list", pickled_caption)}


def json_lists(file: Path) -> dict[int, tuple[ListedCaption, ...]]:
    """The lists of a JSON file."""
    content = parse_json(content_of(file))
    if not isinstance(content, dict):
        raise ValueError("holds no lists of SOA: its top level is no object")
    unknown = [name for name in content if name not in LISTS]
    if unknown:
        raise ValueError(f"has a list {shown(unknown[0])}; it should be a name such as label_15_cat")
    return {LISTS[name]: checked(entries, name, json_caption) for name, entries in content.items()}


def content_of(file: Path) -> bytes:
    """A file's bytes, unpacked; a small file can unpack to more than there is memory."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"is no whole gzip file: {error}") from error
    if len(content) > LARGEST:
        raise ValueError(f"holds more than {LARGEST:,} bytes; all lists of SOA together have fewer")
    return content


def checked(entries: Any, name: str, check: Callable[[Any], ListedCaption]) -> tuple[ListedCaption, ...]:
    """The captions of a list, of which there is at least one."""
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"holds no captions: {name} is {excerpt(entries)}; it should be a list of captions")
    captions = []
    for position, entry in enumerate(entries):
        try:
            captions.append(check(entry))
        except ValueError as error:
            raise ValueError(f"holds a wrong caption: {name}[{position}] {error}") from error
    return tuple(captions)


def pickled_caption(entry: Any) -> ListedCaption:
    """A caption as a pickle has it: {"idx": [position, sentence], "image_id": ..., "id": ..., "caption": ...}."""
    position = field(entry, "idx", pair)
    try:
        place = (single(position[0], whole_number), single(position[1], whole_number))
    except ValueError as error:
        raise ValueError(f"idx holds what {error}") from error
    image_id = field(entry, "image_id", lambda value: single(value, whole_number))
    id = field(entry, "id", lambda value: single(value, whole_number))
    return ListedCaption(image_id, field(entry, "caption", caption_text), id, place)


def json_caption(entry: Any) -> ListedCaption:
    """A caption as the JSON file has it: [image id, caption]."""
    image_id, caption = pair(entry)
    return ListedCaption(single(image_id, whole_number), caption_text(caption))


def pair(value: Any) -> list[Any]:
    """A list of two."""
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"is {excerpt(value)}; it should be a list of two")
    return value


def caption_text(value: Any) -> str:
    """A caption with words in it."""
    caption = single(value, text)
    if not one_line(caption):
        raise ValueError(f"is {shown(value)}; it should be words")
    return caption


def single(value: Any, check: Callable[[Any], Value]) -> Value:
    """A checked value that is neither a list nor a dict."""
    if isinstance(value, list | dict):
        raise ValueError(f"is {excerpt(value)}; it should be a single value")
    return check(value)


def excerpt(value: Any) -> str:
    """A value as a message names it. What a pickle nests in itself has no end when written out: only its kind."""
    return f"a {type(value).__name__} of {len(value)}" if isinstance(value, list | dict) else shown(value)


class Mark:
    """Where the elements of a list or dict begin on a pickle's stack."""


class NotPlain(ValueError):
    """A pickle that asks for more than is read."""


def plain_pickle(content: bytes) -> Any:
    """What a pickle says, if it is made of lists, dicts with texts as keys, texts, whole numbers, truths and None.

    The stack machine of pickle, without the operations that import, call, build objects, ask for persistent ids or
    take extension codes. As memory is taken only for what stands in the file, it is bounded by the file's size.

    Raises:
        ValueError: naming the operation and the byte, if there is any other; or if the pickle is damaged.
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
                    raise NotPlain(
                        f"asks for {name} at byte {position}; it should hold lists, dicts, texts and numbers"
                    )
    except NotPlain:
        raise
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(f"is no pickle, or a damaged one, at byte {position}: {error!r}") from error
    raise ValueError("is no pickle: it has no end")


def top(stack: list[Any]) -> Any:
    """What was put on the stack last; a mark is no value."""
    if stack[-1] is Mark:
        raise ValueError("a value is missing")
    return stack[-1]


def extend(target: Any, values: list[Any]) -> None:
    """Adds elements to a list, or keys and values to a dict."""
    if any(value is Mark for value in values):
        raise ValueError("a mark stands among the values")
    if isinstance(target, list):
        target.extend(values)
    elif isinstance(target, dict) and all(isinstance(key, str) for key in values[::2]):
        target.update(zip(values[::2], values[1::2], strict=True))
    else:
        raise ValueError(f"elements cannot be added to {excerpt(target)}")
