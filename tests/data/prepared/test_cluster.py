"""`data prepare` on a Dask cluster: a worker of the cluster dies, and the files are those of one process."""

import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import distributed
import pytest
from distributed import LocalCluster
from distributed.scheduler import KilledWorker

from preparing import prepared
from xmcgan import __version__
from xmcgan.data.prepared import workers as module
from xmcgan.data.prepared.cluster import _versions, dask_executor
from xmcgan.data.records import Record
from xmcgan.scenes import World, render_scene, sample_scene


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Record]:
    folder = tmp_path_factory.mktemp("pictures")
    render_scene(sample_scene(0, "train", 0, World()), 64).picture.save(folder / "a.png")
    return [Record(folder / "a.png", (f"picture {number}",), f"{number:02d}") for number in range(24)]


def until(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it took more than a minute"
        time.sleep(0.001)


def test_a_worker_that_is_killed_loses_nothing(pictures, tmp_path, monkeypatch):
    alone = prepared(pictures, tmp_path / "alone")
    monkeypatch.setattr(module, "_REMOTE_CHUNK", 2)
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None, silence_logs=50
    ) as cluster:
        command = ["-m", "distributed.cli.dask_worker", cluster.scheduler_address, "--nthreads", "1", "--no-nanny"]
        victim = subprocess.Popen(
            [sys.executable, *command, "--name", "victim", "--no-dashboard"], stderr=subprocess.DEVNULL
        )
        try:
            until(lambda: len(cluster.scheduler.workers) == 2)
            [state] = [each for each in cluster.scheduler.workers.values() if each.name == "victim"]
            held: list[int] = []

            def kill() -> None:
                until(lambda: state.processing)
                held.append(len(state.processing))
                victim.kill()

            killer = threading.Thread(target=kill)
            with dask_executor(cluster.scheduler_address) as (executor, tasks):
                killer.start()
                made = prepared(pictures, tmp_path / "cluster", executor=executor, workers=tasks)
            killer.join()
        finally:
            victim.kill()
            victim.wait()
        assert held  # it died at work
        assert len(cluster.scheduler.workers) == 1
    assert made["splits"] == alone["splits"]


def test_no_scheduler_is_one_line():
    with (
        pytest.raises(ConnectionError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
        dask_executor("tcp://127.0.0.1:9", timeout=0.2),
    ):
        pass


class Cluster:
    """A client of a cluster whose worker has another version of the library, or ours."""

    version = "xmcgan 0.0.1, Pillow 1.0"

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, _):
        return {"tcp://worker": self.version}

    def nthreads(self):
        return {"tcp://worker": 9}

    def get_executor(self, **_):
        return "executor"


def test_a_worker_of_another_version_is_named(monkeypatch):
    monkeypatch.setattr(distributed, "Client", Cluster)
    said = rf"^the worker tcp://worker has xmcgan 0\.0\.1, Pillow 1\.0; this process has xmcgan {__version__}, Pillow "
    with pytest.raises(ValueError, match=said), dask_executor("tcp://10.0.0.1:8786"):
        pass


def test_images_of_which_workers_die_end_the_preparation_with_what_to_do(monkeypatch):
    def encode():
        with dask_executor("tcp://10.0.0.1:8786") as found:
            assert found == ("executor", 9)
            raise KilledWorker("encode", SimpleNamespace(address="tcp://worker"), 3)

    monkeypatch.setattr(distributed, "Client", Cluster)
    monkeypatch.setattr(Cluster, "version", _versions())
    with pytest.raises(ChildProcessError, match=r"encode.* The same command resumes from here$"):
        encode()


def test_a_missing_package_of_a_cluster_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ValueError, match=r"^a cluster needs the package distributed: pip install 'xmcgan\[cluster\]'$"),
        dask_executor("tcp://10.0.0.1:8786"),
    ):
        pass
