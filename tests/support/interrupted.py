"""A training with evaluation that is interrupted, and what it should share with one that is not."""

import json
from pathlib import Path

from tiny import contents, different, logged
from xmcgan.config import Config
from xmcgan.data.layouts import read_records
from xmcgan.inference.model_files import newest_checkpoint
from xmcgan.model.generator import Generator
from xmcgan.training.loop import train
from xmcgan.training.validation import Evaluation


def weights_score(generator: Generator, _step: int) -> Evaluation:
    """An evaluation that takes no time, and changes with every weight: it rises and falls."""
    value = sum(float(weight.double().abs().sum()) for weight in generator.parameters())
    return Evaluation({"x": value}, (value * 1e6) % 1)


def train_with_evaluation(config: Config, output: Path) -> int:
    """Trains, with an evaluation at every step that is due."""
    records = read_records(Path(config.data), config.dataset.layout, config.dataset.split)
    return train(config, output, records=records, sample_captions=["a red car"], evaluate=weights_score)


def evaluations(output: Path) -> list[dict[str, float]]:
    """The lines of a run's evaluations, without the time."""
    path = output / "evaluations.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


def same_run(one: Path, other: Path) -> list[str]:
    """What differs between two finished runs: weights, optimizers, log, evaluations, the best generator."""
    folders = [newest_checkpoint(run / "checkpoints") for run in (one, other)]
    assert folders[0] is not None
    assert folders[1] is not None
    held = [contents(folder) for folder in folders]
    for each in held:
        # What the log had not written yet is there if an error kept the last line from being written: see log.jsonl.
        each["training/state.json"].pop("log")  # ty: ignore[unresolved-attribute]
    found = different(*held)
    if folders[0].name != folders[1].name:
        found.append(f"{folders[0].name} is the newest, and {folders[1].name}")
    found += ["log.jsonl"] * (logged(one) != logged(other))
    found += ["evaluations.jsonl"] * (evaluations(one) != evaluations(other))
    best = [{path.name: path.read_bytes() for path in sorted((run / "best").glob("*"))} for run in (one, other)]
    found += [f"best/{name}" for name in {**best[0], **best[1]} if best[0].get(name) != best[1].get(name)]
    left = [path.name for path in other.rglob("*") if path.name.startswith((".partial", ".former", ".removed"))]
    return found + left


def evaluated_lines(output: Path) -> list[dict[str, object]]:
    """The last result of each metric, without what depends on the clock."""
    lines = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    results = {line["metric"]: {name: value for name, value in line.items() if name != "seconds"} for line in lines}
    return [results[name] for name in sorted(results)]
