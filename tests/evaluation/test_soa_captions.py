"""The captions of SOA: official lists in both forms, pickles that would do harm, word rules, and what is to be drawn.

The captions of GLOVES, CAPTIONS and LISTED are from COCO (https://cocodataset.org), under CC BY 4.0; that they are
listed for a class is from the lists of SOA (T. Hinz, semantic-object-accuracy-for-generative-text-to-image-synthesis).
"""

import contextlib
import gzip
import json
import os
import pickle
import struct
import time
from collections import OrderedDict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xmcgan.evaluation.soa_captions as soa
from xmcgan.evaluation.image_set import Request
from xmcgan.evaluation.soa_captions import (
    LISTS,
    ListedCaption,
    load_plain_pickle,
    read_soa_captions,
    soa_requests,
)
from xmcgan.evaluation.soa_rules import CATEGORIES, COCO_NAMES, LEXICONS, NAMED, SYNONYMS, classes_in, plural

NEAR, ON = "A cat laying down near a baseball glove and baseball.", "a small kid with a baseball glove on gets ready "
GLOVES = [
    {"idx": [908, 1], "image_id": 518974, "id": 674487, "caption": NEAR},
    {"idx": [6841, 4], "image_id": 500657, "id": 666689, "caption": ON},
]
GLOVE = "label_35_baseballglove"
OFFICIAL, UNIVERSE = os.environ.get("XMCGAN_SOA"), os.environ.get("XMCGAN_SOA_CAPTIONS")


def write_lists(folder: Path, names=tuple(LISTS), protocol: int = 3) -> Path:
    """A pickle for each list, all of them of the same two captions."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(GLOVES, protocol))
    return folder


def category(name: str) -> int:
    return next(id for id, other in COCO_NAMES.items() if other == name)


def named(caption: str, reading="lists") -> set[str]:
    return {COCO_NAMES[id] for id in classes_in(caption, reading=reading)}


# Reading the lists


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_read_eighty_pickles(tmp_path, protocol):
    lists = read_soa_captions(write_lists(tmp_path, protocol=protocol))
    assert list(lists) == list(COCO_NAMES)
    assert lists[category("baseball glove")] == (
        ListedCaption(518974, NEAR, 674487, (908, 1)),
        ListedCaption(500657, ON, 666689, (6841, 4)),
    )


@pytest.mark.parametrize("name", ["soa_captions.json", "soa_captions.json.gz"])
def test_read_json_from_file_or_folder(tmp_path, name):
    content = json.dumps({GLOVE: [[entry["image_id"], entry["caption"]] for entry in GLOVES]}).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    right = {40: (ListedCaption(518974, NEAR), ListedCaption(500657, ON))}
    assert read_soa_captions(tmp_path, partial=True) == read_soa_captions(tmp_path / name, partial=True) == right


def test_conflicting_lists_are_rejected(tmp_path):
    write_lists(tmp_path, [GLOVE])
    entries = [[entry["image_id"], entry["caption"]] for entry in reversed(GLOVES)]
    (tmp_path / "soa_captions.json").write_text(json.dumps({GLOVE: entries}))
    assert read_soa_captions(tmp_path, partial=True)[40][0].position == (908, 1)
    (tmp_path / "soa_captions.json").write_text(json.dumps({GLOVE: entries[:1]}))
    with pytest.raises(ValueError, match=r"soa_captions\.json: the list of baseball glove differs"):
        read_soa_captions(tmp_path, partial=True)


def test_missing_lists_are_named_unless_partial(tmp_path):
    write_lists(tmp_path, [name for name in LISTS if name not in ("label_16_dog", "label_00_person")])
    with pytest.raises(FileNotFoundError, match="lacks 2 of the 80 lists of SOA: label_00_person, label_16_dog"):
        read_soa_captions(tmp_path)
    assert len(read_soa_captions(tmp_path, partial=True)) == 78
    with pytest.raises(FileNotFoundError, match="has no label_NN_name"):
        read_soa_captions(tmp_path / "nowhere", partial=True)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "has no captions: the list is a list of 0"),
        ({"a": 1}, "the list is a dict of 1; it should be a list"),
        ([GLOVES[0], 5], r"the list\[1\] has no 'idx'"),
        ([{**GLOVES[0], "image_id": "5"}], r"the list\[0\] image_id is '5'; it should be a whole number"),
        ([{**GLOVES[0], "image_id": True}], "image_id is True; it should be a whole number"),
        ([{**GLOVES[0], "caption": " "}], "caption is ' '; it should be words"),
        ([{**GLOVES[0], "caption": ["a"]}], "caption is a list of 1; it should be a single value"),
        ([{**GLOVES[0], "idx": [1]}], "idx is a list of 1; it should be a list of two"),
        ([{**GLOVES[0], "idx": [1, "2"]}], "idx has a value that is '2'; it should be a whole number"),
    ],
)
def test_invalid_entries_are_named(tmp_path, entries, message):
    (tmp_path / f"{GLOVE}.pkl").write_bytes(pickle.dumps(entries, 3))
    with pytest.raises(ValueError, match=rf"{GLOVE}\.pkl .*{message}"):
        read_soa_captions(tmp_path, partial=True)


@pytest.mark.parametrize("name", ["label_16_cat", "label_80_cat", "label_dog"])
def test_unknown_pickle_names_are_rejected(tmp_path, name):
    write_lists(tmp_path, [name])
    with pytest.raises(ValueError, match=rf"{name}\.pkl has an unknown name; it should be label_1"):
        read_soa_captions(tmp_path, partial=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "its top level should be an object"),
        (b"{", "is not JSON"),
        (b'{"label_16_cat": []}', "has a list 'label_16_cat'"),
        (b'{"label_15_cat": []}', "label_15_cat is a list of 0"),
        (b'{"label_15_cat": [[1, "A cat."], [1]]}', r"label_15_cat\[1\] is a list of 1; it should be a list of two"),
        (b'{"label_15_cat": [["1", "A cat."]]}', r"label_15_cat\[0\] is '1'; it should be a whole number"),
    ],
)
def test_invalid_json_is_named(tmp_path, content, message):
    file = tmp_path / "lists.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"lists\.json .*{message}"):
        read_soa_captions(file, partial=True)


def test_a_file_that_is_no_json_is_refused(tmp_path):
    file = tmp_path / "label_15_cat.pkl"
    file.touch()
    with pytest.raises(ValueError, match=r"label_15_cat\.pkl should be a folder, a \.json or a \.json\.gz file"):
        read_soa_captions(file)


def test_damaged_and_oversized_gzip_files_are_rejected(tmp_path, monkeypatch):
    file = tmp_path / "lists.json.gz"
    packed = gzip.compress(b" " * 10_000)
    file.write_bytes(packed[:-9])
    with pytest.raises(ValueError, match=r"lists\.json\.gz is not a complete gzip file"):
        read_soa_captions(file)
    monkeypatch.setattr(soa, "MAX_BYTES", 9_999)
    file.write_bytes(packed)
    with pytest.raises(ValueError, match="has more than 9,999 bytes"):
        read_soa_captions(file)


# Pickles that would do harm


class Creates:
    """Makes a file when it is unpickled by an ordinary unpickler."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
def test_malicious_pickles_run_no_code(tmp_path, protocol):
    made = tmp_path / "made"
    content = pickle.dumps([*GLOVES, Creates(made)], protocol)
    (tmp_path / f"{GLOVE}.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=rf"{GLOVE}\.pkl .*uses"):
        read_soa_captions(tmp_path, partial=True)
    assert not made.exists()
    pickle.loads(content)
    assert made.exists(), "the pickle is harmless, so the test proves nothing"


@pytest.mark.parametrize(
    ("content", "operation"),
    [
        (b"cos\nsystem\n.", "GLOBAL"),
        (b"\x8c\x02os\x8c\x06system\x93.", "STACK_GLOBAL"),
        (b"(S'true'\nios\nsystem\n.", "STRING"),
        (b"(ios\nsystem\n.", "INST"),
        (b"Pabc\n.", "PERSID"),
        (b"K\x01Q.", "BINPERSID"),
        (b"\x82\x01.", "EXT1"),
        (b"\x83\x01\x00.", "EXT2"),
        (b"\x84\x01\x00\x00\x00.", "EXT4"),
        (b"]]b.", "BUILD"),
        (b"]]R.", "REDUCE"),
        (b"]]\x81.", "NEWOBJ"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"\x8f.", "EMPTY_SET"),
        (b"C\x01a.", "SHORT_BINBYTES"),
        (b"\x8b\x01\x00\x00\x00\x01.", "LONG4"),
        (pickle.dumps([(1, 2)]), "TUPLE2"),
        (pickle.dumps([1.5]), "BINFLOAT"),
        (pickle.dumps(OrderedDict(a=1)), "STACK_GLOBAL"),
    ],
)
def test_unsupported_operations_are_named(content, operation):
    with pytest.raises(ValueError, match=rf"uses {operation} at byte \d+"):
        load_plain_pickle(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"]",
        b"]].",
        b"(.",
        b"](a.",
        b"]((e.",
        b"]e.",
        b"](q\x00.",
        b"}(K\x01K\x02u.",
        b"}(]K\x02u.",
        b"}(X\x01\x00\x00\x00au.",
        b"K\x01K\x01a.",
        b"h\x07.",
        b"X\xff\xff\xff\x7fa.",
        b"\xff.",
        pickle.dumps(GLOVES)[:-1],
        pickle.dumps(GLOVES)[:40],
    ],
)
def test_damaged_pickles_are_rejected(content):
    with pytest.raises(ValueError, match="is not a valid pickle"):
        load_plain_pickle(content)


def test_small_files_need_little_memory_and_time(tmp_path):
    # An index of the memo at which the ordinary unpickler would make room for two thousand million entries.
    assert load_plain_pickle(b"]r" + struct.pack("<I", 2**31 - 1) + b".") == []
    # A list of ten lists of ten lists ..., which written out would have 10^40 elements.
    nested = []
    for _ in range(40):
        nested = [nested] * 10
    (tmp_path / f"{GLOVE}.pkl").write_bytes(pickle.dumps([{**GLOVES[0], "image_id": nested}]))
    start = time.perf_counter()
    with pytest.raises(ValueError, match=r"image_id is a list of 10; it should be a single value"):
        read_soa_captions(tmp_path, partial=True)
    assert time.perf_counter() - start < 1


def test_recursive_values_are_rejected(tmp_path):
    entry: dict = dict(GLOVES[0])
    entry["caption"] = entry
    (tmp_path / f"{GLOVE}.pkl").write_bytes(pickle.dumps([entry]))
    with pytest.raises(ValueError, match="caption is a dict of 4; it should be a single value"):
        read_soa_captions(tmp_path, partial=True)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(plain, st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_plain_values_round_trip(value, protocol):
    if protocol == 1:  # has no operations for truths and long numbers but those of protocol 0, which are not read
        value = json.loads(json.dumps(value, default=str), parse_int=lambda text: int(text) % 2**31)
        if "true" in json.dumps(value) or "false" in json.dumps(value):
            return
    assert load_plain_pickle(pickle.dumps(value, protocol)) == value


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_corrupted_pickles_are_read_or_rejected(data):
    content = bytearray(pickle.dumps(GLOVES, data.draw(st.integers(1, 5))))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):  # and nothing else
        load_plain_pickle(bytes(content))


# Word rules

CAPTIONS = [
    ("A dog sleeping on a show rack in the shoes.", {"dog"}),
    ("a shoe rack with some shoes and a dog sleeping on them", {"dog"}),
    ("A hot dog and a bowl on a table.", {"hot dog", "bowl"}),
    ("A woman in glasses taking a bite of a chili dog.", {"person", "hot dog"}),
    ("A teddy bear comes in a box with a pamphlet", {"teddy bear"}),
    ("Two train cars sitting on the tracks with power lines in the backround.", set()),
    ("A metallic microwave oven sitting on top of a counter.", {"microwave"}),
    ("A stuffed rabbit has been placed inside of a microwave oven. ", {"microwave"}),
    ("a raw chicken being cooked in a toaster oven", {"toaster"}),
    ("a person on a motor bike rides down a road next to some cows", {"person", "motorcycle"}),
    ("A broken toilet bowl with  a Hello Kitty toilet seat cover.", {"toilet"}),
    ("Two apple computers are on a white desk", set()),
    ("A black traffic light on a white street post", {"traffic light"}),
    ("A toy elephant is sitting inside a wooden car toy.", {"car"}),
    ("A computer, mouse and keyboard on a desk.", {"keyboard"}),
    ("Six bottles have been placed near many wine glasses.", {"bottle", "wine glass"}),
    ("A close up of a woven basket on a bicycle.", set()),
    ("A dog driving an SUV in an open grass covered field.", {"dog"}),
    ("Two knives sitting on a table next to each other.", {"knife", "dining table"}),
]


@pytest.mark.parametrize(("caption", "classes"), CAPTIONS)
def test_classes_of_a_caption(caption, classes):
    assert named(caption) == classes


def test_the_two_readings():
    caption = "A person is using a smartphone at a table with pizza, and a dog."
    assert named(caption) == {"person", "dining table"}
    assert named(caption, "reader") == {"person", "cell phone", "dining table", "pizza", "dog"}
    assert named("two bunches of bananas", "reader") == {"banana"}
    assert named("A LARGE BUS", "reader") == {"bus"}
    assert named("a stuffed bear", "reader") == {"teddy bear"}
    with pytest.raises(ValueError, match="reading is 'any'; it should be one of lists, reader"):
        classes_in("a dog", reading="any")


@pytest.mark.parametrize("name", COCO_NAMES.values())
def test_singular_and_plural_names_find_exactly_their_class(name):
    if name == "orange":
        return  # of which only the plural counts
    singular = {"sports ball": "ball", "potted plant": "potted plant", "mouse": "computer mouse"}.get(name, name)
    singular = {"tennis racket": "racket", "dining table": "table"}.get(name, singular)
    for form in {singular, plural(singular)}:
        assert named(f"There: {form} in a picture") == named(form, "reader") == {name}


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("bench", "benches"),
        ("bus", "buses"),
        ("puppy", "puppies"),
        ("toy", "toys"),
        ("baseball mitt", "baseball mitts"),
        ("knife", "knives"),
        ("fireman", "firemen"),
        ("sheep", "sheep"),
    ],
)
def test_plurals(one, many):
    assert plural(one) == many


def test_tables_use_official_class_names():
    assert [category.label for category in CATEGORIES] == list(range(80))
    assert CATEGORIES[-1] == (79, 90, "toothbrush")
    assert list(NAMED) == list(COCO_NAMES.values())
    assert SYNONYMS.keys() <= NAMED.keys()
    assert LEXICONS["lists"].keys() <= LEXICONS["reader"].keys()


@given(st.text(alphabet="a dog,.-cars'\n", max_size=60))
@settings(max_examples=200, deadline=None)
def test_reader_finds_everything_that_lists_finds(caption):
    assert classes_in(caption) <= classes_in(caption, reading="reader")


# What is to be drawn

LISTED = {
    1: tuple(ListedCaption(number, f"A person, number {number}.") for number in range(10)),
    40: (ListedCaption(376773, "A group of kids are standing together holding baseball gloves and a bat."),),
    79: (ListedCaption(225565, "A cheesy pizza sitting on top of  an oven pan. "),),
}


def test_official_requests():
    requests = soa_requests(LISTED, person_images=4, seed=7)
    assert [request.category for request in requests] == [1] * 4 + [40] * 3 + [79] * 3
    assert [request.seed for request in requests] == list(range(7, 17))
    assert len({request.caption for request in requests[:4]}) == 4
    assert requests[-1] == Request("soa-000009", "225565", "A cheesy pizza sitting on top of an oven pan.", 16, 79)
    assert soa_requests(LISTED, person_images=4, seed=7) == requests
    others = [request.image_id for request in soa_requests(LISTED, person_images=4, seed=8)[:4]]
    assert others != [request.image_id for request in requests[:4]]


def test_all_person_captions_are_used_if_there_are_fewer():
    assert [request.image_id for request in soa_requests(LISTED)[:11]] == [*map(str, range(10)), "376773"]


@pytest.mark.parametrize("wrong", [{"images_per_caption": 0}, {"person_images": 0}, {"seed": -1}])
def test_invalid_arguments_are_rejected(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}"):
        soa_requests(LISTED, **wrong)
    with pytest.raises(ValueError, match="there are no lists"):
        soa_requests({})


# Real files


@pytest.mark.skipif(
    not (OFFICIAL and UNIVERSE),
    reason="XMCGAN_SOA and XMCGAN_SOA_CAPTIONS do not name SOA's lists and the captions they were made from (JSON.gz)",
)
def test_word_rules_agree_with_the_official_lists():
    assert OFFICIAL
    assert UNIVERSE
    lists = read_soa_captions(Path(OFFICIAL), partial=True)
    assert len(lists) == 64
    assert lists[40][0].position == (201, 3)
    listed = {category: {caption[:2] for caption in captions} for category, captions in lists.items()}
    # The part of the validation split that is there: all lists, and what other public lists hold besides.
    with gzip.open(UNIVERSE) as stream:
        captions = {(entry["image_id"], entry["caption"]) for entry in json.load(stream)["annotations"]}
    found = {category: set() for category in COCO_NAMES}
    for caption in captions:
        for category in classes_in(caption[1]):
            found[category].add(caption)
    precision = [len(found[category] & right) / len(found[category]) for category, right in listed.items()]
    recall = [len(found[category] & right) / len(right) for category, right in listed.items()]
    assert sum(precision) / 64 >= 0.97
    assert sum(recall) / 64 >= 0.97
