"""Workers that encode images: a broken pool is replaced, and failing storage is not a bad image."""

from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from xmcgan.data.images import ImageTransform
from xmcgan.data.prepared import workers as module
from xmcgan.data.prepared.workers import _encode, _encode_all, _Pool
from xmcgan.data.records import Record
from xmcgan.data.remote import RemotePath

TRANSFORM = ImageTransform(8)


class Broken(Executor):
    """A pool whose processes have died."""

    def submit(self, *_, **__):
        raise BrokenExecutor


@pytest.fixture
def image(tmp_path) -> Record:
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    return Record(tmp_path / "a.png", (), "a")


@pytest.mark.parametrize("deaths", [1, 3])
def test_a_pool_that_broke_between_two_chunks_is_made_anew(monkeypatch, image, deaths):
    with ThreadPoolExecutor(1) as whole:
        pools = iter([*(Broken() for _ in range(deaths)), whole])
        monkeypatch.setattr(module, "_processes", lambda count: next(pools))
        ((content, width, height),) = _Pool(2).submit([image], TRANSFORM, 90).result()
    assert content.startswith(b"\xff\xd8")
    assert (width, height) == (20, 10)


def test_a_pool_that_breaks_again_and_again_is_given_up(monkeypatch, image):
    monkeypatch.setattr(module, "_processes", lambda count: Broken())
    with pytest.raises(
        ChildProcessError, match=r"^a worker process died 4 times in a row, .* the same command resumes"
    ):
        _Pool(2).submit([image], TRANSFORM, 90)


def test_an_executor_of_the_caller_is_not_made_anew(image):
    with pytest.raises(ChildProcessError, match=r"^a worker process died, perhaps because memory ran out; the same"):
        _Pool(2, Broken()).submit([image], TRANSFORM, 90)


def test_an_image_that_is_missing_behind_a_url_is_a_bad_image(image):
    storage, root = fsspec.filesystem("memory"), RemotePath("memory://workers")
    storage.pipe_file("/workers/a.png", image.image.read_bytes())
    try:
        good, missing = _encode_all([Record(root / name, (), name) for name in ("a.png", "gone.png")], TRANSFORM, 90)
    finally:
        storage.rm("/workers", recursive=True)
    assert good[1:] == (20, 10)
    assert "gone.png" in missing


def test_storage_that_does_not_answer_ends_the_preparation(monkeypatch):
    def cat_file(*_, **__):
        raise TimeoutError("timed out")

    monkeypatch.setattr(MemoryFileSystem, "cat_file", cat_file)
    record = Record(RemotePath("memory://workers") / "a.png", (), "a")
    said = r"^memory://workers/a\.png cannot be read: timed out$"
    with pytest.raises(ConnectionError, match=said):
        _encode_all([record], TRANSFORM, 90)
    with pytest.raises(ConnectionError, match=said):  # of an image that could not be read, on resuming
        _encode(record, TRANSFORM, 90)
