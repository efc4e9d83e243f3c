"""Lets every write of a training with evaluation fail with every error, and compares what it becomes.

python benchmarks/write_faults.py [--every 1]

After each fault whatever has a name is read with its checksum, and the same run is resumed without faults: weights,
optimizers, log, evaluations and best/ should be equal to those of a run without a fault.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import torch

from faults import CODES, faulty_writes
from interrupted import same_run, train_with_evaluation
from tiny import tiny_config, write_encoder
from xmcgan.inference.model_files import checkpoints, read_tensors
from xmcgan.scenes import write_scenes


def main() -> int:
    """Lets the writes fail one after the other and prints how the runs ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only every so many writes fail")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ended, wrong = Counter(), []
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        root, out = Path(folder), sys.stdout
        scenes = write_scenes(root / "scenes", size=64, train=24, val=8, evaluator=1, workers=1, progress=False)
        config = tiny_config(scenes, write_encoder(root / "encoder"), steps=3, checkpoint_every=1, keep_checkpoints=2)
        config = replace(config, evaluation=replace(config.evaluation, every=1))
        sys.stdout = sys.stderr = nowhere
        with faulty_writes() as faults:
            train_with_evaluation(config, root / "whole")
        for at in range(1, faults.count + 1, options.every):
            for code in CODES:
                output = root / f"run-{at}-{code}"
                with faulty_writes(at, code) as each:
                    try:
                        train_with_evaluation(config, output)
                        ended["went on"] += 1
                    except (OSError, ValueError) as error:
                        ended["one line"] += str(output) in str(error) and "\n" not in str(error)
                for checkpoint in (*checkpoints(output / "checkpoints"), output / "best"):
                    for path in checkpoint.rglob("*.safetensors"):
                        read_tensors(path)
                train_with_evaluation(config, output)
                found = same_run(root / "whole", output)
                wrong += [f"write {at}, {os.strerror(code)}, {each.failed}: {found}"] * bool(found)
            print(f"write {at} of {faults.count}: {dict(ended)}, {len(wrong)} wrong", file=out, flush=True)
        sys.stdout = out
    print("\n".join([f"{sum(ended.values())} faults: {dict(ended)}; {len(wrong)} runs differ", *wrong]))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
