"""One process at a time: long work refuses a second process at once, short writes wait for each other."""

import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from xmcgan.runtime.files import WriteFailed, append_text
from xmcgan.runtime.locks import acquire, locked_folder

FORK = multiprocessing.get_context("fork")


def test_the_second_process_is_refused_by_the_first_ones_number(tmp_path):
    folder = tmp_path / "out"
    with locked_folder(folder, "trained into"):
        with (
            pytest.raises(FileExistsError, match=rf"^{folder} is being trained into by process {os.getpid()}; wait"),
            locked_folder(folder, "trained into"),
        ):
            pass
        assert (folder / ".lock").exists()  # still the first one's
    assert list(folder.iterdir()) == []
    with locked_folder(folder, "trained into", beside=True):
        assert {path.name for path in tmp_path.iterdir()} == {"out", ".lock-out"}


def test_a_lock_that_waits_takes_its_turn_and_says_so(tmp_path, capsys):
    order, held = [], threading.Event()

    def first() -> None:
        with locked_folder(tmp_path, "written into"):
            held.set()
            time.sleep(0.3)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    held.wait()
    with locked_folder(tmp_path, "written into", wait=True):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]
    assert f"{tmp_path} is being written into by process {os.getpid()}: waiting for it" in capsys.readouterr().out


def count_up(folder: Path, times: int) -> None:
    path = folder / "count"
    for _ in range(times):
        with locked_folder(folder, "counted in", wait=True):
            number = int(path.read_text()) if path.exists() else 0
            path.write_text(f"{number + 1}")


def test_no_two_processes_hold_it_at_once_though_the_file_is_removed_every_time(tmp_path):
    processes = [FORK.Process(target=count_up, args=(tmp_path, 40)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert (tmp_path / "count").read_text() == "160"


def test_a_lock_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "f").write_text("a file")
    with (
        pytest.raises(WriteFailed, match=rf"^{tmp_path / 'f'} could not be written: "),
        locked_folder(tmp_path / "f", "used"),
    ):
        pass


def test_a_lock_in_whose_place_a_folder_is_is_named(tmp_path):
    (tmp_path / ".lock").mkdir()
    with (
        pytest.raises(WriteFailed, match=rf"^{tmp_path}/\.lock could not be written: Is a directory$"),
        locked_folder(tmp_path, "used"),
    ):
        pass


def test_a_holder_that_cannot_be_read_is_another_process(tmp_path):
    path, said = tmp_path / "lock", f"^{tmp_path} is being used by another process; wait for it"
    with FileLock(path):
        for file in (path, tmp_path / "gone"):  # nothing written to it yet; removed in this moment
            with pytest.raises(FileExistsError, match=said):
                acquire(FileLock(path, timeout=0), file, f"{tmp_path} is being used by", wait=False)


def append_lines(path: Path, letter: str, times: int) -> None:
    for number in range(times):
        append_text(path, letter * 3000 + f" {number}\n")


def test_lines_that_two_processes_append_stay_whole(tmp_path):
    path = tmp_path / "results.jsonl"
    processes = [FORK.Process(target=append_lines, args=(path, letter, 25)) for letter in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    expected = {letter * 3000 + f" {number}" for letter in "ab" for number in range(25)}
    assert sorted(path.read_text().splitlines()) == sorted(expected)
