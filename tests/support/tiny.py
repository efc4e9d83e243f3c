"""Tiny stand-ins for the slow parts: an encoder with random weights, a configuration, and ways to compare runs."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel, BertTokenizer

from xmcgan.config import Config
from xmcgan.data.layouts import read_records
from xmcgan.recipes import RECIPES
from xmcgan.training.loop import train

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "-", "<", ">", "&", '"'),
    *("a", "an", "the", "of", "on", "in", "and", "left", "right", "under", "red", "blue", "green", "car", "bus", "sky"),
    *(letter for letter in LETTERS if letter != "a"),
    *(f"##{letter}" for letter in LETTERS),
]


def write_encoder(folder: Path) -> Path:
    """A BERT of two narrow layers with its tokenizer, as transformers saves them."""
    folder.mkdir(parents=True)
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(VOCABULARY)})
    shape = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = BertModel(shape)
        # Weights as small as BERT begins with would make all captions look alike.
        for weight in model.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_config(scenes: Path, encoder: Path, **training: object) -> Config:
    """scenes-64 so narrow that a step takes a few hundredths of a second."""
    recipe = RECIPES["scenes-64"]
    settings = {
        "steps": 4,
        "batch_size": 4,
        "discriminator_steps": 2,
        "discriminator_lr": 4e-4,
        "generator_lr": 1e-4,
        "precision": "float32",
        "device": "cpu",
        "log_every": 1,
        "checkpoint_every": 2,
        "sample_every": 1000,
        "keep_checkpoints": 0,
    }
    return replace(
        recipe,
        data=str(scenes),
        dataset=replace(recipe.dataset, workers=0),
        text=replace(recipe.text, encoder=str(encoder), layers=None),
        generator=replace(recipe.generator, width=4, noise_dim=8),
        discriminator=replace(recipe.discriminator, width=4),
        training=replace(recipe.training, **(settings | training)),
    )


def run(config: Config, output: Path) -> int:
    """Trains as the command line does, on four captions' grids."""
    traces = config.losses.trace > 0
    records = read_records(Path(config.data), config.dataset.layout, config.dataset.split, annotations=traces)
    shown = read_records(Path(config.data), config.dataset.layout, config.dataset.validation_split)[:4]
    return train(config, output, records=records, sample_captions=[record.captions[0] for record in shown])


def flags(config: Config, output: Path) -> list[str]:
    """``tiny_config`` as the command line takes it."""
    values = {
        "output": output,
        "data": config.data,
        "text.encoder": config.text.encoder,
        "text.layers": config.text.layers,
        "generator.width": config.generator.width,
        "generator.noise_dim": config.generator.noise_dim,
        "discriminator.width": config.discriminator.width,
        **{f"training.{name}": value for name, value in vars(config.training).items()},
    }
    said = {name: "null" if value is None else str(value) for name, value in values.items()}
    return ["train", "scenes-64", *(word for name, value in said.items() for word in (f"--{name}", value))]


def contents(folder: Path) -> dict[str, object]:
    """Everything a checkpoint holds that decides what comes next, by file (and tensor) name."""
    held: dict[str, object] = {}
    for path in sorted(folder.rglob("*.safetensors")):
        held |= {f"{path.relative_to(folder)}:{name}": tensor for name, tensor in load_file(path).items()}
    held["training/state.json"] = json.loads((folder / "training/state.json").read_text())
    return held


def different(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """The names under which two contents are not the same to the last bit."""
    assert one.keys() == other.keys()
    return [name for name in one if not same(one[name], other[name])]


def same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return one == other


def logged(output: Path) -> list[dict[str, float]]:
    """The lines of a run's log, without what depends on the clock."""
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if name not in ("time", "images_per_second", "data_wait")}
        for line in lines
    ]


def files(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
