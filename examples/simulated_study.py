"""Writes the raw answers of a simulated study, to see what `xmcgan study results` makes of them, or to plan a study.

    python examples/simulated_study.py answers.json --captions 200 --annotators 30
    xmcgan study results answers.json --output results

The annotators are simulated: they differ in care and taste, and some click at random. The width of the intervals shows
how much a study of this size could say.
"""

import argparse
from pathlib import Path

from xmcgan.study.analysis.simulate import Population, simulated_study
from xmcgan.study.raw_answers import to_json

WORTHS = {  # made up: no real system's
    "realism": {"System A": 0.77, "System B": 0.09, "System C": 0.08, "System D": 0.06},
    "alignment": {"System A": 0.74, "System B": 0.11, "System C": 0.08, "System D": 0.07},
}


def main() -> None:
    """Simulate a study of four systems."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="file to write, answers.json")
    parser.add_argument("--captions", type=int, default=200)
    parser.add_argument("--per-caption", type=int, default=5, help="annotators of each caption")
    parser.add_argument("--annotators", type=int, default=30)
    parser.add_argument("--random", type=float, default=0.08, help="share of annotators who click at random")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    study, answers = simulated_study(
        WORTHS,
        Population(care=0.2, taste=0.2, random=options.random),
        captions=options.captions,
        per_caption=options.per_caption,
        annotators=options.annotators,
        seed=options.seed,
        name="Simulated study: four systems, no real annotators",
    )
    with options.output.open("x", encoding="utf-8") as stream:  # never over an earlier one
        stream.write(to_json(study, answers))
    print(f"{len(answers):,} simulated answers are in {options.output}")


if __name__ == "__main__":
    main()
