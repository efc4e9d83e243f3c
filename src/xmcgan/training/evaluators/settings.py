"""Training settings of the evaluation networks."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Fitting:
    """Training settings of an evaluation network: AdamW with warmup and cosine decay to 0.

    Args:
        steps: number of training steps.
        batch_size: pairs per batch; all other pairs are negatives.
        learning_rate: peak learning rate.
        weight_decay: AdamW's weight decay, on matrices and kernels only.
        warmup: steps of linear warmup.
        shift: augmentation: each batch is shifted by up to this many pixels in each direction.
        flip: flip images horizontally at random. Leave off if captions mention left and right.
        fit: ``squash`` images to a square, or ``crop`` the centre.
        precision: precision of a trained image network: float32, bfloat16, or auto: bfloat16 on a GPU that has it.
        save_every: steps between saves for resuming.
        seed: seed of all random numbers.
        workers: processes that decode images; 0 decodes in the main process.
        device: auto, cpu, cuda, ...
    """

    steps: int = 3000
    batch_size: int = 256
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warmup: int = 200
    shift: int = 2
    flip: bool = False
    fit: Literal["squash", "crop"] = "squash"
    precision: str = "auto"
    save_every: int = 250
    seed: int = 0
    workers: int = 1
    device: str = "auto"

    def __post_init__(self):
        for name in ("steps", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it should be at least 1")
        for name in ("warmup", "shift", "workers", "weight_decay", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it should be at least 0")
        if self.seed >= 2**63:
            raise ValueError(f"seed is {self.seed}; it should be below 2**63")
        if self.batch_size < 2:
            raise ValueError(f"batch_size is {self.batch_size}; a contrastive loss needs at least 2 pairs")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}; it should be a positive number")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"precision is {self.precision!r}; it can be auto, float32 or bfloat16")
