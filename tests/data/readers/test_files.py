"""Files and lines that are too large are named, and never read into memory."""

import pytest

from xmcgan.data.readers import files
from xmcgan.data.readers.files import byte_lines, filled_lines, text_lines, text_of
from xmcgan.data.records import Problem


def test_a_line_too_long_is_one_problem_and_the_numbers_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_LINE", 10)
    file = tmp_path / "list.txt"
    file.write_bytes(b"one\n" + b"x" * 35 + b"\n\nfour\n" + b"y" * 10)
    second, fifth = (Problem(f"{file}, line {number}", "has more than 10 bytes") for number in (2, 5))
    assert list(byte_lines(file)) == [(1, b"one\n"), second, (3, b"\n"), (4, b"four\n"), fifth]
    assert list(text_lines(file)) == [(1, "one"), second, (3, ""), (4, "four"), fifth]
    assert list(filled_lines(file)) == [
        (f"{file}, line 1", b"one\n"), second, (f"{file}, line 4", b"four\n"), fifth,
    ]  # fmt: skip


def test_a_line_that_is_not_utf_8_is_a_problem(tmp_path):
    file = tmp_path / "list.txt"
    file.write_bytes(b"one\ncaf\xe9\nthree\n")
    first, problem, third = text_lines(file)
    assert (first, third) == ((1, "one"), (3, "three"))
    assert isinstance(problem, Problem)
    assert problem.where == f"{file}, line 2"
    assert "is not UTF-8" in problem.reason


def test_captions_of_an_image_have_a_largest_size(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_TEXT", 1000)
    (tmp_path / "a.txt").write_bytes(b"x" * 1000)
    assert len(text_of(tmp_path / "a.txt")) == 1000
    (tmp_path / "a.txt").write_bytes(b"x" * 1001)
    with pytest.raises(ValueError, match=r"^has 1,001 bytes; captions of one image should be at most 1,000$"):
        text_of(tmp_path / "a.txt")
