"""Atomic writing of files."""

import pytest

from xmcgan.runtime.files import WriteFailed, atomic_file, read_json, read_json_lines, write_json, write_text


def test_interrupted_write_keeps_the_previous_file(tmp_path):
    path = write_text(tmp_path / "a.txt", "former")

    def interrupted() -> None:
        with atomic_file(path, flush=True) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "former"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_json_is_read_as_written(tmp_path):
    path = write_json(tmp_path / "a.json", {"é": [1, None]})
    assert read_json(path) == {"é": [1, None]}
    assert write_text(path, "{") == path
    with pytest.raises(ValueError, match=r"a.json is not JSON"):
        read_json(path)


def test_json_has_at_most_a_hundred_levels(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[" * 100 + "]" * 100)
    assert str(read_json(path)) == path.read_text()
    for levels in (101, 100_000):
        path.write_text("[" * levels + "]" * levels)
        with pytest.raises(ValueError, match=r"a\.json is not JSON of this library: it is nested too deeply$"):
            read_json(path)


def test_each_line_of_json_is_an_object(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\n{"b": 2}\n')
    assert read_json_lines(path) == [{"a": 1}, {"b": 2}]
    for line, said in (("[1]", " should be a JSON object, not list"), ("{", " is not JSON")):
        path.write_text(f'{{"a": 1}}\n\n{line}\n')
        with pytest.raises(ValueError, match=rf"a\.jsonl, line 3{said}"):
            read_json_lines(path)


def test_a_write_of_torch_that_fails_names_the_file(tmp_path):
    """Its error does not say why."""
    with (
        pytest.raises(WriteFailed, match=r"model\.pt could not be written: Input/output error$"),
        atomic_file(tmp_path / "model.pt"),
    ):
        raise RuntimeError("PytorchStreamWriter failed writing file data.pkl: file write failed")
