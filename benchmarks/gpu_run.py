"""All there is to do with a GPU for twelve minutes, without a network: one command, each part with its own time limit.

    python benchmarks/gpu_pack.py pack          # before, where the packages are
    python benchmarks/gpu_run.py --output results --pack pack

1. benchmarks/gpu.py: checks against the CPU, the 256 px step and its share of the card's ceiling (two minutes);
2. benchmarks/gpu_training.py: the recipe scenes-64-frozen (the rest), with samples and weights in files under 16 MB.
   Arguments after -- go to it, such as another recipe: `-- --recipe flowers-64-plus --data data/flowers102`.

Each part is a process of its own; what it wrote before its limit stays. results/run.json says how each ended.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def run_part(name: str, command: list[str], seconds: float, output: Path) -> dict[str, object]:
    """Runs a part, its words in a file, and ends it at its limit."""
    began = time.perf_counter()
    with (output / f"{name}.log").open("w") as log:
        process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=subprocess.STDOUT)
        try:
            code: int | None = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = None
    ended = "at its limit" if code is None else f"with exit code {code}"
    found = {"name": name, "ended": ended, "seconds": round(time.perf_counter() - began, 1), "limit": round(seconds, 1)}
    print(f"{name}: ended {ended} after {found['seconds']} s; see {output / f'{name}.log'}", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="a folder, new")
    parser.add_argument("--pack", type=Path, help="the folder of gpu_pack.py")
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--check-minutes", type=float, default=2, help="for part 1; 0 leaves it out")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the command on a CPU")
    parser.add_argument("training", nargs="*", help="arguments of gpu_training.py, after --")
    options = parser.parse_args()
    options.output.mkdir(parents=True)
    began, parts = time.perf_counter(), []

    def part(name: str, command: list[str], seconds: float) -> None:
        parts.append(run_part(name, command, seconds, options.output))
        (options.output / "run.json").write_text(json.dumps(parts, indent=2) + "\n")

    if options.check_minutes:
        small = ["--width", "4", "--size", "64", "--batch", "32"] if options.small else []
        command = [str(HERE / "gpu.py"), "--device", options.device, "--output", str(options.output / "gpu.json")]
        command += ["--no-compile", "--switch-steps", "0", "--repetitions", "3", *small]
        part("checks", command, 60 * options.check_minutes)
    left = 60 * options.minutes - (time.perf_counter() - began)
    command = [str(HERE / "gpu_training.py"), "--output", str(options.output / "training"), "--device", options.device]
    command += ["--seconds", str(left - 15)]
    command += ["--width", "4", "--batch", "8", "--train", "400", "--workers", "2"] if options.small else []
    command += ["--pack", str(options.pack)] if options.pack else []
    part("training", [*command, *options.training], left)
    return 0 if all(each["ended"] == "with exit code 0" for each in parts) else 1


if __name__ == "__main__":
    raise SystemExit(main())
