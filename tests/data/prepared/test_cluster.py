"""`data prepare` on a Dask cluster: a worker of the cluster dies, and the files are those of one process."""

import subprocess
import sys
import threading
import time

import pytest
from distributed import LocalCluster

from preparing import prepared
from xmcgan.data.prepared import workers as module
from xmcgan.data.prepared.cluster import dask_executor
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
