"""Damages files at random and reads them: the right result, or one line that names the file.

python benchmarks/fuzz.py --cases 10000 --seed 0
python benchmarks/fuzz.py --minutes 60 --seed 1000000

A case that ends in another way is printed with its seed; ``--cases 1 --seed N`` repeats it.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import torch

import fuzz_targets
from fuzz import fuzz

ROUND = 200
"""Cases between two lines of progress."""


def main() -> int:
    """Runs the cases and prints how they ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000, help="how many cases; 10,000 unless given")
    parser.add_argument("--minutes", type=float, default=None, help="a time limit instead: 1 in CI, 60 for an hour")
    parser.add_argument("--seed", type=int, default=0, help="of the first case; the next ones count up from it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    counts, wrong, done, began = Counter(), [], 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        targets = fuzz_targets.make_targets(Path(folder))
        while done < options.cases if options.minutes is None else time.monotonic() - began < 60 * options.minutes:
            part = ROUND if options.minutes is not None else min(ROUND, options.cases - done)
            outcomes = fuzz(targets, part, options.seed + done)
            counts.update(outcomes.counts)
            wrong += outcomes.wrong
            done += part
            for each in outcomes.wrong:
                print(f"seed {each.seed}: {each.target}/{each.file}, {each.damage}: {each.outcome}", flush=True)
            print(f"{done:,} cases, {len(wrong)} wrong, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    kinds = ("same", "other", "refused", "wrong")
    print(f"| target | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for name in dict.fromkeys(target.name for target in targets):
        print(f"| {name} | {' | '.join(str(counts[name, kind]) for kind in kinds)} |")
    print(f"{done:,} cases in {(time.monotonic() - began) / 60:.1f} minutes, {len(wrong)} wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
