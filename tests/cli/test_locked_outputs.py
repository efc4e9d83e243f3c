"""Two processes and one output: long work refuses the second, what is written in a moment waits. One test a writer."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from studies import make_study
from xmcgan.ablation.plan import Budget, Plan, write_plan
from xmcgan.ablation.studies import table_4
from xmcgan.cli.evaluate_images import write_requests
from xmcgan.cli.generate import write_new
from xmcgan.evaluation.compare import write_comparison
from xmcgan.inference.pipeline import Pipeline
from xmcgan.pages.neighbours import Closest, write_neighbours_page
from xmcgan.recipes import RECIPES
from xmcgan.runtime.locks import locked_folder
from xmcgan.scenes import write_scenes
from xmcgan.training.evaluators.fitting import claimed, is_finished


def save(trained: Path, output: Path) -> None:
    Pipeline.from_pretrained(trained, device="cpu").save_pretrained(output)


def begin_evaluator(_trained: Path, output: Path) -> None:
    with claimed(output, {"kind": "presence"}):
        pass


def create_study(_trained: Path, output: Path) -> None:
    make_study(output.parent)


@pytest.mark.parametrize(
    ("write", "activity", "beside"),
    [(save, "saved into", True), (begin_evaluator, "trained into", False), (create_study, "made", True)],
    ids=["save_pretrained", "evaluator", "study"],
)
def test_long_work_is_refused_at_once(trained, tmp_path, write, activity, beside):
    output = tmp_path / "study"
    with (
        locked_folder(output, activity, beside=beside),
        pytest.raises(FileExistsError, match=rf"^{output} is being {activity} by process {os.getpid()}; wait for it"),
    ):
        write(trained, output)
    assert not [path for path in (output.iterdir() if output.exists() else ()) if path.name != ".lock"]
    write(trained, output)  # and then it goes


def test_a_finished_evaluator_needs_no_lock(tmp_path):
    is_finished(tmp_path, {"kind": "presence"})
    (tmp_path / "config.json").write_text("{}")
    with locked_folder(tmp_path, "read"), claimed(tmp_path, {"kind": "presence"}) as finished:
        assert finished


def plan(output: Path) -> None:
    write_plan(Plan(output, table_4(RECIPES["scenes-64"]), "scenes-64", Budget(images=8), 1, 1, 0))


def scenes(output: Path) -> None:
    write_scenes(output, size=16, train=1, val=0, evaluator=0, workers=1, progress=False)


SHORT: dict[str, tuple[Callable[[Path], object], str, bool]] = {
    "compare": (lambda output: write_comparison(output, [], []), "comparison.md", False),
    "generate": (lambda output: write_new(output, {"a.png": b"x"}), "a.png", False),
    "ablate": (plan, "study.json", False),
    "scenes": (scenes, "scenes.json", True),
    "captions": (lambda output: write_requests(output, []), "", True),
    "neighbours": (lambda page: write_neighbours_page(page, Closest([], 0, 0.0, None), title="x"), "", True),
}
"""What writes, the file that shows that it has, and whether its lock is beside the output."""


@pytest.mark.parametrize("name", SHORT)
def test_what_takes_a_moment_waits(tmp_path, name):
    write, file, beside = SHORT[name]
    output = tmp_path / "out"
    thread = threading.Thread(target=write, args=(output,))
    with locked_folder(output, "written into", beside=beside):
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        assert not (output / file if file else output).exists()
    thread.join(60)
    assert (output / file if file else output).exists()
    assert not list(tmp_path.rglob(".lock*"))
