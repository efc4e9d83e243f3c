"""Ranks: N processes are one, in every gradient and over a whole run; a rank that is lost.

tests/support/ranks.py is what the ranks do, all of it once; here is what should come of it.
"""

import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pairs import discriminate_pair
from ranks import BATCH, batch_of, main, training_of
from tiny import contents, different, flags, logged, tiny_config
from xmcgan.inference.model_files import checkpoints, newest_checkpoint
from xmcgan.runtime import distributed
from xmcgan.types import ContrastiveFeatures, DiscriminatorOutput

pytestmark = pytest.mark.slow

SEVERAL = (2, 4)
FLOAT32, FLOAT64 = torch.float32, torch.float64
GROUPS = [(2, 1), (2, 2), (4, 2)]
"""Ranks, and steps of the discriminator in a step of float64; four ranks make only the longer one."""


@pytest.fixture(scope="module")
def folder(scenes, encoder_folder, tmp_path_factory) -> Path:
    """What the ranks of every group left."""
    folder = tmp_path_factory.mktemp("ranks")
    process = multiprocessing.get_context("fork").Process(target=main, args=(folder, scenes, encoder_folder))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process")  # is multi-threaded, says Python of torch's idle threads
        process.start()
    process.join(900)
    process.kill()  # pytest would wait for it without an end
    assert process.exitcode == 0, (folder / "printed.txt").read_text()
    return folder


@pytest.fixture(scope="module")
def found(folder) -> dict[int, list[dict]]:
    """By the number of ranks, what each of them found of steps and parts."""
    return {
        size: [torch.load(folder / f"{size}-{rank}.pt", weights_only=False) for rank in range(size)]
        for size in (1, *SEVERAL)
    }


def ended(folder: Path, name: str, steps: int, rank: int) -> dict:
    """How a rank of a run ended."""
    return json.loads((folder / f"{name}-{steps}-{rank}.json").read_text())


def norm(gradients: dict[str, Tensor]) -> float:
    return float(torch.cat([gradient.flatten() for gradient in gradients.values()]).norm())


def error(gradient: Tensor, truth: Tensor) -> float:
    return float((gradient.double() - truth).norm())


# ------------------------------------------------------------------------------------------------- one step, shared


@pytest.mark.parametrize(("size", "discriminator_steps"), GROUPS)
def test_gradients_equal_those_of_one_process(found, size, discriminator_steps):
    """In float64, to 1e-10 of every parameter's own: networks, all losses, captions of 1 to 7 words, traces.

    Those of a bias that a batch norm takes away again are zero but for rounding: 1e-10 of the network's.
    """
    key = (FLOAT64, discriminator_steps)
    (one,), several = found[1], found[size]
    for phase, truth in one["steps"][key]["gradients"].items():
        whole = norm(truth)
        for name, gradient in truth.items():
            ours = several[0]["steps"][key]["gradients"][phase][name]
            scale = float(gradient.norm())
            allowed = 1e-10 * (scale if scale > 1e-10 * whole else whole)
            assert error(ours, gradient) <= allowed, f"{phase}: {name}"


@pytest.mark.parametrize(("size", "discriminator_steps"), [(2, 1), (2, 2), (4, 1)])
def test_ranks_add_no_error_in_float32(found, size, discriminator_steps):
    """Where one process is off by float32's rounding (a ReLU at 0 passes or does not), ranks are off by as much.

    The measure is the distance from float64, of which 3e-7 of the network's whole gradient is nothing.
    """
    key = (FLOAT32, discriminator_steps)
    for phase, truth in found[1][0]["steps"][FLOAT64, discriminator_steps]["gradients"].items():
        one, ours = (found[count][0]["steps"][key]["gradients"][phase] for count in (1, size))
        for name, gradient in truth.items():
            allowed = 1.5 * error(one[name], gradient) + 3e-7 * norm(truth)
            assert error(ours[name], gradient) <= allowed, f"{phase}: {name}"


@pytest.mark.parametrize("size", SEVERAL)
def test_first_float32_step_equals_one_process_to_1e_6(found, size):
    """Of the network's gradient, for every parameter of both; and to 5e-5 of its own, which is what rounding alone
    makes of one that is a small rest of large parts (docs/distributed.md)."""
    one, ours = (found[count][0]["steps"][FLOAT32, 1]["gradients"] for count in (1, size))
    assert one.keys() == {"discriminator 0", "generator 0"}
    for phase, reference in one.items():
        whole = norm(reference)
        for name, gradient in reference.items():
            off, own = error(ours[phase][name], gradient.double()), float(gradient.norm())
            assert off <= 1e-6 * whole, f"{phase}: {name}"
            assert off <= 5e-5 * own or own < 1e-6 * whole, f"{phase}: {name}"


@pytest.mark.parametrize("size", SEVERAL)
def test_how_near_the_gradients_are(found, size):
    """Prints the table of docs/distributed.md: pytest tests/runtime/test_ranks.py -rP -k how_near."""
    for dtype, count in ((FLOAT64, 1), (FLOAT64, 2), (FLOAT32, 1), (FLOAT32, 2)):
        if (dtype, count) not in found[size][0]["steps"]:
            continue
        one, ours = (found[number][0]["steps"][dtype, count]["gradients"] for number in (1, size))
        for phase, truth in found[1][0]["steps"][FLOAT64, count]["gradients"].items():
            whole = norm(truth)
            live = [name for name, gradient in truth.items() if gradient.norm() > 1e-9 * whole]
            pairs = ((ours, one[phase]), (one, truth), (ours, truth))
            off = [{name: error(a[phase][name], b[name].double()) for name in truth} for a, b in pairs]
            of_network = [max(each.values()) / whole for each in off]
            of_own = [max(each[name] / float(truth[name].norm()) for name in live) for each in off]
            assert all(map(math.isfinite, of_network + of_own))
            for measure, figures in (("network's", of_network), ("own", of_own)):
                row = " | ".join(f"{figure:.1e}" for figure in figures)
                print(f"| {size} ranks, {dtype}, n_D {count}, {phase}, relative to the {measure} | {row} |")


@pytest.mark.parametrize(("size", "discriminator_steps"), GROUPS)
def test_report_covers_the_global_batch(found, size, discriminator_steps):
    key = (FLOAT64, discriminator_steps)
    report = found[1][0]["steps"][key]["report"]
    assert {"real_trace", "image_encoder", "fake_word", "real_sentence_accuracy"} <= report.keys()
    for each in found[size]:
        torch.testing.assert_close(each["steps"][key]["report"], report, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("size", "dtype", "discriminator_steps"), [(2, FLOAT32, 2), (2, FLOAT64, 2), (4, FLOAT32, 1), (4, FLOAT64, 2)]
)
def test_all_ranks_are_bitwise_equal(found, size, dtype, discriminator_steps):
    """Weights, running statistics, the vectors of the power iterations, the average."""
    first, *others = (each["steps"][dtype, discriminator_steps] for each in found[size])
    assert any(name.endswith(".u") for name in first["left"])
    assert any(name.endswith("running_var") for name in first["left"])
    for other in others:
        assert different(first["left"], other["left"]) == []
        for phase, gradients in first["gradients"].items():
            assert different(gradients, other["gradients"][phase]) == []
    if dtype == FLOAT64:
        left = found[1][0]["steps"][dtype, discriminator_steps]["left"]
        torch.testing.assert_close(first["left"], left, rtol=1e-9, atol=1e-11)


def test_a_step_in_bfloat16(found):
    first, *others = (each["half"] for each in found[2])
    assert all(value.isfinite() for value in first["report"].values())
    assert all(different(first["left"], other["left"]) == [] for other in others)
    hinge = found[1][0]["half"]["report"]["d_hinge"]
    torch.testing.assert_close(first["report"]["d_hinge"], hinge, rtol=1e-2, atol=0)


@pytest.mark.parametrize("rank", [0, 1])
def test_compiled_step_equals_plain_step(folder, found, rank):
    """With synchronised batch norm inside a compiled block; on rank 0, with a plain rank 1."""
    compiled = torch.load(folder / f"compiled-{rank}.pt", weights_only=False)
    plain = found[2][rank]["steps"][FLOAT32, 2]
    torch.testing.assert_close(compiled["report"], plain["report"], rtol=1e-5, atol=1e-5)
    for phase, truth in plain["gradients"].items():
        whole = norm(truth)
        for name, gradient in truth.items():
            assert error(compiled["gradients"][phase][name], gradient.double()) <= 1e-5 * whole, f"{phase}: {name}"


@pytest.mark.parametrize("size", SEVERAL)
def test_gather_with_local_gradient_gives_a_fraction(found, size):
    """Exactly half on two ranks: the error that ``gather`` avoids."""
    whole = found[1][0]["contrast"]
    for each in found[size]:
        torch.testing.assert_close(each["contrast"], whole, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(each["own slice"], whole / size, rtol=1e-12, atol=1e-13)


def part(output: DiscriminatorOutput, rows: slice) -> DiscriminatorOutput:
    features = tuple(ContrastiveFeatures(*(each[rows] for each in features)) for features in output.features)
    return DiscriminatorOutput(output.logits_B[rows], features)


@pytest.mark.parametrize("size", SEVERAL)
def test_local_negatives_use_only_the_ranks_part(found, size):
    """The losses are the mean of those of the parts, each by itself; batch norm is still that of the whole."""
    training, batch = training_of(FLOAT64, "local"), batch_of(0, FLOAT64)
    fake = training.generator(batch.noise_BZ, batch.text).images_B3HW
    real, generated = discriminate_pair(training.discriminator, batch.images_B3HW, fake, batch.text)
    encoded = [training.image_encoder(images) for images in (batch.images_B3HW, fake)]
    expected: dict[str, float] = {}
    for start in range(0, BATCH, BATCH // size):
        rows = slice(start, start + BATCH // size)
        halves, text = (part(real, rows), part(generated, rows)), batch.text.rows(rows)
        both = (
            training.objective.discriminator(*halves, text, batch.traces_BTR[rows]),
            training.objective.generator(*halves, text, (encoded[0][rows], encoded[1][rows])),
        )
        for name, loss in (both[0].losses | both[1].losses).items():
            expected[name] = expected.get(name, 0.0) + loss.item() / size
    report = found[size][0]["local"]["report"]
    assert {name: report[name].item() for name in expected} == pytest.approx(expected, rel=1e-9)
    assert report["real_word"] < found[1][0]["steps"][FLOAT64, 1]["report"]["real_word"]  # fewer negatives
    for name, value in found[1][0]["local"]["report"].items():  # one process has one part
        assert value == found[1][0]["steps"][FLOAT64, 1]["report"][name]


@pytest.mark.parametrize("size", SEVERAL)
@pytest.mark.parametrize(("dtype", "allowed"), [(FLOAT64, 1e-13), (FLOAT32, 1e-5), (torch.bfloat16, 3e-2)])
def test_batch_norm_is_synchronised(found, size, dtype, allowed):
    """Output, gradient, running mean and variance; around 50, where sums of squares would lose the variance."""
    first, *others = (each["norm"][dtype] for each in found[size])
    for ours, exact in zip(first, found[1][0]["norm"][FLOAT64], strict=True):
        assert (ours.double() - exact).abs().max() <= allowed * exact.abs().max()
    for other in others:
        assert all(torch.equal(one, another) for one, another in zip(first, other, strict=True))
    if dtype != torch.bfloat16:  # then the statistics are combined from examples, on any number of ranks
        (one,) = found[1]
        output, _, *running = (torch.equal(*each) for each in zip(first, one["norm"][dtype], strict=True))
        assert output
        assert all(running)


@pytest.mark.parametrize("size", SEVERAL)
def test_collectives(found, size):
    for rank, each in enumerate(found[size]):
        said = each["conversation"]
        assert (said["rank"], said["size"], said["main"]) == (rank, size, rank == 0)
        assert said["objects"] == [{"rank": number} for number in range(size)]
        assert said["numbers"].tolist() == list(range(size))
        assert said["mask"].tolist() == [[number == 0, True] for number in range(size)]
        assert said["sum"].tolist() == [sum(range(size)), size]
        assert said["any"] == [True, False]
        assert said["from main"] == "said by 0"
        reason = "integer division or modulo by zero"
        assert said["failure"] == (f"RankZeroFailed: rank 0: {reason}" if rank else f"ZeroDivisionError: {reason}")


# ------------------------------------------------------------------------------------------------------- whole runs


def test_run_resumes_with_another_number_of_ranks(folder, trained):
    """Two ranks, one, then two: the log equals that of one process up to rounding, without repeated lines."""
    assert [ended(folder, "resumed", steps, 0)["reached"] for steps in (1, 2, 3)] == [1, 2, 3]
    assert [ended(folder, "resumed", steps, 1)["reached"] for steps in (1, 3)] == [1, 3]
    lines = logged(folder / "resumed")
    assert [line["step"] for line in lines] == [1, 2, 3]
    for ours, alone in zip(lines, logged(trained)[:3], strict=True):
        assert ours == pytest.approx(alone, rel=1e-3)
    assert [path.name for path in checkpoints(folder / "resumed/checkpoints")] == [
        "step-00000001",
        "step-00000002",
        "step-00000003",
    ]
    assert {path.name for path in (folder / "resumed").iterdir()} == {path.name for path in trained.iterdir()}


def test_a_signal_to_any_rank_stops_all_after_the_same_step(folder):
    assert [ended(folder, "signalled", 6, rank)["reached"] for rank in (0, 1)] == [3, 3]
    assert newest_checkpoint(folder / "signalled/checkpoints").name == "step-00000003"
    assert [line["step"] for line in logged(folder / "signalled")] == [1, 2, 3]


@pytest.mark.parametrize("name", ["killed", "killed-compiled"])
def test_a_killed_rank_ends_the_others_at_once(folder, name):
    other = ended(folder, name, 6, 0)
    assert other["error"] == "RankLost"
    assert other["said"].startswith("rank 0: another rank has ended or does not answer (")
    assert other["said"].endswith("the same command resumes from the newest checkpoint, with any number of ranks")
    assert "/gloo/" not in other["said"]
    assert other["seconds"] < 60
    assert not (folder / f"{name}-6-1.json").exists()


def test_same_command_resumes_to_the_same_bits(folder):
    """Resumes from step 2, the newest checkpoint, and makes step 3 anew as an uninterrupted run on two ranks does."""
    assert [ended(folder, "killed", 4, rank)["reached"] for rank in (0, 1)] == [4, 4]
    assert [line["step"] for line in logged(folder / "killed")] == [1, 2, 3, 4]
    undisturbed = logged(folder / "signalled")
    assert logged(folder / "killed")[: len(undisturbed)] == undisturbed
    held = [contents(checkpoints(folder / name / "checkpoints")[0]) for name in ("killed", "signalled")]
    assert different(*held) == []


def test_error_on_one_rank_ends_the_others(folder):
    assert ended(folder, "failed", 6, 1)["error"] == "ValueError"
    assert ended(folder, "failed", 6, 1)["said"] == "train2014/x.jpg cannot be read as an image"
    assert ended(folder, "failed", 6, 0)["error"] == "RankLost"


def test_unresponsive_rank_times_out(folder):
    """Rank 1 sleeps for 8 seconds with a timeout of 3."""
    waiting = ended(folder, "silent", 6, 0)
    assert waiting["error"] == "RankLost"
    assert "Timed out" in waiting["said"]
    assert distributed.TENSOR_TIMEOUT.total_seconds() <= 60


def test_error_on_rank_0_reaches_all_ranks(folder):
    assert ended(folder, "taken", 6, 0)["error"] == "ValueError"
    assert ended(folder, "taken", 6, 1)["error"] == "RankZeroFailed"
    for rank in (0, 1):
        assert "neither empty nor a training run" in ended(folder, "taken", 6, rank)["said"]
    assert [path.name for path in (folder / "taken").iterdir()] == ["notes.txt"]


def test_indivisible_batch_is_refused_on_all_ranks(folder):
    for rank in range(3):
        refused = ended(folder, "unequal", 6, rank)
        assert refused["error"] == "ValueError"
        assert "training.batch_size is 4" in refused["said"]
        assert "3 ranks cannot share equally; it should be a multiple of 3" in refused["said"]
    assert not (folder / "unequal").exists()


def test_torchrun_ends_a_job_with_a_killed_rank(folder):
    """The other rank, which torchrun's agent sends a SIGTERM at once, still says on its command line why it ended."""
    how = json.loads((folder / "launched.json").read_text())
    printed = (folder / "launched.txt").read_text()
    assert how["failed"]
    assert how["seconds"] < 60
    assert "resuming from step 3" in printed
    assert "xmcgan: rank 0: another rank has ended or does not answer" in printed


def test_torchrun_hands_on_ctrl_c(scenes, tmp_path):
    """A terminal's Ctrl-C, which torchrun hands on to its ranks, saves.

    With the embedded text encoder, which spares every rank the import of transformers.
    """
    output = tmp_path / "run"
    config = tiny_config(scenes, Path("minilm"), steps=2000, checkpoint_every=1000)
    command = [*flags(config, output), "--text.layers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "xmcgan", *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        if (output / "log.jsonl").exists() and (output / "log.jsonl").read_bytes().count(b"\n") >= 2:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    printed = process.communicate(timeout=240)[0]
    assert printed.count("stopped and saved at step") == 1, printed
    assert int(newest_checkpoint(output / "checkpoints").name.removeprefix("step-")) >= 2
