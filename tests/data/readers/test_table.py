"""Tables of paths and captions in four formats: rows gathered by image, and every bad row named."""

import csv
import json
import random
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from damage import assert_holds, damaged_bytes, damaged_json
from xmcgan.data.readers import files
from xmcgan.data.readers.dialect import DIALECTS, SEPARATORS
from xmcgan.data.readers.sources import describe_split
from xmcgan.data.readers.table import dialect_of, read_table
from xmcgan.data.records import Problem, Record, strict

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
ROWS = [("images/b.jpg", "A bus."), ("a.png", 'A  cat,\n"asleep".'), ("./images/b.jpg", "A\tred bus.")]


def write_table(root: Path, suffix: str, rows: list[tuple], columns: tuple = ("path", "caption")) -> Path:
    """A table of a format, with another column between those that count; and the images of ROWS."""
    file = root / f"train{suffix}"
    (root / "images").mkdir(parents=True, exist_ok=True)
    for name in ("images/b.jpg", "a.png"):
        Image.new("RGB", (4, 3)).save(root / name)
    full = [{columns[0]: path, "width": 4, columns[1]: caption} for path, caption in rows]
    match suffix:
        case ".jsonl":
            file.write_text("".join(json.dumps(row) + "\n" for row in full))
        case ".parquet":
            parquet.write_table(pa.Table.from_pylist(full), file)
        case _:
            with file.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.writer(stream, delimiter="," if suffix == ".csv" else "\t")
                writer.writerows([(columns[0], "width", columns[1]), *(tuple(row.values()) for row in full)])
    return root


def sorted_out(root: Path) -> tuple[list[Record], list[Problem]]:
    entries = list(read_table(root, "train", annotations=True))
    records = [entry for entry in entries if isinstance(entry, Record)]
    return records, [entry for entry in entries if isinstance(entry, Problem) and not entry.unused]


@pytest.mark.parametrize("caption", ["caption", "text", "captions"])
@pytest.mark.parametrize("path", ["path", "image", "file_name", "filename"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_are_gathered_by_image(tmp_path, suffix, path, caption):
    write_table(tmp_path, suffix, ROWS, (path, caption))
    assert list(strict(read_table(tmp_path, "train"))) == [
        (tmp_path / "images/b.jpg", ("A bus.", "A red bus."), "images/b.jpg", (), None),
        (tmp_path / "a.png", ('A cat, "asleep".',), "a.png", (), None),
    ]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_cell_can_be_a_list_of_captions(tmp_path, suffix):
    write_table(tmp_path, suffix, [("a.png", ["A cat.", " A cat asleep."]), ("images/b.jpg", [" ", "A bus."])])
    records, (problem,) = sorted_out(tmp_path)
    assert [record.captions for record in records] == [("A cat.", "A cat asleep."), ("A bus.",)]
    assert problem.where.endswith((".jsonl, line 2", ".parquet, row 2"))
    assert problem.reason == "caption[0] is ' '; it should contain words"


@pytest.mark.parametrize(
    ("path", "caption", "message"),
    [
        ("images/none.jpg", "A bus.", "the image's path is 'images/none.jpg'; it is not in"),
        ("nowhere/b.jpg", "A bus.", "the image's path is 'nowhere/b.jpg'; it is not in"),
        ("images", "A folder.", "leads out of the data set, or to no file"),
        ("", "A bus.", "the image's path is"),
        ("../secret.jpg", "A secret.", "the image's path is '../secret.jpg'; it should be the name of a file inside"),
        ("images/../../secret.jpg", "A secret.", "it should be the name of a file inside"),
        ("{tmp_path}/secret.jpg", "A secret.", "it should be the name of a file inside"),
        ("linked.jpg", "A secret.", "leads out of the data set"),
        ("away/secret.jpg", "A secret.", "leads out of the data set"),
        ("images/b.jpg", "", "caption[0] is ''; it should contain words"),
        ("images/b.jpg", " \t", r"caption[0] is ' \t'; it should contain words"),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_bad_row_is_named_and_the_others_are_read(tmp_path, suffix, path, caption, message):
    root = tmp_path / "set"
    path = path.format(tmp_path=tmp_path)
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    write_table(root, suffix, [("a.png", "A cat."), (path, caption), ("a.png", "A cat, awake.")])
    (root / "linked.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "away").symlink_to(tmp_path)
    (record,), (problem, *rest) = sorted_out(root)
    assert record.captions == ("A cat.", "A cat, awake.")
    assert [each.reason for each in rest] == (["has no usable caption"] if problem.detail else [])
    assert problem.where == f"{root}/train{suffix}, {'row' if suffix == '.parquet' else 'line'} " + (
        "3" if suffix in (".csv", ".tsv") else "2"
    )
    assert message in problem.reason


def test_an_image_that_is_missing_is_one_problem(tmp_path):
    write_table(tmp_path, ".csv", [("a.png", "A cat."), ("no.png", "one"), ("no.png", "two")])
    assert len(sorted_out(tmp_path)[1]) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"a.png", "has 1 columns; the first line has 2"),
        (b"a.png,A cat,asleep", "has 3 columns; the first line has 2"),
        (b"a.png,A caf\xe9", r"caption[0] is 'A caf\udce9', which is not UTF-8"),
        (b"caf\xe9.png,A cat", r"the image's path is 'caf\udce9.png', which is not UTF-8"),
        (b'a.png,"A" cat', "is not a valid row"),
        (b'a.png,"' + b"x" * 200_000 + b'"', "is not a valid row: field larger than field limit"),
    ],
)
def test_a_bad_row_of_a_csv(tmp_path, row, message):
    write_table(tmp_path, ".csv", [])
    (tmp_path / "train.csv").write_bytes(b"path,caption\na.png,A cat.\n\n" + row + b"\na.png,Last\n")
    (record,), (problem,) = sorted_out(tmp_path)
    assert record.captions == ("A cat.", "Last")
    assert problem.where == f"{tmp_path}/train.csv, line 4"
    assert message in problem.reason


def test_a_quote_without_end_is_named(tmp_path):
    write_table(tmp_path, ".csv", [])
    (tmp_path / "train.csv").write_text('path,caption\na.png,A cat.\na.png,"A cat\na.png,Lost\n')
    (record,), (problem,) = sorted_out(tmp_path)
    assert record.captions == ("A cat.",)
    assert "unexpected end of data" in problem.reason


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    write_table(tmp_path, ".csv", [])
    (tmp_path / "train.csv").write_bytes("\ufeffpath,caption\r\na.png,Ein Kätzchen\r\n".encode())
    assert sorted_out(tmp_path)[0][0].captions == ("Ein Kätzchen",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is []; it should be an object"),
        ('{"path": "a.png"}', "has none of the columns caption, text, captions; it should have one of them"),
        ('{"caption": "A cat."}', "has none of the columns path, image, file_name, filename"),
        ('{"path": "a.png", "image": "a.png", "text": "A cat."}', "has path and image of the columns"),
        ('{"path": 5, "text": "A cat."}', "the image's path is 5; it should be a text"),
        ('{"path": "a.png", "text": []}', "its list of captions is empty"),
        ('{"path": "a.png", "text": [5]}', "caption[0] is 5; it should be a text"),
        ('{"path": "a.png", "text": null}', "caption[0] is None; it should be a text"),
        ('{"path": "a.png", "text": "\\ud800"}', r"caption[0] is '\ud800', which is not UTF-8"),
        ('{"path": "a\\u0000.png", "text": "A cat"}', "it should be the name of a file inside"),
    ],
)
def test_a_bad_line_of_a_jsonl(tmp_path, line, message):
    write_table(tmp_path, ".jsonl", [])
    good = '{"path": "a.png", "text": "A cat."}'
    (tmp_path / "train.jsonl").write_text(f"{good}\n\n{line}\n{good}\n")
    (record,), (problem,) = sorted_out(tmp_path)
    assert record.captions == ("A cat.", "A cat.")
    assert problem.where == f"{tmp_path}/train.jsonl, line 3"
    assert message in problem.reason


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1]), "its column image is of type int64; it should be text"),
        (pa.array([{"bytes": b"x", "path": "a.png"}]), "its column image is of type struct"),
        (pa.array([b"a.png"]), "its column image is of type binary"),
        (pa.array([["a.png"]]), "its column image is of type list"),
    ],
)
def test_parquet_columns_of_another_type_are_named(tmp_path, column, message):
    parquet.write_table(pa.table({"image": column, "text": ["A cat."]}), tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=rf"train\.parquet cannot be read: {message}"):
        sorted_out(tmp_path)


def test_parquet_texts_may_be_large_or_of_a_dictionary(tmp_path):
    write_table(tmp_path, ".jsonl", [])
    (tmp_path / "train.jsonl").unlink()
    paths = pa.array(["a.png", "a.png"]).dictionary_encode()
    captions = pa.array(["A cat.", None], pa.large_string())
    parquet.write_table(pa.table({"image": paths, "text": captions}), tmp_path / "train.parquet")
    (record,), (problem,) = sorted_out(tmp_path)
    assert record.captions == ("A cat.",)
    assert str(problem) == f"{tmp_path}/train.parquet, row 2: caption[0] is None; it should be a text"


def test_a_parquet_text_that_is_no_utf_8_is_a_bad_row(tmp_path):
    write_table(tmp_path, ".parquet", [])
    captions = pa.array([b"A cat.", b"A caf\xe9", b"A cat, awake."]).view(pa.string())
    parquet.write_table(pa.table({"path": ["a.png"] * 3, "text": captions}), tmp_path / "train.parquet")
    (record,), (problem,) = sorted_out(tmp_path)
    assert record.captions == ("A cat.", "A cat, awake.")
    assert str(problem).startswith(f"{tmp_path}/train.parquet, row 2: is not UTF-8")


def test_what_makes_the_set_unreadable_is_raised(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"/train\{\.csv,\.tsv,\.jsonl,\.parquet\} is missing"):
        sorted_out(tmp_path)
    write_table(tmp_path, ".csv", ROWS)
    write_table(tmp_path, ".jsonl", ROWS)
    with pytest.raises(ValueError, match=r"train\.csv and .*train\.jsonl both exist"):
        sorted_out(tmp_path)
    (tmp_path / "train.jsonl").unlink()
    for text, message in (
        ("", "line 1 has none of the columns path"),
        ("a,caption\n", "line 1 has none of the columns path"),
        ("path,image,text\n", "line 1 has path and image of the columns"),
        ("path,path,text\n", "line 1 has path and path of the columns"),
        ("path,caption\n", "has no image with a caption"),
        ("path,caption\nb.png,A bus\n", "has no image with a caption"),
    ):
        (tmp_path / "train.csv").write_text(text)
        with pytest.raises(ValueError, match=rf"train\.csv.* {message}"):
            sorted_out(tmp_path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_random_damage_never_crashes(tmp_path, suffix):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    root = write_table(tmp_path / "set", suffix, ROWS * 3)
    file = root / f"train{suffix}"
    whole = file.read_bytes()
    for seed in range(300):
        damage = damaged_json if suffix == ".jsonl" and seed % 2 else damaged_bytes
        file.write_bytes(damage(whole, random.Random(seed)))
        assert_holds(read_table, root, "train")


def test_single_table_is_the_split_train(tmp_path):
    file = write_table(tmp_path, ".csv", [("a.png", "A cat.")])
    file = (tmp_path / "train.csv").rename(tmp_path / "mine.csv")
    assert [record.captions for record in read_table(file, "train") if isinstance(record, Record)] == [("A cat.",)]
    with pytest.raises(FileNotFoundError, match=r"train\{\.csv.* is missing.*there is mine\.csv: give the file itself"):
        list(read_table(tmp_path, "train"))
    with pytest.raises(ValueError, match="is a single table, which is the split train; for val, give its folder"):
        list(read_table(file, "val"))
    with pytest.raises(
        ValueError, match=r"a\.png is not a table: its name should end in \.csv, \.tsv, \.jsonl, \.parquet"
    ):
        list(read_table(tmp_path / "a.png", "train"))


def test_an_image_is_unused_unless_the_table_of_another_split_names_it(tmp_path):
    write_table(tmp_path, ".csv", [("a.png", "A cat.")])
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")  # a table, but not of images
    unused = [str(entry) for entry in read_table(tmp_path, "train") if isinstance(entry, Problem)]
    assert unused == [f"{tmp_path}/images/b.jpg: is an image that no row names"]
    (tmp_path / "val.jsonl").write_text('{"path": 5, "text": "x"}\n{"path": "./images/b.jpg", "text": "A bus."}\n')
    assert not [entry for entry in read_table(tmp_path, "train") if isinstance(entry, Problem)]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_line_too_long_to_keep_is_named_and_the_others_are_read(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(files, "MOST_LINE", 100)
    write_table(tmp_path, suffix, [("a.png", "A cat."), ("a.png", "cat " * 60), ("a.png", "A dog.")])
    (record,), (problem,) = sorted_out(tmp_path)
    assert record.captions == ("A cat.", "A dog.")
    assert str(problem) == f"{tmp_path}/train{suffix}, line {2 + (suffix == '.csv')}: has more than 100 bytes"


@pytest.mark.parametrize("damaged", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_the_row_groups_of_a_damaged_parquet_that_can_be_read(tmp_path, damaged):
    write_table(tmp_path, ".parquet", [])
    file = tmp_path / "train.parquet"
    texts = ["A cat.", "A dog.", "A bus.", "A kite.", "A sheep."]
    rows = pa.table({"path": ["a.png"] * 5, "caption": texts})
    parquet.write_table(rows, file, row_group_size=2, compression="none", use_dictionary=False)
    content = bytearray(file.read_bytes())
    for group in damaged:
        first = parquet.ParquetFile(file).metadata.row_group(group).column(0).data_page_offset
        content[first : first + 8] = b"\xff" * 8
    file.write_bytes(content)
    if len(damaged) == 3:
        with pytest.raises(ValueError, match=rf"^{file} cannot be read: "):
            sorted_out(tmp_path)
        return
    (record,), problems = sorted_out(tmp_path)
    assert list(record.captions) == [text for row, text in enumerate(texts) if row // 2 not in damaged]
    places = ["rows 1 to 2", "rows 3 to 4", "row 5"]
    assert [problem.where for problem in problems] == [f"{file}, {places[group]}" for group in damaged]
    assert all(problem.reason.startswith("cannot be read: ") for problem in problems)


# ---------------------------------------------------------------------------------------------------- dialects


def table_of(root: Path, name: str, content: str | bytes) -> Path:
    write_table(root, ".csv", [])
    (root / "train.csv").unlink()
    (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


@pytest.mark.parametrize(
    ("name", "content", "dialect", "expected"),
    [
        ("train.tsv", 'a.png\t"hello there\nimages/b.jpg\tit says "\n', "tab-unquoted", ['"hello there', 'it says "']),
        ("train.tsv", 'a.png\t"hello\nthere"\nimages/b.jpg\ta ""sign""\n', "tab", ["hello there", 'a ""sign""']),
        ("train.tsv", 'a.png\t"Hi" he said\nimages/b.jpg\t"bye"\n', "tab-unquoted", ['"Hi" he said', '"bye"']),
        ("train.tsv", 'a.png\t"a ""b"" c"\nimages/b.jpg\tbye\n', "tab", ['a "b" c', "bye"]),
        ("train.csv", 'a.png;"red; blue"\nimages/b.jpg;x\n', "semicolon", ["red; blue", "x"]),
        ("train.csv", "a.png\tred, blue\nimages/b.jpg\tx\n", "tab", ["red, blue", "x"]),
        ("train.csv", 'a.png,"red, blue\nand green"\nimages/b.jpg,x\n', "comma", ["red, blue and green", "x"]),
    ],
)  # fmt: skip
def test_the_csv_dialect_is_detected(tmp_path, name, content, dialect, expected):
    separator = SEPARATORS[DIALECTS[dialect].separator]
    table_of(tmp_path, name, f"path{separator}caption\n{content}")
    assert dialect_of(tmp_path / name) == DIALECTS[dialect]
    records, problems = sorted_out(tmp_path)
    assert not problems
    assert [record.captions for record in records] == [(caption,) for caption in expected]
    assert str(DIALECTS[dialect]) in describe_split(tmp_path, "table", "train")


def test_the_csv_dialect_can_be_given(tmp_path):
    table_of(tmp_path, "train.tsv", 'path\tcaption\na.png\t"a sign"\n')
    captions = [
        next(strict(read_table(tmp_path, "train", dialect=DIALECTS[name]))).captions for name in ("tab", "tab-unquoted")
    ]
    assert captions == [("a sign",), ('"a sign"',)]
    table_of(tmp_path / "lines", "train.jsonl", '{"path": "a.png", "caption": "A cat."}\n')
    with pytest.raises(ValueError, match=r"train\.jsonl has no dialect; only \.csv and \.tsv have one"):
        next(read_table(tmp_path / "lines", "train", dialect=DIALECTS["tab"]))


def test_a_quoted_cell_that_swallows_a_row_is_named(tmp_path):
    table_of(tmp_path, "train.csv", 'path,caption\na.png,"hello there\nimages/b.jpg,the sign reads "\na.png,A cat\n')
    (record,), (problem,) = sorted_out(tmp_path)
    assert record.captions == ("A cat",)
    assert problem.where == f"{tmp_path}/train.csv, lines 2 to 3"
    assert problem.reason == "is one row by its quotation marks, but line 3 is a row too: is one of them stray?"


def test_a_row_far_longer_than_the_rest_is_named_and_kept(tmp_path):
    rows = "a.png,A cat.\n" * 10 + "a.png," + "word " * 300 + "\n"
    table_of(tmp_path, "train.csv", f"path,caption\n{rows}")
    (record,), (problem,) = sorted_out(tmp_path)
    assert len(record.captions) == 11
    assert problem.detail
    assert "is 1,507 characters long, the rows before it 13 on average" in problem.reason


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_table_in_another_encoding_says_so(tmp_path, encoding, suffix):
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    table_of(tmp_path, f"train{suffix}", f"{mark}path,caption\na.png,A cat\n".encode(encoding))
    with pytest.raises(ValueError, match=rf"train\{suffix} is UTF-16 or UTF-32; save it as UTF-8"):
        sorted_out(tmp_path)
