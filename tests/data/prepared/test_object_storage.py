"""Shards in S3 and in Google Cloud Storage, read from servers on this machine that speak their protocols.

Skipped where these are not installed:  pip install 'moto[s3,server]' s3fs gcsfs gcp-storage-emulator
"""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from batches import assert_same_batches
from ranks import free_port
from xmcgan.data.images import ImageTransform
from xmcgan.data.prepared.manifest import is_prepared, read_manifest
from xmcgan.data.prepared.prepare import prepare
from xmcgan.data.prepared.shards import ShardedRecords, open_shards
from xmcgan.data.readers.coco import read_coco
from xmcgan.data.stream import ExampleStream

SERVERS = {
    "s3": ("moto.server", ["-H", "127.0.0.1", "-p", "{port}"], ("moto", "flask", "s3fs")),
    "gs": ("gcp_storage_emulator", ["start", "--host=127.0.0.1", "--port={port}", "--in-memory"], ("gcsfs",)),
}


@pytest.fixture(scope="module")
def made(scenes, tmp_path_factory) -> Path:
    """24 records in three shards."""
    root = tmp_path_factory.mktemp("made") / "prepared"
    records = read_coco(scenes, "train2014")
    prepare(
        scenes,
        root,
        name="scenes",
        layout="coco",
        splits=["train2014"],
        entries=lambda _split: iter(records),
        size=16,
        shard_records=8,
        workers=1,
        progress=False,
    )
    return root


def opened(root: str | Path, **where: Path) -> ShardedRecords:
    return open_shards(root, "train2014", layout="coco", **where)


@pytest.fixture(params=SERVERS)
def storage(request, made, tmp_path, monkeypatch) -> Iterator[tuple[str, subprocess.Popen]]:
    """The URL of prepared data in a bucket, and the process that serves it."""
    module, arguments, packages = SERVERS[request.param]
    for package in (module.partition(".")[0], *packages):
        pytest.importorskip(package, reason=f"{package} is not installed")
    fsspec.get_filesystem_class(request.param).clear_instance_cache()  # of the server before
    port = free_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anyone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    command = [sys.executable, "-m", module, *(each.format(port=port) for each in arguments)]
    with (tmp_path / "server.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            answers(port)
            url = f"{request.param}://bucket-{port}/prepared"  # fsspec remembers what buckets hold
            # A process of its own: fsspec's thread should not be here when workers are forked.
            subprocess.run([sys.executable, "-c", UPLOAD, url, str(made)], check=True, timeout=120)
            yield url, process
        finally:
            process.kill()


UPLOAD = """
import sys, fsspec
url, folder = sys.argv[1:]
filesystem, path = fsspec.core.url_to_fs(url)
filesystem.mkdir(path.partition("/")[0])
filesystem.put(folder, path, recursive=True)
"""


def answers(port: int, seconds: float = 60) -> None:
    """Waits until a server answers anything."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"no server at port {port} after {seconds} seconds")


@pytest.mark.parametrize("workers", [0, 2])
def test_training_data_from_a_bucket(storage, made, tmp_path, workers):
    url, process = storage
    assert is_prepared(url)
    assert not is_prepared(f"{url}-of-nothing")
    stream = ExampleStream(opened(url, cache=tmp_path / "cache"), ImageTransform(16), seed=0, flip=True)
    local = ExampleStream(opened(made), ImageTransform(16), seed=0, flip=True)
    assert_same_batches(stream, local, workers=workers, count=8)
    records = list(opened(made))
    assert list(opened(url, cache=tmp_path / "cache")) == records

    process.kill()
    process.wait()
    under_way = ShardedRecords(url, "train2014", read_manifest(made), tmp_path / "cache")
    assert list(under_way) == records  # from the cache, though nobody answers
    with pytest.raises(ConnectionError, match=r"bucket-\d+/prepared/manifest\.json cannot be read: "):
        is_prepared(url)
