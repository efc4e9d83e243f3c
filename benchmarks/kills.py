"""Kills a training with evaluation at random moments, and compares what it becomes with an uninterrupted run.

python benchmarks/kills.py --kills 20 --seed 0

Every kill is a SIGKILL to a process that trains scenes-64 by the command line, very narrow, with metrics of every
second step. The same command then resumes. Weights, optimizers, log, evaluations and best/ should be equal to the bit.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import multiprocessing

import torch

from interrupted import same_run
from tiny import write_encoder
from xmcgan.cli.main import main as xmcgan
from xmcgan.scenes import write_scenes

STEPS = 12


def command(data: Path, encoder: Path, output: Path) -> list[str]:
    """The training: a checkpoint of every third step, a line and an evaluation of every second."""
    settings = {
        "generator.width": 2, "discriminator.width": 2, "text.encoder": encoder, "text.layers": "null",
        "dataset.workers": 0, "training.batch_size": 4, "training.steps": STEPS, "training.checkpoint_every": 3,
        "training.log_every": 2, "training.sample_every": 5, "training.device": "cpu", "evaluation.every": 2,
        "evaluation.count": 8, "evaluation.metrics": "clip-score,fid",
    }  # fmt: skip
    flags = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return ["train", "scenes-64", "--data", str(data), "--output", str(output), *flags]


def train(arguments: list[str]) -> None:
    """Runs the command in a process of its own, in silence."""
    torch.set_num_threads(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os._exit(xmcgan(arguments))


def started(arguments: list[str]) -> multiprocessing.Process:
    """The command, started in a forked process: the imports are there already."""
    process = multiprocessing.get_context("fork").Process(target=train, args=(arguments,))
    process.start()
    return process


def main() -> int:
    """Kills, resumes and compares until there were enough kills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, kills, runs, wrong = random.Random(options.seed), 0, 0, []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = write_scenes(root / "scenes", size=64, train=24, val=12, evaluator=1, workers=1, progress=False)
        encoder = write_encoder(root / "encoder")
        began = time.perf_counter()
        whole = started(command(data, encoder, root / "whole"))
        whole.join()
        seconds = time.perf_counter() - began
        assert whole.exitcode == 0
        print(f"uninterrupted: {seconds:.1f} s for {STEPS} steps", flush=True)
        while kills < options.kills:
            runs, output, places = runs + 1, root / f"run-{runs}", []
            while True:
                process = started(command(data, encoder, output))
                process.join(chance.uniform(0.1, 0.8) * seconds)
                if process.exitcode is None and kills == options.kills:
                    process.join()
                if process.exitcode is not None:
                    break
                os.kill(process.pid, signal.SIGKILL)
                process.join()
                kills += 1
                places.append(max((path.name for path in output.glob("checkpoints/step-*")), default="none"))
            found = same_run(root / "whole", output) if process.exitcode == 0 else [f"exit status {process.exitcode}"]
            wrong += found
            print(f"run {runs}: killed {len(places)} times, newest checkpoints {', '.join(places)}: "
                  f"{found or 'equal'}", flush=True)  # fmt: skip
    print(f"{kills} kills of {runs} runs: {wrong or 'all equal to the uninterrupted run'}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
