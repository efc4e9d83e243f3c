"""Atomic writing of files."""

import pytest

from xmcgan.runtime.files import atomic_file, read_json, write_json, write_text


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
