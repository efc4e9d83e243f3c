"""Compares the losses of the first 200 steps with and without each performance setting.

    python benchmarks/switches.py [--steps 200] [--batch 8] [--precision float32] [--only training.prefetch]

GAN training amplifies rounding errors: after enough steps, two runs that differ in the last bits only share their
general course. So two runs give the scale: one whose initial weights are one unit in the last place larger, and one in
float64, which shows the error of the plain run itself. A setting preserves the losses within the precision used if it
changes them no more than these. Data: Scenes at 64 px in a temporary folder, with MiniLM's embeddings.

All rows use the same batches, except training.prefetch, which reads its own because it changes how batches are made.
training.tf32 has a row only on CUDA.
"""

import argparse
import tempfile
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from xmcgan.config import Config
from xmcgan.data.layouts import read_records
from xmcgan.encoders.text import TextEncoder
from xmcgan.recipes import RECIPES
from xmcgan.runtime.device import resolve_device, use_tf32
from xmcgan.scenes import write_scenes
from xmcgan.training.batches import embedded_batches, prefetched
from xmcgan.training.state import TrainingState, initial_state
from xmcgan.training.step import train_step
from xmcgan.types import Batch, TextEmbedding

SWITCHES: dict[str, dict[str, object]] = {
    "the same again": {},
    "one last bit of the weights": {},
    "float64": {"precision": "float32"},
    "training.fused": {"fused": True},
    "training.checkpoint_activations": {"checkpoint_activations": True},
    "training.channels_last false": {"channels_last": False},
    "training.compile": {"compile": True},
    "training.precision bfloat16": {"precision": "bfloat16"},
    "training.micro_batch, a quarter": {"micro_batch": 0},
    "training.prefetch": {"prefetch": 2},
    "training.tf32": {"tf32": True},
}
NUDGED, EXACT = "one last bit of the weights", "float64"
READ_ANEW = {"training.prefetch"}


def config_of(folder: Path, batch_size: int, precision: str) -> Config:
    recipe = RECIPES["scenes-64"]
    training = replace(recipe.training, batch_size=batch_size, precision=precision)
    return replace(recipe, data=str(folder), training=training)


def read_batches(config: Config, encoder: TextEncoder, count: int) -> list[Batch]:
    """The first batches of a run, prefetched by a thread if so configured."""
    records = read_records(Path(config.data), config.dataset.layout, config.dataset.split)
    batches = embedded_batches(config, records, encoder, encoder.device, start=0)
    if config.training.prefetch:
        batches = prefetched(batches, config.training.prefetch, encoder.device)
    with closing(batches):
        return list(islice(batches, count))


@torch.no_grad()
def nudge(training: TrainingState) -> None:
    """Moves every weight of both networks to the next larger float32."""
    for network in (training.generator, training.discriminator):
        for weight in network.parameters():
            weight.copy_(torch.nextafter(weight, torch.full_like(weight, torch.inf)))


def widen(training: TrainingState) -> None:
    """Converts the networks to float64."""
    for network in (training.generator, training.discriminator, training.ema.network):
        network.double()


def wide(batch: Batch) -> Batch:
    text = TextEmbedding(batch.text.words_BTD.double(), batch.text.mask_BT, batch.text.sentence_BD.double())
    return Batch(batch.images_B3HW.double(), text, batch.noise_BZ.double())


def losses(training: TrainingState, batches: list[Batch]) -> Tensor:
    """d_loss and g_loss of each step with one batch: (steps, 2)."""
    reports = (train_step(training, [batch]) for batch in batches)
    return torch.tensor([[float(report["d_loss"]), float(report["g_loss"])] for report in reports])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-compile", action="store_true", help="leave out the row that compiles for minutes")
    parser.add_argument("--only", nargs="+", choices=list(SWITCHES), help="run only these rows")
    options = parser.parse_args()
    device = resolve_device(options.device)
    left_out = {"training.compile"} if options.no_compile else set()
    left_out |= {"training.tf32"} if device.type != "cuda" else set()
    rows = options.only or [name for name in SWITCHES if name not in left_out]
    until = [number for number in (1, 10, 50, options.steps) if number <= options.steps]
    with tempfile.TemporaryDirectory() as folder:
        data = write_scenes(Path(folder) / "scenes", size=64, train=500, val=8, evaluator=4, progress=False)
        plain = config_of(data, options.batch, options.precision)
        use_tf32(device, False)  # as in the plain run, also for text encoding
        encoder = TextEncoder(plain.text.encoder, max_length=17, device=device)
        batches = read_batches(plain, encoder, options.steps)

        def run(name: str, switches: dict[str, object]) -> Tensor:
            switches = {key: options.batch // 4 if key == "micro_batch" else value for key, value in switches.items()}
            config = replace(plain, training=replace(plain.training, **switches))
            use_tf32(device, config.training.tf32)
            training = initial_state(config, encoder.dim, device)
            if name == NUDGED:
                nudge(training)
            if name == EXACT:
                widen(training)
                return losses(training, [wide(batch) for batch in batches])
            if name in READ_ANEW:
                return losses(training, read_batches(config, encoder, options.steps))
            return losses(training, batches)

        expected = run("plain", {})
        print(f"| largest relative difference of a loss in {options.precision}, in the first steps |", end="")
        print(" | ".join(map(str, until)), "| mean of the last 50 |\n" + "|---" * (len(until) + 2) + "|")
        for name in rows:
            found = run(name, SWITCHES[name])
            off = (found - expected).abs() / expected.abs()
            last = (found[-50:].mean(0) - expected[-50:].mean(0)).abs() / expected[-50:].mean(0).abs()
            cells = [float(off[:number].max()) for number in until] + [float(last.max())]
            print(f"| {name} | " + " | ".join(f"{cell:.1e}" for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
